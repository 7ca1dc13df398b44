"""Checks licences and origins of all dependencies against deny.toml, for machines without cargo-deny."""

import json
import re
import subprocess
import sys
import tomllib


def main() -> int:
    """Prints each package that deny.toml does not allow; returns how the process ends."""
    with open("deny.toml", "rb") as file:
        rules = tomllib.load(file)
    metadata = subprocess.run(["cargo", "metadata", "--format-version", "1", "--locked"], check=True, capture_output=True)
    packages = json.loads(metadata.stdout)["packages"]
    problems = [problem for package in packages for problem in check(package, rules)]
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"{len(packages)} packages, {len(problems)} not allowed")
    return 1 if problems else 0


def check(package: dict, rules: dict) -> list[str]:
    """Lists what is wrong with one package."""
    name = f"{package['name']} {package['version']}"
    problems = []
    expression = package["license"]
    if not expression or not allowed(expression, set(rules["licenses"]["allow"])):
        problems.append(f"{name}: licence {expression} is not allowed by deny.toml")
    # The workspace's own packages have no source; the registry is the only other that is allowed.
    if package["source"] and not package["source"].startswith("registry+"):
        problems.append(f"{name}: comes from {package['source']}, and not from the registry")
    if package["name"] in {ban["crate"] for ban in rules["bans"].get("deny", [])}:
        problems.append(f"{name}: is banned by deny.toml")
    return problems


def allowed(expression: str, licences: set[str]) -> bool:
    """Evaluates an SPDX expression: OR needs one side, AND both; an exception only ever adds rights."""
    tokens = re.findall(r"[()]|[^\s()]+", expression.replace("/", " OR "))
    position = 0

    def alternatives() -> bool:
        nonlocal position
        result = conjunction()
        while position < len(tokens) and tokens[position] == "OR":
            position += 1
            result = conjunction() or result
        return result

    def conjunction() -> bool:
        nonlocal position
        result = term()
        while position < len(tokens) and tokens[position] == "AND":
            position += 1
            result = term() and result
        return result

    def term() -> bool:
        nonlocal position
        token = tokens[position]
        position += 1
        if token == "(":
            result = alternatives()
            position += 1
            return result
        if position < len(tokens) and tokens[position] == "WITH":
            position += 2
        return token in licences

    return alternatives()


if __name__ == "__main__":
    sys.exit(main())
