//! What holds for all formats: fields by path and by further names, defaults, and the end of a run of dead letters.

use std::num::NonZeroU64;
use std::time::Duration;

use freshet_model::{Batch, Column, Progress};

use super::*;
use crate::SourceOptions;

/// Returns the options of a source with these columns.
pub(super) fn options(columns: &[Column]) -> SourceOptions {
    SourceOptions {
        name: "s".to_owned(),
        columns: columns.to_vec(),
        format: Format::default(),
        time_column: None,
        max_future_skew: Duration::from_secs(300),
        max_record_bytes: 100_000,
        bounded: false,
        from_latest: false,
        identity: None,
        settings: Default::default(),
    }
}

/// Names a column, its type, and where it lies.
pub(super) fn column(name: &str, column_type: &str, fields: &[&str]) -> (Column, FieldSpec) {
    let names = fields.iter().map(|field| field.split('.').map(str::to_owned).collect()).collect();
    let column = Column { name: name.to_owned(), column_type: column_type.parse().expect("a type") };
    (column, FieldSpec { names, ..FieldSpec::default() })
}

fn source(columns: Vec<(Column, FieldSpec)>) -> SourceOptions {
    let (columns, fields): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
    SourceOptions { format: Format { fields, ..Format::default() }, ..options(&columns) }
}

fn decode(options: &SourceOptions, records: &[&str]) -> Batch {
    let mut decoder = Decoders::open(options).expect("columns that fit").decoder();
    for (offset, record) in records.iter().enumerate() {
        decoder.decode(offset as i64, Some(record.as_bytes()));
    }
    decoder.finish(0, 0..records.len() as i64, Progress::AtEnd)
}

/// Shows the rows and then the dead letters.
pub(super) fn shown(batch: &Batch) -> Vec<String> {
    let rows = rows(&batch.columns);
    let rows = rows.iter().map(|row| String::from_utf8_lossy(row).into_owned());
    rows.chain(batch.dead.iter().map(|letter| format!("{}: {}", letter.reason, letter.detail))).collect()
}

#[test]
fn a_field_inside_of_an_object_is_named_by_its_path() {
    let options = source(vec![
        column("id", "text", &["product.id"]),
        column("price", "decimal(10,2)", &["product.price.amount"]),
        column("kind", "text", &[]),
    ]);
    let records = [
        r#"{"kind":"a","product":{"id":"p1","x":[1],"price":{"amount":1.5}},"id":7}"#,
        r#"{"product":null,"kind":"b"}"#,
        r#"{"product":{"price":null}}"#,
        r#"{"product":[{"id":"p1"}]}"#,
        r#"{"product":"p1"}"#,
    ];
    let wanted = [
        r#"{"id":"p1","price":1.50,"kind":"a"}"#,
        r#"{"id":null,"price":null,"kind":"b"}"#,
        r#"{"id":null,"price":null,"kind":null}"#,
        "wrong_type: column 'id' is text, the record holds an array instead of an object",
        "wrong_type: column 'id' is text, the record holds a text instead of an object",
    ];
    assert_eq!(shown(&decode(&options, &records)), wanted);
}

#[test]
fn a_raw_column_is_the_text_of_any_value() {
    let mut items = column("items", "text", &["order.items"]);
    items.1.raw = true;
    let records = [
        r#"{"order":{"items":[ {"n":1.0}, "é"] }}"#,
        r#"{"order":{"items":"x"}}"#,
        r#"{"order":{"items":null}}"#,
        r#"{"order":{"items":1e3,"items":{}}}"#,
    ];
    let wanted = [r#"{"items":"[ {\"n\":1.0}, \"é\"]"}"#, r#"{"items":"\"x\""}"#, r#"{"items":null}"#, r#"{"items":"{}"}"#];
    assert_eq!(shown(&decode(&source(vec![items]), &records)), wanted);
}

#[test]
fn of_several_names_the_first_that_is_there_counts() {
    let mut amount = column("amount", "bigint", &["total", "sum.all", "amount"]);
    amount.1.default = Some("-1".to_owned());
    let records = [
        r#"{"amount":3,"total":1,"sum":{"all":2}}"#,
        r#"{"amount":3,"sum":{"all":2}}"#,
        r#"{"total":null,"amount":3}"#,
        r#"{"total":"x","amount":3}"#,
        r#"{}"#,
        r#"{"amount":null}"#,
    ];
    let wanted = [
        r#"{"amount":1}"#,
        r#"{"amount":2}"#,
        r#"{"amount":3}"#,
        r#"{"amount":-1}"#,
        r#"{"amount":null}"#,
        "wrong_type: column 'amount' is bigint, the record holds a text",
    ];
    assert_eq!(shown(&decode(&source(vec![amount]), &records)), wanted);
}

#[test]
fn a_default_stands_for_what_is_missing_and_what_is_required_may_not_be() {
    let mut kind = column("kind", "varchar(9)", &[]);
    kind.1.default = Some("page_view".to_owned());
    let mut user = column("user", "text", &[]);
    user.1.required = true;
    let records = [r#"{"user":"u"}"#, r#"{"user":"\u0075","kind":"c\u006c"}"#, r#"{"kind":"click"}"#, r#"{"user":null}"#];
    let wanted = [
        r#"{"kind":"page_view","user":"u"}"#,
        r#"{"kind":"cl","user":"u"}"#,
        "missing_column: column 'user' is missing or null",
        "missing_column: column 'user' is missing or null",
    ];
    assert_eq!(shown(&decode(&source(vec![kind, user]), &records)), wanted);
}

#[test]
fn columns_that_cannot_be_read_are_refused() {
    let mut wrong = column("n", "bigint", &[]);
    wrong.1.default = Some("many".to_owned());
    let cases = [
        (vec![wrong], "the default 'many' of column 'n' is not of its type bigint"),
        (vec![column("a", "text", &["x"]), column("b", "text", &["x"])], "the fields 'x' and 'x' overlap"),
        (vec![column("a", "text", &["x.y"]), column("x", "text", &[])], "the fields 'x.y' and 'x' overlap"),
    ];
    for (columns, problem) in cases {
        let error = Decoders::open(&source(columns)).err().map(|error| error.to_string());
        assert_eq!(error, Some(format!("source 's': {problem}; correct its columns")));
    }
}

#[test]
fn a_run_of_dead_letters_ends_with_an_error_and_a_good_record_begins_anew() {
    let mut options = source(vec![column("n", "bigint", &[])]);
    options.format.max_dead_run = NonZeroU64::new(3);
    let mut decoder = Decoders::open(&options).expect("columns that fit").decoder();
    for (offset, record) in ["x", "{}", "x", "x"].iter().enumerate() {
        decoder.decode(offset as i64, Some(record.as_bytes()));
    }
    decoder.check().expect("two in a row");
    decoder.finish(0, 0..4, Progress::AtEnd);
    decoder.decode(4, Some(b"{\"n\":true}"));
    let error = decoder.check().expect_err("three in a row").to_string();
    let wanted = "source 's': 3 records in a row are dead letters, the last of them at offset 4: column 'n' is bigint, the record holds \
                  a boolean (wrong_type); ";
    assert!(error.starts_with(wanted), "{error}");
}
