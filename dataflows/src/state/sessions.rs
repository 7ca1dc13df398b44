//! Sessions of one key: events whose neighbours are at most a gap apart.
//!
//! A session is its first and last event and its accumulators, never its events, so that the cost of an event does not grow with
//! the session's length.

use freshet_model::Timestamp;
use serde::{Deserialize, Serialize};
use smallvec::{SmallVec, smallvec};

use super::accumulator::{Accumulator, Kind, merge_all};
use super::windows::Accumulators;

/// One session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// Time of the first event, in microseconds.
    pub start: i64,
    /// Time of the last event, in microseconds.
    pub last: i64,
    /// The session's accumulators, one for each aggregate.
    pub accumulators: Accumulators,
}

/// How sessions are told apart. In microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Neighbours at most this far apart are in one session.
    pub gap: i64,
    /// Sessions do not cross a multiple of this.
    pub max_duration: Option<i64>,
}

impl Rule {
    /// Tells whether an event is late: its own session would be closed.
    #[must_use]
    pub fn is_late(self, time: i64, watermark: Timestamp) -> bool {
        Timestamp(time).plus_micros(self.gap) <= watermark
    }

    /// Returns the watermark at which no admitted event can reach a session any more. An event `t` is admitted while
    /// `t + gap > watermark` and reaches back a gap further: hence twice the gap.
    #[must_use]
    pub fn closing(self, last: i64) -> Timestamp {
        Timestamp(last.saturating_add(self.gap.saturating_mul(2)))
    }

    fn joins(self, earlier: &Session, later: &Session) -> bool {
        let cell = |time: i64| self.max_duration.map(|length| time.div_euclid(length));
        later.start.saturating_sub(earlier.last) <= self.gap && cell(earlier.start) == cell(later.start)
    }
}

/// The sessions of one key: disjoint, ascending, no two of them joined by the rule.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Sessions(SmallVec<[Session; 1]>);

impl Sessions {
    /// Takes in an event, and returns the accumulators of its session for the event's values to be added.
    pub fn entry(&mut self, time: i64, rule: Rule, kinds: &[Kind]) -> &mut Accumulators {
        if let Some(at) = self.0.iter().rposition(|session| session.start <= time)
            && time <= self.0[at].last
        {
            return &mut self.0[at].accumulators;
        }
        let event = Session { start: time, last: time, accumulators: kinds.iter().map(|&k| Accumulator::empty(k)).collect() };
        let at = self.insert(event, rule);
        &mut self.0[at].accumulators
    }

    /// Takes in the sessions of another part of the key's events.
    pub fn merge(&mut self, other: &Sessions, rule: Rule) {
        for session in &other.0 {
            self.insert(session.clone(), rule);
        }
    }

    /// Inserts a session and joins it with all that it now touches; returns its place.
    fn insert(&mut self, session: Session, rule: Rule) -> usize {
        let mut at = self.0.partition_point(|held| held.start < session.start);
        self.0.insert(at, session);
        if at > 0 && rule.joins(&self.0[at - 1], &self.0[at]) {
            at -= 1;
            self.join_next(at);
        }
        while at + 1 < self.0.len() && rule.joins(&self.0[at], &self.0[at + 1]) {
            self.join_next(at);
        }
        at
    }

    fn join_next(&mut self, at: usize) {
        let next = self.0.remove(at + 1);
        let session = &mut self.0[at];
        session.last = session.last.max(next.last);
        merge_all(&mut session.accumulators, &next.accumulators);
    }

    /// Iterates over the sessions, ascending.
    pub fn iter(&self) -> impl Iterator<Item = &Session> {
        self.0.iter()
    }

    /// Iterates over the sessions, ascending; their bounds must stay.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Session> {
        self.0.iter_mut()
    }

    /// Returns the session that begins at `start`.
    #[must_use]
    pub fn starting_at(&self, start: i64) -> Option<&Session> {
        self.0.iter().find(|session| session.start == start)
    }

    /// Takes out the sessions that no admitted event can reach any more, ascending.
    pub fn retire(&mut self, watermark: Timestamp, rule: Rule) -> SmallVec<[Session; 1]> {
        let is_closed = |session: &Session| rule.closing(session.last) <= watermark;
        if !self.0.iter().any(is_closed) {
            return smallvec![];
        }
        let (closed, open) = self.0.drain(..).partition(is_closed);
        self.0 = open;
        closed
    }

    /// Returns the watermark at which the next session closes.
    #[must_use]
    pub fn next_closing(&self, rule: Rule) -> Option<Timestamp> {
        self.0.iter().map(|session| rule.closing(session.last)).min()
    }

    /// Tells whether there is no session.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Sorts the events and cuts them where neighbours are further apart than the gap or in another cell.
    fn oracle(times: &[i64], rule: Rule) -> Vec<(i64, i64, i64)> {
        let mut times = times.to_vec();
        times.sort_unstable();
        let mut sessions: Vec<(i64, i64, i64)> = Vec::new();
        for time in times {
            let same_cell = |start: i64| rule.max_duration.is_none_or(|max| start.div_euclid(max) == time.div_euclid(max));
            match sessions.last_mut() {
                Some(session) if time - session.1 <= rule.gap && same_cell(session.0) => {
                    (session.1, session.2) = (time, session.2 + 1);
                }
                _ => sessions.push((time, time, 1)),
            }
        }
        sessions
    }

    fn sessions_of(times: &[i64], rule: Rule) -> Sessions {
        let mut sessions = Sessions::default();
        for &time in times {
            let Accumulator::Count(count) = &mut sessions.entry(time, rule, &[Kind::Count])[0] else { unreachable!() };
            *count += 1;
        }
        sessions
    }

    fn plain(sessions: &Sessions) -> Vec<(i64, i64, i64)> {
        let count = |session: &Session| match session.accumulators[0] {
            Accumulator::Count(count) => count,
            _ => unreachable!(),
        };
        sessions.iter().map(|session| (session.start, session.last, count(session))).collect()
    }

    proptest! {
        #[test]
        fn any_order_and_any_split_give_the_sorted_result(times in prop::collection::vec(-50i64..50, 0..40), split in 0usize..40, gap in 0i64..7, max in prop::option::of(5i64..30)) {
            let rule = Rule { gap, max_duration: max };
            let expected = oracle(&times, rule);
            prop_assert_eq!(&plain(&sessions_of(&times, rule)), &expected);
            let split = split.min(times.len());
            let mut merged = sessions_of(&times[split..], rule);
            merged.merge(&sessions_of(&times[..split], rule), rule);
            prop_assert_eq!(plain(&merged), expected);
        }
    }

    #[test]
    fn an_endless_session_stays_one_small_value() {
        let rule = Rule { gap: 10, max_duration: None };
        let times: Vec<i64> = (0..1_000_000).collect();
        assert_eq!(plain(&sessions_of(&times, rule)), vec![(0, 999_999, 1_000_000)]);
    }

    #[test]
    fn a_gap_counts_as_inside_and_one_more_does_not() {
        let rule = Rule { gap: 5, max_duration: None };
        assert_eq!(plain(&sessions_of(&[0, 5], rule)), vec![(0, 5, 2)]);
        assert_eq!(plain(&sessions_of(&[0, 6], rule)), vec![(0, 0, 1), (6, 6, 1)]);
    }

    #[test]
    fn a_session_closes_when_no_admitted_event_can_reach_it() {
        let rule = Rule { gap: 5, max_duration: None };
        let mut sessions = sessions_of(&[0], rule);
        assert!(sessions.retire(Timestamp(9), rule).is_empty());
        assert!(!rule.is_late(5, Timestamp(9)), "an event at 5 is admitted and joins the session");
        assert_eq!(sessions.retire(Timestamp(10), rule).len(), 1);
        assert!(rule.is_late(5, Timestamp(10)));
    }
}
