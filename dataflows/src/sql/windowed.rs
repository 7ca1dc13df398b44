//! What `tumble`, `hop` and `session` stand on: the events of a stream, or the rows of a view by an instant of theirs.
//!
//! ```text
//!   per_minute: 09:59 to 10:00  ─ window_end less 1 µs ─▶  hour 09:00 to 10:00
//! ```
//!
//! Rows of a view come and go, but only until the watermark says that they are settled: a [`TimeBound`] of the view. A window over them is complete when
//! all rows are settled that may lie in it. So it needs no time but one that bounds the rows.

use arrow::datatypes::{DataType, TimeUnit};
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_expr::{Expr, cast, lit};

use super::error::{Planned, Refusal};
use super::hidden::{Lowering, unique};
use super::relation::{Reads, Relation, WindowCall, column};
use super::window::{WINDOW_COLUMNS, WindowTable, inner, width};
use crate::plan::{RowTime, TimeBound, Window};

/// Puts the rows of a relation into windows.
pub(super) fn windowed(table: &WindowTable, lowering: &mut Lowering<'_>) -> Planned<Relation> {
    let mut relation = Relation::lower(&table.input, lowering)?;
    relation.check_ranked()?;
    if relation.base.window.is_some() && relation.groups.is_none() {
        return Err(refusal(table, "is applied to the result of another", "use one of them for each view"));
    }
    if relation.groups.is_some() || matches!(relation.base.input, Reads::Join(_)) {
        let all: Vec<Expr> = table.input.schema().columns().into_iter().map(Expr::Column).collect();
        relation = lowering.hide(relation, table.input.schema(), &all)?;
    }
    let keys = table.keys.iter().map(|key| relation.bind(key, table.input.schema())).collect::<Planned<_>>()?;
    let row_time = match relation.base.input {
        Reads::Source(_) => {
            relation.check_event_time(table)?;
            None
        }
        _ => Some(relation.row_time(table)?),
    };
    relation.base.window = Some(WindowCall { function: table.function, window: table.window, keys, row_time });
    relation.rename_shadowed(&WINDOW_COLUMNS[..width(&table.window)]);
    relation.columns.extend(relation.base.window_columns().iter().map(|name| column(name)));
    Ok(relation)
}

fn refusal(table: &WindowTable, problem: &str, remedy: &str) -> Refusal {
    Refusal::new(format!("{}() {problem}", table.function), remedy)
}

impl Relation {
    /// Checks that a stream's event time is there, and that no other one is asked for.
    fn check_event_time(&self, table: &WindowTable) -> Planned<()> {
        let source = &self.base.name;
        let Some(time) = self.base.time.map(|time| self.base.columns[time].name.clone()) else {
            let problem = format!("needs an event time, but the source '{source}' has no time column");
            return Err(refusal(table, &problem, "name one in the source's declaration"));
        };
        if !self.columns.contains(&column(&time)) {
            let problem = format!("needs the time column '{time}' of '{source}', which its input leaves out");
            return Err(refusal(table, &problem, &format!("select {time} there as it is")));
        }
        match &table.time {
            Some(wanted) if self.bind(wanted, table.input.schema())? != column(&time) => {
                let problem = format!("goes by the event time of '{source}', which is '{time}', not by {wanted}");
                Err(refusal(table, &problem, "leave 'time =>' out: it is for the rows of views"))
            }
            _ => Ok(()),
        }
    }

    /// Finds the instant by which the rows of a view are put into windows: that of the column that is asked for, or else their last one.
    fn row_time(&self, table: &WindowTable) -> Planned<RowTime> {
        let view = &self.base.name;
        if let Window::Session { .. } = table.window {
            let problem = format!("joins events to sessions, but '{view}' is a view, whose rows can be taken back");
            return Err(refusal(table, &problem, "make sessions of the stream that it reads, and use tumble or hop for views"));
        }
        let bounds = self.visible_bounds();
        let (bound, shift) = match &table.time {
            None => {
                // The end of a window says best when a row is over.
                let bound = bounds.iter().find(|bound| bound.last == -1).or(bounds.first());
                let bound = bound.ok_or_else(|| self.unbounded(table, "whose rows can change at any time"))?;
                (bound, bound.last)
            }
            Some(time) => {
                let bound = self.base.plain(&self.bind(time, table.input.schema())?);
                let bound = bound.and_then(|plain| bounds.iter().find(|bound| bound.column == plain));
                let bound =
                    bound.ok_or_else(|| self.unbounded(table, &format!("and {time} does not say when a row is settled")))?;
                // Of the time that is asked for, only the end of a window is outside of what it stands for.
                (bound, bound.last.min(0))
            }
        };
        // A window that holds the row ends later than the row's instant, and so later than the column's value and `shift`.
        let slack = if shift > 0 { bound.slack.saturating_sub(shift + 1) } else { bound.slack };
        Ok(RowTime { column: bound.column, shift, slack: slack.max(0) })
    }

    /// Makes the columns of a window that no GROUP BY gathers expressions over the row, if each row of a view is in one window.
    ///
    /// # Errors
    /// Refuses the windows of events, and those of which a row is in several.
    pub(super) fn spread(&mut self) -> Planned<()> {
        if self.groups.is_some() {
            return Ok(());
        }
        let Some(WindowCall { function, window, row_time, .. }) = self.base.window.take() else { return Ok(()) };
        let (Some(time), Window::Hop { slide, size }) = (row_time, window) else { return Err(not_grouped(function)) };
        if slide != size {
            return Err(not_grouped(function));
        }
        let row = column(&self.base.columns[time.column].name);
        let instant = cast(row.clone(), DataType::Int64) + lit(time.shift);
        // The remainder of what lies before 1970 is negative.
        let into = (instant.clone() % lit(size) + lit(size)) % lit(size);
        let bound = |slack, last| TimeBound { column: 0, slack, last };
        let columns = [(0, bound(time.slack.saturating_add(size), size - 1)), (size, bound(time.slack, -1))];
        let micros = |ahead: i64| instant.clone() - into.clone() + lit(ahead);
        let bounds: Vec<(Expr, TimeBound)> =
            columns.into_iter().map(|(ahead, bound)| (cast(micros(ahead), TIME), bound)).collect();
        for (name, (bound, _)) in WINDOW_COLUMNS.iter().zip(&bounds) {
            self.columns.iter_mut().chain(&mut self.filter).for_each(|expr| *expr = replace(expr, name, bound));
        }
        self.filter.push(row.is_not_null());
        self.base.window_bounds = bounds;
        Ok(())
    }

    /// The base's time bounds that the relation passes on, in the order of its columns.
    fn visible_bounds(&self) -> Vec<TimeBound> {
        let bound = |plain: usize| self.base.time_bounds.iter().find(|bound| bound.column == plain).copied();
        self.columns.iter().filter_map(|expr| self.base.plain(expr).and_then(bound)).collect()
    }

    fn unbounded(&self, table: &WindowTable, why: &str) -> Refusal {
        let bounds = self.visible_bounds();
        let mut names: Vec<String> = bounds.iter().map(|bound| format!("'{}'", self.base.columns[bound.column].name)).collect();
        names.dedup();
        let remedy = match names.is_empty() {
            true => {
                "let the view have one: the window_end of its windows, or a time that its join bounds, each passed on as it is"
                    .to_owned()
            }
            false => format!("it can go by {}", names.join(" or ")),
        };
        refusal(table, &format!("needs a time at which rows are settled: it stands on '{}', {why}", self.base.name), &remedy)
    }

    /// Gives columns of the base that are named like those of windows the names under which queries know them.
    fn rename_shadowed(&mut self, windows: &[&str]) {
        let mut taken: Vec<String> = self.base.columns.iter().map(|c| c.name.clone()).collect();
        for at in 0..self.base.columns.len() {
            let name = self.base.columns[at].name.clone();
            if !windows.contains(&name.as_str()) {
                continue;
            }
            let renamed = unique(&inner(&name), &taken);
            self.columns.iter_mut().chain(&mut self.filter).for_each(|expr| *expr = replace(expr, &name, &column(&renamed)));
            if let Some(call) = &mut self.base.window {
                call.keys.iter_mut().for_each(|expr| *expr = replace(expr, &name, &column(&renamed)));
            }
            taken.push(renamed.clone());
            self.base.columns[at].name = renamed;
        }
    }
}

/// Puts an expression into the place of a column.
fn replace(expr: &Expr, name: &str, by: &Expr) -> Expr {
    let replaced = expr.clone().transform_up(|part| match &part {
        Expr::Column(column) if column.name == name => Ok(Transformed::yes(by.clone())),
        _ => Ok(Transformed::no(part)),
    });
    replaced.expect("invariant: nothing here fails").data
}

/// The type of all times.
const TIME: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

fn not_grouped(function: &str) -> Refusal {
    let remedy = "write GROUP BY window_start, window_end and select what is kept of each window";
    Refusal::new(format!("{function}() without GROUP BY"), remedy)
}
