"""What a program costs: CPU time and memory of its whole process tree, read from /proc."""

import os
import pathlib
import subprocess
import threading
import time

TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


class Tree:
    """A command and its descendants, sampled ten times a second until it ends."""

    def __init__(self, command: list, log: pathlib.Path, **options):
        self.log = log
        self.started = time.time()
        self.peak_bytes = 0
        self.cpu_by_process: dict[tuple[int, int], float] = {}
        with open(log, "wb") as out:
            self.process = subprocess.Popen([str(c) for c in command], stdout=out, stderr=subprocess.STDOUT, **options)
        self.sampler = threading.Thread(target=self.sample, daemon=True)
        self.sampler.start()

    def sample(self) -> None:
        """Adds up the tree until its root has ended."""
        while self.process.returncode is None:
            self.look()
            time.sleep(0.1)

    def look(self) -> None:
        """Reads each process of the tree once."""
        memory = 0
        for pid, start, cpu, resident in tree(self.process.pid):
            self.cpu_by_process[pid, start] = cpu
            memory += resident
        self.peak_bytes = max(self.peak_bytes, memory)

    def wait(self, seconds: float) -> None:
        """Waits for the end and fails loudly if it is a bad one."""
        end = time.time() + seconds
        usage = None
        while usage is None:
            if time.time() > end:
                self.stop()
                raise SystemExit(f"still running after {seconds:.0f} s:\n{self.tail()}")
            pid, status, usage = os.wait4(self.process.pid, os.WNOHANG)
            if pid == 0:
                usage = None
                time.sleep(0.005)
        self.finish(status, usage)
        if self.process.returncode != 0:
            raise SystemExit(f"exit code {self.process.returncode}:\n{self.tail()}")

    def finish(self, status: int, usage) -> None:
        """Takes the kernel's own sum, which misses no last tick, when it is the greater one."""
        self.ended = time.time()
        self.process.returncode = os.waitstatus_to_exitcode(status)
        self.cpu_seconds = max(sum(self.cpu_by_process.values()), usage.ru_utime + usage.ru_stime)
        self.peak_bytes = max(self.peak_bytes, usage.ru_maxrss * 1024)

    def stop(self) -> None:
        """Ends a program that would run on: in order, and after ten seconds by force."""
        self.look()
        below = [pid for pid, *_ in tree(self.process.pid)]
        self.process.send_signal(2)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for pid in below:
            if pathlib.Path(f"/proc/{pid}").exists():
                os.kill(pid, 9)
        self.cpu_seconds = sum(self.cpu_by_process.values())

    def mark(self, word: str) -> float | None:
        """Finds the time that the program printed behind a word."""
        for line in self.log.read_text(errors="replace").splitlines():
            if line.startswith(word + " "):
                return float(line.split()[1])
        return None

    def tail(self) -> str:
        """Returns the end of what it printed."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-30:])


def tree(root: int):
    """Lists a process and its descendants: id, start tick, CPU seconds, resident bytes."""
    processes = {}
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            cpu = (int(fields[11]) + int(fields[12])) / TICK
            processes[int(entry.name)] = (int(fields[1]), int(fields[19]), cpu, int(fields[21]) * PAGE)
    inside = {root}
    while True:
        more = {pid for pid, (parent, *_) in processes.items() if parent in inside} - inside
        if not more:
            break
        inside |= more
    return [(pid, *processes[pid][1:]) for pid in inside if pid in processes]
