//! From a plan to the dataflow's nodes: which folds there are, and which views share them.
//!
//! A *fold* keeps one [`State`](crate::state::State) for each key of one input. All views that group the same input by the same keys share a
//! fold: their windows, of whatever length, are slots of one state, looked up once. A `count(distinct x)` over windows is a
//! component of a second fold, keyed by the group and `x`, whose state is the ranges of windows in which the value was seen; each window that
//! is new to a value contributes one to the group's fold. Contributions go from longer keys to shorter ones, hence never in a circle.
//!
//! A join keeps rows, not sums: it shares with nobody.

use arrow::datatypes::DataType;
use freshet_model::Timestamp;

use crate::plan::{
    Aggregate, Aggregation, Body, Derived, Emit, Expression, Function, Input, LatePolicy, Map, Plan, Ranking, RowTime,
    SourcePlan, TimeBound, View, Window,
};
use crate::state::{Grid, Kind, Rule, Shape};

/// The nodes of a job's dataflow.
#[derive(Debug, Clone)]
pub struct Lowered {
    /// The folds, those that contribute before those that are contributed to.
    pub folds: Vec<Fold>,
    /// Views computed row by row, by their index.
    pub maps: Vec<usize>,
    /// Views that are the rows of several others, by their index.
    pub unions: Vec<usize>,
    /// Views that join two inputs, by their index.
    pub joins: Vec<usize>,
    /// Streams that remember keys, by their index among the sources.
    pub dedupes: Vec<usize>,
}

impl Lowered {
    /// Returns the number of all states that checkpoints hold: those of the folds, then those of the joins and of the streams.
    #[must_use]
    pub fn states(&self) -> usize {
        self.folds.len() + self.joins.len() + self.dedupes.len()
    }

    /// Returns the number of the state of a join.
    pub(crate) fn state_of_join(&self, view: usize) -> usize {
        let at = self.joins.iter().position(|&join| join == view);
        self.folds.len() + at.expect("invariant: the lowering lists all joins")
    }

    /// Returns the number of the state of a stream that remembers keys.
    pub(crate) fn state_of_dedupe(&self, source: usize) -> usize {
        let at = self.dedupes.iter().position(|&dedupe| dedupe == source);
        self.folds.len() + self.joins.len() + at.expect("invariant: the lowering lists all streams that remember keys")
    }
}

/// A keyed state.
#[derive(Debug, Clone)]
pub struct Fold {
    /// What it reads.
    pub input: FoldInput,
    /// What is kept of each key.
    pub components: Vec<Component>,
}

/// What feeds a fold, and by which keys.
#[derive(Debug, Clone)]
pub struct FoldInput {
    /// The source or view.
    pub input: Input,
    /// Whether an expression reads `processing_time()`.
    pub stamped: bool,
    /// The key, over the input's columns.
    pub keys: Vec<Expression>,
    /// The key (as an index into `keys`) that bounds the event time.
    pub key_time_bound: Option<TimeBound>,
}

/// One view's part of a fold.
#[derive(Debug, Clone)]
pub struct Component {
    /// Index of the view.
    pub view: usize,
    /// What is kept.
    pub shape: Shape,
    /// The accumulators of each window, session or group.
    pub kinds: Vec<Kind>,
    /// How the fold's own input feeds it; `None` if other folds do.
    pub feed: Option<Feed>,
    /// How long what has closed is kept, in microseconds: for late events to amend, or for rows of a view that are not settled yet.
    pub horizon: i64,
    /// Whether late events are taken down, and not only counted.
    pub keeps_late: bool,
    /// What becomes of it.
    pub role: Role,
}

impl Component {
    /// Returns the time up to which nothing is kept any more, and events are late.
    #[must_use]
    pub fn over(&self, watermark: Timestamp) -> Timestamp {
        watermark.plus_micros(-self.horizon)
    }

    /// Returns how rows of a view, which may be taken back, are put into its windows. Each window has one accumulator more then, the last
    /// one, which counts its rows: a window whose rows are all gone is gone.
    #[must_use]
    pub fn row_time(&self) -> Option<RowTime> {
        self.feed.as_ref()?.row_time
    }
}

/// Tells whether rows are sent when their window closes, and again when a late event amends them. Each window or session has one accumulator
/// more then, the last one, which says whether its row has been sent.
fn amends_what_was_sent(view: &View) -> bool {
    view.emit == Emit::Final && view.late.horizon() > 0
}

/// How rows of the input feed a component.
#[derive(Debug, Clone)]
pub struct Feed {
    /// Rows for which this is not true do not count.
    pub filter: Option<Expression>,
    /// How rows of a view are put into windows.
    pub row_time: Option<RowTime>,
    /// For each accumulator its argument, or `None` where another fold contributes it.
    pub arguments: Vec<Option<Argument>>,
    /// Whether the view's records are accounted for here: one component of each view does it.
    pub accounts: bool,
}

/// What feeds one accumulator.
#[derive(Debug, Clone)]
pub struct Argument {
    /// The value; `None` counts rows.
    pub value: Option<Expression>,
    /// What the values are ordered by, where that is not themselves.
    pub order: Option<Expression>,
    /// Whether NULL is a value like others.
    pub keeps_nulls: bool,
    /// `FILTER (WHERE …)`.
    pub filter: Option<Expression>,
}

/// What becomes of a component's changes.
#[derive(Debug, Clone)]
pub enum Role {
    /// They are the view's rows.
    Rows(Box<Rows>),
    /// They are the rows of a view that ranks those of its input.
    Ranks {
        /// How.
        ranking: Box<Ranking>,
        /// Whether another view reads this one, so that rows that are replaced are sent too.
        retracts: bool,
    },
    /// Each window that is new to a key counts one for the group that the key's first columns name.
    Contribution {
        /// Index of the group's fold.
        fold: usize,
        /// Index of the component in it.
        component: usize,
        /// Index of the accumulator.
        accumulator: usize,
    },
}

/// How accumulators become rows of a view.
#[derive(Debug, Clone)]
pub struct Rows {
    /// When rows are sent.
    pub emit: Emit,
    /// Whether a row that is sent once is sent again when a late event amends it.
    pub amends: bool,
    /// The aggregates, for their results' types.
    pub aggregates: Vec<Aggregate>,
    /// HAVING and the select list.
    pub output: Map,
    /// Schema of the row that `output` reads.
    pub row_schema: arrow::datatypes::SchemaRef,
    /// Columns of the view that identify a row.
    pub key: Vec<usize>,
    /// Whether rows that are replaced are sent too: because another view reads this one, or because HAVING hides some, and a row that has come to be
    /// hidden is gone only if it was there.
    pub retracts: bool,
}

/// Lowers a plan.
#[must_use]
pub fn lower(plan: &Plan) -> Lowered {
    let is_dedupe = |source: &SourcePlan| matches!(source.derived, Some(Derived::Dedupe { .. }));
    let dedupes = (0..plan.sources.len()).filter(|&source| is_dedupe(&plan.sources[source])).collect();
    let mut lowered = Lowered { folds: Vec::new(), maps: Vec::new(), unions: Vec::new(), joins: Vec::new(), dedupes };
    // Longer keys first, so that a fold stands after those that contribute to it.
    let (mut wanted, mut rankings) = (Vec::new(), Vec::new());
    for (index, view) in plan.views.iter().enumerate() {
        match &view.body {
            Body::Map(_) => lowered.maps.push(index),
            Body::Aggregate(aggregation) => wanted.extend(parts(index, view, aggregation)),
            Body::Rank(ranking) => rankings.push((index, view.inputs[0], ranking)),
            Body::Union => lowered.unions.push(index),
            Body::Join(_) => lowered.joins.push(index),
        }
    }
    wanted.sort_by_key(|part| std::cmp::Reverse(part.keys.len()));
    let places: Vec<(usize, usize)> = wanted.iter().map(|part| lowered.place(part)).collect();
    for (part, &(fold, component)) in wanted.iter().zip(&places) {
        let role = match part.part {
            Part::Group { .. } => Role::Rows(Box::new(rows(plan, part.view))),
            Part::Distinct { accumulator } => {
                let group = wanted.iter().position(|other| other.view == part.view && matches!(other.part, Part::Group { .. }));
                let (fold, component) = places[group.expect("invariant: each aggregation has a group")];
                Role::Contribution { fold, component, accumulator }
            }
        };
        lowered.folds[fold].components[component].role = role;
    }
    rankings.into_iter().for_each(|(view, input, ranking)| lowered.place_ranking(view, input, ranking, is_read(plan, view)));
    lowered
}

/// A component that some fold has to hold.
struct Wanted<'a> {
    view: usize,
    definition: &'a View,
    input: Input,
    aggregation: &'a Aggregation,
    keys: Vec<Expression>,
    part: Part,
}

enum Part {
    /// The view's groups; fed by the input unless distinct counts tell all there is to tell.
    Group { fed: bool },
    /// The values of a distinct count.
    Distinct { accumulator: usize },
}

fn parts<'a>(index: usize, view: &'a View, aggregation: &'a Aggregation) -> Vec<Wanted<'a>> {
    let input = view.inputs[0];
    let wanted = |keys, part| Wanted { view: index, definition: view, input, aggregation, keys, part };
    let apart: Vec<usize> =
        (0..aggregation.aggregates.len()).filter(|&i| is_apart(input, aggregation, &aggregation.aggregates[i])).collect();
    // A distinct count without a filter sees every row, so that no group can be missed; NULL counts nothing, and is seen.
    let seen = apart.iter().any(|&i| aggregation.aggregates[i].filter.is_none());
    let fed = apart.len() < aggregation.aggregates.len() || !seen;
    let mut all = vec![wanted(aggregation.keys.clone(), Part::Group { fed })];
    for accumulator in apart {
        let argument = aggregation.aggregates[accumulator].argument.clone();
        let mut keys = aggregation.keys.clone();
        keys.extend(argument);
        all.push(wanted(keys, Part::Distinct { accumulator }));
    }
    all
}

/// Tells whether a distinct count has a fold of its own: over windows of append-only rows its state is then a range for each value.
fn is_apart(input: Input, aggregation: &Aggregation, aggregate: &Aggregate) -> bool {
    let hops = matches!(aggregation.window, Some(Window::Hop { .. }));
    hops && matches!(input, Input::Source(_)) && aggregate.function == Function::CountDistinct
}

impl Lowered {
    /// Puts a component into the fold of its input and keys, which is made if there is none, and returns its place.
    fn place(&mut self, part: &Wanted<'_>) -> (usize, usize) {
        let aggregation = part.aggregation;
        let keys = part.keys.clone();
        self.place_in(part.input, (keys, aggregation.key_time_bound), aggregation.needs_processing_time, component(part))
    }

    /// Puts the rows of a view that ranks others into a fold by what divides them.
    fn place_ranking(&mut self, view: usize, input: Input, ranking: &Ranking, retracts: bool) {
        let role = Role::Ranks { ranking: Box::new(ranking.clone()), retracts };
        let component = Component {
            view,
            shape: Shape::Ranking(ranking.limit),
            kinds: Vec::new(),
            feed: None,
            horizon: 0,
            keeps_late: true,
            role,
        };
        self.place_in(input, (ranking.partition.clone(), ranking.time_bound), false, component);
    }

    fn place_in(
        &mut self,
        input: Input,
        (keys, key_time_bound): (Vec<Expression>, Option<TimeBound>),
        stamped: bool,
        component: Component,
    ) -> (usize, usize) {
        let texts = |keys: &[Expression]| keys.iter().map(|key| key.text.clone()).collect::<Vec<_>>();
        let is_same = |fold: &Fold| {
            let FoldInput { input: other, stamped: also, keys: others, .. } = &fold.input;
            *other == input && *also == stamped && texts(others) == texts(&keys)
        };
        let fold = self.folds.iter().position(is_same).unwrap_or_else(|| {
            self.folds.push(Fold { input: FoldInput { input, stamped, keys, key_time_bound }, components: Vec::new() });
            self.folds.len() - 1
        });
        self.folds[fold].components.push(component);
        (fold, self.folds[fold].components.len() - 1)
    }
}

/// Builds a component whose role is filled in when all have their places.
fn component(part: &Wanted<'_>) -> Component {
    let aggregation = part.aggregation;
    let filter = aggregation.filter.clone();
    let (horizon, keeps_late) = (part.definition.late.horizon(), part.definition.late != LatePolicy::Drop);
    let nowhere = Role::Contribution { fold: usize::MAX, component: usize::MAX, accumulator: usize::MAX };
    match part.part {
        Part::Group { fed } => {
            let argument = |aggregate: &Aggregate| {
                let apart = is_apart(part.input, aggregation, aggregate);
                (!apart).then(|| fed_by(aggregate))
            };
            let arguments = aggregation.aggregates.iter().map(argument).collect();
            let feed = Feed { filter, row_time: aggregation.row_time, arguments, accounts: true };
            let mut kinds: Vec<Kind> =
                aggregation.aggregates.iter().map(|aggregate| kind(part.input, aggregation, aggregate)).collect();
            kinds.extend(amends_what_was_sent(part.definition).then_some(Kind::Count));
            kinds.extend(aggregation.row_time.map(|_| Kind::Count));
            let horizon = aggregation.row_time.map_or(horizon, |time| time.slack);
            let (shape, feed) = (shape(aggregation), fed.then_some(feed));
            Component { view: part.view, shape, kinds, feed, horizon, keeps_late, role: nowhere }
        }
        Part::Distinct { accumulator } => {
            let aggregates = &aggregation.aggregates;
            let Shape::Windows(grid) = shape(aggregation) else { unreachable!("only windows have distinct counts of their own") };
            let filtered = aggregates[accumulator].filter.clone();
            let first = aggregates.iter().position(|other| is_apart(part.input, aggregation, other) && other.filter.is_none());
            let only_distinct = aggregates.iter().all(|other| is_apart(part.input, aggregation, other));
            let accounts = only_distinct && first == Some(accumulator);
            let arguments = vec![Some(Argument { value: None, order: None, keeps_nulls: false, filter: filtered })];
            let feed = Some(Feed { filter, row_time: None, arguments, accounts });
            let shape = Shape::Ranges(grid);
            Component { view: part.view, shape, kinds: Vec::new(), feed, horizon, keeps_late, role: nowhere }
        }
    }
}

fn fed_by(aggregate: &Aggregate) -> Argument {
    Argument {
        value: aggregate.argument.clone(),
        order: aggregate.order.clone(),
        keeps_nulls: aggregate.function.keeps_nulls(),
        filter: aggregate.filter.clone(),
    }
}

fn shape(aggregation: &Aggregation) -> Shape {
    match aggregation.window {
        Some(Window::Hop { slide, size }) => Shape::Windows(Grid { slide, size }),
        Some(Window::Session { gap, max_duration }) => Shape::Sessions(Rule { gap, max_duration }),
        None => Shape::Group,
    }
}

fn kind(input: Input, aggregation: &Aggregation, aggregate: &Aggregate) -> Kind {
    let integral = |argument: &Option<Expression>| {
        argument.as_ref().is_some_and(|e| matches!(e.data_type, DataType::Int64 | DataType::Decimal128(_, _)))
    };
    let retractable = matches!(input, Input::View(_));
    match aggregate.function {
        Function::Count => Kind::Count,
        // Where the values are kept apart, this one takes their number.
        Function::CountDistinct if is_apart(input, aggregation, aggregate) => Kind::Count,
        Function::CountDistinct | Function::SumDistinct | Function::AvgDistinct => Kind::Values,
        Function::Sum | Function::Avg if integral(&aggregate.argument) => Kind::Integer,
        Function::Sum | Function::Avg => Kind::Float,
        Function::Variance(_) | Function::Stddev(_) => Kind::Moments,
        Function::Quantile(_) => Kind::Quantiles,
        // The planner refuses it where rows can be taken back.
        Function::ApproxDistinct => Kind::Distinct,
        _ if retractable => Kind::Values,
        Function::Min | Function::First => Kind::Min,
        Function::Max | Function::Last => Kind::Max,
        Function::Array(choice) | Function::Text(choice, _) => Kind::Few(choice),
        Function::Funnel(steps) => Kind::Funnel(steps),
    }
}

fn rows(plan: &Plan, index: usize) -> Rows {
    let view = &plan.views[index];
    let Body::Aggregate(aggregation) = &view.body else { unreachable!("only aggregations have rows of groups") };
    Rows {
        emit: view.emit,
        aggregates: aggregation.aggregates.clone(),
        amends: amends_what_was_sent(view),
        output: aggregation.output.clone(),
        row_schema: aggregation.row_schema.clone(),
        key: view.table.key.clone(),
        retracts: aggregation.output.filter.is_some() || is_read(plan, index),
    }
}

/// Tells whether another view reads this one.
fn is_read(plan: &Plan, view: usize) -> bool {
    plan.views.iter().any(|other| other.inputs.contains(&Input::View(view)))
}
