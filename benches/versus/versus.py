#!/usr/bin/env python3
"""Compares Freshet with Spark Structured Streaming: same machine, same run, same topic, same database server.

    versus.py catch-up --events 4000000 --work pv,three,five
    versus.py live --rates 1000,10000 --seconds 60
    versus.py cost --events 4000000 --work three,five --rates 1000

`catch-up` fills one topic and lets each system read it to its end. `live` measures the time from an event's creation to its row in PostgreSQL, asked for from
outside. `cost` compares Freshet with itself without epoch log and checkpoints, in both respects. All print Markdown tables. Standard library only; what the two systems need is fetched once into the cache folder.
"""

import argparse
import pathlib
import statistics
import subprocess
import threading
import time

from measure import Tree
from servers import ROOT, Kafka, Postgres, Session, servers
from systems import FRESHET, WORK, Freshet, Spark, Work

LIMIT_S = 3600
WARM_UP_S = 180

FRESHNESS = """| system | events/s | p50 | p99 | max | probes | CPU s a minute | peak memory |
|---|---|---|---|---|---|---|---|"""


def main() -> None:
    """Reads the command line and runs one of the comparisons."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    catch_up = commands.add_parser("catch-up", help="throughput, CPU and memory over a filled topic")
    catch_up.add_argument("--events", type=int, default=4_000_000)
    catch_up.add_argument("--work", default="pv,three,five", help="which of " + ", ".join(WORK))
    catch_up.add_argument("--max-offsets", type=int, help="Spark's records a batch; the whole topic unless given")
    catch_up.set_defaults(run=compare_catch_up)
    live = commands.add_parser("live", help="freshness at given rates")
    live.add_argument("--rates", default="1000,10000")
    live.add_argument("--seconds", type=int, default=60)
    live.add_argument("--work", default="pv")
    live.set_defaults(run=compare_live)
    cost = commands.add_parser("cost", help="throughput and freshness with and without what brings a job through crashes")
    cost.add_argument("--events", type=int, default=4_000_000)
    cost.add_argument("--work", default="three,five")
    cost.add_argument("--times", type=int, default=3, help="how often each is run, in turn")
    cost.add_argument("--rates", default="1000")
    cost.add_argument("--seconds", type=int, default=60)
    cost.set_defaults(run=compare_cost, systems="freshet")
    for command in (catch_up, live):
        command.add_argument("--systems", default="spark,freshet")
    for command in (catch_up, live, cost):
        command.add_argument("--workers", default="1,2", help="Freshet's worker counts")
    args = parser.parse_args()
    with servers("spark" in args.systems) as (kafka, database, folder):
        args.run(args, kafka, database, folder)


def systems(args: argparse.Namespace) -> list:
    """Lists the systems asked for."""
    chosen = [Spark(getattr(args, "max_offsets", None))] if "spark" in args.systems else []
    return chosen + [Freshet(int(w)) for w in args.workers.split(",") if "freshet" in args.systems]


def compare_catch_up(args: argparse.Namespace, kafka: Kafka, database: Postgres, folder: pathlib.Path) -> None:
    """Runs every system over the same topic, and prints how they compare."""
    for name in args.work.split(","):
        work = WORK[name]
        fill_all(kafka, work, args.events)
        rows = [catch_up(s, name, args.events * len(work.topics), kafka, database, folder / f"{name}{i}") for i, s in enumerate(systems(args))]
        print_catch_up(name, args.events * len(work.topics), rows)


def fill_all(kafka: Kafka, work: Work, events: int) -> None:
    """Fills each topic of a work with so many events, unless a work before this one has."""
    for topic, options in work.topics.items():
        if not (kafka.folder / f"generate-{topic}.log").exists():
            kafka.create(topic)
            shape = ["--events", events, "--rate", 0, "--seed", 7, "--partitions", 4, *options]
            generate(kafka, topic, topic, shape).wait(LIMIT_S)


def compare_cost(args: argparse.Namespace, kafka: Kafka, database: Postgres, folder: pathlib.Path) -> None:
    """Runs Freshet with and without epoch log and checkpoints, in turn, over a filled topic and then under a steady load."""
    workers = int(args.workers.split(",")[0])
    both = [Freshet(workers), Freshet(workers, keeps=False)]
    for work in args.work.split(","):
        fill_all(kafka, WORK[work], args.events)
        rates: dict[str, list[float]] = {system.name: [] for system in both}
        for turn in range(args.times):
            for index, system in enumerate(both):
                row = catch_up(system, work, args.events, kafka, database, folder / f"{work}{turn}x{index}")
                rates[system.name].append(row["rate"])
                print(f"{work}, {system.name}: {row['rate']:,.0f} events/s", flush=True)
        kept, bare = (statistics.median(rates[system.name]) for system in both)
        print(f"\n{work}: medians of {args.times}: {kept:,.0f} with, {bare:,.0f} without; the cost is {(1 - kept / bare) * 100:.1f} %\n", flush=True)
    args.work = "pv"
    print(FRESHNESS, flush=True)
    for rate in map(int, args.rates.split(",")):
        for turn in range(args.times):
            for index, system in enumerate(both):
                live(system, rate, args, kafka, database, folder / f"cost{rate}x{turn}x{index}")


def generate(kafka: Kafka, kind: str, topic: str, options: list) -> Tree:
    """Starts Freshet's generator of a kind of events on a topic."""
    command = [FRESHET, "generate", "full", "--kind", kind, "--to", f"kafka://{kafka.address}/{topic}", *options]
    return Tree(command, kafka.folder / f"generate-{topic}.log")


def catch_up(system, name: str, events: int, kafka: Kafka, database: Postgres, folder: pathlib.Path) -> dict:
    """Runs one system to the end of the topics."""
    folder.mkdir()
    work = WORK[name]
    create_tables(database, folder.name, work)
    enriched = "user_activity_enriched"
    if name == "five":
        subprocess.run(kafka.tool("org.apache.kafka.tools.TopicCommand", "--bootstrap-server", kafka.address, "--delete", "--if-exists", "--topic", enriched), check=True)
        kafka.create(enriched)
    tree = system.start(kafka, database, folder.name, ",".join(work.topics), work, folder, live=False)
    first = FirstRow(database.url(folder.name), work.shown)
    tree.wait(LIMIT_S)
    seen = first.stop()
    session = Session(database.url(folder.name))
    total = session.ask(work.total)[0]
    session.close()
    seconds = system.processing_seconds(tree)
    return {
        "name": system.name,
        "rate": events / seconds,
        "cpu": tree.cpu_seconds,
        "memory": tree.peak_bytes,
        "first": (seen - tree.started) if seen else float("nan"),
        "total": total,
    }


def create_tables(database: Postgres, name: str, work: Work) -> None:
    """Creates a database with the tables of a work."""
    database.create(name, (ROOT / work.ddl).read_text())


class FirstRow:
    """Looks every few milliseconds whether the first row is there."""

    def __init__(self, url: str, table: str):
        self.session = Session(url)
        self.table = table
        self.seen: float | None = None
        self.over = False
        self.thread = threading.Thread(target=self.look, daemon=True)
        self.thread.start()

    def look(self) -> None:
        """Asks until there is a row, or nobody wants to know any more."""
        while not self.over and self.seen is None:
            if self.session.ask(f"SELECT 1 FROM {self.table} LIMIT 1") == ["1"]:
                self.seen = time.time()
            time.sleep(0.01)

    def stop(self) -> float | None:
        """Returns when the row was seen."""
        self.over = True
        self.thread.join()
        self.session.close()
        return self.seen


def print_catch_up(work: str, events: int, rows: list[dict]) -> None:
    """Prints one work's table; ratios are against the first row, which is Spark if it took part."""
    base = rows[0]
    print(f"\n### Catch-up, {work}, {events:,} events\n")
    print("| system | events/s | × | CPU s | × less | peak memory | × less | start → first row | rows |")
    print("|---|---|---|---|---|---|---|---|---|")
    for row in rows:
        cells = [
            row["name"],
            f"{row['rate']:,.0f}",
            f"{row['rate'] / base['rate']:.1f}",
            f"{row['cpu']:.1f}",
            f"{base['cpu'] / row['cpu']:.1f}",
            f"{row['memory'] / 2**20:,.0f} MiB",
            f"{base['memory'] / row['memory']:.1f}",
            f"{row['first']:.2f} s",
            row["total"],
        ]
        print("| " + " | ".join(cells) + " |", flush=True)


def compare_live(args: argparse.Namespace, kafka: Kafka, database: Postgres, folder: pathlib.Path) -> None:
    """Measures each system's freshness at each rate."""
    print(f"\n### Freshness, {args.work}: event created → row visible in PostgreSQL, ms\n")
    print(FRESHNESS)
    for rate in map(int, args.rates.split(",")):
        for index, system in enumerate(systems(args)):
            live(system, rate, args, kafka, database, folder / f"live{rate}x{index}")


def live(system, rate: int, args: argparse.Namespace, kafka: Kafka, database: Postgres, folder: pathlib.Path) -> None:
    """Runs one system under a steady load, and asks for probe events from outside."""
    folder.mkdir()
    name = topic = folder.name
    create_tables(database, name, WORK[args.work])
    kafka.create(topic)
    if args.work == "five":
        kafka.create(f"{topic}_enriched")
    tree = system.start(kafka, database, name, topic, WORK[args.work], folder, live=True)
    load = generate(kafka, "user_activity", topic, ["--rate", rate, "--partitions", 4])
    probes = Probes(kafka, topic, database.url(name))
    try:
        probes.run(seconds=None)
        tree.look()
        cpu, began = sum(tree.cpu_by_process.values()), time.time()
        ages = probes.run(seconds=args.seconds)
        tree.look()
        cpu = (sum(tree.cpu_by_process.values()) - cpu) / (time.time() - began) * 60
    finally:
        load.stop()
        tree.stop()
        probes.close()
    p50, p99 = statistics.median(ages), statistics.quantiles(ages, n=100)[98]
    cells = [f"{p50:.0f}", f"{p99:.0f}", f"{max(ages):.0f}", str(len(ages)), f"{cpu:.1f}", f"{tree.peak_bytes / 2**20:,.0f} MiB"]
    print("| " + " | ".join([system.name, f"{rate:,}", *cells]) + " |", flush=True)


class Probes:
    """Events with a page of their own each, sent ten times a second; a page's first row is looked for about every two milliseconds."""

    def __init__(self, kafka: Kafka, topic: str, url: str):
        options = ["--bootstrap-server", kafka.address, "--topic", topic, "--producer-property", "linger.ms=0", "--max-block-ms", 10000]
        self.producer = subprocess.Popen(
            kafka.tool("org.apache.kafka.tools.ConsoleProducer", *options),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.session = Session(url)
        self.sent: dict[str, float] = {}
        self.count = 0

    def run(self, seconds: int | None) -> list[float]:
        """Probes for so long, or until the first answer when no time is given; returns the ages in milliseconds."""
        ages: list[float] = []
        end = time.time() + (seconds or WARM_UP_S)
        next_send = time.time()
        while time.time() < end or (seconds and self.sent and time.time() < end + 60):
            if time.time() >= next_send and time.time() < end:
                self.send()
                next_send += 0.1
            ages += self.look()
            if ages and not seconds:
                # The system is up: what was sent before does not count.
                self.sent.clear()
                return []
            time.sleep(0.001)
        if not ages:
            raise SystemExit("no probe arrived in PostgreSQL")
        if self.sent:
            print(f"{len(self.sent)} probes never arrived", flush=True)
        return ages

    def send(self) -> None:
        """Creates one event and hands it to the producer."""
        page = f"/probe/{self.count}"
        self.count += 1
        now = time.time()
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now * 1000) % 1000:03d}Z"
        self.sent[page] = now
        self.producer.stdin.write(f'{{"event_time":"{stamp}","user_id":"probe","page_url":"{page}","event_type":"page_view"}}\n')
        self.producer.stdin.flush()

    def look(self) -> list[float]:
        """Asks which of the outstanding probes have a row."""
        if not self.sent:
            return []
        pages = ",".join(f"'{page}'" for page in self.sent)
        found = self.session.ask(f"SELECT page_url FROM page_view_counts WHERE page_url IN ({pages})")
        now = time.time()
        return [(now - self.sent.pop(page)) * 1000 for page in found if page in self.sent]

    def close(self) -> None:
        """Ends the producer and the connection."""
        self.producer.stdin.close()
        self.producer.wait()
        self.session.close()


if __name__ == "__main__":
    main()
