//! What the other jobs have to show, view by view, computed the naive way.

pub mod clickstream;
pub mod ecommerce;
pub mod events;
pub mod payments;
pub mod sensors;

use postgres::Client;

use super::stream::Stream;
use super::tables::dead_letters;

/// Fails unless a job's ledger says of each view that every record of its stream is accounted for.
pub fn check_accounts(client: &mut Client, views: &[&str], stream: &Stream) {
    let query =
        "SELECT DISTINCT ON (view) view, read::bigint, (counted + filtered + late + dead_letters)::bigint, dead_letters::bigint
                 FROM freshet.ledger ORDER BY view, epoch DESC";
    let rows = client.query(query, &[]).expect("freshet.ledger can be read");
    for view in views {
        let row = rows.iter().find(|row| row.get::<_, &str>(0) == *view).unwrap_or_else(|| panic!("the ledger lacks {view}"));
        let expected = [stream.len(), stream.len(), stream.bad.len()].map(|count| i64::try_from(count).expect("few records"));
        assert_eq!([1, 2, 3].map(|i| row.get::<_, i64>(i)), expected, "read, accounted for, dead letters of {view}");
    }
}

/// Fails unless the dead letters are the malformed records of the streams, each once.
pub fn check_dead_letters(client: &mut Client, streams: &[&Stream]) {
    let mut expected: Vec<_> = streams.iter().flat_map(|stream| stream.bad.iter().copied()).collect();
    expected.sort_unstable();
    assert_eq!(dead_letters(client), expected, "the dead letters are the malformed records");
}
