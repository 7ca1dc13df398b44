//! Where a start begins: at the newest checkpoint that no sink is behind, or at the log's beginning.

use std::ops::Range;

use crate::{Durable, Epoch, Held, Refusal};

/// Where a start begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resume {
    /// The checkpoint to load; without one, the job begins with nothing.
    pub checkpoint: Option<Epoch>,
    /// The epochs to replay from the log; the next one to be decided is the range's end.
    pub replay: Range<Epoch>,
}

/// Picks where to begin from what the state and the sinks hold, all of it read after every sink has been fenced.
///
/// A sink that is behind every checkpoint is caught up if the log still has everything, since the replay brings each epoch that it
/// lacks. A sink that is not strict holds no checkpoint back: the checkpoint was published when the sink had everything up to it.
///
/// # Errors
/// Something is lost or foreign: going on would lose rows, or hide that they were lost.
pub fn resume(durable: &Durable, sinks: &[Held]) -> Result<Resume, Refusal> {
    let Range { start: first, end } = durable.log;
    if let Some((sink, epoch)) = sinks.iter().find_map(|s| s.epoch.filter(|&epoch| epoch >= end).map(|epoch| (s, epoch))) {
        return Err(Refusal::SinkAhead { sink: sink.sink.clone(), epoch, end });
    }
    if let Some(&checkpoint) = durable.checkpoints.iter().max().filter(|&&checkpoint| checkpoint >= end) {
        return Err(Refusal::CheckpointAhead { checkpoint, end });
    }
    // Older ones were given up together with the log that follows them.
    let usable = || durable.checkpoints.iter().copied().filter(|&checkpoint| checkpoint + 1 >= first);
    let holds = |checkpoint: &Epoch| sinks.iter().all(|sink| !behind(sink, *checkpoint));
    if let Some(checkpoint) = usable().filter(holds).max() {
        return Ok(Resume { checkpoint: Some(checkpoint), replay: checkpoint + 1..end });
    }
    if first == 0 {
        return Ok(Resume { checkpoint: None, replay: 0..end });
    }
    let Some(oldest) = usable().min() else { return Err(Refusal::NoCheckpoint { first }) };
    let lacking = sinks.iter().find(|sink| behind(sink, oldest));
    Err(lacking.map_or(Refusal::NoCheckpoint { first }, |sink| Refusal::SinkBehind {
        sink: sink.sink.clone(),
        epoch: sink.epoch,
        oldest,
    }))
}

/// Tells whether a sink lacks epochs up to a checkpoint's, as far as it can tell.
fn behind(sink: &Held, checkpoint: Epoch) -> bool {
    sink.strict && sink.epoch.is_none_or(|held| held < checkpoint)
}

#[cfg(test)]
mod tests;
