//! When to cut: short epochs while the input trickles, long ones while there is much to catch up with.
//!
//! A short epoch is fresh; a long one lets a key's many changes become one write. A sink that is slower than the input makes epochs
//! longer by itself: nothing is cut while it has too many of them in hand.

use std::time::Duration;

use freshet_model::Timestamp;

/// The limits between which epochs move.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Shortest epoch with records in it.
    pub min: Duration,
    /// Shortest epoch while the sources are behind.
    pub catch_up: Duration,
    /// Longest epoch: windows close and files roll even if nothing comes.
    pub max: Duration,
    /// More waiting records than this, over all partitions, are "behind".
    pub behind_records: u64,
    /// Epochs that a sink may have in hand.
    pub max_in_flight: u64,
    /// Epochs that may wait for a table sink while the sources are behind, the one with which they catch up included: it writes a key's many changes once.
    pub max_coalesced: u64,
    /// Epochs that may wait for a batch sink while the sources are not behind: epochs are small then, and a topic's transactions take longer than they do.
    pub max_small: u64,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            min: Duration::from_millis(5),
            catch_up: Duration::from_secs(1),
            max: Duration::from_millis(500),
            behind_records: 50_000,
            max_in_flight: 2,
            max_coalesced: 8,
            max_small: 64,
        }
    }
}

/// What is known when the question comes up.
#[derive(Debug, Clone, Copy)]
pub struct Situation {
    /// The time now.
    pub now: Timestamp,
    /// When the last epoch was cut.
    pub last_cut: Timestamp,
    /// Whether the open epoch has records.
    pub pending: bool,
    /// Whether a source has stopped reading because the open epoch is full.
    pub full: bool,
    /// Records known to wait in the partitions.
    pub backlog: u64,
    /// Records that were known to wait when the last epoch was cut.
    pub backlog_before: u64,
    /// Epochs cut that some table sink has not committed.
    pub tables_in_flight: u64,
    /// Epochs cut that some batch sink has not taken in.
    pub appends_in_flight: u64,
}

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Cut now.
    Cut,
    /// Ask again after this time, or when something changes.
    Wait(Duration),
    /// Ask again when a sink has finished an epoch.
    WaitForSinks,
}

impl Pace {
    /// Decides whether to cut the open epoch.
    #[must_use]
    pub fn decide(&self, situation: &Situation) -> Decision {
        let behind = situation.backlog > self.behind_records;
        let catches_up = behind || situation.backlog_before > self.behind_records;
        let max_tables = if catches_up { self.max_coalesced.max(self.max_in_flight) } else { self.max_in_flight };
        let small = !behind && !situation.full;
        let max_appends = if small { self.max_small.max(self.max_in_flight) } else { self.max_in_flight };
        if situation.tables_in_flight >= max_tables || situation.appends_in_flight >= max_appends {
            return Decision::WaitForSinks;
        }
        let wanted = match (situation.full, situation.pending, behind) {
            (true, _, _) => Duration::ZERO,
            (_, true, true) => self.catch_up,
            (_, true, false) => self.min,
            _ => self.max,
        };
        // A clock that was set back must not stop the job: a time before the last cut counts as long ago.
        match u64::try_from(situation.now.0.saturating_sub(situation.last_cut.0)).map(Duration::from_micros) {
            Ok(since) if since < wanted => Decision::Wait(wanted - since),
            _ => Decision::Cut,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: i64) -> Situation {
        Situation {
            now: Timestamp(micros),
            last_cut: Timestamp(0),
            pending: false,
            full: false,
            backlog: 0,
            backlog_before: 0,
            tables_in_flight: 0,
            appends_in_flight: 0,
        }
    }

    #[test]
    fn a_trickle_is_cut_after_the_minimum() {
        let pace = Pace::default();
        assert_eq!(pace.decide(&Situation { pending: true, ..at(2_000) }), Decision::Wait(Duration::from_millis(3)));
        assert_eq!(pace.decide(&Situation { pending: true, ..at(5_000) }), Decision::Cut);
    }

    #[test]
    fn a_backlog_makes_epochs_long_unless_they_are_full() {
        let pace = Pace::default();
        let behind = Situation { pending: true, backlog: 1_000_000, ..at(5_000) };
        assert_eq!(pace.decide(&behind), Decision::Wait(Duration::from_millis(995)));
        assert_eq!(pace.decide(&Situation { full: true, ..behind }), Decision::Cut);
    }

    #[test]
    fn nothing_is_cut_while_a_sink_has_its_hands_full() {
        let pace = Pace::default();
        let full = Situation { full: true, pending: true, ..at(9_000_000) };
        let (tables, appends) = (pace.max_in_flight, pace.max_in_flight);
        assert_eq!(pace.decide(&Situation { tables_in_flight: tables, ..full }), Decision::WaitForSinks);
        assert_eq!(pace.decide(&Situation { appends_in_flight: appends, ..full }), Decision::WaitForSinks);
    }

    #[test]
    fn more_epochs_may_wait_for_a_batch_sink_while_they_are_small() {
        let pace = Pace::default();
        let small = Situation { pending: true, appends_in_flight: pace.max_in_flight, ..at(5_000) };
        assert_eq!(pace.decide(&small), Decision::Cut);
        assert_eq!(pace.decide(&Situation { backlog: 1_000_000, ..small }), Decision::WaitForSinks);
        assert_eq!(pace.decide(&Situation { appends_in_flight: pace.max_small, ..small }), Decision::WaitForSinks);
    }

    #[test]
    fn more_epochs_may_wait_for_a_table_while_the_sources_are_behind() {
        let pace = Pace::default();
        let behind = Situation { full: true, backlog: 1_000_000, tables_in_flight: pace.max_in_flight, ..at(0) };
        assert_eq!(pace.decide(&behind), Decision::Cut);
        assert_eq!(pace.decide(&Situation { tables_in_flight: pace.max_coalesced, ..behind }), Decision::WaitForSinks);
        let rest =
            Situation { pending: true, backlog: 0, backlog_before: 1_000_000, tables_in_flight: pace.max_in_flight, ..at(5_000) };
        assert_eq!(pace.decide(&rest), Decision::Cut);
        assert_eq!(pace.decide(&Situation { backlog_before: 0, ..rest }), Decision::WaitForSinks);
    }

    #[test]
    fn silence_is_cut_after_the_maximum_and_a_clock_set_back_does_not_stop_it() {
        let pace = Pace::default();
        assert_eq!(pace.decide(&at(499_000)), Decision::Wait(Duration::from_millis(1)));
        assert_eq!(pace.decide(&at(500_000)), Decision::Cut);
        assert_eq!(pace.decide(&at(-3_600_000_000)), Decision::Cut);
    }
}
