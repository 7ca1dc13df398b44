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

use datafusion_expr::ScalarUDF;

/// Returns the functions that are what their names say.
pub(super) fn all() -> Vec<Arc<ScalarUDF>> {
    vec![Arc::new(haversine::Haversine::new().into()), Arc::new(mask_ip::MaskIp::new().into())]
}
