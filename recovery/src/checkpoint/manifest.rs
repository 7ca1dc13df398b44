//! The manifest of a checkpoint: its folds, their parts, and what the caller wants to keep beside them.

use std::ops::RangeInclusive;

use freshet_model::Epoch;

use super::Checkpoint;
use super::index::Index;
use super::verify::{read_index, read_trailer};
use crate::bytes::{Input, Output, checksum};
use crate::error::{Damaged, Error};
use crate::names::{self, CHECKPOINTS};
use crate::store::Store;

/// A manifest is no longer than this.
const MAX_MANIFEST_BYTES: u64 = 1 << 30;
const MAGIC: &[u8; 8] = b"FRSHMANI";
/// The length of a part's line with an empty path.
const LINE_BYTES: usize = 44;

/// What a checkpoint holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Which checkpoint it is.
    pub id: Checkpoint,
    /// What the caller kept beside the folds.
    pub payload: Vec<u8>,
    /// The folds, as they were published.
    pub folds: Vec<Fold>,
}

/// A fold of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fold {
    /// Its name.
    pub name: String,
    /// Its parts, ascending; together they cover every hash once.
    pub parts: Vec<PartInfo>,
}

/// A part of a fold, as the manifest lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartInfo {
    /// The hashes that it covers.
    pub range: RangeInclusive<u64>,
    /// Its length.
    pub bytes: u64,
    /// The number of its entries.
    pub entries: u64,
    /// The hash of its index, which holds the hashes of all its blocks.
    pub checksum: u64,
    /// Its path below the place of the state.
    pub path: String,
}

impl Manifest {
    /// Returns the manifest's bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.u64(self.id.epoch);
        out.u64(self.id.generation);
        out.counted(&self.payload);
        out.u32(u32::try_from(self.folds.len()).unwrap_or(u32::MAX));
        for fold in &self.folds {
            out.counted(fold.name.as_bytes());
            out.u32(u32::try_from(fold.parts.len()).unwrap_or(u32::MAX));
            for part in &fold.parts {
                out.u64(*part.range.start());
                out.u64(*part.range.end());
                out.u64(part.bytes);
                out.u64(part.entries);
                out.u64(part.checksum);
                out.counted(part.path.as_bytes());
            }
        }
        let hash = checksum(&out);
        out.u64(hash);
        out
    }

    fn decode(bytes: &[u8]) -> Option<Manifest> {
        let (body, hash) = bytes.split_last_chunk()?;
        if checksum(body) != u64::from_le_bytes(*hash) {
            return None;
        }
        let mut input = Input(body);
        if input.take(MAGIC.len())? != MAGIC {
            return None;
        }
        let id = Checkpoint { epoch: input.u64()?, generation: input.u64()? };
        let payload = input.counted()?.to_vec();
        let count = input.count(8)?;
        let folds = (0..count).map(|_| fold(&mut input)).collect::<Option<_>>()?;
        input.0.is_empty().then_some(Manifest { id, payload, folds })
    }

    /// Returns the fold of a name.
    #[must_use]
    pub fn fold(&self, name: &str) -> Option<&Fold> {
        self.folds.iter().find(|fold| fold.name == name)
    }
}

fn fold(input: &mut Input<'_>) -> Option<Fold> {
    let name = input.text()?;
    let count = input.count(LINE_BYTES)?;
    let parts = (0..count).map(|_| part(input)).collect::<Option<_>>()?;
    Some(Fold { name, parts })
}

fn part(input: &mut Input<'_>) -> Option<PartInfo> {
    Some(PartInfo {
        range: input.u64()?..=input.u64()?,
        bytes: input.u64()?,
        entries: input.u64()?,
        checksum: input.u64()?,
        path: input.text()?,
    })
}

/// Reads a checkpoint's manifest.
pub(crate) fn load(store: &dyn Store, id: Checkpoint) -> Result<Manifest, Error> {
    let path = names::manifest(id);
    let bytes = store.read(std::slice::from_ref(&path), MAX_MANIFEST_BYTES)?.into_iter().flatten().next();
    let damaged = |problem: &str| Damaged::checkpoint(format!("{}/{path}", store.place()), 0, problem);
    let bytes = bytes.ok_or_else(|| damaged("the manifest is missing"))?;
    let manifest = Manifest::decode(&bytes).ok_or_else(|| damaged("the manifest does not fit its checksum"))?;
    let folder = format!("{}/", names::checkpoint(id));
    let is_inside = |part: &PartInfo| part.path.strip_prefix(&folder).is_some_and(|name| !name.contains('/'));
    if manifest.id != id || !manifest.folds.iter().flat_map(|fold| &fold.parts).all(is_inside) {
        return Err(damaged("the manifest is that of another checkpoint").into());
    }
    Ok(manifest)
}

/// Finds the parts that a checkpoint has, and checks that those of each fold cover every hash once.
pub(crate) fn collect_parts(store: &dyn Store, id: Checkpoint, folds: &[String]) -> Result<Vec<Fold>, Error> {
    let folder = names::checkpoint(id);
    let mut found: Vec<(String, PartInfo)> = Vec::new();
    for path in store.list(CHECKPOINTS)? {
        if path.strip_prefix(&folder).is_some_and(|name| name.starts_with('/')) && path.ends_with(".part") {
            found.push(describe(store, path)?);
        }
    }
    folds.iter().map(|name| gather(id.epoch, name, &found)).collect()
}

fn describe(store: &dyn Store, path: String) -> Result<(String, PartInfo), Error> {
    let bytes = store.length(&path)?.unwrap_or(0);
    let (place, checksum) = read_trailer(store, &path, bytes)?;
    let Index { fold, range, entries, .. } = read_index(store, &path, place, checksum)?;
    Ok((fold, PartInfo { range, bytes, entries, checksum, path }))
}

fn gather(epoch: Epoch, name: &str, found: &[(String, PartInfo)]) -> Result<Fold, Error> {
    let mut parts: Vec<PartInfo> = found.iter().filter(|(fold, _)| fold == name).map(|(_, part)| part.clone()).collect();
    parts.sort_by_key(|part| *part.range.start());
    let refuse = |problem: String| Err(Error::Incomplete { epoch, fold: name.to_owned(), problem });
    let mut next = Some(0);
    for part in &parts {
        let (begin, end) = (*part.range.start(), *part.range.end());
        match next {
            Some(next) if begin == next => {}
            Some(next) if begin > next => return refuse(format!("no part holds the hashes from {next:x} to {:x}", begin - 1)),
            _ => return refuse(format!("two parts hold the hash {begin:x}")),
        }
        next = end.checked_add(1);
    }
    match next {
        None => Ok(Fold { name: name.to_owned(), parts }),
        Some(next) => refuse(format!("no part holds the hashes from {next:x} on")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn info(range: RangeInclusive<u64>) -> (String, PartInfo) {
        ("f".to_owned(), PartInfo { range, bytes: 1, entries: 0, checksum: 0, path: String::new() })
    }

    #[test]
    fn parts_cover_every_hash_once() {
        let gather = |ranges: &[RangeInclusive<u64>]| {
            let found: Vec<_> = ranges.iter().cloned().map(info).collect();
            gather(7, "f", &found).map(|fold| fold.parts.len()).map_err(|error| error.to_string())
        };
        assert_eq!(gather(&[0..=u64::MAX]), Ok(1));
        assert_eq!(gather(&[100..=u64::MAX, 0..=99]), Ok(2));
        for (ranges, problem) in [
            (vec![], "from 0 on"),
            (vec![1..=u64::MAX], "from 0 to 0"),
            (vec![0..=9, 11..=u64::MAX], "from a to a"),
            (vec![0..=9, 9..=u64::MAX], "hash 9"),
            (vec![0..=u64::MAX, 5..=7], "hash 5"),
            (vec![0..=9], "from a on"),
        ] {
            let error = gather(&ranges).expect_err("not covered");
            assert!(error.contains(problem) && error.contains("checkpoint 7, fold f"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn garbage_is_no_manifest(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut signed = [MAGIC.as_slice(), &bytes].concat();
            let hash = checksum(&signed);
            signed.u64(hash);
            // With the right checksum it is still read without a panic, and if it is read it means what it says.
            if let Some(manifest) = Manifest::decode(&signed) {
                prop_assert_eq!(manifest.encode(), signed);
            }
            prop_assert_eq!(Manifest::decode(&bytes), None);
        }
    }
}
