//! What aggregates come to over small batches, how they are called, and what is refused of them.

use std::iter::once;

use arrow::array::{Decimal128Array, Float64Array, Int64Array};
use freshet_model::{Batch, Progress, Timestamp};

use super::*;
use crate::keys::KeyCodec;
use crate::lower::lower;
use crate::operators::partial::Sum;
use crate::operators::preaggregate::{Context, Preaggregate};
use crate::operators::result::finish;
use crate::state::Slot;

/// Four payments of one second each, the third without any value; the last with a NaN.
fn payments() -> RecordBatch {
    let amounts = Decimal128Array::from(vec![Some(1250_i128), Some(50), None, Some(1250)]);
    batch(vec![
        times(&[4 * SECOND, 2 * SECOND, 3 * SECOND, SECOND]),
        Arc::new(Int64Array::from(vec![Some(7), Some(8), None, Some(9)])),
        Arc::new(amounts.with_precision_and_scale(12, 2).expect("a decimal type")),
        Arc::new(Float64Array::from(vec![Some(0.5), Some(-1.5), None, Some(0.5)])),
        Arc::new(BooleanArray::from(vec![Some(true), Some(false), None, Some(true)])),
        Arc::new(Int64Array::from(vec![Some(1), Some(2), None, Some(2)])),
        times(&[0; 4]),
    ])
}

fn nothing() -> RecordBatch {
    payments().slice(2, 1)
}

/// What an aggregate over some payments is, as text.
fn over(columns: RecordBatch, aggregate: &str) -> String {
    let sql = format!("SELECT 'all' AS scope, {aggregate} AS x FROM payments GROUP BY scope");
    let plan = job(&[&sql]).unwrap_or_else(|error| panic!("{error}\n{sql}"));
    let fold = lower(&plan).folds.remove(0);
    let types: Vec<DataType> = fold.input.keys.iter().map(|key| key.data_type.clone()).collect();
    let context = Context {
        name: String::new(),
        source: "payments".to_owned(),
        time_column: Some(0),
        keys: fold.input.keys.clone(),
        key_time_bound: None,
        codec: Arc::new(KeyCodec::new(&types)),
        views: vec!["a".to_owned()],
        components: fold.components,
    };
    let rows = i64::try_from(columns.num_rows()).expect("few");
    let (range, offsets, progress) = (0..rows, (0..rows).collect(), Progress::AtEnd);
    let batch = Batch {
        partition: 0,
        range,
        columns,
        offsets,
        max_event_time: None,
        bytes: 0,
        dead: Vec::new(),
        early: Vec::new(),
        progress,
    };
    let mut sum = Preaggregate::new(Arc::new(context));
    sum.take(&batch, Timestamp::MIN);
    let (mut partials, _) = sum.finish();
    let state = partials.next().expect("a group").state;
    let Slot::Group(Some(group)) = &state.0[0] else { panic!("a group without a window, not {state:?}") };
    let aggregates = &aggregation(&plan.views[0]).aggregates;
    assert_eq!(aggregates.len(), 1, "{sql}");
    let column = finish(&aggregates[0], once(&group.accumulators[0])).unwrap_or_else(|error| panic!("{error}"));
    show(&super::batch(vec![column])).remove(0)
}

#[test]
fn aggregates_are_what_sql_says() {
    for (aggregate, value, of_nothing) in [
        ("count(*)", "4", "1"),
        ("count(fee)", "3", "0"),
        ("count(distinct fee)", "2", "0"),
        ("count_if(ok)", "2", "0"),
        ("count_if(ok) FILTER (WHERE fee > 1)", "1", "0"),
        ("bool_and(ok)", "false", "∅"),
        ("bool_or(ok)", "true", "∅"),
        ("sum(distinct fee)", "3", "∅"),
        ("sum(distinct amount)", "13.00", "∅"),
        ("sum(distinct score)", "-1.0", "∅"),
        ("avg(distinct fee)", "1.5", "∅"),
        ("avg(distinct amount)", "6.500000", "∅"),
        ("avg(distinct score)", "-0.5", "∅"),
        ("var_samp(fee)", "0.3333333333333333", "∅"),
        ("variance(fee)", "0.3333333333333333", "∅"),
        ("var_pop(score)", "0.8888888888888888", "∅"),
        ("var_pop(account)", "0.6666666666666666", "∅"),
        ("stddev(account)", "1.0", "∅"),
        ("stddev_samp(amount)", "6.928203230275509", "∅"),
        ("stddev_pop(account)", "0.816496580927726", "∅"),
        ("approx_count_distinct(amount)", "2", "0"),
        ("approx_distinct(CAST(fee AS TEXT))", "2", "0"),
        ("first_value(fee)", "2", "∅"),
        ("last_value(fee)", "1", "∅"),
        ("first_value(account ORDER BY fee)", "7", "∅"),
        ("last_value(account ORDER BY fee)", "∅", "∅"),
        ("last_value(account ORDER BY fee) FILTER (WHERE fee IS NOT NULL)", "9", "∅"),
        ("first_value(account ORDER BY fee DESC) IGNORE NULLS", "9", "∅"),
        ("last_value(amount ORDER BY ts DESC)", "12.50", "∅"),
        ("array_agg(fee)", "[1,2,2,null]", "[null]"),
        ("array_agg(fee) IGNORE NULLS", "[1,2,2]", "∅"),
        ("array_agg(distinct fee)", "[1,2,null]", "[null]"),
        ("array_agg(fee ORDER BY fee DESC)", "[null,2,2,1]", "[null]"),
        ("array_agg(amount ORDER BY ts)", "[12.50,0.50,null,12.50]", "[null]"),
        ("array_agg(account, 2 ORDER BY ts DESC)", "[7,null,{\"more\":true}]", "[null]"),
        ("string_agg(CAST(fee AS TEXT), '-')", "1-2-2", "∅"),
        ("string_agg(distinct CAST(fee AS TEXT), '-', 1)", "1-…", "∅"),
        ("funnel(INTERVAL '1 second', fee = 2, fee = 1)", "1", "0"),
        ("funnel(INTERVAL '2 seconds', NOT ok, ok)", "2", "0"),
        ("funnel(INTERVAL '3 seconds', ok, fee = 2, account = 7)", "3", "0"),
        ("funnel(INTERVAL '3 seconds', account = 9, account = 7, account = 8 ORDER BY ts)", "2", "0"),
    ] {
        assert_eq!(over(payments(), aggregate), value, "{aggregate}");
        assert_eq!(over(nothing(), aggregate), of_nothing, "{aggregate} of NULLs");
    }
}

#[test]
fn quantiles_are_within_one_per_cent() {
    for (aggregate, exact) in [
        ("approx_median(account)", 8.0),
        ("approx_percentile_cont(amount, 0)", 0.5),
        ("approx_percentile_cont(amount, 1.0)", 12.5),
        ("approx_percentile_cont(0.99) WITHIN GROUP (ORDER BY account)", 8.0),
        ("approx_quantile(score, 0.1)", -1.5),
        ("approx_percentile(score, 0.5)", 0.5),
    ] {
        let value: f64 = over(payments(), aggregate).parse().expect("a number");
        assert!((value - exact).abs() <= 0.01 * exact.abs(), "{aggregate}: {value}");
        assert_eq!(over(nothing(), aggregate), "∅");
    }
}

#[test]
fn equal_calls_under_other_names_are_kept_once() {
    let view = view(
        "SELECT ok, stddev(score) AS a, stddev_samp(score) AS b, count_if(fee > 1) AS c, count(*) FILTER (WHERE fee > 1) AS d, \
         first_value(fee) AS e, last_value(fee ORDER BY ts DESC) AS f, approx_median(score) AS g, approx_percentile_cont(score, 0.5) AS h, \
         array_agg(fee) AS i, array_agg(fee, 1000 ORDER BY fee) AS j FROM payments GROUP BY ok",
    );
    let names: Vec<&str> = aggregation(&view).aggregates.iter().map(|aggregate| aggregate.name.as_str()).collect();
    let kept = [
        "stddev_samp(score)",
        "count(*) FILTER (WHERE fee > 1)",
        "first_value(fee ORDER BY ts)",
        "approx_percentile_cont(score, 0.5)",
        "array_agg(fee, 1000 ORDER BY fee)",
    ];
    assert_eq!(names, kept);
}

#[test]
fn what_an_aggregate_does_not_take() {
    for (aggregate, problem, remedy) in [
        ("first_value(fee ORDER BY ts, fee)", "ORDER BY several expressions", "order by one"),
        ("first_value(fee ORDER BY ts NULLS FIRST)", "NULLS FIRST", "FILTER"),
        ("sum(fee) IGNORE NULLS", "null treatment", "leave it out"),
        ("approx_percentile_cont(fee, 1.5)", "is 1.5", "from 0 to 1"),
        ("approx_percentile_cont(fee, score)", "the share", "from 0 to 1"),
        ("approx_percentile_cont(0.9) WITHIN GROUP (ORDER BY fee DESC)", "descending", "1 - q"),
        ("array_agg(fee, 0)", "greatest length of array_agg()", "leave it out for 1000"),
        ("array_agg(fee, 1000000)", "from 1 to 10000", "leave it out for 1000"),
        ("array_agg(distinct fee ORDER BY ts)", "another order", "leave DISTINCT out"),
        ("string_agg(CAST(fee AS TEXT), CAST(account AS TEXT))", "delimiter", "string_agg(x, ', ')"),
        ("funnel(INTERVAL '1 hour')", "0 steps", "condition of step 1"),
        ("funnel(INTERVAL '1 month', ok)", "months", "days"),
        ("funnel(3, ok)", "not an interval", "INTERVAL"),
        ("funnel(INTERVAL '1 hour', ok ORDER BY fee)", "not a time", "timestamp"),
        ("funnel(INTERVAL '1 hour', ok ORDER BY ts DESC)", "descending", "leave DESC out"),
    ] {
        let error = refusal(&format!("SELECT account, {aggregate} AS x FROM payments GROUP BY account"));
        assert!(error.contains(problem) && error.contains(remedy), "{aggregate}\n{error}");
    }
    let steps = vec!["ok"; 33].join(", ");
    assert!(
        refusal(&format!("SELECT fee, funnel(INTERVAL '1 hour', {steps}) AS x FROM payments GROUP BY fee")).contains("1 to 32")
    );
    for aggregate in ["first_value(label)", "funnel(INTERVAL '1 hour', label = 'x')"] {
        let error = refusal(&format!("SELECT code, {aggregate} AS x FROM lookup GROUP BY code"));
        assert!(error.contains("'lookup' has no event time") && error.contains("ORDER BY t"), "{error}");
    }
}

#[test]
fn a_funnel_without_a_window_is_warned_of() {
    let funnel = "funnel(INTERVAL '1 hour', ok, fee > 1) AS x";
    let ever = view(&format!("SELECT account, {funnel} FROM payments GROUP BY account"));
    assert!(ever.warnings.iter().any(|warning| warning.contains("steps for ever")), "{:?}", ever.warnings);
    let hours = format!("SELECT window_start, {funnel} FROM tumble(payments, INTERVAL '1 hour') GROUP BY window_start");
    assert_eq!(view(&hours).warnings, Vec::<String>::new());
}

#[test]
fn what_cannot_be_taken_back_is_not_kept_of_views() {
    let counts = "SELECT ok, fee, count(*) AS n FROM payments GROUP BY ok, fee";
    let over = |aggregate: &str| job(&[counts, &format!("SELECT ok, {aggregate} AS x FROM a GROUP BY ok")]);
    let error = over("approx_count_distinct(fee)").expect_err("a sketch").to_string();
    assert!(error.contains("can be taken back") && error.contains("count(distinct x)"), "{error}");
    let error = over("first_value(n)").expect_err("no time").to_string();
    assert!(error.contains("needs an order") && error.contains("first_value(… ORDER BY t)"), "{error}");
    for aggregate in ["first_value(n ORDER BY fee)", "array_agg(n)", "stddev(n)", "approx_median(n)", "sum(distinct n)"] {
        over(aggregate).unwrap_or_else(|error| panic!("{error}"));
    }
}
