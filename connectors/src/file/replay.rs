//! A file to which dead letters are put back, one record a line.
//!
//! The ledger is the file `<name>.replayed.ndjson` beside it; both have no other writer, and grow together (`store.rs`).

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use freshet_model::Timestamp;
use serde::{Deserialize, Serialize};

use super::archive::lines;
use super::batch_sink::file_of;
use super::store::Store;
use crate::letters::{Access, Letter, Place, Target};
use crate::{Error, Past, SinkOptions};

/// A line of the ledger.
#[derive(Serialize, Deserialize)]
struct Entry {
    /// `job/source/partition/offset`.
    replay: String,
    place: String,
    at: String,
}

/// A file, and the ledger beside it.
pub(crate) struct FileTarget {
    thing: String,
    job: String,
    path: PathBuf,
    ledger: PathBuf,
    /// `None` for who only reads.
    store: Option<Store>,
}

impl FileTarget {
    /// Takes the file over from whoever put letters back before, or makes it.
    pub(crate) fn open(url: &str, job: &str, access: Access) -> Result<FileTarget, Error> {
        let thing = format!("replay of job '{job}'");
        let path = file_of(&thing, url)?;
        let ledger = path.with_extension("replayed.ndjson");
        let options = SinkOptions {
            job: job.to_owned(),
            name: "replay".to_owned(),
            generation: Timestamp::now().0.unsigned_abs(),
            past: Past::Kept,
            avro: None,
            roll_bytes: u64::MAX,
            roll_interval: Duration::MAX,
            settings: std::collections::BTreeMap::new(),
        };
        let paths = [path.clone(), ledger.clone()];
        let store = (access == Access::Write).then(|| Store::open(&thing, &paths, &options)).transpose()?;
        Ok(FileTarget { thing, job: job.to_owned(), path, ledger, store })
    }

    fn write(&self, store: &mut Store, letters: &[Letter], at: Timestamp) -> Result<(), Error> {
        let out = store.file(&self.path)?.lines();
        for letter in letters {
            out.extend_from_slice(&letter.payload);
            out.push(b'\n');
        }
        let out = store.file(&self.ledger)?.lines();
        for Letter { place, .. } in letters {
            let entry = Entry { replay: format!("{}/{place}", self.job), place: place.to_string(), at: at.to_string() };
            out.extend_from_slice(&serde_json::to_vec(&entry).unwrap_or_default());
            out.push(b'\n');
        }
        let epoch = store.held().map_or(0, |held| held + 1);
        store.commit(epoch)
    }
}

impl Target for FileTarget {
    fn replayed(&mut self) -> Result<BTreeSet<Place>, Error> {
        let mut places = BTreeSet::new();
        lines(&self.thing, &self.path, &self.ledger, &mut |line| {
            let entry: Option<Entry> = serde_json::from_slice(line).ok();
            places.extend(entry.and_then(|entry| entry.place.parse::<Place>().ok()));
        })?;
        Ok(places)
    }

    fn refuses(&self, letter: &Letter) -> Option<&'static str> {
        letter.payload.contains(&b'\n').then_some("it has several lines, which a file would take apart")
    }

    fn put(&mut self, letters: &[Letter], at: Timestamp) -> Result<(), Error> {
        let read_only = || Error::setup(&self.thing, "was opened to be read", "open it to be written");
        let mut store = self.store.take().ok_or_else(read_only)?;
        let result = self.write(&mut store, letters, at);
        self.store = Some(store);
        result
    }
}
