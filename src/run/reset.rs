//! Computes views anew, from the beginning of their sources to where the job stands, while all others stay as they are.
//!
//! ```text
//! the job as of its newest checkpoint E ──┐ offsets and watermarks as of E
//!                                         ▼
//! a job of these views alone reads the sources up to there; its rows go into tables beside the views'
//!                                         ▼
//! a checkpoint of E once more: its states, and those of the views from that run        ◀── from here on the views are reset
//!                                         ▼
//! the next start fences the sinks and puts the rows in place, in the same transaction; then the job goes on with E + 1
//! ```
//! What is cut off before the checkpoint is there has changed nothing that anybody reads; what is cut off after it is done by the next start. The watermarks of
//! the run end with the job's and never exceed them, so that no window is closed that is open in the job. On the way they are its own: an event that
//! came too late for the job may count now.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use crossbeam_channel::RecvTimeoutError;
use freshet_connectors::{Past, Staged, staged_job};
use freshet_dataflows::epochs::{Checkpoint, LogEntry, Start, Version};
use freshet_dataflows::lower::lower;
use freshet_dataflows::plan::{Input, Plan};
use freshet_dataflows::saved::{Saved, saved};
use freshet_model::Timestamp;
use freshet_recovery::{self as recovery, Files};

use super::begin::{Beginning, Kept, Known, Leader, Started, Stretch, encode, newest_valid};
use super::change::compare;
use super::connect::{self, Connected, WorkerParts};
use super::parts::{Part, Parts, parts};
use super::splice::{Taken, splice};
use super::tables::Tables;
use super::workers::{self, Work};
use super::{Error, Options, Reset, Shared};
use crate::job::Job;
use crate::planning;
use crate::stats::Stats;

/// How often it is said how far the run has come.
const WORD: Duration = Duration::from_secs(5);

/// The job whose views are reset.
pub(super) struct Purpose<'a> {
    pub(super) job: &'a Job,
    pub(super) plan: &'a Plan,
    pub(super) options: &'a Options,
    /// Where its state is.
    pub(super) url: &'a str,
    pub(super) stop: &'a Arc<AtomicBool>,
}

/// Computes these views anew; the job must have been stopped, and goes on after it.
///
/// # Errors
/// The views cannot be computed by themselves, or what they are read from is not there any more; the job stays as it is.
pub(super) fn reset(purpose: &Purpose<'_>, views: &[String]) -> Result<(), Error> {
    let began = Instant::now();
    let Purpose { job, plan, url, .. } = purpose;
    check(job, plan, views)?;
    let mut leader = Leader::open(url, &job.name, false, false)?;
    let Some((id, kept)) = settled(&mut leader)? else {
        tracing::info!("the job has no state yet: all its views are computed from the beginning anyway");
        return Ok(());
    };
    let Some(last) = leader.last.take() else { return Err(Error::Worker("the job's state has no start in its log".to_owned())) };
    may_change(&last.known.job, job, views)?;
    let lowered = lower(plan);
    let known = Known { job: parts(job), saved: saved(plan, &lowered), identities: last.known.identities };

    tracing::info!("computing anew: {}", views.join(", "));
    let run = Run::of(purpose, views, &known, (leader.state.files(), &kept.checkpoint))?;
    let (scratch, anew) = run.run(leader.state.generation())?;
    let others: Vec<Saved> = kept.known.saved.iter().map(|saved| saved.without(views)).collect();
    let versions = kept.checkpoint.seal.versions.clone();
    let start = Start { time: Timestamp::now(), partitions: last.start.partitions, versions };
    leader.state.begin(leader.next, &encode(&Started { known: known.clone(), start })?)?;
    let files = leader.state.files();
    let folds = splice(
        (files, leader.state.checkpoint(id.epoch)),
        (&known.saved, &lowered),
        &Taken { files, id, saved: &others },
        &Taken { files: scratch.leader.state.files(), id: anew.0, saved: &anew.1.known.saved },
    )?;
    let staged = Staged { generation: leader.state.generation(), views: views.to_vec() };
    let epoch = id.epoch;
    leader.state.publish(epoch, &folds, &encode(&Kept { known, checkpoint: kept.checkpoint, staged: Some(staged) })?)?;
    tracing::info!(epoch, seconds = began.elapsed().as_secs_f64(), "computed anew: {}", views.join(", "));
    Ok(())
}

/// Takes out the checkpoint that a clean stop has left; `None` if nothing was ever run.
fn settled(leader: &mut Leader) -> Result<Option<(recovery::Checkpoint, Kept)>, Error> {
    let newest = leader.newest.take();
    let from = newest.as_ref().map_or(0, |(id, _)| id.epoch + 1);
    if leader.next > from {
        return Err(Error::Unfinished { from, to: leader.next - 1 });
    }
    Ok(newest)
}

/// Requires that the job is the one of its state but for these views, and others that come or go.
fn may_change(was: &Parts, job: &Job, views: &[String]) -> Result<(), Error> {
    let is_theirs = |part: &Part| match part {
        Part::View(name) | Part::Held { what: name, .. } => views.contains(name),
        Part::Source(_) | Part::Sink(_) | Part::Letters(_) | Part::Table(_) => false,
    };
    let was: Parts = was.iter().filter(|(part, _)| !is_theirs(part)).map(|(part, words)| (part.clone(), words.clone())).collect();
    // What they read is reset with them, or has no rows that come and go.
    let refused = compare(&was, &parts(job), &BTreeMap::new()).refused;
    if refused.is_empty() { Ok(()) } else { Err(Error::Changed(refused.join("; "))) }
}

/// Refuses views that cannot be computed anew by themselves.
fn check(job: &Job, plan: &Plan, views: &[String]) -> Result<(), Error> {
    for view in views {
        let refuse = |problem: String, remedy: String| Err(Error::Reset { view: view.clone(), problem, remedy });
        let Some(spec) = job.views.iter().find(|spec| spec.name == *view) else {
            let names: Vec<&str> = job.views.iter().map(|spec| spec.name.as_str()).collect();
            let remedy = format!("its views are {}; a job file is named before --reset", names.join(", "));
            return refuse(format!("job '{}' has no such view", job.name), remedy);
        };
        let reads = |sql: &str, other: &str| planning::mentions(sql, other);
        for other in job.views.iter().filter(|other| other.name != *view && !views.contains(&other.name)) {
            if reads(&other.sql, view) {
                return refuse(
                    format!("view '{}' reads it", other.name),
                    format!("reset that one too: add --reset {}", other.name),
                );
            }
            if reads(&spec.sql, &other.name) && changes(plan, &other.name) {
                let problem = format!("it reads view '{}', whose rows change", other.name);
                return refuse(problem, format!("reset that one too: add --reset {}", other.name));
            }
        }
        if let Some(sink) = job.sinks.iter().find(|sink| sink.reads.contains(view) && !is_database(&sink.url)) {
            let remedy = "give the job another name, or compute everything anew with --reset alone".to_owned();
            return refuse(format!("sink '{}' holds it, which cannot take back what it has written", sink.name), remedy);
        }
        if !job.sinks.iter().any(|sink| sink.reads.iter().any(|read| views.contains(read))) {
            return refuse("no sink holds it, or a view that reads it".to_owned(), "reset a view that is held".to_owned());
        }
    }
    Ok(())
}

/// Tells whether the rows of a view come and go.
fn changes(plan: &Plan, name: &str) -> bool {
    plan.views.iter().any(|view| view.shown_name() == name && !view.table.appends)
}

fn is_database(url: &str) -> bool {
    ["postgres://", "postgresql://", "sqlite://"].iter().any(|scheme| url.starts_with(scheme))
}

/// A job of some views of another one, and what of the sources it reads.
struct Run<'a> {
    job: Job,
    plan: Arc<Plan>,
    options: Options,
    /// For each of its sources what the job has read.
    identities: Vec<Option<String>>,
    stretch: Stretch,
    /// Where the versions of tables are.
    files: Files,
    /// Those that are in force in the job: all records meet them.
    versions: Vec<Version>,
    stop: &'a Arc<AtomicBool>,
}

/// The state of a run, which is removed when nobody needs it any more.
struct Scratch {
    leader: Leader,
    folder: PathBuf,
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is in the system's folder for what nobody needs.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl<'a> Run<'a> {
    fn of(
        purpose: &Purpose<'a>,
        views: &[String],
        known: &Known,
        (files, checkpoint): (&Files, &Checkpoint),
    ) -> Result<Run<'a>, Error> {
        let whole = purpose.job;
        let mut job = whole.clone();
        job.name = staged_job(&whole.name);
        (job.dead_letters, job.late_events) = (None, None);
        let needed = needed(whole, views);
        job.views.retain(|view| needed.contains(&view.name));
        // Each database has the accounts of all views, whether it holds them or not.
        job.sinks.retain(|sink| is_database(&sink.url));
        for sink in &mut job.sinks {
            sink.reads.retain(|read| views.contains(read));
        }
        let plan = planning::plan(&job)?;
        let inputs = (0..plan.views.len()).map(Input::View).chain((whole.sources.len()..plan.sources.len()).map(Input::Source));
        let sources: BTreeSet<usize> = inputs.flat_map(|input| plan.sources_of(input)).collect();
        job.sources = sources.iter().map(|&source| whole.sources[source].clone()).collect();
        for source in &mut job.sources {
            source.from_latest = false;
        }
        let plan = Arc::new(planning::plan(&job)?);
        let stretch = Stretch {
            ends: sources.iter().map(|&source| checkpoint.ends[source].clone()).collect(),
            ceilings: sources.iter().map(|&source| checkpoint.seal.watermarks[source]).collect(),
        };
        let identities = sources.iter().map(|&source| known.identities.get(source).cloned().flatten()).collect();
        let options = Options { cluster: None, bounded: false, reset: Reset::Nothing, ..purpose.options.clone() };
        let (files, versions) = (files.clone(), checkpoint.seal.versions.clone());
        Ok(Run { job, plan, options, identities, stretch, files, versions, stop: purpose.stop })
    }

    /// Runs it to its end; returns its state, and the checkpoint there. `generation` is that of the job.
    fn run(self, generation: u64) -> Result<(Scratch, (recovery::Checkpoint, Kept)), Error> {
        let folder = std::env::temp_dir().join(format!("freshet-reset-{}-{generation}", std::process::id()));
        let url = format!("file://{}", folder.display());
        let scratch = Scratch { leader: Leader::open(&url, &self.job.name, false, false)?, folder };
        let stats = Arc::new(Stats::of(&self.job, &self.plan));
        let shared = Arc::new(Shared::new(Arc::clone(&stats), Arc::clone(self.stop)));
        let purpose = connect::Purpose {
            job: &self.job,
            options: &self.options,
            shared: &shared,
            generation,
            identities: Some(self.identities.clone()),
            past: Past::Staged,
        };
        let (mut connected, parts) = connect::connect(&purpose, Arc::clone(&self.plan))?;
        connected.limit(&self.stretch.ends);
        let records = connected.records_before(&self.stretch.ends);
        let partitions = connected.partitions();
        watched(&stats, records, || self.compute(&scratch.leader, connected, parts, &shared))?;
        let newest = newest_valid(&scratch.leader.state)?;
        // A run that was asked to stop ends earlier.
        let is_whole = |kept: &Kept| {
            let ends = kept.checkpoint.ends.iter().zip(&self.stretch.ends).zip(&partitions);
            ends.into_iter().all(|((read, ends), own)| own.iter().all(|partition| read.get(partition) == ends.get(partition)))
        };
        newest.filter(|(_, kept)| is_whole(kept)).map(|anew| (scratch, anew)).ok_or(Error::Unreset)
    }

    fn compute(&self, leader: &Leader, connected: Connected, parts: Vec<WorkerParts>, shared: &Arc<Shared>) -> Result<(), Error> {
        let saved = saved(&self.plan, &connected.lowered);
        let known = Known { job: super::parts::parts(&self.job), saved, identities: connected.identities() };
        let start = Start { time: Timestamp::now(), partitions: connected.partitions(), versions: self.versions.clone() };
        leader.state.begin(0, &encode(&Started { known: known.clone(), start: start.clone() })?)?;
        let begin =
            Beginning { repeat: vec![LogEntry::Start(start)], stretch: Some(self.stretch.clone()), ..Beginning::default() };
        let tables = Tables::of_versions(&self.plan, &self.versions);
        tables.load_from(Some(&self.files), shared);
        let work = Work {
            tables,
            connected: Arc::new(connected),
            begin,
            files: Some((leader.state.files().clone(), leader.state.generation())),
            state: Some((Arc::clone(&leader.state), known)),
            checkpoint_interval: Duration::MAX,
            options: self.options.clone(),
            shared: Arc::clone(shared),
        };
        workers::run(work, parts, None)
    }
}

/// Does something that takes its time, and says now and then how many of so many records have been read.
fn watched<T>(stats: &Stats, records: u64, work: impl FnOnce() -> T) -> T {
    let (working, over) = crossbeam_channel::bounded::<()>(0);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            while over.recv_timeout(WORD) == Err(RecvTimeoutError::Timeout) {
                tracing::info!(read = stats.records(), of = records, "computing anew");
            }
        });
        let result = work();
        drop(working);
        result
    })
}

/// Names the views that these are computed from, themselves included.
fn needed(job: &Job, views: &[String]) -> BTreeSet<String> {
    let mut needed: BTreeSet<String> = views.iter().cloned().collect();
    loop {
        let reads = |name: &str| job.views.iter().any(|view| needed.contains(&view.name) && planning::mentions(&view.sql, name));
        let more: Vec<String> = job
            .views
            .iter()
            .filter(|view| !needed.contains(&view.name) && reads(&view.name))
            .map(|view| view.name.clone())
            .collect();
        if more.is_empty() {
            return needed;
        }
        needed.extend(more);
    }
}
