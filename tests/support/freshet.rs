//! The program under test, run as a person runs it.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tempfile::TempDir;

use super::server::wait_for;

/// A command line of Freshet.
pub(crate) struct Freshet {
    command: Command,
    folder: Option<Arc<TempDir>>,
}

/// A running Freshet; it is killed when this goes out of scope.
pub(crate) struct Running {
    child: Child,
    /// Stays for as long as the program runs in it.
    _folder: Option<Arc<TempDir>>,
    stdout: Captured,
    stderr: Captured,
}

/// A Freshet that has ended.
pub(crate) struct Ended {
    /// How it ended.
    pub(crate) status: ExitStatus,
    /// What it printed.
    pub(crate) stdout: String,
    /// What it printed as errors and log.
    pub(crate) stderr: String,
}

struct Captured {
    text: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Freshet {
    /// Begins a command line that is run in `folder`.
    pub(crate) fn new(folder: &Path) -> Freshet {
        let mut command = Command::new(env!("CARGO_BIN_EXE_freshet"));
        command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).env("NO_COLOR", "1");
        for name in ["KAFKA_URL", "DATABASE_URL", "LAKE_URL", "RUST_LOG"] {
            command.env_remove(name);
        }
        Freshet { command, folder: None }
    }

    /// Begins a command line in a folder that is removed when nobody needs it any more.
    pub(crate) fn within(folder: &Arc<TempDir>) -> Freshet {
        Freshet { folder: Some(Arc::clone(folder)), ..Freshet::new(folder.path()) }
    }

    /// Adds arguments, as separated by blanks.
    pub(crate) fn args(mut self, words: &str) -> Freshet {
        self.command.args(words.split_whitespace());
        self
    }

    /// Adds one argument that may hold blanks.
    pub(crate) fn arg(mut self, word: impl AsRef<std::ffi::OsStr>) -> Freshet {
        self.command.arg(word);
        self
    }

    /// Sets an environment variable.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Freshet {
        self.command.env(name, value);
        self
    }

    /// Starts it.
    pub(crate) fn start(mut self) -> Running {
        let mut child = self.command.spawn().unwrap_or_else(|e| panic!("cannot start {:?}: {e}", self.command));
        let stdout = Captured::new(child.stdout.take().expect("stdout is piped"));
        let stderr = Captured::new(child.stderr.take().expect("stderr is piped"));
        Running { child, _folder: self.folder, stdout, stderr }
    }

    /// Runs it to its end, which has to come within `limit`.
    pub(crate) fn run(self, limit: Duration) -> Ended {
        self.start().wait(limit)
    }

    /// Runs it to its end, which has to be a good one.
    pub(crate) fn succeed(self, limit: Duration) -> Ended {
        let line = format!("{:?}", self.command);
        let ended = self.run(limit);
        ended.expect_success(&line);
        ended
    }
}

impl Running {
    /// Waits for the end, at most `limit`.
    pub(crate) fn wait(mut self, limit: Duration) -> Ended {
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
    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends SIGINT, as Ctrl-C does.
    pub(crate) fn interrupt(&self) {
        super::server::run(Command::new("kill").args(["-s", "INT", &self.child.id().to_string()]));
    }

    /// Returns what it has printed up to now.
    pub(crate) fn output(&self) -> String {
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
    pub(crate) fn expect_success(&self, what: &str) {
        assert!(self.status.success(), "{what}: {}\n--- stdout\n{}\n--- stderr\n{}", self.status, self.stdout, self.stderr);
    }

    /// Fails the test with all that was printed unless the exit code is `code`, with a message and without a panic.
    pub(crate) fn expect_error(&self, code: i32) {
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
