#!/usr/bin/env python3
"""Measures what a restart costs: a job with a large state, killed and rescaled under load.

    restart.py --keys 1000000 --kills 30

A topic gives each of `--keys` users some events, so that the job's one view holds a key for each, some 100 bytes of state. Then the job is restarted in order
(seconds and peak memory of the restore, against the memory before), killed again and again under load (kill to next commit), and moved to
other numbers of workers (request to drain to next commit). Standard library only.
"""

import argparse
import contextlib
import math
import os
import pathlib
import random
import signal
import subprocess
import threading
import time

from servers import Session, servers, wait_until
from systems import FRESHET

LIMIT_S = 600

JOB = """
name = "restart"

[source.user_activity]
url = "${KAFKA_URL}/user_activity"
columns = { event_time = "timestamp", user_id = "varchar(50)", page_url = "varchar(255)", event_type = "text" }
watermark = { column = "event_time", delay = "2m", idle_timeout = "1h" }

[view.users]
sql = \"\"\"
SELECT user_id, count(*) AS events, count(*) FILTER (WHERE event_type = 'page_view') AS page_views,
       min(event_time) AS first_seen, max(event_time) AS last_seen, min(page_url) AS first_page, max(page_url) AS last_page
FROM user_activity GROUP BY user_id
\"\"\"

[sink.warehouse]
url = "${DATABASE_URL}"
views = ["users"]

[checkpoint]
interval = "10s"
"""


class Job:
    """The job, started and ended from outside; `ended` is the progress that the last process left."""

    def __init__(self, folder: pathlib.Path, kafka, url: str):
        self.folder, self.process, self.ended = folder, None, (0, 0.0)
        self.file = folder / "restart.toml"
        self.file.write_text(JOB)
        self.environment = {**os.environ, "KAFKA_URL": f"kafka://{kafka.address}", "DATABASE_URL": url, "NO_COLOR": "1"}
        self.session = Session(url)

    def start(self, workers: int) -> None:
        """Starts the job."""
        with open(self.folder / "freshet.log", "ab") as log:
            command = [str(FRESHET), "run", str(self.file), "-w", str(workers)]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=self.environment, cwd=self.folder)

    def end(self, sent: signal.Signals) -> None:
        """Sends a signal and waits for the end."""
        self.process.send_signal(sent)
        self.process.wait(LIMIT_S)
        self.ended = self.progress()

    def progress(self) -> tuple[int, float]:
        """Returns generation and time of the newest commit."""
        query = "SELECT generation || '|' || extract(epoch FROM committed_at) FROM freshet.progress WHERE committed_at IS NOT NULL"
        rows = self.session.ask(query)
        generation, _, committed = rows[0].partition("|") if rows and rows[0] else ("0", "", "0")
        return int(generation), float(committed)

    def read(self) -> int:
        """Returns the records that the tables account for."""
        rows = self.session.ask("SELECT coalesce(max(read), 0) FROM freshet.ledger")
        return int(rows[0]) if rows else 0

    def commits_again(self, since: float) -> float:
        """Waits for a commit that the process that runs now has made; returns the seconds from a time to it."""
        end = time.time() + LIMIT_S
        while time.time() < end:
            generation, committed = self.progress()
            # A start raises the generation before it commits anything.
            if generation > self.ended[0] and committed > self.ended[1]:
                return committed - since
            if self.process.poll() is not None:
                raise SystemExit(f"the job has ended:\n{self.tail()}")
            time.sleep(0.002)
        raise SystemExit(f"no commit within {LIMIT_S} s:\n{self.tail()}")

    def memory(self) -> tuple[float, float]:
        """Returns resident and peak memory in MiB."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        field = lambda name: int(status.split(name + ":")[1].split()[0]) / 1024
        return field("VmRSS"), field("VmHWM")

    def state_bytes(self) -> int:
        """Returns the size of the newest checkpoint."""
        manifests = sorted((self.folder / "data/state/restart/checkpoints").glob("*/manifest"), key=lambda path: path.stat().st_mtime)
        return sum(part.stat().st_size for part in manifests[-1].parent.iterdir()) if manifests else 0

    def checkpointed(self, after: float) -> None:
        """Waits for a checkpoint that was published after a time."""
        folder = self.folder / "data/state/restart/checkpoints"
        end = time.time() + LIMIT_S
        while not any(path.stat().st_mtime > after for path in folder.glob("*/manifest")):
            if time.time() > end:
                raise SystemExit(f"no checkpoint:\n{self.tail()}")
            time.sleep(0.1)

    def close(self) -> None:
        """Ends whatever still runs."""
        if self.process and self.process.poll() is None:
            self.end(signal.SIGKILL)
        self.session.close()

    def tail(self) -> str:
        """Returns the end of what the job printed."""
        return "\n".join((self.folder / "freshet.log").read_text(errors="replace").splitlines()[-30:])


class Feed:
    """Events put into the topic by a console producer."""

    def __init__(self, kafka, keys: int):
        options = ["--bootstrap-server", kafka.address, "--topic", "user_activity", "--batch-size", "65536", "--max-memory-bytes", "67108864"]
        command = kafka.tool("org.apache.kafka.tools.ConsoleProducer", *options)
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True, bufsize=1 << 20)
        self.keys, self.over, self.thread = keys, False, None

    def send(self, user: int) -> None:
        """Creates one event of a user, whose name is as long as a UUID and more."""
        now = time.time()
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now * 1000) % 1000:03d}Z"
        page = f"/catalogue/department/{user % 97}/article/{user % 9973}"
        self.process.stdin.write(f'{{"event_time":"{stamp}","user_id":"user_{user:044d}","page_url":"{page}","event_type":"page_view"}}\n')

    def fill(self) -> None:
        """Gives every user an event."""
        for user in range(self.keys):
            self.send(user)
        self.process.stdin.flush()

    def go_on(self, rate: int) -> None:
        """Sends events of random users at a steady rate until closed."""

        def steadily() -> None:
            began, sent = time.time(), 0
            while not self.over:
                while sent < (time.time() - began) * rate:
                    self.send(random.randrange(self.keys))
                    sent += 1
                self.process.stdin.flush()
                time.sleep(0.005)

        self.thread = threading.Thread(target=steadily, daemon=True)
        self.thread.start()

    def close(self) -> None:
        """Ends the producer."""
        self.over = True
        if self.thread:
            self.thread.join()
        self.process.stdin.close()
        self.process.wait()


def main() -> None:
    """Reads the command line, fills the topic and measures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--rate", type=int, default=1000, help="events a second meanwhile")
    parser.add_argument("--workers", default="1,2,4,3,1", help="what the job is moved between")
    args = parser.parse_args()
    with servers(spark=False) as (kafka, database, folder), contextlib.ExitStack() as stack:
        folder = folder / "job"
        folder.mkdir()
        database.create("restart")
        kafka.create("user_activity")
        feed = Feed(kafka, args.keys)
        stack.callback(feed.close)
        feed.fill()
        job = Job(folder, kafka, database.url("restart"))
        stack.callback(job.close)
        measure(job, feed, args)


def measure(job: Job, feed: Feed, args: argparse.Namespace) -> None:
    """Restarts, kills and rescales the job, and prints what each costs."""
    workers = [int(number) for number in args.workers.split(",")]
    job.start(workers[0])
    wait_until(lambda: job.read() >= args.keys, "the job that reads everything", LIMIT_S)
    job.checkpointed(time.time())
    feed.go_on(args.rate)
    time.sleep(3)
    steady, peak = job.memory()
    print(f"{args.keys:,} keys, checkpoint of {job.state_bytes() / 2**20:,.0f} MiB, {steady:,.0f} MiB resident, {peak:,.0f} MiB at the peak")

    since = time.time()
    job.end(signal.SIGTERM)
    drained = time.time() - since
    job.start(workers[0])
    seconds = job.commits_again(since + drained)
    time.sleep(3)
    resident, peak = job.memory()
    print(f"restart: drained in {drained:.2f} s, committing {seconds:.2f} s after the start; {resident:,.0f} MiB resident, {peak:,.0f} MiB at the peak")

    times = [kill(job, workers[0]) for _ in range(args.kills)]
    print(f"kill -9 to next commit, {len(times)} kills: {spread(times)}")
    moves = [rescale(job, new) for new in workers[1:]]
    print(f"request to drain to next commit, -w {' to '.join(map(str, workers))}: {', '.join(f'{seconds:.2f} s' for seconds in moves)}")


def kill(job: Job, workers: int) -> float:
    """Kills the job at any moment, starts it at once, and returns the seconds to its next commit."""
    time.sleep(random.uniform(1, 5))
    since = time.time()
    job.end(signal.SIGKILL)
    job.start(workers)
    return job.commits_again(since)


def rescale(job: Job, workers: int) -> float:
    """Drains the job, starts it with other workers, and returns the seconds from the request to the next commit."""
    time.sleep(3)
    since = time.time()
    job.end(signal.SIGTERM)
    job.start(workers)
    return job.commits_again(since)


def spread(times: list[float]) -> str:
    """Writes the middle, the ninety-ninth hundredth and the greatest of some times."""
    ordered = sorted(times)
    at = lambda share: ordered[max(0, math.ceil(share * len(ordered)) - 1)]
    return f"p50 {at(0.5):.2f} s, p99 {at(0.99):.2f} s, at most {ordered[-1]:.2f} s"


if __name__ == "__main__":
    main()
