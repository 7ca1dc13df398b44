//! Namespaces of our own: a network in which addresses can be cut off, and a mount that can be filled, with nobody else to notice.
//!
//! As root the program runs itself again below `unshare`; elsewhere the faults that need this are skipped. Whatever is set up here is gone
//! when the last process is.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use freshet_harness::kafka;

/// Says in the environment that this is the second run.
const ISOLATED: &str = "FRESHET_CHAOS_ISOLATED";
/// Room for state and lake; the fault that fills it needs as much memory.
const DISK: &str = "size=512m";

/// Goes on as the same program in namespaces of its own; returns if that cannot be, or is done already.
pub(crate) fn enter() {
    if is_isolated() {
        // The rule for local addresses comes first by default, and nothing can be put before it.
        let ready = ["link set lo up", "rule add pref 100 lookup local", "rule del pref 0"].iter().all(|words| ip(words));
        assert!(ready, "a network of its own can be set up");
        return;
    }
    // Without a network the broker's jars cannot be fetched.
    if !succeeds(Command::new("unshare").args(["-m", "-n", "ip", "link", "set", "lo", "up"])) || !kafka::is_fetched() {
        return;
    }
    let Ok(own) = std::env::current_exe() else { return };
    let mut again = Command::new("unshare");
    again.args(["-m", "-n", "--"]).arg(own).args(std::env::args_os().skip(1)).env(ISOLATED, "1");
    // In place of this process, so that a signal to it ends everything. It returns only if that cannot be.
    let error = again.exec();
    eprintln!("no namespaces: {error}");
}

/// Tells whether this run has namespaces of its own.
pub(crate) fn is_isolated() -> bool {
    std::env::var_os(ISOLATED).is_some()
}

/// Mounts a small file system; tells whether it could.
pub(crate) fn mount_small_disk(folder: &Path) -> bool {
    is_isolated() && succeeds(Command::new("mount").args(["-t", "tmpfs", "-o", DISK, "tmpfs"]).arg(folder))
}

/// An address to which no packet goes, until this goes out of scope.
pub(crate) struct Cut {
    address: String,
}

impl Cut {
    /// Cuts an address off.
    pub(crate) fn new(address: String) -> Option<Cut> {
        (is_isolated() && ip(&format!("rule add pref 10 to {address} unreachable"))).then_some(Cut { address })
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        assert!(ip(&format!("rule del pref 10 to {}", self.address)), "{} can be reached again", self.address);
    }
}

fn ip(words: &str) -> bool {
    succeeds(Command::new("ip").args(words.split(' ')))
}

fn succeeds(command: &mut Command) -> bool {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}
