//! How process 0 forms an incarnation.
//!
//! ```text
//! everybody joins ─▶ Go ─▶ everybody is Ready ─▶ Link ─▶ everybody is Linked, all data connections are here ─▶ Formed
//! ```
//! A member that is lost before `Go` leaves its place free for the next one; one that is lost between `Go` and `Formed` lets
//! everybody begin again. Once the first process may have heard `Formed`, the generation is used up, whatever happens.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::error::Error;
use crate::forming::Forming;
use crate::frame::{Frame, IncarnationId};
use crate::gate::Arrival;
use crate::greeting::nonce;
use crate::hello::Kind;
use crate::incarnation::Incarnation;
use crate::links::Event;
use crate::listener::Core;
use crate::patience::{Patience, Stop};

/// Forms an incarnation of this generation.
pub(crate) fn lead(core: &Arc<Core>, generation: u64, greeting: Vec<u8>) -> Result<Forming, Error> {
    let seen = core.seen.load(Ordering::SeqCst);
    if generation <= seen {
        return Err(Error::Stale { generation, seen, process: core.member.process });
    }
    let mut patience = Patience::of(core);
    loop {
        let mut incarnation = Incarnation::begin(core)?;
        match attempt(&mut incarnation, generation, &greeting, &mut patience) {
            Ok(()) => return Ok(Forming::new(incarnation, generation, greeting)),
            Err(Stop::Fail(error)) => return Err(error),
            Err(Stop::Again) => tracing::debug!("a process was lost while the cluster was being formed; again"),
        }
    }
}

fn attempt(incarnation: &mut Incarnation, generation: u64, greeting: &[u8], patience: &mut Patience<'_>) -> Result<(), Stop> {
    gather_members(incarnation, generation, patience)?;
    let id: IncarnationId = nonce()?.first_chunk().copied().expect("invariant: 16 of 32 bytes");
    let gate = &incarnation.core.gate;
    gate.name(id);
    gate.want(incarnation.others().map(|process| (process, Kind::Data)));
    if !incarnation.links.bind(incarnation.others()) {
        return Err(Stop::Again);
    }
    tell(incarnation, &Frame::Go { incarnation: id, generation, greeting: greeting.to_vec() })?;
    hear(incarnation, patience, generation, &Frame::Ready)?;
    tell(incarnation, &Frame::Link)?;
    hear(incarnation, patience, generation, &Frame::Linked)?;
    incarnation.core.seen.store(generation, Ordering::SeqCst);
    let formed = tell(incarnation, &Frame::Formed);
    formed.map_err(|_| Stop::Fail(incarnation.loss()))
}

/// Waits until every other process has joined.
fn gather_members(incarnation: &mut Incarnation, generation: u64, patience: &mut Patience<'_>) -> Result<(), Stop> {
    let core = Arc::clone(&incarnation.core);
    core.gate.want(incarnation.others().map(|process| (process, Kind::Join)));
    let mut missing: BTreeSet<usize> = incarnation.others().collect();
    while !missing.is_empty() {
        match incarnation.next(patience, &|| absent(&missing))? {
            Some(Event::Arrived(Arrival { process, seen, .. })) if seen >= generation => {
                return Err(Error::Stale { generation, seen, process }.into());
            }
            Some(Event::Arrived(arrival)) => {
                tracing::debug!("process {} has joined", arrival.process);
                missing.remove(&arrival.process);
                incarnation.enter(arrival)?;
            }
            Some(Event::Gone(process)) => {
                tracing::debug!("process {process} has gone before the cluster was complete");
                missing.insert(process);
                core.gate.want([(process, Kind::Join)]);
            }
            Some(_) => {}
            None => {
                let indices = Frame::Missing(missing.iter().map(|process| *process as u32).collect());
                for (_, line) in incarnation.links.lines() {
                    let _ = line.write_if_free(&indices);
                }
            }
        }
    }
    Ok(())
}

fn tell(incarnation: &Incarnation, frame: &Frame) -> Result<(), Stop> {
    for process in incarnation.others() {
        incarnation.links.send(process, frame).map_err(|error| match error {
            Error::PeerLost(_) => Stop::Again,
            other => Stop::Fail(other),
        })?;
    }
    Ok(())
}

/// Waits until everybody has said `expected`; with `Linked`, also for everybody's data connection.
fn hear(incarnation: &mut Incarnation, patience: &mut Patience<'_>, generation: u64, expected: &Frame) -> Result<(), Stop> {
    let mut missing: BTreeSet<usize> = incarnation.others().collect();
    let with_data = *expected == Frame::Linked;
    while !missing.is_empty() || (with_data && incarnation.data.len() < incarnation.others().count()) {
        match incarnation.next(patience, &|| absent(&missing))? {
            Some(Event::Arrived(arrival)) => incarnation.enter(arrival)?,
            Some(Event::Said(process, Frame::Stale { seen })) => return Err(Error::Stale { generation, seen, process }.into()),
            Some(Event::Said(process, frame)) if frame == *expected => drop(missing.remove(&process)),
            _ => {}
        }
    }
    Ok(())
}

/// Names the processes that are not here.
pub(crate) fn absent(missing: &BTreeSet<usize>) -> String {
    let names: Vec<String> = missing.iter().map(usize::to_string).collect();
    match names.len() {
        1 => format!("process {} is missing", names[0]),
        _ => format!("processes {} are missing", names.join(", ")),
    }
}
