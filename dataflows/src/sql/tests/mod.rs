//! Plans of whole jobs: their shape, what their expressions compute on small batches, and what is refused.

mod aggregates;
mod cascade;
mod enrich;
mod functions;
mod joins;
mod keys;
mod pipelines;
mod refusals;
mod rows;
mod streams;
mod types;
mod windows;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use freshet_model::Column;

use super::{PlanError, ViewDefinition, plan};
use crate::plan::{Aggregation, Body, Emit, Expression, Join, LatePolicy, Map, Plan, SourcePlan, View};

/// A second, in the unit of all times.
const SECOND: i64 = 1_000_000;

fn source(name: &str, columns: &[(&str, &str)], time_column: Option<usize>) -> SourcePlan {
    let column = |(name, column_type): &(&str, &str)| Column {
        name: (*name).to_owned(),
        column_type: column_type.parse().expect("a column type"),
    };
    SourcePlan { name: name.to_owned(), columns: columns.iter().map(column).collect(), time_column, derived: None }
}

/// The sources of the tests: pipeline 1's, one with numbers, one without time, one with capital letters.
fn sources() -> Vec<SourcePlan> {
    let activity =
        [("event_time", "timestamp"), ("user_id", "varchar(50)"), ("page_url", "varchar(255)"), ("event_type", "text")];
    let payments = [
        ("ts", "timestamp"),
        ("account", "bigint"),
        ("amount", "decimal(12,2)"),
        ("score", "double"),
        ("ok", "boolean"),
        ("fee", "bigint"),
    ];
    vec![
        source("user_activity", &activity, Some(0)),
        source("payments", &payments, Some(0)),
        source("lookup", &[("code", "text"), ("label", "text")], None),
        source("odd", &[("count(*)", "bigint"), ("a b", "text"), ("processing_time", "timestamp")], Some(2)),
        source("Clicks", &[("eventTime", "timestamp"), ("userId", "text")], Some(0)),
    ]
}

fn definition(name: &str, sql: &str) -> ViewDefinition {
    ViewDefinition { name: name.to_owned(), sql: sql.to_owned(), key: Vec::new(), emit: Emit::Changes, late: LatePolicy::Keep }
}

/// Plans a job of views named `a`, `b`, … .
fn job(views: &[&str]) -> Result<Plan, PlanError> {
    let names = ["a", "b", "c", "d", "e"];
    plan(&sources(), &names.iter().zip(views).map(|(name, sql)| definition(name, sql)).collect::<Vec<_>>())
}

fn view(sql: &str) -> View {
    match job(&[sql]) {
        Ok(mut plan) => plan.views.remove(0),
        Err(error) => panic!("{error}\n{sql}"),
    }
}

fn refusal(sql: &str) -> String {
    match job(&[sql]) {
        Ok(plan) => panic!("{sql}\nis planned as {plan:#?}"),
        Err(error) => error.to_string(),
    }
}

fn map(view: &View) -> &Map {
    match &view.body {
        Body::Map(map) => map,
        _ => panic!("'{}' is not row by row", view.sql),
    }
}

fn aggregation(view: &View) -> &Aggregation {
    match &view.body {
        Body::Aggregate(aggregation) => aggregation,
        _ => panic!("'{}' does not aggregate", view.sql),
    }
}

fn join(view: &View) -> &Join {
    match &view.body {
        Body::Join(join) => join,
        _ => panic!("'{}' is no join", view.sql),
    }
}

/// The texts of expressions.
fn texts(expressions: &[Expression]) -> Vec<&str> {
    expressions.iter().map(|e| e.text.as_str()).collect()
}

fn columns(view: &View) -> Vec<String> {
    view.table.columns.iter().map(|c| format!("{} {}", c.name, c.column_type)).collect()
}

fn key(view: &View) -> Vec<&str> {
    view.table.key.iter().map(|&i| view.table.columns[i].name.as_str()).collect()
}

fn times(micros: &[i64]) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from(micros.to_vec()))
}

fn words(words: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(words.to_vec()))
}

fn batch(columns: Vec<ArrayRef>) -> RecordBatch {
    let fields = columns.iter().enumerate().map(|(i, c)| Field::new(format!("c{i}"), c.data_type().clone(), true));
    RecordBatch::try_new(Arc::new(Schema::new(fields.collect::<Vec<_>>())), columns).expect("columns of one length")
}

/// Three events of pipeline 1, and behind them their processing time.
fn activity() -> RecordBatch {
    batch(vec![
        times(&[0, 30 * SECOND, 61 * SECOND]),
        words(&["ann", "bob", "ann"]),
        words(&["/", "/cart", "/"]),
        words(&["page_view", "click", "page_view"]),
        times(&[100 * SECOND; 3]),
    ])
}

fn evaluate(expression: &Expression, batch: &RecordBatch) -> ArrayRef {
    let array = expression.compiled.evaluate(batch).and_then(|v| v.into_array(batch.num_rows())).expect("a value");
    assert_eq!(array.data_type(), &expression.data_type, "{expression:?}");
    array
}

/// The rows that a map makes of a batch, as text.
fn run(map: &Map, batch: &RecordBatch) -> Vec<String> {
    let batch = match &map.filter {
        Some(filter) => {
            let keep = evaluate(filter, batch);
            let keep = keep.as_any().downcast_ref::<BooleanArray>().expect("a condition");
            filter_record_batch(batch, keep).expect("as many values as rows")
        }
        None => batch.clone(),
    };
    let columns = map.project.iter().map(|e| evaluate(e, &batch)).collect();
    show(&RecordBatch::try_new(Arc::clone(&map.schema), columns).expect("the columns of the schema"))
}

fn show(batch: &RecordBatch) -> Vec<String> {
    let options = FormatOptions::new().with_null("∅");
    let columns: Vec<_> = batch.columns().iter().map(|c| ArrayFormatter::try_new(c, &options).expect("printable")).collect();
    (0..batch.num_rows()).map(|row| columns.iter().map(|c| c.value(row).to_string()).collect::<Vec<_>>().join(" ")).collect()
}

/// What one expression over the payments is on one of them.
fn payment(expression: &str) -> String {
    let view = view(&format!("SELECT {expression} AS x FROM payments"));
    run(map(&view), &one_payment()).remove(0)
}

/// 2026-01-29T09:31:03.027, account 7, amount 12.50, score 0.25, ok, fee 3.
fn one_payment() -> RecordBatch {
    use arrow::array::{Decimal128Array, Float64Array, Int64Array};
    let amount = Decimal128Array::from(vec![1250_i128]).with_precision_and_scale(12, 2).expect("a decimal type");
    batch(vec![
        times(&[1_769_679_063_027_000]),
        Arc::new(Int64Array::from(vec![7])),
        Arc::new(amount),
        Arc::new(Float64Array::from(vec![0.25])),
        Arc::new(BooleanArray::from(vec![true])),
        Arc::new(Int64Array::from(vec![3])),
        times(&[0]),
    ])
}

const TIME: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);
