//! Which records of the log count, though an instance that has been replaced may still append to its part.
//!
//! ```text
//! generation 1    Start(from 0)           0  1  2 │ 3'  4'        what 1 appended after 2 had read: not read any more
//! generation 2    Start(after 1, from 3)          3  4  5
//! generation 4    Start(after 2, from 6)                  6  7    (3 never began a segment)
//! ```
//!
//! Each generation writes a segment of its own, whose `Start` names the one that it goes on from and the first epoch that it decides.
//! The newest segment and what it goes on from are the log; of an older segment only what lies before its successor's beginning.

use std::ops::Range;

use crate::{Epoch, Refusal};

/// One generation's part of the log, as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Whose it is; there is one segment a generation.
    pub generation: u64,
    /// The generation whose segment it goes on from, as its `Start` says.
    pub after: Option<u64>,
    /// The epochs whose records it holds; they begin where its `Start` says.
    pub epochs: Range<Epoch>,
}

/// A run of epochs of the log, and the segment that has their records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The segment's generation.
    pub generation: u64,
    /// The epochs to take from it.
    pub epochs: Range<Epoch>,
}

/// Returns the log in order, oldest first; segments that are not part of it are left out, and so are those that were collected.
///
/// # Errors
/// A segment lacks records that its successor had found there.
pub fn chain(segments: &[Segment]) -> Result<Vec<Piece>, Refusal> {
    let mut pieces = Vec::new();
    let mut next = segments.iter().max_by_key(|segment| segment.generation);
    let mut until = next.map_or(0, |newest| newest.epochs.end);
    while let Some(segment) = next {
        let Range { start, end } = segment.epochs;
        if !(start..=end).contains(&until) {
            let generation = pieces.last().map_or(segment.generation, |successor: &Piece| successor.generation);
            return Err(Refusal::Gap { generation, missing: end.min(until) });
        }
        pieces.push(Piece { generation: segment.generation, epochs: start..until });
        until = start;
        // Only older ones: a damaged file must not send us around in a circle.
        let before = segment.after.filter(|&after| after < segment.generation);
        next = before.and_then(|before| segments.iter().find(|segment| segment.generation == before));
    }
    pieces.reverse();
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(generation: u64, after: Option<u64>, epochs: Range<Epoch>) -> Segment {
        Segment { generation, after, epochs }
    }

    fn pieces(segments: &[Segment]) -> Result<Vec<(u64, Range<Epoch>)>, Refusal> {
        Ok(chain(segments)?.into_iter().map(|piece| (piece.generation, piece.epochs)).collect())
    }

    #[test]
    fn what_a_replaced_generation_appends_is_not_read() {
        let log = [segment(4, Some(2), 6..8), segment(1, None, 0..5), segment(2, Some(1), 3..6)];
        assert_eq!(pieces(&log), Ok(vec![(1, 0..3), (2, 3..6), (4, 6..8)]));
    }

    #[test]
    fn a_segment_that_nobody_went_on_from_is_not_read() {
        let log = [segment(1, None, 0..2), segment(2, Some(1), 2..4), segment(3, Some(1), 2..3)];
        assert_eq!(pieces(&log), Ok(vec![(1, 0..2), (3, 2..3)]));
    }

    #[test]
    fn segments_without_records_and_collected_ones() {
        let log = [segment(3, Some(2), 7..7), segment(2, Some(1), 4..7)];
        assert_eq!(pieces(&log), Ok(vec![(2, 4..7), (3, 7..7)]));
        assert_eq!(pieces(&[]), Ok(vec![]));
    }

    #[test]
    fn lost_records_are_noticed() {
        let log = [segment(1, None, 0..2), segment(2, Some(1), 3..6)];
        assert_eq!(pieces(&log), Err(Refusal::Gap { generation: 2, missing: 2 }));
    }
}
