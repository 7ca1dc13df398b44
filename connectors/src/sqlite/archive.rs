//! Reads the tables of rejects, and marks dead letters as put back.

use std::path::PathBuf;

use freshet_model::Timestamp;
use rusqlite::{Connection, OpenFlags, Row, params};

use super::bind::time_text;
use super::control::{DEAD_LETTERS, LATE_EVENTS};
use super::{BUSY_TIMEOUT, explain};
use crate::Error;
use crate::format::read_time;
use crate::letters::{Archive, Kind, Late, Letter, Place, Shelf};
use crate::open::path_of;
use crate::tables::rejects::without_nul;

/// What a file has of one kind of rejects of one sink.
pub(crate) struct SqliteArchive {
    thing: String,
    kind: Kind,
    job: String,
    sink: String,
    connection: Connection,
}

impl SqliteArchive {
    pub(crate) fn open(shelf: &Shelf, kind: Kind) -> Result<SqliteArchive, Error> {
        let path = PathBuf::from(path_of(&shelf.url));
        let thing = format!("sink '{}' (sqlite {})", shelf.name, path.display());
        if !path.exists() {
            return Err(Error::setup(thing, "there is no such file yet", "run the job, which makes it"));
        }
        let connection = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_WRITE)
            .and_then(|connection| connection.busy_timeout(BUSY_TIMEOUT).map(|()| connection))
            .map_err(|error| explain(&thing, &error))?;
        let (job, sink) = (without_nul(&shelf.job), without_nul(&shelf.name));
        Ok(SqliteArchive { thing, kind, job, sink, connection })
    }

    fn try_read(&self, each: &mut dyn FnMut(Letter)) -> rusqlite::Result<()> {
        let (sql, make): (_, fn(&str, &Row<'_>) -> rusqlite::Result<Letter>) = match self.kind {
            Kind::Dead => (
                format!(
                    "SELECT epoch, source, partition, \"offset\", reason, detail, payload, bytes, time, replayed_at FROM {DEAD_LETTERS} \
                     WHERE job = ?1 AND sink = ?2 ORDER BY epoch, source, partition, \"offset\""
                ),
                dead,
            ),
            Kind::Late => (
                format!(
                    "SELECT epoch, source, partition, \"offset\", view, window_start, window_end, event_time, watermark, event, time \
                     FROM {LATE_EVENTS} WHERE job = ?1 AND sink = ?2 \
                     ORDER BY epoch, source, partition, \"offset\", view, window_start"
                ),
                late,
            ),
        };
        let mut statement = self.connection.prepare(&sql)?;
        let mut rows = statement.query(params![self.job, self.sink])?;
        while let Some(row) = rows.next()? {
            each(make(&self.job, row)?);
        }
        Ok(())
    }

    fn try_mark(&mut self, places: &[Place], at: Timestamp) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction()?;
        let sql = format!(
            "UPDATE {DEAD_LETTERS} SET replayed_at = ?3 WHERE job = ?1 AND sink = ?2 AND source = ?4 AND partition = ?5 AND \"offset\" = ?6 \
             AND replayed_at IS NULL"
        );
        for place in places {
            let at = time_text(at.0);
            transaction.execute(&sql, params![self.job, self.sink, &*at, place.source, place.partition, place.offset])?;
        }
        transaction.commit()
    }
}

impl Archive for SqliteArchive {
    fn read(&mut self, each: &mut dyn FnMut(Letter)) -> Result<(), Error> {
        self.try_read(each).map_err(|error| explain(&self.thing, &error))
    }

    fn mark(&mut self, places: &[Place], at: Timestamp) -> Result<(), Error> {
        self.try_mark(places, at).map_err(|error| explain(&self.thing, &error))
    }
}

fn place(row: &Row<'_>) -> rusqlite::Result<Place> {
    Ok(Place { source: row.get(1)?, partition: row.get(2)?, offset: row.get(3)? })
}

fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Timestamp>> {
    Ok(row.get::<_, Option<String>>(column)?.as_deref().and_then(read_time))
}

fn dead(job: &str, row: &Row<'_>) -> rusqlite::Result<Letter> {
    Ok(Letter {
        place: place(row)?,
        job: job.to_owned(),
        epoch: Some(row.get::<_, i64>(0)?.cast_unsigned()),
        time: time(row, 8)?,
        reason: row.get(4)?,
        detail: row.get(5)?,
        payload: row.get(6)?,
        bytes: row.get::<_, Option<i64>>(7)?.map(i64::cast_unsigned),
        replayed_at: time(row, 9)?,
        late: None,
    })
}

fn late(job: &str, row: &Row<'_>) -> rusqlite::Result<Letter> {
    let late = Late {
        view: row.get(4)?,
        window_start: time(row, 5)?.unwrap_or(Timestamp::MIN),
        window_end: time(row, 6)?.unwrap_or(Timestamp::MAX),
        event_time: time(row, 7)?.unwrap_or(Timestamp::MIN),
        watermark: time(row, 8)?.unwrap_or(Timestamp::MAX),
    };
    Ok(Letter {
        place: place(row)?,
        job: job.to_owned(),
        epoch: Some(row.get::<_, i64>(0)?.cast_unsigned()),
        time: time(row, 10)?,
        reason: String::new(),
        detail: String::new(),
        payload: row.get::<_, String>(9)?.into_bytes(),
        bytes: None,
        replayed_at: None,
        late: Some(late),
    })
}
