//! What a partition's newest manifest says: all that the lake knows of the partition, beside the files that readers see.
//!
//! A manifest is two lines of JSON, the second with the checksum of the first. It is the state as a whole, not a change.

use freshet_model::{Epoch, PartitionId};
use serde::{Deserialize, Serialize};

use super::checksum;
use super::hours::Hour;

/// The version of the format that this program writes and reads.
const VERSION: u32 = 1;

/// The durable state of one partition of one sink.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    /// The version of the format.
    pub(super) version: u32,
    /// Whose it is.
    pub(super) owner: Owner,
    /// Its place in the chain, which is in its name too.
    pub(super) number: u64,
    /// The generation that wrote it.
    pub(super) generation: u64,
    /// Which of the processes that call themselves that generation wrote it.
    pub(super) writer: String,
    /// The newest epoch up to which the lake holds the partition's rows, seen or staged.
    pub(super) held: Option<Epoch>,
    /// Whether the partition's earlier files are being removed: what is there counts for nothing.
    pub(super) clearing: bool,
    /// The numbers of the manifests by which generations took over, the newest last: these are kept.
    pub(super) takeovers: Vec<u64>,
    /// The parts that readers do not see yet, in the order of their rows within each hour.
    pub(super) parts: Vec<Part>,
    /// The files that this step shows: each is staged, or already seen.
    pub(super) files: Vec<Shown>,
}

/// A partition of a job's sink.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Owner {
    /// The job's name.
    pub(super) job: String,
    /// The sink's name in the job.
    pub(super) sink: String,
    /// The partition of the source.
    pub(super) partition: PartitionId,
}

/// A complete Parquet file in the staging folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Part {
    /// Its name in the partition's staging folder.
    pub(super) name: String,
    /// The hour of all its rows.
    pub(super) hour: Option<Hour>,
    /// The epoch of its first row.
    pub(super) first: Epoch,
    /// The epoch of its last row.
    pub(super) last: Epoch,
    /// Its rows.
    pub(super) rows: u64,
    /// Its length.
    pub(super) bytes: u64,
    /// Its checksum.
    pub(super) checksum: String,
    /// The columns' names and types, hashed: parts that differ in it are never merged.
    pub(super) schema: String,
    /// When its first row came, in milliseconds since 1970.
    pub(super) since_ms: u64,
    /// Whether its content is known to be as it was written.
    #[serde(skip)]
    pub(super) verified: bool,
}

/// A file that readers see, or are about to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Shown {
    /// Its name in the partition's staging folder, until it is seen.
    pub(super) staged: String,
    /// Its place in the lake.
    pub(super) path: String,
    /// The epoch of its first row.
    pub(super) first: Epoch,
    /// The epoch of its last row.
    pub(super) last: Epoch,
    /// Its rows.
    pub(super) rows: u64,
    /// Its length.
    pub(super) bytes: u64,
    /// Its checksum.
    pub(super) checksum: String,
    /// The parts of which it was made.
    pub(super) parts: Vec<String>,
}

#[derive(Serialize)]
struct Foot<'a> {
    xxh3: &'a str,
}

impl Manifest {
    /// Makes the state of a partition that holds nothing.
    pub(super) fn new(owner: Owner, generation: u64, writer: String) -> Manifest {
        let (takeovers, parts, files) = (Vec::new(), Vec::new(), Vec::new());
        Manifest { version: VERSION, owner, number: 0, generation, writer, held: None, clearing: false, takeovers, parts, files }
    }

    /// Writes the two lines.
    pub(super) fn render(&self) -> Result<String, serde_json::Error> {
        let body = serde_json::to_string(self)?;
        let foot = serde_json::to_string(&Foot { xxh3: &checksum::of(body.as_bytes()) })?;
        Ok(format!("{body}\n{foot}\n"))
    }

    /// Reads the two lines.
    ///
    /// # Errors
    /// What is wrong with them: any byte that is not as it was written.
    pub(super) fn parse(bytes: &[u8]) -> Result<Manifest, String> {
        let text = str::from_utf8(bytes).map_err(|_| "is damaged: it is no text".to_owned())?;
        let body = text.lines().next().unwrap_or_default();
        let foot = format!("{{\"xxh3\":\"{}\"}}", checksum::of(body.as_bytes()));
        if text != format!("{body}\n{foot}\n") {
            return Err("is damaged: it is not as its checksum says".to_owned());
        }
        let known: Version = serde_json::from_str(body).map_err(|error| format!("cannot be read: {error}"))?;
        if known.version != VERSION {
            return Err(format!("has version {} and this program reads {VERSION}", known.version));
        }
        serde_json::from_str(body).map_err(|error| format!("cannot be read: {error}"))
    }
}

#[derive(Deserialize)]
struct Version {
    version: u32,
}
