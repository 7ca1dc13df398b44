//! `freshet dlq` and `freshet late`: looks at what did not count, and puts dead letters back.

mod show;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use clap::Args;
use freshet_connectors::letters::{self, Access, Archive, Kind, Letter, Outcome, Place, Replay, Shelf, Target};
use freshet_dataflows::sql::Functions;
use freshet_model::Timestamp;

use super::find;
use crate::cli::{DeadFilter, DlqCommand, JobOptions, LateCommand, LateFilter, ListOptions, ReplayOptions, ShowOptions};
use crate::exit::Failure;
use crate::job::{Job, SourceSpec};
use crate::planning::{self, Role};
use crate::redact;
use crate::text::thousands;

pub(super) fn dlq(command: &DlqCommand, functions: &Functions) -> Result<(), Failure> {
    match command {
        DlqCommand::List(options) => list(Kind::Dead, options, functions),
        DlqCommand::Show(options) => show(Kind::Dead, options, functions),
        DlqCommand::Replay(options) => replay(options, functions),
    }
}

pub(super) fn late(command: &LateCommand, functions: &Functions) -> Result<(), Failure> {
    match command {
        LateCommand::List(options) => list(Kind::Late, options, functions),
        LateCommand::Show(options) => show(Kind::Late, options, functions),
    }
}

/// Chooses among letters.
trait Filter {
    fn wants(&self, letter: &Letter) -> bool;
}

/// Tells whether something is what was asked for, if anything was.
fn is_asked<T: PartialEq + ?Sized>(asked: Option<&T>, is: &T) -> bool {
    asked.is_none_or(|asked| asked == is)
}

impl Filter for DeadFilter {
    fn wants(&self, letter: &Letter) -> bool {
        is_asked(self.reason.as_deref(), &letter.reason)
            && is_asked(self.source.as_deref(), &letter.place.source)
            && self.since.is_none_or(|since| letter.time >= Some(since))
    }
}

impl Filter for LateFilter {
    fn wants(&self, letter: &Letter) -> bool {
        is_asked(self.view.as_deref(), letter.late.as_ref().map_or("", |late| &late.view))
            && is_asked(self.source.as_deref(), &letter.place.source)
            && self.since.is_none_or(|since| letter.time >= Some(since))
    }
}

/// A job, and where its letters are.
struct Kept {
    job: Job,
    shelf: Shelf,
    archive: Box<dyn Archive>,
}

impl Kept {
    fn open(kind: Kind, options: &JobOptions, functions: &Functions) -> Result<Kept, Failure> {
        let job = find::job(options, functions)?;
        let plan = planning::plan(&job)?;
        let roles = planning::roles(&job, &plan)?;
        let tables: Vec<_> =
            job.sinks.iter().zip(roles).filter(|(_, role)| matches!(role, Role::Table(_))).map(|(sink, _)| sink).collect();
        let shelf = job.shelf(kind, &tables);
        let archive = letters::open(&shelf, kind)?;
        Ok(Kept { job, shelf, archive })
    }

    /// Returns what the ledgers say was put back; a database says it of each letter itself.
    fn replayed(&self, kind: Kind) -> BTreeSet<Place> {
        let is_marked = !["kafka://", "file://"].iter().any(|scheme| self.shelf.url.starts_with(scheme));
        if kind == Kind::Late || is_marked {
            return BTreeSet::new();
        }
        let ledger = |source: &SourceSpec| {
            let read = letters::open_target(&source.url, &self.job.name, &source.settings, Access::Read)
                .and_then(|mut target| target.replayed());
            read.unwrap_or_else(|error| {
                tracing::warn!("{error}; whether letters of source '{}' were replayed is not known", source.name);
                BTreeSet::new()
            })
        };
        self.job.sources.iter().filter(|source| is_topic(source)).flat_map(ledger).collect()
    }
}

fn is_topic(source: &SourceSpec) -> bool {
    source.url.starts_with("kafka://")
}

fn list<F: Filter + Args>(kind: Kind, options: &ListOptions<F>, functions: &Functions) -> Result<(), Failure> {
    let mut kept = Kept::open(kind, &options.job, functions)?;
    let replayed = kept.replayed(kind);
    let (mut all, mut newest) = (0_u64, BTreeMap::new());
    kept.archive.read(&mut |letter| {
        if options.filter.wants(&letter) {
            all += 1;
            let window = letter.late.as_ref().map(|late| (late.view.clone(), late.window_start));
            newest.insert((letter.epoch, letter.place.clone(), window, all), letter);
            if newest.len() > options.limit {
                newest.pop_first();
            }
        }
    })?;
    let listed: Vec<Letter> = newest.into_values().collect();
    let mut out = io::stdout().lock();
    if options.json {
        for letter in &listed {
            writeln!(out, "{}", show::json(letter, replayed.contains(&letter.place)))?;
        }
        return Ok(());
    }
    for line in show::table(kind, &listed, &replayed) {
        writeln!(out, "{line}")?;
    }
    let shown = listed.len() as u64;
    let place = redact::url(&kept.shelf.url);
    match (shown, all) {
        (_, 0) => writeln!(out, "none in {place}")?,
        (shown, all) if shown < all => writeln!(out, "the newest {} of {} in {place}", thousands(shown), thousands(all))?,
        _ => {}
    }
    Ok(())
}

fn show(kind: Kind, options: &ShowOptions, functions: &Functions) -> Result<(), Failure> {
    let mut kept = Kept::open(kind, &options.job, functions)?;
    let replayed = kept.replayed(kind);
    let mut found = Vec::new();
    kept.archive.read(&mut |letter| {
        if letter.place == options.place {
            found.push(letter);
        }
    })?;
    if found.is_empty() {
        let what = format!("nothing of {} is kept in {}", options.place, redact::url(&kept.shelf.url));
        return Err(Failure::usage(what, "`list` shows what is"));
    }
    let mut out = io::stdout().lock();
    for letter in &found {
        let is_replayed = replayed.contains(&letter.place);
        let text = if options.json { show::json(letter, is_replayed) + "\n" } else { show::whole(letter, is_replayed) };
        out.write_all(text.as_bytes())?;
    }
    Ok(())
}

/// What a replay did, as it is told.
#[derive(Default)]
struct Told {
    replayed: u64,
    before: u64,
    lines: Vec<String>,
}

impl Told {
    fn tell(&mut self, letter: &Letter, outcome: Outcome, json: bool) {
        match outcome {
            Outcome::Replayed => self.replayed += 1,
            Outcome::Before => self.before += 1,
            Outcome::Left(_) => {}
        }
        if json {
            self.lines.push(show::outcome(letter, outcome));
        } else if let Outcome::Left(reason) = outcome {
            self.lines.push(format!("{} stays: {reason}", letter.place));
        }
    }
}

fn replay(options: &ReplayOptions, functions: &Functions) -> Result<(), Failure> {
    let mut kept = Kept::open(Kind::Dead, &options.job, functions)?;
    let access = if options.dry_run { Access::Read } else { Access::Write };
    let (name, mut told) = (kept.job.name.clone(), Told::default());
    let sources: Vec<SourceSpec> = kept.job.sources.clone();
    let goes = |source: &SourceSpec| options.to.is_some() || is_topic(source);
    // One target at a time: those of one cluster of brokers would shut each other out.
    let nowhere = BTreeMap::new();
    let targets: Vec<(&str, &BTreeMap<String, String>, Vec<&str>)> = match &options.to {
        Some(to) => vec![(to, &nowhere, sources.iter().map(|source| &*source.name).collect())],
        None => sources.iter().filter(|s| goes(s)).map(|s| (&*s.url, &s.settings, vec![&*s.name])).collect(),
    };
    for (url, settings, of) in targets {
        let mut target: Box<dyn Target> = letters::open_target(url, &name, settings, access)?;
        let wanted = |letter: &Letter| of.contains(&&*letter.place.source) && options.filter.wants(letter);
        let how = Replay { wanted: &wanted, dry: options.dry_run, at: Timestamp::now() };
        letters::replay(&mut *kept.archive, &mut *target, &how, &mut |letter, outcome| told.tell(letter, outcome, options.json))?;
    }
    kept.archive.read(&mut |letter| {
        let source = sources.iter().find(|source| source.name == letter.place.source);
        let reason = match source {
            None => "a row of a view, not a record",
            Some(source) if !goes(source) => "its source is no topic: say where with --to",
            Some(_) => return,
        };
        if options.filter.wants(&letter) {
            told.tell(&letter, Outcome::Left(reason), options.json);
        }
    })?;
    let mut out = io::stdout().lock();
    for line in &told.lines {
        writeln!(out, "{line}")?;
    }
    if !options.json {
        let would = if options.dry_run { "would be replayed" } else { "replayed" };
        writeln!(out, "{} {would}, {} replayed before", thousands(told.replayed), thousands(told.before))?;
    }
    Ok(())
}
