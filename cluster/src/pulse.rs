//! Says every so often that this process lives, and looks whether the others do.

use std::time::Instant;

use crate::frame::Frame;
use crate::links::Links;

/// Beats until the connections are of no use any more.
pub(crate) fn beat(links: &Links) {
    let timeouts = links.timeouts;
    let mut last = Instant::now();
    while links.sleep(timeouts.heartbeat) {
        let now = Instant::now();
        // A process that was stopped finds the others' beats unread and must not take that for their silence.
        let overslept = now.duration_since(last) > timeouts.heartbeat * 2;
        last = now;
        for (process, line) in links.lines() {
            let silence = line.silence();
            if silence > timeouts.lost_after && !overslept && !links.has_left(process) {
                links.silent(process, &line, silence);
            } else if !links.has_said_bye() {
                // Whoever has said good-bye still waits for this process to do so.
                // A write that fails is noticed by the thread that reads.
                let _ = line.write_if_free(&Frame::Beat);
            }
        }
    }
}
