"""The user-activity job as a Spark Structured Streaming application: what Freshet is compared with.

Five streaming queries over one topic, each a reader of its own, as such jobs are written: page views, active users (approximate: Spark has no
exact distinct count on streams) and sessions into PostgreSQL by an upsert a batch, all events into a Parquet lake, and events with their
processing time into a second topic. `--live` runs until it is ended; otherwise it stops at the end of the topic (`availableNow`).

Prints `started` when the session stands and the queries begin, and `finished` when all of them have ended: the harness takes the time between.
"""

import argparse
import sys
import time

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as f

EVENT = "event_time TIMESTAMP, user_id STRING, page_url STRING, event_type STRING"
DELAY = "2 minutes"


def main() -> None:
    """Starts the queries asked for and waits for their end."""
    args = arguments()
    spark = session()
    events = read(spark, args)
    queries = {
        "page_views": lambda: to_postgres(page_views(events), args, "page_view_counts", ["window_start", "page_url"], "update"),
        "active_users": lambda: to_postgres(active_users(events), args, "active_users", ["window_start"], "update"),
        # Session windows know no update mode: a session appears once, when the watermark has closed it.
        "sessions": lambda: to_postgres(sessions(events), args, "user_sessions", ["user_id", "session_start_time"], "append"),
        "lake": lambda: lake(events, args),
        "enriched": lambda: enriched(events, args),
    }
    print(f"started {time.time():.3f}", flush=True)
    running = [queries[name]() for name in args.queries.split(",")]
    for query in running:
        query.awaitTermination()
    print(f"finished {time.time():.3f}", flush=True)
    spark.stop()


def arguments() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description="The user-activity job in Spark")
    parser.add_argument("--brokers", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--enriched-topic", required=True)
    parser.add_argument("--jdbc", required=True, help="jdbc:postgresql://…")
    parser.add_argument("--folder", required=True, help="for the lake and the queries' checkpoints")
    parser.add_argument("--queries", default="page_views,active_users,sessions,lake,enriched")
    parser.add_argument("--live", action="store_true")
    parser.add_argument("--max-offsets", type=int, help="records a batch; all that there are unless given")
    return parser.parse_args()


def session() -> SparkSession:
    """Opens the session; memory, jars and cores come from spark-submit's side."""
    builder = SparkSession.builder.appName("user_activity").config("spark.sql.shuffle.partitions", "2")
    spark = builder.config("spark.sql.session.timeZone", "UTC").config("spark.ui.enabled", "false").getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    return spark


def read(spark: SparkSession, args: argparse.Namespace) -> DataFrame:
    """Reads and parses the topic; what is no event is dropped."""
    source = spark.readStream.format("kafka").option("kafka.bootstrap.servers", args.brokers).option("subscribe", args.topic)
    source = source.option("startingOffsets", "latest" if args.live else "earliest")
    if args.max_offsets:
        source = source.option("maxOffsetsPerTrigger", args.max_offsets)
    parsed = source.load().select(f.from_json(f.col("value").cast("string"), EVENT).alias("e")).select("e.*")
    return parsed.where("event_time IS NOT NULL")


def page_views(events: DataFrame) -> DataFrame:
    """Counts the views of each page in each minute."""
    views = events.where("event_type = 'page_view'").withWatermark("event_time", DELAY)
    counts = views.groupBy(f.window("event_time", "1 minute").alias("w"), "page_url").agg(f.count("*").alias("view_count"))
    return counts.selectExpr("w.start AS window_start", "w.end AS window_end", "page_url", "view_count")


def active_users(events: DataFrame) -> DataFrame:
    """Counts, about, the users of each five minutes, every minute."""
    windows = events.withWatermark("event_time", DELAY).groupBy(f.window("event_time", "5 minutes", "1 minute").alias("w"))
    counts = windows.agg(f.approx_count_distinct("user_id").alias("active_users_count"))
    return counts.selectExpr("w.start AS window_start", "w.end AS window_end", "active_users_count")


def sessions(events: DataFrame) -> DataFrame:
    """Finds each user's sessions, with a gap of five minutes."""
    groups = events.withWatermark("event_time", DELAY).groupBy(f.session_window("event_time", "5 minutes").alias("w"), "user_id")
    return groups.agg(f.count("*").alias("n")).selectExpr(
        "user_id",
        "w.start AS session_start_time",
        "w.end AS session_end_time",
        "CAST(w.end AS BIGINT) - CAST(w.start AS BIGINT) AS session_duration_seconds",
    )


def to_postgres(rows: DataFrame, args: argparse.Namespace, table: str, key: list[str], mode: str):
    """Upserts each batch: into a staging table, then one INSERT … ON CONFLICT."""
    columns = rows.columns
    updates = ", ".join(f"{c} = EXCLUDED.{c}" for c in columns if c not in key)
    merge = (
        f"INSERT INTO {table} ({', '.join(columns)}) SELECT {', '.join(columns)} FROM staging_{table} "
        f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET {updates}"
    )
    url = args.jdbc + "&reWriteBatchedInserts=true"

    def upsert(batch: DataFrame, _: int) -> None:
        writer = batch.write.format("jdbc").option("url", url).option("dbtable", f"staging_{table}").option("driver", "org.postgresql.Driver")
        writer.option("batchsize", 10000).option("truncate", "true").mode("overwrite").save()
        connection = batch.sparkSession._jvm.java.sql.DriverManager.getConnection(url)
        try:
            connection.createStatement().execute(merge)
        finally:
            connection.close()

    return start(rows.writeStream.outputMode(mode).foreachBatch(upsert), args, table)


def lake(events: DataFrame, args: argparse.Namespace):
    """Writes all events to Parquet."""
    writer = events.writeStream.format("parquet").outputMode("append").option("path", f"{args.folder}/lake")
    return start(writer, args, "lake")


def enriched(events: DataFrame, args: argparse.Namespace):
    """Writes all events, with their processing time, to a topic."""
    value = events.withColumn("processing_time", f.current_timestamp()).select(f.to_json(f.struct("*")).alias("value"))
    writer = value.writeStream.format("kafka").option("kafka.bootstrap.servers", args.brokers).option("topic", args.enriched_topic)
    return start(writer.option("kafka.compression.type", "lz4").outputMode("append"), args, "enriched")


def start(writer, args: argparse.Namespace, name: str):
    """Starts a query with a checkpoint of its own."""
    writer = writer.queryName(name).option("checkpointLocation", f"{args.folder}/checkpoints/{name}")
    return (writer if args.live else writer.trigger(availableNow=True)).start()


if __name__ == "__main__":
    sys.exit(main())
