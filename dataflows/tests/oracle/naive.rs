//! What tables must hold, computed from the events and the record of the epochs in the plainest way.

use std::collections::{BTreeMap, BTreeSet};

use freshet_dataflows::epochs::EpochRecord;
use freshet_model::{Epoch, Timestamp};

use crate::harness::{DELAY, Event, Late, MINUTE, Place, Table};

const GAP: i64 = 2 * MINUTE;

pub(crate) struct Expected {
    pub(crate) tables: BTreeMap<String, Table>,
    pub(crate) late: Vec<Late>,
    pub(crate) dead: Vec<Place>,
}

/// An event with its place and the watermark of its source that it met.
#[derive(Debug, Clone)]
pub(crate) struct Met {
    pub(crate) epoch: Epoch,
    pub(crate) partition: usize,
    pub(crate) offset: usize,
    pub(crate) event: Event,
    pub(crate) watermark: Timestamp,
}

pub(crate) fn tables(events: &[Vec<Event>], records: &[EpochRecord], skew: i64) -> Expected {
    tables_since(0, events, records, skew)
}

/// Computes the tables of views that have seen nothing before an epoch.
pub(crate) fn tables_since(since: Epoch, events: &[Vec<Event>], records: &[EpochRecord], skew: i64) -> Expected {
    let mut dead = Vec::new();
    let mut met = met((0, events), records, skew, &mut dead);
    met.retain(|met| met.epoch >= since);
    tables_of(&met, dead)
}

/// Computes the tables of views whose windows take events for so long after they have closed.
pub(crate) fn tables_amended(horizon: i64, events: &[Vec<Event>], records: &[EpochRecord]) -> Expected {
    let mut met = met((0, events), records, i64::MAX, &mut Vec::new());
    met.iter_mut().for_each(|met| met.watermark = met.watermark.plus_micros(-horizon));
    tables_of(&met, Vec::new())
}

fn tables_of(met: &[Met], mut dead: Vec<Place>) -> Expected {
    let mut late = Vec::new();
    let mut tables = BTreeMap::from([
        ("pages".to_owned(), pages(met, &mut late)),
        ("active".to_owned(), active(met, "active", 5, &mut late)),
        ("recent".to_owned(), active(met, "recent", 2, &mut late)),
        ("sessions".to_owned(), sessions(met, &mut late)),
        ("totals".to_owned(), totals(met)),
        ("busy".to_owned(), busy(met)),
        ("levels".to_owned(), levels(met, &mut late)),
    ]);
    crate::rows::extend(&mut tables);
    late.sort();
    dead.sort_unstable();
    Expected { tables, late, dead }
}

/// Finds the epoch of each event of a source in the records, sets apart those that are too far ahead of it, and checks the watermarks by their definition.
pub(crate) fn met(
    (source, events): (usize, &[Vec<Event>]),
    records: &[EpochRecord],
    skew: i64,
    dead: &mut Vec<Place>,
) -> Vec<Met> {
    let mut met = Vec::new();
    let mut watermark = Timestamp::MIN;
    let mut newest = vec![None; events.len()];
    let mut finished = vec![false; events.len()];
    for record in records {
        for cut in record.cuts.iter().filter(|cut| cut.source == source) {
            let partition = usize::try_from(cut.partition).expect("small");
            let range = usize::try_from(cut.start).expect("small")..usize::try_from(cut.end).expect("small");
            for (offset, &event) in events[partition].iter().enumerate().filter(|(offset, _)| range.contains(offset)) {
                if Timestamp(event.time) > record.seal.processing_time.plus_micros(skew) {
                    dead.push((cut.partition, i64::try_from(offset).expect("small")));
                    continue;
                }
                newest[partition] = newest[partition].max(Some(event.time));
                met.push(Met { epoch: record.epoch, partition, offset, event, watermark });
            }
            finished[partition] |= cut.progress == freshet_model::Progress::Finished;
        }
        // A run that goes on after a crash does not know that a partition is finished before its reader has said so again.
        let says =
            |partition| record.cuts.iter().any(|cut| cut.source == source && usize::try_from(cut.partition) == Ok(partition));
        let silent: Vec<usize> = (0..events.len()).filter(|&partition| finished[partition] && !says(partition)).collect();
        let possible = (0..1 << silent.len()).map(|forgotten: usize| {
            let is_forgotten =
                |partition| silent.iter().position(|other| *other == partition).is_some_and(|at| forgotten >> at & 1 == 1);
            let open = (0..events.len()).filter(|&partition| !finished[partition] || is_forgotten(partition));
            let time = |partition: usize| newest[partition].map_or(Timestamp::MIN, |time: i64| Timestamp(time - DELAY));
            watermark.max(open.map(time).min().unwrap_or(Timestamp::MAX))
        });
        let possible: Vec<Timestamp> = possible.collect();
        let recorded = record.seal.watermarks[source];
        assert!(possible.contains(&recorded), "watermark after epoch {}: {recorded:?} is none of {possible:?}", record.epoch);
        watermark = recorded;
    }
    assert_eq!(met.len() + dead.len(), events.iter().map(Vec::len).sum::<usize>(), "each event is in one epoch");
    met
}

/// Lists the windows of an event that count, and takes down the others.
pub(crate) fn windows(met: &Met, view: &str, size: i64, late: &mut Vec<Late>) -> Vec<i64> {
    let last = met.event.time.div_euclid(MINUTE) * MINUTE;
    let all = (0..size / MINUTE).map(|back| last - back * MINUTE);
    let (open, closed): (Vec<i64>, Vec<i64>) = all.partition(|start| Timestamp(start + size) > met.watermark);
    let place = (i32::try_from(met.partition).expect("small"), i64::try_from(met.offset).expect("small"));
    late.extend(closed.into_iter().map(|start| (view.to_owned(), place.0, place.1, start)));
    open
}

fn grouped_pages(met: &[Met], late: &mut Vec<Late>) -> BTreeMap<(i64, u8), Vec<i64>> {
    let mut groups: BTreeMap<(i64, u8), Vec<i64>> = BTreeMap::new();
    for met in met.iter().filter(|met| met.event.kind == 0) {
        for start in windows(met, "pages", MINUTE, late) {
            groups.entry((start, met.event.page)).or_default().push(met.event.amount);
        }
    }
    groups
}

fn pages(met: &[Met], late: &mut Vec<Late>) -> Table {
    let row = |((start, page), amounts): ((i64, u8), Vec<i64>)| {
        let (least, most) = (amounts.iter().min().expect("not empty"), amounts.iter().max().expect("not empty"));
        let end = start + MINUTE;
        let total: i64 = amounts.iter().sum();
        (format!("{start}|/{page}"), format!("{start}|{end}|/{page}|{}|{total}|{least}|{most}", amounts.len()))
    };
    grouped_pages(met, late).into_iter().map(row).collect()
}

fn busy(met: &[Met]) -> Table {
    let mut groups: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
    for ((start, _), amounts) in grouped_pages(met, &mut Vec::new()) {
        groups.entry(start).or_default().push(amounts.len());
    }
    let row = |(start, views): (i64, Vec<usize>)| {
        let (total, most) = (views.iter().sum::<usize>(), views.iter().max().expect("not empty"));
        let end = start + MINUTE;
        (format!("{start}|{end}"), format!("{start}|{end}|{}|{total}|{most}", views.len()))
    };
    groups.into_iter().map(row).collect()
}

/// How many users had how many events in a minute, of those who had several.
fn levels(met: &[Met], late: &mut Vec<Late>) -> Table {
    let mut per_user: BTreeMap<(i64, u8), usize> = BTreeMap::new();
    for met in met {
        for start in windows(met, "levels", MINUTE, late) {
            *per_user.entry((start, met.event.user)).or_default() += 1;
        }
    }
    let mut users: BTreeMap<(i64, usize), usize> = BTreeMap::new();
    for ((start, _), events) in per_user.into_iter().filter(|(_, events)| *events > 1) {
        *users.entry((start, events)).or_default() += 1;
    }
    users.into_iter().map(|((start, n), users)| (format!("{start}|{n}"), format!("{start}|{n}|{users}"))).collect()
}

fn active(met: &[Met], view: &str, minutes: i64, late: &mut Vec<Late>) -> Table {
    let mut users: BTreeMap<i64, BTreeSet<u8>> = BTreeMap::new();
    for met in met {
        for start in windows(met, view, minutes * MINUTE, late) {
            users.entry(start).or_default().insert(met.event.user);
        }
    }
    users
        .into_iter()
        .map(|(start, users)| (format!("{start}"), format!("{start}|{}|{}", start + minutes * MINUTE, users.len())))
        .collect()
}

fn sessions(met: &[Met], late: &mut Vec<Late>) -> Table {
    let mut by_user: BTreeMap<u8, Vec<(i64, i64)>> = BTreeMap::new();
    for met in met {
        let Met { partition, offset, event, watermark, .. } = met;
        if Timestamp(event.time + GAP) <= *watermark {
            let place = (i32::try_from(*partition).expect("small"), i64::try_from(*offset).expect("small"));
            late.push(("sessions".to_owned(), place.0, place.1, event.time));
        } else {
            by_user.entry(event.user).or_default().push((event.time, event.amount));
        }
    }
    let mut table = Table::new();
    for (user, mut events) in by_user {
        events.sort_unstable();
        for session in events.chunk_by(|one, next| next.0 - one.0 <= GAP) {
            let (start, end) = (session[0].0, session[session.len() - 1].0 + GAP);
            let total: i64 = session.iter().map(|event| event.1).sum();
            table.insert(format!("u{user}|{start}"), format!("u{user}|{start}|{end}|{}|{total}", session.len()));
        }
    }
    table
}

fn totals(met: &[Met]) -> Table {
    let mut groups: BTreeMap<u8, (usize, BTreeSet<u8>)> = BTreeMap::new();
    for met in met {
        let group = groups.entry(met.event.page).or_default();
        group.0 += 1;
        group.1.insert(met.event.user);
    }
    groups.into_iter().map(|(page, (events, users))| (format!("/{page}"), format!("/{page}|{events}|{}", users.len()))).collect()
}
