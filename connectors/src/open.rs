//! From a URL to a connector: the only place that looks at the scheme.

use std::collections::BTreeMap;

use url::Url;

use crate::letters::{Access, Archive, Kind, Only, RejectsOptions, Shelf, Target};
use crate::{BatchSink, Error, SinkOptions, Source, SourceOptions, TableOptions, TableReader, TableSink};
use crate::{console, file, generator, kafka, parquet, postgres, sqlite};

/// Opens a source: `kafka://host:port,host:port/topic`, `file:///path.ndjson`, `stdin://`, `generator://local/kind?…`.
///
/// # Errors
/// The scheme is unknown, the system cannot be reached, or the source is not the one that the options ask for.
pub fn open_source(url: &str, options: SourceOptions) -> Result<Box<dyn Source>, Error> {
    let (name, wanted) = (options.name.clone(), options.identity.clone());
    let source: Box<dyn Source> = match scheme(url) {
        "kafka" => Box::new(kafka::KafkaSource::open(url, options)?),
        "file" | "stdin" => Box::new(file::FileSource::open(url, options)?),
        "generator" => Box::new(generator::GeneratorSource::open(url, options)?),
        _ => return Err(unknown("source", &name, url, "kafka://, file://, stdin:// or generator://")),
    };
    let found = source.identity();
    match wanted {
        Some(wanted) if found.as_ref() != Some(&wanted) => Err(another(&name, &wanted, found.as_deref())),
        _ => Ok(source),
    }
}

/// Opens what tells people's tools how far a source has been read; `None` if the system has nothing of the kind.
///
/// # Errors
/// The url or a setting is wrong.
pub fn open_group_offsets(url: &str, options: &SourceOptions, job: &str) -> Result<Option<kafka::GroupOffsets>, Error> {
    match scheme(url) {
        "kafka" => kafka::GroupOffsets::open(url, options, job).map(Some),
        _ => Ok(None),
    }
}

/// Says that a source is not the one that a job's state was made from.
fn another(name: &str, wanted: &str, found: Option<&str>) -> Error {
    let found = found.unwrap_or("something that cannot be read a second time");
    let problem = format!("is not what the job's state was made from: that was {wanted}, this is {found}");
    Error::setup(format!("source '{name}'"), problem, "put the former one back, or begin anew with --reset or another job name")
}

/// Opens a table to enrich streams from: `postgres://user:password@host:port/database`, `file://path.csv`. Nothing is read yet.
///
/// # Errors
/// The scheme is unknown, or the URL is wrong.
pub fn open_table(url: &str, options: TableOptions) -> Result<Box<dyn TableReader>, Error> {
    match scheme(url) {
        "postgres" | "postgresql" => Ok(Box::new(postgres::PostgresTable::open(url, options)?)),
        "file" => Ok(Box::new(file::FileTable::open(url, options)?)),
        _ => Err(unknown("table", &options.name, url, "postgres:// or file://")),
    }
}

/// Opens a sink for views: `postgres://`, `sqlite://path`, `kafka://hosts/topic`, `file://path.ndjson`, `console://`.
///
/// # Errors
/// The scheme is unknown, or the system cannot be reached.
pub fn open_table_sink(url: &str, options: SinkOptions) -> Result<Box<dyn TableSink>, Error> {
    match scheme(url) {
        "postgres" | "postgresql" => Ok(Box::new(postgres::PostgresSink::open(url, options)?)),
        "sqlite" => Ok(Box::new(sqlite::SqliteSink::open(url, options)?)),
        "kafka" => Ok(Box::new(kafka::KafkaTableSink::open(url, options)?)),
        "file" => Ok(Box::new(file::NdjsonTableSink::open(url, options)?)),
        "console" => Ok(Box::new(console::ConsoleSink::open(options))),
        _ => Err(unknown("sink", &options.name, url, "postgres://, sqlite://, kafka://, file:// or console://")),
    }
}

/// Opens a sink for append-only rows: `parquet://folder`, `kafka://hosts/topic`, `file://path.ndjson`, `console://`.
///
/// # Errors
/// The scheme is unknown, or the system cannot be reached.
pub fn open_batch_sink(url: &str, options: SinkOptions) -> Result<Box<dyn BatchSink>, Error> {
    match scheme(url) {
        "parquet" => Ok(Box::new(parquet::ParquetSink::open(url, options)?)),
        "kafka" => Ok(Box::new(kafka::KafkaBatchSink::open(url, options)?)),
        "file" => Ok(Box::new(file::NdjsonBatchSink::open(url, options)?)),
        "console" => Ok(Box::new(console::ConsoleSink::open(options))),
        _ => Err(unknown("sink", &options.name, url, "parquet://, kafka://, file:// or console://")),
    }
}

/// As [`open_table_sink`], for a database that keeps so much of each dead letter's record beside the views.
///
/// # Errors
/// As for [`open_table_sink`].
pub fn open_table_sink_keeping(url: &str, options: SinkOptions, max_payload_bytes: usize) -> Result<Box<dyn TableSink>, Error> {
    match scheme(url) {
        "postgres" | "postgresql" => Ok(Box::new(postgres::PostgresSink::open(url, options)?.keeping(max_payload_bytes))),
        "sqlite" => Ok(Box::new(sqlite::SqliteSink::open(url, options)?.keeping(max_payload_bytes))),
        _ => open_table_sink(url, options),
    }
}

/// Opens a place for late events or dead letters alone: `postgres://`, `sqlite://path`, `kafka://hosts/topic`, `file://path.ndjson`.
///
/// # Errors
/// The scheme is unknown, or the system cannot be reached.
pub fn open_rejects_sink(url: &str, options: SinkOptions, rejects: RejectsOptions) -> Result<Box<dyn TableSink>, Error> {
    let RejectsOptions { kind, max_payload_bytes, topics } = rejects;
    let inner: Box<dyn TableSink> = match scheme(url) {
        "postgres" | "postgresql" | "sqlite" => open_table_sink_keeping(url, options, max_payload_bytes)?,
        "kafka" => Box::new(kafka::KafkaTableSink::for_rejects(url, options, max_payload_bytes, topics)?),
        "file" => Box::new(file::NdjsonTableSink::for_rejects(url, options, max_payload_bytes)?),
        _ => return Err(unknown("sink", &options.name, url, "postgres://, sqlite://, kafka:// or file://")),
    };
    Ok(Box::new(Only { kind, inner }))
}

/// Opens what a sink or a place keeps of one kind of rejects, to read it.
///
/// # Errors
/// The scheme is unknown, or the system cannot be reached.
pub(crate) fn open_archive(shelf: &Shelf, kind: Kind) -> Result<Box<dyn Archive>, Error> {
    match scheme(&shelf.url) {
        "postgres" | "postgresql" => Ok(Box::new(postgres::PostgresArchive::open(shelf, kind)?)),
        "sqlite" => Ok(Box::new(sqlite::SqliteArchive::open(shelf, kind)?)),
        "kafka" => Ok(Box::new(kafka::KafkaArchive::open(shelf, kind)?)),
        "file" => Ok(Box::new(file::FileArchive::open(shelf, kind)?)),
        _ => Err(unknown("sink", &shelf.name, &shelf.url, "postgres://, sqlite://, kafka:// or file://")),
    }
}

/// Opens where dead letters are put back.
///
/// # Errors
/// The scheme is unknown, or the system cannot be reached.
pub(crate) fn open_target(
    url: &str,
    job: &str,
    settings: BTreeMap<String, String>,
    access: Access,
) -> Result<Box<dyn Target>, Error> {
    match scheme(url) {
        "kafka" => Ok(Box::new(kafka::KafkaTarget::open(url, job, settings, access)?)),
        "file" => Ok(Box::new(file::FileTarget::open(url, job, access)?)),
        _ => Err(unknown("replay", job, url, "kafka://hosts/topic or file://path.ndjson")),
    }
}

fn scheme(url: &str) -> &str {
    url.split_once("://").map_or("", |(scheme, _)| scheme)
}

fn unknown(kind: &str, name: &str, url: &str, known: &str) -> Error {
    let scheme = scheme(url);
    Error::setup(format!("{kind} '{name}'"), format!("no connector for the scheme '{scheme}' of its url"), format!("use {known}"))
}

/// Returns the path behind `scheme://`, relative (`parquet://data/lake`) or absolute (`parquet:///var/lake`), without its query.
pub(crate) fn path_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split_once('?').map_or(rest, |(path, _)| path)
}

/// Returns the parameters behind the `?` of a URL.
pub(crate) fn query_of(url: &str) -> Vec<(String, String)> {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    Url::parse(&format!("freshet:?{query}"))
        .map(|url| url.query_pairs().map(|(k, v)| (k.into_owned(), v.into_owned())).collect())
        .unwrap_or_default()
}
