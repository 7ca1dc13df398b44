//! PostgreSQL: restarted, its sessions ended or stopped, a table locked.

use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use postgres::Client;
use rand::Rng;

use super::{Outcome, World, over};

/// The sessions of the job, by what the reader and ourselves do not do: they have temporary tables.
const SESSIONS: &str = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
     AND application_name LIKE 'freshet%'";

/// As `pg_ctl restart -m immediate`: no session is asked, nothing is written down, recovery at the start.
pub(super) fn restarted(world: &mut World) -> Outcome {
    let postgres = &mut world.stage.postgres;
    postgres.server.signal("QUIT");
    postgres.server.start_again();
    postgres.wait_until_ready();
    over()
}

pub(super) fn backend_killed(world: &mut World) -> Outcome {
    let mut client = world.stage.database.connect();
    let ended =
        sessions(&mut client).iter().filter(|pid| client.execute("SELECT pg_terminate_backend($1)", &[pid]).is_ok()).count();
    if ended == 0 { Outcome::Skipped("the job's sessions were not found") } else { over() }
}

pub(super) fn paused(world: &mut World) -> Outcome {
    let mut client = world.stage.database.connect();
    let pids = sessions(&mut client);
    if pids.is_empty() {
        return Outcome::Skipped("the job's sessions were not found");
    }
    let all = |signal: &str| {
        for pid in &pids {
            let _ = Command::new("kill").args(["-s", signal, &pid.to_string()]).stderr(Stdio::null()).status();
        }
    };
    all("STOP");
    sleep(Duration::from_secs(world.random.random_range(1..6)));
    all("CONT");
    over()
}

pub(super) fn table_locked(world: &mut World) -> Outcome {
    let mut client = world.stage.database.connect();
    // Readers may go on, writers wait.
    let locked = client.transaction().and_then(|mut transaction| {
        transaction.batch_execute("LOCK TABLE page_view_counts IN SHARE MODE")?;
        sleep(Duration::from_secs(world.random.random_range(1..6)));
        transaction.rollback()
    });
    match locked {
        Ok(()) => over(),
        Err(_) => Outcome::Skipped("the table could not be locked"),
    }
}

/// Lists the server processes of the job's sessions; those of an instance that died a moment ago may be among them.
fn sessions(client: &mut Client) -> Vec<i32> {
    let rows = client.query(SESSIONS, &[]).unwrap_or_default();
    rows.iter().map(|row| row.get(0)).collect()
}
