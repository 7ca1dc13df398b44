//! One passage of a job from its durable state to its end; a process may make several.
//!
//! ```text
//! process 0                                              every process
//! open the state: lease, generation, former run
//! form the cluster ── generation, former run ──────────▶ open sources and sinks, fence older generations
//! read the log, pick, log this start ◀── what sinks hold ─┘
//!   └────────────── where to begin ────────────────────▶ read and compute
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use freshet_cluster::{Forming, Listener, Member, Role, Running};
use freshet_connectors::{Past, Staged};
use freshet_dataflows::plan::{Input, Plan, View};
use freshet_dataflows::saved::saved;
use freshet_model::{Epoch, Timestamp};
use freshet_protocol::Held;
use freshet_recovery::Files;
use serde::{Deserialize, Serialize};

use super::begin::{Beginning, Known, Leader, decode, encode};
use super::connect::{self, Connected, WorkerParts};
use super::parts;
use super::reset::{self, Purpose};
use super::tables::{self, Followers, Tables};
use super::workers::{self, Work};
use super::{Error, Options, Reset, Shared};
use crate::job::Job;
use crate::stats::Stats;

/// What process 0 tells all others before they open anything.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Greeting {
    generation: u64,
    identities: Option<Vec<Option<String>>>,
    reset: bool,
    /// Views of which the sinks are to take over what was computed anew.
    staged: Option<Staged>,
}

/// What a sink holds, as it goes from process to process.
type HeldParts = Vec<(String, Option<Epoch>, bool)>;

/// The incarnations of a job in one process.
pub(super) struct Incarnations<'a> {
    job: &'a Job,
    plan: Arc<Plan>,
    options: &'a Options,
    stats: &'a Arc<Stats>,
    stop: &'a Arc<AtomicBool>,
    listener: Option<Listener>,
    /// `None` if a source cannot be read a second time.
    state_url: Option<String>,
    /// Done by the first incarnation that begins.
    reset: bool,
    /// Views that the next incarnation computes anew before it begins.
    anew: Vec<String>,
}

impl<'a> Incarnations<'a> {
    pub(super) fn new(
        job: &'a Job,
        plan: Arc<Plan>,
        options: &'a Options,
        stats: &'a Arc<Stats>,
        stop: &'a Arc<AtomicBool>,
    ) -> Result<Incarnations<'a>, Error> {
        let bind = |cluster: &crate::hosts::Cluster| {
            let member = Member {
                process: options.process,
                addresses: cluster.hosts.clone(),
                secret: cluster.secret.clone(),
                job: parts::hash(job),
                workers: options.workers,
                timeouts: cluster.timeouts,
            };
            Ok::<_, Error>(Listener::bind(&member)?.stopped_by(Arc::clone(stop)))
        };
        let listener = options.cluster.as_ref().map(bind).transpose()?;
        check_tables(job, options)?;
        let replayable = !job.sources.iter().any(|source| source.url.starts_with("stdin://"));
        if !replayable {
            tracing::info!("the standard input cannot be read a second time: the job keeps no state");
        }
        let url = options.state.clone().unwrap_or_else(|| format!("file://data/state/{}", job.name));
        let state_url = replayable.then_some(url);
        let reset = options.reset == Reset::Everything || !replayable;
        let anew = match &options.reset {
            Reset::Views(views) if replayable && options.process == 0 => views.clone(),
            Reset::Views(views) if !replayable => {
                let (view, problem) = (views.join(", "), "the standard input cannot be read a second time".to_owned());
                return Err(Error::Reset { view, problem, remedy: "put the records into a file".to_owned() });
            }
            _ => Vec::new(),
        };
        Ok(Incarnations { job, plan, options, stats, stop, listener, state_url, reset, anew })
    }

    /// Runs the job until it ends or fails.
    ///
    /// A request to stop that comes while the cluster forms ends it well: nothing has been read that would have to be committed.
    pub(super) fn next(&mut self) -> Result<(), Error> {
        match self.prepare() {
            Ok((work, parts, running)) => {
                self.stats.ready.store(true, Ordering::Relaxed);
                workers::run(work, parts, running)
            }
            Err(Error::Cluster(freshet_cluster::Error::Interrupted) | Error::PeerLost(_)) if self.stop.load(Ordering::SeqCst) => {
                Ok(())
            }
            // What was computed anew has been put in place, and there is nothing to go on with.
            Err(Error::Finished) if matches!(self.options.reset, Reset::Views(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Forms the cluster, opens everything, and finds out where to begin.
    fn prepare(&mut self) -> Result<(Work, Vec<WorkerParts>, Option<Running>), Error> {
        let began = Instant::now();
        let shared = Arc::new(Shared::new(Arc::clone(self.stats), Arc::clone(self.stop)));
        if let Some(url) = self.state_url.as_ref().filter(|_| !self.anew.is_empty()) {
            reset::reset(&Purpose { job: self.job, plan: &self.plan, options: self.options, url, stop: self.stop }, &self.anew)?;
            self.anew.clear();
        }
        let mut leader = self.lead()?;
        let greeting = match &leader {
            Some(leader) => self.greet(leader)?,
            None => Greeting { generation: Timestamp::now().0.unsigned_abs(), reset: self.reset, ..Greeting::default() },
        };
        let (mut forming, greeting) = self.form(greeting)?;
        let purpose = connect::Purpose {
            job: self.job,
            options: self.options,
            shared: &shared,
            generation: greeting.generation,
            identities: greeting.identities,
            past: match greeting.staged {
                _ if greeting.reset => Past::Forgotten,
                Some(staged) => Past::Adopting(staged),
                None => Past::Kept,
            },
        };
        let (connected, parts) = connect::connect(&purpose, Arc::clone(&self.plan))?;
        let (job, saved) = (parts::parts(self.job), saved(&self.plan, &connected.lowered));
        let known = Known { job, saved, identities: connected.identities() };
        let tables = Tables::new(&self.plan, self.state_url.is_some());
        let followers = self.read_tables(&tables, leader.as_ref(), greeting.reset, &shared)?;
        let begin = begin(&mut leader, forming.as_mut(), &connected, &parts, &known, &tables)?;
        self.reset = self.reset && self.state_url.is_none();
        tell(&begin, began);
        let running = forming.map(|forming| forming.start(|lost| tracing::debug!("{lost}"))).transpose()?;
        let files = self.state_url.as_ref().map(|url| Files::open(url, &self.job.name)).transpose()?;
        tables.load_from(files.as_ref(), &shared);
        followers.start(&tables);
        let work = Work {
            tables,
            connected: Arc::new(connected),
            begin,
            files: files.map(|files| (files, greeting.generation)),
            state: leader.map(|leader| (leader.state, known)),
            checkpoint_interval: self.job.checkpoint_interval,
            options: self.options.clone(),
            shared: Arc::clone(&shared),
        };
        Ok((work, parts, running))
    }

    /// Opens the state on process 0 of a job that keeps one.
    fn lead(&self) -> Result<Option<Leader>, Error> {
        let Some(url) = self.state_url.as_ref().filter(|_| self.options.process == 0) else { return Ok(None) };
        Leader::open(url, &self.job.name, self.options.takeover, self.reset).map(Some)
    }

    /// Reads the tables on process 0, so that each has a version before the job begins.
    fn read_tables(
        &self,
        tables: &Tables,
        leader: Option<&Leader>,
        anew: bool,
        shared: &Arc<Shared>,
    ) -> Result<Followers, Error> {
        if self.options.process > 0 {
            return Ok(Followers::default());
        }
        tables::read(self.job, tables, leader.map(|leader| &leader.state), anew, shared)
    }

    fn greet(&self, leader: &Leader) -> Result<Greeting, Error> {
        let identities = leader.compare(&parts::parts(self.job), &self.inputs())?;
        let staged = leader.newest.as_ref().and_then(|(_, kept)| kept.staged.clone());
        Ok(Greeting { generation: leader.state.generation(), identities, reset: self.reset, staged })
    }

    /// Names for each view the other views that it reads.
    fn inputs(&self) -> BTreeMap<String, BTreeSet<String>> {
        let views = &self.plan.views;
        let mut inputs = BTreeMap::<_, BTreeSet<_>>::new();
        for view in views {
            let read =
                view.inputs.iter().filter_map(|&input| if let Input::View(view) = input { Some(&views[view]) } else { None });
            let others = read.map(View::shown_name).filter(|name| *name != view.shown_name());
            inputs.entry(view.shown_name().to_owned()).or_default().extend(others.map(str::to_owned));
        }
        inputs
    }

    /// Forms the cluster, if there is one; returns what process 0 says to all.
    fn form(&mut self, greeting: Greeting) -> Result<(Option<Forming>, Greeting), Error> {
        let Some(listener) = &mut self.listener else { return Ok((None, greeting)) };
        let role = match self.options.process {
            0 => Role::Leader { generation: greeting.generation, greeting: encode(&greeting)? },
            _ => Role::Follower,
        };
        let forming = listener.form(role)?;
        let greeting = decode(forming.greeting(), "what process 0 says")?;
        Ok((Some(forming), greeting))
    }
}

/// Refuses tables in a cluster that keeps no state: only there would all processes find one version.
fn check_tables(job: &Job, options: &Options) -> Result<(), Error> {
    let is_once = job.sources.iter().any(|source| source.url.starts_with("stdin://"));
    match job.tables.first().filter(|_| is_once && options.cluster.is_some()) {
        None => Ok(()),
        Some(table) => Err(Error::Connector(freshet_connectors::Error::setup(
            format!("table '{}'", table.name),
            "a cluster shares the versions of tables by the job's state, and a job that reads the standard input keeps none",
            "run it as one process, or put the records into files or a topic",
        ))),
    }
}

/// Finds out where to begin: process 0 decides, from its state and from what all sinks hold.
fn begin(
    leader: &mut Option<Leader>,
    forming: Option<&mut Forming>,
    connected: &Connected,
    parts: &[WorkerParts],
    known: &Known,
    tables: &Tables,
) -> Result<Beginning, Error> {
    let own = connect::held(connected, parts);
    let decide = |leader: &mut Option<Leader>, held: &[Held]| match leader {
        Some(leader) => leader.begin(held, known.clone(), connected.partitions(), tables.newest()),
        None => Ok(Beginning::anew(connected.partitions(), tables.newest())),
    };
    let Some(forming) = forming else { return decide(leader, &own) };
    let own: HeldParts = own.into_iter().map(|held| (held.sink, held.epoch, held.strict)).collect();
    let decided = match forming.gather(encode(&own)?)? {
        None => None,
        Some(all) => {
            let mut held = Vec::new();
            for bytes in &all {
                let of_one: HeldParts = decode(bytes, "what a process says of its sinks")?;
                held.extend(of_one.into_iter().map(|(sink, epoch, strict)| Held { sink, epoch, strict }));
            }
            Some(encode(&decide(leader, &held)?)?)
        }
    };
    decode(&forming.scatter(decided)?, "where process 0 says to begin")
}

/// Says where the run begins, unless it is at the beginning.
fn tell(begin: &Beginning, began: Instant) {
    let epochs = begin.epochs();
    if begin.checkpoint.is_none() && epochs == 0 {
        return;
    }
    let checkpoint = begin.checkpoint.as_ref().map_or_else(|| "none".to_owned(), |checkpoint| checkpoint.epoch.to_string());
    tracing::info!(checkpoint, repeat = epochs, after = ?began.elapsed(), "going on from the job's state");
}
