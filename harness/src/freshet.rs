//! The program under test, run as a person runs it.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use tempfile::TempDir;

use crate::server::{run, wait_for};

static BINARY: OnceLock<PathBuf> = OnceLock::new();

/// Says which program to test; to be called before the first is started, and once.
pub fn use_binary(path: PathBuf) {
    assert!(path.is_file(), "there is no program {}", path.display());
    BINARY.set(path).expect("the program is named once, and first");
}

/// Returns the program under test: the one named, else the one that cargo built for this test, else the one beside this executable.
pub fn binary() -> &'static Path {
    BINARY.get_or_init(|| {
        let built = std::env::var_os("CARGO_BIN_EXE_freshet").map(PathBuf::from);
        let own = std::env::current_exe().expect("this executable has a path");
        let beside = own.ancestors().skip(1).take(2).map(|folder| folder.join("freshet"));
        let found = built.into_iter().chain(beside).find(|path| path.is_file());
        found.unwrap_or_else(|| panic!("there is no freshet beside {}; cargo build --release builds it", own.display()))
    })
}

/// A command line of Freshet.
pub struct Freshet {
    command: Command,
    folder: Option<Arc<TempDir>>,
}

/// A running Freshet; it is killed when this goes out of scope.
pub struct Running {
    child: Child,
    /// Stays for as long as the program runs in it.
    _folder: Option<Arc<TempDir>>,
    stdout: Captured,
    stderr: Captured,
}

/// A Freshet that has ended.
pub struct Ended {
    /// How it ended.
    pub status: ExitStatus,
    /// What it printed.
    pub stdout: String,
    /// What it printed as errors and log.
    pub stderr: String,
}

struct Captured {
    text: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Freshet {
    /// Begins a command line that is run in `folder`.
    pub fn new(folder: &Path) -> Freshet {
        let mut command = Command::new(binary());
        command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).env("NO_COLOR", "1");
        for name in ["KAFKA_URL", "DATABASE_URL", "LAKE_URL", "RUST_LOG"] {
            command.env_remove(name);
        }
        Freshet { command, folder: None }
    }

    /// Begins a command line in a folder that is removed when nobody needs it any more.
    pub fn within(folder: &Arc<TempDir>) -> Freshet {
        Freshet { folder: Some(Arc::clone(folder)), ..Freshet::new(folder.path()) }
    }

    /// Adds arguments, as separated by blanks.
    pub fn args(mut self, words: &str) -> Freshet {
        self.command.args(words.split_whitespace());
        self
    }

    /// Adds one argument that may hold blanks.
    pub fn arg(mut self, word: impl AsRef<std::ffi::OsStr>) -> Freshet {
        self.command.arg(word);
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: &str, value: &str) -> Freshet {
        self.command.env(name, value);
        self
    }

    /// Starts it.
    pub fn start(mut self) -> Running {
        let mut child = self.command.spawn().unwrap_or_else(|e| panic!("cannot start {:?}: {e}", self.command));
        let stdout = Captured::new(child.stdout.take().expect("stdout is piped"));
        let stderr = Captured::new(child.stderr.take().expect("stderr is piped"));
        Running { child, _folder: self.folder, stdout, stderr }
    }

    /// Runs it to its end, which has to come within `limit`.
    pub fn run(self, limit: Duration) -> Ended {
        self.start().wait(limit)
    }

    /// Runs it to its end, which has to be a good one.
    pub fn succeed(self, limit: Duration) -> Ended {
        let line = format!("{:?}", self.command);
        let ended = self.run(limit);
        ended.expect_success(&line);
        ended
    }
}

impl Running {
    /// Waits for the end, at most `limit`.
    pub fn wait(mut self, limit: Duration) -> Ended {
        let mut status = None;
        wait_for(limit, || {
            status = self.child.try_wait().expect("a child can be waited for");
            status.is_some()
        });
        let Some(status) = status else {
            panic!("freshet still runs after {limit:?}\n{}", self.output());
        };
        Ended { status, stdout: self.stdout.finish(), stderr: self.stderr.finish() }
    }

    /// Tells whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends SIGINT, as Ctrl-C does.
    pub fn interrupt(&self) {
        self.signal("INT");
    }

    /// Sends a signal, such as `KILL`; it must not have been waited for.
    pub fn signal(&self, signal: &str) {
        run(Command::new("kill").args(["-s", signal, &self.child.id().to_string()]));
    }

    /// Returns the memory that it has now, in MiB, as the system counts it.
    pub fn memory_mib(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("cannot read {path}: {e}"));
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a running process has memory");
        resident.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") / 1024
    }

    /// Returns how it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Returns what it has printed up to now.
    pub fn output(&self) -> String {
        format!("--- stdout\n{}--- stderr\n{}", self.stdout.so_far(), self.stderr.so_far())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail when it has ended already, which is the usual case.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    /// Fails the test with all that was printed unless the exit code is 0.
    pub fn expect_success(&self, what: &str) {
        assert!(self.status.success(), "{what}: {}\n--- stdout\n{}\n--- stderr\n{}", self.status, self.stdout, self.stderr);
    }

    /// Fails the test with all that was printed unless the exit code is `code`, with a message and without a panic.
    pub fn expect_error(&self, code: i32) {
        let all = format!("{}\n--- stdout\n{}\n--- stderr\n{}", self.status, self.stdout, self.stderr);
        assert_eq!(self.status.code(), Some(code), "{all}");
        assert!(self.stderr.to_ascii_lowercase().contains("error"), "no error was printed\n{all}");
        assert!(!self.stderr.contains("panicked at"), "{all}");
    }
}

impl Captured {
    fn new(mut pipe: impl Read + Send + 'static) -> Captured {
        let text = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&text);
        let reader = std::thread::spawn(move || {
            let mut block = [0; 4096];
            while let Ok(length @ 1..) = pipe.read(&mut block) {
                into.lock().expect("no reader panics").extend_from_slice(&block[..length]);
            }
        });
        Captured { text, reader: Some(reader) }
    }

    fn so_far(&self) -> String {
        String::from_utf8_lossy(&self.text.lock().expect("no reader panics")).into_owned()
    }

    fn finish(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            reader.join().expect("no reader panics");
        }
        self.so_far()
    }
}
