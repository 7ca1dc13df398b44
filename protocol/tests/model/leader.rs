//! One incarnation of the job: what it has in memory, and each of its steps.

use freshet_protocol::{Durable, Held, Resume, collect, may_publish, resume};

use crate::rules::Rules;
use crate::store::{Content, History, Saved, Store, Written, held};
use crate::{EPOCHS, SINKS};

/// How far a start has come.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Phase {
    /// These sinks are fenced; in any order.
    Fencing([bool; SINKS]),
    /// The log and the checkpoints are to be read.
    Reading,
    /// The sinks are to be read.
    Asking,
    /// Where to begin is known; a segment of the log is to be begun.
    Beginning,
    /// Epochs are decided and committed.
    Running,
    /// The start was refused, as nothing in this model gives cause to.
    Refused,
}

/// A leader in memory.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Leader {
    pub(crate) generation: u8,
    pub(crate) content: Content,
    pub(crate) phase: Phase,
    /// What each epoch holds: first as read from the log and the checkpoint, later also as decided.
    pub(crate) history: History,
    /// So many epochs have a record in the log.
    pub(crate) logged: u8,
    /// The segment that ours goes on from, the log's beginning and the checkpoints, as read.
    pub(crate) read: Option<(Option<u8>, u8, Vec<Saved>)>,
    /// For each sink, the first epoch that it has not confirmed yet.
    pub(crate) next: [u8; SINKS],
    /// For each sink, the end of the commit whose reply was lost.
    pub(crate) doubt: [Option<u8>; SINKS],
    /// The checkpoint whose manifest was written before what it names.
    pub(crate) writing: Option<u8>,
}

/// What became of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reply {
    /// The sink answered.
    Came,
    /// The sink decided, but its answer was lost.
    Lost,
    /// The commit itself was lost.
    NeverAsked,
}

/// A step of a leader; between any two of them anything may happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// The next step of a start, after the fences.
    Start,
    /// Fences a sink.
    Fence(usize),
    /// Decides what the next epoch holds (and writes its record, as the rules go).
    Decide,
    /// Writes a record later, which the rules do not allow.
    LogLate,
    /// Commits to a sink, up to an epoch.
    Commit(usize, u8, Reply),
    /// Finds out about a commit whose reply was lost.
    Settle(usize),
    /// Writes a checkpoint of an epoch, which nobody sees before its manifest is there.
    Save(u8),
    /// Writes what a checkpoint's manifest has named before, which the rules do not allow.
    SaveLate,
    /// Removes what no start needs.
    Collect,
}

/// Tells whether a leader is still there after a step; a fenced one ends.
pub(crate) type Alive = bool;

impl Leader {
    pub(crate) fn new(generation: u8, content: Content, rules: &Rules) -> Leader {
        Leader {
            generation,
            content,
            phase: if rules.fence_first { Phase::Fencing([false; SINKS]) } else { Phase::Reading },
            history: Vec::new(),
            logged: 0,
            read: None,
            next: [0; SINKS],
            doubt: [None; SINKS],
            writing: None,
        }
    }

    /// Returns what it knows of one sink.
    pub(crate) fn side(&self, sink: usize) -> (bool, u8, Option<u8>) {
        let fenced = matches!(self.phase, Phase::Fencing(fenced) if fenced[sink]);
        (fenced, self.next[sink], self.doubt[sink])
    }

    /// Exchanges the two sinks.
    pub(crate) fn swap_sides(&mut self) {
        self.next.swap(0, 1);
        self.doubt.swap(0, 1);
        if let Phase::Fencing(fenced) = &mut self.phase {
            fenced.swap(0, 1);
        }
    }

    /// Lists the steps that it can take.
    pub(crate) fn steps(&self, store: &Store, rules: &Rules, out: &mut Vec<Step>) {
        match self.phase {
            Phase::Refused => return,
            Phase::Running => {}
            Phase::Fencing(fenced) => return out.extend((0..SINKS).filter(|&sink| !fenced[sink]).map(Step::Fence)),
            _ => return out.push(Step::Start),
        }
        if self.history.len() < EPOCHS.into() {
            out.push(Step::Decide);
        }
        let logged = self.logged;
        if usize::from(logged) < self.history.len() {
            out.push(Step::LogLate);
        }
        let known = if rules.log_first { logged } else { self.history.len() as u8 };
        for sink in 0..SINKS {
            if self.doubt[sink].is_some() {
                out.push(Step::Settle(sink));
                continue;
            }
            let replies = [Reply::Came, Reply::Lost, Reply::NeverAsked];
            out.extend((self.next[sink]..known).flat_map(|to| replies.map(|reply| Step::Commit(sink, to, reply))));
        }
        if self.writing.is_some() {
            out.push(Step::SaveLate);
        } else {
            let confirmed = self.next.map(|next| next.checked_sub(1).map(u64::from));
            let is_new = |epoch: &u8| store.checkpoints.iter().all(|saved| saved.epoch != *epoch);
            let may = |epoch: &u8| !rules.checkpoint_behind_sinks || may_publish((*epoch).into(), confirmed);
            out.extend((0..self.history.len() as u8).filter(is_new).filter(may).map(Step::Save));
        }
        if self.removes(store) != Default::default() {
            out.push(Step::Collect);
        }
    }

    /// Takes a step.
    pub(crate) fn take(&mut self, step: Step, store: &mut Store, rules: &Rules) -> Alive {
        match step {
            Step::Start => return self.start(store, rules),
            Step::Fence(sink) => return self.fence(sink, store, rules),
            Step::Decide => {
                self.history.push(self.content);
                if rules.log_first {
                    self.log(store);
                }
            }
            Step::LogLate => self.log(store),
            Step::Commit(sink, to, reply) => return self.commit(sink, to, reply, store, rules),
            Step::Settle(sink) => return self.settle(sink, store, rules),
            Step::Save(epoch) if rules.manifest_last => self.save(epoch, store),
            Step::Save(epoch) => {
                self.writing = Some(epoch);
                store.checkpoints.insert(Saved { epoch, contents: Vec::new() });
            }
            Step::SaveLate => {
                let epoch = self.writing.take().expect("a manifest was written");
                store.checkpoints.remove(&Saved { epoch, contents: Vec::new() });
                self.save(epoch, store);
            }
            Step::Collect => {
                let (checkpoints, log_from) = self.removes(store);
                store.checkpoints.retain(|saved| !checkpoints.contains(&saved.epoch.into()));
                store.log_from = log_from.max(store.log_from);
            }
        }
        true
    }

    fn fence(&mut self, sink: usize, store: &mut Store, rules: &Rules) -> Alive {
        let Phase::Fencing(fenced) = &mut self.phase else { unreachable!("fences come first") };
        if store.sinks[sink].generation > self.generation {
            return false;
        }
        store.sinks[sink].generation = self.generation;
        fenced[sink] = true;
        if fenced.iter().all(|&fenced| fenced) {
            self.phase = if rules.fence_first { Phase::Reading } else { Phase::Beginning };
        }
        true
    }

    fn start(&mut self, store: &mut Store, rules: &Rules) -> Alive {
        self.phase = match self.phase {
            Phase::Reading => {
                let (history, after) = store.log(rules);
                self.history = history;
                self.read = Some((after, store.log_from, store.checkpoints.iter().cloned().collect()));
                Phase::Asking
            }
            Phase::Asking => {
                let foreign = |sink: &crate::store::Sink| sink.generation != self.generation;
                if rules.fence_first && rules.read_with_generation && store.sinks.iter().any(foreign) {
                    return false;
                }
                let sinks: Vec<Held> = store.sinks.iter().enumerate().map(|(i, sink)| held(i, sink.held())).collect();
                self.pick(&sinks);
                match self.phase {
                    Phase::Asking if rules.fence_first => Phase::Beginning,
                    Phase::Asking => Phase::Fencing([false; SINKS]),
                    _ => Phase::Refused,
                }
            }
            Phase::Beginning => {
                let after = self.read.take().and_then(|(after, ..)| after).filter(|&after| after < self.generation);
                let written = Written { after, from: self.logged, records: Vec::new() };
                store.segments[usize::from(self.generation)].get_or_insert(written);
                Phase::Running
            }
            Phase::Fencing(_) | Phase::Running | Phase::Refused => unreachable!("no step of a start"),
        };
        true
    }

    /// Restores a checkpoint, and leaves the replayed epochs to be committed again.
    fn pick(&mut self, sinks: &[Held]) {
        let (_, log_from, checkpoints) = self.read.as_ref().expect("the log was read");
        let end = (self.history.len() as u64).max((*log_from).into());
        let epochs = checkpoints.iter().map(|saved| saved.epoch.into()).collect();
        match resume(&Durable { log: (*log_from).into()..end, checkpoints: epochs }, sinks) {
            Ok(Resume { checkpoint, replay }) => {
                let saved = checkpoints.iter().rev().find(|saved| Some(saved.epoch.into()) == checkpoint);
                let mut history = saved.map_or_else(Vec::new, |saved| saved.contents.clone());
                // A checkpoint without its contents gives contents that nobody decided.
                history.resize(replay.start as usize, u8::MAX);
                history.extend(self.history.iter().skip(replay.start as usize));
                self.history = history;
                self.logged = replay.end as u8;
                self.next = [replay.start as u8; SINKS];
            }
            Err(_) => self.phase = Phase::Refused,
        }
    }

    fn log(&mut self, store: &mut Store) {
        let segment = store.segments[usize::from(self.generation)].as_mut().expect("the segment was begun");
        segment.records.push((self.logged, self.history[usize::from(self.logged)]));
        self.logged += 1;
    }

    fn commit(&mut self, sink: usize, to: u8, reply: Reply, store: &mut Store, rules: &Rules) -> Alive {
        let accepted =
            reply != Reply::NeverAsked && store.sinks[sink].commit(self.generation, self.next[sink], to, &self.history, rules);
        if reply == Reply::Came {
            self.next[sink] = to + 1;
            return accepted;
        }
        // What it was matters to a guess only; kept the same otherwise, the checker sees fewer states.
        self.doubt[sink] = Some(if rules.read_back { 0 } else { to });
        true
    }

    fn settle(&mut self, sink: usize, store: &Store, rules: &Rules) -> Alive {
        let doubted = self.doubt[sink].take().expect("a reply was lost");
        if !rules.read_back {
            self.next[sink] = doubted + 1;
            return true;
        }
        let found = &store.sinks[sink];
        let mine = !rules.read_with_generation || found.generation == self.generation;
        self.next[sink] = found.held().map_or(0, |epoch| epoch as u8 + 1);
        mine
    }

    fn save(&self, epoch: u8, store: &mut Store) {
        let contents = self.history[..=usize::from(epoch)].to_vec();
        store.checkpoints.insert(Saved { epoch, contents });
    }

    /// Returns the checkpoints and the beginning of the log that can go, with one checkpoint kept; nothing and 0 if nothing can.
    fn removes(&self, store: &Store) -> (Vec<u64>, u8) {
        let removes = collect(&store.durable(EPOCHS.into()), 1);
        let log_from = removes.log_from as u8;
        (removes.checkpoints, if log_from > store.log_from { log_from } else { 0 })
    }
}
