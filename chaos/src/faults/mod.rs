//! What is broken, one file a kind.

mod broker;
mod damage;
mod database;
mod disk;
mod failpoints;
mod garbage;
mod network;
mod points;
mod process;
mod starts;

use rand::rngs::StdRng;

pub(crate) use self::failpoints::{ACTIONS, Dealt, Deck};
use crate::follower::Follower;

use crate::options::Options;
use crate::reader::{Progress, Reader};
use crate::stage::Stage;
use crate::supervisor::Supervisor;

/// Everything that a fault may touch.
pub(crate) struct World {
    pub(crate) options: Options,
    pub(crate) stage: Stage,
    pub(crate) job: Supervisor,
    pub(crate) reader: Reader,
    pub(crate) follower: Follower,
    pub(crate) random: StdRng,
    pub(crate) points: Deck,
    /// How many processes were killed with SIGKILL.
    pub(crate) kills: usize,
}

/// What became of a fault.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It happened, and ended at this time; the job has to commit after it.
    Over {
        /// Microseconds of the machine's clock.
        at_micros: i64,
        /// What the job had reached: a later commit must be of a newer generation, since the old one cannot have made it.
        newer_than: Option<Progress>,
    },
    /// It cannot be done here.
    Skipped(&'static str),
    /// The job did what it must not do.
    Wrong(String),
}

/// One way to break things.
pub(crate) struct Fault {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) inject: fn(&mut World) -> Outcome,
}

/// Names a fault.
const fn fault(name: &'static str, about: &'static str, inject: fn(&mut World) -> Outcome) -> Fault {
    Fault { name, about, inject }
}

/// Every fault.
pub(crate) const ALL: &[Fault] = &[
    fault("kill_leader", "kill -9 of process 0, or of the only one", process::kill_leader),
    fault("kill_follower", "kill -9 of one of the other processes", process::kill_follower),
    fault("kill_all", "kill -9 of all processes at once", process::kill_all),
    fault("kill_again", "kill -9, and again while the job starts", process::kill_again),
    fault("pause_short", "SIGSTOP of one process, SIGCONT after a second", process::pause_short),
    fault("pause_long", "SIGSTOP of one process, SIGCONT after eight seconds", process::pause_long),
    fault("rescale", "SIGTERM, and a start with another number of workers or processes", process::rescale),
    fault("broker_killed", "kill -9 of the broker, and a start", broker::killed),
    fault("broker_down", "kill -9 of the broker, and a start half a minute later", broker::down),
    fault("broker_paused", "SIGSTOP of the broker for some seconds", broker::paused),
    fault("database_restarted", "immediate shutdown of PostgreSQL, and a start", database::restarted),
    fault("database_paused", "SIGSTOP of the job's sessions in PostgreSQL for some seconds", database::paused),
    fault("backend_killed", "pg_terminate_backend of the job's sessions", database::backend_killed),
    fault("table_locked", "a lock on a table for some seconds", database::table_locked),
    fault("second_start", "a second start of the same job, which has to be refused", starts::second_start),
    fault("takeover", "a second start with --takeover, after which the first has to end as fenced", starts::takeover),
    fault("checkpoint_damaged", "a byte of the newest checkpoint flipped between two starts", damage::checkpoint),
    fault("log_damaged", "a byte of the epoch log flipped between two starts", damage::log),
    fault("garbage", "random bytes sent to the ports of the cluster", garbage::send),
    fault("failpoint", "a crash, an error or a delay inside the program, at one of its fail points", failpoints::inject),
    fault("disk_full", "no room for state and lake for some seconds", disk::full),
    fault("network_cut", "no packets between the processes for some seconds", network::cut),
];

/// Returns the time of the machine's clock.
pub(crate) fn now_micros() -> i64 {
    jiff::Timestamp::now().as_microsecond()
}

/// A fault that has just ended, after which any commit will do.
fn over() -> Outcome {
    Outcome::Over { at_micros: now_micros(), newer_than: None }
}
