//! Any sequence of commits leaves a table with what a map would hold.

use freshet_connectors::TableSink;
use freshet_connectors::postgres::PostgresSink;
use freshet_connectors::sqlite::SqliteSink;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use crate::cluster::Database;
use crate::commits::{Content, Key, START, Values, commit, options, view};
use crate::{postgres as pg, sqlite};

/// All keys that occur: many pages in a few windows, with NULLs in either column and in both.
fn all_keys() -> Vec<Key> {
    let times = (0..50).map(|minute| Some(START + minute * 60_000_000)).chain([None, Some(-1), Some(1)]);
    let page = |page: i32| (page > 0).then(|| format!("/page ä\\'\"/{page}"));
    times.flat_map(|time| (0..120).map(move |number| (time, page(number)))).collect()
}

fn random_values(random: &mut StdRng) -> Values {
    let some = random.random_bool(0.9);
    Values {
        hits: some.then(|| random.random()),
        amount: random.random_bool(0.9).then(|| random.random_range(-999_999_999_999..=999_999_999_999)),
        open: random.random_bool(0.9).then(|| random.random()),
        ratio: random.random_bool(0.9).then(|| random.random_range(-1e9..1e9)),
    }
}

/// Applies random commits to a sink and to a map, and compares now and then.
fn check(sink: &mut dyn TableSink, seed: u64, read: &mut dyn FnMut() -> Content) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut keys = all_keys();
    let mut expected = Content::new();
    sink.prepare(&[view("v")]).unwrap();
    for epoch in 1..=30 {
        keys.shuffle(&mut random);
        // Around and far beyond the size from which a staging table is used.
        let size = match random.random_range(0..4) {
            0 => random.random_range(0..5),
            1 => random.random_range(0..200),
            2 => random.random_range(4000..6000),
            _ => random.random_range(5001..6360),
        };
        let (deletes, upserts) = keys[..size].split_at(random.random_range(0..=size / 2));
        let upserts: Content = upserts.iter().map(|key| (key.clone(), random_values(&mut random))).collect();
        let refused = sink.commit(&commit(epoch, &upserts, deletes)).unwrap();
        assert_eq!(refused, []);
        for key in deletes {
            expected.remove(key);
        }
        expected.extend(upserts);
        if epoch % 5 == 0 {
            assert!(read() == expected, "seed {seed}, epoch {epoch}: the table differs from the map");
        }
    }
}

#[test]
fn a_created_postgres_table_equals_a_map() {
    for seed in 0..2 {
        let database = Database::create();
        let mut sink = PostgresSink::open(&database.url, options(1)).unwrap();
        let mut reader = database.client();
        check(&mut sink, seed, &mut || pg::content(&mut reader));
    }
}

#[test]
fn a_postgres_table_of_wider_types_where_nulls_are_distinct_equals_a_map() {
    let database = Database::create();
    let mut reader = database.client();
    let ddl = "CREATE TABLE v (id bigserial PRIMARY KEY, ratio double precision, open boolean, amount numeric, hits bigint, \
               page text, window_start timestamptz, UNIQUE (page, window_start))";
    reader.batch_execute(ddl).unwrap();
    let mut sink = PostgresSink::open(&database.url, options(1)).unwrap();
    check(&mut sink, 7, &mut || pg::content(&mut reader));
}

#[test]
fn an_sqlite_table_equals_a_map() {
    for seed in 0..3 {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b.db");
        let mut sink = SqliteSink::open(&format!("sqlite://{}", path.display()), options(1)).unwrap();
        let reader = rusqlite::Connection::open(&path).unwrap();
        check(&mut sink, seed, &mut || sqlite::content(&reader));
    }
}
