//! Reads the tables of rejects, and marks dead letters as put back.

use freshet_model::Timestamp;
use postgres::fallible_iterator::FallibleIterator;
use postgres::types::ToSql;
use postgres::{Client, Row};

use super::connect::Place as Database;
use crate::Error;
use crate::format::read_time;
use crate::letters::{Archive, Kind, Late, Letter, Place, Shelf};
use crate::tables::rejects::without_nul;

const DEAD: &str = "SELECT epoch, source, partition, \"offset\", reason, detail, payload, bytes, \"time\"::text, replayed_at::text \
     FROM freshet.dead_letters WHERE job = $1 AND sink = $2 ORDER BY epoch, source, partition, \"offset\"";

const LATE: &str = "SELECT epoch, source, partition, \"offset\", view, window_start::text, window_end::text, event_time::text, \
         watermark::text, event, \"time\"::text \
     FROM freshet.late_events WHERE job = $1 AND sink = $2 ORDER BY epoch, source, partition, \"offset\", view, window_start";

const MARK: &str = "UPDATE freshet.dead_letters AS d SET replayed_at = $3::text::timestamp \
     FROM unnest($4::text[], $5::int[], $6::bigint[]) AS r (source, partition, \"offset\") \
     WHERE d.job = $1 AND d.sink = $2 AND d.source = r.source AND d.partition = r.partition AND d.\"offset\" = r.\"offset\" \
       AND d.replayed_at IS NULL";

/// Questions to whole tables want other plans than a commit's statements, and times in one form.
const SESSION: &str = "SET DateStyle = 'ISO'; SET enable_seqscan = on; SET enable_hashjoin = on; SET plan_cache_mode = auto";

/// What a database has of one kind of rejects of one sink.
pub(crate) struct PostgresArchive {
    database: Database,
    kind: Kind,
    job: String,
    sink: String,
    client: Client,
}

impl PostgresArchive {
    pub(crate) fn open(shelf: &Shelf, kind: Kind) -> Result<PostgresArchive, Error> {
        let database = Database::parse(&shelf.url, &shelf.name)?;
        let mut client = database.connect().map_err(|error| database.explain_connect(&error))?;
        client.batch_execute(SESSION).map_err(|error| database.explain(&error))?;
        let (job, sink) = (without_nul(&shelf.job), without_nul(&shelf.name));
        Ok(PostgresArchive { database, kind, job, sink, client })
    }

    fn try_read(&mut self, each: &mut dyn FnMut(Letter)) -> Result<(), postgres::Error> {
        let (sql, make): (_, fn(&str, &Row) -> Letter) = match self.kind {
            Kind::Dead => (DEAD, dead),
            Kind::Late => (LATE, late),
        };
        let parameters: [&(dyn ToSql + Sync); 2] = [&self.job, &self.sink];
        let mut rows = self.client.query_raw(sql, parameters)?;
        while let Some(row) = rows.next()? {
            each(make(&self.job, &row));
        }
        Ok(())
    }
}

impl Archive for PostgresArchive {
    fn read(&mut self, each: &mut dyn FnMut(Letter)) -> Result<(), Error> {
        self.try_read(each).map_err(|error| self.database.explain(&error))
    }

    fn mark(&mut self, places: &[Place], at: Timestamp) -> Result<(), Error> {
        let sources: Vec<&str> = places.iter().map(|place| place.source.as_str()).collect();
        let partitions: Vec<i32> = places.iter().map(|place| place.partition).collect();
        let offsets: Vec<i64> = places.iter().map(|place| place.offset).collect();
        let at = at.to_string();
        let marked = self.client.execute(MARK, &[&self.job, &self.sink, &at, &sources, &partitions, &offsets]);
        marked.map(drop).map_err(|error| self.database.explain(&error))
    }
}

fn place(row: &Row) -> Place {
    Place { source: row.get(1), partition: row.get(2), offset: row.get(3) }
}

fn time(row: &Row, column: usize) -> Option<Timestamp> {
    row.get::<_, Option<&str>>(column).and_then(read_time)
}

fn dead(job: &str, row: &Row) -> Letter {
    Letter {
        place: place(row),
        job: job.to_owned(),
        epoch: Some(row.get::<_, i64>(0).cast_unsigned()),
        time: time(row, 8),
        reason: row.get(4),
        detail: row.get(5),
        payload: row.get(6),
        bytes: row.get::<_, Option<i64>>(7).map(i64::cast_unsigned),
        replayed_at: time(row, 9),
        late: None,
    }
}

fn late(job: &str, row: &Row) -> Letter {
    let late = Late {
        view: row.get(4),
        window_start: time(row, 5).unwrap_or(Timestamp::MIN),
        window_end: time(row, 6).unwrap_or(Timestamp::MAX),
        event_time: time(row, 7).unwrap_or(Timestamp::MIN),
        watermark: time(row, 8).unwrap_or(Timestamp::MAX),
    };
    Letter {
        place: place(row),
        job: job.to_owned(),
        epoch: Some(row.get::<_, i64>(0).cast_unsigned()),
        time: time(row, 10),
        reason: String::new(),
        detail: String::new(),
        payload: row.get::<_, String>(9).into_bytes(),
        bytes: None,
        replayed_at: None,
        late: Some(late),
    }
}
