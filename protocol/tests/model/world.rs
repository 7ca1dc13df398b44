//! Durable state and leaders together, as the checker sees them.

use stateright::{Model, Property};

use crate::INCARNATIONS;
use crate::leader::{Alive, Leader, Phase, Step};
use crate::properties;
use crate::rules::Rules;
use crate::store::Store;

/// A state of the world.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct World {
    pub(crate) store: Store,
    /// Each incarnation that has begun.
    pub(crate) leaders: [Option<Leader>; INCARNATIONS],
    /// So many have begun.
    pub(crate) begun: usize,
    /// A start was refused.
    pub(crate) refused: bool,
}

/// What may happen next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// One more incarnation begins, whatever the others do.
    Begin,
    /// A leader takes a step.
    Step(usize, Step),
}

/// The protocol, or what is left of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Protocol {
    pub(crate) rules: Rules,
}

impl World {
    /// Begins one more incarnation.
    pub(crate) fn begin(&mut self, rules: &Rules) -> Leader {
        self.store.generation = if rules.raise_generation { self.store.generation + 1 } else { 1 };
        Leader::new(self.store.generation, self.begun as u8 + 1, rules)
    }

    fn step(&mut self, index: usize, step: Step, rules: &Rules) -> Alive {
        let leader = self.leaders[index].as_mut().expect("a listed leader is there");
        let alive = leader.take(step, &mut self.store, rules);
        self.refused |= leader.phase == Phase::Refused;
        alive
    }

    /// Makes states the same that differ only in what cannot matter any more: a reply that a fenced leader waits for, and
    /// which of the two sinks is called the first.
    fn normalise(&mut self, rules: &Rules) {
        for leader in self.leaders.iter_mut().flatten().filter(|_| rules.check_generation) {
            for (sink, doubt) in self.store.sinks.iter().zip(&mut leader.doubt) {
                *doubt = doubt.filter(|_| sink.generation <= leader.generation);
            }
        }
        let side = |i: usize| (&self.store.sinks[i], self.leaders.each_ref().map(|leader| leader.as_ref().map(|l| l.side(i))));
        if side(1) < side(0) {
            self.store.sinks.swap(0, 1);
            self.leaders.iter_mut().flatten().for_each(Leader::swap_sides);
        }
    }
}

impl Model for Protocol {
    type State = World;
    type Action = Event;

    fn init_states(&self) -> Vec<World> {
        vec![World::default()]
    }

    fn actions(&self, world: &World, events: &mut Vec<Event>) {
        if world.begun < INCARNATIONS {
            events.push(Event::Begin);
        }
        let mut steps = Vec::new();
        for (index, leader) in world.leaders.iter().enumerate() {
            let Some(leader) = leader else { continue };
            leader.steps(&world.store, &self.rules, &mut steps);
            events.extend(steps.drain(..).map(|step| Event::Step(index, step)));
        }
    }

    fn next_state(&self, world: &World, event: Event) -> Option<World> {
        let mut next = world.clone();
        match event {
            Event::Begin => {
                next.leaders[next.begun] = Some(next.begin(&self.rules));
                next.begun += 1;
            }
            // A leader that ends, or waits for ever, takes no further step; every state has that future anyway.
            Event::Step(index, step) => {
                if !next.step(index, step, &self.rules) {
                    return None;
                }
            }
        }
        next.normalise(&self.rules);
        (next != *world).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Protocol>> {
        properties::all()
    }
}
