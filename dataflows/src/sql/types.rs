//! How SQL's type names become Arrow types.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use datafusion_common::Result;
use datafusion_expr::planner::TypePlanner;
use datafusion_sql::sqlparser::ast::DataType as SqlType;

use super::error::Refusal;

/// Maps the names whose default differs from what Freshet's columns hold: times are in microseconds and UTC, floats have 64 bits.
#[derive(Debug)]
pub(super) struct Types;

impl TypePlanner for Types {
    fn plan_type_field(&self, sql_type: &SqlType) -> Result<Option<FieldRef>> {
        let data_type = match sql_type {
            SqlType::Timestamp(..) | SqlType::TimestampNtz(..) | SqlType::Datetime(_) => DataType::Timestamp(TimeUnit::Microsecond, None),
            SqlType::Float(_) | SqlType::Real | SqlType::Float4 => DataType::Float64,
            SqlType::Varchar(Some(_)) | SqlType::Char(Some(_)) | SqlType::CharacterVarying(Some(_)) | SqlType::Character(Some(_)) => {
                let remedy = "cast to text, and cut with left(x, n) where that is meant";
                return Err(Refusal::new(format!("a cast to {sql_type} does not shorten the text"), remedy).into());
            }
            SqlType::CharacterVarying(None) => DataType::Utf8,
            _ => return Ok(None),
        };
        Ok(Some(Arc::new(Field::new("", data_type, true))))
    }
}
