//! Where a run begins: opens the job's durable state, compares it with the job and with what the sinks hold, and picks.
//!
//! ```text
//! open       take the lease, raise the generation; the newest valid checkpoint
//! known      what the former run said of itself: the job must be the same but for views that come or go, the sources are opened as the same
//!            (sources and sinks are opened; sinks are fenced and say what they hold)
//! begin      read the log, pick checkpoint and epochs to repeat, log this run's start
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use freshet_connectors::Staged;
use freshet_dataflows::epochs::{Checkpoint, EpochRecord, First, LogEntry, Start, Version};
use freshet_dataflows::saved::Saved;
use freshet_model::{Epoch, Offset, PartitionId, Timestamp};
use freshet_protocol::{Durable, Held, resume};
use freshet_recovery::{self as recovery, Entry, State};
use serde::{Deserialize, Serialize};

use super::Error;
use super::change::{Change, compare};
use super::parts::{Part, Parts};

/// What a run says of itself in the log and in checkpoints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Known {
    /// The parts of the job, in words that change when a part does.
    pub(super) job: Parts,
    /// What its folds save.
    pub(super) saved: Vec<Saved>,
    /// For each source what it reads; `None` if it cannot be read a second time.
    pub(super) identities: Vec<Option<String>>,
}

/// The payload of a start in the log.
#[derive(Serialize, Deserialize)]
pub(super) struct Started {
    pub(super) known: Known,
    pub(super) start: Start,
}

/// The payload of a checkpoint.
#[derive(Serialize, Deserialize)]
pub(super) struct Kept {
    pub(super) known: Known,
    pub(super) checkpoint: Checkpoint,
    /// Views that were computed anew up to here; their rows lie beside their tables until a start has put them in place.
    pub(super) staged: Option<Staged>,
}

/// What a run reads that does no more than to read once what another one has read.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Stretch {
    /// For each source and partition, the first offset behind it.
    pub(super) ends: Vec<BTreeMap<PartitionId, Offset>>,
    /// For each source, the watermark behind it.
    pub(super) ceilings: Vec<Timestamp>,
}

/// Where a run begins, as all processes know it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Beginning {
    /// The generation that took the checkpoint.
    pub(super) taken_by: u64,
    pub(super) checkpoint: Option<Checkpoint>,
    /// What the folds of its job saved.
    pub(super) saved: Vec<Saved>,
    /// What the log tells after that; the last entry is the start of this run.
    pub(super) repeat: Vec<LogEntry>,
    /// Where the run ends, if it only reads what another has read.
    pub(super) stretch: Option<Stretch>,
}

impl Beginning {
    /// Begins with nothing, and keeps nothing.
    pub(super) fn anew(partitions: Vec<Vec<PartitionId>>, versions: Vec<Version>) -> Beginning {
        let start = Start { time: Timestamp::now(), partitions, versions };
        Beginning { repeat: vec![LogEntry::Start(start)], ..Beginning::default() }
    }

    /// Returns the first epoch of the run, and what is in force in it.
    pub(super) fn first(&self, sources: usize) -> First {
        First::after(self.checkpoint.as_ref(), &self.repeat, sources)
    }

    /// Returns a time before which no epoch of the run is cut.
    pub(super) fn since(&self) -> Timestamp {
        let starts =
            self.repeat.iter().map_while(|entry| if let LogEntry::Start(start) = entry { Some(start.time) } else { None });
        let checkpoint = self.checkpoint.as_ref().map(|checkpoint| checkpoint.seal.processing_time);
        starts.last().max(checkpoint).unwrap_or(Timestamp::MIN)
    }

    /// Returns where a partition is to be read from; `None` if it has not been read yet.
    pub(super) fn start_of(&self, source: usize, partition: PartitionId) -> Option<Offset> {
        let known = self.checkpoint.as_ref().and_then(|checkpoint| checkpoint.ends.get(source)?.get(&partition).copied());
        let is_its = |cut: &&freshet_dataflows::epochs::Cut| cut.source == source && cut.partition == partition;
        known.or_else(|| self.records().flat_map(|record| &record.cuts).find(is_its).map(|cut| cut.start))
    }

    /// Tells whether a partition has come after the job's beginning, as far back as it is known: then all that it holds is to be read.
    pub(super) fn is_new(&self, source: usize, partition: PartitionId) -> bool {
        let in_checkpoint = |known: &Checkpoint| known.watermarks.get(source).is_some_and(|watermark| watermark.knows(partition));
        let in_start = |entry: &LogEntry| match entry {
            LogEntry::Start(start) => Some(start.partitions.get(source).is_some_and(|known| known.contains(&partition))),
            LogEntry::Epoch(_) => None,
        };
        let known = self.checkpoint.as_ref().map(in_checkpoint).or_else(|| self.repeat.iter().find_map(in_start));
        known == Some(false)
    }

    /// Returns, for each epoch that is to be repeated, where it ends in each of these partitions of a source.
    pub(super) fn planned(
        &self,
        source: usize,
        own: &[PartitionId],
    ) -> impl Iterator<Item = (Epoch, BTreeMap<PartitionId, Offset>)> {
        self.records().map(move |record| {
            let its = record.cuts.iter().filter(|cut| cut.source == source && cut.end > cut.start);
            (record.epoch, its.filter(|cut| own.contains(&cut.partition)).map(|cut| (cut.partition, cut.end)).collect())
        })
    }

    /// Returns the number of epochs that are to be repeated.
    pub(super) fn epochs(&self) -> usize {
        self.records().count()
    }

    fn records(&self) -> impl Iterator<Item = &EpochRecord> {
        self.repeat.iter().filter_map(|entry| if let LogEntry::Epoch(record) = entry { Some(record) } else { None })
    }
}

/// The state as the leader has it.
pub(super) struct Leader {
    pub(super) state: Arc<State>,
    pub(super) newest: Option<(recovery::Checkpoint, Kept)>,
    /// What the former run said of itself.
    pub(super) last: Option<Started>,
    /// The first epoch that is not in the log.
    pub(super) next: Epoch,
}

impl Leader {
    /// Takes the lease, and finds out what the former run said of itself.
    pub(super) fn open(url: &str, job: &str, takeover: bool, reset: bool) -> Result<Leader, Error> {
        let state = Arc::new(State::open(url, job, takeover)?);
        if reset {
            state.reset()?;
            return Ok(Leader { state, newest: None, last: None, next: 0 });
        }
        let newest = newest_valid(&state)?;
        let log = state.read_log(newest.as_ref().map_or(0, |(id, _)| id.epoch + 1))?;
        let last_start = log.entries.iter().rev().find_map(|entry| match entry {
            Entry::Start { payload, .. } => Some(payload),
            Entry::Epoch { .. } => None,
        });
        let last = last_start.map(|payload| decode::<Started>(payload, "a start in the epoch log")).transpose()?;
        Ok(Leader { state, newest, last, next: log.next })
    }

    /// Returns what the former run read, source by source, if this is the same job but for views that have come or gone; `inputs` names for each view the
    /// views that it reads.
    pub(super) fn compare(
        &self,
        job: &Parts,
        inputs: &BTreeMap<String, BTreeSet<String>>,
    ) -> Result<Option<Vec<Option<String>>>, Error> {
        let Some(Started { known, .. }) = &self.last else { return Ok(None) };
        let Change { allowed, refused } = compare(&known.job, job, inputs);
        if !refused.is_empty() {
            return Err(Error::Changed(refused.join("; ")));
        }
        if !allowed.is_empty() {
            let changes = allowed.join("; ");
            tracing::warn!(
                "the job has changed: {changes}. A new view counts what is read from now on; windows that are open now will lack what came before"
            );
        }
        Ok(Some(known.identities.clone()))
    }

    /// Picks where to begin, now that all sinks have been fenced, and logs the start of this run.
    pub(super) fn begin(
        &mut self,
        held: &[Held],
        known: Known,
        partitions: Vec<Vec<PartitionId>>,
        versions: Vec<Version>,
    ) -> Result<Beginning, Error> {
        let newest = self.newest.take();
        let from = newest.as_ref().map_or(0, |(id, _)| id.epoch + 1);
        let mut log = self.state.read_log(from)?;
        // A sink of the job that the checkpoint's job did not have lacks nothing of what came before.
        let is_new = |held: &&Held| {
            let part = Part::Sink(held.sink.clone());
            let had = newest.as_ref().is_none_or(|(_, kept)| kept.known.job.contains_key(&part));
            held.epoch.is_none() && !had && known.job.contains_key(&part)
        };
        let held: Vec<_> = held.iter().filter(|held| !is_new(held)).cloned().collect();
        let durable = Durable { log: log.first..log.next, checkpoints: newest.iter().map(|(id, _)| id.epoch).collect() };
        let picked = resume(&durable, &held)?;
        let checkpoint = newest.filter(|(id, _)| Some(id.epoch) == picked.checkpoint);
        if picked.replay.start < from {
            log = self.state.read_log(picked.replay.start)?;
        }
        let is_over =
            |(_, kept): &(_, Kept)| kept.checkpoint.seal.watermarks.iter().all(|watermark| *watermark == Timestamp::MAX);
        if picked.replay.is_empty() && checkpoint.as_ref().is_some_and(is_over) {
            return Err(Error::Finished);
        }
        check_job(&log, &picked.replay, &known)?;
        let mut repeat = entries(&log, &picked.replay)?;
        let start = Start { time: Timestamp::now(), partitions, versions };
        self.state.begin(log.next, &encode(&Started { known, start: start.clone() })?)?;
        repeat.push(LogEntry::Start(start));
        let taken_by = checkpoint.as_ref().map_or(0, |(id, _)| id.generation);
        let (checkpoint, saved) = checkpoint.map(|(_, kept)| (kept.checkpoint, kept.known.saved)).unzip();
        Ok(Beginning { taken_by, checkpoint, saved: saved.unwrap_or_default(), repeat, stretch: None })
    }
}

/// Finds the newest checkpoint that is whole.
pub(super) fn newest_valid(state: &State) -> Result<Option<(recovery::Checkpoint, Kept)>, Error> {
    for id in state.checkpoints()? {
        match state.verify(id) {
            Ok(manifest) => return Ok(Some((id, decode(&manifest.payload, "a checkpoint")?))),
            Err(recovery::Error::Damaged(damage)) => tracing::warn!("{id} is passed over: {damage}"),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}

/// Requires that epochs that are to be repeated were sealed by this job and no former one: a view that it had is gone, and one that it had not must not see
/// what came before it.
fn check_job(log: &recovery::Log, replay: &Range<Epoch>, known: &Known) -> Result<(), Error> {
    let mut is_same = true;
    for entry in &log.entries {
        match entry {
            Entry::Start { payload, .. } => {
                is_same = decode::<Started>(payload, "a start in the epoch log")?.known.job == known.job;
            }
            Entry::Epoch { epoch, .. } if replay.contains(epoch) && !is_same => {
                return Err(Error::Unfinished { from: replay.start, to: *epoch });
            }
            Entry::Epoch { .. } => {}
        }
    }
    Ok(())
}

/// Reads what the log tells of these epochs, and of the starts that come with them.
fn entries(log: &recovery::Log, replay: &Range<Epoch>) -> Result<Vec<LogEntry>, Error> {
    let mut generations = BTreeSet::new();
    let mut repeat = Vec::new();
    for entry in &log.entries {
        match entry {
            Entry::Epoch { epoch, payload } if replay.contains(epoch) => {
                repeat.push(LogEntry::Epoch(decode(payload, "an epoch in the epoch log")?));
            }
            // A generation says once more in each of its segments that it began.
            Entry::Start { generation, next, payload } if *next >= replay.start && generations.insert(*generation) => {
                repeat.push(LogEntry::Start(decode::<Started>(payload, "a start in the epoch log")?.start));
            }
            _ => {}
        }
    }
    Ok(repeat)
}

/// Returns for each table the version that is in force in the epoch after a checkpoint.
pub(super) fn versions_after(state: &State, checkpoint: recovery::Checkpoint) -> Result<Vec<Version>, Error> {
    let manifest = state.files().manifest(checkpoint)?;
    Ok(decode::<Kept>(&manifest.payload, "a checkpoint")?.checkpoint.seal.versions)
}

/// Writes the payload of a checkpoint.
pub(super) fn payload(known: &Known, checkpoint: Checkpoint) -> Result<Vec<u8>, Error> {
    encode(&Kept { known: known.clone(), checkpoint, staged: None })
}

pub(super) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, Error> {
    bincode::serialize(value).map_err(|error| Error::Worker(format!("the job's state cannot be encoded: {error}")))
}

pub(super) fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8], what: &str) -> Result<T, Error> {
    bincode::deserialize(bytes).map_err(|error| Error::OtherVersion(format!("{what} cannot be read: {error}")))
}
