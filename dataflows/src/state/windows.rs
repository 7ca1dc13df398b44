//! Tumbling and hopping windows: their numbering, and the accumulators of those that are open.

use freshet_model::Timestamp;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::accumulator::{Accumulator, Kind, merge_all};

/// The accumulators of one group, one for each aggregate.
pub(crate) type Accumulators = SmallVec<[Accumulator; 1]>;

/// Windows of `size` that begin each `slide`, aligned to the Unix epoch; number `i` is `[i·slide, i·slide + size)`. In microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    /// Distance between the starts of neighbouring windows; positive.
    pub slide: i64,
    /// Length of a window; at least `slide`.
    pub size: i64,
}

impl Grid {
    /// Returns the start of window `number`.
    #[must_use]
    pub fn start(self, number: i64) -> Timestamp {
        Timestamp(number.saturating_mul(self.slide))
    }

    /// Returns the end of window `number`, which is outside it.
    #[must_use]
    pub fn end(self, number: i64) -> Timestamp {
        self.start(number).plus_micros(self.size)
    }

    /// Returns the numbers `[low, high)` of the windows that cover `time`.
    #[must_use]
    pub fn covering(self, time: i64) -> (i64, i64) {
        (time.saturating_sub(self.size).div_euclid(self.slide) + 1, time.div_euclid(self.slide) + 1)
    }

    /// Returns the least number whose window the watermark has not closed: `end > watermark`.
    #[must_use]
    pub fn first_open(self, watermark: Timestamp) -> i64 {
        match watermark {
            Timestamp::MIN => i64::MIN,
            Timestamp::MAX => i64::MAX,
            Timestamp(watermark) => watermark.saturating_sub(self.size).div_euclid(self.slide) + 1,
        }
    }

    /// Returns the grid of panes: the longest tumbling windows that no window of this grid cuts.
    #[must_use]
    pub fn panes(self) -> Grid {
        let (mut a, mut b) = (self.size, self.slide);
        while b != 0 {
            (a, b) = (b, a % b);
        }
        Grid { slide: a, size: a }
    }
}

/// Windows by number, ascending, each with its accumulators.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Windows(SmallVec<[(i64, Accumulators); 1]>);

impl Windows {
    /// Returns the accumulators of a window, which begins empty.
    pub fn entry(&mut self, number: i64, kinds: &[Kind]) -> &mut Accumulators {
        // Events come nearly in order: the wanted window is the last one, or near it.
        let at = self.0.iter().rposition(|window| window.0 <= number);
        let at = match at {
            Some(at) if self.0[at].0 == number => at,
            other => {
                let at = other.map_or(0, |at| at + 1);
                self.0.insert(at, (number, kinds.iter().map(|&kind| Accumulator::empty(kind)).collect()));
                at
            }
        };
        &mut self.0[at].1
    }

    /// Returns the accumulators of a window, if it has any.
    #[must_use]
    pub fn get(&self, number: i64) -> Option<&[Accumulator]> {
        let at = self.0.binary_search_by_key(&number, |window| window.0).ok()?;
        Some(&self.0[at].1)
    }

    /// Iterates over the windows, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (i64, &[Accumulator])> {
        self.0.iter().map(|(number, accumulators)| (*number, &accumulators[..]))
    }

    /// Iterates over the windows below a number, ascending.
    pub fn below_mut(&mut self, number: i64) -> impl Iterator<Item = (i64, &mut Accumulators)> {
        self.0.iter_mut().take_while(move |window| window.0 < number).map(|(number, accumulators)| (*number, accumulators))
    }

    /// Adds the rows of other windows.
    pub fn merge(&mut self, other: &Windows) {
        for (number, accumulators) in &other.0 {
            match self.0.binary_search_by_key(number, |window| window.0) {
                Ok(at) => merge_all(&mut self.0[at].1, accumulators),
                Err(at) => self.0.insert(at, (*number, accumulators.clone())),
            }
        }
    }

    /// Takes out the windows below `first_open`, ascending.
    pub fn retire(&mut self, first_open: i64) -> impl Iterator<Item = (i64, Accumulators)> + '_ {
        let closed = self.0.partition_point(|window| window.0 < first_open);
        self.0.drain(..closed)
    }

    /// Forgets the windows whose last accumulator, which counts their rows, says that they are all gone.
    pub fn settle(&mut self) {
        self.0.retain(|(_, accumulators)| !matches!(accumulators.last(), Some(Accumulator::Count(0))));
    }

    /// Returns the windows of `grid` that these panes of it make up, those below `first_open` left out.
    #[must_use]
    pub fn expand(self, grid: Grid, first_open: i64, kinds: &[Kind]) -> Windows {
        if grid.slide == grid.size {
            return self;
        }
        let panes = grid.panes();
        let mut windows = Windows::default();
        for (pane, accumulators) in &self.0 {
            let (low, high) = grid.covering(panes.start(*pane).0);
            for number in low.max(first_open)..high {
                merge_all(windows.entry(number, kinds), accumulators);
            }
        }
        windows
    }

    /// Returns the least number.
    #[must_use]
    pub fn first(&self) -> Option<i64> {
        self.0.first().map(|window| window.0)
    }

    /// Tells whether there is no window.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn covering_and_first_open_match_their_definitions(slide in 1i64..8, more in 0i64..20, time in -60i64..60) {
            let grid = Grid { slide, size: slide + more };
            let covers = |i: i64| i * slide <= time && time < i * slide + grid.size;
            let (low, high) = grid.covering(time);
            prop_assert!((-100..100).all(|i| covers(i) == (low <= i && i < high)));
            let open = grid.first_open(Timestamp(time));
            prop_assert!((-100..100).all(|i| (i * slide + grid.size > time) == (i >= open)));
        }

        #[test]
        fn panes_expand_to_what_each_event_counted_by_itself_gives(slide in 1i64..6, more in 0i64..12, times in prop::collection::vec(0i64..40, 0..30), closed in 0i64..8) {
            let grid = Grid { slide, size: slide + more };
            let kinds = [Kind::Count];
            let (mut panes, mut expected) = (Windows::default(), Windows::default());
            for time in times {
                panes.entry(time.div_euclid(grid.panes().slide), &kinds)[0] = {
                    let Accumulator::Count(n) = panes.get(time.div_euclid(grid.panes().slide)).map_or(Accumulator::Count(0), |a| a[0].clone()) else { unreachable!() };
                    Accumulator::Count(n + 1)
                };
                let (low, high) = grid.covering(time);
                for number in low.max(closed)..high {
                    if let Accumulator::Count(n) = &mut expected.entry(number, &kinds)[0] { *n += 1; }
                }
            }
            let mut windows = panes.expand(grid, closed, &kinds);
            windows.retire(closed).for_each(drop);
            expected.retire(closed).for_each(drop);
            prop_assert_eq!(windows, expected);
        }
    }
}
