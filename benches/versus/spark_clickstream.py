"""The clickstream job in Spark: events without repeats as rows, and hits per minute."""

import argparse

from pyspark.sql import DataFrame
from pyspark.sql import functions as f

from spark_common import append, read, upsert

EVENT = "event_id STRING, user_id STRING, event_ts TIMESTAMP, url STRING, referrer STRING, ip STRING"


def clean(args: argparse.Namespace) -> DataFrame:
    """Validates and cleans events, and drops the repeats of an hour."""
    events = read(args, args.topic, EVENT, "event_ts").where("event_id IS NOT NULL AND user_id IS NOT NULL AND url <> ''")
    events = events.withColumn("url", f.lower(f.regexp_extract("url", "^[^#?]*", 0)))
    return events.withWatermark("event_ts", "1 hour").dropDuplicatesWithinWatermark(["event_id"])


def clickstream_events(args: argparse.Namespace):
    """Writes the events with the time at which they were received."""
    return append(clean(args).withColumn("received_at", f.current_timestamp()), args, "clickstream_events")


def clickstream_agg_minute(args: argparse.Namespace):
    """Counts the hits of each page in each minute."""
    counts = clean(args).groupBy(f.window("event_ts", "1 minute").alias("w"), "url").agg(f.count("*").alias("hits"))
    rows = counts.selectExpr("w.start AS window_start", "w.end AS window_end", "url", "hits")
    return upsert(rows, args, "clickstream_agg_minute", ["window_start", "url"], "update")


QUERIES = {"clickstream_events": clickstream_events, "clickstream_agg_minute": clickstream_agg_minute}
