//! The clauses that a view may not have, each refused by name with what to write instead.
//!
//! Working on the text's own structure, before any planning, gives messages in the words that were written.

use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{
    Distinct, Expr, Function, FunctionArgumentClause, FunctionArguments, GroupByExpr, Ident, Join, JoinConstraint, JoinOperator,
    ObjectName, Query, Select, SelectItem, SetExpr, SetOperator, SetQuantifier, TableFactor, Visit, Visitor, WindowType,
};

use super::call;
use super::error::{Planned, Refusal};
use super::functions::Functions;
use super::{ranking, window};

/// An expression may not be nested deeper: evaluating one recurses, on the stack of a worker's thread.
pub(super) const MAX_DEPTH: usize = 400;

/// The way out for such an expression.
pub(super) const TOO_DEEP: &str = "write long OR chains as x IN (…), and divide the rest";

/// Accepts a query that has only clauses which Freshet can keep.
///
/// # Errors
/// Names the first clause that it cannot.
pub(super) fn check(query: &Query, functions: &Functions) -> Planned<()> {
    match query.visit(&mut Clauses { functions, depth: 0, subqueries: 0 }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(refusal) => Err(*refusal),
    }
}

/// Returns a name as SQL compares it: in lower case unless it was quoted.
pub(super) fn normal(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}

/// Returns a name of a single part, as SQL compares it.
pub(super) fn single(name: &ObjectName) -> Option<String> {
    match name.0.as_slice() {
        [part] => part.as_ident().map(normal),
        _ => None,
    }
}

struct Clauses<'a> {
    functions: &'a Functions,
    /// How many expressions the visited one stands in.
    depth: usize,
    /// How many IN and EXISTS it stands in.
    subqueries: usize,
}

type Verdict = ControlFlow<Box<Refusal>>;

fn refuse(clause: &str, remedy: &str) -> Verdict {
    ControlFlow::Break(Box::new(Refusal::new(format!("{clause} is not supported in a view"), remedy)))
}

/// The way out where a view would need the rows of another as a whole.
const VIEW_OF_ITS_OWN: &str = "write it as a view of its own and read that view in FROM";
const UNION_BY_NAME: &str = "UNION BY NAME";
const NO_ORDER: &str = "a view is a set of rows: leave it out and order when you read the table";

impl Visitor for Clauses<'_> {
    type Break = Box<Refusal>;

    fn pre_visit_query(&mut self, query: &Query) -> Verdict {
        let set = match query.body.as_ref() {
            set @ SetExpr::SetOperation { .. } => unsupported_set(set),
            SetExpr::Values(_) => Some("VALUES".to_owned()),
            SetExpr::Select(_) | SetExpr::Query(_) => None,
            SetExpr::Table(_) => Some("TABLE".to_owned()),
            _ => Some("a change of a table".to_owned()),
        };
        let rules: [(bool, &str, &str); 6] = [
            (query.with.as_ref().is_some_and(|with| with.recursive), "WITH RECURSIVE", "write WITH without RECURSIVE"),
            (query.order_by.is_some(), "ORDER BY", NO_ORDER),
            (query.limit_clause.is_some(), "LIMIT", NO_ORDER),
            (query.fetch.is_some(), "FETCH", NO_ORDER),
            (!query.locks.is_empty() || query.for_clause.is_some(), "FOR", "leave it out"),
            (
                query.settings.is_some() || query.format_clause.is_some() || !query.pipe_operators.is_empty(),
                "a clause after the query",
                "leave it out",
            ),
        ];
        first(&rules)?;
        match set.as_deref() {
            None => ControlFlow::Continue(()),
            Some(op @ ("INTERSECT" | "EXCEPT" | "MINUS")) => refuse(op, "write a join: what it tells is one"),
            Some(op @ UNION_BY_NAME) => refuse(op, "write UNION ALL, with the columns of all parts in one order"),
            Some(other) => refuse(other, "write SELECT … FROM a source or a view"),
        }
    }

    fn pre_visit_select(&mut self, select: &Select) -> Verdict {
        if let Some(Distinct::On(_)) = &select.distinct {
            return refuse("SELECT DISTINCT ON", ranking::USAGE);
        }
        let named = !select.named_window.is_empty();
        let rare = select.top.is_some()
            || select.into.is_some()
            || select.prewhere.is_some()
            || select.exclude.is_some()
            || select.value_table_mode.is_some()
            || !select.lateral_views.is_empty()
            || !select.connect_by.is_empty()
            || !select.cluster_by.is_empty()
            || !select.distribute_by.is_empty()
            || !select.sort_by.is_empty();
        select.from.iter().flat_map(|from| &from.joins).try_for_each(join)?;
        let rules: [(bool, &str, &str); 5] = [
            (select.from.is_empty(), "SELECT without FROM", "read a source or a view: SELECT … FROM name"),
            (select.qualify.is_some(), "QUALIFY", ranking::USAGE),
            (named, "a named window", "write it inside of OVER (…)"),
            (matches!(select.group_by, GroupByExpr::All(_)), "GROUP BY ALL", "name the columns in GROUP BY"),
            (rare, "a clause of another SQL dialect", "use SELECT, FROM, WHERE, GROUP BY and HAVING"),
        ];
        first(&rules)?;
        // What EXISTS and IN select has no name to be read by.
        if self.subqueries == 0
            && let Some(unnamed) = select.projection.iter().find_map(unnamed)
        {
            let problem = format!("the column '{unnamed}' has no name");
            return ControlFlow::Break(Box::new(Refusal::new(problem, format!("write {unnamed} AS name"))));
        }
        match &select.group_by {
            GroupByExpr::Expressions(_, modifiers) if !modifiers.is_empty() => grouping_sets(),
            _ => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> Verdict {
        match factor {
            TableFactor::Table { name, args: Some(_), .. } => match window::known(name) {
                Ok(_) => ControlFlow::Continue(()),
                Err(refusal) => ControlFlow::Break(Box::new(refusal)),
            },
            TableFactor::Table { name, sample, version, with_ordinality, .. } => {
                let rules: [(bool, &str, &str); 3] = [
                    (sample.is_some(), "TABLESAMPLE", "filter with WHERE"),
                    (version.is_some() || *with_ordinality, "a modifier of a table", "leave it out"),
                    (single(name).is_none(), "a name with a schema", "write the source's or view's plain name"),
                ];
                first(&rules)
            }
            TableFactor::Derived { lateral: false, sample: None, .. } => ControlFlow::Continue(()),
            TableFactor::NestedJoin { table_with_joins, .. } => table_with_joins.joins.iter().try_for_each(join),
            TableFactor::Derived { .. } | TableFactor::Function { .. } => refuse("LATERAL", VIEW_OF_ITS_OWN),
            _ => refuse("this form of FROM", "read a source or a view by its name, or a subquery"),
        }
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> Verdict {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            let problem = format!("an expression is nested more than {MAX_DEPTH} deep");
            return ControlFlow::Break(Box::new(Refusal::new(problem, TOO_DEEP)));
        }
        match expr {
            Expr::Subquery(_) => refuse("a subquery for a single value", "join the view that computes the value"),
            Expr::Exists { .. } | Expr::InSubquery { .. } => {
                self.subqueries += 1;
                ControlFlow::Continue(())
            }
            Expr::Rollup(_) | Expr::Cube(_) | Expr::GroupingSets(_) => grouping_sets(),
            Expr::Function(function) => self.function(function),
            _ => ControlFlow::Continue(()),
        }
    }

    fn post_visit_expr(&mut self, expr: &Expr) -> Verdict {
        self.depth -= 1;
        self.subqueries -= usize::from(matches!(expr, Expr::Exists { .. } | Expr::InSubquery { .. }));
        ControlFlow::Continue(())
    }
}

impl Clauses<'_> {
    fn function(&self, function: &Function) -> Verdict {
        let Some(name) = single(&function.name) else {
            return refuse("a function name with a schema", "write the function's plain name");
        };
        if let Some(over) = &function.over {
            return over_clause(&name, over);
        }
        if let Err(refusal) = self.functions.check(&name) {
            return ControlFlow::Break(Box::new(refusal));
        }
        let clauses = match &function.args {
            FunctionArguments::Subquery(_) => return refuse("a subquery in an expression", VIEW_OF_ITS_OWN),
            FunctionArguments::List(list) => list.clauses.as_slice(),
            FunctionArguments::None => &[],
        };
        let is_taken = |clause: &FunctionArgumentClause| match clause {
            FunctionArgumentClause::OrderBy(_) => call::may_be_ordered(&name),
            FunctionArgumentClause::IgnoreOrRespectNulls(_) => call::may_ignore_nulls(&name),
            _ => false,
        };
        let is_quantile = self.functions.aggregates.get(&name).is_some_and(|udaf| udaf.name() == "approx_percentile_cont");
        let nulls = function.null_treatment.is_none() || call::may_ignore_nulls(&name);
        match clauses.iter().all(is_taken) && nulls && (function.within_group.is_empty() || is_quantile) {
            true => ControlFlow::Continue(()),
            false => refuse("an order or null treatment inside a function call", "leave it out"),
        }
    }
}

/// Accepts OVER behind `row_number()`, without a frame.
fn over_clause(name: &str, over: &WindowType) -> Verdict {
    match over {
        WindowType::WindowSpec(spec) if name == ranking::ROW_NUMBER && spec.window_frame.is_none() => ControlFlow::Continue(()),
        _ if name == ranking::ROW_NUMBER => refuse("a frame or a named window in OVER", ranking::USAGE),
        _ => refuse(&format!("{name}() with OVER"), ranking::USAGE),
    }
}

/// Returns the first operation on sets that is not supported.
fn unsupported_set(set: &SetExpr) -> Option<String> {
    let SetExpr::SetOperation { op, set_quantifier, left, right } = set else { return None };
    match (op, set_quantifier) {
        (SetOperator::Union, SetQuantifier::All | SetQuantifier::Distinct | SetQuantifier::None) => {
            unsupported_set(left).or_else(|| unsupported_set(right))
        }
        (SetOperator::Union, _) => Some(UNION_BY_NAME.to_owned()),
        (other, _) => Some(other.to_string()),
    }
}

/// The expression of a select item, if neither a column nor AS gives it a name.
fn unnamed(item: &SelectItem) -> Option<&Expr> {
    match item {
        SelectItem::UnnamedExpr(Expr::Identifier(_) | Expr::CompoundIdentifier(_)) => None,
        SelectItem::UnnamedExpr(expr) => Some(expr),
        _ => None,
    }
}

/// Accepts the joins that can be kept.
fn join(join: &Join) -> Verdict {
    let (constraint, keeps_right) = match &join.join_operator {
        JoinOperator::Join(c) | JoinOperator::Inner(c) | JoinOperator::CrossJoin(c) => (c, false),
        JoinOperator::Left(c) | JoinOperator::LeftOuter(c) => (c, false),
        JoinOperator::Semi(c) | JoinOperator::LeftSemi(c) | JoinOperator::Anti(c) | JoinOperator::LeftAnti(c) => (c, false),
        JoinOperator::Right(c) | JoinOperator::RightOuter(c) | JoinOperator::FullOuter(c) => (c, true),
        JoinOperator::RightSemi(c) | JoinOperator::RightAnti(c) => (c, true),
        _ => return refuse("this kind of JOIN", "use JOIN, LEFT JOIN, RIGHT JOIN or FULL JOIN with ON"),
    };
    match constraint {
        JoinConstraint::Natural => refuse("NATURAL JOIN", "write ON with the columns that are to be equal"),
        JoinConstraint::Using(_) if keeps_right => {
            refuse("USING in a RIGHT or FULL JOIN", "write ON, and coalesce(a.x, b.x) AS x")
        }
        _ => ControlFlow::Continue(()),
    }
}

fn grouping_sets() -> Verdict {
    refuse("GROUPING SETS, ROLLUP or CUBE", "write one view for each set of group columns")
}

fn first(rules: &[(bool, &str, &str)]) -> Verdict {
    match rules.iter().find(|(broken, _, _)| *broken) {
        Some((_, clause, remedy)) => refuse(clause, remedy),
        None => ControlFlow::Continue(()),
    }
}
