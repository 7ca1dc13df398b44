//! Money is neither made nor lost: each transfer credits one account and debits another, in two views with different keys, and whoever
//! looks at any instant, under load and through kills, finds as much credited as debited, balances that add up to nothing, and statements
//! whose two sides, which come by ways of different lengths, are both there and agree.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use freshet_harness::job::Job;
use freshet_harness::kafka::Kafka;
use freshet_harness::postgres::Postgres;
use freshet_harness::server::wait_for;
use postgres::{Client, IsolationLevel};

const LIMIT: Duration = Duration::from_secs(120);
const TRANSFERS: i64 = 200_000;
const ACCOUNTS: i64 = 500;

const JOB: &str = r#"
name = "bank"

[source.transfers]
url = "${KAFKA_URL}/transfers"
columns = { at = "timestamp", payer = "bigint", payee = "bigint", amount = "bigint" }
watermark = { column = "at", delay = "1m" }

[view.credits]
sql = "SELECT payee, count(*) AS transfers, sum(amount) AS credited FROM transfers GROUP BY payee"

[view.debits]
sql = "SELECT payer, count(*) AS transfers, sum(amount) AS debited FROM transfers GROUP BY payer"

# An account that has only paid or only been paid has a balance too.
[view.balances]
sql = """
SELECT coalesce(c.payee, d.payer) AS account, coalesce(c.credited, 0) - coalesce(d.debited, 0) AS balance
FROM credits AS c FULL JOIN debits AS d ON c.payee = d.payer
"""
key = ["account"]

[view.pairs]
sql = "SELECT payer, payee, count(*) AS transfers FROM transfers GROUP BY payer, payee"

[view.partners]
sql = "SELECT payer, sum(transfers) AS transfers FROM pairs GROUP BY payer"

# Whoever has paid has paid somebody: the right side is never NULL.
[view.statements]
sql = """
SELECT d.payer AS account, d.transfers, p.transfers AS by_partner
FROM debits AS d LEFT JOIN partners AS p ON d.payer = p.payer
"""
key = ["account"]

[sink.bank]
url = "${DATABASE_URL}"
views = ["credits", "debits", "balances", "statements"]

[epochs]
min = "1ms"
catch_up = "5ms"

[checkpoint]
interval = "100ms"
"#;

/// What a snapshot shows: transfers and their sum as credits and as debits, the newest epoch, the transfers in the ledger, the sum of all balances,
/// and the statements that lack one side or whose sides differ.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
struct Snapshot {
    epoch: i64,
    credits: (i64, i64),
    debits: (i64, i64),
    counted: (i64, i64),
    balance: i64,
    torn_statements: i64,
}

fn look(client: &mut Client) -> Option<Snapshot> {
    let mut snapshot = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true).start().ok()?;
    let row = snapshot
        .query_one(
            "SELECT (SELECT epoch FROM freshet.progress WHERE job = 'bank'), \
                    (SELECT coalesce(sum(transfers), 0)::bigint FROM credits), (SELECT coalesce(sum(credited), 0)::bigint FROM credits), \
                    (SELECT coalesce(sum(transfers), 0)::bigint FROM debits), (SELECT coalesce(sum(debited), 0)::bigint FROM debits), \
                    (SELECT coalesce(sum(counted), 0)::bigint FROM freshet.ledger WHERE view = 'credits'), \
                    (SELECT coalesce(sum(counted), 0)::bigint FROM freshet.ledger WHERE view = 'debits'), \
                    (SELECT coalesce(sum(balance), 0)::bigint FROM balances), \
                    (SELECT count(*) FROM statements WHERE by_partner IS DISTINCT FROM transfers)",
            &[],
        )
        .ok()?;
    let pair = |at: usize| (row.get::<_, i64>(at), row.get::<_, i64>(at + 1));
    let (balance, torn_statements) = pair(7);
    Some(Snapshot {
        epoch: row.get::<_, Option<i64>>(0)?,
        credits: pair(1),
        debits: pair(3),
        counted: pair(5),
        balance,
        torn_statements,
    })
}

/// Looks again and again, and returns how often it saw something new.
fn watch(client: &mut Client, ended: &AtomicBool) -> usize {
    let (mut last, mut seen) = (Snapshot::default(), 0);
    while !ended.load(Ordering::Relaxed) {
        let Some(now) = look(client) else { continue };
        assert_eq!(now.credits, now.debits, "as much is credited as is debited in epoch {}", now.epoch);
        assert_eq!(now.counted, (now.credits.0, now.debits.0), "the ledger counts what the tables hold in epoch {}", now.epoch);
        assert_eq!((now.balance, now.torn_statements), (0, 0), "balances and statements are whole in epoch {}", now.epoch);
        assert!(now.epoch >= last.epoch && now.credits.0 >= last.credits.0, "nothing goes back: {last:?}, then {now:?}");
        seen += usize::from(now.credits.0 > last.credits.0);
        last = now;
    }
    seen
}

/// Ends the watch also when the test fails.
struct Tell<'a>(&'a AtomicBool);

impl Drop for Tell<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn whoever_looks_at_any_instant_finds_as_much_credited_as_debited() {
    let kafka = Kafka::shared();
    kafka.create("transfers", 3);
    let transfer = |number: i64| {
        let (payer, payee, amount) = (number * 7 % ACCOUNTS, number * 13 % ACCOUNTS + 1, number % 100 + 1);
        format!(r#"{{"at": {}, "payer": {payer}, "payee": {payee}, "amount": {amount}}}"#, 1_790_000_000_000 + number)
    };
    // Each start finds a quarter of them that nobody has read.
    let produce = |quarter: i64| {
        for partition in 0..3 {
            let own = (0..TRANSFERS).filter(|n| n % 3 == partition && n * 4 / TRANSFERS == quarter);
            let own: Vec<_> = own.map(|number| Some(transfer(number).into_bytes())).collect();
            kafka.produce("transfers", i32::try_from(partition).expect("small"), &own);
        }
    };
    let database = Postgres::shared().database("bank");
    let job = Job::written(JOB);
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| watch(&mut database.connect(), &ended));
        let _told = Tell(&ended);
        let mut client = database.connect();
        for (quarter, workers) in [(0, 2), (1, 1), (2, 3)] {
            produce(quarter);
            let before = look(&mut client).unwrap_or_default().credits.0;
            let mut running = job.run_on(kafka, &database).args(&format!("-w {workers}")).start();
            let moved = || look(&mut client).is_some_and(|now| now.credits.0 > before);
            assert!(wait_for(LIMIT, moved) && running.is_running(), "{}", running.output());
            running.signal("KILL");
        }
        produce(3);
        job.run_on(kafka, &database).args("-w 2 --bounded").succeed(LIMIT);
        let last = look(&mut client).expect("the tables are there");
        ended.store(true, Ordering::Relaxed);
        assert!(watcher.join().expect("nothing was out of balance") > 0, "the reader saw the tables change");
        let sum = (0..TRANSFERS).map(|number| number % 100 + 1).sum();
        assert_eq!((last.credits, last.debits), ((TRANSFERS, sum), (TRANSFERS, sum)));
        let rows = |table: &str| database.number(&format!("SELECT count(*) FROM {table}"));
        assert_eq!((rows("balances"), rows("statements")), (Some(ACCOUNTS + 1), Some(ACCOUNTS)));
    });
}
