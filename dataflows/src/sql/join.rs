//! Joins: two relations side by side, and what is known of their pairs.
//!
//! A join is first taken as it is written. Its conditions are sorted out when all that stands above it is known, so that conditions of WHERE can
//! become keys and only columns that are needed are kept.

use std::collections::BTreeSet;

use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{JoinType, NullEquality};
use datafusion_expr::utils::split_conjunction_owned;
use datafusion_expr::{Expr, Join as JoinNode};
use freshet_model::Column;

use super::compile::{Compiler, column_type};
use super::conditions::{Conditions, Sorter, Times};
use super::error::{Planned, Refusal};
use super::hidden::{Lowering, restore, unique};
use super::key::{self, Part};
use super::relation::{Base, Reads, Relation, reads_processing_time};
use super::text;
use crate::plan::{Expression, JoinKind, JoinRule, JoinSide, TimeBound};

/// A join as it is written.
#[derive(Clone)]
pub(super) struct Joined {
    kind: JoinKind,
    sides: [Relation; 2],
    /// The conditions of ON, over the columns of both sides.
    on: Vec<Expr>,
}

/// A join whose conditions are sorted out.
pub(super) struct Sorted {
    /// What each side reads, with the conditions on it alone.
    pub(super) sides: [Relation; 2],
    keys: Vec<[Expr; 2]>,
    times: Option<[Expr; 2]>,
    pub(super) rule: JoinRule,
    /// For each column of the join its side and the expression over that side.
    columns: Vec<(usize, Expr)>,
}

/// Lowers a join node.
pub(super) fn lower(node: &JoinNode, lowering: &mut Lowering<'_>) -> Planned<Relation> {
    if let Some(enriched) = lowering.enrich(node)? {
        return Ok(enriched);
    }
    let (kind, swapped) = kind(node)?;
    let schema = node.left.schema().join(node.right.schema())?;
    let (mut left, mut right) = (Relation::lower(&node.left, lowering)?, Relation::lower(&node.right, lowering)?);
    for side in [&mut left, &mut right] {
        side.check_ranked()?;
        side.spread()?;
    }
    let (left_width, right_width) = (left.columns.len(), right.columns.len());
    let mut names: Vec<String> = Vec::new();
    let mut columns = Vec::new();
    let mut given = Vec::new();
    for (index, side) in [&left, &right].into_iter().enumerate() {
        let compiler = Compiler::new(side.fields())?;
        for (at, expr) in side.columns.iter().enumerate() {
            let (table, field) = schema.qualified_field(index * left_width + at);
            let shown = table.map_or_else(|| field.name().clone(), |table| format!("{}.{}", table.table(), field.name()));
            let name = unique(&shown, &names);
            let read = side.typed(expr, &name, &compiler)?;
            given.push(compiler.data_type(expr)?);
            names.push(name);
            columns.push(read);
        }
    }
    let restored: Vec<Expr> = columns.iter().zip(&given).map(|(column, given)| restore(column, given)).collect();
    let name = format!("the join of '{}' and '{}'", left.base.name, right.base.name);
    let (time_bounds, window_bounds) = (Vec::new(), Vec::new());
    let base =
        Base { input: Reads::Source(0), name, columns, time: None, time_bounds, window_bounds, parts: Vec::new(), window: None };
    let mut row = Relation { base, groups: None, filter: Vec::new(), columns: restored, ranking: None };
    let mut on = Vec::new();
    for (left, right) in &node.on {
        on.push(row.bind(&left.clone().eq(right.clone()), &schema)?);
    }
    for condition in node.filter.iter().cloned().flat_map(split_conjunction_owned) {
        on.extend(split_conjunction_owned(row.bind(&condition, &schema)?));
    }
    let sides = if swapped { [right, left] } else { [left, right] };
    if swapped {
        row.base.columns.rotate_left(left_width);
    }
    if matches!(kind, JoinKind::Semi | JoinKind::Anti) {
        row.columns = if swapped { row.columns.split_off(left_width) } else { row.columns[..left_width].to_vec() };
    }
    debug_assert_eq!(row.base.columns.len(), left_width + right_width, "a column of the join for each of either side");
    row.base.input = Reads::Join(Box::new(Joined { kind, sides, on }));
    Ok(row)
}

/// Returns what a join shows, and whether its sides are to change places.
fn kind(node: &JoinNode) -> Planned<(JoinKind, bool)> {
    if node.null_aware {
        let problem = "NOT IN (SELECT …) shows nothing at all as soon as one value is NULL, which no state can tell in time";
        return Err(Refusal::new(problem, "write NOT EXISTS (SELECT 1 FROM … WHERE the two values are equal)"));
    }
    if node.null_equality == NullEquality::NullEqualsNull {
        return Err(Refusal::new("a join in which NULL equals NULL is not supported", "join with a = b"));
    }
    match node.join_type {
        JoinType::Inner => Ok((JoinKind::Inner, false)),
        JoinType::Left => Ok((JoinKind::Left, false)),
        JoinType::Right => Ok((JoinKind::Left, true)),
        JoinType::Full => Ok((JoinKind::Full, false)),
        JoinType::LeftSemi => Ok((JoinKind::Semi, false)),
        JoinType::RightSemi => Ok((JoinKind::Semi, true)),
        JoinType::LeftAnti => Ok((JoinKind::Anti, false)),
        JoinType::RightAnti => Ok((JoinKind::Anti, true)),
        JoinType::LeftMark | JoinType::RightMark => Err(Refusal::new(
            "IN (SELECT …) and EXISTS stand inside of OR, NOT or CASE",
            "let them stand in WHERE by themselves, joined to other conditions by AND; for NOT IN write NOT EXISTS",
        )),
    }
}

impl Relation {
    /// Returns a column of this name and of the type in which a view holds this expression.
    pub(super) fn typed(&self, expr: &Expr, name: &str, compiler: &Compiler) -> Planned<Column> {
        let expr = compiler.simplify(expr.clone())?;
        let column_type = match self.declared(&expr) {
            Some((_, column_type)) => column_type,
            None => column_type(&compiler.data_type(&expr)?, &format!("the column '{name}'"))?,
        };
        Ok(Column { name: name.to_owned(), column_type })
    }

    /// Tells for each column of a relation over a join whether it plainly is one of a side that has a part in each row.
    pub(super) fn of_sure_sides(&self, joined: &Joined) -> Vec<bool> {
        let width = joined.sides[0].columns.len();
        let is_sure = |plain: usize| match joined.kind {
            JoinKind::Inner => true,
            JoinKind::Full => false,
            JoinKind::Left | JoinKind::Semi | JoinKind::Anti => plain < width,
        };
        self.columns.iter().map(|expr| self.base.plain(expr).is_some_and(is_sure)).collect()
    }

    /// Sorts out the conditions of the join that this relation stands on, and leaves only the columns that are needed; `None` if it stands on none.
    pub(super) fn sort_out(&mut self, lowering: &mut Lowering<'_>) -> Planned<Option<Sorted>> {
        let Reads::Join(joined) = &self.base.input else { return Ok(None) };
        if self.groups.is_some() {
            return Ok(None);
        }
        let joined = (**joined).clone();
        let conditions = self.conditions(&joined)?;
        let needed = self.needed();
        let sorted = joined.sort_out(conditions, &self.base, &needed, lowering)?;
        let mut index = 0..;
        self.base.columns.retain(|_| index.next().is_some_and(|index| needed.contains(&index)));
        (self.base.parts, self.base.time_bounds) = (sorted.parts(), sorted.time_bounds());
        Ok(Some(sorted))
    }

    /// Sorts the conditions of ON, and those of WHERE that mean the same there; the others stay.
    fn conditions(&mut self, joined: &Joined) -> Planned<Conditions> {
        let compiler = Compiler::new(self.base.fields())?;
        let width = joined.sides[0].columns.len();
        let side = |name: &str| usize::from(self.base.columns.iter().position(|c| c.name == name).is_some_and(|at| at >= width));
        let sorter = Sorter { compiler: &compiler, side: &side };
        if joined.kind == JoinKind::Inner {
            let mut conditions = sorter.sort(joined.on.iter().chain(&self.filter).cloned())?;
            self.filter = std::mem::take(&mut conditions.rest);
            return Ok(conditions);
        }
        let mut conditions = sorter.sort(joined.on.iter().cloned())?;
        joined.check(&conditions)?;
        if joined.kind != JoinKind::Full {
            let (left, others) = std::mem::take(&mut self.filter).into_iter().partition(|c| sorter.one_side(c) == Some(0));
            conditions.filters[0].extend::<Vec<Expr>>(left);
            self.filter = others;
        }
        Ok(conditions)
    }

    /// Returns the indices of the base's columns that this relation reads.
    fn needed(&self) -> BTreeSet<usize> {
        let read: BTreeSet<&str> =
            self.columns.iter().chain(&self.filter).flat_map(Expr::column_refs).map(|column| column.name.as_str()).collect();
        let columns = self.base.columns.iter().enumerate();
        columns.filter(|(_, column)| read.contains(column.name.as_str())).map(|(index, _)| index).collect()
    }
}

impl Joined {
    /// Refuses conditions of ON that say of a row of an outer join whether it has a partner, and are neither an equality nor a bound on times.
    fn check(&self, conditions: &Conditions) -> Planned<()> {
        let on_preserved = (0..2).filter(|&side| self.kind.shows(side) == Some(false)).flat_map(|side| &conditions.filters[side]);
        let Some(condition) = conditions.rest.iter().chain(on_preserved).next() else { return Ok(()) };
        let what = match self.kind {
            JoinKind::Semi | JoinKind::Anti => "IN, EXISTS or NOT EXISTS",
            _ => "an outer join",
        };
        let problem = format!(
            "the condition {} of {what} is neither an equality of both sides nor a bound on their times",
            text::canonical(condition)?
        );
        let remedy = "put a condition on one side into a subquery in FROM, and one on the result into WHERE; of the others the join can keep \
                      only a.x = b.y and a.t BETWEEN b.t - INTERVAL '…' AND b.t + INTERVAL '…'";
        Err(Refusal::new(problem, remedy))
    }

    fn sort_out(
        self,
        conditions: Conditions,
        base: &Base,
        needed: &BTreeSet<usize>,
        lowering: &mut Lowering<'_>,
    ) -> Planned<Sorted> {
        let Conditions { keys, times, filters, .. } = conditions;
        if keys.is_empty() {
            return Err(Refusal::new(format!("{} has no equality of the two sides", base.name), NO_KEY));
        }
        let width = self.sides[0].columns.len();
        let mut read: [Vec<&Expr>; 2] = [Vec::new(), Vec::new()];
        for pair in keys.iter().chain(times.as_ref().map(|times| &times.sides)) {
            read[0].push(&pair[0]);
            read[1].push(&pair[1]);
        }
        let [left, right] = self.sides;
        let mut sides = Vec::with_capacity(2);
        for (number, (side, filters)) in [left, right].into_iter().zip(filters).enumerate() {
            let offset = number * width;
            let mut part: BTreeSet<usize> =
                needed.iter().filter(|&&index| (index >= width) == (number == 1)).map(|index| index - offset).collect();
            let names: Vec<&str> = base.columns[offset..offset + side.columns.len()].iter().map(|c| c.name.as_str()).collect();
            let names_read = read[number].iter().flat_map(|expr| expr.column_refs());
            part.extend(names_read.filter_map(|column| names.iter().position(|name| *name == column.name)));
            sides.push(plain_side(side, &names, &part, filters, lowering)?);
        }
        let sides: [Relation; 2] = sides.try_into().unwrap_or_else(|_| unreachable!("a join has two sides"));
        let over = |side: usize, expr: &Expr| {
            let columns = &base.columns[side * width..side * width + sides[side].columns.len()];
            over_side(expr, columns, &sides[side])
        };
        let keys = keys.iter().map(|[l, r]| Ok([over(0, l)?, over(1, r)?])).collect::<Planned<Vec<_>>>()?;
        let times =
            times.map(|Times { sides: [l, r], band }| Ok::<_, Refusal>(([over(0, &l)?, over(1, &r)?], band))).transpose()?;
        let columns = needed.iter().map(|&index| {
            let side = usize::from(index >= width);
            (side, sides[side].columns[index - side * width].clone())
        });
        let columns = columns.collect();
        let (times, rule) = rule(self.kind, &sides, &keys, times);
        Ok(Sorted { sides, keys, times, rule, columns })
    }
}

const NO_KEY: &str = "join by at least one, such as ON a.user_id = b.user_id; a bound on times can stand beside it";

/// Makes a side one filter over a source or view, if need be by a hidden view of the columns `read`.
fn plain_side(
    mut side: Relation,
    names: &[&str],
    read: &BTreeSet<usize>,
    filters: Vec<Expr>,
    lowering: &mut Lowering<'_>,
) -> Planned<Relation> {
    for filter in filters {
        let filter = substitute(&filter, names, &side)?;
        side.filter.push(filter);
    }
    if side.groups.is_none() && side.base.window_bounds.is_empty() && !matches!(side.base.input, Reads::Join(_)) {
        return Ok(side);
    }
    let short: Vec<&str> = names.iter().map(|name| name.rsplit('.').next().unwrap_or(name)).collect();
    lowering.hide_columns(side, &short, &if read.is_empty() { BTreeSet::from([0]) } else { read.clone() })
}

fn over_side(expr: &Expr, columns: &[Column], side: &Relation) -> Planned<Expr> {
    let names: Vec<&str> = columns.iter().map(|c| c.name.as_str()).collect();
    let compiler = Compiler::new(side.fields())?;
    compiler.simplify(substitute(expr, &names, side)?)
}

/// Writes an expression over columns of these names in terms of what a side reads.
fn substitute(expr: &Expr, names: &[&str], side: &Relation) -> Planned<Expr> {
    let substituted = expr.clone().transform_up(|part| match &part {
        Expr::Column(column) => match names.iter().position(|name| *name == column.name) {
            Some(index) => Ok(Transformed::yes(side.columns[index].clone())),
            None => Ok(Transformed::no(part)),
        },
        _ => Ok(Transformed::no(part)),
    })?;
    Ok(substituted.data.unalias_nested().data)
}

/// How a side's time says when its rows are settled.
#[derive(Clone, Copy)]
enum Settling {
    /// The time of a source's events: they may come until they are late.
    Events,
    /// A time bound of a view, and its slack.
    Rows(i64),
}

fn settling(side: &Relation, time: &Expr) -> Option<Settling> {
    let plain = side.base.plain(time)?;
    match side.base.input {
        Reads::Source(_) => (side.base.time == Some(plain)).then_some(Settling::Events),
        _ => side.base.time_bounds.iter().find(|bound| bound.column == plain).map(|bound| Settling::Rows(bound.slack)),
    }
}

/// Returns for each side how long after its time a row may come or go, if both can tell.
fn reach(sides: &[Relation; 2], times: &[Expr; 2], band: (i64, i64)) -> Option<[i64; 2]> {
    let farthest = [band.1, band.0.saturating_neg()];
    let of = |side: usize| match settling(&sides[side], &times[side])? {
        Settling::Events => Some(farthest[side].max(0)),
        Settling::Rows(slack) => Some(slack),
    };
    (band.0 != i64::MIN && band.1 != i64::MAX).then_some(())?;
    Some([of(0)?, of(1)?])
}

/// Returns the times that the join goes by, and its rule. Without a bound on times, an equality of times that settle rows is one.
fn rule(
    kind: JoinKind,
    sides: &[Relation; 2],
    keys: &[[Expr; 2]],
    times: Option<([Expr; 2], (i64, i64))>,
) -> (Option<[Expr; 2]>, JoinRule) {
    let equal = keys.iter().map(|key| (key.clone(), (0, 0)));
    let times = times.or_else(|| equal.into_iter().find(|(times, band)| reach(sides, times, *band).is_some()));
    let (times, band) = times.map_or((None, (0, 0)), |(times, band)| (Some(times), band));
    let reach = times.as_ref().and_then(|times| reach(sides, times, band));
    (times, JoinRule { kind, band, reach })
}

impl Sorted {
    /// For each column of the join the column of the side's input that it plainly is, if it is one of this side.
    fn plain(&self, side: usize) -> Vec<Option<usize>> {
        let plain = |(of, expr): &(usize, Expr)| (*of == side).then(|| self.sides[side].base.plain(expr)).flatten();
        self.columns.iter().map(plain).collect()
    }

    /// Returns what distinguishes the join's rows; nothing if one of its sides cannot tell its own apart.
    fn parts(&self) -> Vec<Part> {
        let bases = [0, 1].map(|side| &self.sides[side].base);
        let of = |side: usize| key::parts_of_view(&bases[side].parts, &self.plain(side));
        if !self.rule.kind.has_pairs() {
            return of(0);
        }
        let equal: Vec<[Option<usize>; 2]> = self.keys.iter().map(|[l, r]| [bases[0].plain(l), bases[1].plain(r)]).collect();
        let tied = |side: usize| {
            let is_tied = |part: &Part| part.columns.iter().any(|column| equal.iter().any(|key| key[side] == Some(*column)));
            bases[side].parts.iter().map(is_tied).collect::<Vec<bool>>()
        };
        key::parts_of_pairs(self.rule.kind, [of(0), of(1)], &[tied(0), tied(1)])
    }

    /// Returns the join's columns after which its rows are settled.
    fn time_bounds(&self) -> Vec<TimeBound> {
        let mut bounds: Vec<TimeBound> = Vec::new();
        let mut add = |side: usize, time: &Expr, slack: i64| {
            let Some(time) = self.sides[side].base.plain(time) else { return };
            let known = self.sides[side].base.time_bounds.iter().find(|bound| bound.column == time);
            let last = known.map_or(0, |bound| bound.last);
            let columns = self.plain(side);
            for (column, _) in columns.iter().enumerate().filter(|(_, plain)| **plain == Some(time)) {
                if bounds.iter().all(|bound| bound.column != column) {
                    bounds.push(TimeBound { column, slack, last });
                }
            }
        };
        for side in [0, 1] {
            if let (Some(times), Some(slack)) = (&self.times, self.rule.settled_after(side)) {
                add(side, &times[side], slack);
            }
            for key in &self.keys {
                if let Some([left, right]) = reach(&self.sides, key, (0, 0)) {
                    add(side, &key[side], left.max(right));
                }
            }
        }
        bounds
    }

    /// Warns if rows are kept for ever.
    pub(super) fn growth(&self, view: &str) -> Option<String> {
        if self.rule.reach.is_some() {
            return None;
        }
        let [left, right] = [0, 1].map(|side| &self.sides[side].base);
        let keys: Vec<String> = self.keys.iter().map(|[l, _]| text::canonical(l)).collect::<Planned<_>>().ok()?;
        let times = [0, 1].map(|side| self.time_to_bound(side));
        let advice = match times {
            [Some(l), Some(r)] => {
                format!("add a bound on their times, such as {l} BETWEEN {r} - INTERVAL '1 hour' AND {r} + INTERVAL '1 hour'")
            }
            _ => {
                "join columns that close as well, such as window_end on both sides, or the event times of two sources".to_owned()
            }
        };
        Some(format!(
            "the join of '{}' and '{}' by [{}] in view '{view}' keeps the rows of both for ever: {advice}",
            left.name,
            right.name,
            keys.join(", "),
        ))
    }

    /// Names a column by which the rows of a side could be settled.
    fn time_to_bound(&self, side: usize) -> Option<String> {
        let base = &self.sides[side].base;
        let index = match base.input {
            Reads::Source(_) => base.time,
            _ => base.time_bounds.first().map(|bound| bound.column),
        };
        Some(format!("{}.{}", base.name, base.columns[index?].name))
    }

    /// Compiles one side; `columns` are the join's columns, whose types its rows get.
    pub(super) fn side(&self, side: usize, columns: &[Column]) -> Planned<JoinSide> {
        let Relation { base, filter, .. } = &self.sides[side];
        let compiler = Compiler::new(base.fields())?;
        let types = Compiler::new(self.sides[0].base.fields())?;
        let key = |key: &[Expr; 2]| compiler.compile(key[side].clone(), &types.data_type(&key[0])?);
        let keys: Vec<Expression> = self.keys.iter().map(key).collect::<Planned<_>>()?;
        let time = self
            .times
            .as_ref()
            .map(|times| compiler.compile(times[side].clone(), &compiler.data_type(&times[side])?))
            .transpose()?;
        let own = self.columns.iter().zip(columns).filter(|((of, _), _)| *of == side);
        let packed =
            own.map(|((_, expr), column)| compiler.compile(expr.clone(), &column.column_type.arrow())).collect::<Planned<_>>()?;
        let condition = Relation::condition(filter);
        let exprs =
            self.keys.iter().map(|key| &key[side]).chain(self.columns.iter().filter(|(of, _)| *of == side).map(|(_, expr)| expr));
        let needs_processing_time = exprs.chain(&condition).any(reads_processing_time);
        Ok(JoinSide { filter: compiler.condition(condition)?, keys, time, columns: packed, needs_processing_time })
    }
}
