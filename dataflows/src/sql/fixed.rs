//! Calls with a parameter that is fixed while planning: each becomes the call of a function of its own, which holds the parameter.
//!
//! ```text
//! keyed_hash(ip, 'secret')          →  "keyed_hash[5c1f…]"(ip)
//! predict('model.onnx', x, y)       →  "predict[model.onnx sha256:…]"(x, y)
//! ```
//!
//! It is done to the parsed text, before anything else sees it: so a key gets into no message and no drawing, and a model's contents are part of
//! what tells expressions and jobs apart.

use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName, Query, Value, ValueWithSpan,
    visit_expressions_mut,
};

use super::clauses::single;
use super::error::{Planned, Refusal};
use super::functions::Functions;
use super::scalars::keyed_hash::KeyedHash;
use super::syntax::{self, Spelling};

/// Names of the functions that have a fixed parameter.
const FIXED: [&str; 2] = ["keyed_hash", "predict"];

/// Gives each call with a fixed parameter a function of its own among `functions`.
///
/// # Errors
/// Refuses a parameter that is no literal, and a model that cannot be used.
pub(super) fn bind(query: &mut Query, functions: &mut Functions) -> Planned<()> {
    let outcome = visit_expressions_mut(query, |expr| match expr {
        Expr::Function(call) => match bind_call(call, functions) {
            Ok(()) => ControlFlow::Continue(()),
            Err(refusal) => ControlFlow::Break(refusal),
        },
        _ => ControlFlow::Continue(()),
    });
    match outcome {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(refusal) => Err(refusal),
    }
}

/// Tells whether a query may hold such a call.
fn may_have_fixed(sql: &str) -> bool {
    let sql = sql.to_lowercase();
    FIXED.iter().any(|name| sql.contains(name))
}

/// Returns the text of a query with what its meaning depends on: the contents of models, and a fingerprint in the place of each key.
///
/// Equal texts mean the same, and no text holds a key: this is what a job's identity is made of.
#[must_use]
pub fn identity(sql: &str, functions: &Functions) -> String {
    if !may_have_fixed(sql) {
        return sql.to_owned();
    }
    let parsed = syntax::parse(sql, &Spelling::default()).map_err(|refusal| without_keys(sql, refusal));
    let bound = parsed.and_then(|mut query| {
        bind(&mut query, &mut functions.clone())?;
        Ok(query.to_string())
    });
    // Planning has told what is wrong; here no more is said than is safe.
    bound.unwrap_or_else(|refusal| refusal.to_string())
}

/// Takes the words in quotes out of what the parser says of a query that may hold a key.
pub(super) fn without_keys(sql: &str, refusal: Refusal) -> Refusal {
    if may_have_fixed(sql) { refusal.without_quotes() } else { refusal }
}

fn bind_call(call: &mut Function, functions: &mut Functions) -> Planned<()> {
    match single(&call.name).as_deref() {
        Some("keyed_hash") => {
            let usage = "write keyed_hash(text, '${SECRET}') with a variable of the environment";
            let key = match arguments(call).map(|arguments| &arguments[..]) {
                Some([_, key]) => literal(key).filter(|key| !key.is_empty()),
                _ => None,
            };
            let Some(key) = key else {
                return Err(Refusal::new("keyed_hash() takes a text and a key that is a text literal", usage));
            };
            arguments(call).and_then(Vec::pop);
            let function = KeyedHash::new(&key);
            call.name = functions.fix(function);
            Ok(())
        }
        Some("predict") => {
            let usage = "write predict('model.onnx', x1, x2, …)";
            let refuse = || Refusal::new("predict() takes the name of a file, a text literal, and numbers", usage);
            let inputs = arguments(call).filter(|arguments| arguments.len() > 1).ok_or_else(refuse)?;
            let path = literal(&inputs[0]).ok_or_else(refuse)?;
            inputs.remove(0);
            let count = inputs.len();
            call.name = model(&path, count, functions)?;
            Ok(())
        }
        _ => Ok(()),
    }
}

#[cfg(feature = "onnx")]
fn model(path: &str, inputs: usize, functions: &mut Functions) -> Planned<ObjectName> {
    let bytes = functions.read(path).map_err(|error| {
        Refusal::new(format!("the model '{path}' cannot be read: {error}"), "name an ONNX file that is there")
    })?;
    Ok(functions.fix(super::scalars::model::Model::new(path, &bytes, inputs)?))
}

#[cfg(not(feature = "onnx"))]
fn model(_: &str, _: usize, _: &mut Functions) -> Planned<ObjectName> {
    let remedy = "build freshet with models: cargo build --release --features onnx";
    Err(Refusal::new("predict() is not part of this build", remedy))
}

fn arguments(call: &mut Function) -> Option<&mut Vec<FunctionArg>> {
    match &mut call.args {
        FunctionArguments::List(list) => Some(&mut list.args),
        _ => None,
    }
}

fn literal(argument: &FunctionArg) -> Option<String> {
    match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(ValueWithSpan {
            value: Value::SingleQuotedString(text),
            ..
        }))) => Some(text.clone()),
        _ => None,
    }
}

/// A function's name as the parser writes it.
pub(super) fn object_name(name: &str) -> ObjectName {
    ObjectName::from(vec![Ident::with_quote('"', name)])
}
