//! How far a group's events went along a row of steps, in order and within a time.
//!
//! The definition is that of ClickHouse's `windowFunnel` in its default mode: the greatest `k` for which there are events at times `t1 ≤ t2 ≤ … ≤ tk`, the condition
//! of step `i` holding for the `i`-th, and `tk − t1` at most the time allowed. Other events may lie between. Events at one time may follow each other in the
//! order of their steps, and an event for which several conditions hold stands for each of them.
//!
//! Kept are the times at which some condition held, ascending, with a bit for each step: an event for which none holds can never matter, nor
//! can one more that is like another of the same time. When all steps have been gone no event can matter any more, and all are dropped. Between these two every
//! event may still become part of a longer way, once one arrives that belongs between them: hence none is dropped.

use serde::{Deserialize, Serialize};

/// A funnel may have so many steps.
pub const MAX_STEPS: u32 = 32;

/// The rule of a funnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Steps {
    /// The longest time from the first step to the last, in microseconds.
    pub within: i64,
    /// How many steps there are.
    pub count: u32,
}

impl Steps {
    /// Returns the furthest step that events, ascending in time, have reached; 0 if none.
    #[must_use]
    pub fn furthest(self, events: impl IntoIterator<Item = (i64, u32)>) -> u32 {
        // For each step the latest beginning of a way that has reached it: that one may go on for longest.
        let mut begun = [None; MAX_STEPS as usize];
        for (time, mut steps) in events {
            while steps != 0 {
                let step = steps.trailing_zeros() as usize;
                steps &= steps - 1;
                let start = if step == 0 { Some(time) } else { begun[step - 1] };
                if let Some(start) = start.filter(|start: &i64| time.saturating_sub(*start) <= self.within) {
                    begun[step] = Some(start);
                }
            }
        }
        let reached = begun[..self.count as usize].iter().rposition(Option::is_some);
        reached.map_or(0, |step| u32::try_from(step + 1).expect("invariant: at most 32 steps"))
    }
}

/// The events of append-only rows that a funnel may still need.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Funnel {
    steps: Steps,
    /// Whether all steps have been gone; there are no events then.
    complete: bool,
    /// Times, ascending, each with the steps whose conditions held then.
    events: Vec<(i64, u32)>,
}

impl Funnel {
    /// Returns the funnel of no events.
    #[must_use]
    pub fn empty(steps: Steps) -> Funnel {
        Funnel { steps, complete: false, events: Vec::new() }
    }

    /// Adds an event for which the conditions of these steps hold.
    pub fn add(&mut self, time: i64, steps: u32) {
        if self.complete || steps == 0 {
            return;
        }
        // Events come nearly in order: the place is the end, or near it.
        let at = self.events.iter().rposition(|event| event.0 <= time);
        match at {
            Some(at) if self.events[at].0 == time => self.events[at].1 |= steps,
            at => self.events.insert(at.map_or(0, |at| at + 1), (time, steps)),
        }
    }

    /// Adds all events of another part of the group.
    pub fn merge(&mut self, other: &Funnel) {
        if self.complete {
            return;
        }
        self.events = merged(&self.events, &other.events);
        // Here and not for each event: finding it out takes as long as merging.
        self.complete = other.complete || self.steps.furthest(self.events.iter().copied()) == self.steps.count;
        if self.complete {
            self.events = Vec::new();
        }
    }

    /// Returns the furthest step that has been reached; 0 if none.
    #[must_use]
    pub fn furthest(&self) -> u32 {
        match self.complete {
            true => self.steps.count,
            false => self.steps.furthest(self.events.iter().copied()),
        }
    }
}

/// Merges two ascending lists, and the steps of equal times.
fn merged(left: &[(i64, u32)], right: &[(i64, u32)]) -> Vec<(i64, u32)> {
    let mut all = Vec::with_capacity(left.len() + right.len());
    let (mut left, mut right) = (left.iter().copied().peekable(), right.iter().copied().peekable());
    while let Some(&(time, _)) = left.peek().into_iter().chain(right.peek()).min_by_key(|event| event.0) {
        let of = |event: Option<(i64, u32)>| event.map_or(0, |event| event.1);
        let steps = of(left.next_if(|event| event.0 == time)) | of(right.next_if(|event| event.0 == time));
        all.push((time, steps));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(steps: Steps, events: &[(i64, u32)]) -> Funnel {
        let mut funnel = Funnel::empty(steps);
        events.iter().for_each(|&(time, mask)| funnel.add(time, mask));
        funnel
    }

    /// Tries every way from every first step: the definition, word by word.
    fn oracle(steps: Steps, events: &[(i64, u32)]) -> u32 {
        fn go_on(steps: Steps, events: &[(i64, u32)], start: i64, time: i64, step: u32) -> u32 {
            let next =
                events.iter().filter(|event| event.0 >= time && event.0 - start <= steps.within && event.1 >> step & 1 == 1);
            next.map(|event| go_on(steps, events, start, event.0, step + 1)).max().unwrap_or(step)
        }
        let firsts = events.iter().filter(|event| event.1 & 1 == 1);
        firsts.map(|first| go_on(steps, events, first.0, first.0, 1)).max().unwrap_or(0)
    }

    #[test]
    fn a_way_goes_on_from_its_latest_beginning() {
        let steps = Steps { within: 10, count: 3 };
        // The first beginning is too early for the last step, the second is not.
        assert_eq!(of(steps, &[(0, 0b1), (5, 0b1), (6, 0b10), (14, 0b100)]).furthest(), 3);
        assert_eq!(of(steps, &[(0, 0b1), (5, 0b10), (14, 0b100)]).furthest(), 2);
        assert_eq!(of(steps, &[(0, 0b10), (1, 0b100)]).furthest(), 0);
    }

    #[test]
    fn steps_at_one_time_follow_each_other_and_the_limit_counts_as_within() {
        let steps = Steps { within: 10, count: 2 };
        assert_eq!(of(steps, &[(3, 0b10), (3, 0b1)]).furthest(), 2);
        assert_eq!(of(steps, &[(3, 0b11)]).furthest(), 2);
        assert_eq!(of(steps, &[(0, 0b1), (10, 0b10)]).furthest(), 2);
        assert_eq!(of(steps, &[(0, 0b1), (11, 0b10)]).furthest(), 1);
    }

    #[test]
    fn a_funnel_that_has_been_gone_through_keeps_nothing() {
        let steps = Steps { within: 10, count: 2 };
        let mut funnel = of(steps, &[(0, 0b1)]);
        funnel.merge(&of(steps, &[(1, 0b10)]));
        assert!(funnel.complete && funnel.events.is_empty());
        funnel.add(5, 0b1);
        funnel.merge(&of(steps, &[(9, 0b1)]));
        assert!(funnel.furthest() == 2 && funnel.events.is_empty());
    }

    proptest! {
        #[test]
        fn the_furthest_step_is_that_of_the_best_of_all_ways(
            events in prop::collection::vec((0i64..30, 0u32..16), 0..9),
            within in 0i64..25,
            count in 1u32..5,
            cuts in prop::collection::vec(0usize..9, 0..3),
        ) {
            let steps = Steps { within, count };
            let events: Vec<_> = events.into_iter().map(|(time, mask)| (time, mask & ((1 << count) - 1))).collect();
            let expected = oracle(steps, &events);
            prop_assert_eq!(of(steps, &events).furthest(), expected);
            // In any parts, merged in any order.
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(events.len())).chain([0, events.len()]).collect();
            cuts.sort_unstable();
            let parts: Vec<Funnel> = cuts.windows(2).map(|cut| of(steps, &events[cut[0]..cut[1]])).collect();
            let merge = |parts: &mut dyn Iterator<Item = &Funnel>| {
                let mut whole = Funnel::empty(steps);
                parts.for_each(|part| whole.merge(part));
                whole
            };
            let (forward, backward) = (merge(&mut parts.iter()), merge(&mut parts.iter().rev()));
            prop_assert_eq!(forward.furthest(), expected);
            prop_assert_eq!(forward, backward);
        }
    }
}
