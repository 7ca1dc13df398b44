//! From the job file as written to the job ready to use: variables, defaults, and every check that needs no SQL.

use std::time::Duration;

use freshet_connectors::retry::Policy;
use freshet_dataflows::plan::{Emit, LatePolicy};
use freshet_dataflows::sql::Functions;
use freshet_model::ColumnType;

use super::values::Context;
use super::variables::Lookup;
use super::written::{
    EpochTable, JobFile, LateForm, RetryTable, SinkTable, SourceTable, Text, ViewTable, WatermarkTable, in_order,
};
use super::{EpochSpec, Error, Job, Origin, SinkSpec, SourceSpec, TableSpec, ViewSpec, suggestion};

const DEFAULT_IDLE_TIMEOUT: Duration = Duration::from_secs(30);
const DEFAULT_MAX_FUTURE_SKEW: Duration = Duration::from_secs(300);
pub(super) const DEFAULT_MAX_RECORD_BYTES: u64 = 1_000_000;
const DEFAULT_ROLL_BYTES: u64 = 128_000_000;
const DEFAULT_ROLL_INTERVAL: Duration = Duration::from_secs(60);
const DEFAULT_CHECKPOINT_INTERVAL: Duration = Duration::from_secs(10);
const MAX_EPOCHS_IN_FLIGHT: usize = 64;

const SOURCE_SCHEMES: [&str; 4] = ["kafka", "file", "stdin", "generator"];
const SINK_SCHEMES: [&str; 7] = ["postgres", "postgresql", "sqlite", "parquet", "kafka", "file", "console"];

/// Makes a job of what was written.
pub(super) fn job(written: JobFile, origin: Origin, lookup: Lookup<'_>) -> Result<Job, Error> {
    let context = Context::new(&origin, lookup);
    let name = match &written.name {
        Some(name) => context.checked_name("job", name, &context.value("name", name)?)?,
        None => origin.path.file_stem().map_or_else(|| "job".to_owned(), |stem| stem.to_string_lossy().into_owned()),
    };
    let mut names = Vec::new();
    let mut sources = Vec::new();
    for (name, table) in in_order(written.source) {
        sources.push(context.source(&name, table)?);
        names.push(name.into_inner());
    }
    let mut tables: Vec<TableSpec> = Vec::new();
    for (name, table) in in_order(written.table) {
        if names.contains(name.get_ref()) {
            let what = format!("'{}' is a source and a table", name.get_ref());
            return Err(context.error(&name, what, "give the table another name"));
        }
        tables.push(context.table(&name, table)?);
    }
    let mut views = Vec::new();
    for (name, table) in in_order(written.view) {
        let other = if names.contains(name.get_ref()) { "source" } else { "table" };
        if other == "source" || tables.iter().any(|table| table.name == *name.get_ref()) {
            let what = format!("'{}' is a {other} and a view", name.get_ref());
            return Err(context.error(&name, what, "give the view another name"));
        }
        views.push(context.view(&name, table)?);
        names.push(name.into_inner());
    }
    let mut sinks = Vec::new();
    for (name, table) in in_order(written.sink) {
        let sink = context.sink(&name, table, &names)?;
        context.check_unlike(&sink, &sinks)?;
        sinks.push(sink);
    }
    let dead_letters = written.dead_letters.map(|table| context.dead_letters(table, &sources)).transpose()?;
    let late_events = written.late_events.map(|table| context.late_events(table)).transpose()?;
    context.check_places([dead_letters.as_ref(), late_events.as_ref()], &sinks)?;
    let retry = context.retry(written.retry)?;
    let epochs = context.epochs(written.epochs)?;
    let interval = written.checkpoint.and_then(|checkpoint| checkpoint.interval);
    let checkpoint_interval = context.positive("checkpoint.interval", interval.as_ref(), DEFAULT_CHECKPOINT_INTERVAL)?;
    for (kind, empty) in [("source", sources.is_empty()), ("sink", sinks.is_empty())] {
        if empty {
            return Err(Error::of_file(
                &origin.path,
                format!("the job has no {kind}"),
                format!("add a table [{kind}.…]; see docs/job-file.md"),
            ));
        }
    }
    let path = origin.path.clone();
    let functions = Functions::new();
    Ok(Job {
        name,
        path,
        sources,
        tables,
        views,
        sinks,
        dead_letters,
        late_events,
        retry,
        epochs,
        checkpoint_interval,
        functions,
        origin,
    })
}

impl Context<'_> {
    fn source(&self, name: &Text, mut table: SourceTable) -> Result<SourceSpec, Error> {
        let key = |field: &str| format!("source.{}.{field}", name.get_ref());
        let (columns, fields) = self.columns("source", name, std::mem::take(&mut table.columns))?;
        let format = self.format(name, &table, &columns, fields)?;
        let max_record_bytes =
            self.positive_size(&key("max_record_bytes"), table.max_record_bytes.as_ref(), DEFAULT_MAX_RECORD_BYTES)?;
        let mut source = SourceSpec {
            url: self.url(&key("url"), &table.url, &SOURCE_SCHEMES)?,
            name: self.checked_name("source", name, name.get_ref())?,
            columns,
            format,
            time_column: None,
            delay: Duration::ZERO,
            idle_timeout: DEFAULT_IDLE_TIMEOUT,
            max_future_skew: DEFAULT_MAX_FUTURE_SKEW,
            max_record_bytes: usize::try_from(max_record_bytes).unwrap_or(usize::MAX),
            from_latest: self.choice(&key("start"), table.start.as_ref(), &["earliest", "latest"])? == 1,
            settings: self.settings(&key("kafka"), table.kafka)?,
        };
        if source.format.encoding.registry().is_some() && !source.url.starts_with("kafka://") {
            let written = table.format.as_ref().map_or("", |text| text.get_ref());
            let what = format!("'{}' is in {written}, and no topic", name.get_ref());
            return Err(self.error(name, what, "leave its format out, or read a file as csv"));
        }
        if let Some(watermark) = table.watermark {
            self.watermark(&key("watermark"), &watermark, &mut source)?;
        }
        Ok(source)
    }

    fn watermark(&self, key: &str, written: &WatermarkTable, source: &mut SourceSpec) -> Result<(), Error> {
        let column = self.value(&format!("{key}.column"), &written.column)?;
        let Some(index) = source.columns.iter().position(|c| c.name == column) else {
            let what = format!("the watermark's column '{}' is not a column of '{}'", written.column.get_ref(), source.name);
            return Err(self.error(&written.column, what, suggestion(&column, source.columns.iter().map(|c| c.name.as_str()))));
        };
        if source.columns[index].column_type != ColumnType::Timestamp {
            let what = format!("the watermark's column '{column}' is of type {}", source.columns[index].column_type);
            return Err(self.error(&written.column, what, "name a column of type timestamp"));
        }
        source.time_column = Some(index);
        source.delay = self.duration(&format!("{key}.delay"), Some(&written.delay), Duration::ZERO)?;
        source.idle_timeout =
            self.positive(&format!("{key}.idle_timeout"), written.idle_timeout.as_ref(), DEFAULT_IDLE_TIMEOUT)?;
        let skew = written.max_future_skew.as_ref();
        source.max_future_skew = self.duration(&format!("{key}.max_future_skew"), skew, DEFAULT_MAX_FUTURE_SKEW)?;
        Ok(())
    }

    fn view(&self, name: &Text, table: ViewTable) -> Result<ViewSpec, Error> {
        let key = |field: &str| format!("view.{}.{field}", name.get_ref());
        let emit = [Emit::Changes, Emit::Final][self.choice(&key("emit"), table.emit.as_ref(), &["changes", "final"])?];
        let sql = self.value(&key("sql"), &table.sql)?;
        if sql.trim().is_empty() {
            return Err(self.error(&table.sql, format!("the sql of view '{}' is empty", name.get_ref()), "write a SELECT"));
        }
        let mut columns: Vec<String> = Vec::new();
        for text in &table.key {
            let column = self.value(&key("key"), text)?;
            if columns.contains(&column) {
                return Err(self.error(
                    text,
                    format!("'{}' stands twice in '{}'", text.get_ref(), key("key")),
                    "name each column once",
                ));
            }
            columns.push(column);
        }
        let name_text = self.checked_name("view", name, name.get_ref())?;
        let late = table.late.map_or(Ok(LatePolicy::Keep), |late| self.late(&key("late"), late))?;
        Ok(ViewSpec { name: name_text, sql, key: columns, emit, late, place: name.span(), sql_place: table.sql.span() })
    }

    fn late(&self, key: &str, written: LateForm) -> Result<LatePolicy, Error> {
        let LateForm { policy, horizon } = written;
        let horizon_key = format!("{key}.horizon");
        match (self.choice(key, Some(&policy), &["keep", "drop", "amend"])?, &horizon) {
            (2, None) => Err(self.error(&policy, "'amend' needs a horizon", "write { policy = \"amend\", horizon = \"1h\" }")),
            (2, Some(text)) => {
                let horizon = self.positive(&horizon_key, Some(text), Duration::ZERO)?;
                Ok(LatePolicy::Amend(i64::try_from(horizon.as_micros()).unwrap_or(i64::MAX)))
            }
            (_, Some(text)) => Err(self.error(text, "a horizon is for 'amend' alone", "leave it out")),
            (choice, None) => Ok([LatePolicy::Keep, LatePolicy::Drop][choice]),
        }
    }

    fn sink(&self, name: &Text, table: SinkTable, known: &[String]) -> Result<SinkSpec, Error> {
        let key = |field: &str| format!("sink.{}.{field}", name.get_ref());
        let mut reads: Vec<String> = Vec::new();
        for text in &table.views {
            let view = self.value(&key("views"), text)?;
            if !known.contains(&view) {
                let what = format!("sink '{}' names '{}', which is neither a view nor a source", name.get_ref(), text.get_ref());
                return Err(self.error(text, what, suggestion(&view, known.iter().map(String::as_str))));
            }
            if reads.contains(&view) {
                return Err(self.error(text, format!("'{view}' stands twice in '{}'", key("views")), "name each view once"));
            }
            reads.push(view);
        }
        if reads.is_empty() {
            let way_out = format!("name at least one of {}", known.join(", "));
            return Err(self.error(name, format!("sink '{}' holds no views", name.get_ref()), way_out));
        }
        let url = self.url(&key("url"), &table.url, &SINK_SCHEMES)?;
        if let Some(text) = table.format.as_ref().filter(|text| text.get_ref().as_str() == "protobuf") {
            let what = format!("sink '{}' cannot be in protobuf, which is read only", name.get_ref());
            return Err(self.error(text, what, "write json or avro"));
        }
        let avro = match self.choice(&key("format"), table.format.as_ref(), &["json", "avro"])? {
            0 => None,
            _ if !url.starts_with("kafka://") => {
                return Err(self.error(name, format!("'{}' is in avro, and no topic", name.get_ref()), "leave its format out"));
            }
            _ => Some(self.registry(&key("registry"), name, "avro", table.registry.as_ref())?),
        };
        Ok(SinkSpec {
            url,
            avro,
            name: self.checked_name("sink", name, name.get_ref())?,
            reads,
            roll_bytes: self.positive_size(&key("roll_bytes"), table.roll_bytes.as_ref(), DEFAULT_ROLL_BYTES)?,
            roll_interval: self.positive(&key("roll_interval"), table.roll_interval.as_ref(), DEFAULT_ROLL_INTERVAL)?,
            settings: self.settings(&key("kafka"), table.kafka)?,
            place: name.span(),
        })
    }

    /// Refuses a second sink for the same place: the two would overwrite each other's control rows and files.
    fn check_unlike(&self, sink: &SinkSpec, others: &[SinkSpec]) -> Result<(), Error> {
        let is_same = |other: &&SinkSpec| other.url == sink.url && !sink.url.starts_with("console://");
        match others.iter().find(is_same) {
            None => Ok(()),
            Some(other) => {
                let what = format!("the sinks '{}' and '{}' have the same url", other.name, sink.name);
                Err(self.error_at(&sink.place, what, "put the views of both into one sink, or give each a place of its own"))
            }
        }
    }

    fn retry(&self, table: Option<RetryTable>) -> Result<Policy, Error> {
        let default = Policy::default();
        let Some(table) = table else { return Ok(default) };
        let first = self.positive("retry.first", table.first.as_ref(), default.first)?;
        let most = self.positive("retry.most", table.most.as_ref(), default.most.max(first))?;
        let give_up = match &table.give_up {
            Some(text) if self.value("retry.give_up", text)? == "never" => None,
            text => text.as_ref().map(|text| self.positive("retry.give_up", Some(text), Duration::ZERO)).transpose()?,
        };
        match &table.most {
            Some(text) if most < first => {
                Err(self.error(text, "retry.most is shorter than retry.first", "make it at least as long"))
            }
            _ => Ok(Policy { first, most, give_up }),
        }
    }

    fn epochs(&self, table: Option<EpochTable>) -> Result<EpochSpec, Error> {
        let default = EpochSpec::default();
        let Some(table) = table else { return Ok(default) };
        let min = self.positive("epochs.min", table.min.as_ref(), default.min)?;
        let catch_up = self.positive("epochs.catch_up", table.catch_up.as_ref(), default.catch_up.max(min))?;
        let max_in_flight = table.max_in_flight.as_ref().map_or(default.max_in_flight, |number| *number.get_ref());
        match (&table.max_in_flight, &table.catch_up) {
            (Some(number), _) if !(1..=MAX_EPOCHS_IN_FLIGHT).contains(&max_in_flight) => {
                let what = format!("epochs.max_in_flight is {max_in_flight}");
                Err(self.error_at(&number.span(), what, format!("use 1 to {MAX_EPOCHS_IN_FLIGHT}")))
            }
            (_, Some(text)) if catch_up < min => {
                Err(self.error(text, "epochs.catch_up is shorter than epochs.min", "make it at least as long"))
            }
            _ => Ok(EpochSpec { min, catch_up, max_in_flight }),
        }
    }
}
