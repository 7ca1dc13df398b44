//! `predict('model.onnx', x1, x2, …)`: what a model says of a row; by tract, in this process.
//!
//! A model takes one tensor of floats, a row for each event and a column for each number, and gives one number for each row: what scikit-learn's and PyTorch's
//! exporters write of regressions and scores. It computes in 32 bits.
//!
//! Rows are handed to it [`ROWS`] at a time, the last ones filled up with zeros: always by the same instructions, so that what is said of a row depends on
//! the row alone and not on how its batch was cut. Processors of another kind may round differently.

use std::fmt::Write;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::{fmt, iter};

use arrow::array::{Array, Float64Array};
use arrow::datatypes::DataType;
use datafusion_common::{DataFusionError, Result};
use datafusion_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};
use sha2::{Digest, Sha256};
use tract_onnx::prelude::{
    Datum, Framework, InferenceFact, InferenceModelExt, IntoRunnable, Tensor, TractResult, TypedRunnableModel, tvec,
};

use crate::sql::error::{Planned, Refusal};

/// So many rows are computed at once.
const ROWS: usize = 64;

/// The function with its model.
pub(in crate::sql) struct Model {
    /// `predict`, the file, and a hash of its contents: another model is another function.
    name: String,
    inputs: usize,
    signature: Signature,
    runnable: Arc<TypedRunnableModel>,
}

impl Model {
    /// Loads the model that a file holds, to be given `inputs` numbers a row.
    ///
    /// # Errors
    /// Refuses what is no such model.
    pub(in crate::sql) fn new(path: &str, bytes: &[u8], inputs: usize) -> Planned<Model> {
        let refuse = |problem: String, remedy: String| Refusal::new(format!("the model '{path}' {problem}"), remedy);
        let exported = || "export it as ONNX with one input of shape (rows, numbers)".to_owned();
        let shown = |error: &dyn fmt::Display| error.to_string().lines().next().unwrap_or_default().to_owned();
        let onnx = tract_onnx::onnx().with_ignore_output_shapes(true).with_ignore_value_info(true);
        let model = onnx.model_for_read(&mut &bytes[..]);
        let model = model
            .map_err(|error| refuse(format!("is not ONNX, or uses what tract does not know: {}", shown(&error)), exported()))?;
        let tensors = model.inputs.len();
        if tensors != 1 {
            return Err(refuse(format!("takes {tensors} tensors instead of one"), exported()));
        }
        let fact = InferenceFact::dt_shape(f32::datum_type(), tvec![ROWS, inputs]);
        let runnable =
            model.with_input_fact(0, fact).and_then(|model| model.into_optimized()).and_then(IntoRunnable::into_runnable);
        let runnable = runnable.map_err(|error| {
            let problem = format!("does not take {inputs} numbers a row: {}", shown(&error));
            refuse(problem, "give predict() as many arguments as the model has inputs".to_owned())
        })?;
        let hash = Sha256::digest(bytes).iter().take(16).fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        let signature = Signature::exact(vec![DataType::Float64; inputs], Volatility::Immutable);
        let model = Model { name: format!("predict[{path} sha256:{hash}]"), inputs, signature, runnable };
        match model.compute(vec![0.0; ROWS * inputs]) {
            Ok(results) if results.len() == ROWS => Ok(model),
            Ok(results) => {
                let problem = format!("gives {} numbers for {ROWS} rows", results.len());
                Err(refuse(problem, "export it with one number for each row as its first output".to_owned()))
            }
            Err(error) => Err(refuse(format!("cannot be computed: {}", shown(&error)), exported())),
        }
    }

    /// Computes a full block of rows.
    fn compute(&self, block: Vec<f32>) -> TractResult<Vec<f64>> {
        let input = Tensor::from_shape(&[ROWS, self.inputs], &block)?;
        let outputs = self.runnable.run(tvec![input.into()])?;
        let output = outputs[0].cast_to::<f64>()?;
        Ok(output.to_plain_array_view::<f64>()?.iter().copied().collect())
    }

    /// Computes rows; one with a NULL has none.
    fn predict(&self, columns: &[Float64Array], rows: usize) -> TractResult<Float64Array> {
        let mut results = Float64Array::builder(rows);
        for first in (0..rows).step_by(ROWS) {
            let block = first..rows.min(first + ROWS);
            #[allow(clippy::cast_possible_truncation)] // the model computes in 32 bits
            let numbers = block.clone().flat_map(|row| columns.iter().map(move |column| column.value(row) as f32));
            let filled: Vec<f32> = numbers.chain(iter::repeat(0.0)).take(ROWS * self.inputs).collect();
            let computed = self.compute(filled)?;
            for (row, result) in block.zip(computed) {
                results.append_option(columns.iter().all(|column| column.is_valid(row)).then_some(result));
            }
        }
        Ok(results.finish())
    }
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

// The name holds a hash of the contents.
impl PartialEq for Model {
    fn eq(&self, other: &Model) -> bool {
        (&self.name, self.inputs) == (&other.name, other.inputs)
    }
}

impl Eq for Model {}

impl Hash for Model {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.name, self.inputs).hash(state);
    }
}

impl ScalarUDFImpl for Model {
    fn name(&self) -> &str {
        &self.name
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
        let results = self.predict(&columns, rows).map_err(|error| DataFusionError::External(error.into()))?;
        Ok(ColumnarValue::Array(Arc::new(results)))
    }
}

#[cfg(test)]
pub(in crate::sql) mod tests {
    use super::*;
    use proptest::prelude::*;

    // ONNX is a Protobuf message: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto has the numbers of the fields.
    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let length = u8::try_from(bytes.len()).expect("tiny");
        let long = if length < 128 { vec![length] } else { vec![length | 128, 1] };
        [vec![(number << 3) | 2], long, bytes.to_vec()].concat()
    }

    fn number(field: u8, value: u8) -> Vec<u8> {
        vec![field << 3, value]
    }

    fn tensor(name: &str, dims: &[u8], values: &[f32]) -> Vec<u8> {
        let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let dims = dims.iter().flat_map(|&dim| number(1, dim)).collect();
        [dims, number(2, 1), field(8, name.as_bytes()), field(9, &raw)].concat()
    }

    fn node(op: &str, inputs: &[&str], output: &str) -> Vec<u8> {
        let inputs: Vec<u8> = inputs.iter().flat_map(|input| field(1, input.as_bytes())).collect();
        [inputs, field(2, output.as_bytes()), field(4, op.as_bytes())].concat()
    }

    fn value(name: &str, columns: u8) -> Vec<u8> {
        let shape = [field(1, &field(2, b"rows")), field(1, &number(1, columns))].concat();
        let tensor_type = [number(1, 1), field(2, &shape)].concat();
        [field(1, name.as_bytes()), field(2, &field(1, &tensor_type))].concat()
    }

    /// A logistic regression: sigmoid(2·x − y + 0.5).
    pub(in crate::sql) fn logistic() -> Vec<u8> {
        let graph = [
            field(1, &node("MatMul", &["x", "weights"], "product")),
            field(1, &node("Add", &["product", "bias"], "sum")),
            field(1, &node("Sigmoid", &["sum"], "score")),
            field(2, b"logistic"),
            field(5, &tensor("weights", &[2, 1], &[2.0, -1.0])),
            field(5, &tensor("bias", &[1], &[0.5])),
            field(11, &value("x", 2)),
            field(12, &value("score", 1)),
        ];
        let graph = graph.concat();
        let long = u16::try_from(graph.len()).expect("small");
        let length = [(long & 127) as u8 | 128, (long >> 7) as u8];
        [number(1, 8), vec![(7 << 3) | 2], length.to_vec(), graph, field(8, &number(2, 13))].concat()
    }

    fn predict(rows: &[(Option<f64>, Option<f64>)]) -> Vec<Option<f64>> {
        let model = Model::new("logistic.onnx", &logistic(), 2).unwrap_or_else(|refusal| panic!("{refusal}"));
        let (x, y): (Vec<_>, Vec<_>) = rows.iter().copied().unzip();
        let (x, y) = (Float64Array::from(x), Float64Array::from(y));
        model.predict(&[x, y], rows.len()).expect("computed").iter().collect()
    }

    #[test]
    fn a_regression_says_what_its_formula_says() {
        let rows = [(Some(1.0), Some(2.0)), (Some(-3.0), Some(0.25)), (None, Some(1.0))];
        let expected = |x: f64, y: f64| 1.0 / (1.0 + (-(2.0 * x - y + 0.5)).exp());
        let said = predict(&rows);
        for (row, said) in rows.iter().zip(&said) {
            match (row, said) {
                ((Some(x), Some(y)), Some(said)) => assert!((said - expected(*x, *y)).abs() < 1e-6, "{said}"),
                (row, said) => assert!(row.0.is_none() && said.is_none(), "{row:?}: {said:?}"),
            }
        }
    }

    #[test]
    fn what_is_no_such_model_is_refused() {
        let refused = |bytes: &[u8], inputs| Model::new("m.onnx", bytes, inputs).expect_err("refused").to_string();
        assert!(refused(b"not a model", 2).contains("'m.onnx' is not ONNX"), "{}", refused(b"not a model", 2));
        assert!(refused(&logistic(), 3).contains("does not take 3 numbers a row"), "{}", refused(&logistic(), 3));
    }

    #[test]
    fn another_model_is_another_function() {
        let mut changed = logistic();
        let at = changed.windows(4).position(|bytes| bytes == 0.5f32.to_le_bytes()).expect("the bias");
        changed[at..at + 4].copy_from_slice(&0.25f32.to_le_bytes());
        let [one, other] = [logistic(), changed].map(|bytes| Model::new("m.onnx", &bytes, 2).expect("a model"));
        assert!(one != other && one.name.starts_with("predict[m.onnx sha256:"), "{one:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

        #[test]
        fn what_is_said_of_a_row_depends_on_the_row_alone(
            rows in prop::collection::vec((-9.0f64..9.0, -9.0f64..9.0), 1..200),
            split in 0usize..200,
        ) {
            let rows: Vec<_> = rows.into_iter().map(|(x, y)| (Some(x), Some(y))).collect();
            let (left, right) = rows.split_at(split.min(rows.len()));
            prop_assert_eq!(predict(&rows), [predict(left), predict(right)].concat());
        }
    }
}
