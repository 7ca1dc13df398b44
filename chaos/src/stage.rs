//! The servers, the topics and the job's folder.

use std::path::{Path, PathBuf};
use std::process::Command;

use freshet_harness::freshet::{Freshet, binary};
use freshet_harness::kafka::Kafka;
use freshet_harness::postgres::{Database, Postgres};
use freshet_harness::server::free_ports;
use tempfile::TempDir;

use crate::isolation;

/// The topic of the events.
pub(crate) const TOPIC: &str = "user_activity";
/// The topic of the enriched events.
pub(crate) const ENRICHED: &str = "enriched_activity";
/// Its partitions.
pub(crate) const ENRICHED_PARTITIONS: i32 = 2;
/// Partitions of the events' topic.
pub(crate) const PARTITIONS: i32 = 4;
/// The job's name, as that of its file.
pub(crate) const JOB: &str = "user_activity";

/// Where the job runs.
pub(crate) struct Stage {
    pub(crate) kafka: Kafka,
    pub(crate) postgres: Postgres,
    pub(crate) database: Database,
    pub(crate) folder: TempDir,
    /// Where the processes of a cluster listen, each at an address of its own.
    ports: Vec<u16>,
    /// Whether state and lake are on a small file system of their own.
    pub(crate) has_small_disk: bool,
    /// Whether the program keeps state, and so knows `--state` and `--takeover`.
    pub(crate) has_state: bool,
}

impl Stage {
    /// Starts the servers and writes the job file.
    pub(crate) fn build(keep: bool) -> Stage {
        let (kafka, postgres) = (Kafka::start(), Postgres::start(true));
        kafka.create(TOPIC, PARTITIONS);
        kafka.create(ENRICHED, ENRICHED_PARTITIONS);
        let database = postgres.database("chaos");
        let mut folder = tempfile::Builder::new().prefix("freshet-chaos-").tempdir().expect("a temporary folder");
        folder.disable_cleanup(keep);
        let help = Freshet::new(folder.path()).args("run --help").run(std::time::Duration::from_secs(20));
        let has_state = help.stdout.contains("--state");
        let data = folder.path().join("data");
        std::fs::create_dir(&data).expect("the folder can be written");
        let has_small_disk = isolation::mount_small_disk(&data);
        let stage = Stage { kafka, postgres, database, folder, ports: free_ports::<4>().to_vec(), has_small_disk, has_state };
        stage.write_job();
        stage
    }

    /// Writes the job as it is committed, with lake files that are closed soon, and partitions that are not idle when a fault holds them back.
    fn write_job(&self) {
        let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../jobs/user_activity.toml");
        let text = std::fs::read_to_string(&committed).unwrap_or_else(|e| panic!("cannot read {}: {e}", committed.display()));
        let replace = |text: String, old: &str, new: &str| {
            assert!(text.contains(old), "the job has no {old}");
            text.replace(old, new)
        };
        let text = replace(text, "idle_timeout = \"30s\"", "idle_timeout = \"1h\"");
        let text = replace(text, "roll_interval = \"1m\"", "roll_interval = \"2s\"");
        let often = format!("{text}\n[checkpoint]\ninterval = \"1s\"\n");
        // A program without checkpoints knows no such key.
        self.write(&often);
        if !self.job_is_sound() {
            self.write(&text);
        }
    }

    fn write(&self, text: &str) {
        std::fs::write(self.job_file(), text).expect("the folder can be written");
    }

    fn job_is_sound(&self) -> bool {
        let mut check = self.command("check");
        check.output().is_ok_and(|output| output.status.success())
    }

    /// Returns the job file.
    pub(crate) fn job_file(&self) -> PathBuf {
        self.folder.path().join(format!("{JOB}.toml"))
    }

    /// Returns the folder in which the job keeps its lake and its state.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Returns the folder of the job's state.
    pub(crate) fn state(&self) -> PathBuf {
        self.data().join("state").join(JOB)
    }

    /// Returns the loopback address of a process, of which there are many.
    pub(crate) fn address(&self, process: usize) -> String {
        format!("127.0.0.{}", 10 + process)
    }

    /// Returns where a process of the cluster listens.
    pub(crate) fn host(&self, process: usize) -> String {
        format!("{}:{}", self.address(process), self.ports[process])
    }

    /// Returns the log of all the job's processes.
    pub(crate) fn log(&self) -> PathBuf {
        self.folder.path().join("freshet.log")
    }

    /// Begins a command line on the job, such as `run` or `check`.
    pub(crate) fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(binary());
        command.arg(verb).arg(self.job_file()).current_dir(self.folder.path());
        command.env("KAFKA_URL", self.kafka.url()).env("DATABASE_URL", &self.database.url).env("NO_COLOR", "1");
        command.env_remove("LAKE_URL").env_remove("RUST_LOG").env_remove("FAILPOINTS");
        command
    }

    /// Returns the cluster file for so many processes; it is written once, since one that starts may be reading it.
    pub(crate) fn cluster_file(&self, processes: usize) -> PathBuf {
        let path = self.folder.path().join(format!("cluster-{processes}.toml"));
        if path.exists() {
            return path;
        }
        let hosts: Vec<String> = (0..processes).map(|process| format!("\"{}\"", self.host(process))).collect();
        std::fs::write(&path, format!("hosts = [{}]\n", hosts.join(", "))).expect("the folder can be written");
        path
    }
}
