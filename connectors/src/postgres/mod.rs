//! Views as PostgreSQL tables: one transaction a commit, which also names its epoch.
//!
//! ```text
//! open      connect                                             connect.rs
//! prepare   one transaction: control tables, the views' tables  control.rs, tables.rs
//!           (created, or compared); transactions of earlier
//!           instances ended, the generation raised, and only
//!           then the epoch read that is there;
//!           then staging tables and statements                  session.rs, writer.rs, statements.rs
//! commit    rows that do not fit become dead letters            ../tables/ (shared with SQLite), kind.rs
//!           BEGIN; progress moves on if it is ours; ledger      control.rs
//!           for each view: deletes, upserts                     writer.rs, encode.rs
//!           late events, dead letters; COMMIT                   session.rs
//! ```
//! Invariants:
//! - A reader sees the views, the progress, the ledger, late events and dead letters of one epoch, never of two.
//! - An epoch is applied once. When the reply to a COMMIT is lost, the next call of `commit` connects anew and reads the progress
//!   back: if the epoch is there under our generation, the commit had succeeded.
//! - A new generation goes on behind the epoch that is there. An older one cannot commit any more, whatever it was doing when it was overtaken:
//!   its next step is [`Error::Fenced`].
//! - After any error nothing of the commit has been applied, or all of it and its reply was lost; the connection is gone, and the next call, with the
//!   same commit, makes a new one.
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

mod archive;
mod connect;
mod control;
mod encode;
mod kind;
mod session;
mod statements;
mod table_reader;
mod tables;
mod tls;
mod writer;

use freshet_model::{Commit, DeadLetter, Epoch, TableSchema};
use postgres::{Client, Transaction};

use crate::tables::fit::Fitted;
use crate::tables::{Owner, SetUp, does_not_fit};
use crate::{Error, SinkOptions, TableSink, fault};
pub(crate) use archive::PostgresArchive;
use connect::Place;
use session::{Attempt, Session};
pub use table_reader::PostgresTable;
use tables::Table;

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
        let place = Place::parse(url, &format!("sink '{}'", options.name))?;
        let owner = Owner::of(&place.thing, &options)?;
        let client = place.connect().map_err(|error| place.explain_connect(&error))?;
        Ok(PostgresSink { place, owner, opened: Some(client), session: None, views: Vec::new(), committed: None, in_doubt: None })
    }

    /// Keeps so much of each dead letter's record, instead of its beginning.
    #[must_use]
    pub fn keeping(mut self, max_payload_bytes: usize) -> PostgresSink {
        self.owner.max_payload_bytes = max_payload_bytes;
        self
    }

    /// Creates or compares all tables and takes over the job's rows, in one transaction.
    fn set_up(&self, client: &mut Client, views: &[TableSchema]) -> Result<SetUp<Table>, Error> {
        let explain = |error| self.place.explain(&error);
        let mut transaction = client.transaction().map_err(explain)?;
        // Who holds a lock for longer is ended when the caller tries again.
        transaction.batch_execute("SET LOCAL lock_timeout = '10s'").map_err(explain)?;
        control::create(&mut transaction).map_err(explain)?;
        let mut differences = Vec::new();
        let mut prepared = Vec::with_capacity(views.len());
        for view in views {
            let mut table = tables::create_or_check(&mut transaction, view, &mut differences).map_err(explain)?;
            if self.owner.is_staging()
                && let Some(own) = table.take()
            {
                table = tables::stage(&mut transaction, view, own, &mut differences).map_err(explain)?;
            }
            prepared.extend(table.map(|table| (view.clone(), table)));
        }
        if !differences.is_empty() {
            return Err(does_not_fit(&self.place.thing, &differences));
        }
        let held = self.take_over(&mut transaction, &prepared)?;
        transaction.commit().map_err(explain)?;
        Ok(SetUp { views: prepared, held })
    }

    /// Fences older generations, and returns the newest epoch that they have left.
    fn take_over(&self, transaction: &mut Transaction<'_>, views: &[(TableSchema, Table)]) -> Result<Option<Epoch>, Error> {
        let explain = |error| self.place.explain(&error);
        let seen = control::read(transaction, &self.owner).map_err(explain)?;
        seen.map_or(Ok(()), |held| self.owner.check(&self.place.thing, &held))?;
        fault::point("postgres::fence", &self.place.thing)?;
        control::end_predecessors(transaction, &self.owner).map_err(explain)?;
        let held = control::lock(transaction, &self.owner).map_err(explain)?.ok_or_else(|| self.changed("no row"))?;
        self.owner.check(&self.place.thing, &held)?;
        control::take_over(transaction, &self.owner).map_err(explain)?;
        fault::point("postgres::progress_read", &self.place.thing)?;
        if self.owner.forgets(Some(&held)) {
            let names = views.iter().map(|(_, table)| table.name.as_str());
            control::forget(transaction, &self.owner, names).map_err(explain)?;
            return Ok(None);
        }
        self.adopt(transaction, views, held.epoch).map_err(explain)?;
        Ok(held.epoch)
    }

    /// Takes over what a run has staged for this one, if it is still there.
    fn adopt(
        &self,
        transaction: &mut Transaction<'_>,
        views: &[(TableSchema, Table)],
        epoch: Option<Epoch>,
    ) -> Result<(), postgres::Error> {
        let Some((staged, names)) = self.owner.predecessor() else { return Ok(()) };
        if control::read(transaction, &staged)?.is_none_or(|held| held.generation != staged.generation) {
            return Ok(());
        }
        for (view, table) in views.iter().filter(|(view, _)| names.contains(&view.name)) {
            tables::adopt(transaction, view, table)?;
        }
        control::adopt(transaction, &self.owner, &staged, names, epoch)
    }

    fn changed(&self, found: &str) -> Error {
        let known = epoch_name(self.committed);
        let problem =
            format!("freshet.progress of job '{}' has {found}, but this instance has committed {known}", self.owner.job);
        Error::setup(&self.place.thing, problem, "leave the tables of schema freshet alone, and restart the job")
    }

    /// Returns the connection, a new one if there is none.
    fn session(&mut self) -> Result<Session, Error> {
        if let Some(session) = self.session.take() {
            return Ok(session);
        }
        let client = self.place.connect().map_err(|error| self.place.explain_reconnect(&error))?;
        Session::prepare(client, &self.owner, &self.views).map_err(|error| self.place.explain(&error))
    }

    /// Decides by the database's own word whether a commit is in it already; `None` when it is not.
    fn settle(&mut self, session: &mut Session, commit: &Commit) -> Result<Option<Vec<DeadLetter>>, Error> {
        let held = session.held(&self.owner).map_err(|error| self.place.explain(&error))?;
        let held = held.ok_or_else(|| self.changed("no row"))?;
        self.owner.check(&self.place.thing, &held)?;
        let ours = held.generation == self.owner.generation;
        if ours && held.epoch == self.committed {
            return Ok(None);
        }
        match self.in_doubt.take() {
            Some((epoch, refused)) if ours && epoch == commit.epoch && held.epoch == Some(epoch) => {
                self.committed = Some(epoch);
                Ok(Some(refused))
            }
            _ => Err(self.changed(&format!("{} of generation {}", epoch_name(held.epoch), held.generation))),
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
            let changing = |sink: &Self| Error::unavailable(&sink.place.thing, "freshet.progress changes while it is written");
            return self.settle(session, commit)?.ok_or_else(|| changing(self));
        };
        let refused: Vec<_> = fitted.into_iter().flat_map(|fitted| fitted.refused).chain(found).collect();
        self.in_doubt = Some((commit.epoch, refused.clone()));
        session.commit().map_err(|error| self.place.explain(&error))?;
        // As if the reply had been lost.
        fault::point("postgres::commit_sent", &self.place.thing)?;
        self.in_doubt = None;
        self.committed = Some(commit.epoch);
        fault::point("postgres::after_commit", &self.place.thing)?;
        Ok(refused)
    }
}

fn epoch_name(epoch: Option<Epoch>) -> String {
    epoch.map_or_else(|| "no epoch".to_owned(), |epoch| format!("epoch {epoch}"))
}

impl TableSink for PostgresSink {
    fn prepare(&mut self, views: &[TableSchema]) -> Result<Option<Epoch>, Error> {
        self.session = None;
        let mut client = match self.opened.take() {
            Some(client) => client,
            None => self.place.connect().map_err(|error| self.place.explain_reconnect(&error))?,
        };
        let SetUp { views, held } = self.set_up(&mut client, views)?;
        self.views = views;
        self.committed = held;
        self.in_doubt = None;
        self.session = Some(Session::prepare(client, &self.owner, &self.views).map_err(|error| self.place.explain(&error))?);
        Ok(held)
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
