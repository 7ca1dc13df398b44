//! Puts beside each record the row of a table that has its key.
//!
//! # Frontiers
//! A batch of epoch `E` waits for the seal of `E - 1`, which names the version of the table that is in force in `E`, and until that version is in memory;
//! then it leaves at once. How many records had no row leaves when the input's frontier has passed `E`.
//!
//! # Invariants
//! - All records of an epoch meet the same version, on all workers and whenever the epoch is read.
//! - A record comes out once at most, with its epoch, partition and offset.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::{filter, filter_record_batch, is_not_null};
use arrow::datatypes::SchemaRef;
use freshet_model::{Batch, Epoch};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{Scope, Stream};
use timely::scheduling::SyncActivator;

use crate::changes::{LeftOut, Side};
use crate::epochs::{Seal, Version};
use crate::lookup::{Lookup, Versions};

/// The streams of an enrichment.
pub struct Enriched<'s> {
    /// The records with their rows.
    pub batches: Stream<'s, Epoch, Vec<Arc<Batch>>>,
    /// The numbers of those that had none and are left out.
    pub sides: Stream<'s, Epoch, Vec<Side>>,
}

/// What is put beside which records.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Index of the stream among the sources.
    pub stream: usize,
    /// Its name, for people.
    pub name: String,
    /// Index of the table.
    pub table: usize,
    /// The columns of the records that equal the table's key.
    pub keys: Vec<usize>,
    /// Whether records without a row are left out.
    pub only_matched: bool,
    /// What comes out: the columns of the records and of the table.
    pub schema: SchemaRef,
}

/// Enriches batches from the epoch `begin` on, in which this version is in force; `open` is given the means to wake the operator when a version is there.
pub fn enrich<'s>(
    scope: Scope<'s, Epoch>,
    rule: Rule,
    begin: (Epoch, Version),
    open: impl FnOnce(SyncActivator) -> Versions,
    batches: Stream<'s, Epoch, Vec<Arc<Batch>>>,
    seals: Stream<'s, Epoch, Vec<Seal>>,
) -> Enriched<'s> {
    let mut builder = OperatorBuilder::new(format!("Enrich {}", rule.name), scope);
    let mut input = builder.new_input(batches, Pipeline);
    // Nothing leaves at the time of a seal.
    let mut seals = builder.new_input_connection(seals, Pipeline, []);
    let (batches_out, batches) = builder.new_output_connection([(0, timely::progress::Antichain::from_elem(0))]);
    let (sides_out, sides) = builder.new_output_connection([(0, timely::progress::Antichain::from_elem(0))]);
    let mut batches_out = OutputBuilder::<_, CapacityContainerBuilder<Vec<Arc<Batch>>>>::from(batches_out);
    let mut sides_out = OutputBuilder::<_, CapacityContainerBuilder<Vec<Side>>>::from(sides_out);
    let versions = open(scope.worker().sync_activator_for(builder.operator_info().address.to_vec()));

    builder.build(move |_| {
        let (table, mut in_force) = (rule.table, InForce::new(begin, versions));
        let mut held: BTreeMap<Epoch, Held> = BTreeMap::new();
        move |frontiers| {
            seals.for_each(|time, seals| {
                seals.drain(..).for_each(|seal| in_force.announce(*time.time() + 1, seal.versions[table]));
            });
            input.for_each(|capability, batches| {
                let new =
                    || Held { capabilities: [capability.retain(0), capability.retain(1)], waiting: Vec::new(), unmatched: 0 };
                held.entry(*capability.time()).or_insert_with(new).waiting.append(batches);
            });
            let open = frontiers[0].frontier().first().copied().unwrap_or(Epoch::MAX);
            let (mut batches_out, mut sides_out) = (batches_out.activate(), sides_out.activate());
            while let Some(mut entry) = held.first_entry() {
                let epoch = *entry.key();
                let Some(lookup) = in_force.of(epoch) else { break };
                let Held { capabilities, waiting, unmatched } = entry.get_mut();
                let mut session = batches_out.session(&capabilities[0]);
                for batch in waiting.drain(..) {
                    let enriched = rule.apply(&batch, &lookup);
                    let left = enriched.as_ref().map_or(0, |enriched| enriched.offsets.len());
                    *unmatched += (batch.offsets.len() - left) as u64;
                    session.give_iterator(enriched.into_iter().map(Arc::new));
                }
                drop(session);
                if epoch >= open {
                    break;
                }
                let Held { capabilities, unmatched, .. } = entry.remove();
                if unmatched > 0 {
                    let left_out = LeftOut { stream: rule.stream, unmatched, ..LeftOut::default() };
                    sides_out.session(&capabilities[1]).give(Side::LeftOut(left_out));
                }
            }
            let next = held.keys().next().copied().unwrap_or(open);
            // What the next batch will need is fetched before it comes, and what it will not need can leave memory.
            in_force.of(next);
            in_force.forget(next);
        }
    });
    Enriched { batches, sides }
}

/// What is held of one epoch.
struct Held {
    capabilities: [Capability<Epoch>; 2],
    waiting: Vec<Arc<Batch>>,
    unmatched: u64,
}

/// The versions that have been announced and may still be needed.
struct InForce {
    by_epoch: BTreeMap<Epoch, Version>,
    versions: Versions,
    current: Option<(Version, Arc<Lookup>)>,
}

impl InForce {
    fn new((epoch, version): (Epoch, Version), versions: Versions) -> InForce {
        InForce { by_epoch: BTreeMap::from([(epoch, version)]), versions, current: None }
    }

    fn announce(&mut self, epoch: Epoch, version: Version) {
        self.by_epoch.insert(epoch, version);
    }

    /// Returns what is in force in an epoch, if that is known and in memory; it is fetched otherwise. Epochs do not go back.
    fn of(&mut self, epoch: Epoch) -> Option<Arc<Lookup>> {
        let version = *self.by_epoch.get(&epoch)?;
        match &self.current {
            Some((current, lookup)) if *current == version => Some(Arc::clone(lookup)),
            _ => {
                let lookup = (self.versions)(version)?;
                self.current = Some((version, Arc::clone(&lookup)));
                Some(lookup)
            }
        }
    }

    /// Forgets the epochs below `epoch`.
    fn forget(&mut self, epoch: Epoch) {
        self.by_epoch = self.by_epoch.split_off(&epoch);
    }
}

impl Rule {
    /// Returns a batch with the table's columns behind its own; `None` if no row is left.
    fn apply(&self, batch: &Batch, lookup: &Lookup) -> Option<Batch> {
        let keys: Vec<ArrayRef> = self.keys.iter().map(|&key| Arc::clone(batch.columns.column(key))).collect();
        let found = lookup.find(&keys);
        let (rows, offsets, found) = match self.only_matched && found.null_count() > 0 {
            false => (batch.columns.clone(), batch.offsets.clone(), found),
            true => {
                let matched = is_not_null(&found).expect("invariant: any array can be asked for NULLs");
                let rows = filter_record_batch(&batch.columns, &matched).expect("invariant: the mask has an entry for each row");
                let offsets = batch.offsets.iter().zip(matched.values()).filter(|(_, matched)| *matched);
                let offsets: Vec<_> = offsets.map(|(offset, _)| *offset).collect();
                if offsets.is_empty() {
                    return None;
                }
                let found = filter(&found, &matched).expect("invariant: the mask has an entry for each row");
                (rows, offsets, UInt32Array::from(found.to_data()))
            }
        };
        let columns = rows.columns().iter().cloned().chain(lookup.take(&found)).collect();
        let columns = RecordBatch::try_new(Arc::clone(&self.schema), columns);
        let columns = columns.expect("invariant: the planner fixed the columns' types");
        Some(Batch { columns, offsets, dead: Vec::new(), early: Vec::new(), range: batch.range.clone(), ..*batch })
    }
}
