//! Functions of a row that are Freshet's own, and those that a program adds.

use datafusion_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};

use super::*;
use crate::sql::{FunctionError, Functions, Inputs, identity, plan_with};

#[test]
fn functions_of_freshet_are_called_like_others() {
    for (expression, value) in [
        ("round(haversine_km(52.52, 13.405, 48.8566, 2.3522))", "877.0"),
        ("round(haversine_km(score, score, score, account))", "751.0"),
        ("haversine_km(NULL, 1, 2, 3)", "∅"),
        ("mask_ip('203.0.113.77')", "203.0.113.0"),
        ("mask_ip(account::text)", "∅"),
        (
            "keyed_hash('what do ya want for nothing?', 'Jefe')",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        ),
        ("length(keyed_hash(account::text, 'a key'))", "64"),
        ("keyed_hash(NULL, 'a key')", "∅"),
    ] {
        assert_eq!(payment(expression), value, "{expression}");
    }
}

#[test]
fn a_key_is_shown_nowhere() {
    let sql = "SELECT keyed_hash(code, 'tellnobody') AS who, count(*) AS n FROM lookup GROUP BY who HAVING keyed_hash(max(label), 'tellnobody') > 'a'";
    let plan = job(&[sql]).unwrap_or_else(|error| panic!("{error}"));
    let shown = format!("{plan:?} {} {}", crate::explain::text(&plan), identity(sql, &Functions::new()));
    assert!(!shown.contains("tellnobody") && shown.contains("keyed_hash["), "{shown}");
    let key = texts(&aggregation(&plan.views[0]).keys)[0].to_owned();
    assert!(key.starts_with("keyed_hash[") && key.ends_with("](code)"), "{key}");
    for wrong in [
        "SELECT keyed_hash(code, 'tellnobody') FROM lookup",
        "SELECT keyed_hash(cod, 'tellnobody') AS x FROM lookup",
        "SELECT keyed_hash(code, 'tellnobody', 'tellnobody') AS x FROM lookup",
        "SELECT keyed_hash(code, 'tellnobody' 'tellnobody') AS x FROM lookup",
        "SELECT keyed_hash(code 'tellnobody') AS x FROM lookup",
        "SELECT keyed_hash(code, 'tellnobody') AS x, sum(x ORDER BY 1) AS y FROM lookup",
        "SELECT code, max(keyed_hash(label, 'tellnobody')) AS x, label FROM lookup GROUP BY code",
    ] {
        let error = refusal(wrong);
        let identity = identity(wrong, &Functions::new());
        assert!(!error.contains("tellnobody") && !identity.contains("tellnobody"), "{error}\n{identity}");
    }
}

#[test]
fn expressions_with_other_keys_are_other_expressions() {
    let view =
        view("SELECT max(keyed_hash(code, 'one')) AS a, max(keyed_hash(code, 'other')) AS b, label FROM lookup GROUP BY label");
    assert_eq!(aggregation(&view).aggregates.len(), 2);
    let identity = |key: &str| identity(&format!("SELECT keyed_hash(code, '{key}') AS x FROM lookup"), &Functions::new());
    assert_ne!(identity("one"), identity("other"));
    let plain = "SELECT  code\nFROM lookup";
    assert_eq!(crate::sql::identity(plain, &Functions::new()), plain);
}

#[test]
fn a_key_or_model_that_is_none_is_refused() {
    for (expression, problem, remedy) in [
        ("keyed_hash(code, label)", "a key that is a text literal", "'${SECRET}'"),
        ("keyed_hash(code, '')", "a key that is a text literal", "'${SECRET}'"),
        ("keyed_hash(code)", "a key that is a text literal", "'${SECRET}'"),
        ("predict(code, 1)", "predict()", if cfg!(feature = "onnx") { "'model.onnx'" } else { "name of a file" }),
    ] {
        let error = refusal(&format!("SELECT {expression} AS x FROM lookup"));
        assert!(error.contains(problem) && (error.contains(remedy) || error.contains("'model.onnx'")), "{expression}: {error}");
    }
    let error = refusal("SELECT predict('gone.onnx', 1) AS x FROM lookup");
    let words = if cfg!(feature = "onnx") { "'gone.onnx' cannot be read" } else { "--features onnx" };
    assert!(error.contains(words), "{error}");
}

/// `twice(n)`.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Twice {
    name: &'static str,
    signature: Signature,
}

impl Twice {
    fn new(name: &'static str, volatility: Volatility) -> Twice {
        Twice { name, signature: Signature::exact(vec![DataType::Int64], volatility) }
    }
}

impl ScalarUDFImpl for Twice {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> datafusion_common::Result<DataType> {
        Ok(DataType::Int64)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> datafusion_common::Result<ColumnarValue> {
        let columns = ColumnarValue::values_to_arrays(&args.args)?;
        Ok(ColumnarValue::Array(arrow::compute::kernels::numeric::add(&columns[0], &columns[0])?))
    }
}

#[test]
fn a_program_adds_functions_of_its_own() {
    let functions = Functions::new().with(Twice::new("twice", Volatility::Immutable)).expect("added");
    let sql = "SELECT twice(fee) AS x FROM payments WHERE twice(account) = 14";
    let plan =
        plan_with(&Inputs { sources: sources(), tables: Vec::new() }, &[definition("a", sql)], &functions).expect("planned");
    assert_eq!(run(map(&plan.views[0]), &one_payment()), ["6"]);
    let error = job(&[sql]).expect_err("unknown").to_string();
    assert!(error.contains("unknown function 'twice'"), "{error}");
}

#[test]
fn functions_that_a_replay_could_not_repeat_or_that_have_no_name_of_their_own_are_refused() {
    use FunctionError::{Name, Taken, Volatile};
    let add = |name, volatility| Functions::new().with(Twice::new(name, volatility)).map(|_| ());
    assert_eq!(add("twice", Volatility::Stable), Err(Volatile("twice".to_owned())));
    assert_eq!(add("twice", Volatility::Volatile), Err(Volatile("twice".to_owned())));
    for name in ["lower", "mask_ip", "count", "corr", "now", "tumble", "keyed_hash", "predict", "processing_time"] {
        assert_eq!(add(name, Volatility::Immutable), Err(Taken(name.to_owned())));
    }
    for name in ["Twice", "2times", "a b", "", "ns.twice"] {
        assert_eq!(add(name, Volatility::Immutable), Err(Name(name.to_owned())));
    }
}

#[cfg(feature = "onnx")]
#[test]
fn a_model_speaks_of_rows_and_its_contents_are_part_of_the_job() {
    use crate::sql::scalars::model::tests::logistic;
    fn read(path: &str) -> std::io::Result<Vec<u8>> {
        if path == "logistic.onnx" { Ok(logistic()) } else { Err(std::io::ErrorKind::NotFound.into()) }
    }
    fn read_another(path: &str) -> std::io::Result<Vec<u8>> {
        // A field that no reader knows makes it another file, and no other model.
        read(path).map(|model| [model, vec![(31 << 3) | 0x80, 1, 0]].concat())
    }
    let [functions, others] = [read as fn(&str) -> _, read_another].map(|read| Functions::new().reading(read));
    let plan = |sql: &str| plan_with(&Inputs { sources: sources(), tables: Vec::new() }, &[definition("a", sql)], &functions);
    let sql =
        "SELECT round(predict('logistic.onnx', fee, score), 4) AS p, predict('logistic.onnx', fee, NULL) AS none FROM payments";
    let planned = plan(sql).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(run(map(&planned.views[0]), &one_payment()), ["0.9981 ∅"]);
    assert_ne!(identity(sql, &functions), identity(sql, &others));
    let error = plan("SELECT predict('logistic.onnx', fee) AS p FROM payments").expect_err("too few").to_string();
    assert!(error.contains("does not take 1 numbers a row"), "{error}");
    let error = plan("SELECT predict('gone.onnx', fee) AS p FROM payments").expect_err("no file").to_string();
    assert!(error.contains("'gone.onnx' cannot be read"), "{error}");
}
