//! Views as PostgreSQL tables: one transaction a commit, which also names its epoch.
//!
//! ```text
//! open      connect                                             connect.rs
//! prepare   one transaction: control tables, the views' tables  control.rs, tables.rs
//!           (created, or compared), and the job's generation;
//!           then staging tables and statements                  session.rs, writer.rs, statements.rs
//! commit    rows that do not fit become dead letters            fit.rs, rejects.rs (shared with SQLite), kind.rs
//!           BEGIN; progress moves on if it is ours; ledger      control.rs
//!           for each view: deletes, upserts                     writer.rs, encode.rs
//!           late events, dead letters; COMMIT                   session.rs
//! ```
//! Invariants:
//! - A reader sees the views, the progress, the ledger, late events and dead letters of one epoch, never of two.
//! - An epoch is applied once. When the reply to a COMMIT is lost, the next call of `commit` connects anew and reads the progress
//!   back: if the epoch is there under our generation, the commit had succeeded.
//! - After any error nothing of the commit has been applied, and the connection is gone; the next call makes a new one.
//!
//! What is left to the server: `synchronous_commit`, `statement_timeout`, `lock_timeout` and deadlocks. A commit waits as long for a
//! lock as the server allows (for ever by default); when the server ends it, the error is [`Error::Unavailable`] and the same
//! commit may be tried again. How often and how soon is the caller's decision.
//!
//! The connection holds temporary tables and prepared statements, so it must not go through a pooler that shares server sessions
//! between transactions.
//!
//! Values: `timestamp` and `timestamptz` columns both get UTC. A value that the *existing* table cannot hold (too long, out of
//! range, NUL, NULL in a NOT NULL column, a key too long for an index) makes its row a dead letter, and so does a row that the
//! server refuses for a constraint or a trigger; the former row of that key is deleted, since it is no longer true.

mod connect;
mod control;
mod encode;
pub(crate) mod fit;
mod kind;
pub(crate) mod rejects;
mod session;
mod statements;
mod tables;
mod writer;

use freshet_model::{Commit, DeadLetter, Epoch, TableSchema};
use postgres::Client;

use crate::{Error, SinkOptions, TableSink};
use connect::Place;
use control::{Held, Owner};
use fit::Fitted;
use session::{Attempt, Session};
use tables::{Difference, Table};

/// A sink that keeps views in a PostgreSQL database.
pub struct PostgresSink {
    place: Place,
    owner: Owner,
    /// Before [`TableSink::prepare`], the connection that `open` has made.
    opened: Option<Client>,
    /// `None` after a failure, until the next commit.
    session: Option<Session>,
    views: Vec<(TableSchema, Table)>,
    /// The newest epoch that is known to be in the database.
    committed: Option<Epoch>,
    /// The epoch whose COMMIT was sent last, and what it refused: the reply may have been lost.
    in_doubt: Option<(Epoch, Vec<DeadLetter>)>,
}

impl PostgresSink {
    /// Connects to `postgres://user:password@host:port/database`.
    ///
    /// # Errors
    /// The URL is not one, or the server cannot be reached or refuses: each with what to do about it, none with the password.
    pub fn open(url: &str, options: SinkOptions) -> Result<PostgresSink, Error> {
        let place = Place::parse(url, &options.name)?;
        let Ok(generation) = i64::try_from(options.generation) else {
            return Err(Error::setup(&place.thing, "the generation does not fit into a bigint", "use a smaller number"));
        };
        let client = place.connect().map_err(|error| place.explain_connect(&error))?;
        let owner = Owner { job: rejects::without_nul(&options.job), sink: rejects::without_nul(&options.name), generation };
        Ok(PostgresSink { place, owner, opened: Some(client), session: None, views: Vec::new(), committed: None, in_doubt: None })
    }

    /// Creates or compares all tables and takes over the job's generation, in one transaction.
    fn set_up(&self, client: &mut Client, views: &[TableSchema]) -> Result<Vec<(TableSchema, Table)>, Error> {
        let explain = |error| self.place.explain(&error);
        let mut transaction = client.transaction().map_err(explain)?;
        control::create(&mut transaction).map_err(explain)?;
        let mut differences = Vec::new();
        let mut prepared = Vec::with_capacity(views.len());
        for view in views {
            let table = tables::create_or_check(&mut transaction, view, &mut differences).map_err(explain)?;
            prepared.extend(table.map(|table| (view.clone(), table)));
        }
        if !differences.is_empty() {
            return Err(self.does_not_fit(&differences));
        }
        if !control::take_over(&mut transaction, &self.owner).map_err(explain)? {
            return Err(self.taken_over());
        }
        transaction.commit().map_err(explain)?;
        Ok(prepared)
    }

    fn does_not_fit(&self, differences: &[Difference]) -> Error {
        let join = |part: fn(&Difference) -> &str| differences.iter().map(part).collect::<Vec<_>>().join("; ");
        let problem = join(|difference| &difference.problem);
        Error::setup(
            &self.place.thing,
            problem,
            format!("change the tables or the views: {}", join(|difference| &difference.fix)),
        )
    }

    fn taken_over(&self) -> Error {
        let problem = format!("another instance of job '{}' has taken over", self.owner.job);
        Error::setup(&self.place.thing, problem, "run one instance of a job at a time, or give this one a job name of its own")
    }

    /// Returns the connection, a new one if there is none.
    fn session(&mut self) -> Result<Session, Error> {
        if let Some(session) = self.session.take() {
            return Ok(session);
        }
        let client = self.place.connect().map_err(|error| self.place.explain_reconnect(&error))?;
        Session::prepare(client, &self.views).map_err(|error| self.place.explain(&error))
    }

    /// Decides by the database's own word whether a commit is in it already; `None` when it is not.
    fn settle(&mut self, session: &mut Session, commit: &Commit) -> Result<Option<Vec<DeadLetter>>, Error> {
        let held = session.held(&self.owner).map_err(|error| self.place.explain(&error))?;
        match held {
            Some(Held { generation, epoch }) if generation == self.owner.generation => {
                if epoch == Some(commit.epoch) {
                    self.committed = epoch;
                    let refused = self.in_doubt.take().filter(|&(doubted, _)| doubted == commit.epoch);
                    return Ok(Some(refused.map(|(_, letters)| letters).unwrap_or_default()));
                }
                if epoch == self.committed {
                    return Ok(None);
                }
                let name = |epoch: Option<Epoch>| epoch.map_or_else(|| "no epoch".to_owned(), |epoch| format!("epoch {epoch}"));
                let (found, known) = (name(epoch), name(self.committed));
                let problem =
                    format!("freshet.progress of job '{}' has {found}, but this instance has committed {known}", self.owner.job);
                Err(Error::setup(&self.place.thing, problem, "leave the tables of schema freshet alone, and restart the job"))
            }
            _ => Err(self.taken_over()),
        }
    }

    /// Applies a commit on a connection; on any error the connection is to be dropped.
    fn apply(&mut self, session: &mut Session, commit: &Commit) -> Result<Vec<DeadLetter>, Error> {
        let fitted: Vec<Fitted> = commit
            .views
            .iter()
            .map(|changes| {
                let (view, table) = &self.views[changes.view];
                table.room.fit(view, &changes.upserts, &changes.deletes)
            })
            .collect();
        let attempt = session.write(&self.owner, self.committed, commit, &fitted).map_err(|error| self.place.explain(&error))?;
        let Attempt::Ready(found) = attempt else {
            // Either a newer generation has it, or our own COMMIT got through after its connection was lost.
            return self.settle(session, commit)?.ok_or_else(|| self.taken_over());
        };
        let refused: Vec<_> = fitted.into_iter().flat_map(|fitted| fitted.refused).chain(found).collect();
        self.in_doubt = Some((commit.epoch, refused.clone()));
        session.commit().map_err(|error| self.place.explain(&error))?;
        self.in_doubt = None;
        self.committed = Some(commit.epoch);
        Ok(refused)
    }
}

impl TableSink for PostgresSink {
    fn prepare(&mut self, views: &[TableSchema]) -> Result<Option<Epoch>, Error> {
        self.session = None;
        let mut client = match self.opened.take() {
            Some(client) => client,
            None => self.place.connect().map_err(|error| self.place.explain_connect(&error))?,
        };
        self.views = self.set_up(&mut client, views)?;
        self.session = Some(Session::prepare(client, &self.views).map_err(|error| self.place.explain(&error))?);
        self.committed = None;
        self.in_doubt = None;
        Ok(None)
    }

    fn commit(&mut self, commit: &Commit) -> Result<Vec<DeadLetter>, Error> {
        if self.committed.is_some_and(|committed| commit.epoch <= committed) {
            return Ok(Vec::new());
        }
        let connected = self.session.is_some();
        let mut session = self.session()?;
        let settled = if connected { None } else { self.settle(&mut session, commit)? };
        let refused = match settled {
            Some(refused) => refused,
            None => self.apply(&mut session, commit)?,
        };
        self.session = Some(session);
        Ok(refused)
    }
}
