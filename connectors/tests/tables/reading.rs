//! Tables of a database as they are read to enrich streams: which types, which columns, and what is refused.

use arrow::array::{Array, RecordBatch};
use arrow::util::display::array_value_to_string;
use freshet_connectors::format::{FieldSpec, Format};
use freshet_connectors::{Error, TableOptions, TableReader, open_table};
use freshet_model::Column;

use crate::cluster::Database;

fn options(relation: &str, columns: &[(&str, &str)]) -> TableOptions {
    let column = |(name, kind): &(&str, &str)| Column { name: (*name).to_owned(), column_type: kind.parse().unwrap() };
    TableOptions {
        name: "users".to_owned(),
        relation: relation.to_owned(),
        columns: columns.iter().map(column).collect(),
        format: Format::default(),
        max_rows: 3,
    }
}

fn rows(batch: &RecordBatch) -> Vec<String> {
    let value = |column: usize, row: usize| {
        let column = batch.column(column);
        if column.is_null(row) { "∅".to_owned() } else { array_value_to_string(column, row).unwrap() }
    };
    let row = |row: usize| (0..batch.num_columns()).map(|column| value(column, row)).collect::<Vec<_>>().join(" ");
    let mut rows: Vec<String> = (0..batch.num_rows()).map(row).collect();
    rows.sort();
    rows
}

fn reader(database: &Database, options: TableOptions) -> Box<dyn TableReader> {
    open_table(&database.url, options).unwrap()
}

#[test]
fn values_of_all_kinds_are_read_as_the_job_says() {
    let database = Database::create();
    database
        .client()
        .batch_execute(
            "SET TimeZone = 'Asia/Tokyo'; CREATE SCHEMA crm; \
             CREATE TABLE crm.\"Users\" (id integer, \"full name\" text, since timestamptz, born timestamp, paid numeric(10,3), rate real, vip boolean, about jsonb, code uuid); \
             INSERT INTO crm.\"Users\" VALUES \
             (1, 'Ann \"A\"\n\\ Ö', '2026-01-29 09:31:03.5+09', '2001-02-03 04:05:06', 12.5, 0.25, true, '{\"segment\": {\"name\": \"gold\"}}', \
              'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'), (2, '', NULL, NULL, NULL, NULL, NULL, NULL, NULL)",
        )
        .unwrap();
    let columns = [
        ("id", "bigint"),
        ("name", "text"),
        ("since", "timestamp"),
        ("born", "timestamp"),
        ("paid", "decimal(10,3)"),
        ("rate", "double"),
        ("vip", "boolean"),
        ("segment", "text"),
        ("code", "text"),
    ];
    let mut options = options("crm.Users", &columns);
    let mut fields = vec![FieldSpec::default(); columns.len()];
    fields[1].names = vec![vec!["full name".to_owned()]];
    fields[7].names = vec![vec!["about".to_owned(), "segment".to_owned(), "name".to_owned()]];
    options.format.fields = fields;
    let mut reader = reader(&database, options);
    let expected = [
        "1 Ann \"A\"\n\\ Ö 2026-01-29T00:31:03.500 2001-02-03T04:05:06 12.500 0.25 true gold a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        "2  ∅ ∅ ∅ ∅ ∅ ∅ ∅",
    ];
    assert_eq!(rows(&reader.read().unwrap().unwrap()), expected);
    database.client().batch_execute("DELETE FROM crm.\"Users\" WHERE id = 1").unwrap();
    assert_eq!(rows(&reader.read().unwrap().unwrap()), expected[1..]);
}

#[test]
fn a_view_is_a_table_too_and_what_cannot_be_read_is_named_with_the_way_out() {
    let database = Database::create();
    let mut client = database.client();
    client.batch_execute("CREATE TABLE t (id bigint, n text); INSERT INTO t VALUES (1, 'a'), (2, 'b'); CREATE VIEW v AS SELECT id * 2 AS id FROM t").unwrap();
    assert_eq!(rows(&reader(&database, options("v", &[("id", "bigint")])).read().unwrap().unwrap()), ["2", "4"]);
    let refusal = |relation: &str, columns: &[(&str, &str)]| {
        let error = reader(&database, options(relation, columns)).read().unwrap_err();
        assert!(matches!(error, Error::Setup { .. }), "{error}");
        error.to_string()
    };
    let none = refusal("nobody", &[("id", "bigint")]);
    assert!(none.starts_with("table 'users' (postgres 127.0.0.1:") && none.contains("has no table nobody; create it"), "{none}");
    let column = refusal("t", &[("id", "bigint"), ("segment", "text")]);
    assert!(column.contains("t has no column 'segment'; it has id, n"), "{column}");
    let value = refusal("t", &[("id", "bigint"), ("n", "bigint")]);
    assert!(value.contains("table 'users': record 1 is no row of it: ") && value.contains("'n'"), "{value}");
    client.batch_execute("INSERT INTO t VALUES (3, 'c'), (4, 'd')").unwrap();
    assert!(refusal("t", &[("id", "bigint")]).contains("it has more than 3 rows"));
}

#[test]
fn who_locks_the_table_is_not_waited_for_without_end() {
    let database = Database::create();
    let mut client = database.client();
    client.batch_execute("CREATE TABLE t (id bigint)").unwrap();
    let mut transaction = client.transaction().unwrap();
    transaction.batch_execute("LOCK TABLE t IN ACCESS EXCLUSIVE MODE").unwrap();
    let error = reader(&database, options("t", &[("id", "bigint")])).read().unwrap_err();
    assert!(error.is_transient() && error.to_string().contains("lock timeout"), "{error}");
}
