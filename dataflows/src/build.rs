//! Builds one worker's part of a job's dataflow: every operator, and what flows between them.
//!
//! ```text
//! sequencer ─ ticks ─▶ sources ─ batches ─▶ partials ─▶ folds ─ deltas ─▶ drains
//!     ▲  └─── seals ──────────────────────────┴──────────┴────────────────┤
//!     ├─ reports (feedback) ─ sources                                     │
//!     └─ done, kept (feedback) ◀──────────────────────────────────────────┘
//! ```
//!
//! What is absent: I/O, threads and the clock; they come in as plain functions.

mod streams;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::DataType;
use freshet_model::{Batch, Epoch, Timestamp};
use timely::dataflow::operators::core::Concatenate;
use timely::dataflow::operators::vec::{Broadcast, Filter, Map};
use timely::dataflow::operators::{ConnectLoop, Feedback};
use timely::dataflow::{Scope, Stream};
use timely::scheduling::SyncActivator;

use crate::changes::{Appended, Delta, Partial, Side};
use crate::epochs::sequencer::{Feedbacks, Options, sequencer};
use crate::epochs::{First, Report, Seal, Tick};
use crate::keys::{KeyCodec, hashes_of};
use crate::lookup::Versions;
use crate::lower::{Component, Fold, FoldInput, Lowered, Role};
use crate::operators::append::{AppendOutlet, append};
use crate::operators::drain::{Inputs, SinkEpoch, drain};
use crate::operators::fold::{self, fold};
use crate::operators::join::gather::{Gather, Gathering};
use crate::operators::join::packing::Packing;
use crate::operators::join::pairs::PairMaker;
use crate::operators::join::{self, join};
use crate::operators::keep::{Contribution, Keeper, Kept, Target};
use crate::operators::map::map;
use crate::operators::partial::{Announcement, Partials, Sum, partial};
use crate::operators::preaggregate::{Context, Preaggregate};
use crate::operators::rank::{RankMaker, Ranker, rank};
use crate::operators::regroup::{regroup, remap};
use crate::operators::rows::RowMaker;
use crate::operators::source::{Feed, Place, source};
use crate::operators::stamp::stamp;
use crate::operators::unite::unite;
use crate::outlet::Outlet;
use crate::plan::{Body, Input, Join, Plan};
use crate::saving::{OpenSave, Restore, Stores};
use crate::state::State;

/// What one worker takes of one source in one epoch.
const MAX_EPOCH_BYTES: usize = 64 << 20;

/// The same where an epoch's rows are held as they are, and not what they add up to: by a join, or by a sink until it has written them.
const MAX_EPOCH_BYTES_OF_ROWS: usize = 16 << 20;

/// Opens one worker's part of a connector, given the means to wake its operator.
pub type Open<T> = Box<dyn FnOnce(SyncActivator) -> T>;

/// What the dataflow needs from outside, on one worker.
pub struct Wiring {
    /// What is computed.
    pub plan: Arc<Plan>,
    /// What the sequencer needs; given on worker 0 alone.
    pub sequencer: Option<Options>,
    /// The first epoch of the run, and what is in force in it.
    pub first: First,
    /// For each source, how this worker reads its part of the partitions.
    pub sources: Vec<Open<Feed>>,
    /// Opens the versions of the table with this index, given the means to wake who waits for one.
    pub versions: Arc<dyn Fn(usize, SyncActivator) -> Versions>,
    /// The sinks of views.
    pub tables: Vec<TableOutlet>,
    /// The sinks of append-only rows.
    pub appends: Vec<AppendSink>,
    /// Where the states of folds come from and go to.
    pub stores: Stores,
    /// Told by how much the number of keys changes that this worker keeps for a view or a stream.
    pub keys: Arc<dyn Fn(Input, i64)>,
}

/// A sink of views.
pub struct TableOutlet {
    /// The sink's name.
    pub name: String,
    /// The views, and the sources whose records it takes as they are.
    pub tables: Vec<Input>,
    /// The worker that commits.
    pub owner: usize,
    /// Called on that worker.
    pub open: Open<Outlet<SinkEpoch>>,
}

/// A sink of append-only rows.
pub struct AppendSink {
    /// The sink's name.
    pub name: String,
    /// Whose rows: a source, or a row-wise view of one.
    pub input: Input,
    /// Called on each worker.
    pub open: Open<AppendOutlet>,
}

type Batches<'s> = Stream<'s, Epoch, Vec<Arc<Batch>>>;

/// The streams built so far.
struct Graph<'s> {
    scope: Scope<'s, Epoch>,
    plan: Arc<Plan>,
    ticks: Stream<'s, Epoch, Vec<Tick>>,
    seals: Stream<'s, Epoch, Vec<Seal>>,
    batches: Vec<Batches<'s>>,
    stamped: BTreeMap<usize, Batches<'s>>,
    /// Rows of views computed row by row from a source.
    mapped: BTreeMap<usize, Batches<'s>>,
    /// Rows of all other views.
    deltas: BTreeMap<usize, Stream<'s, Epoch, Vec<Delta>>>,
    /// For each fold, what other folds contribute to it.
    contributions: Vec<Vec<Stream<'s, Epoch, Vec<Partial>>>>,
    sides: Vec<Stream<'s, Epoch, Vec<Side>>>,
    /// What checkpoints wait for.
    kept: Vec<Stream<'s, Epoch, Vec<()>>>,
    first: First,
    versions: Arc<dyn Fn(usize, SyncActivator) -> Versions>,
    stores: Stores,
    keys: Arc<dyn Fn(Input, i64)>,
}

/// Builds the dataflow of a lowered plan in a scope.
pub fn build(scope: Scope<'_, Epoch>, lowered: &Lowered, wiring: Wiring) {
    let (report_loop, reports) = scope.feedback::<Vec<Report>>(1);
    let (tables_loop, tables) = scope.feedback::<Vec<()>>(1);
    let (appends_loop, appends) = scope.feedback::<Vec<()>>(1);
    let (kept_loop, kept) = scope.feedback::<Vec<()>>(1);
    let sequencer = sequencer(scope, Feedbacks { reports, tables, appends, kept }, wiring.sequencer);

    let mut graph = Graph {
        scope,
        plan: wiring.plan,
        ticks: sequencer.ticks.broadcast(),
        seals: sequencer.seals.broadcast(),
        batches: Vec::new(),
        stamped: BTreeMap::new(),
        mapped: BTreeMap::new(),
        deltas: BTreeMap::new(),
        contributions: lowered.folds.iter().map(|_| Vec::new()).collect(),
        sides: Vec::new(),
        kept: Vec::new(),
        first: wiring.first,
        versions: wiring.versions,
        stores: wiring.stores,
        keys: wiring.keys,
    };
    let holds_rows = |table: &TableOutlet| table.tables.iter().any(|&input| graph.plan.is_append_only(input));
    let has_rows = !wiring.appends.is_empty() || !lowered.joins.is_empty() || wiring.tables.iter().any(holds_rows);
    let max_bytes = if has_rows { MAX_EPOCH_BYTES_OF_ROWS } else { MAX_EPOCH_BYTES };
    let reports =
        wiring.sources.into_iter().enumerate().map(|(index, open)| graph.source(index, max_bytes, open)).collect::<Vec<_>>();
    scope.concatenate(reports).connect_loop(report_loop);
    graph.streams(lowered);
    graph.views(lowered);
    let tables: Vec<_> = wiring.tables.into_iter().map(|table| graph.table(table)).collect();
    let appends: Vec<_> = wiring.appends.into_iter().map(|sink| graph.append(sink)).collect();
    scope.concatenate(tables.iter().cloned().chain(std::mem::take(&mut graph.kept))).connect_loop(kept_loop);
    scope.concatenate(tables).connect_loop(tables_loop);
    scope.concatenate(appends).connect_loop(appends_loop);
}

impl<'s> Graph<'s> {
    fn source(&mut self, index: usize, max_bytes: usize, open: Open<Feed>) -> Stream<'s, Epoch, Vec<Report>> {
        let place = Place { index, first: self.first.epoch, max_bytes };
        let built = source(self.scope, &self.plan.sources[index].name, place, self.ticks.clone(), open);
        self.batches.push(built.batches);
        self.sides.push(built.dead_letters.map(|dead| Side::Dead(Box::new(dead))));
        self.sides.push(built.reports.clone().flat_map(move |report| match report {
            Report::Cut(cut) => {
                Some(Side::Read { source: index, records: cut.rows + cut.dead_letters, dead_letters: cut.dead_letters })
            }
            _ => None,
        }));
        built.reports
    }

    /// Builds folds, joins and row-wise views that are not there yet, each after all that it reads.
    fn views(&mut self, lowered: &Lowered) {
        let mut folds: Vec<usize> = (0..lowered.folds.len()).collect();
        let mut maps: Vec<usize> = lowered.maps.iter().copied().filter(|view| !self.mapped.contains_key(view)).collect();
        let (mut unions, mut joins) = (lowered.unions.clone(), lowered.joins.clone());
        loop {
            let before = folds.len() + joins.len() + maps.len() + unions.len();
            if before == 0 {
                break;
            }
            maps.retain(|&view| !self.build_map(view));
            unions.retain(|&view| !self.build_union(view));
            joins.retain(|&view| !self.build_join(lowered, view));
            folds.retain(|&fold| {
                let contributes = |other: &Component| matches!(other.role, Role::Contribution { fold: to, .. } if to == fold);
                // Folds stand in the order of their contributions: those before this one that are not built yet wait for a view.
                let waits = folds_before(&lowered.folds, fold).any(|other| {
                    !self.is_built(&lowered.folds[other]) && lowered.folds[other].components.iter().any(contributes)
                });
                waits || !self.build_fold(lowered, fold)
            });
            assert!(
                folds.len() + joins.len() + maps.len() + unions.len() < before,
                "invariant: the planner refuses views that read each other in a circle"
            );
        }
    }

    /// Tells whether a fold has been built: then all its views, or the contributions of its values, have streams.
    fn is_built(&self, fold: &Fold) -> bool {
        fold.components.iter().all(|component| match component.role {
            Role::Rows(_) | Role::Ranks { .. } => self.deltas.contains_key(&component.view),
            Role::Contribution { fold, .. } => !self.contributions[fold].is_empty(),
        })
    }

    /// Builds a row-wise view, unless what it reads is still missing.
    fn build_map(&mut self, index: usize) -> bool {
        let plan = Arc::clone(&self.plan);
        let view = &plan.views[index];
        let Body::Map(body) = &view.body else { unreachable!("the lowering lists row-wise views") };
        match view.inputs[0] {
            Input::Source(source) => {
                let input = self.input(source, body.needs_processing_time);
                let mapped = map(index, view.shown_name(), body.clone(), input);
                self.mapped.insert(index, mapped.batches);
                self.sides.push(mapped.sides);
            }
            Input::View(input) => {
                let Some(deltas) = self.deltas.get(&input).cloned() else { return false };
                let (deltas, sides) = remap(view, index, body.clone(), (&plan.views[input], input), deltas);
                self.deltas.insert(index, deltas);
                self.sides.push(sides);
            }
        }
        true
    }

    /// Builds a view that is the rows of others, unless one of these is still missing.
    fn build_union(&mut self, index: usize) -> bool {
        let inputs = &self.plan.views[index].inputs;
        let part = |input: &Input| match input {
            Input::View(view) => self.deltas.get(view).map(|deltas| (*view, deltas.clone())),
            Input::Source(_) => unreachable!("the planner unites the rows of views"),
        };
        let Some(parts) = inputs.iter().map(part).collect::<Option<Vec<_>>>() else { return false };
        self.deltas.insert(index, unite(self.scope, index, parts));
        true
    }

    /// Returns a source's batches, with the processing time as a further column if need be.
    fn input(&mut self, source: usize, stamped: bool) -> Batches<'s> {
        let batches = self.batches[source].clone();
        if !stamped {
            return batches;
        }
        self.stamped.entry(source).or_insert_with(|| stamp(batches, self.ticks.clone())).clone()
    }

    /// Builds a fold, unless a view that it reads is still missing.
    fn build_fold(&mut self, lowered: &Lowered, index: usize) -> bool {
        let planned = &lowered.folds[index];
        let FoldInput { input, stamped, .. } = planned.input;
        if !self.is_there(input) {
            return false;
        }
        let name = fold_name(&self.plan, planned);
        let codec = Arc::new(KeyCodec::new(&key_types(planned)));
        let begin = self.announcement([input]);
        let mut partials = std::mem::take(&mut self.contributions[index]);
        if planned.components.iter().any(|component| component.feed.is_some()) {
            let context = Arc::new(self.context(planned, name.clone(), Arc::clone(&codec)));
            let new = move || Preaggregate::new(Arc::clone(&context));
            partials.push(self.feed(&name, (input, stamped), begin.clone(), new));
        }
        let Some(ranked) = self.rankings(planned, &name, &codec) else { return false };
        partials.extend(ranked);
        let keeper = Keeper { kept: planned.components.iter().map(|c| self.kept(lowered, c)).collect(), codec };
        let (keys, views) = (Arc::clone(&self.keys), planned.components.iter().map(|c| c.view).collect::<Vec<_>>());
        let keys = Box::new(move |change| views.iter().for_each(|&view| keys(Input::View(view), change)));
        let partials = self.scope.concatenate(partials);
        let (restore, save) = self.stored(index);
        let options = fold::Options { name, begin, keys, restore, save };
        let folded = fold(self.scope, options, keeper, partials, self.seals.clone());
        self.sides.push(folded.sides);
        self.kept.push(folded.saved);
        let mut contributed = BTreeSet::new();
        for component in &planned.components {
            match component.role {
                Role::Rows(_) | Role::Ranks { .. } => {
                    let view = component.view;
                    self.deltas.insert(view, folded.deltas.clone().filter(move |delta| delta.view == view));
                }
                Role::Contribution { fold, .. } => drop(contributed.insert(fold)),
            }
        }
        // Several components may contribute to one fold, each to its own part of it: all of that is one stream.
        for fold in contributed {
            let own = folded.contributions.clone().flat_map(move |(to, partial)| (to == fold).then_some(partial));
            self.contributions[fold].push(own);
        }
        true
    }

    /// Puts the rows of a fold's input into order for each component that ranks them; `None` if the input is still missing.
    fn rankings(&self, planned: &Fold, name: &str, codec: &Arc<KeyCodec>) -> Option<Vec<Stream<'s, Epoch, Vec<Partial>>>> {
        let mut partials = Vec::new();
        for (component, role) in planned.components.iter().map(|component| &component.role).enumerate() {
            let (Role::Ranks { ranking, .. }, Input::View(view)) = (role, planned.input.input) else { continue };
            let deltas = self.deltas.get(&view)?.clone();
            let shapes = planned.components.iter().map(|component| component.shape.clone()).collect();
            let (name, ranking, codec) = (name.to_owned(), (**ranking).clone(), Arc::clone(codec));
            let ranker = Ranker { name, ranking, codec, shapes, component };
            partials.push(rank(&self.plan.views[view], view, ranker, deltas));
        }
        Some(partials)
    }

    /// Tells whether the rows of an input have a stream.
    fn is_there(&self, input: Input) -> bool {
        match input {
            Input::Source(_) => true,
            Input::View(view) => self.deltas.contains_key(&view),
        }
    }

    /// Builds a join, unless a view that it reads is still missing.
    fn build_join(&mut self, lowered: &Lowered, index: usize) -> bool {
        let plan = Arc::clone(&self.plan);
        let view = &plan.views[index];
        let Body::Join(body) = &view.body else { unreachable!("the lowering lists joins") };
        if !view.inputs.iter().all(|&input| self.is_there(input)) {
            return false;
        }
        let name = view.table.name.clone();
        let begin = self.announcement(view.inputs.iter().copied());
        let mut bundles = Vec::with_capacity(2);
        for (number, &input) in view.inputs.iter().enumerate() {
            let gathering = Arc::new(self.gathering(index, number, body, input));
            let new = move || Gather::new(Arc::clone(&gathering));
            let stamped = body.sides[number].needs_processing_time;
            bundles.push(self.feed(&format!("{name}, side {number}"), (input, stamped), begin.clone(), new));
        }
        let keys = Arc::clone(&self.keys);
        let keys = Box::new(move |change| keys(Input::View(index), change));
        let (restore, save) = self.stored(lowered.state_of_join(index));
        let options = join::Options { name, rule: body.rule, begin, keys, restore, save };
        let maker = PairMaker::new(index, view, body);
        let matched = join(self.scope, options, maker, self.scope.concatenate(bundles), self.seals.clone());
        self.deltas.insert(index, matched.deltas);
        self.sides.push(matched.sides);
        self.kept.push(matched.saved);
        true
    }

    /// Adds up the rows of an input for a fold or join; `new` begins the sum of an epoch.
    fn feed<S: Sum + 'static>(
        &mut self,
        name: &str,
        (input, stamped): (Input, bool),
        begin: Announcement,
        new: impl Fn() -> S + 'static,
    ) -> Stream<'s, Epoch, Vec<S::Out>> {
        let Partials { partials, sides } = match input {
            Input::Source(number) => {
                let batches = self.input(number, stamped);
                partial(self.scope, (name, begin), new, batches, self.seals.clone())
            }
            Input::View(view) => regroup(name, (&self.plan.views[view], view), new, self.deltas[&view].clone()),
        };
        self.sides.push(sides);
        partials
    }

    /// Returns the watermark by which these inputs go together: of all their sources the least.
    fn announcement(&self, inputs: impl IntoIterator<Item = Input>) -> Announcement {
        let sources: BTreeSet<usize> = inputs.into_iter().flat_map(|input| self.plan.sources_of(input)).collect();
        let watermark = sources.iter().map(|&source| self.first.watermarks[source]).min().unwrap_or(Timestamp::MAX);
        Announcement { sources: sources.into_iter().collect(), epoch: self.first.epoch, watermark }
    }

    /// Returns where state number `index` comes from and goes to, of this worker's keys.
    fn stored(&self, index: usize) -> (Restore, OpenSave) {
        let hashes = hashes_of(self.scope.index(), self.scope.peers());
        ((self.stores.restore)(index, hashes.clone()), (self.stores.save)(index, hashes))
    }

    fn context(&self, planned: &Fold, name: String, codec: Arc<KeyCodec>) -> Context {
        let FoldInput { input, keys, key_time_bound, .. } = &planned.input;
        let time_column = match *input {
            Input::Source(source) => self.plan.sources[source].time_column,
            Input::View(_) => None,
        };
        Context {
            name,
            source: self.plan.name_of(*input).to_owned(),
            time_column,
            keys: keys.clone(),
            key_time_bound: *key_time_bound,
            codec,
            components: planned.components.clone(),
            views: planned.components.iter().map(|component| self.plan.views[component.view].shown_name().to_owned()).collect(),
        }
    }

    fn gathering(&self, view: usize, number: usize, join: &Join, input: Input) -> Gathering {
        let side = &join.sides[number];
        let types: Vec<DataType> = side.keys.iter().map(|key| key.data_type.clone()).collect();
        Gathering {
            view,
            name: self.plan.views[view].shown_name().to_owned(),
            number,
            input: self.plan.name_of(input).to_owned(),
            side: side.clone(),
            rule: join.rule,
            codec: KeyCodec::new(&types),
            packing: Packing::new(&side.columns),
            peers: self.scope.peers(),
        }
    }

    fn kept(&self, lowered: &Lowered, component: &Component) -> Kept {
        let target = match &component.role {
            Role::Rows(rows) => {
                let name = self.plan.views[component.view].shown_name().to_owned();
                Target::Rows(Box::new(RowMaker::new(component.view, name, (**rows).clone(), component.shape.clone())))
            }
            Role::Ranks { retracts, .. } => {
                let view = &self.plan.views[component.view];
                let Input::View(input) = view.inputs[0] else { unreachable!("the planner ranks the rows of views") };
                Target::Ranks(Box::new(RankMaker::new(view, component.view, &self.plan.views[input], *retracts)))
            }
            &Role::Contribution { fold, component: to, accumulator } => {
                let group = &lowered.folds[fold];
                let empty = State::empty(group.components.iter().map(|component| &component.shape));
                let kinds = group.components[to].kinds.clone();
                let codec = KeyCodec::new(&key_types(group));
                Target::Group(Box::new(Contribution { fold, component: to, accumulator, empty, kinds, codec }))
            }
        };
        Kept::new(component.clone(), target)
    }

    fn table(&self, table: TableOutlet) -> Stream<'s, Epoch, Vec<()>> {
        let (mut deltas, mut appended) = (Vec::new(), Vec::new());
        for (index, &input) in table.tables.iter().enumerate() {
            match input {
                Input::View(view) if self.deltas.contains_key(&view) => deltas.push(self.deltas[&view].clone()),
                _ => appended.push(self.rows(input).map(move |rows| Appended { table: index, rows })),
            }
        }
        let (deltas, appended) = (self.scope.concatenate(deltas), self.scope.concatenate(appended));
        let sides = self.scope.concatenate(self.sides.iter().cloned());
        let inputs = Inputs { deltas, appended, sides };
        drain(self.scope, &table.name, (table.owner, self.first.epoch), inputs, self.seals.clone(), table.open)
    }

    /// Returns the rows of a source, or of a row-wise view of one.
    fn rows(&self, input: Input) -> Batches<'s> {
        match input {
            Input::Source(source) => self.batches[source].clone(),
            Input::View(view) => self.mapped[&view].clone(),
        }
    }

    fn append(&mut self, sink: AppendSink) -> Stream<'s, Epoch, Vec<()>> {
        let rows = self.rows(sink.input);
        let appended = append(self.scope, (&sink.name, self.first.epoch), rows, self.seals.clone(), sink.open);
        self.kept.push(appended.kept);
        appended.done
    }
}

fn folds_before(folds: &[Fold], fold: usize) -> impl Iterator<Item = usize> + use<> {
    (0..folds.len()).take_while(move |&other| other < fold)
}

fn key_types(fold: &Fold) -> Vec<DataType> {
    fold.input.keys.iter().map(|key| key.data_type.clone()).collect()
}

/// Names a fold by its input and keys.
pub(crate) fn fold_name(plan: &Plan, fold: &Fold) -> String {
    let FoldInput { input, keys, .. } = &fold.input;
    let keys: Vec<&str> = keys.iter().map(|key| key.text.as_str()).collect();
    format!("{} by [{}]", plan.name_of(*input), keys.join(", "))
}
