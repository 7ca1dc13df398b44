//! `freshet run`: checks everything that can be checked, then lets the job run, and says how it went.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use freshet_dataflows::plan::Plan;
use freshet_dataflows::sql::Functions;

use super::find;
use crate::cli::{LogOptions, RunOptions};
use crate::exit::{self, Failure};
use crate::hosts::{self, Cluster};
use crate::http::Listener;
use crate::job::Job;
use crate::live::Live;
use crate::planning;
use crate::run::{self, Reset};
use crate::screen::Screen;
use crate::stats::Stats;
use crate::summary;

pub(super) fn run(options: &RunOptions, log: &LogOptions, screen: &Arc<Screen>, functions: &Functions) -> Result<(), Failure> {
    let job = find::job(&options.job, functions)?;
    let plan = planning::plan(&job)?;
    planning::roles(&job, &plan)?;
    let cluster = cluster(options)?;
    let stats = Arc::new(Stats::of(&job, &plan));
    let stop = Arc::new(AtomicBool::new(false));
    on_signal(Arc::clone(&stop), || tracing::info!("draining what has been read; Ctrl-C again gives up"))?;
    let _listener = listen(options, &job, &stats)?;
    warn(&plan);

    let name = job.name.clone();
    let live = Live::start(screen, log, &job, Arc::clone(&stats), Arc::clone(&stop))?;
    let settings = run::Options {
        workers: cluster.as_ref().and_then(|cluster| cluster.workers).unwrap_or(options.workers),
        process: options.process,
        cluster,
        bounded: options.bounded,
        state: options.state.clone(),
        takeover: options.takeover,
        reset: reset(options)?,
        supervise: options.supervise,
    };
    let outcome = run::run(job, plan, settings, Arc::clone(&stats), stop);
    if let Err(error) = &outcome {
        stats.fail(&error.to_string());
    }
    drop(live);
    let summary = outcome?;
    if options.bounded {
        io::stdout().write_all(summary::text(&name, &stats, summary.events, summary.seconds).as_bytes())?;
    } else {
        tracing::info!(events = summary.events, seconds = summary.seconds, "stopped; everything read has been committed");
    }
    Ok(())
}

/// Reads what is to be computed anew.
fn reset(options: &RunOptions) -> Result<Reset, Failure> {
    let views: Vec<String> = options.reset.iter().filter(|view| !view.is_empty()).cloned().collect();
    match options.reset.len() {
        0 => Ok(Reset::Nothing),
        all if views.is_empty() && all > 0 => Ok(Reset::Everything),
        all if views.len() < all => Err(Failure::usage("--reset with and without a view", "leave one of them out")),
        _ if options.takeover => {
            let way_out =
                "stop the instance that runs with Ctrl-C first: a view is computed anew up to where the job was stopped";
            Err(Failure::usage("--reset of a view with --takeover", way_out))
        }
        _ => Ok(Reset::Views(views)),
    }
}

/// Signals that follow the first one sooner than this mean the same request: `timeout` and some supervisors signal the process, and then its whole group.
const SAME_REQUEST: Duration = Duration::from_millis(500);

/// Sets `stop` and calls `told` on the first SIGINT or SIGTERM; ends the program on the second.
pub(super) fn on_signal(stop: Arc<AtomicBool>, told: impl Fn() + Send + 'static) -> Result<(), Failure> {
    let mut first = None;
    let handle = move || match first {
        None => {
            first = Some(Instant::now());
            stop.store(true, Ordering::SeqCst);
            told();
        }
        Some(first) if Instant::now() - first < SAME_REQUEST => {}
        Some(_) => std::process::exit(exit::INTERRUPTED),
    };
    ctrlc::set_handler(handle).map_err(|error| Failure::Output(io::Error::other(error)))
}

/// Returns the cluster that the process belongs to; none for a single process.
fn cluster(options: &RunOptions) -> Result<Option<Cluster>, Failure> {
    let cluster = match (&options.cluster, options.processes) {
        (None, None | Some(1)) => None,
        (Some(_), Some(1)) => return Err(Failure::usage("--cluster with -n 1", "leave one of them out")),
        (file, processes) => Some(hosts::read(file.as_deref().unwrap_or(Path::new(hosts::DEFAULT_FILE)), processes)?),
    };
    let processes = cluster.as_ref().map_or(1, |cluster| cluster.hosts.len());
    if options.process >= processes {
        let what = format!("-p {} of {processes} processes", options.process);
        return Err(Failure::usage(what, format!("count from 0: the last one is -p {}", processes - 1)));
    }
    Ok(cluster)
}

fn listen(options: &RunOptions, job: &Job, stats: &Arc<Stats>) -> Result<Option<Listener>, Failure> {
    let Some(address) = options.listen else { return Ok(None) };
    let listener = Listener::start(address, &job.name, Arc::clone(stats)).map_err(|error| Failure::Listen { address, error })?;
    tracing::info!("metrics at http://{}/metrics", listener.address());
    Ok(Some(listener))
}

fn warn(plan: &Plan) {
    for view in &plan.views {
        for warning in &view.warnings {
            tracing::warn!("view '{}': {warning}", view.shown_name());
        }
    }
}
