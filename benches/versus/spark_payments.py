"""Payments with the logins of the ten minutes before them, in Spark: an inner join of two streams with a band of time."""

import argparse

from pyspark.sql import functions as f

from spark_common import append, read

PAYMENT = "payment_id STRING, user_id STRING, event_time TIMESTAMP, amount DECIMAL(12, 2)"
LOGIN = "login_id STRING, user_id STRING, event_time TIMESTAMP"


def payment_logins(args: argparse.Namespace):
    """Joins the two topics."""
    payments, logins = args.topic.split(",")
    payments = read(args, payments, PAYMENT, "event_time").withWatermark("event_time", "2 minutes").alias("p")
    logins = read(args, logins, LOGIN, "event_time").withWatermark("event_time", "2 minutes").alias("l")
    band = "p.user_id = l.user_id AND p.event_time BETWEEN l.event_time AND l.event_time + INTERVAL 10 MINUTES"
    columns = ["p.payment_id", "l.login_id", "p.user_id", "p.event_time AS paid_at", "l.event_time AS logged_in_at", "p.amount"]
    return append(payments.join(logins, f.expr(band)).selectExpr(*columns), args, "payment_logins")


QUERIES = {"payment_logins": payment_logins}
