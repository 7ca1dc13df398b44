//! No room on the disk.

use std::fs::File;
use std::io::Write;
use std::thread::sleep;
use std::time::Duration;

use super::{Outcome, World, over};

/// Fills the small file system below the job's folder, if the stage could mount one, and empties it again.
pub(super) fn full(world: &mut World) -> Outcome {
    if !world.stage.has_small_disk {
        return Outcome::Skipped("no file system of its own: needs root and unshare");
    }
    let ballast = world.stage.data().join("ballast");
    let block = vec![0; 1 << 20];
    let filled = File::create(&ballast).map(|mut file| while file.write_all(&block).is_ok() {});
    sleep(Duration::from_secs(3));
    if std::fs::remove_file(&ballast).is_err() || filled.is_err() {
        return Outcome::Skipped("the file system could not be filled");
    }
    over()
}
