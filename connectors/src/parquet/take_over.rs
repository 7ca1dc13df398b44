//! How a generation begins with a partition: it takes the chain over, and only then completes or removes what earlier ones left.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::{Duration, Instant};

use freshet_model::PartitionId;

use super::chain::{Chain, KEPT_TAKEOVERS, Newest};
use super::folders;
use super::lake::{Lake, folder_of};
use super::manifest::{Manifest, Part};
use super::open_file::now_ms;
use super::partition::{Partition, Staged, verify};
use crate::{Error, fault};

/// A part of at most this size is read at the start to see whether it is as it was written, a larger one before it is shown.
const VERIFY_AT_START_BYTES: u64 = 16 << 20;

/// Takes some partitions over, and brings what earlier generations left into order.
///
/// # Errors
/// A newer generation has one of them, or what is there is not as it was left.
pub(super) fn take_over(lake: &Lake, partitions: &[PartitionId], reset: bool) -> Result<BTreeMap<PartitionId, Partition>, Error> {
    if !reset {
        refuse_strangers(lake, partitions)?;
    }
    let mut taken = BTreeMap::new();
    for &id in partitions {
        let chain = lake.chain(id);
        let head = fence(lake, id, &chain, reset)?;
        fault::point("lake::progress_read", lake.thing())?;
        taken.insert(id, Partition { id, chain, head, hours: BTreeMap::new(), unnamed: false, written: None });
    }
    clear(lake, &mut taken)?;
    for partition in taken.values_mut() {
        repair(lake, partition)?;
    }
    Ok(taken)
}

/// Refuses files of partitions that have no manifests: nobody can say what they hold.
fn refuse_strangers(lake: &Lake, partitions: &[PartitionId]) -> Result<(), Error> {
    let is_new = |id: &PartitionId| lake.chain(*id).numbers().map(|numbers| numbers.is_empty().then_some(*id)).transpose();
    let new = partitions.iter().filter_map(is_new).collect::<io::Result<BTreeSet<_>>>().map_err(|error| lake.failed(&error))?;
    if new.is_empty() {
        return Ok(());
    }
    let found = lake.visible(&new).map_err(|error| lake.failed(&error))?;
    let Some((id, files)) = found.iter().next() else { return Ok(()) };
    let example = files.first().map(|path| path.display().to_string()).unwrap_or_default();
    let folder = lake.chain(*id).folder().display().to_string();
    Err(lake.broken(format!("partition {id} has {} files such as {example}, and no manifest in {folder}", files.len())))
}

/// Writes this generation's first manifest, after which no earlier one can write.
fn fence(lake: &Lake, id: PartitionId, chain: &Chain, reset: bool) -> Result<Manifest, Error> {
    chain.sweep().map_err(|error| lake.failed(&error))?;
    loop {
        let mut next = follow(lake, id, chain, reset)?;
        next.takeovers.push(next.number);
        let too_many = next.takeovers.len().saturating_sub(KEPT_TAKEOVERS);
        next.takeovers.drain(..too_many);
        fault::point("lake::fence", lake.thing())?;
        // Otherwise an earlier generation has just written one more, and that counts.
        if chain.put(&next).map_err(|error| lake.failed(&error))? {
            return Ok(next);
        }
    }
}

/// Says what this generation's first manifest is to be.
fn follow(lake: &Lake, id: PartitionId, chain: &Chain, reset: bool) -> Result<Manifest, Error> {
    let blank = chain.blank();
    let anew = |number, takeovers| Manifest { number, takeovers, clearing: true, ..chain.blank() };
    match chain.newest().map_err(|error| lake.failed(&error))? {
        Newest::Foreign(owner) => {
            let problem = format!("'{}' of job '{}' has files of the same names in this lake", owner.sink, owner.job);
            Err(Error::setup(lake.thing(), problem, "give the job or the sink another name, or the sink another folder"))
        }
        Newest::Valid(newest) if newest.generation > blank.generation => Err(lake.fenced(id, newest.generation)),
        Newest::Valid(newest) if newest.generation == blank.generation && !chain.is_own(&newest) => Err(lake.shared(id)),
        Newest::Valid(newest) if reset || newest.clearing => Ok(anew(newest.number + 1, newest.takeovers)),
        Newest::Valid(newest) => {
            Ok(Manifest { number: newest.number + 1, generation: blank.generation, writer: blank.writer, ..*newest })
        }
        Newest::Damaged(number, _) if reset => Ok(anew(number + 1, chain.numbers().map_err(|error| lake.failed(&error))?)),
        Newest::Damaged(number, problem) => {
            let path = chain.path(number);
            Err(lake.broken(format!("the newest manifest of partition {id}, {}, {problem}", path.display())))
        }
        Newest::Nothing => Ok(Manifest { number: 1, clearing: reset, ..blank }),
    }
}

/// Removes all files of the partitions that begin anew, and says so in their manifests. Staged files go first: an earlier generation that was
/// about to show one can't any more when the visible ones are listed.
fn clear(lake: &Lake, taken: &mut BTreeMap<PartitionId, Partition>) -> Result<(), Error> {
    let clearing: BTreeSet<PartitionId> =
        taken.values().filter(|partition| partition.head.clearing).map(|partition| partition.id).collect();
    if clearing.is_empty() {
        return Ok(());
    }
    remove_files(lake, &clearing).map_err(|error| lake.failed(&error))?;
    fault::point("lake::half_reset", lake.thing())?;
    for partition in taken.values_mut().filter(|partition| partition.head.clearing) {
        let next = Manifest { number: partition.head.number + 1, clearing: false, ..partition.head.clone() };
        partition.put(lake, next)?;
    }
    Ok(())
}

fn remove_files(lake: &Lake, partitions: &BTreeSet<PartitionId>) -> io::Result<()> {
    for &id in partitions {
        lake.sweep(id, &BTreeSet::new())?;
    }
    let mut changed = BTreeSet::new();
    for path in lake.visible(partitions)?.into_values().flatten() {
        folders::remove_if_there(&path)?;
        changed.insert(folder_of(&path).to_path_buf());
    }
    changed.iter().try_for_each(|folder| folders::sync(folder))
}

/// Completes the step that an earlier generation's last manifest names, removes what no manifest names, and takes in the parts.
fn repair(lake: &Lake, partition: &mut Partition) -> Result<(), Error> {
    partition.show(lake)?;
    let parts = partition.head.parts.clone();
    let named = parts.iter().map(|part| part.name.as_str()).collect();
    lake.sweep(partition.id, &named).map_err(|error| lake.failed(&error))?;
    let (small, large): (Vec<Part>, Vec<Part>) = parts.into_iter().partition(|part| part.bytes <= VERIFY_AT_START_BYTES);
    verify(lake, partition.id, &small, true)?;
    verify(lake, partition.id, &large, false)?;
    take_in(partition);
    partition.chain.tidy(&partition.head).map_err(|error| lake.failed(&error))
}

/// Goes on with the parts that the newest manifest names.
fn take_in(partition: &mut Partition) {
    let (now, now_ms) = (Instant::now(), now_ms());
    for part in &partition.head.parts {
        let age = Duration::from_millis(now_ms.saturating_sub(part.since_ms));
        let since = now.checked_sub(age).unwrap_or(now);
        let staged = partition.hours.entry(part.hour).or_insert_with(|| Staged { parts: Vec::new(), since });
        staged.parts.push(Part { verified: part.bytes <= VERIFY_AT_START_BYTES, ..part.clone() });
    }
}
