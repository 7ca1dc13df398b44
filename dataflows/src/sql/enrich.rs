//! Joins of a stream with a table: each record meets the row that has its key, in the version of the table that is in force in its epoch.
//!
//! What comes out is a stream, whose columns are those of the stream that goes in and behind them the table's.

use datafusion_common::{Column as Name, DFSchema, JoinType};
use datafusion_expr::utils::split_conjunction_owned;
use datafusion_expr::{BinaryExpr, Expr, ExprSchemable, Join as JoinNode, LogicalPlan, Operator, Projection, when};
use freshet_model::Column;

use super::derived::{Reader, plainly};
use super::error::{Planned, Refusal};
use super::hidden::{Lowering, restore, unique};
use super::relation::Relation;
use super::tables::Entry;
use crate::plan::{Derived, SourcePlan, TablePlan};

const ENRICH: Reader = Reader {
    name: "a join with a table",
    remedy: "join the stream with the table first, in a row-wise view, and aggregate or join what comes out",
};

/// A join with a table as it is written.
struct Written<'a> {
    stream: &'a LogicalPlan,
    /// Index of the table.
    table: usize,
    /// The places of the stream's and of the table's first column among those of the join.
    starts: [usize; 2],
    only_matched: bool,
    schema: DFSchema,
    /// What must hold of a record and its row, joined by AND.
    conditions: Vec<Expr>,
}

/// What of a join's conditions gives the table's key, and the rest of them.
struct Keys {
    /// For each column of the key what equals it, over the stream.
    exprs: Vec<Expr>,
    rest: Vec<Expr>,
}

/// Returns the table that a side of a join is.
fn table_of(plan: &LogicalPlan) -> Option<usize> {
    match plainly(plan) {
        Some(Entry::Table(table)) => Some(table),
        _ => None,
    }
}

/// Returns the side of a join that is joined with a table.
pub(super) fn enriched(node: &JoinNode) -> Option<&LogicalPlan> {
    match (table_of(&node.left), table_of(&node.right)) {
        (None, Some(_)) => Some(&node.left),
        (Some(_), None) => Some(&node.right),
        _ => None,
    }
}

impl Lowering<'_> {
    /// Makes a stream of a join with a table; `None` if it is a join of something else.
    pub(super) fn enrich(&mut self, node: &JoinNode) -> Planned<Option<Relation>> {
        let Some(written) = self.written(node)? else { return Ok(None) };
        let table = self.catalog.tables[written.table].clone();
        let keys = written.keys(&table)?;
        let width = written.stream.schema().fields().len();
        let (stream, keys_at) = with_columns(written.stream, &table, &keys.exprs)?;
        let input = self.stream(&stream, &ENRICH)?;
        let (name, columns, time_column) = self.known(input);
        let all = all_columns(&columns, &table);
        let (own, added) = (columns.len(), table.columns.len());
        let derived = Derived::Enrich { input, table: written.table, keys: keys_at, only_matched: written.only_matched };
        let name = format!("enrich({name}, {})", table.name);
        let relation = self.stream_of(SourcePlan { name, columns: all, time_column, derived: Some(derived) });
        // What equals the key may stand behind the stream's columns, and is not the join's.
        let mut places: Vec<usize> = (0..width).chain(own..own + added).collect();
        if written.starts[0] > 0 {
            places.rotate_left(width);
        }
        let fields = written.schema.fields().iter();
        let columns = places.into_iter().zip(fields).map(|(at, field)| restore(&relation.base.columns[at], field.data_type()));
        let mut relation = Relation { columns: columns.collect(), ..relation };
        written.restrict(&mut relation, keys.rest, added)?;
        Ok(Some(relation))
    }

    /// Tells which side is the table, and what the join shows.
    fn written<'a>(&self, node: &'a JoinNode) -> Planned<Option<Written<'a>>> {
        let (stream, table, starts) = match (table_of(&node.left), table_of(&node.right)) {
            (None, None) => return Ok(None),
            (None, Some(table)) => (&node.left, table, [0, node.left.schema().fields().len()]),
            (Some(table), None) => (&node.right, table, [node.left.schema().fields().len(), 0]),
            (Some(one), Some(other)) => {
                let [one, other] = [one, other].map(|table| &self.catalog.tables[table].name);
                let problem = format!("the tables '{one}' and '{other}' are joined with one another");
                return Err(Refusal::new(problem, "join a stream with the one, and what comes out with the other"));
            }
        };
        let name = &self.catalog.tables[table].name;
        let only_matched = match (node.join_type, starts[0]) {
            (JoinType::Inner, _) => true,
            (JoinType::Left, 0) | (JoinType::Right, 1..) => false,
            (JoinType::Left | JoinType::Right | JoinType::Full, _) => {
                let problem = format!("a join shows rows of the table '{name}' that no record has met");
                return Err(Refusal::new(problem, format!("write FROM the stream LEFT JOIN {name} ON …")));
            }
            _ => {
                let problem = format!("IN, EXISTS or NOT EXISTS reads the table '{name}'");
                let remedy = format!("write JOIN {name} ON …, or LEFT JOIN {name} ON … WHERE a column of its key IS NULL");
                return Err(Refusal::new(problem, remedy));
            }
        };
        let mut conditions: Vec<Expr> = node.on.iter().map(|(left, right)| left.clone().eq(right.clone())).collect();
        conditions.extend(node.filter.iter().cloned().flat_map(split_conjunction_owned));
        let schema = node.left.schema().join(node.right.schema())?;
        Ok(Some(Written { stream, table, starts, only_matched, schema, conditions }))
    }
}

impl Written<'_> {
    /// Finds what equals the table's key.
    fn keys(&self, table: &TablePlan) -> Planned<Keys> {
        let mut exprs: Vec<Option<Expr>> = vec![None; table.key.len()];
        let mut rest = Vec::new();
        for condition in self.conditions.iter().cloned() {
            match self.equality(table, &condition) {
                Some((at, expr)) if exprs[at].is_none() => exprs[at] = Some(expr),
                _ => rest.push(condition),
            }
        }
        let named = |keep: &dyn Fn(usize) -> bool| {
            let names = (0..table.key.len()).filter(|&at| keep(at)).map(|at| table.columns[table.key[at]].name.as_str());
            names.collect::<Vec<_>>().join(", ")
        };
        let missing = named(&|at| exprs[at].is_none());
        if !missing.is_empty() {
            let problem = format!("nothing in ON equals {missing}, of the key of the table '{}'", table.name);
            let remedy = format!(
                "write ON with an equality for each column of its key ({}), of the table's column as it is and an expression of its type",
                named(&|_| true)
            );
            return Err(Refusal::new(problem, remedy));
        }
        Ok(Keys { exprs: exprs.into_iter().flatten().collect(), rest })
    }

    /// Takes a condition for the equality of a column of the key with an expression over the stream.
    fn equality(&self, table: &TablePlan, condition: &Expr) -> Option<(usize, Expr)> {
        let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = condition else { return None };
        let either = [(left, right), (right, left)];
        either.into_iter().find_map(|(key, expr)| {
            let Expr::Column(key) = key.as_ref() else { return None };
            let place = self.schema.index_of_column(key).ok()?.checked_sub(self.starts[1])?;
            let at = table.key.iter().position(|&column| column == place)?;
            let schema = self.stream.schema();
            let is_streams = expr.column_refs().iter().all(|column| schema.has_column(column));
            let fits = is_streams && expr.get_type(schema).ok()? == table.columns[place].column_type.arrow();
            fits.then(|| (at, expr.as_ref().clone()))
        })
    }

    /// Applies the conditions beside the key: a row for which they do not hold is none.
    fn restrict(&self, relation: &mut Relation, conditions: Vec<Expr>, added: usize) -> Planned<()> {
        let conditions = conditions.iter().map(|c| relation.bind(c, &self.schema)).collect::<Planned<Vec<_>>>()?;
        if self.only_matched {
            relation.filter.extend(conditions);
        } else if let Some(condition) = conditions.into_iter().reduce(Expr::and) {
            for column in &mut relation.columns[self.starts[1]..self.starts[1] + added] {
                *column = when(condition.clone(), column.clone()).end()?;
            }
        }
        Ok(())
    }
}

/// Adds to a stream what equals a table's key and is no column of it, and returns the places of all that does.
fn with_columns(stream: &LogicalPlan, table: &TablePlan, exprs: &[Expr]) -> Planned<(LogicalPlan, Vec<usize>)> {
    let schema = stream.schema();
    let mut columns: Vec<Expr> = schema.iter().map(|(table, field)| Expr::Column(Name::from((table, field)))).collect();
    let width = columns.len();
    let mut places = Vec::with_capacity(exprs.len());
    for (&key, expr) in table.key.iter().zip(exprs) {
        if let Expr::Column(column) = expr {
            places.push(schema.index_of_column(column)?);
        } else {
            places.push(columns.len());
            columns.push(expr.clone().alias(format!("key.{}", table.columns[key].name)));
        }
    }
    let stream = match columns.len() == width {
        true => stream.clone(),
        false => LogicalPlan::Projection(Projection::try_new(columns, stream.clone().into())?),
    };
    Ok((stream, places))
}

/// Returns the columns of a stream and a table side by side, each under a name of its own.
fn all_columns(stream: &[Column], table: &TablePlan) -> Vec<Column> {
    let mut taken: Vec<String> = stream.iter().map(|column| column.name.clone()).collect();
    let mut columns = stream.to_vec();
    for column in &table.columns {
        let is_taken = taken.contains(&column.name);
        let wanted = if is_taken { format!("{}.{}", table.name, column.name) } else { column.name.clone() };
        let name = unique(&wanted, &taken);
        taken.push(name.clone());
        columns.push(Column { name, column_type: column.column_type });
    }
    columns
}

/// The refusal of a table that is read by itself.
pub(super) fn alone(table: &TablePlan) -> Refusal {
    let TablePlan { name, columns, key } = table;
    let key = key.first().map_or("", |&column| &columns[column].name);
    let problem = format!("'{name}' is a table, by which streams are enriched, and no stream itself");
    Refusal::new(problem, format!("join a stream with it as it is: FROM a stream LEFT JOIN {name} ON {name}.{key} = …"))
}
