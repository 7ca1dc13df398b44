//! The functions that a view may call: DataFusion's immutable ones, Freshet's own, those of the program that embeds it, the aggregates of
//! [`Function`](crate::plan::Function), and `processing_time()`.
//!
//! A function that reads the clock or rolls dice is refused: replaying an epoch must give the same rows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::{fmt, io};

use arrow::datatypes::{DataType, TimeUnit};
use datafusion_common::exec_err;
use datafusion_expr::{
    AggregateUDF, ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, WindowUDF,
};
use datafusion_functions_aggregate as aggregate;
use datafusion_sql::sqlparser::ast::ObjectName;

use super::error::{Planned, Refusal};
use super::ranking::{ROW_NUMBER, RowNumber, USAGE};
use super::{declared, fixed, scalars};

/// Name of the function that returns the time at which the event's epoch was cut.
pub(super) const PROCESSING_TIME: &str = "processing_time";

/// What to use instead of an aggregate that is not kept.
pub(super) const KEPT: &str = "use count, sum, avg, min, max, stddev, var_samp, approx_count_distinct, approx_percentile_cont, first_value, last_value, array_agg, \
    string_agg, bool_and, bool_or, count_if or funnel";

/// Other names of aggregates, besides those that DataFusion knows.
const ALIASES: [(&str, &str); 5] = [
    ("approx_distinct", "approx_count_distinct"),
    ("approx_percentile", "approx_percentile_cont"),
    ("approx_quantile", "approx_percentile_cont"),
    ("percentile_approx", "approx_percentile_cont"),
    ("variance", "var"),
];

/// Names that are no functions of a row: table functions, and those that are bound before anything is planned.
const RESERVED: [&str; 7] = ["tumble", "hop", "session", "dedupe", "keyed_hash", "predict", ROW_NUMBER];

/// Functions of other databases and of DataFusion's optional parts that read the clock or roll dice, besides those that DataFusion marks.
const IMPURE: [&str; 11] = [
    "clock_timestamp",
    "gen_random_uuid",
    "getdate",
    "localtime",
    "localtimestamp",
    "nextval",
    "rand",
    "statement_timestamp",
    "sysdate",
    "transaction_timestamp",
    "unix_timestamp",
];

/// Reads a file that a view names.
type Read = fn(&str) -> io::Result<Vec<u8>>;

/// What views may call, by lower-case name.
///
/// ```
/// use std::sync::Arc;
///
/// use arrow::array::{AsArray, StringArray};
/// use arrow::datatypes::DataType;
/// use datafusion_common::Result;
/// use datafusion_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};
/// use freshet_dataflows::sql::Functions;
///
/// /// `host(url)`: what stands between `://` and the next slash.
/// #[derive(Debug, PartialEq, Eq, Hash)]
/// struct Host(Signature);
///
/// impl ScalarUDFImpl for Host {
///     fn name(&self) -> &str {
///         "host"
///     }
///     fn signature(&self) -> &Signature {
///         &self.0
///     }
///     fn return_type(&self, _: &[DataType]) -> Result<DataType> {
///         Ok(DataType::Utf8)
///     }
///     fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
///         let urls = ColumnarValue::values_to_arrays(&args.args)?;
///         let host = |url: &str| Some(url.split_once("://")?.1.split('/').next()?.to_owned());
///         let hosts: StringArray = urls[0].as_string::<i32>().iter().map(|url| host(url?)).collect();
///         Ok(ColumnarValue::Array(Arc::new(hosts)))
///     }
/// }
///
/// let host = Host(Signature::exact(vec![DataType::Utf8], Volatility::Immutable));
/// let functions = Functions::new().with(host)?;
///
/// // What may give another value when an epoch is replayed is refused.
/// let fickle = Host(Signature::exact(vec![DataType::Utf8], Volatility::Stable));
/// assert!(Functions::new().with(fickle).is_err());
/// # Ok::<(), freshet_dataflows::sql::FunctionError>(())
/// ```
#[derive(Clone)]
pub struct Functions {
    pub(super) scalars: BTreeMap<String, Arc<ScalarUDF>>,
    pub(super) aggregates: BTreeMap<String, Arc<AggregateUDF>>,
    /// The one function that may stand before OVER.
    pub(super) row_number: Arc<WindowUDF>,
    impure: BTreeSet<String>,
    other_aggregates: BTreeSet<String>,
    // Models alone are files so far.
    #[cfg_attr(not(feature = "onnx"), allow(dead_code))]
    read: Option<Read>,
}

/// A function that views cannot call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FunctionError {
    /// A replay would give other rows.
    #[error(
        "the function '{0}' is not immutable; if its result depends on its arguments alone, say so in its signature: Volatility::Immutable"
    )]
    Volatile(String),
    /// Which of the two a view calls could not be told.
    #[error("there is a function '{0}' already; give yours another name")]
    Taken(String),
    /// SQL has names that are not quoted in lower case.
    #[error("'{0}' is no name that SQL would find; use lower-case letters, digits and '_', a letter first")]
    Name(String),
}

impl Default for Functions {
    fn default() -> Functions {
        Functions::new()
    }
}

impl fmt::Debug for Functions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.scalars.keys().chain(self.aggregates.keys())).finish()
    }
}

impl Functions {
    /// Returns the functions that every build has.
    #[must_use]
    pub fn new() -> Functions {
        let mut scalars = BTreeMap::new();
        let mut impure: BTreeSet<String> = IMPURE.map(str::to_owned).into();
        for udf in datafusion_functions::all_default_functions().into_iter().chain(scalars::all()) {
            if udf.signature().volatility == Volatility::Immutable {
                scalars.extend(names(&udf).into_iter().map(|name| (name, Arc::clone(&udf))));
            } else {
                impure.extend(names(&udf));
            }
        }
        scalars.insert(PROCESSING_TIME.to_owned(), Arc::new(ScalarUDF::from(ProcessingTime::new())));
        let all = aggregate::all_default_aggregate_functions();
        let mut other_aggregates: BTreeSet<String> =
            all.iter().flat_map(|udaf| std::iter::once(udaf.name().to_owned()).chain(udaf.aliases().to_vec())).collect();
        other_aggregates.extend(["any", "every", "group_concat", "json_agg", "mode"].map(str::to_owned));
        let row_number = Arc::new(WindowUDF::from(RowNumber::new()));
        Functions { scalars, aggregates: aggregates(), row_number, impure, other_aggregates, read: None }
    }

    /// Adds a function of a row, under its name and its aliases.
    ///
    /// It has to give the same result for the same arguments for ever: replays and other workers compute it again, and a job whose function has changed is not
    /// noticed. Give the changed one another name.
    ///
    /// # Errors
    /// Refuses a function that is not immutable, or whose name is taken or none.
    pub fn with(mut self, function: impl Into<ScalarUDF>) -> Result<Functions, FunctionError> {
        let function = Arc::new(function.into());
        if function.signature().volatility != Volatility::Immutable {
            return Err(FunctionError::Volatile(function.name().to_owned()));
        }
        for name in names(&function) {
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            if !name.chars().all(plain) || !name.starts_with(|c: char| c.is_ascii_lowercase()) {
                return Err(FunctionError::Name(name));
            }
            let others =
                self.other_aggregates.contains(&name) || self.impure.contains(&name) || RESERVED.contains(&name.as_str());
            if others || self.aggregates.contains_key(&name) || self.scalars.insert(name.clone(), Arc::clone(&function)).is_some()
            {
                return Err(FunctionError::Taken(name));
            }
        }
        Ok(self)
    }

    /// Lets views name files, such as models, and `read` read them.
    #[must_use]
    pub fn reading(self, read: fn(&str) -> io::Result<Vec<u8>>) -> Functions {
        Functions { read: Some(read), ..self }
    }

    /// Reads a file that a view names.
    #[cfg(feature = "onnx")]
    pub(super) fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        let read = self.read.ok_or_else(|| io::Error::other("no files are read here"))?;
        read(path)
    }

    /// Adds a function that one call alone has, and returns its name for that call.
    pub(super) fn fix(&mut self, function: impl ScalarUDFImpl + 'static) -> ObjectName {
        let name = fixed::object_name(function.name());
        self.scalars.insert(function.name().to_owned(), Arc::new(ScalarUDF::from(function)));
        name
    }

    /// Accepts the name of a function that a view may call.
    ///
    /// # Errors
    /// Refuses any other, with what to write instead.
    pub(super) fn check(&self, name: &str) -> Planned<()> {
        if self.scalars.contains_key(name) || self.aggregates.contains_key(name) {
            return Ok(());
        }
        if self.impure.contains(name) {
            let problem = format!("{name}() gives another value at each call, so a replay would give other rows");
            return Err(Refusal::new(problem, "use processing_time(), which is kept in the epoch log"));
        }
        if self.other_aggregates.contains(name) {
            return Err(Refusal::new(format!("the aggregate {name}() is not one that Freshet keeps"), KEPT));
        }
        if name == ROW_NUMBER {
            return Err(Refusal::new("row_number() stands without OVER", USAGE));
        }
        if RESERVED[..4].contains(&name) {
            let remedy = format!("write FROM {name}(source, …)");
            return Err(Refusal::new(format!("{name}() is a table function"), remedy));
        }
        Err(Refusal::unknown("function", name, self.scalars.keys().chain(self.aggregates.keys()).map(String::as_str)))
    }
}

fn names(udf: &ScalarUDF) -> Vec<String> {
    std::iter::once(udf.name().to_owned()).chain(udf.aliases().to_vec()).collect()
}

/// Returns the aggregates by all their names.
fn aggregates() -> BTreeMap<String, Arc<AggregateUDF>> {
    let mut all = vec![
        aggregate::count::count_udaf(),
        aggregate::sum::sum_udaf(),
        aggregate::average::avg_udaf(),
        aggregate::min_max::min_udaf(),
        aggregate::min_max::max_udaf(),
        aggregate::bool_and_or::bool_and_udaf(),
        aggregate::bool_and_or::bool_or_udaf(),
        aggregate::stddev::stddev_udaf(),
        aggregate::stddev::stddev_pop_udaf(),
        aggregate::variance::var_samp_udaf(),
        aggregate::variance::var_pop_udaf(),
        aggregate::first_last::first_value_udaf(),
        aggregate::first_last::last_value_udaf(),
    ];
    all.extend(declared::aggregates());
    let names = |udaf: &AggregateUDF| std::iter::once(udaf.name().to_owned()).chain(udaf.aliases().to_vec()).collect::<Vec<_>>();
    let mut aggregates: BTreeMap<String, Arc<AggregateUDF>> =
        all.iter().flat_map(|udaf| names(udaf).into_iter().map(|name| (name, Arc::clone(udaf)))).collect();
    for (alias, name) in ALIASES {
        let udaf = Arc::clone(&aggregates[name]);
        aggregates.insert(alias.to_owned(), udaf);
    }
    aggregates
}

/// `processing_time()`: known to the planner only, which turns it into a column.
#[derive(Debug, PartialEq, Eq, Hash)]
struct ProcessingTime {
    signature: Signature,
}

impl ProcessingTime {
    fn new() -> ProcessingTime {
        // Volatile, so that no rule of the optimizer evaluates it while planning.
        ProcessingTime { signature: Signature::nullary(Volatility::Volatile) }
    }
}

impl ScalarUDFImpl for ProcessingTime {
    fn name(&self) -> &'static str {
        PROCESSING_TIME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> datafusion_common::Result<DataType> {
        Ok(DataType::Timestamp(TimeUnit::Microsecond, None))
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> datafusion_common::Result<ColumnarValue> {
        exec_err!("processing_time() is a column of the input, not a function to call")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impure_functions_are_refused_and_pure_ones_are_not() {
        let functions = Functions::new();
        for name in ["now", "random", "current_date", "current_timestamp", "uuid", "localtimestamp"] {
            let refusal = functions.check(name).expect_err(name).to_string();
            assert!(refusal.contains("processing_time()"), "{name}: {refusal}");
        }
        for name in ["lower", "date_trunc", "coalesce", "round", "processing_time", "count", "substr", "regexp_like"] {
            assert_eq!(functions.check(name), Ok(()), "{name}");
        }
    }

    #[test]
    fn unknown_functions_and_aggregates_are_told_apart() {
        let functions = Functions::new();
        let refused = |name| functions.check(name).expect_err(name).to_string();
        assert!(refused("lowr").contains("did you mean 'lower'?"), "{}", refused("lowr"));
        assert!(refused("corr").contains("use count, sum, avg"), "{}", refused("corr"));
        assert!(refused("tumble").contains("FROM tumble("), "{}", refused("tumble"));
    }
}
