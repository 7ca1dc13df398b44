//! The rows of one partition of the source on their way into a topic: a thread with transactions of its own.
//!
//! Rows are kept until the transaction that holds them is known to count. Whatever ends a producer before that, the next one is told by
//! the brokers what counts, and is given the rest again.
//!
//! A transaction ends where an epoch does: when the epoch is sealed and the interval since the latest commit has passed; when it
//! passes and nothing has come since; when the sink holds too much; when it is asked to.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arrow::array::RecordBatch;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use freshet_model::{Epoch, PartitionId};

use super::transaction::Transactions;
use super::trouble::{Patience, Trouble};
use crate::format::{Encoder, Rows};
use crate::{Error, fault};

/// An offset that is not written for a week is forgotten by the brokers, so one that is as old as this is written again.
const REFRESH: Duration = Duration::from_secs(24 * 3600);

/// What a partition's thread is told.
pub(super) enum Task {
    /// Rows of an epoch.
    Rows(Epoch, RecordBatch, usize),
    /// All rows up to an epoch have come.
    Seal(Epoch),
    /// Commit what has been sealed, and answer.
    Flush(Sender<()>),
}

/// Rows that are not yet known to count.
struct Held {
    epoch: Epoch,
    /// The number of the first row within partition and epoch.
    first: u64,
    rows: RecordBatch,
    bytes: usize,
}

/// What the partitions of a sink share.
#[derive(Clone)]
pub(super) struct Common {
    pub(super) job: String,
    pub(super) encoder: Encoder,
    pub(super) headers: bool,
    pub(super) interval: Duration,
    /// Bytes that all partitions hold.
    pub(super) load: Arc<AtomicUsize>,
    /// Above this load each sealed epoch is committed at once.
    pub(super) hurry: usize,
    /// Told when the load has become less, or the thread has ended.
    pub(super) news: Sender<()>,
}

/// A partition's thread.
pub(super) struct Shard {
    common: Common,
    /// The topic's partition that the rows go to.
    to: PartitionId,
    transactions: Transactions,
    patience: Patience,
    held: Vec<Held>,
    /// So many of `held` are in the open transaction.
    sent: usize,
    /// The newest epoch of which all rows have come.
    sealed: Option<Epoch>,
    rows: Rows,
}

impl Shard {
    pub(super) fn new(common: Common, to: PartitionId, transactions: Transactions, patience: Patience) -> Shard {
        Shard { common, to, transactions, patience, held: Vec::new(), sent: 0, sealed: None, rows: Rows::default() }
    }

    /// Fences older generations, and returns the newest epoch that the topic holds of this partition.
    pub(super) fn prepare(&mut self, reset: bool) -> Result<Option<Epoch>, Error> {
        loop {
            match self.transactions.open(reset) {
                Ok(_) => break,
                Err(trouble) => self.patience.bear(trouble)?,
            }
        }
        self.patience.restore();
        Ok(self.transactions.held())
    }

    /// Works until the channel is closed. What has not been committed by then never counts.
    pub(super) fn run(&mut self, tasks: &Receiver<Task>) -> Result<(), Error> {
        loop {
            let task = match self.wait() {
                Some(wait) => tasks.recv_timeout(wait),
                None => tasks.recv().map_err(RecvTimeoutError::from),
            };
            match task {
                Ok(Task::Rows(epoch, rows, bytes)) => self.take(epoch, rows, bytes)?,
                Ok(Task::Seal(epoch)) => self.seal(epoch)?,
                Ok(Task::Flush(answer)) => {
                    self.settle()?;
                    // Who asked may have given up.
                    let _ = answer.send(());
                }
                Err(RecvTimeoutError::Timeout) => self.settle()?,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    }

    /// Returns how long a commit may yet wait, if there is something to commit.
    fn wait(&self) -> Option<Duration> {
        // Rows of an epoch that is not sealed are in the transaction already: it has to wait for the seal.
        let complete = self.held.last().is_some_and(|last| Some(last.epoch) <= self.sealed);
        complete.then(|| self.common.interval.saturating_sub(self.transactions.since_commit()))
    }

    fn take(&mut self, epoch: Epoch, rows: RecordBatch, bytes: usize) -> Result<(), Error> {
        // Rows that the topic holds never come; should they, they do not count a second time.
        if self.transactions.held().is_some_and(|held| epoch <= held) {
            tracing::debug!("rows of epoch {epoch} are left out: the topic holds them");
            self.release(bytes);
            return Ok(());
        }
        let last = self.held.last().filter(|last| last.epoch == epoch);
        let first = last.map_or(0, |last| last.first + last.rows.num_rows() as u64);
        self.held.push(Held { epoch, first, rows, bytes });
        self.persist(None)
    }

    fn seal(&mut self, epoch: Epoch) -> Result<(), Error> {
        self.sealed = Some(epoch);
        let hurry = self.common.load.load(Ordering::Relaxed) > self.common.hurry;
        if hurry || self.wait() == Some(Duration::ZERO) { self.settle() } else { Ok(()) }
    }

    /// Commits what has been sealed.
    fn settle(&mut self) -> Result<(), Error> {
        let Some(epoch) = self.sealed else { return Ok(()) };
        if self.held.first().is_some_and(|first| first.epoch <= epoch) {
            return self.persist(Some(epoch));
        }
        match self.transactions.held() {
            Some(held) if self.transactions.since_commit() > REFRESH => self.persist(Some(held)),
            _ => Ok(()),
        }
    }

    /// Brings all rows into the transaction, and ends it if there is an epoch to end it with; again and again, until it has succeeded
    /// or patience has ended.
    fn persist(&mut self, commit: Option<Epoch>) -> Result<(), Error> {
        loop {
            match self.attempt(commit) {
                Ok(()) => {
                    self.patience.restore();
                    return Ok(());
                }
                Err(trouble) => {
                    self.transactions.discard();
                    self.patience.bear(trouble)?;
                }
            }
        }
    }

    fn attempt(&mut self, commit: Option<Epoch>) -> Result<(), Trouble> {
        let newest = commit.unwrap_or(Epoch::MAX);
        if self.held[..self.sent].last().is_some_and(|last| last.epoch > newest) {
            // A transaction has no end but its last row's: what is not to count yet has to leave it.
            self.transactions.discard();
        }
        if self.transactions.open(false)? {
            self.sent = 0;
            // The transaction whose end was in doubt may count.
            self.forget(self.transactions.held());
        }
        while let Some(next) = self.held.get(self.sent).filter(|next| next.epoch <= newest) {
            let producer = self.transactions.rows()?;
            self.common.encoder.encode(&next.rows, &mut self.rows);
            let result = if self.common.headers {
                let prefix = format!("{}/{}/", self.common.job, next.epoch);
                producer.send_marked(self.to, &self.rows, (&prefix, next.first))
            } else {
                producer.send_all(self.to, &self.rows)
            };
            result.map_err(|code| self.transactions.sort(code))?;
            self.sent += 1;
            fault::point("kafka::half_produced", "kafka").map_err(Trouble::Passing)?;
        }
        let Some(epoch) = commit else { return Ok(()) };
        if self.sent == 0 && self.transactions.since_commit() <= REFRESH {
            return Ok(());
        }
        self.transactions.commit(epoch)?;
        self.forget(Some(epoch));
        Ok(())
    }

    /// Forgets rows that count.
    fn forget(&mut self, held: Option<Epoch>) {
        let count = self.held.iter().take_while(|next| Some(next.epoch) <= held).count();
        let bytes = self.held.drain(..count).map(|held| held.bytes).sum();
        self.sent = self.sent.saturating_sub(count);
        self.release(bytes);
    }

    fn release(&self, bytes: usize) {
        self.common.load.fetch_sub(bytes, Ordering::Relaxed);
        // A message that waits there already says the same.
        let _ = self.common.news.try_send(());
    }
}

impl Drop for Shard {
    fn drop(&mut self) {
        let bytes = self.held.iter().map(|held| held.bytes).sum();
        self.release(bytes);
    }
}
