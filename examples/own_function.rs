//! Freshet with a function of its own, `host(url)`: `cargo run --example own_function -- check jobs/hosts.toml`.
//!
//! The program is `freshet` in every other respect: the same commands, the same job files.

use std::process::ExitCode;
use std::sync::Arc;

use freshet::functions::arrow::array::{AsArray, StringArray};
use freshet::functions::arrow::datatypes::DataType;
use freshet::functions::datafusion_common::Result;
use freshet::functions::datafusion_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};
use freshet::functions::{FunctionError, Functions};

/// `host(url)`: what stands between `://` and the next slash; NULL if there is none.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Host {
    signature: Signature,
}

impl ScalarUDFImpl for Host {
    fn name(&self) -> &'static str {
        "host"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let urls = ColumnarValue::values_to_arrays(&args.args)?;
        let host = |url: &str| Some(url.split_once("://")?.1.split('/').next()?.to_owned());
        let hosts: StringArray = urls[0].as_string::<i32>().iter().map(|url| host(url?)).collect();
        Ok(ColumnarValue::Array(Arc::new(hosts)))
    }
}

fn functions() -> std::result::Result<Functions, FunctionError> {
    let host = Host { signature: Signature::exact(vec![DataType::Utf8], Volatility::Immutable) };
    Functions::new().with(host)
}

fn main() -> ExitCode {
    match functions() {
        Ok(functions) => freshet::commands::main_with(std::env::args_os(), &functions),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOB: &str = r#"
[source.visits]
url = "file://FOLDER/visits.ndjson"
columns = { at = "timestamp", url = "text" }
watermark = { column = "at", delay = "1m" }

[view.hosts]
sql = "SELECT host(url) AS host, count(*) AS visits FROM visits GROUP BY host"

[sink.out]
url = "file://FOLDER/hosts.ndjson"
views = ["hosts"]
"#;

    #[test]
    fn a_job_calls_the_function() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        let visit = |url: &str| format!("{{\"at\": \"2026-01-29T09:31:03Z\", \"url\": \"{url}\"}}\n");
        let visits = ["https://a.example/x", "https://b.example/", "https://a.example/y"].map(visit).concat();
        std::fs::write(at("visits.ndjson"), visits).expect("written");
        std::fs::write(at("job.toml"), JOB.replace("FOLDER", &folder.path().display().to_string())).expect("written");
        let state = format!("file://{}", at("state").display());
        let job = at("job.toml").display().to_string();
        let arguments = ["freshet", "run", &job, "--bounded", "--quiet", "--state", &state];
        let ended = freshet::commands::main_with(arguments.map(Into::into), &functions().expect("immutable"));
        assert_eq!(format!("{ended:?}"), format!("{:?}", ExitCode::SUCCESS));
        let hosts = std::fs::read_to_string(at("hosts.ndjson")).expect("the sink's file");
        let last = |host: &str| hosts.lines().rfind(|line| line.contains(host)).map(str::to_owned).unwrap_or_default();
        assert!(last("a.example").contains("\"visits\":2") && last("b.example").contains("\"visits\":1"), "{hosts}");
    }
}
