"""The pipelines as Spark Structured Streaming applications: what Freshet is compared with.

The user-activity job has five streaming queries over one topic, each a reader of its own, as such jobs are written: page views, active users (approximate:
Spark has no exact distinct count on streams) and sessions into PostgreSQL by an upsert a batch, all events into a Parquet lake, and events with their
processing time into a second topic. The other jobs have modules of their own. `--live` runs until it is ended; otherwise a query stops at the end of its
topics (`availableNow`).

Prints `started` when the session stands and the queries begin, and `finished` when all of them have ended: the harness takes the time between.
"""

import argparse
import sys
import time

from pyspark.sql import DataFrame
from pyspark.sql import functions as f

import spark_clickstream
import spark_payments
from spark_common import arguments, read, session, start, upsert

EVENT = "event_time TIMESTAMP, user_id STRING, page_url STRING, event_type STRING"
DELAY = "2 minutes"


def main() -> None:
    """Starts the queries asked for and waits for their end."""
    args = arguments()
    spark = session()
    queries = {"page_views": page_views, "active_users": active_users, "sessions": sessions, "lake": lake, "enriched": enriched}
    queries |= spark_clickstream.QUERIES | spark_payments.QUERIES
    print(f"started {time.time():.3f}", flush=True)
    running = [queries[name](args) for name in args.queries.split(",")]
    for query in running:
        query.awaitTermination()
    print(f"finished {time.time():.3f}", flush=True)
    spark.stop()


def events(args: argparse.Namespace) -> DataFrame:
    """Reads the topic."""
    return read(args, args.topic, EVENT, "event_time")


def page_views(args: argparse.Namespace):
    """Counts the views of each page in each minute."""
    views = events(args).where("event_type = 'page_view'").withWatermark("event_time", DELAY)
    counts = views.groupBy(f.window("event_time", "1 minute").alias("w"), "page_url").agg(f.count("*").alias("view_count"))
    rows = counts.selectExpr("w.start AS window_start", "w.end AS window_end", "page_url", "view_count")
    return upsert(rows, args, "page_view_counts", ["window_start", "page_url"], "update")


def active_users(args: argparse.Namespace):
    """Counts, about, the users of each five minutes, every minute."""
    windows = events(args).withWatermark("event_time", DELAY).groupBy(f.window("event_time", "5 minutes", "1 minute").alias("w"))
    counts = windows.agg(f.approx_count_distinct("user_id").alias("active_users_count"))
    rows = counts.selectExpr("w.start AS window_start", "w.end AS window_end", "active_users_count")
    return upsert(rows, args, "active_users", ["window_start"], "update")


def sessions(args: argparse.Namespace):
    """Finds each user's sessions, with a gap of five minutes."""
    groups = events(args).withWatermark("event_time", DELAY).groupBy(f.session_window("event_time", "5 minutes").alias("w"), "user_id")
    rows = groups.agg(f.count("*").alias("n")).selectExpr(
        "user_id",
        "w.start AS session_start_time",
        "w.end AS session_end_time",
        "CAST(w.end AS BIGINT) - CAST(w.start AS BIGINT) AS session_duration_seconds",
    )
    # Session windows know no update mode: a session appears once, when the watermark has closed it.
    return upsert(rows, args, "user_sessions", ["user_id", "session_start_time"], "append")


def lake(args: argparse.Namespace):
    """Writes all events to Parquet."""
    writer = events(args).writeStream.format("parquet").outputMode("append").option("path", f"{args.folder}/lake")
    return start(writer, args, "lake")


def enriched(args: argparse.Namespace):
    """Writes all events, with their processing time, to a topic."""
    value = events(args).withColumn("processing_time", f.current_timestamp()).select(f.to_json(f.struct("*")).alias("value"))
    writer = value.writeStream.format("kafka").option("kafka.bootstrap.servers", args.brokers).option("topic", args.enriched_topic)
    return start(writer.option("kafka.compression.type", "lz4").outputMode("append"), args, "enriched")


if __name__ == "__main__":
    sys.exit(main())
