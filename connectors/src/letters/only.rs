//! A table sink that is given one kind of rejects and nothing else.

use std::sync::Arc;

use freshet_model::{Commit, DeadLetter, Epoch, Rejects, TableSchema};

use super::Kind;
use crate::circuit::Circuit;
use crate::{Error, TableSink};

/// A sink without views, that keeps late events or dead letters.
pub(crate) struct Only {
    pub(crate) kind: Kind,
    pub(crate) inner: Box<dyn TableSink>,
}

impl Only {
    /// Leaves out of a commit what this sink does not keep.
    fn reduce(&self, commit: &Commit) -> Commit {
        let part = |part: &Rejects| {
            let (late, dead) = match self.kind {
                Kind::Dead => (Vec::new(), part.dead.clone()),
                Kind::Late => (part.late.clone(), Vec::new()),
            };
            Rejects { late, dead, ..*part }
        };
        let parts = commit.rejects.iter().map(part).filter(|part| !(part.late.is_empty() && part.dead.is_empty()));
        Commit { rejects: parts.collect(), views: Vec::new(), ledger: Vec::new(), ..*commit }
    }
}

impl TableSink for Only {
    fn prepare(&mut self, _: &[TableSchema]) -> Result<Option<Epoch>, Error> {
        self.inner.prepare(&[])
    }

    fn guard(&mut self, circuit: &Arc<Circuit>) {
        self.inner.guard(circuit);
    }

    fn keeps_epoch(&self) -> bool {
        self.inner.keeps_epoch()
    }

    fn commit(&mut self, commit: &Commit) -> Result<Vec<DeadLetter>, Error> {
        let reduced = self.reduce(commit);
        self.inner.commit(&reduced)
    }
}
