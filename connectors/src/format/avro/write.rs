//! Rows in Avro: each a record in which any field may be null, in Confluent's wire format.
//!
//! | column | field |
//! |---|---|
//! | `text`, `varchar(n)` | `string` |
//! | `bigint`, `double`, `boolean` | `long`, `double`, `boolean` |
//! | `timestamp` | `long`, `timestamp-micros` |
//! | `decimal(p,s)` | `bytes`, `decimal` |
//!
//! Each field is a union with null, and null by default: so a column may be added to a view or taken from it, and readers of the older and
//! of the newer schema understand both (`FULL` compatibility).

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Decimal128Type, Float64Type, Int64Type, TimestampMicrosecondType};
use freshet_model::{Column, ColumnType, TableSchema};
use serde_json::{Value, json};

use super::super::confluent::MAGIC;
use super::super::to_json::{Rows, canonical};

/// The branches of each field's union, as they are written.
const NULL: u8 = 0;
const VALUE: u8 = 2;

/// Returns the schema of a table's rows.
///
/// # Errors
/// A name that Avro does not allow.
pub(crate) fn schema(table: &TableSchema) -> Result<String, String> {
    let fields = table.columns.iter().map(field).collect::<Result<Vec<_>, _>>()?;
    let name = checked(&table.name)?;
    Ok(json!({ "type": "record", "name": name, "namespace": "freshet", "fields": fields }).to_string())
}

fn field(column: &Column) -> Result<Value, String> {
    let name = checked(&column.name)?;
    let value = match column.column_type {
        ColumnType::Text(_) => json!("string"),
        ColumnType::BigInt => json!("long"),
        ColumnType::Double => json!("double"),
        ColumnType::Boolean => json!("boolean"),
        ColumnType::Timestamp => json!({ "type": "long", "logicalType": "timestamp-micros" }),
        ColumnType::Decimal(precision, scale) => {
            json!({ "type": "bytes", "logicalType": "decimal", "precision": precision, "scale": scale })
        }
    };
    Ok(json!({ "name": name, "type": ["null", value], "default": null }))
}

fn checked(name: &str) -> Result<&str, String> {
    let begins = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    match begins && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        true => Ok(name),
        false => Err(format!("'{name}' cannot be a name in Avro, which has letters, digits and _")),
    }
}

/// Writes the rows of one schema.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Writer {
    /// What each message begins with.
    head: [u8; 5],
}

impl Writer {
    /// Prepares for rows whose schema has this id.
    pub(crate) fn new(id: u32) -> Writer {
        let [a, b, c, d] = id.to_be_bytes();
        Writer { head: [MAGIC, a, b, c, d] }
    }

    /// Replaces the rows by those of a batch.
    ///
    /// # Panics
    /// As for [`Rows::encode`].
    pub(crate) fn encode(&self, batch: &RecordBatch, rows: &mut Rows) {
        rows.clear();
        let arrays: Vec<_> = batch.columns().iter().map(canonical).collect();
        let mut record = Vec::new();
        for row in 0..batch.num_rows() {
            record.clear();
            record.extend_from_slice(&self.head);
            for array in &arrays {
                if array.is_null(row) {
                    record.push(NULL);
                } else {
                    record.push(VALUE);
                    write(&mut record, array.as_ref(), row);
                }
            }
            rows.push(&record);
        }
    }
}

fn write(out: &mut Vec<u8>, array: &dyn Array, row: usize) {
    match ColumnType::from_arrow(array.data_type()) {
        Some(ColumnType::BigInt) => write_long(out, array.as_primitive::<Int64Type>().value(row)),
        Some(ColumnType::Double) => out.extend_from_slice(&array.as_primitive::<Float64Type>().value(row).to_le_bytes()),
        Some(ColumnType::Boolean) => out.push(array.as_boolean().value(row).into()),
        Some(ColumnType::Timestamp) => write_long(out, array.as_primitive::<TimestampMicrosecondType>().value(row)),
        Some(ColumnType::Decimal(..)) => {
            write_bytes(out, shortest(&array.as_primitive::<Decimal128Type>().value(row).to_be_bytes()));
        }
        Some(ColumnType::Text(_)) | None => write_bytes(out, array.as_string::<i32>().value(row).as_bytes()),
    }
}

fn write_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    write_long(out, bytes.len() as i64);
    out.extend_from_slice(bytes);
}

fn write_long(out: &mut Vec<u8>, value: i64) {
    let mut rest = (value << 1 ^ value >> 63).cast_unsigned();
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Leaves out the bytes that only repeat the sign.
fn shortest(bytes: &[u8]) -> &[u8] {
    let fill = if bytes[0] >= 0x80 { 0xff } else { 0 };
    let sign = |byte: u8| byte & 0x80 == fill & 0x80;
    let spare = bytes.windows(2).take_while(|pair| pair[0] == fill && sign(pair[1])).count();
    &bytes[spare..]
}
