//! What must hold in every state, and what must be possible at all.

use stateright::Property;

use crate::leader::{Phase, Reply, Step};
use crate::store::Store;
use crate::world::{Protocol, World};
use crate::{EPOCHS, INCARNATIONS};

/// Lists the properties.
pub(crate) fn all() -> Vec<Property<Protocol>> {
    vec![
        Property::always("each sink holds the log's epochs, each once and in order", |p, w: &World| follows_the_log(p, &w.store)),
        Property::always("the sinks agree", |_, w: &World| agree(&w.store)),
        Property::always("a checkpoint is whole and no sink is behind it", checkpoints_hold),
        Property::always("no start is refused", |_, w: &World| !w.refused),
        Property::always("one more start always brings everything to its end", goes_on),
        Property::sometimes("all epochs are in all sinks", |_, w: &World| {
            w.store.sinks.iter().all(|s| s.rows.len() == usize::from(EPOCHS))
        }),
        Property::sometimes("three incarnations have each decided an epoch", |p, w: &World| {
            (1..=EPOCHS).all(|content| w.store.log(&p.rules).0.contains(&content))
        }),
        Property::sometimes("three incarnations run at once", |_, w: &World| {
            w.leaders.iter().flatten().filter(|leader| leader.phase == Phase::Running).count() == INCARNATIONS
        }),
        Property::sometimes("a replaced one has written records that are not read", |p, w: &World| {
            let written: usize = w.store.segments.iter().flatten().map(|s| s.records.len()).sum();
            written > w.store.log(&p.rules).0.len()
        }),
        Property::sometimes("the log's beginning is gone, and epochs are still to come", |_, w: &World| {
            (1..EPOCHS).contains(&w.store.log_from)
        }),
    ]
}

fn follows_the_log(protocol: &Protocol, store: &Store) -> bool {
    let (log, _) = store.log(&protocol.rules);
    let is_prefix = |rows: &[(u8, u8)]| {
        rows.len() <= log.len() && (0..).zip(&log).zip(rows).all(|((epoch, &content), &row)| row == (epoch, content))
    };
    store.sinks.iter().all(|sink| is_prefix(&sink.rows))
}

fn agree(store: &Store) -> bool {
    let [a, b] = store.sinks.each_ref().map(|sink| &sink.rows);
    a.iter().zip(b).all(|(a, b)| a == b)
}

fn checkpoints_hold(protocol: &Protocol, world: &World) -> bool {
    let (log, _) = world.store.log(&protocol.rules);
    world.store.checkpoints.iter().all(|saved| {
        let behind = world.store.sinks.iter().any(|sink| sink.held() < Some(saved.epoch.into()));
        !behind && log.get(..=usize::from(saved.epoch)) == Some(&saved.contents[..])
    })
}

/// Lets one more incarnation run alone, with every reply coming, and looks at where it arrives.
fn goes_on(protocol: &Protocol, world: &World) -> bool {
    let rules = &protocol.rules;
    let mut world = World { leaders: Default::default(), ..world.clone() };
    let mut leader = world.begin(rules);
    let mut steps = Vec::new();
    loop {
        leader.steps(&world.store, rules, &mut steps);
        let useful = |step: &Step| match *step {
            Step::Start | Step::Fence(_) | Step::Decide | Step::LogLate => true,
            Step::Commit(_, to, reply) => to + 1 == leader.logged && reply == Reply::Came,
            _ => false,
        };
        let Some(step) = steps.drain(..).find(useful) else { break };
        if !leader.take(step, &mut world.store, rules) {
            return false;
        }
    }
    world.store.sinks.iter().all(|sink| sink.rows.len() == usize::from(EPOCHS)) && follows_the_log(protocol, &world.store)
}
