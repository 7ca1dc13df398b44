//! Functions of a row that pipelines need and DataFusion has not, one a file.
//!
//! Two of them have a parameter that is fixed while planning, so that each call becomes a function of its own (`fixed`):
//! the key of [`keyed_hash`](keyed_hash::KeyedHash) and the model of `predict`.

mod haversine;
pub(super) mod keyed_hash;
mod mask_ip;
#[cfg(feature = "onnx")]
pub(super) mod model;

use std::sync::Arc;

use arrow::array::{AsArray, Float64Array, StringArray};
use arrow::datatypes::Float64Type;
use datafusion_common::Result;
use datafusion_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF};

/// Returns the functions that are what their names say.
pub(super) fn all() -> Vec<Arc<ScalarUDF>> {
    vec![Arc::new(haversine::Haversine::new().into()), Arc::new(mask_ip::MaskIp::new().into())]
}

/// Makes a text of each text; of NULL, NULL.
fn map_texts(args: &ScalarFunctionArgs, text_of: impl Fn(&str) -> Option<String>) -> Result<ColumnarValue> {
    let columns = ColumnarValue::values_to_arrays(&args.args)?;
    let texts: StringArray = columns[0].as_string::<i32>().iter().map(|text| text_of(text?)).collect();
    Ok(ColumnarValue::Array(Arc::new(texts)))
}

/// Returns arguments that are numbers.
fn numbers(args: &ScalarFunctionArgs) -> Result<Vec<Float64Array>> {
    let columns = ColumnarValue::values_to_arrays(&args.args)?;
    Ok(columns.iter().map(|column| column.as_primitive::<Float64Type>().clone()).collect())
}
