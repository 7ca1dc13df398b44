//! A table as texts, compared with what has to be there.

use std::collections::BTreeMap;

use postgres::Client;
use postgres::types::Type;

use super::windows::Cells;

/// Rows by key.
pub type Rows = BTreeMap<Cells, Cells>;

/// Writes values as the cells of a row.
#[macro_export]
macro_rules! cells {
    ($($value:expr),* $(,)?) => { vec![$($value.to_string()),*] };
}

/// Writes hundredths as a decimal with two places.
#[must_use]
pub fn decimal(hundredths: i64) -> String {
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

/// Fails unless a table holds exactly these rows.
///
/// Times are compared as microseconds, numbers with a point as numbers, NULL is an empty text.
pub fn check_rows(client: &mut Client, table: &str, key: &[&str], values: &[&str], expected: &Rows) {
    assert!(!expected.is_empty(), "the oracle has rows for {table}");
    let found = read(client, table, key, values);
    let differs = |key: &Cells| format!("{key:?}: {:?} in the table, {:?} expected", found.get(key), expected.get(key));
    let missing = expected.iter().filter(|&(key, row)| !found.get(key).is_some_and(|other| alike(other, row)));
    let surplus = found.keys().filter(|key| !expected.contains_key(*key));
    let wrong: Vec<_> = missing.map(|(key, _)| key).chain(surplus).collect();
    let examples: Vec<_> = wrong.iter().take(5).map(|key| differs(key)).collect();
    assert!(wrong.is_empty(), "{} of {} rows of {table} are wrong:\n{}", wrong.len(), expected.len(), examples.join("\n"));
}

/// Reads a table, whose keys have to be unique.
pub fn read(client: &mut Client, table: &str, key: &[&str], values: &[&str]) -> Rows {
    let columns = [key, values].concat();
    let types = client.prepare(&format!("SELECT {} FROM {table}", columns.join(", "))).unwrap_or_else(|e| panic!("{table}: {e}"));
    let texts = columns.iter().zip(types.columns()).map(|(column, found)| text_of(column, found.type_()));
    let query = format!("SELECT {} FROM {table}", texts.collect::<Vec<_>>().join(", "));
    let mut rows = Rows::new();
    for row in client.query(&query, &[]).unwrap_or_else(|e| panic!("{query}: {e}")) {
        let mut cells: Cells = (0..row.len()).map(|i| row.get::<_, Option<String>>(i).unwrap_or_default()).collect();
        let values = cells.split_off(key.len());
        assert!(rows.insert(cells.clone(), values).is_none(), "{table} holds {cells:?} twice");
    }
    rows
}

fn text_of(column: &str, column_type: &Type) -> String {
    match *column_type {
        Type::TIMESTAMP | Type::TIMESTAMPTZ => format!("(extract(epoch FROM {column}) * 1000000)::bigint::text"),
        _ => format!("{column}::text"),
    }
}

/// Tells whether two rows are the same, apart from the last digits of numbers with a fraction.
fn alike(a: &Cells, b: &Cells) -> bool {
    let number = |text: &str| text.contains(['.', 'e']).then(|| text.parse::<f64>().ok()).flatten();
    let near = |a: f64, b: f64| (a - b).abs() <= 2e-6 * a.abs().max(1.0);
    let same = |(a, b): (&String, &String)| {
        a == b
            || matches!((number(a), b.parse::<f64>()), (Some(a), Ok(b)) if near(a, b))
            || matches!((a.parse::<f64>(), number(b)), (Ok(a), Some(b)) if near(a, b))
    };
    a.len() == b.len() && a.iter().zip(b).all(same)
}
