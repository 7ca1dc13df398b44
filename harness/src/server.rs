//! A server that a test run started, and that does not outlive it.
//!
//! Statics are never dropped and a killed test cannot clean up, so the guard is a shell outside this process: it holds the read end of
//! a pipe, and when the pipe closes, for whatever reason, it ends the server and removes its folder. A line on the pipe starts
//! the server again, with the data that it left.

use std::fs::File;
use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Waits for its standard input to close, or for a signal to the whole process group, then ends the server (`$3…`) with the signal `$2` and removes the folder `$1`.
const GUARD: &str = r#"
folder=$1; signal=$2; shift 2
trap : HUP INT TERM
"$@" & server=$!
echo $server > "$folder/pid"
while read -r _; do
    wait "$server"
    "$@" & server=$!
    echo $server > "$folder/pid"
done
kill -s CONT "$server" 2> /dev/null
kill -s "$signal" "$server" 2> /dev/null
for _ in 1 2 3 4 5 6 7 8 9 10; do kill -0 "$server" 2> /dev/null || break; sleep 0.2; done
kill -s KILL "$server" 2> /dev/null
rm -rf "$folder"
"#;

/// A running server and the folder of its data.
pub struct Server {
    name: &'static str,
    log: PathBuf,
    pid: PathBuf,
    /// Holds the write end of the guard's pipe; the end of this process closes it.
    guard: Child,
}

impl Server {
    /// Starts `command`; `folder` is the guard's to remove, `signal` what ends the server in order.
    pub fn start(name: &'static str, folder: &Path, signal: &str, command: &[String]) -> Server {
        let log = scratch().join(format!("{name}.log"));
        let file = File::create(&log).unwrap_or_else(|e| panic!("cannot create {}: {e}", log.display()));
        let guard = Command::new("sh")
            .args(["-c", GUARD, "guard"])
            .arg(folder)
            .arg(signal)
            .args(command)
            .stdin(Stdio::piped())
            .stdout(file.try_clone().expect("a log can be opened twice"))
            .stderr(file)
            .spawn()
            .unwrap_or_else(|e| panic!("cannot start {name}: {e}"));
        Server { name, log, pid: folder.join("pid"), guard }
    }

    /// Waits until `ready` says so; the end of the log explains it if that takes over a minute.
    pub fn wait_until(&mut self, ready: impl FnMut() -> bool) {
        if !wait_for(Duration::from_secs(60), ready) {
            panic!("{} did not become ready; its log ends:\n{}", self.name, tail(&self.log));
        }
        assert!(matches!(self.guard.try_wait(), Ok(None)), "the guard of {} has ended: {}", self.name, tail(&self.log));
    }

    /// Sends a signal to the server itself, such as `KILL`.
    pub fn signal(&self, signal: &str) {
        let mut pid = None;
        let read = || {
            pid = std::fs::read_to_string(&self.pid).ok().filter(|text| text.ends_with('\n'));
            pid.is_some()
        };
        assert!(wait_for(Duration::from_secs(5), read), "{} has no process", self.name);
        let pid = pid.unwrap_or_default();
        // It may have ended by itself, which is as good.
        let _ = Command::new("kill").args(["-s", signal, pid.trim()]).stderr(Stdio::null()).status();
    }

    /// Starts the server again, on the data that it left, once the old process has ended.
    pub fn start_again(&mut self) {
        let pipe = self.guard.stdin.as_mut().expect("the guard's input is a pipe");
        pipe.write_all(b"start\n").unwrap_or_else(|e| panic!("the guard of {} has ended: {e}", self.name));
    }
}

/// Asks `condition` every 20 ms until it holds; `false` if it does not within `limit`.
pub fn wait_for(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Runs a tool to its end and returns what it printed.
pub fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|e| panic!("cannot run {command:?}: {e}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?} failed:\n{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// Returns `N` different loopback ports that nothing listens on at the moment.
pub fn free_ports<const N: usize>() -> [u16; N] {
    let bind = |_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let sockets: Vec<TcpListener> = (0..N).map(bind).collect::<io::Result<_>>().expect("loopback has free ports");
    std::array::from_fn(|i| sockets[i].local_addr().expect("a bound socket has an address").port())
}

/// Tells whether something accepts connections on a loopback port.
pub fn listens(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// Returns the folder that outlives a checkout: jars, and what else is fetched once.
pub fn cache() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").expect("HOME is set")).join(".cache/freshet");
    std::env::var_os("FRESHET_CACHE").map_or_else(home, PathBuf::from)
}

/// Returns a folder of the cache, which `fetch` has filled: once on a machine, and for one process at a time.
pub fn fetched(name: &str, fetch: impl FnOnce(&Path)) -> PathBuf {
    let folder = cache().join(name);
    std::fs::create_dir_all(&folder).unwrap_or_else(|e| panic!("cannot create {}: {e}", folder.display()));
    let lock = File::create(folder.join("lock")).expect("the cache can be written");
    lock.lock().expect("the cache can be locked");
    let done = folder.join("complete");
    if !done.exists() {
        fetch(&folder);
        File::create(done).expect("the cache can be written");
    }
    folder
}

/// Returns the folder for logs that shall be there when a test has failed: `tmp` in the folder that this executable was built in.
pub fn scratch() -> PathBuf {
    let own = std::env::current_exe().expect("this executable has a path");
    let folder = own.parent().map_or_else(std::env::temp_dir, |folder| {
        let folder = if folder.ends_with("deps") { folder.parent().unwrap_or(folder) } else { folder };
        folder.parent().unwrap_or(folder).join("tmp")
    });
    std::fs::create_dir_all(&folder).unwrap_or_else(|e| panic!("cannot create {}: {e}", folder.display()));
    folder
}

/// Returns the last lines of a file.
pub fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}
