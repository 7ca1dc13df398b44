"""The two systems under comparison, behind one small interface: how each is started on a topic, a database and a folder."""

import dataclasses
import json
import os
import pathlib
import re

from measure import Tree
from servers import ROOT, SPARK, Kafka, Postgres

FRESHET = pathlib.Path(os.environ.get("FRESHET", ROOT / "target/release/freshet"))


@dataclasses.dataclass
class Work:
    """What is computed of which topics, and how each system is told."""

    queries: str
    """Spark's queries."""
    job: str
    """Freshet's job file, from the root of the repository."""
    ddl: str
    """The tables, made beforehand."""
    shown: str
    """The table whose first row is waited for."""
    total: str
    """What all its rows come to: the systems should agree."""
    topics: dict[str, list]
    """The topics in the order of Spark's command line, each with what the generator is told besides its kind, which has its name."""
    parts: list[str] | None = None
    """The parts of the job; all of it unless given."""


THREE = ["view.page_view_counts", "view.active_users", "view.user_sessions", "sink.warehouse"]


def user_activity(queries: str, parts: list[str]) -> Work:
    """A part of the user-activity job."""
    # Without malformed events: one NUL character in a text ends Spark's queries for good.
    topics = {"user_activity": ["--span", "2h", "--malformed", 0]}
    total = "SELECT coalesce(sum(view_count), 0), count(*) FROM page_view_counts"
    ddl = "deploy/sql/user_activity.sql"
    return Work(queries, "jobs/user_activity.toml", ddl, "page_view_counts", total, topics, ["source.user_activity", *parts])


WORK = {
    "pv": user_activity("page_views", ["view.page_view_counts", "sink.warehouse"]),
    "three": user_activity("page_views,active_users,sessions", THREE),
    "five": user_activity(
        "page_views,active_users,sessions,lake,enriched", [*THREE, "view.enriched_activity", "sink.lake", "sink.enriched"]
    ),
    "clickstream": Work(
        "clickstream_events,clickstream_agg_minute",
        "jobs/clickstream.toml",
        "deploy/sql/clickstream.sql",
        "clickstream_agg_minute",
        "SELECT (SELECT count(*) FROM clickstream_events), (SELECT sum(hits) FROM clickstream_agg_minute)",
        {"clickstream": ["--span", "2h", "--malformed", 0]},
        ["source.clickstream", "view.clickstream_events", "view.clickstream_agg_minute", "sink.analytics"],
    ),
    "join": Work(
        "payment_logins",
        "benches/versus/join.toml",
        "benches/versus/join.sql",
        "payment_logins",
        "SELECT count(*), count(DISTINCT payment_id) FROM payment_logins",
        {topic: ["--span", "2h", "--users", 1_000_000, "--malformed", 0, "--repeated", 0] for topic in ("payments", "logins")},
    ),
}


class Spark:
    """Spark Structured Streaming: `local[2]`, two shuffle partitions, 6 GB for the driver."""

    name = "Spark 3.5"

    def __init__(self, max_offsets: int | None = None):
        self.max_offsets = max_offsets

    def start(self, kafka: Kafka, database: Postgres, name: str, topic: str, work: Work, folder: pathlib.Path, live: bool) -> Tree:
        """Starts the application."""
        jars = ",".join(str(jar) for jar in sorted((SPARK / "jars").glob("*.jar")))
        submit = [SPARK / "venv/bin/spark-submit", "--master", "local[2]", "--driver-memory", "6g", "--jars", jars]
        submit += ["--driver-class-path", jars.replace(",", ":")]
        job = [ROOT / "benches/versus/spark_job.py", "--brokers", kafka.address, "--topic", topic, "--enriched-topic", f"{topic}_enriched"]
        job += ["--jdbc", database.jdbc(name), "--folder", folder, "--queries", work.queries]
        job += ["--live"] if live else []
        job += ["--max-offsets", self.max_offsets] if self.max_offsets else []
        environment = {**os.environ, "PYSPARK_PYTHON": str(SPARK / "venv/bin/python"), "SPARK_LOCAL_IP": "127.0.0.1"}
        return Tree([*submit, *job], folder / "spark.log", env=environment, cwd=folder)

    def processing_seconds(self, tree: Tree) -> float:
        """Returns the time from the first query's start to the last one's end: the JVM's own start is not held against it."""
        return tree.mark("finished") - tree.mark("started")


class Freshet:
    """Freshet with a number of workers; unless `keeps`, its epoch log lies in memory and no checkpoint is taken, as nobody should run it."""

    def __init__(self, workers: int, keeps: bool = True):
        self.workers = workers
        self.keeps = keeps
        self.name = f"Freshet -w {workers}" + ("" if keeps else ", nothing kept")

    def start(self, kafka: Kafka, database: Postgres, name: str, topic: str, work: Work, folder: pathlib.Path, live: bool) -> Tree:
        """Starts the job, on the topic's own name."""
        job = folder / "job.toml"
        job.write_text(job_text(work, topic) + ("" if self.keeps else '\n[checkpoint]\ninterval = "24h"\n'))
        command = [FRESHET, "run", job, "-w", self.workers, *([] if live else ["--bounded"])]
        command += [] if self.keeps else ["--state", f"memory://{name}"]
        environment = {**os.environ, "KAFKA_URL": f"kafka://{kafka.address}", "DATABASE_URL": database.url(name)}
        return Tree(command, folder / "freshet.log", env=environment, cwd=folder)

    def processing_seconds(self, tree: Tree) -> float:
        """Returns the time from start to exit: there is no start-up worth leaving out."""
        return tree.ended - tree.started


def job_text(work: Work, topic: str) -> str:
    """Takes the committed job, leaves out what the work does not ask for, and points it at the topic if that has another name."""
    text = (ROOT / work.job).read_text()
    if work.parts is None:
        return text
    parts = re.split(r"(?m)^(?=\[)", text)
    text = "".join(part for part in parts if part.partition("]")[0].lstrip("[") in work.parts)
    held = {part.partition(".")[2] for part in work.parts}
    text = re.sub(r"(?m)^views = (\[.*\])$", lambda views: f"views = {json.dumps([v for v in json.loads(views[1]) if v in held])}", text)
    usual = next(iter(work.topics))
    return text.replace(f'/{usual}"', f'/{topic}"').replace('/enriched_activity"', f'/{topic}_enriched"')
