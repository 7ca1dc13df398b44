//! How every process but the first takes part in forming an incarnation; `lead` is the other side.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::dial::{Call, call};
use crate::error::Error;
use crate::forming::Forming;
use crate::frame::{Frame, IncarnationId};
use crate::hello::Kind;
use crate::incarnation::Incarnation;
use crate::lead::absent;
use crate::links::Event;
use crate::listener::Core;
use crate::patience::{LOOK, Patience, Stop};

/// The index of the leader.
const LEADER: usize = 0;

/// Takes part in the next incarnation that the leader forms.
pub(crate) fn follow(core: &Arc<Core>) -> Result<Forming, Error> {
    let mut patience = Patience::of(core);
    loop {
        let mut incarnation = Incarnation::begin(core)?;
        match attempt(&mut incarnation, &mut patience) {
            Ok((generation, greeting)) => {
                core.seen.fetch_max(generation, Ordering::SeqCst);
                return Ok(Forming::new(incarnation, generation, greeting));
            }
            Err(Stop::Fail(error)) => return Err(error),
            Err(Stop::Again) => tracing::debug!("a process was lost while the cluster was being formed; again"),
        }
    }
}

fn attempt(incarnation: &mut Incarnation, patience: &mut Patience<'_>) -> Result<(u64, Vec<u8>), Stop> {
    let join = Call { to: LEADER, kind: Kind::Join, incarnation: [0; 16] };
    let socket = call(&incarnation.core, join, patience, &|| true)?;
    incarnation.links.add(LEADER, socket)?;
    let (id, generation, greeting) = wait_for_go(incarnation, patience)?;
    let seen = incarnation.core.seen.load(Ordering::SeqCst);
    if generation <= seen {
        tracing::warn!("process {LEADER} offers generation {generation}, but this process has seen {seen}: refused");
        say(incarnation, &Frame::Stale { seen })?;
        // The leader gives up on it; calling again at once would be of no use.
        std::thread::sleep(LOOK);
        return Err(Stop::Again);
    }
    link(incarnation, id, patience)?;
    say(incarnation, &Frame::Linked)?;
    wait_for(incarnation, patience, &Frame::Formed)?;
    Ok((generation, greeting))
}

fn wait_for_go(incarnation: &Incarnation, patience: &mut Patience<'_>) -> Result<(IncarnationId, u64, Vec<u8>), Stop> {
    let mut missing = BTreeSet::new();
    loop {
        let waiting = || match missing.is_empty() {
            true => format!("process {LEADER} is reached but has not begun"),
            false => absent(&missing),
        };
        match incarnation.next(patience, &waiting)? {
            Some(Event::Said(LEADER, Frame::Go { incarnation: id, generation, greeting })) => {
                return if incarnation.links.bind([LEADER]) { Ok((id, generation, greeting)) } else { Err(Stop::Again) };
            }
            Some(Event::Said(LEADER, Frame::Missing(indices))) => {
                missing = indices.into_iter().map(|index| index as usize).collect();
            }
            Some(Event::Gone(LEADER)) => return Err(Stop::Again),
            _ => {}
        }
    }
}

/// Makes the connections with everybody: calls those before this process, hears those after it.
fn link(incarnation: &mut Incarnation, id: IncarnationId, patience: &mut Patience<'_>) -> Result<(), Stop> {
    let member = &incarnation.core.member;
    let (own, later) = (member.process, member.process + 1..member.processes());
    incarnation.core.gate.name(id);
    incarnation.core.gate.want(later.clone().flat_map(|process| [(process, Kind::Control), (process, Kind::Data)]));
    say(incarnation, &Frame::Ready)?;
    wait_for(incarnation, patience, &Frame::Link)?;
    for to in 0..own {
        let (core, links) = (Arc::clone(&incarnation.core), Arc::clone(&incarnation.links));
        let mut connect = |kind| call(&core, Call { to, kind, incarnation: id }, patience, &|| !links.is_over());
        if to != LEADER {
            let control = connect(Kind::Control)?;
            incarnation.links.add(to, control)?;
        }
        incarnation.data.insert(to, connect(Kind::Data)?);
    }
    let expected: BTreeSet<(usize, Kind)> = later.flat_map(|process| [(process, Kind::Control), (process, Kind::Data)]).collect();
    while !expected.is_subset(&incarnation.arrived) {
        let waiting = || absent(&expected.difference(&incarnation.arrived).map(|(process, _)| *process).collect());
        if let Some(Event::Arrived(arrival)) = incarnation.next(patience, &waiting)? {
            incarnation.enter(arrival)?;
        }
    }
    Ok(())
}

fn say(incarnation: &Incarnation, frame: &Frame) -> Result<(), Stop> {
    incarnation.links.send(LEADER, frame).map_err(|_| Stop::Again)
}

fn wait_for(incarnation: &mut Incarnation, patience: &mut Patience<'_>, expected: &Frame) -> Result<(), Stop> {
    loop {
        let waiting = || "the other processes are not connected with each other yet".to_owned();
        match incarnation.next(patience, &waiting)? {
            Some(Event::Said(LEADER, frame)) if frame == *expected => return Ok(()),
            // A process that heard "Link" earlier may call before this one has heard it.
            Some(Event::Arrived(arrival)) => incarnation.enter(arrival)?,
            _ => {}
        }
    }
}
