//! A real broker of a test's own, from its jars, in KRaft mode, which can be killed and started again on its data.
//!
//! A shell outside this process holds the read end of a pipe; when the pipe closes, for whatever reason, it ends the broker and
//! removes its folder.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use tempfile::TempDir;

/// The jars' folder carries the version, so that another one is fetched and not mixed in.
const VERSION: &str = "4.1.0";

const GUARD: &str = r#"folder=$1; trap : HUP INT TERM; cat > /dev/null; kill -KILL "$(cat "$folder/pid")"; rm -rf "$folder""#;

/// A broker and the folder of its data.
pub(crate) struct Broker {
    folder: PathBuf,
    pub(crate) address: String,
    /// `None` for who only talks to the broker.
    server: Option<Child>,
    _guard: Option<Child>,
}

impl Broker {
    /// Returns the broker that the tests share that do not kill theirs.
    pub(crate) fn shared() -> &'static Broker {
        static SHARED: OnceLock<Broker> = OnceLock::new();
        SHARED.get_or_init(Broker::start)
    }

    /// Starts a broker with empty topics.
    pub(crate) fn start() -> Broker {
        let folder = TempDir::with_prefix("freshet-topics-").expect("a temporary folder").keep();
        let [port, controller] = free_ports();
        std::fs::write(folder.join("server.properties"), properties(&folder, port, controller)).expect("a folder to write to");
        let id = run(java().arg("kafka.tools.StorageTool").arg("random-uuid"));
        let config = folder.join("server.properties");
        run(java().args(["kafka.tools.StorageTool", "format", "-t", id.trim(), "-c"]).arg(config));
        let server = launch(&folder);
        let guard =
            Command::new("sh").args(["-c", GUARD, "guard"]).arg(&folder).stdin(Stdio::piped()).stderr(Stdio::null()).spawn();
        let broker =
            Broker { folder, address: format!("127.0.0.1:{port}"), server: Some(server), _guard: Some(guard.expect("a shell")) };
        broker.wait();
        broker
    }

    /// Ends the broker as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        let server = self.server.as_mut().expect("a broker of one's own");
        server.kill().expect("a process to kill");
        server.wait().expect("a dead process");
    }

    /// Returns what it takes to talk to the broker while somebody kills it.
    pub(crate) fn clone_address(broker: &Broker) -> Broker {
        Broker { folder: broker.folder.clone(), address: broker.address.clone(), server: None, _guard: None }
    }

    /// Starts a broker that was killed; it may not answer yet.
    pub(crate) fn restart(&mut self) {
        self.server = Some(launch(&self.folder));
    }

    /// Waits until the broker answers.
    pub(crate) fn wait(&self) {
        let probe: BaseConsumer = ClientConfig::new().set("bootstrap.servers", &self.address).create().expect("a consumer");
        let deadline = Instant::now() + Duration::from_secs(60);
        while probe.fetch_metadata(None, Duration::from_secs(1)).is_err() {
            let log = || std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "the broker does not answer; its log:\n{}", log());
        }
    }

    /// Returns the url of a topic.
    pub(crate) fn url(&self, topic: &str) -> String {
        format!("kafka://{}/{topic}", self.address)
    }
}

fn launch(folder: &Path) -> Child {
    let log = File::options().create(true).append(true).open(folder.join("log")).expect("a log");
    let mut command = java();
    command.arg("kafka.Kafka").arg(folder.join("server.properties"));
    let server = command.stdin(Stdio::null()).stdout(log.try_clone().expect("a log")).stderr(log).spawn().expect("java");
    std::fs::write(folder.join("pid"), server.id().to_string()).expect("a folder to write to");
    server
}

fn java() -> Command {
    let mut command = Command::new("java");
    command.args(["-Xmx300m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"]).arg(format!("{}/*", jars().display()));
    command
}

fn properties(folder: &Path, port: u16, controller: u16) -> String {
    let data = folder.join("data");
    format!(
        "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@127.0.0.1:{controller}\n\
         listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{port}\ncontroller.listener.names=CONTROLLER\n\
         listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\nlog.dirs={}\n\
         offsets.topic.replication.factor=1\noffsets.topic.num.partitions=4\n\
         transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\ntransaction.state.log.num.partitions=4\n\
         group.initial.rebalance.delay.ms=0\nauto.create.topics.enable=false\n",
        data.display()
    )
}

/// Returns the folder of the broker's jars; the first run on a machine fetches them.
fn jars() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").expect("HOME is set")).join(".cache/freshet");
    let folder = std::env::var_os("FRESHET_CACHE").map_or_else(home, PathBuf::from).join(format!("kafka-{VERSION}"));
    std::fs::create_dir_all(&folder).expect("a cache");
    let lock = File::create(folder.join("lock")).expect("a cache to write to");
    lock.lock().expect("a cache to lock");
    let done = folder.join("complete");
    if !done.exists() {
        let pom = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/support/kafka/pom.xml");
        let into = format!("-DoutputDirectory={}", folder.display());
        run(Command::new("mvn").args(["-q", "-B", "-f", pom, "dependency:copy-dependencies", &into]));
        File::create(done).expect("a cache to write to");
    }
    folder
}

fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|e| panic!("cannot run {command:?}: {e}"));
    assert!(output.status.success(), "{command:?} failed: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn free_ports<const N: usize>() -> [u16; N] {
    let sockets: [TcpListener; N] = std::array::from_fn(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port"));
    sockets.map(|socket| socket.local_addr().expect("a bound socket").port())
}
