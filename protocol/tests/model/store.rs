//! What outlives a process: the generation, the log in segments, the sinks, the checkpoints.

use std::collections::BTreeSet;

use freshet_protocol::{Durable, Held, Segment, chain, unapplied};

use crate::rules::Rules;
use crate::{EPOCHS, INCARNATIONS, SINKS};

/// Which incarnation decided what an epoch holds.
pub(crate) type Content = u8;

/// What consecutive epochs hold, from epoch 0.
pub(crate) type History = Vec<Content>;

/// An epoch and what it holds.
pub(crate) type Record = (u8, Content);

/// A generation's segment of the log.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Written {
    pub(crate) after: Option<u8>,
    pub(crate) from: u8,
    pub(crate) records: Vec<Record>,
}

/// A sink: whose it is, and every epoch that was applied, in the order in which that happened.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub(crate) struct Sink {
    pub(crate) generation: u8,
    pub(crate) rows: Vec<Record>,
}

/// A checkpoint whose manifest is there.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Saved {
    pub(crate) epoch: u8,
    /// What it holds of each epoch up to its own; nothing if the manifest came first and the writer died.
    pub(crate) contents: History,
}

/// All that is durable.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Store {
    pub(crate) generation: u8,
    pub(crate) segments: [Option<Written>; INCARNATIONS + 2],
    /// The log's epochs before this one were collected.
    pub(crate) log_from: u8,
    pub(crate) sinks: [Sink; SINKS],
    pub(crate) checkpoints: BTreeSet<Saved>,
}

impl Sink {
    /// Returns the committed epoch, which the sink stores with the rows.
    pub(crate) fn held(&self) -> Option<u64> {
        self.rows.last().map(|&(epoch, _)| u64::from(epoch))
    }

    /// Applies a commit of some epochs as a whole; returns whether the sink accepted it.
    pub(crate) fn commit(&mut self, generation: u8, from: u8, to: u8, history: &[Content], rules: &Rules) -> bool {
        if rules.check_generation && self.generation != generation {
            return false;
        }
        let sent = u64::from(from)..u64::from(to) + 1;
        let applied = if rules.check_epoch { unapplied(self.held(), sent) } else { sent };
        self.rows.extend(applied.map(|epoch| (epoch as u8, history[epoch as usize])));
        true
    }
}

impl Store {
    /// Reads the log as a start would: the epochs in order with what they hold, and by which generation's segment it ends. Also what
    /// was collected, which only the properties look at.
    pub(crate) fn log(&self, rules: &Rules) -> (History, Option<u8>) {
        let written = || self.segments.iter().enumerate().filter_map(|(generation, s)| Some((generation as u64, s.as_ref()?)));
        let newest = written().next_back().map(|(generation, _)| generation as u8);
        if !rules.chain_by_start {
            let find = |epoch| written().find_map(|(_, s)| s.records.iter().find(|r| r.0 == epoch)).map(|&(_, content)| content);
            return ((0..EPOCHS).map_while(find).collect(), newest);
        }
        let segment = |(generation, s): (u64, &Written)| {
            let end = s.records.last().map_or(s.from, |&(epoch, _)| epoch + 1);
            Segment { generation, after: s.after.map(u64::from), epochs: s.from.into()..end.into() }
        };
        // A log with a gap is as bad as none; the properties will find that the sinks hold more.
        let pieces = chain(&written().map(segment).collect::<Vec<_>>()).unwrap_or_default();
        let history = pieces.into_iter().flat_map(|piece| {
            let records = &self.segments[piece.generation as usize].as_ref().expect("it is in the chain").records;
            let content = |epoch| records.iter().find(|r| u64::from(r.0) == epoch).expect("a segment is whole").1;
            piece.epochs.map(content).collect::<Vec<_>>()
        });
        (history.collect(), newest)
    }

    /// Describes the state to [`freshet_protocol::resume`].
    pub(crate) fn durable(&self, end: usize) -> Durable {
        let checkpoints = self.checkpoints.iter().map(|saved| saved.epoch.into()).collect();
        Durable { log: self.log_from.into()..(end as u64).max(self.log_from.into()), checkpoints }
    }
}

/// Describes a sink to [`freshet_protocol::resume`].
pub(crate) fn held(index: usize, epoch: Option<u64>) -> Held {
    Held { sink: index.to_string(), epoch, strict: true }
}
