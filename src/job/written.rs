//! The job file as written: what serde reads, before variables are replaced and anything is checked.
//!
//! Every text keeps its place in the file, so that a later error can point at it. Maps are read in any order and put back into
//! the order of the file by [`in_order`]: the order of columns, views and sinks is part of a job's meaning.
//! The JSON Schema of job files is derived from these types, hence their documentation speaks to the author of a job.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;
use toml::Spanned;

use super::forms::{ColumnForm, Columns, Setting};

/// A text and its place in the file.
pub(super) type Text = Spanned<String>;

/// Named values, each name with its place in the file.
pub(super) type Named<T> = BTreeMap<Spanned<String>, T>;

/// Returns the entries as the file lists them.
pub(super) fn in_order<T>(entries: Named<T>) -> Vec<(Text, T)> {
    let mut entries: Vec<_> = entries.into_iter().collect();
    entries.sort_by_key(|(name, _)| name.span().start);
    entries
}

/// A Freshet job: sources, views over them in SQL, and the sinks that hold the views.
///
/// In every text `${NAME}` stands for an environment variable, `${NAME:-default}` gives a default, and `$$` is a dollar sign.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Freshet job")]
pub(super) struct JobFile {
    /// Name of the job; by default the name of the file without `.toml`. Sinks remember progress under it.
    #[schemars(with = "Option<String>")]
    pub(super) name: Option<Text>,
    /// Where records come from.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, SourceTable>")]
    pub(super) source: Named<SourceTable>,
    /// Tables that streams are joined with: each record meets the row that has its key.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, LookupTable>")]
    pub(super) table: Named<LookupTable>,
    /// What is computed.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, ViewTable>")]
    pub(super) view: Named<ViewTable>,
    /// Where views are held.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, SinkTable>")]
    pub(super) sink: Named<SinkTable>,
    /// Where records go that were not accepted, whole; beside the views they lie anyway, in part.
    pub(super) dead_letters: Option<DeadLetterTable>,
    /// Where events go that were late; beside the views they lie anyway.
    pub(super) late_events: Option<LateEventTable>,
    /// How attempts are repeated when a system outside is away.
    pub(super) retry: Option<RetryTable>,
    /// How input is cut into epochs.
    pub(super) epochs: Option<EpochTable>,
    /// How the job's state is kept for the next start.
    pub(super) checkpoint: Option<CheckpointTable>,
}

/// A stream of records.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SourceTable {
    /// `kafka://host:port,host:port/topic`, `file://path.ndjson`, `stdin://` or `generator://local/kind`.
    #[schemars(with = "String")]
    pub(super) url: Text,
    /// How a record is written: `json` (default); in topics also `avro` and `protobuf`, in Confluent's wire format; in files also `csv`.
    #[schemars(with = "Option<String>")]
    pub(super) format: Option<Text>,
    /// Where the schemas of records in Avro or Protobuf are.
    pub(super) registry: Option<RegistryTable>,
    /// What stands between two values in CSV; a comma by default.
    #[schemars(with = "Option<String>")]
    pub(super) delimiter: Option<Text>,
    /// So many dead letters in a row, in one partition, stop the job; 0 lets any number pass. 1000 by default for Avro and Protobuf, 0 for the others.
    #[schemars(with = "Option<u64>")]
    pub(super) max_dead_run: Option<Spanned<u64>>,
    /// The columns in order, each with its type: `text`, `varchar(n)`, `bigint`, `double`, `boolean`, `timestamp`, `decimal(p,s)`, `json`;
    /// or as a table with `type`, and with `from`, `default` or `required`.
    #[schemars(with = "BTreeMap<String, ColumnForm>")]
    pub(super) columns: Columns,
    /// The event time, and how long to wait for what comes out of order.
    pub(super) watermark: Option<WatermarkTable>,
    /// Where a new job begins to read: `earliest` (default) or `latest`.
    #[schemars(with = "Option<String>")]
    pub(super) start: Option<Text>,
    /// A larger record becomes a dead letter; `1MB` by default.
    #[schemars(with = "Option<String>")]
    pub(super) max_record_bytes: Option<Text>,
    /// Settings of the Kafka client, verbatim; without effect on other sources.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, Setting>")]
    pub(super) kafka: Named<Spanned<Setting>>,
}

/// A table that is read as a whole, again and again, or that stands here, and that streams are joined with.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LookupTable {
    /// `file://path.csv`, `file://path.ndjson` or `postgres://user:password@host:port/database`; or else there are `rows`.
    #[schemars(with = "Option<String>")]
    pub(super) url: Option<Text>,
    /// The rows themselves, each with a value for each column, of a table that is small and hardly ever changes.
    #[schemars(with = "Option<Vec<BTreeMap<String, serde_json::Value>>>")]
    pub(super) rows: Option<Spanned<Vec<Spanned<toml::Table>>>>,
    /// The table's name in the database, such as `public.users`; by default its name here.
    #[schemars(with = "Option<String>")]
    pub(super) table: Option<Text>,
    /// How a file is written: `csv`, which is the default for a name that ends in `.csv`, or `json`.
    #[schemars(with = "Option<String>")]
    pub(super) format: Option<Text>,
    /// What stands between two values in CSV; a comma by default.
    #[schemars(with = "Option<String>")]
    pub(super) delimiter: Option<Text>,
    /// The columns that views use, as those of a source.
    #[schemars(with = "BTreeMap<String, ColumnForm>")]
    pub(super) columns: Columns,
    /// The columns that tell rows apart, and by which streams find them.
    #[schemars(with = "Vec<String>")]
    pub(super) key: Vec<Text>,
    /// How often it is looked whether the table has changed; `1m` by default.
    #[schemars(with = "Option<String>")]
    pub(super) refresh: Option<Text>,
    /// A table of more rows is refused; 1000000 by default.
    #[schemars(with = "Option<usize>", range(min = 1))]
    pub(super) max_rows: Option<Spanned<usize>>,
}

/// A Schema Registry: Confluent's, or one that offers the same.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RegistryTable {
    /// `http://host:port` or `https://host:port`; of Apicurio with the path `/apis/ccompat/v7`.
    #[schemars(with = "String")]
    pub(super) url: Text,
    /// The name of a user, if the registry asks for one.
    #[schemars(with = "Option<String>")]
    pub(super) user: Option<Text>,
    /// The user's password.
    #[schemars(with = "Option<String>")]
    pub(super) password: Option<Text>,
    /// A file with the certificates (PEM) by which the registry is known; by default those that the system trusts.
    #[schemars(with = "Option<String>")]
    pub(super) ca: Option<Text>,
}

/// The event time of a source.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WatermarkTable {
    /// The column that holds the event time; its type is `timestamp`.
    #[schemars(with = "String")]
    pub(super) column: Text,
    /// An event may come this much later than a newer one and still count.
    #[schemars(with = "String")]
    pub(super) delay: Text,
    /// A partition that has brought nothing for so long no longer holds back the others; `30s` by default.
    #[schemars(with = "Option<String>")]
    pub(super) idle_timeout: Option<Text>,
    /// An event further in the future becomes a dead letter; `5m` by default.
    #[schemars(with = "Option<String>")]
    pub(super) max_future_skew: Option<Text>,
}

/// A query that is kept up to date.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ViewTable {
    /// The query.
    #[schemars(with = "String")]
    pub(super) sql: Text,
    /// The columns that identify a row; by default what the query groups by.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub(super) key: Vec<Text>,
    /// `changes` (default): sinks follow each change; `final`: a row appears once, when its window has closed.
    #[schemars(with = "Option<String>")]
    pub(super) emit: Option<Text>,
    /// What becomes of an event that comes when its window has closed: `keep` (default) takes it down, `drop` only counts it,
    /// `{ policy = "amend", horizon = "1h" }` lets it correct the row of its window, which is kept for so long.
    pub(super) late: Option<LateForm>,
}

/// What becomes of late events.
#[derive(Debug, JsonSchema)]
#[schemars(with = "LateForms")]
pub(super) struct LateForm {
    pub(super) policy: Text,
    pub(super) horizon: Option<Text>,
}

/// The forms of a [`LateForm`], for the schema.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[allow(dead_code, reason = "only its schema is used")]
enum LateForms {
    Policy(String),
    Table { policy: String, horizon: Option<String> },
}

/// A [`LateForm`] that is a table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LateTable {
    policy: Text,
    horizon: Option<Text>,
}

impl<'de> Deserialize<'de> for LateForm {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<LateForm, D::Error> {
        // The word's place is known before it is known to be a word.
        let form = Spanned::<LateWritten>::deserialize(deserializer)?;
        let place = form.span();
        Ok(match form.into_inner() {
            LateWritten::Word(word) => LateForm { policy: Spanned::new(place, word), horizon: None },
            LateWritten::Table(LateTable { policy, horizon }) => LateForm { policy, horizon },
        })
    }
}

/// A [`LateForm`] as serde finds it.
enum LateWritten {
    Word(String),
    Table(LateTable),
}

impl<'de> Deserialize<'de> for LateWritten {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<LateWritten, D::Error> {
        deserializer.deserialize_any(LateVisitor)
    }
}

/// Reads the two forms of a [`LateForm`].
struct LateVisitor;

impl<'de> serde::de::Visitor<'de> for LateVisitor {
    type Value = LateWritten;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("keep, drop, or a table with policy and horizon")
    }

    fn visit_str<E>(self, word: &str) -> Result<LateWritten, E> {
        Ok(LateWritten::Word(word.to_owned()))
    }

    fn visit_map<M: serde::de::MapAccess<'de>>(self, map: M) -> Result<LateWritten, M::Error> {
        LateTable::deserialize(serde::de::value::MapAccessDeserializer::new(map)).map(LateWritten::Table)
    }
}

/// A place that holds views.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SinkTable {
    /// `postgres://…`, `sqlite://path`, `parquet://folder`, `kafka://hosts/topic`, `file://path.ndjson` or `console://`.
    #[schemars(with = "String")]
    pub(super) url: Text,
    /// The views that the sink holds; the name of a source stands for its records as they are.
    #[schemars(with = "Vec<String>")]
    pub(super) views: Vec<Text>,
    /// How rows are written to a topic: `json` (default) or `avro`, in Confluent's wire format.
    #[schemars(with = "Option<String>")]
    pub(super) format: Option<Text>,
    /// Where the schema of rows in Avro is registered.
    pub(super) registry: Option<RegistryTable>,
    /// A file of a lake is closed at this size; `128MB` by default.
    #[schemars(with = "Option<String>")]
    pub(super) roll_bytes: Option<Text>,
    /// A file of a lake is closed after so long; `1m` by default.
    #[schemars(with = "Option<String>")]
    pub(super) roll_interval: Option<Text>,
    /// Settings of the Kafka client, verbatim; without effect on other sinks.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, Setting>")]
    pub(super) kafka: Named<Spanned<Setting>>,
}

/// A place for records that were not accepted.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DeadLetterTable {
    /// `kafka://hosts/topic`, `postgres://…`, `sqlite://path` or `file://path.ndjson`.
    #[schemars(with = "String")]
    pub(super) url: Text,
    /// So much of each record is kept; by default all that the sources accept.
    #[schemars(with = "Option<String>")]
    pub(super) max_payload_bytes: Option<Text>,
    /// Settings of the Kafka client, verbatim; without effect on other places.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, Setting>")]
    pub(super) kafka: Named<Spanned<Setting>>,
}

/// A place for events that were late.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LateEventTable {
    /// `kafka://hosts/topic`, `postgres://…`, `sqlite://path` or `file://path.ndjson`.
    #[schemars(with = "String")]
    pub(super) url: Text,
    /// Settings of the Kafka client, verbatim; without effect on other places.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, Setting>")]
    pub(super) kafka: Named<Spanned<Setting>>,
}

/// How attempts are repeated when a system outside is away.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RetryTable {
    /// The first pause, which is doubled each time; `100ms` by default.
    #[schemars(with = "Option<String>")]
    pub(super) first: Option<Text>,
    /// The longest pause; `30s` by default.
    #[schemars(with = "Option<String>")]
    pub(super) most: Option<Text>,
    /// The job ends when a system has been away for so long; `never` by default.
    #[schemars(with = "Option<String>")]
    pub(super) give_up: Option<Text>,
}

/// How input is cut into epochs, the unit in which sinks commit.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EpochTable {
    /// The shortest epoch while the job keeps up; `5ms` by default.
    #[schemars(with = "Option<String>")]
    pub(super) min: Option<Text>,
    /// The longest epoch while the job catches up; `1s` by default.
    #[schemars(with = "Option<String>")]
    pub(super) catch_up: Option<Text>,
    /// So many epochs may be under way at once; 2 by default.
    #[schemars(with = "Option<usize>", range(min = 1, max = 64))]
    pub(super) max_in_flight: Option<Spanned<usize>>,
}

/// How the job's state is kept for the next start.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CheckpointTable {
    /// How often a checkpoint is taken; `10s` by default. A start after a crash reads again what came since.
    #[schemars(with = "Option<String>")]
    pub(super) interval: Option<Text>,
}
