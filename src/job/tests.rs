//! What a job file becomes; and wrong job files, with the exact words with which they are refused.

use super::*;
use crate::golden;

fn environment(name: &str) -> Option<String> {
    match name {
        "HOST" => Some("db.example".to_owned()),
        "PASSWORD" => Some("hun\"ter2\n[sink.evil]".to_owned()),
        "INJECTION" => Some("x.db\"\nviews = []\nurl = \"console://".to_owned()),
        _ => None,
    }
}

fn parse(text: &str) -> Result<Job, Error> {
    Job::parse(Path::new("jobs/activity.toml"), text, &environment)
}

const SOURCE: &str = "
[source.clicks]
url = \"generator://local/user_activity\"
columns = { zebra = \"timestamp\", ant = \"varchar(50)\", mule = \"decimal(12,2)\" }
watermark = { column = \"zebra\", delay = \"1m30s\" }
";

/// Each `golden/NAME.toml` is wrong in the way that its name says; `NAME.txt` holds the error.
#[test]
fn wrong_files_are_refused_in_these_words() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/job/golden");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).expect("the folder is there").map(|file| file.expect("a file").path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "toml"));
    assert!(files.len() > 40);
    for file in files {
        let stem = file.file_stem().expect("a name").to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&file).expect("a text");
        let error = parse(&text).expect_err(&stem).to_string();
        assert!(!error.contains("hunter2"), "{stem} shows a password:\n{error}");
        golden::compare(&format!("job/golden/{stem}.txt"), &(error + "\n"));
    }
}

#[test]
fn the_shipped_job_runs_without_any_variable() {
    let text = include_str!("../../jobs/user_activity.toml");
    let job = Job::parse(Path::new("jobs/user_activity.toml"), text, &|_| None).expect("it is sound");
    assert_eq!(job.name, "user_activity");
    assert_eq!(job.sources[0].url, "generator://local/user_activity");
    assert_eq!(job.sources[0].time_column, Some(0));
    assert_eq!(job.sources[0].delay, Duration::from_secs(120));
    let columns: Vec<&str> = job.sources[0].columns.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(columns, ["event_time", "user_id", "page_url", "event_type"]);
    let views: Vec<&str> = job.views.iter().map(|view| view.name.as_str()).collect();
    assert_eq!(views, ["page_view_counts", "active_users", "user_sessions", "enriched_activity"]);
    let urls: Vec<&str> = job.sinks.iter().map(|sink| sink.url.as_str()).collect();
    assert_eq!(urls, ["sqlite://data/freshet.db", "parquet://data/lake", "file://data/enriched_activity"]);
}

#[test]
fn the_shipped_job_follows_its_variables() {
    let text = include_str!("../../jobs/user_activity.toml");
    let set = |name: &str| match name {
        "KAFKA_URL" => Some("kafka://localhost:29092".to_owned()),
        "DATABASE_URL" => Some("postgres://app:hunter2@localhost:5433/stream_data".to_owned()),
        _ => None,
    };
    let job = Job::parse(Path::new("x.toml"), text, &set).expect("it is sound");
    assert_eq!(job.sources[0].url, "kafka://localhost:29092/user_activity");
    assert_eq!(job.sinks[2].url, "kafka://localhost:29092/enriched_activity");
    assert!(job.sinks[0].url.contains("hunter2"));
    assert!(!format!("{job:?}").contains("hunter2"));
}

#[test]
fn the_order_of_the_file_is_kept_and_defaults_are_filled_in() {
    let text = format!(
        "{SOURCE}[view.z]\nsql = \"SELECT 1\"\n[view.a]\nsql = \"SELECT 2\"\nemit = \"final\"\n[sink.s]\nurl = \"console://\"\nviews = [\"z\", \"a\"]\n"
    );
    let job = parse(&text).expect("it is sound");
    let source = &job.sources[0];
    assert_eq!(source.columns.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["zebra", "ant", "mule"]);
    assert_eq!(
        job.views.iter().map(|view| (view.name.as_str(), view.emit)).collect::<Vec<_>>(),
        [("z", Emit::Changes), ("a", Emit::Final)]
    );
    assert_eq!((source.delay, source.idle_timeout), (Duration::from_secs(90), Duration::from_secs(30)));
    assert_eq!(
        (source.max_future_skew, source.max_record_bytes, source.from_latest),
        (Duration::from_secs(300), 1_000_000, false)
    );
    assert_eq!((job.sinks[0].roll_bytes, job.sinks[0].roll_interval), (128_000_000, Duration::from_secs(60)));
    assert_eq!((job.name.as_str(), job.epochs), ("activity", EpochSpec::default()));
}

#[test]
fn settings_are_taken_in_each_form_and_with_variables() {
    let settings = "kafka = { \"fetch.min.bytes\" = 1, \"enable.x\" = true, \"sasl.password\" = \"${PASSWORD}\" }";
    let text = format!("{SOURCE}{settings}\n[sink.s]\nurl = \"file://${{HOST}}/x\"\nviews = [\"clicks\"]\n");
    let job = parse(&text).expect("it is sound");
    let expected = [("enable.x", "true"), ("fetch.min.bytes", "1"), ("sasl.password", "hun\"ter2\n[sink.evil]")];
    assert!(job.sources[0].settings.iter().map(|(key, value)| (key.as_str(), value.as_str())).eq(expected));
    assert_eq!(job.sinks[0].url, "file://db.example/x");
    assert_eq!(job.sinks.len(), 1);
}

#[test]
fn an_error_tells_its_line_to_programs() {
    let error = parse("name = \"x\"\nsorce = 1\n").expect_err("a wrong key");
    assert_eq!((error.line(), error.what()), (Some(2), "unknown key 'sorce'"));
}

#[test]
fn no_damaged_file_panics() {
    let text = include_str!("../../jobs/user_activity.toml");
    for at in (0..text.len()).filter(|&at| text.is_char_boundary(at)) {
        let _ = parse(&text[..at]).map_err(|error| error.to_string());
        let _ = parse(&format!("{}é\u{0}{}", &text[..at], &text[at..])).map_err(|error| error.to_string());
    }
}
