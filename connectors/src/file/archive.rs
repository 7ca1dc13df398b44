//! Reads dead letters or late events from their file: the lines that count, and not those of a commit that is under way.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use freshet_model::Timestamp;

use super::batch_sink::file_of;
use super::claim::extent;
use super::rejects::{DeadLine, LateLine, from_hex};
use crate::Error;
use crate::format::read_time;
use crate::letters::{Archive, Kind, Late, Letter, Place, Shelf};

/// What a file has of one kind of rejects.
pub(crate) struct FileArchive {
    thing: String,
    kind: Kind,
    job: String,
    /// The file that names the folder of what counts.
    main: PathBuf,
    path: PathBuf,
}

impl FileArchive {
    /// Means the file of a place, or that beside the file of a sink for views.
    pub(crate) fn open(shelf: &Shelf, kind: Kind) -> Result<FileArchive, Error> {
        let thing = format!("sink '{}'", shelf.name);
        let main = file_of(&thing, &shelf.url)?;
        let path = match (shelf.alone, kind) {
            (true, _) => main.clone(),
            (false, Kind::Dead) => main.with_extension("dead.ndjson"),
            (false, Kind::Late) => main.with_extension("late.ndjson"),
        };
        Ok(FileArchive { thing, kind, job: shelf.job.clone(), main, path })
    }

    fn letter(&self, line: &[u8]) -> Option<Letter> {
        match self.kind {
            Kind::Dead => serde_json::from_slice(line).ok().map(|line| dead(&self.job, line)),
            Kind::Late => serde_json::from_slice(line).ok().map(|line| late(&self.job, &line)),
        }
    }
}

impl Archive for FileArchive {
    fn read(&mut self, each: &mut dyn FnMut(Letter)) -> Result<(), Error> {
        lines(&self.thing, &self.main, &self.path, &mut |line| {
            if let Some(letter) = self.letter(line) {
                each(letter);
            }
        })
    }
}

/// Reads the lines of a file that count; a file that does not exist has none.
pub(super) fn lines(thing: &str, main: &Path, path: &Path, each: &mut dyn FnMut(&[u8])) -> Result<(), Error> {
    let extent = extent(thing, main, path)?;
    let failed = |error: std::io::Error| Error::unavailable(thing, format!("reading {} failed: {error}", path.display()));
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    let (begin, end) = extent.map_or((0, u64::MAX), |extent| (extent.begin, extent.end));
    file.seek(SeekFrom::Start(begin)).map_err(failed)?;
    let mut reader = BufReader::new(file.take(end - begin));
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).map_err(failed)? > 0 {
        each(line.trim_ascii_end());
        line.clear();
    }
    Ok(())
}

fn dead(job: &str, line: DeadLine) -> Letter {
    let hex = line.payload_hex.as_deref().and_then(from_hex);
    Letter {
        place: Place { source: line.source, partition: line.partition, offset: line.offset },
        job: job.to_owned(),
        epoch: line.epoch,
        time: line.time.as_deref().and_then(read_time),
        reason: line.reason,
        detail: line.detail,
        payload: line.payload.map(String::into_bytes).or(hex).unwrap_or_default(),
        bytes: line.bytes,
        replayed_at: None,
        late: None,
    }
}

fn late(job: &str, line: &LateLine) -> Letter {
    let time = |text: &str, other| read_time(text).unwrap_or(other);
    let late = Late {
        view: line.view.clone(),
        window_start: time(&line.window_start, Timestamp::MIN),
        window_end: time(&line.window_end, Timestamp::MAX),
        event_time: time(&line.event_time, Timestamp::MIN),
        watermark: time(&line.watermark, Timestamp::MAX),
    };
    Letter {
        place: Place { source: line.source.clone(), partition: line.partition, offset: line.offset },
        job: job.to_owned(),
        epoch: line.epoch,
        time: line.time.as_deref().and_then(read_time),
        reason: String::new(),
        detail: String::new(),
        payload: line.event.get().as_bytes().to_vec(),
        bytes: None,
        replayed_at: None,
        late: Some(late),
    }
}
