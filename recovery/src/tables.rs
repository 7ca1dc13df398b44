//! Versions of tables: what a job's streams were enriched from, for as long as an epoch may be read again that names them.
//!
//! A version is written once, before the log names it, and whole: a name, a number, and bytes, compressed, with a checksum over all.

use crate::bytes::{Input, Output, checksum};
use crate::error::{Damaged, Error};
use crate::names::{self, TABLES};
use crate::store::Store;

const MAGIC: &[u8; 8] = b"FRSHTABL";
/// A version's bytes are no more than this before they are compressed.
const MAX_VERSION_BYTES: usize = 1 << 30;

/// Writes a version unless it is there already, and tells whether it did.
pub(crate) fn put(store: &dyn Store, table: &str, version: u64, bytes: &[u8]) -> Result<bool, Error> {
    let path = path(table, version)?;
    if bytes.len() > MAX_VERSION_BYTES {
        let problem = format!("a version of table '{table}' has {} bytes, of at most {MAX_VERSION_BYTES}", bytes.len());
        return Err(Error::setup(store.place(), problem, "declare fewer of its columns, or leave out rows"));
    }
    store.put_new(&path, &encode(table, version, bytes))
}

/// Reads a version.
pub(crate) fn read(store: &dyn Store, table: &str, version: u64) -> Result<Vec<u8>, Error> {
    let path = path(table, version)?;
    // What does not get shorter by compression may get longer by some bytes.
    let limit = 2 * MAX_VERSION_BYTES as u64;
    let found = store.read(std::slice::from_ref(&path), limit)?.into_iter().flatten().next();
    let damaged = |problem: &str| Damaged::log(format!("{}/{path}", store.place()), 0, problem);
    let found = found.ok_or_else(|| damaged("the version is missing"))?;
    decode(table, version, &found).ok_or_else(|| damaged("the version does not fit its checksum").into())
}

/// Lists the versions of a table, ascending.
pub(crate) fn list(store: &dyn Store, table: &str) -> Result<Vec<u64>, Error> {
    let paths = store.list(TABLES)?;
    let mut versions: Vec<u64> = paths
        .iter()
        .filter_map(|path| names::parse_version(path))
        .filter(|(of, _)| *of == table)
        .map(|(_, version)| version)
        .collect();
    versions.sort_unstable();
    Ok(versions)
}

/// Deletes the versions below these, and all versions of tables that are not among them.
pub(crate) fn collect(store: &dyn Store, floors: &[(String, u64)]) -> Result<(), Error> {
    let is_old = |path: &&String| {
        let Some((table, version)) = names::parse_version(path) else { return false };
        floors.iter().find(|(known, _)| known == table).is_none_or(|(_, floor)| version < *floor)
    };
    store.list(TABLES)?.iter().filter(is_old).try_for_each(|path| store.delete(path))
}

fn path(table: &str, version: u64) -> Result<String, Error> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    match !table.is_empty() && table.bytes().all(is_plain) {
        true => Ok(names::version(table, version)),
        false => Err(Error::Order(format!("a version of a table was named {table:?}"))),
    }
}

fn encode(table: &str, version: u64, bytes: &[u8]) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.counted(table.as_bytes());
    out.u64(version);
    out.u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    out.extend_from_slice(&lz4_flex::block::compress(bytes));
    let hash = checksum(&out);
    out.u64(hash);
    out
}

fn decode(table: &str, version: u64, bytes: &[u8]) -> Option<Vec<u8>> {
    let (body, hash) = bytes.split_last_chunk()?;
    let mut input = Input(body);
    let is_it = checksum(body) == u64::from_le_bytes(*hash)
        && input.take(MAGIC.len())? == MAGIC
        && input.text()? == table
        && input.u64()? == version;
    let length = usize::try_from(is_it.then(|| input.u32())??).ok().filter(|length| *length <= MAX_VERSION_BYTES)?;
    lz4_flex::block::decompress(input.0, length).ok().filter(|raw| raw.len() == length)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_version_comes_back_as_it_was_or_not_at_all(bytes in prop::collection::vec(any::<u8>(), 0..2000), at in any::<prop::sample::Index>()) {
            let written = encode("users", 7, &bytes);
            prop_assert_eq!(decode("users", 7, &written), Some(bytes));
            prop_assert_eq!(decode("users", 8, &written), None);
            prop_assert_eq!(decode("user", 7, &written), None);
            let mut broken = written.clone();
            broken[at.index(written.len())] ^= 1;
            prop_assert_eq!(decode("users", 7, &broken), None);
            prop_assert_eq!(decode("users", 7, &written[..at.index(written.len())]), None);
        }
    }
}
