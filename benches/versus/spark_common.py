"""What the Spark jobs share: the command line, the session, and how a query reads a topic and writes to PostgreSQL."""

import argparse

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as f


def arguments() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description="A pipeline in Spark Structured Streaming")
    parser.add_argument("--brokers", required=True)
    parser.add_argument("--topic", required=True, help="the topic, or several with commas between")
    parser.add_argument("--enriched-topic", required=True)
    parser.add_argument("--jdbc", required=True, help="jdbc:postgresql://…")
    parser.add_argument("--folder", required=True, help="for the lake and the queries' checkpoints")
    parser.add_argument("--queries", default="page_views,active_users,sessions,lake,enriched")
    parser.add_argument("--live", action="store_true")
    parser.add_argument("--max-offsets", type=int, help="records a batch; all that there are unless given")
    return parser.parse_args()


def session() -> SparkSession:
    """Opens the session; memory, jars and cores come from spark-submit's side."""
    builder = SparkSession.builder.appName("versus").config("spark.sql.shuffle.partitions", "2")
    spark = builder.config("spark.sql.session.timeZone", "UTC").config("spark.ui.enabled", "false").getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    return spark


def read(args: argparse.Namespace, topic: str, schema: str, time: str) -> DataFrame:
    """Reads and parses a topic; what is no event is dropped."""
    spark = SparkSession.getActiveSession()
    source = spark.readStream.format("kafka").option("kafka.bootstrap.servers", args.brokers).option("subscribe", topic)
    source = source.option("startingOffsets", "latest" if args.live else "earliest")
    if args.max_offsets:
        source = source.option("maxOffsetsPerTrigger", args.max_offsets)
    parsed = source.load().select(f.from_json(f.col("value").cast("string"), schema).alias("e")).select("e.*")
    return parsed.where(f"{time} IS NOT NULL")


def upsert(rows: DataFrame, args: argparse.Namespace, table: str, key: list[str], mode: str):
    """Upserts each batch: into a staging table, then one INSERT … ON CONFLICT."""
    columns = rows.columns
    updates = ", ".join(f"{c} = EXCLUDED.{c}" for c in columns if c not in key)
    merge = (
        f"INSERT INTO {table} ({', '.join(columns)}) SELECT {', '.join(columns)} FROM staging_{table} "
        f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET {updates}"
    )

    def batch(rows: DataFrame, _: int) -> None:
        jdbc(rows, args, f"staging_{table}").option("truncate", "true").mode("overwrite").save()
        connection = rows.sparkSession._jvm.java.sql.DriverManager.getConnection(url(args))
        try:
            connection.createStatement().execute(merge)
        finally:
            connection.close()

    return start(rows.writeStream.outputMode(mode).foreachBatch(batch), args, table)


def append(rows: DataFrame, args: argparse.Namespace, table: str):
    """Appends each batch as it is. A batch that fails half-way is written again: at least once."""

    def batch(rows: DataFrame, _: int) -> None:
        jdbc(rows, args, table).mode("append").save()

    return start(rows.writeStream.outputMode("append").foreachBatch(batch), args, table)


def jdbc(rows: DataFrame, args: argparse.Namespace, table: str):
    """Returns a writer into a table of the database."""
    writer = rows.write.format("jdbc").option("url", url(args)).option("dbtable", table)
    return writer.option("driver", "org.postgresql.Driver").option("batchsize", 10000)


def url(args: argparse.Namespace) -> str:
    """Returns the database's URL, with the driver's fastest way to insert."""
    return args.jdbc + "&reWriteBatchedInserts=true&stringtype=unspecified"


def start(writer, args: argparse.Namespace, name: str):
    """Starts a query with a checkpoint of its own."""
    writer = writer.queryName(name).option("checkpointLocation", f"{args.folder}/checkpoints/{name}")
    return (writer if args.live else writer.trigger(availableNow=True)).start()
