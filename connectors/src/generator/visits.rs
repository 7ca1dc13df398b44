//! Series of records that belong together, such as what one person does in one visit, found without remembering anything.
//!
//! ```text
//!  record numbers        0   1   2   3   4   5   6   7   8 …
//!  lane 0, every third   ●───────────●───────────○───────        ● the first visit of the lane's block, ○ the next one
//!  lane 1                    ●───────────○───────────○───
//!  lane 2                        ●───────────●───────────●
//! ```
//!
//! Records are dealt out to lanes in turn, as many as pass in the pause between two steps of a visit; a lane is cut into blocks, and a block
//! into visits of the lengths that dice of their own say. So the visit of any record is found by walking one short block. There
//! are as many lanes as partitions or a multiple, hence a visit lies in one partition, in order.

use std::time::Duration;

use super::Settings;
use super::dice::Dice;
use super::timeline::Timeline;

/// Records of a lane that are cut into visits together; a visit is not longer.
const BLOCK: u64 = 32;
/// Sets the dice of visits apart from those of records.
const VISITS: u64 = 0x7669_7369_7473;
/// Bounds the number of lanes, whatever the rate.
const MAX_LANES: f64 = 1e12;

/// How records form visits.
#[derive(Debug, Clone)]
pub(super) struct Visits {
    seed: u64,
    lanes: u64,
}

/// The visit of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Visit {
    /// Names the visit.
    pub(super) id: u64,
    /// Which of its records this is, from 0.
    pub(super) step: u64,
    /// How many records it has.
    pub(super) steps: u64,
}

impl Visits {
    /// Lets visitors pause for so long between two steps, in the mean.
    pub(super) fn new(settings: &Settings, timeline: &Timeline, pause: Duration) -> Visits {
        let lanes = (pause.as_micros() as f64 / timeline.step_micros()).clamp(1.0, MAX_LANES) as u64;
        let partitions = u64::from(settings.partitions.unsigned_abs()).max(1);
        Visits { seed: settings.seed ^ VISITS, lanes: lanes.next_multiple_of(partitions) }
    }

    /// Finds the visit of a record; `steps` tells how many records the visit with an id would like to have.
    pub(super) fn at(&self, number: u64, steps: impl Fn(u64) -> u64) -> Visit {
        let lane = number % self.lanes;
        // Lanes begin anywhere in a block, or all visits would begin together.
        let place = number / self.lanes + Dice::at(self.seed, lane, u64::MAX).below(BLOCK);
        let (block, within) = (place - place % BLOCK, place % BLOCK);
        let mut first = 0;
        loop {
            let id = Dice::at(self.seed, lane, block + first).bits();
            let steps = steps(id).clamp(1, BLOCK - first);
            if within < first + steps {
                return Visit { id, step: within - first, steps };
            }
            first += steps;
        }
    }
}

impl Visit {
    /// Takes the dice of the visit as a whole.
    pub(super) fn dice(&self) -> Dice {
        Dice::at(self.id, 0, 0)
    }

    /// Takes the dice of one of its steps.
    pub(super) fn dice_of(&self, step: u64) -> Dice {
        Dice::at(self.id, 1, step)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeMap;

    use freshet_model::Timestamp;

    use super::*;

    fn visits(query: &str) -> Visits {
        let settings = Settings::from_url(&format!("generator://local/clickstream?{query}")).unwrap();
        Visits::new(&settings, &Timeline::new(&settings, Timestamp(0)), Duration::from_secs(8))
    }

    #[test]
    fn the_steps_of_a_visit_are_all_there_in_order_and_in_one_partition() {
        let visits = visits("rate=100&partitions=3");
        assert_eq!(visits.lanes, 801);
        let mut found: BTreeMap<u64, Vec<(u64, Visit)>> = BTreeMap::new();
        for number in 0..200_000 {
            let visit = visits.at(number, |id| 1 + id % 9);
            found.entry(visit.id).or_default().push((number, visit));
        }
        let inner: Vec<_> = found.values().filter(|records| records[0].0 > 801 * 32 && records[0].0 < 150_000).collect();
        assert!(inner.len() > 20_000, "{}", inner.len());
        for records in inner {
            let steps: Vec<u64> = records.iter().map(|(_, visit)| visit.step).collect();
            assert_eq!(steps, (0..records[0].1.steps).collect::<Vec<_>>());
            assert!(records.windows(2).all(|pair| pair[1].0 == pair[0].0 + 801 && pair[0].0 % 3 == pair[1].0 % 3));
        }
    }

    #[test]
    fn visits_do_not_begin_together() {
        let visits = visits("rate=1000");
        let begin = (0..8000).filter(|&number| visits.at(number, |_| 16).step == 0).count();
        assert!((400..600).contains(&begin), "{begin} of 500 lanes begin with a visit's first step");
    }
}
