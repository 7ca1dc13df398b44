//! `haversine_km(lat1, lon1, lat2, lon2)`: the great-circle distance of two places given in degrees.
//!
//! By the haversine formula on a sphere of the Earth's mean radius, so within 0.5 % of the distance on the ellipsoid.

use std::sync::Arc;

use arrow::array::{Array, Float64Array};
use arrow::datatypes::DataType;
use datafusion_common::Result;
use datafusion_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};

/// The mean radius of the Earth, as the International Union of Geodesy and Geophysics gives it.
const RADIUS_KM: f64 = 6371.0088;

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Haversine {
    signature: Signature,
}

impl Haversine {
    pub(super) fn new() -> Haversine {
        Haversine { signature: Signature::exact(vec![DataType::Float64; 4], Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Haversine {
    fn name(&self) -> &'static str {
        "haversine_km"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let columns = super::numbers(&args)?;
        let rows = columns.first().map_or(0, |column| column.len());
        let degrees = |row: usize| -> Option<Vec<f64>> {
            columns.iter().map(|column| column.is_valid(row).then(|| column.value(row))).collect()
        };
        let distances: Float64Array = (0..rows).map(|row| degrees(row).map(|place| distance(&place))).collect();
        Ok(ColumnarValue::Array(Arc::new(distances)))
    }
}

/// Returns the distance of two places: latitude and longitude of the one, then of the other.
fn distance(degrees: &[f64]) -> f64 {
    let [lat1, lon1, lat2, lon2] = [0, 1, 2, 3].map(|index| degrees[index].to_radians());
    let half = |angle: f64| (angle / 2.0).sin().powi(2);
    let chord = half(lat2 - lat1) + lat1.cos() * lat2.cos() * half(lon2 - lon1);
    // Rounding may lift the chord of opposite places above 1.
    2.0 * RADIUS_KM * chord.min(1.0).sqrt().asin()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_those_of_the_map() {
        let (berlin, paris) = ([52.5200, 13.4050], [48.8566, 2.3522]);
        let between = |one: [f64; 2], other: [f64; 2]| distance(&[one[0], one[1], other[0], other[1]]);
        assert!((between(berlin, paris) - 877.46).abs() < 0.1, "{}", between(berlin, paris));
        assert_eq!(between(berlin, berlin), 0.0);
        assert!((between([90.0, 0.0], [-90.0, 77.0]) - std::f64::consts::PI * RADIUS_KM).abs() < 1e-6);
        assert!((between([0.0, 179.5], [0.0, -179.5]) - 111.195).abs() < 0.001, "the short way over the date line");
    }
}
