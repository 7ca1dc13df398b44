//! The lease of a generation in an object store: an expiry that a thread moves on.
//!
//! The generation's own object, which is put if absent, carries the first expiry, so that no moment passes between taking the
//! number and holding it; later ones are in an object of their own that its owner alone writes. Expiries are compared with the
//! reader's clock: clocks that differ by seconds make a start wait or let a second one through, which the generation then fences. No
//! result depends on them.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use freshet_model::Timestamp;

use super::objects::Objects;
use super::{Claim, Store};
use crate::Error;
use crate::names;
use crate::owner::Owner;

/// A lease that is not renewed ends after this time.
const EXPIRY_US: i64 = 5_000_000;
/// A lease is renewed this often.
const RENEW: Duration = Duration::from_secs(1);
/// An owner's object says little; a longer one is not read.
const MAX_OWNER_BYTES: u64 = 4096;

/// A lease that is renewed until it is dropped, and then given back.
#[derive(Debug)]
struct Lease {
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Claim for Lease {}

impl Drop for Lease {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            // A renewal that panicked has nothing to give back.
            let _ = thread.join();
        }
    }
}

/// Puts a generation's object unless it is there already.
pub(super) fn claim(objects: &Objects, generation: u64, owner: &Owner) -> Result<Option<Box<dyn Claim>>, Error> {
    let path = names::generation(generation);
    let owner = Owner { expires_us: expiry(), ..owner.clone() };
    if !objects.put_new(&path, owner.text().as_bytes())? {
        return Ok(None);
    }
    let (end, ended) = channel();
    let renewed = objects.clone();
    let thread = std::thread::Builder::new().name("lease".to_owned()).spawn(move || renew(&renewed, generation, owner, &ended));
    let thread = thread.map_err(|error| Error::unavailable(path, error))?;
    Ok(Some(Box::new(Lease { end: Some(end), thread: Some(thread) })))
}

/// Returns the owner of a generation whose lease has not ended.
pub(super) fn holder(objects: &Objects, generation: u64) -> Result<Option<Owner>, Error> {
    let paths = [names::generation(generation), names::lease(generation)];
    let found = objects.read(&paths, MAX_OWNER_BYTES)?;
    // The later word counts, and that is the lease as soon as it has been renewed once.
    let owner = found.into_iter().flatten().next_back().map(|text| Owner::parse(&text));
    Ok(owner.filter(|owner| owner.expires_us > Timestamp::now().0))
}

/// Moves the expiry on until the lease is dropped. An error is borne: the next try may succeed, and if none does the lease ends,
/// which harms nobody but those who count on the second start being refused.
fn renew(objects: &Objects, generation: u64, mut owner: Owner, ended: &Receiver<()>) {
    let path = names::lease(generation);
    while ended.recv_timeout(RENEW) == Err(RecvTimeoutError::Timeout) {
        owner.expires_us = expiry();
        let _ = objects.put(&path, owner.text().as_bytes());
    }
    owner.expires_us = 0;
    let _ = objects.put(&path, owner.text().as_bytes());
}

fn expiry() -> i64 {
    Timestamp::now().plus_micros(EXPIRY_US).0
}
