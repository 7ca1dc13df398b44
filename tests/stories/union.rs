//! Two sources as one stream: into a table, its windows and a lake, on any number of workers, the repeats of both left out.

use std::path::Path;
use std::time::Duration;

use freshet_harness::job::Job;
use freshet_harness::server::free_ports;

use super::embedded::open;

const LIMIT: Duration = Duration::from_secs(120);

const JOB: &str = r#"
name = "union"

[source.web]
url = "file://web.ndjson"
columns = { id = "text", at = "timestamp", page = "text" }
watermark = { column = "at", delay = "1m" }

[source.app]
url = "file://app.ndjson"
columns = { id = "text", at = "timestamp", screen = "text", version = "bigint" }
watermark = { column = "at", delay = "1m" }

[view.visits]
sql = """
SELECT id, at, page AS place, 'web' AS origin FROM web
UNION ALL
SELECT id, at, screen, 'app' FROM app WHERE version > 1
"""

[view.different]
sql = "SELECT * FROM dedupe(visits, id, INTERVAL '1 hour')"

[view.per_minute]
sql = "SELECT window_start, origin, count(*) AS visits FROM tumble(different, INTERVAL '1 minute') GROUP BY window_start, origin"

[sink.tables]
url = "sqlite://data/union.db"
views = ["visits", "different", "per_minute"]

[sink.lake]
url = "parquet://data/lake"
views = ["visits"]
"#;

fn write_inputs(folder: &Path) {
    let at = |n: i64| 1_790_000_000_000 + n * 100;
    let web = (0..3000).map(|n| format!("{{\"id\": \"{n}\", \"at\": {}, \"page\": \"/{}\"}}\n", at(n), n % 9));
    // Every second one is one of the web's visits again; a quarter is of an old version.
    let app = (0..3000).map(|n| {
        let id = if n % 2 == 0 { n.to_string() } else { format!("app{n}") };
        format!(
            "{{\"id\": \"{id}\", \"at\": {}, \"screen\": \"s{}\", \"version\": {}}}\n",
            at(n),
            n % 5,
            1 + i32::from(n % 4 > 0)
        )
    });
    std::fs::write(folder.join("web.ndjson"), web.collect::<String>()).expect("the folder can be written");
    std::fs::write(folder.join("app.ndjson"), app.collect::<String>()).expect("the folder can be written");
}

/// Names of the files below a folder.
fn files(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries
        .flat_map(|path| {
            if path.is_dir() {
                files(&path)
            } else {
                vec![path.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned())]
            }
        })
        .collect()
}

/// Rows, and the questions of `dedupe`, go from one process to the other.
fn run_on_two_processes(job: &Job) {
    let [first, second] = free_ports();
    let hosts = format!("hosts = [\"127.0.0.1:{first}\", \"127.0.0.1:{second}\"]\n");
    std::fs::write(job.folder().join("cluster.toml"), hosts).expect("the folder can be written");
    let start = |process| job.run().args(&format!("-w 1 --bounded -n 2 -p {process} --cluster cluster.toml")).start();
    for process in [0, 1].map(start) {
        process.wait(LIMIT).expect_success("a process of two");
    }
}

#[test]
fn two_sources_are_one_stream_for_tables_windows_and_a_lake() {
    for workers in [Some(1), Some(3), None] {
        let job = Job::written(JOB);
        write_inputs(job.folder());
        match workers {
            Some(workers) => drop(job.run().args(&format!("-w {workers} --bounded")).succeed(LIMIT)),
            None => run_on_two_processes(&job),
        }
        let tables = open(&job.folder().join("data/union.db")).expect("the tables are there");
        let number = |query: &str| tables.query_row(query, [], |row| row.get::<_, i64>(0)).expect("a number");
        assert_eq!(number("SELECT count(*) FROM visits"), 3000 + 2250);
        assert_eq!(number("SELECT count(*) FROM visits WHERE origin = 'app'"), 2250);
        assert_eq!(number("SELECT count(*) FROM different"), 3000 + 1500, "750 visits of the app are the web's");
        assert_eq!(number("SELECT count(DISTINCT id) FROM different"), 4500);
        assert_eq!(number("SELECT sum(visits) FROM per_minute"), 4500);
        for (view, counted) in [("visits", 5250), ("different", 4500), ("per_minute", 4500)] {
            let account = format!(
                "SELECT counted FROM freshet_ledger WHERE view = '{view}' AND sink = 'tables' AND read = 6000 AND read = counted + filtered"
            );
            assert_eq!(number(&account), counted, "{view}");
        }
        let names = files(&job.folder().join("data/lake"));
        for partition in ["p00000-", "p00001-"] {
            assert!(names.iter().any(|name| name.starts_with(partition)), "each source has its own files: {names:?}");
        }
    }
}
