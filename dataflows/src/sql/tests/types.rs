//! Types: coercion, casts, arithmetic, and what becomes of them in the view's columns.

use super::*;

fn type_of(expression: &str) -> String {
    view(&format!("SELECT {expression} AS x FROM payments")).table.columns[0].column_type.to_string()
}

#[test]
fn values_are_what_sql_says() {
    for (expression, value) in [
        ("fee + 1", "4"),
        ("account / 2", "3"),
        ("account % 2", "1"),
        ("-fee", "-3"),
        ("amount * 2", "25.00"),
        ("amount * 1.1", "13.750"),
        ("amount + fee", "15.50"),
        ("amount > 12", "true"),
        ("amount = 12.5", "true"),
        ("score * 2", "0.5"),
        ("score + amount", "12.75"),
        ("1e3 + fee", "1003.0"),
        ("-1.5E-1 * fee", "-0.44999999999999996"),
        ("round(score, 1)", "0.3"),
        ("abs(-fee)", "3"),
        ("CASE WHEN ok THEN 'yes' ELSE 'no' END", "yes"),
        ("CASE account WHEN 7 THEN fee END", "3"),
        ("coalesce(NULL, fee)", "3"),
        ("nullif(fee, 3)", "∅"),
        ("CAST('12' AS BIGINT) + fee", "15"),
        ("account::text || '!'", "7!"),
        ("upper('abc')", "ABC"),
        ("left('/cart/7', 5)", "/cart"),
        ("substring('abc' FROM 2 FOR 1)", "b"),
        ("position('c' IN 'abc')", "3"),
        ("trim('  a ')", "a"),
        ("'abc' LIKE 'a%' AND 'abc' ~ '^a.c$'", "true"),
        ("split_part('a/b', '/', 2)", "b"),
        ("account IN (1, 7)", "true"),
        ("fee BETWEEN 1 AND 3", "true"),
        ("ok IS NOT TRUE", "false"),
        ("date_trunc('hour', ts)", "2026-01-29T09:00:00"),
        ("date_bin(INTERVAL '15 minutes', ts)", "2026-01-29T09:30:00"),
        ("CAST(ts AS DATE)", "2026-01-29T00:00:00"),
        ("ts + INTERVAL '1 day'", "2026-01-30T09:31:03.027"),
        ("EXTRACT(YEAR FROM ts)", "2026"),
        ("EXTRACT(EPOCH FROM ts)", "1769679063.027"),
        ("TIMESTAMP '2026-01-29 10:00:00'", "2026-01-29T10:00:00"),
        ("TIMESTAMPTZ '2026-01-29T10:00:00+02:00'", "2026-01-29T08:00:00"),
        ("to_char(ts, '%Y-%m')", "2026-01"),
    ] {
        assert_eq!(payment(expression), value, "{expression}");
    }
}

#[test]
fn text_that_is_compared_with_a_time_is_a_time() {
    assert_eq!(payment("ts > '2026-01-29T09:31:03Z' AND ts < '2026-01-29 09:31:04'"), "true");
    assert_eq!(payment("ts >= '2026-01-30'"), "false");
    assert_eq!(payment("ts = '2026-01-29T11:31:03.027+02:00'"), "true");
    assert_eq!(payment("ts > TIMESTAMP '2026-01-29 09:31:03.026999'"), "true");
}

#[test]
fn columns_have_the_types_that_freshet_holds() {
    for (expression, column_type) in [
        ("fee", "bigint"),
        ("CAST(fee AS INT)", "bigint"),
        ("CAST(fee AS SMALLINT)", "bigint"),
        ("CAST(score AS REAL)", "double"),
        ("length('abc')", "bigint"),
        ("CAST(fee AS TEXT)", "text"),
        ("CAST(ts AS DATE)", "timestamp"),
        ("to_timestamp('2026-01-01T00:00:00')", "timestamp"),
        ("amount", "decimal(12,2)"),
        ("amount * 2", "decimal(33,2)"),
        ("CAST(amount AS DECIMAL(20,4))", "decimal(20,4)"),
        ("CAST(NULL AS TEXT)", "text"),
        ("ok", "boolean"),
    ] {
        assert_eq!(type_of(expression), column_type, "{expression}");
    }
}

#[test]
fn aggregates_have_the_types_that_the_operators_keep() {
    let view = view(
        "SELECT ok, sum(fee) AS a, sum(amount) AS b, sum(score) AS c, avg(fee) AS d, avg(amount) AS e, min(ts) AS f, max(account::text) AS g, \
         count(score) AS h, sum(CAST(account AS INT)) AS i, min(amount) AS j, max(ok) AS k, avg(score) AS l FROM payments GROUP BY ok",
    );
    let names = [
        "ok boolean",
        "a bigint",
        "b decimal(22,2)",
        "c double",
        "d double",
        "e decimal(16,6)",
        "f timestamp",
        "g text",
        "h bigint",
        "i bigint",
        "j decimal(12,2)",
        "k boolean",
        "l double",
    ];
    assert_eq!(columns(&view), names);
    for aggregate in &aggregation(&view).aggregates {
        let argument = aggregate.argument.as_ref().expect("an argument");
        assert_eq!(evaluate(argument, &one_payment()).data_type(), &argument.data_type);
    }
    let fee = aggregation(&view).aggregates.iter().find(|a| a.name.starts_with("avg(") && a.name.contains("fee"));
    assert_eq!(fee.and_then(|a| a.argument.as_ref()).map(|a| a.data_type.clone()), Some(DataType::Float64));
}

#[test]
fn equal_aggregates_are_kept_once() {
    let view = view(
        "SELECT ok, count(*) AS a, count(1) AS b, sum(fee) + 1 AS c, sum(fee) * 2 AS d, sum(fee) FILTER (WHERE fee > 0) AS e, \
         sum(fee) FILTER (WHERE 0 < fee) AS f, max(DISTINCT fee) AS g, max(fee) AS h FROM payments GROUP BY ok HAVING sum(fee) > 0",
    );
    let names: Vec<&str> = aggregation(&view).aggregates.iter().map(|a| a.name.as_str()).collect();
    assert_eq!(names, ["count(*)", "sum(fee)", "sum(fee) FILTER (WHERE fee > 0)", "max(fee)"]);
    assert_eq!(aggregation(&view).row_schema.fields().len(), 1 + names.len());
}

#[test]
fn columns_may_be_named_like_aggregates() {
    let view = view(
        "SELECT \"count(*)\", count(*) AS n, count(*) + 1 AS more, sum(\"count(*)\") AS s, max(processing_time) AS t FROM odd \
         GROUP BY \"count(*)\"",
    );
    let body = aggregation(&view);
    let row: Vec<&str> = body.row_schema.fields().iter().map(|f| f.name().as_str()).collect();
    let names: Vec<&str> = body.aggregates.iter().map(|a| a.name.as_str()).collect();
    assert_eq!(row[1..], names, "the row has the keys and then the aggregates");
    assert_eq!(row, ["\"count(*)\"", "count(*)", "sum(\"count(*)\")", "max(processing_time)"]);
    let number = |n: i64| -> ArrayRef { Arc::new(arrow::array::Int64Array::from(vec![n])) };
    assert_eq!(run(&body.output, &batch(vec![number(7), number(2), number(9), times(&[0])])), ["7 2 3 9 1970-01-01T00:00:00"]);
}

#[test]
fn an_alias_gives_way_to_a_column_of_its_name() {
    let view = view("SELECT \"a b\" AS x, count(*) AS n FROM odd GROUP BY x");
    assert_eq!(texts(&aggregation(&view).keys), ["\"a b\""]);
    let error = refusal("SELECT page_url AS user_id, count(*) AS n FROM user_activity GROUP BY user_id");
    assert!(error.contains("page_url") && error.contains("GROUP BY"), "{error}");
}

#[test]
fn arguments_that_differ_in_a_cast_only_need_names() {
    let error = refusal("SELECT ok, sum(fee) AS a, sum(CAST(fee AS DOUBLE)) AS b FROM payments GROUP BY ok");
    assert!(error.contains("in a subquery in FROM"), "{error}");
    let sql =
        "SELECT ok, sum(fee) AS a, sum(f) AS b FROM (SELECT ok, fee, CAST(fee AS DOUBLE) AS f FROM payments) AS p GROUP BY ok";
    assert_eq!(columns(&view(sql)), ["ok boolean", "a bigint", "b double"]);
}

#[test]
fn lengths_of_text_survive_where_the_value_does() {
    let view = view(
        "SELECT user_id, min(page_url) AS first_page, lower(user_id) AS low, count(distinct event_type) AS kinds FROM user_activity GROUP BY user_id",
    );
    assert_eq!(columns(&view), ["user_id varchar(50)", "first_page varchar(255)", "low text", "kinds bigint"]);
}

#[test]
fn arithmetic_that_overflows_is_an_error() {
    let view = view("SELECT account * 9223372036854775807 AS x FROM payments");
    assert!(map(&view).project[0].compiled.evaluate(&one_payment()).is_err());
}

#[test]
fn conditions_that_always_hold_are_left_out() {
    let view = view("SELECT fee FROM payments WHERE 1 = 1 AND true");
    assert!(map(&view).filter.is_none());
}

#[test]
fn types_that_no_column_holds_are_refused() {
    for (expression, words) in [
        ("ts - ts", "EXTRACT(EPOCH FROM b - a)"),
        ("INTERVAL '1 day'", "EXTRACT(EPOCH FROM b - a)"),
        ("NULL", "CAST(NULL AS TEXT)"),
        ("CAST(ts AS TIME)", "cast it to text"),
        ("CAST(fee AS VARCHAR(3))", "left(x, n)"),
        ("fee + ok", "CAST("),
        ("upper(fee, fee)", "arguments"),
    ] {
        let error = refusal(&format!("SELECT {expression} AS x FROM payments"));
        assert!(error.contains(words), "{expression}: {error}");
    }
}
