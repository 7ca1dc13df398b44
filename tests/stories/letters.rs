//! Dead letters in a topic of their own, or beside the tables: listed, shown, and put back once.

use std::collections::BTreeMap;
use std::time::Duration;

use freshet_harness::freshet::Freshet;
use freshet_harness::job::Job;
use freshet_harness::kafka::{Kafka, Record};
use freshet_harness::postgres::{Database, Postgres};
use serde_json::Value;

use super::dead_letters::corpus;

const LIMIT: Duration = Duration::from_secs(120);

/// The reason of all payloads that are no JSON.
const MALFORMED: usize = 5;

struct Stage {
    kafka: &'static Kafka,
    topic: &'static str,
    /// What the topic holds, with the reasons: it names the time at which it was made up.
    corpus: Vec<(&'static str, Option<Vec<u8>>)>,
    database: Database,
    job: Job,
}

impl Stage {
    /// Fills a topic with records that are no events, and runs the job over it.
    fn set(topic: &'static str, places: &str) -> Stage {
        let kafka = Kafka::shared();
        kafka.create(topic, 1);
        kafka.create(&format!("{topic}_enriched"), 1);
        let corpus = corpus();
        kafka.produce(topic, 0, &corpus.iter().map(|(_, payload)| payload.clone()).collect::<Vec<_>>());
        let database = Postgres::shared().database(topic);
        // A name of its own, since a ledger is a job's.
        let source = "[source.user_activity]";
        let job = Job::user_activity(topic).replace(source, &format!("name = \"{topic}\"\n{source}")).append(places);
        job.run_on(kafka, &database).args("-w 2 --bounded").succeed(LIMIT);
        Stage { kafka, topic, corpus, database, job }
    }

    fn command(&self, words: &str) -> Freshet {
        self.job.command(words).env("KAFKA_URL", &self.kafka.url()).env("DATABASE_URL", &self.database.url)
    }

    fn output(&self, words: &str) -> String {
        self.command(words).succeed(LIMIT).stdout
    }

    fn objects(&self, words: &str) -> Vec<Value> {
        self.output(words).lines().map(|line| serde_json::from_str(line).expect("a JSON object")).collect()
    }

    fn records(&self, topic: &str) -> Vec<Record> {
        let mut records = Vec::new();
        self.kafka.read(topic, |record| records.push(record));
        records
    }
}

#[test]
fn what_is_no_event_comes_into_a_topic_whole_and_is_put_back_once() {
    let places = "[dead_letters]\nurl = \"${KAFKA_URL}/letters_dead\"\n[late_events]\nurl = \"${KAFKA_URL}/letters_late\"\n";
    let stage = Stage::set("letters", places);
    let mut records = stage.records("letters_dead");
    records.sort_by_key(|record| record.headers["offset"].parse::<i64>().expect("an offset"));
    for (offset, ((reason, payload), record)) in stage.corpus.iter().zip(&records).enumerate() {
        let payload = payload.clone().unwrap_or_default();
        let expected = [("source", "user_activity"), ("topic", "letters"), ("partition", "0"), ("job", "letters")];
        let found: BTreeMap<_, _> = record.headers.iter().map(|(name, value)| (&**name, &**value)).collect();
        assert!(expected.iter().all(|(name, value)| found[name] == *value), "{found:?}");
        assert_eq!(
            (found["reason"], found["offset"], &*record.key),
            (*reason, &*offset.to_string(), &*format!("user_activity/0/{offset}"))
        );
        assert_eq!(found["bytes"], payload.len().to_string());
        assert!(!found["detail"].is_empty() && found["time"].starts_with("20"));
        let cut = payload.len().min(1_000_000);
        assert!(record.payload == payload[..cut] && found.contains_key("truncated") == (cut < payload.len()), "{offset}");
    }
    assert_eq!(records.len(), stage.corpus.len());

    assert_eq!(stage.objects("dlq list --json").len(), stage.corpus.len());
    let listed = stage.output("dlq list --reason malformed --limit 3");
    assert!(
        listed.starts_with("time ") && listed.contains(" malformed ") && listed.contains("the newest 3 of 5 in "),
        "{listed}"
    );
    let shown = stage.output("dlq show user_activity/0/3");
    assert!(shown.contains("reason    malformed") && shown.ends_with("\n\nnot json\n"), "{shown}");
    stage.command("dlq show user_activity/0/999").run(LIMIT).expect_error(2);

    let replay = format!("dlq replay --reason malformed --to {}/letters_again", stage.kafka.url());
    let (dry, first, second) = (stage.output(&format!("{replay} --dry-run")), stage.output(&replay), stage.output(&replay));
    assert_eq!(dry, "5 would be replayed, 0 replayed before\n");
    assert_eq!((&*first, &*second), ("5 replayed, 0 replayed before\n", "0 replayed, 5 replayed before\n"));
    let again = stage.records("letters_again");
    let bad: Vec<_> =
        stage.corpus.iter().filter(|(reason, _)| *reason == "malformed").filter_map(|(_, bad)| bad.clone()).collect();
    assert_eq!((again.iter().map(|record| record.payload.clone()).collect::<Vec<_>>(), again.len()), (bad, MALFORMED));
    assert_eq!(again[1].headers["freshet-replay"], "letters/user_activity/0/3");
    let replayed = stage.objects("dlq list --json").iter().filter(|letter| letter["replayed"] == true).count();
    assert_eq!(replayed, MALFORMED);
}

#[test]
fn letters_beside_the_tables_are_put_back_into_their_topic_and_marked() {
    let stage = Stage::set("letters_beside", "");
    let before = stage.records(stage.topic).len();
    let outcomes = stage.objects("dlq replay --reason time_out_of_range --json");
    assert!(outcomes.len() == 2 && outcomes.iter().all(|outcome| outcome["outcome"] == "replayed"), "{outcomes:?}");
    let records = stage.records(stage.topic);
    assert_eq!(records.len(), before + 2);
    assert_eq!(records[before].headers["freshet-replay"], "letters_beside/user_activity/0/13");
    assert_eq!(records[before].payload, records[13].payload);
    assert_eq!(stage.database.number("SELECT count(*) FROM freshet.dead_letters WHERE replayed_at IS NOT NULL"), Some(2));
    assert_eq!(stage.output("dlq replay --reason time_out_of_range"), "0 replayed, 2 replayed before\n");
    // As after a crash between the transaction and the marks: the ledger knows.
    stage.database.connect().batch_execute("UPDATE freshet.dead_letters SET replayed_at = NULL").expect("updated");
    assert_eq!(stage.output("dlq replay --reason time_out_of_range"), "0 replayed, 2 replayed before\n");
    assert_eq!(stage.database.number("SELECT count(*) FROM freshet.dead_letters WHERE replayed_at IS NOT NULL"), Some(2));
    assert_eq!(stage.records(stage.topic).len(), before + 2);
    let left = stage.output("dlq replay --reason oversized");
    assert!(left.contains("user_activity/0/17 stays: only a part of it was kept"), "{left}");
}
