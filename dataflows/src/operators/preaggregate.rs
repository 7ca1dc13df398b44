//! What one worker's batches of one epoch add up to: the pure part of a partial aggregation, and the hottest loop of the engine.
//!
//! A column at a time: conditions and arguments are evaluated for a whole batch, keys become small numbers, and then each component
//! goes over the rows once. Nothing is allocated for a record whose key the epoch has seen.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::TimestampMicrosecondType;
use datafusion_common::Result;
use freshet_model::{Batch, LateEvent, Timestamp};

use super::part::{Part, json};
use super::partial::Sum;
use crate::changes::{Counts, Partial, Side};
use crate::expressions::Values;
use crate::keys::{Interner, KeyCodec};
use crate::lower::{Component, Feed};
use crate::plan::{Expression, RowTime, TimeBound};
use crate::state::{Accumulator, Accumulators, Grid, Group, Kind, Rule, Shape, Slot, State, Value};

/// What a fold's partial aggregation needs to know, fixed for the run.
pub struct Context {
    /// The fold's name, for logs.
    pub name: String,
    /// The source's name.
    pub source: String,
    /// Index of the event-time column.
    pub time_column: Option<usize>,
    /// The fold's keys.
    pub keys: Vec<Expression>,
    /// The key that bounds the event time of a group.
    pub key_time_bound: Option<TimeBound>,
    /// Packs them.
    pub codec: Arc<KeyCodec>,
    /// The fold's components.
    pub components: Vec<Component>,
    /// For each component, the name under which people know its view.
    pub views: Vec<String>,
}

/// The sum of batches of one epoch.
pub struct Preaggregate {
    context: Arc<Context>,
    keys: Interner,
    states: Vec<State>,
    counts: Vec<Counts>,
    sides: Vec<Side>,
    /// The watermark of the epoch.
    watermark: Timestamp,
    /// The number of each row's key, or [`SKIP`].
    numbers: Vec<u32>,
}

/// Marks a row that no component takes.
const SKIP: u32 = u32::MAX;

/// A batch's conditions, keys and arguments.
struct Evaluated {
    keys: Vec<ArrayRef>,
    /// The key column that bounds a group's event time, and its slack.
    until: Option<(ArrayRef, i64)>,
    /// For each component that the input feeds: its rows, and its arguments with theirs.
    feeds: Vec<Option<EvaluatedFeed>>,
}

struct EvaluatedFeed {
    rows: Option<BooleanArray>,
    arguments: Vec<Option<EvaluatedArgument>>,
}

struct EvaluatedArgument {
    values: Option<ArrayRef>,
    order: Option<ArrayRef>,
    keeps_nulls: bool,
    rows: Option<BooleanArray>,
}

impl Sum for Preaggregate {
    type Out = Partial;

    fn take(&mut self, batch: &Batch, watermark: Timestamp) {
        let (columns, partition) = (batch.columns.clone(), batch.partition);
        self.watermark = watermark;
        self.take_part(&Part { columns, offsets: &batch.offsets, weights: None, partition, watermark });
    }

    fn take_changes(&mut self, columns: RecordBatch, weights: &[i64]) {
        let offsets = vec![-1; weights.len()];
        self.take_part(&Part { columns, offsets: &offsets, weights: Some(weights), partition: -1, watermark: Timestamp::MIN });
    }

    fn finish(mut self) -> (impl Iterator<Item = Partial>, Vec<Side>) {
        let accounted = self.counts.iter().zip(&self.context.components);
        let accounted = accounted.filter(|(_, component)| component.feed.as_ref().is_some_and(|feed| feed.accounts));
        self.sides.extend(accounted.map(|(counts, _)| Side::Counted(*counts)));
        let (keys, context, watermark) = (self.keys, self.context, self.watermark);
        let partials = self.states.into_iter().enumerate().filter_map(move |(number, state)| {
            let state = expand_panes(&context, state, watermark);
            (!state.is_empty()).then(|| Partial { key: keys.key(number).to_vec(), state })
        });
        (partials, self.sides)
    }
}

impl Preaggregate {
    /// Begins with nothing.
    #[must_use]
    pub fn new(context: Arc<Context>) -> Preaggregate {
        let counts = context.components.iter().map(|component| Counts { view: component.view, ..Counts::default() }).collect();
        let (keys, states, sides, numbers) = (Interner::default(), Vec::new(), Vec::new(), Vec::new());
        Preaggregate { context, keys, states, counts, sides, watermark: Timestamp::MIN, numbers }
    }

    fn take_part(&mut self, part: &Part<'_>) {
        let context = Arc::clone(&self.context);
        match evaluate(&context, &part.columns) {
            Ok(evaluated) => self.take_evaluated(&context, part, &evaluated),
            Err(error) if part.offsets.len() <= 1 => self.refuse(&context, part, &error.to_string()),
            // Some row has no value: halve the batch until it stands alone.
            Err(_) => {
                let (left, right) = part.halves();
                self.take_part(&left);
                self.take_part(&right);
            }
        }
    }

    fn take_evaluated(&mut self, context: &Context, part: &Part<'_>, evaluated: &Evaluated) {
        self.number_rows(context, part.offsets.len(), evaluated);
        for (index, component) in context.components.iter().enumerate() {
            let (Some(feed), Some(fed)) = (&component.feed, &evaluated.feeds[index]) else { continue };
            let arguments: Vec<_> = fed.arguments.iter().map(|argument| argument.as_ref().map(Argument::of)).collect();
            let input = Input { part, rows: fed.rows.as_ref(), arguments: &arguments };
            self.take_component(context, index, feed, &input, evaluated);
        }
    }

    /// Numbers the keys of all rows that some component takes.
    fn number_rows(&mut self, context: &Context, count: usize, evaluated: &Evaluated) {
        let packed = context.codec.pack(&evaluated.keys);
        let masks: Vec<_> = evaluated.feeds.iter().flatten().map(|fed| fed.rows.as_ref()).collect();
        let takes_all = masks.iter().any(Option::is_none);
        self.numbers.clear();
        for row in 0..count {
            let taken = takes_all || masks.iter().flatten().any(|mask| mask.value(row));
            self.numbers.push(if taken { self.keys.intern(&packed, row) } else { SKIP });
        }
        let shapes = || context.components.iter().map(|component| &component.shape);
        self.states.resize_with(self.keys.len(), || State::empty(shapes()));
    }

    fn take_component(&mut self, context: &Context, index: usize, feed: &Feed, input: &Input<'_>, evaluated: &Evaluated) {
        let component = &context.components[index];
        let total = input.part.offsets.len() as u64;
        let taken = input.rows.map_or(total, |rows| rows.true_count() as u64);
        let until = evaluated.until.as_ref().map(|(until, slack)| (&**until, *slack));
        let accounts = feed.accounts && component.keeps_late;
        let mut late = LateRows { context, index, accounts, wholly: 0, sides: &mut self.sides };
        let (numbers, states, kinds) = (&self.numbers, &mut self.states, &component.kinds);
        let mut target = Target { numbers, states, slot: index, kinds, over: component.over(input.part.watermark) };
        match &component.shape {
            Shape::Windows(grid) => match feed.row_time {
                None => target.take_windows(*grid, &input.with_times(context), &mut late),
                Some(time) => target.take_changes(*grid, input, time),
            },
            Shape::Ranges(grid) => target.take_ranges(*grid, &input.with_times(context), &mut late),
            Shape::Sessions(rule) => target.take_sessions(*rule, &input.with_times(context), &mut late),
            Shape::Group => target.take_group(input, until),
            Shape::Ranking(_) => unreachable!("rows are ranked by their own operator"),
        }
        let late = late.wholly;
        let counts = &mut self.counts[index];
        counts.filtered += total - taken;
        counts.late += late;
        counts.counted += taken - late;
    }

    /// Makes a record a dead letter in the views for which it has no value.
    fn refuse(&mut self, context: &Context, part: &Part<'_>, error: &str) {
        for (index, component) in context.components.iter().enumerate() {
            let Some(feed) = component.feed.as_ref().filter(|feed| feed.accounts) else { continue };
            let left_out = feed.filter.as_ref().and_then(|filter| filter.condition(&part.columns).ok().flatten());
            if left_out.is_some_and(|rows| rows.true_count() == 0) {
                self.counts[index].filtered += 1;
                continue;
            }
            self.counts[index].failed += 1;
            self.sides.push(Side::Dead(Box::new(part.dead_letter(&context.views[index], error))));
        }
    }
}

/// Turns the panes of overlapping windows, which records were added to, into the windows.
fn expand_panes(context: &Context, mut state: State, watermark: Timestamp) -> State {
    for (slot, component) in state.0.iter_mut().zip(&context.components) {
        if let (Slot::Windows(windows), Shape::Windows(grid)) = (slot, &component.shape) {
            *windows = std::mem::take(windows).expand(*grid, grid.first_open(component.over(watermark)), &component.kinds);
        }
    }
    state
}

/// Evaluates all that a fold needs of a batch.
fn evaluate(context: &Context, batch: &RecordBatch) -> Result<Evaluated> {
    let feeds =
        context.components.iter().map(|component| component.feed.as_ref().map(|feed| evaluate_feed(feed, batch)).transpose());
    let feeds = feeds.collect::<Result<_>>()?;
    let keys: Vec<ArrayRef> = context.keys.iter().map(|key| key.evaluate(batch)).collect::<Result<_>>()?;
    let until = context.key_time_bound.map(|bound| (Arc::clone(&keys[bound.column]), bound.slack));
    Ok(Evaluated { feeds, until, keys })
}

fn evaluate_feed(feed: &Feed, batch: &RecordBatch) -> Result<EvaluatedFeed> {
    let condition = |filter: &Option<Expression>| -> Result<Option<BooleanArray>> {
        Ok(filter.as_ref().map(|filter| filter.condition(batch)).transpose()?.flatten())
    };
    let argument = |argument: &crate::lower::Argument| -> Result<EvaluatedArgument> {
        let evaluate = |value: &Option<Expression>| value.as_ref().map(|value| value.evaluate(batch)).transpose();
        Ok(EvaluatedArgument {
            values: evaluate(&argument.value)?,
            order: evaluate(&argument.order)?,
            keeps_nulls: argument.keeps_nulls,
            rows: condition(&argument.filter)?,
        })
    };
    let arguments = feed.arguments.iter().map(|a| a.as_ref().map(argument).transpose()).collect::<Result<_>>()?;
    Ok(EvaluatedFeed { rows: condition(&feed.filter)?, arguments })
}

/// A component's rows and arguments.
struct Input<'a> {
    part: &'a Part<'a>,
    rows: Option<&'a BooleanArray>,
    arguments: &'a [Option<Argument<'a>>],
}

/// The same, with the rows' event times.
struct TimedInput<'a> {
    input: &'a Input<'a>,
    times: &'a [i64],
}

impl<'a> Input<'a> {
    fn with_times(&'a self, context: &Context) -> TimedInput<'a> {
        let column = context.time_column.expect("invariant: the planner refuses windows over a source without event time");
        TimedInput { input: self, times: self.part.columns.column(column).as_primitive::<TimestampMicrosecondType>().values() }
    }

    /// Iterates over the rows that the component takes.
    fn rows(&self) -> impl Iterator<Item = usize> + use<'a> {
        let rows = self.rows;
        (0..self.part.offsets.len()).filter(move |&row| rows.is_none_or(|rows| rows.value(row)))
    }

    /// Adds a row's values to accumulators, `weight` times.
    fn add(&self, row: usize, weight: i64, accumulators: &mut Accumulators) {
        for (accumulator, argument) in accumulators.iter_mut().zip(self.arguments) {
            if let Some(argument) = argument {
                argument.add(row, weight, accumulator);
            }
        }
    }
}

/// An aggregate's argument with its values typed.
pub(crate) struct Argument<'a> {
    values: Option<Values<'a>>,
    order: Option<Values<'a>>,
    keeps_nulls: bool,
    rows: Option<&'a BooleanArray>,
}

impl<'a> Argument<'a> {
    fn of(argument: &'a EvaluatedArgument) -> Argument<'a> {
        Argument {
            values: argument.values.as_ref().map(Values::of),
            order: argument.order.as_ref().map(Values::of),
            keeps_nulls: argument.keeps_nulls,
            rows: argument.rows.as_ref(),
        }
    }

    fn takes(&self, row: usize) -> bool {
        self.rows.is_none_or(|rows| rows.value(row))
    }

    fn add(&self, row: usize, weight: i64, accumulator: &mut Accumulator) {
        if !self.takes(row) {
            return;
        }
        match (&self.values, accumulator) {
            (None, Accumulator::Count(count)) => *count += weight,
            (None, other) => panic!("invariant: only counts have no argument, not {other:?}"),
            (Some(values), accumulator) => {
                if let Some(value) = self.value(values, row) {
                    accumulator.add(&value, weight);
                }
            }
        }
    }

    /// The value of a row with what it is ordered by, unless it is a NULL that does not count.
    fn value(&self, values: &Values<'_>, row: usize) -> Option<Value> {
        let value = values.get(row).or_else(|| self.keeps_nulls.then_some(Value::Null))?;
        Some(match &self.order {
            None => value,
            Some(order) => Value::Pair(Box::new((order.get(row).unwrap_or(Value::Null), value))),
        })
    }
}

/// The slots of one component, to which rows are added.
struct Target<'a> {
    numbers: &'a [u32],
    states: &'a mut [State],
    slot: usize,
    kinds: &'a [Kind],
    /// What is over at this time takes no event any more.
    over: Timestamp,
}

impl Target<'_> {
    fn slot(&mut self, row: usize) -> &mut Slot {
        &mut self.states[self.numbers[row] as usize].0[self.slot]
    }

    fn take_windows(&mut self, grid: Grid, timed: &TimedInput<'_>, late: &mut LateRows<'_>) {
        let (panes, kinds) = (grid.panes(), self.kinds);
        let closed = Closed::new(grid, self.over);
        for row in timed.input.rows() {
            let time = timed.times[row];
            if closed.touches(time) && !late.is_counted(grid, closed.first_open, timed, row) {
                continue;
            }
            let Slot::Windows(windows) = self.slot(row) else { unreachable!("a component has one shape") };
            timed.input.add(row, 1, windows.entry(time.div_euclid(panes.slide), kinds));
        }
    }

    /// Adds rows of a view to the windows that they are in, or takes them out; the last accumulator of each counts its rows.
    fn take_changes(&mut self, grid: Grid, input: &Input<'_>, time: RowTime) {
        let (panes, kinds) = (grid.panes(), self.kinds);
        let times = input.part.columns.column(time.column).as_primitive::<TimestampMicrosecondType>();
        for row in input.rows().filter(|&row| times.is_valid(row)) {
            let weight = input.part.weights.map_or(1, |weights| weights[row]);
            let instant = times.value(row).saturating_add(time.shift);
            let Slot::Windows(windows) = self.slot(row) else { unreachable!("a component has one shape") };
            let accumulators = windows.entry(instant.div_euclid(panes.slide), kinds);
            input.add(row, weight, accumulators);
            if let Some(Accumulator::Count(rows)) = accumulators.last_mut() {
                *rows += weight;
            }
        }
    }

    fn take_ranges(&mut self, grid: Grid, timed: &TimedInput<'_>, late: &mut LateRows<'_>) {
        let closed = Closed::new(grid, self.over);
        let counted = timed.input.arguments.first().and_then(Option::as_ref);
        for row in timed.input.rows() {
            let time = timed.times[row];
            if closed.touches(time) && !late.is_counted(grid, closed.first_open, timed, row) {
                continue;
            }
            if counted.is_some_and(|argument| !argument.takes(row)) {
                continue;
            }
            let (low, high) = grid.covering(time);
            let Slot::Ranges(ranges) = self.slot(row) else { unreachable!("a component has one shape") };
            ranges.insert(low.max(closed.first_open), high);
        }
    }

    fn take_sessions(&mut self, rule: Rule, timed: &TimedInput<'_>, late: &mut LateRows<'_>) {
        let (over, kinds) = (self.over, self.kinds);
        for row in timed.input.rows() {
            let time = timed.times[row];
            if rule.is_late(time, over) {
                late.wholly += 1;
                late.report(timed, row, Timestamp(time), Timestamp(time.saturating_add(rule.gap)));
                continue;
            }
            let Slot::Sessions(sessions) = self.slot(row) else { unreachable!("a component has one shape") };
            timed.input.add(row, 1, sessions.entry(time, rule, kinds));
        }
    }

    /// Adds rows to groups; `until` and the slack behind it bound the event time of each.
    fn take_group(&mut self, input: &Input<'_>, until: Option<(&dyn Array, i64)>) {
        let kinds = self.kinds;
        let until = until.map(|(until, slack)| (until.as_primitive::<TimestampMicrosecondType>(), slack));
        for row in input.rows() {
            let weight = input.part.weights.map_or(1, |weights| weights[row]);
            let until =
                until.filter(|(until, _)| until.is_valid(row)).map(|(until, slack)| until.value(row).saturating_add(slack));
            let Slot::Group(group) = self.slot(row) else { unreachable!("a component has one shape") };
            let group = group.get_or_insert_with(|| Group::empty(until, kinds));
            group.rows += weight;
            input.add(row, weight, &mut group.accumulators);
        }
    }
}

/// Which windows of a grid a watermark has closed.
struct Closed {
    first_open: i64,
    /// No window that covers this time or a later one is closed.
    all_open_from: i64,
}

impl Closed {
    fn new(grid: Grid, watermark: Timestamp) -> Closed {
        let first_open = grid.first_open(watermark);
        // A time is covered by closed windows until the end of the last closed one.
        let all_open_from = if first_open == i64::MIN { i64::MIN } else { grid.end(first_open.saturating_sub(1)).0 };
        Closed { first_open, all_open_from }
    }

    fn touches(&self, time: i64) -> bool {
        time < self.all_open_from
    }
}

/// Takes down what is late for a component.
struct LateRows<'a> {
    context: &'a Context,
    index: usize,
    accounts: bool,
    /// Rows that are late for all their windows.
    wholly: u64,
    sides: &'a mut Vec<Side>,
}

impl LateRows<'_> {
    /// Takes down the closed windows that cover a row, and tells whether it counts in another.
    fn is_counted(&mut self, grid: Grid, first_open: i64, timed: &TimedInput<'_>, row: usize) -> bool {
        let (low, high) = grid.covering(timed.times[row]);
        for number in low..high.min(first_open) {
            self.report(timed, row, grid.start(number), grid.end(number));
        }
        let counted = high > first_open;
        self.wholly += u64::from(!counted);
        counted
    }

    fn report(&mut self, timed: &TimedInput<'_>, row: usize, window_start: Timestamp, window_end: Timestamp) {
        if !self.accounts {
            return;
        }
        let part = timed.input.part;
        self.sides.push(Side::Late(Box::new(LateEvent {
            view: self.context.views[self.index].clone(),
            source: self.context.source.clone(),
            partition: part.partition,
            offset: part.offsets[row],
            window_start,
            window_end,
            event_time: Timestamp(timed.times[row]),
            watermark: part.watermark,
            event: json(&part.columns, row),
        })));
    }
}
