//! Whatever a topic brings that is no event is kept with its place and the reason, and what follows it counts.

use std::time::Duration;

use freshet_harness::job::Job;
use freshet_harness::kafka::Kafka;
use freshet_harness::postgres::Postgres;

const LIMIT: Duration = Duration::from_secs(120);

/// Records that are no events, each with the reason under which it is kept.
pub(super) fn corpus() -> Vec<(&'static str, Option<Vec<u8>>)> {
    let text = |payload: &str| Some(payload.as_bytes().to_vec());
    let event = |time: &str, user: &str| {
        text(&format!(r#"{{"event_time": {time}, "user_id": {user}, "page_url": "/", "event_type": "page_view"}}"#))
    };
    let now = format!("\"{}\"", jiff::Timestamp::now());
    let deep = format!(r#"{{"event_time": {now}, "more": {}{}}}"#, "[".repeat(10_000), "]".repeat(10_000));
    vec![
        ("empty_payload", None),
        ("empty_payload", Some(Vec::new())),
        ("malformed", Some(vec![0xff, 0xfe, 0x00])),
        ("malformed", text("not json")),
        ("malformed", text(r#"{"event_time": "#)),
        ("malformed", text(r#"["event_time"]"#)),
        ("malformed", event(&now, r#""a" "b""#)),
        ("too_deep", text(&deep)),
        ("wrong_type", event("true", "\"u\"")),
        ("wrong_type", event("\"yesterday\"", "\"u\"")),
        ("wrong_type", event(&now, "7")),
        ("missing_column", event("null", "\"u\"")),
        ("missing_column", text(r#"{"user_id": "u"}"#)),
        ("time_out_of_range", event("\"9999-12-31T23:59:59Z\"", "\"u\"")),
        ("time_out_of_range", event("\"1969-12-31T23:59:59Z\"", "\"u\"")),
        ("nul_character", event(&now, r#""a\u0000b""#)),
        ("too_long", event(&now, &format!("\"{}\"", "u".repeat(51)))),
        ("oversized", event(&now, &format!("\"{}\"", "u".repeat(1_100_000)))),
    ]
}

#[test]
fn bad_records_become_dead_letters_and_the_next_record_counts() {
    let (kafka, topic) = (Kafka::shared(), "dead_letters");
    kafka.create(topic, 1);
    kafka.create("dead_letters_enriched", 1);
    let good = format!(
        r#"{{"event_time": "{}", "user_id": "u", "page_url": "/cart", "event_type": "page_view"}}"#,
        jiff::Timestamp::now()
    );
    let corpus = corpus();
    let records: Vec<_> = corpus.iter().flat_map(|(_, bad)| [bad.clone(), Some(good.clone().into_bytes())]).collect();
    kafka.produce(topic, 0, &records);

    let database = Postgres::shared().database(topic);
    Job::user_activity(topic).run_on(kafka, &database).args("-w 2 --bounded").succeed(LIMIT);

    let query = r#"SELECT "offset"::bigint, reason, detail, octet_length(payload) FROM freshet.dead_letters ORDER BY "offset""#;
    let rows = database.connect().query(query, &[]).expect("freshet.dead_letters can be read");
    let found: Vec<(i64, String)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let expected: Vec<(i64, String)> = (0..).step_by(2).zip(corpus.iter().map(|(reason, _)| (*reason).to_owned())).collect();
    assert_eq!(found, expected, "offset and reason");
    for row in &rows {
        assert!(!row.get::<_, &str>(2).is_empty(), "the detail speaks to a person");
        assert!(row.get::<_, i32>(3) <= 4096, "a payload is kept in part");
    }
    let counted = i64::try_from(corpus.len()).expect("few records");
    assert_eq!(database.number("SELECT sum(view_count)::bigint FROM page_view_counts WHERE page_url = '/cart'"), Some(counted));
    let dead = database.number("SELECT dead_letters::bigint FROM freshet.ledger WHERE view = 'page_view_counts'");
    assert_eq!(dead, Some(counted));
}
