"""The two systems under comparison, behind one small interface: how each is started on a topic, a database and a folder."""

import os
import pathlib
import re

from measure import Tree
from servers import ROOT, SPARK, Kafka, Postgres

FRESHET = pathlib.Path(os.environ.get("FRESHET", ROOT / "target/release/freshet"))

# What is computed: name on the command line, Spark's queries, the parts of Freshet's job.
THREE = ["view.page_view_counts", "view.active_users", "view.user_sessions", "sink.warehouse"]
WORK = {
    "pv": ("page_views", ["view.page_view_counts", "sink.warehouse"]),
    "three": ("page_views,active_users,sessions", THREE),
    "five": ("page_views,active_users,sessions,lake,enriched", [*THREE, "view.enriched_activity", "sink.lake", "sink.enriched"]),
}
ALL_VIEWS = '["page_view_counts", "active_users", "user_sessions"]'

TABLES = """
CREATE TABLE page_view_counts (window_start TIMESTAMP, window_end TIMESTAMP, page_url VARCHAR(255), view_count BIGINT,
    PRIMARY KEY (window_start, page_url));
CREATE TABLE active_users (window_start TIMESTAMP PRIMARY KEY, window_end TIMESTAMP, active_users_count BIGINT);
CREATE TABLE user_sessions (user_id VARCHAR(50), session_start_time TIMESTAMP, session_end_time TIMESTAMP,
    session_duration_seconds BIGINT, PRIMARY KEY (user_id, session_start_time));
"""


class Spark:
    """Spark Structured Streaming: `local[2]`, two shuffle partitions, 6 GB for the driver."""

    name = "Spark 3.5"

    def __init__(self, max_offsets: int | None = None):
        self.max_offsets = max_offsets

    def start(self, kafka: Kafka, database: Postgres, name: str, topic: str, work: str, folder: pathlib.Path, live: bool) -> Tree:
        """Starts the application."""
        jars = ",".join(str(jar) for jar in sorted((SPARK / "jars").glob("*.jar")))
        submit = [SPARK / "venv/bin/spark-submit", "--master", "local[2]", "--driver-memory", "6g", "--jars", jars]
        submit += ["--driver-class-path", jars.replace(",", ":")]
        job = [ROOT / "benches/versus/spark_job.py", "--brokers", kafka.address, "--topic", topic, "--enriched-topic", f"{topic}_enriched"]
        job += ["--jdbc", database.jdbc(name), "--folder", folder, "--queries", WORK[work][0]]
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

    def start(self, kafka: Kafka, database: Postgres, name: str, topic: str, work: str, folder: pathlib.Path, live: bool) -> Tree:
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


def job_text(work: str, topic: str) -> str:
    """Takes the committed job, leaves out what the work does not ask for, and points it at a topic."""
    text = (ROOT / "jobs/user_activity.toml").read_text()
    parts = re.split(r"(?m)^(?=\[)", text)
    wanted = ["source.user_activity", *WORK[work][1]]
    text = "".join(part for part in parts if part.partition("]")[0].lstrip("[") in wanted)
    if work == "pv":
        text = text.replace(f"views = {ALL_VIEWS}", 'views = ["page_view_counts"]')
    return text.replace('/user_activity"', f'/{topic}"').replace('/enriched_activity"', f'/{topic}_enriched"')
