//! Files that grow together, epoch by epoch: what they hold as of the newest epoch counts, and what lies behind is cut off by the next start.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use freshet_model::Epoch;

use super::Appender;
use super::claim::{Claim, Extent, Held, sync_folder};
use super::paths::parent;
use crate::{Error, SinkOptions, fault};

/// A sink's files, of which this process is the only writer.
pub(super) struct Store {
    thing: String,
    /// By their names.
    paths: BTreeMap<String, PathBuf>,
    /// Those that have been opened, by their names.
    open: BTreeMap<String, Appender>,
    /// `None` for what is no file on a disk, such as a pipe: it cannot take anything back, so rows of replayed epochs are there twice.
    claim: Option<Claim>,
    held: Held,
}

impl Store {
    /// Fences older generations, cuts off what they have left behind their newest epoch, and goes on there. The first path names the sink's folder;
    /// the files of the others are made when they are needed.
    pub(super) fn open(thing: &str, paths: &[PathBuf], options: &SinkOptions) -> Result<Store, Error> {
        let name = |path: &PathBuf| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let (job, sink, generation) = (options.job.clone(), options.name.clone(), options.generation);
        let mut store = Store {
            thing: thing.to_owned(),
            paths: paths.iter().map(|path| (name(path), path.clone())).collect(),
            open: BTreeMap::new(),
            claim: None,
            held: Held { job, sink, generation, epoch: None, files: BTreeMap::new() },
        };
        let Some(main) = paths.first() else { return Ok(store) };
        if std::fs::metadata(main).is_ok_and(|found| !found.is_file()) {
            store.file(main)?;
            return Ok(store);
        }
        fault::point("file::fence", thing)?;
        let claim = Claim::take(thing, main, generation)?;
        let found = claim.held()?;
        fault::point("file::progress_read", thing)?;
        match found {
            Some(found) => store.resume(found, &claim, options.past.is_forgotten())?,
            None => store.begin()?,
        }
        store.file(main)?;
        claim.store(&store.held)?;
        claim.sync()?;
        sync_folder(parent(main)).map_err(|error| {
            Error::setup(thing, format!("cannot write {}: {error}", parent(main).display()), "check the path and its permissions")
        })?;
        store.claim = Some(claim);
        Ok(store)
    }

    /// Leaves what is there to its owner, and begins behind it.
    fn begin(&mut self) -> Result<(), Error> {
        for (name, path) in &self.paths {
            let length = match path.exists() {
                true => Appender::open(&self.thing, path)?.length()?,
                false => 0,
            };
            self.held.files.insert(name.clone(), Extent { begin: length, end: length });
        }
        Ok(())
    }

    /// Goes on with what an earlier generation has left, or with nothing of it.
    fn resume(&mut self, found: Held, claim: &Claim, reset: bool) -> Result<(), Error> {
        let ours = self.held.generation;
        if found.generation > ours {
            return Err(claim.fenced(found.generation));
        }
        if (&found.job, &found.sink) != (&self.held.job, &self.held.sink) {
            let problem = format!("its file holds rows of sink '{}' of job '{}'", found.sink, found.job);
            let remedy = "let each sink write a file of its own, or move the file and its .freshet folder away";
            return Err(Error::setup(&self.thing, problem, remedy));
        }
        let anew = reset && found.generation < ours;
        self.held.epoch = found.epoch.filter(|_| !anew);
        for (name, path) in &self.paths {
            let mut extent = found.files.get(name).copied().unwrap_or(Extent { begin: 0, end: 0 });
            if anew {
                extent.end = extent.begin;
            }
            cut(&self.thing, path, extent.end)?;
            self.held.files.insert(name.clone(), extent);
        }
        Ok(())
    }

    /// Returns the newest epoch whose lines are in the files for good.
    pub(super) fn held(&self) -> Option<Epoch> {
        self.held.epoch
    }

    /// Returns the number of this start of the job.
    pub(super) fn generation(&self) -> u64 {
        self.held.generation
    }

    /// Tells whether a newer start of the job has taken over.
    pub(super) fn check(&self) -> Result<(), Error> {
        self.claim.as_ref().map_or(Ok(()), Claim::check)
    }

    /// Returns one of the files, opened if it was not.
    pub(super) fn file(&mut self, path: &Path) -> Result<&mut Appender, Error> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let appender = match self.open.remove(&name) {
            Some(appender) => appender,
            None => Appender::open_as_it_is(&self.thing, path)?,
        };
        Ok(self.open.entry(name).or_insert(appender))
    }

    /// Makes all lines durable, and with them the fact that they are those up to an epoch.
    pub(super) fn commit(&mut self, epoch: Epoch) -> Result<(), Error> {
        self.check()?;
        self.open.values_mut().try_for_each(Appender::flush)?;
        let Some(claim) = &self.claim else { return Ok(()) };
        let mut held = Held { epoch: Some(epoch), ..self.held.clone() };
        for (name, appender) in &mut self.open {
            appender.close()?;
            let end = appender.length()?;
            held.files.entry(name.clone()).and_modify(|extent| extent.end = end).or_insert(Extent { begin: 0, end });
        }
        fault::point("file::before_sidecar", &self.thing)?;
        claim.store(&held)?;
        self.held = held;
        claim.sync()
    }

    /// Cuts off what was written since the newest epoch.
    pub(super) fn take_back(&mut self) -> Result<(), Error> {
        for (name, appender) in &mut self.open {
            match self.held.files.get(name) {
                Some(extent) if self.claim.is_some() => appender.cut(extent.end)?,
                _ => appender.lines().clear(),
            }
        }
        Ok(())
    }
}

/// Cuts a file off, which must not be shorter already.
fn cut(thing: &str, path: &Path, end: u64) -> Result<(), Error> {
    let length = std::fs::metadata(path).map_or(0, |found| found.len());
    if length < end {
        let problem = format!("{} has {length} bytes, but the job has written {end}", path.display());
        return Err(Error::setup(thing, problem, "put the file back, or begin anew with --reset"));
    }
    if length > end {
        let mut appender = Appender::open_as_it_is(thing, path)?;
        appender.cut(end)?;
        appender.close()?;
    }
    Ok(())
}
