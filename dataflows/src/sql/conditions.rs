//! The conditions of a join, sorted by what they are good for: keys, a bound on the times of both sides, filters of one side, and the rest.

use arrow::datatypes::{DataType, TimeUnit};
use datafusion_common::ScalarValue;
use datafusion_expr::expr::{Between, BinaryExpr, Cast};
use datafusion_expr::{Expr, Operator, lit};

use super::compile::Compiler;
use super::error::Planned;
use super::interval;

/// Conditions over the columns of both sides.
#[derive(Default)]
pub(super) struct Conditions {
    /// Equalities: an expression over the left side, and one over the right side.
    pub(super) keys: Vec<[Expr; 2]>,
    /// The time of either side, and the band in which the right one's distance from the left one's lies.
    pub(super) times: Option<Times>,
    /// Conditions on one side alone.
    pub(super) filters: [Vec<Expr>; 2],
    /// What is none of that.
    pub(super) rest: Vec<Expr>,
}

/// A bound on the times of both sides.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Times {
    pub(super) sides: [Expr; 2],
    pub(super) band: (i64, i64),
}

/// Sorts conditions.
pub(super) struct Sorter<'a> {
    /// Types expressions over both sides' columns.
    pub(super) compiler: &'a Compiler,
    /// The side of a column, by its name.
    pub(super) side: &'a dyn Fn(&str) -> usize,
}

impl Sorter<'_> {
    pub(super) fn sort(&self, conditions: impl IntoIterator<Item = Expr>) -> Planned<Conditions> {
        let mut sorted = Conditions::default();
        for condition in conditions.into_iter().flat_map(halves) {
            if condition == lit(true) {
                continue;
            }
            match self.one_side(&condition) {
                Some(side) => sorted.filters[side].push(condition),
                None => self.sort_one(condition, &mut sorted)?,
            }
        }
        Ok(sorted)
    }

    fn sort_one(&self, condition: Expr, sorted: &mut Conditions) -> Planned<()> {
        if let Some(key) = self.key(&condition) {
            sorted.keys.push(key);
            return Ok(());
        }
        match (self.times(&condition)?, &mut sorted.times) {
            (Some(times), held @ None) => *held = Some(times),
            (Some(times), Some(held)) if held.sides == times.sides => {
                held.band = (held.band.0.max(times.band.0), held.band.1.min(times.band.1));
            }
            _ => sorted.rest.push(condition),
        }
        Ok(())
    }

    /// Returns the side whose columns alone an expression reads; none if it reads those of both, or no column.
    pub(super) fn one_side(&self, expr: &Expr) -> Option<usize> {
        let mut sides = expr.column_refs().into_iter().map(|column| (self.side)(&column.name));
        let first = sides.next()?;
        sides.all(|side| side == first).then_some(first)
    }

    fn key(&self, condition: &Expr) -> Option<[Expr; 2]> {
        let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = condition else { return None };
        match (self.one_side(left)?, self.one_side(right)?) {
            (0, 1) => Some([(**left).clone(), (**right).clone()]),
            (1, 0) => Some([(**right).clone(), (**left).clone()]),
            _ => None,
        }
    }

    /// Reads a comparison as a bound on the distance of two times.
    fn times(&self, condition: &Expr) -> Planned<Option<Times>> {
        let Expr::BinaryExpr(BinaryExpr { left, op, right }) = condition else { return Ok(None) };
        let (Some(left), Some(right)) = (Sum::of(left), Sum::of(right)) else { return Ok(None) };
        // left op right, brought to: one - other + offset op 0.
        let Some(difference) = left.minus(right) else { return Ok(None) };
        let ([one], [other]) = (&difference.plus[..], &difference.minus[..]) else { return Ok(None) };
        let time = DataType::Timestamp(TimeUnit::Microsecond, None);
        if self.compiler.data_type(one)? != time || self.compiler.data_type(other)? != time {
            return Ok(None);
        }
        let (strict, is_upper) = match op {
            Operator::Lt => (1, true),
            Operator::LtEq => (0, true),
            Operator::Gt => (1, false),
            Operator::GtEq => (0, false),
            _ => return Ok(None),
        };
        let offset = difference.offset;
        let (sides, band) = match (self.one_side(one), self.one_side(other)) {
            // right - left + offset: at most or at least 0.
            (Some(1), Some(0)) if is_upper => ([other, one], (i64::MIN, -offset - strict)),
            (Some(1), Some(0)) => ([other, one], (strict - offset, i64::MAX)),
            // left - right + offset.
            (Some(0), Some(1)) if is_upper => ([one, other], (offset + strict, i64::MAX)),
            (Some(0), Some(1)) => ([one, other], (i64::MIN, offset - strict)),
            _ => return Ok(None),
        };
        Ok(Some(Times { sides: sides.map(Clone::clone), band }))
    }
}

/// Divides BETWEEN into its two comparisons.
fn halves(condition: Expr) -> Vec<Expr> {
    match condition {
        Expr::Between(Between { expr, negated: false, low, high }) => {
            vec![expr.clone().gt_eq(*low), expr.lt_eq(*high)]
        }
        other => vec![other],
    }
}

/// Times, intervals and differences of them: what is added, what is taken away, and microseconds.
#[derive(Debug, Default)]
struct Sum {
    plus: Vec<Expr>,
    minus: Vec<Expr>,
    offset: i64,
}

impl Sum {
    fn of(expr: &Expr) -> Option<Sum> {
        match expr {
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::Plus, right }) => {
                let Sum { plus, minus, offset } = Sum::of(right)?;
                Sum::of(left)?.minus(Sum { plus: minus, minus: plus, offset: offset.checked_neg()? })
            }
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::Minus, right }) => Sum::of(left)?.minus(Sum::of(right)?),
            Expr::Cast(Cast { expr, field }) if is_length(field.data_type()) => Sum::of(expr),
            Expr::Literal(value, _) => Some(Sum { offset: length(value, expr)?, ..Sum::default() }),
            other => Some(Sum { plus: vec![other.clone()], ..Sum::default() }),
        }
    }

    fn minus(mut self, other: Sum) -> Option<Sum> {
        self.plus.extend(other.minus);
        self.minus.extend(other.plus);
        self.offset = self.offset.checked_sub(other.offset)?;
        Some(self)
    }
}

fn is_length(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Interval(_) | DataType::Duration(_))
}

/// Returns a literal length of time in microseconds, if it has a fixed one.
fn length(value: &ScalarValue, literal: &Expr) -> Option<i64> {
    match value {
        ScalarValue::DurationMicrosecond(micros) => *micros,
        ScalarValue::DurationMillisecond(millis) => millis.and_then(|millis| millis.checked_mul(1000)),
        ScalarValue::DurationSecond(seconds) => seconds.and_then(|seconds| seconds.checked_mul(1_000_000)),
        ScalarValue::DurationNanosecond(Some(nanos)) if nanos % 1000 == 0 => Some(nanos / 1000),
        _ => interval::signed_micros(literal, "the distance of two times").ok(),
    }
}
