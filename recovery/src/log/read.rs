//! Follows the chain from the newest generation back to where the log begins.

use std::collections::BTreeMap;

use freshet_model::Epoch;

use super::record::Link;
use super::segment::{self, Stretch, Target};
use super::{Entry, Log};
use crate::error::{Damaged, Error};
use crate::names::{self, FLOORS, LOG, RESETS, SegmentName};
use crate::store::Store;

/// The log, and what a writer needs to go on.
#[derive(Debug, Default)]
pub(crate) struct Chain {
    /// What the caller gets.
    pub(crate) log: Log,
    /// The last record; none if the log is empty.
    pub(crate) end: Option<Link>,
    /// The generation since which the state counts: what is older was forgotten by a reset.
    pub(crate) base: u64,
    /// The segments of the chain, oldest first.
    pub(crate) segments: Vec<SegmentName>,
}

/// The segments of each generation, with the paths of their pieces.
type Segments = BTreeMap<u64, Vec<(SegmentName, Vec<String>)>>;

/// Reads the log, leaving out epochs before `from`.
pub(crate) fn read(store: &dyn Store, from: Epoch) -> Result<Chain, Error> {
    let segments = list(store)?;
    let base = base_of(store, &segments)?;
    let floor = floor(store, base)?;
    let newest = segments.keys().next_back().filter(|newest| **newest >= base);
    let Some(&newest) = newest else { return Ok(Chain { base, ..Chain::default() }) };
    let mut stretches = vec![];
    let (mut generation, mut target) = (newest, None);
    loop {
        let stretch = read_generation(store, &segments, generation, floor, from, target)?;
        let (previous, first, is_whole) = (stretch.previous, stretch.first, stretch.is_whole);
        let name = stretch.segments[0].path();
        stretches.push(stretch);
        if previous == Link::NONE || floor.is_some_and(|floor| first <= floor) {
            return Ok(Chain { base, ..assemble(stretches, from) });
        }
        if !is_whole || previous.generation >= generation {
            let file = format!("{}/{name}", store.place());
            return Err(Damaged::log(file, 0, "the segment of the same generation before this one is missing").into());
        }
        (generation, target) = (previous.generation, Some(Target { link: previous, next: first }));
    }
}

/// Returns the generation since which the state counts.
pub(crate) fn base(store: &dyn Store) -> Result<u64, Error> {
    base_of(store, &list(store)?)
}

/// A reset holds from the moment it is marked for those who begin after it. One that a replaced leader marks too late is not
/// in the Start of the newer generation, and hence void.
fn base_of(store: &dyn Store, segments: &Segments) -> Result<u64, Error> {
    let Some(reset) = store.list(RESETS)?.iter().filter_map(|path| names::number(path)).max() else { return Ok(0) };
    match segments.last_key_value() {
        Some((newest, of_newest)) if *newest >= reset => match of_newest.last() {
            Some((name, pieces)) => segment::read_base(store, *name, pieces.first().map_or("", String::as_str)),
            None => Ok(reset),
        },
        _ => Ok(reset),
    }
}

/// Reads the epoch before which the log need not reach.
fn floor(store: &dyn Store, base: u64) -> Result<Option<Epoch>, Error> {
    let floors = store.list(FLOORS)?;
    let floors = floors.iter().filter_map(|path| SegmentName::parse(path)).filter(|floor| floor.generation >= base);
    Ok(floors.map(|floor| floor.first).max())
}

/// Lists the segments of all generations.
fn list(store: &dyn Store) -> Result<Segments, Error> {
    let mut segments = Segments::new();
    for path in store.list(LOG)?.into_iter().filter(|path| !names::is_unfinished(path)) {
        let Some(name) = SegmentName::parse(&path) else { continue };
        let of_generation = segments.entry(name.generation).or_default();
        match of_generation.last_mut() {
            Some((last, pieces)) if *last == name => pieces.push(path),
            _ => of_generation.push((name, vec![path])),
        }
    }
    Ok(segments)
}

fn read_generation(
    store: &dyn Store,
    segments: &Segments,
    generation: u64,
    floor: Option<Epoch>,
    from: Epoch,
    target: Option<Target>,
) -> Result<Stretch, Error> {
    let all = segments.get(&generation).map(Vec::as_slice).unwrap_or_default();
    let wanted = all.partition_point(|(name, _)| target.is_none_or(|target| name.first <= target.next));
    // What lies before the floor may have been deleted in part.
    let needed = all[..wanted].iter().rposition(|(name, _)| Some(name.first) <= floor).unwrap_or(0);
    if wanted == 0 {
        let problem = format!("the segments of generation {generation}, which a later one continues, are missing");
        return Err(Damaged::log(format!("{}/{LOG}", store.place()), 0, problem).into());
    }
    segment::read(store, &all[needed..wanted], from, target)
}

/// Puts the stretches, newest first, into the log's order.
fn assemble(mut stretches: Vec<Stretch>, from: Epoch) -> Chain {
    stretches.reverse();
    let mut chain = Chain::default();
    chain.log.first = stretches.first().map_or(0, |stretch| stretch.first);
    for mut stretch in stretches {
        chain.log.next = stretch.end.next;
        chain.end = Some(stretch.end.link);
        chain.segments.append(&mut stretch.segments);
        chain.log.entries.append(&mut stretch.entries);
    }
    let is_before = |entry: &Entry| matches!(entry, Entry::Start { next, .. } if *next <= from);
    let begin = chain.log.entries.iter().rposition(is_before).unwrap_or(0);
    chain.log.entries.drain(..begin);
    chain
}
