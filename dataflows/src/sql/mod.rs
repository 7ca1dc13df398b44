//! From SQL to a [`Plan`].
//!
//! DataFusion parses, resolves names and settles types; what it makes of a view is then put into the one shape that Freshet can
//! keep: a filter and expressions over the input, at most one GROUP BY, a filter and expressions over its groups. What has a state of its own
//! below that becomes a hidden view, which the rest reads.
//!
//! ```text
//!   text ─ syntax, fixed, clauses ─→ one SELECT of supported clauses
//!        ─ tables, window, functions, types ─→ DataFusion's logical plan
//!        ─ DataFusion's analyzer ─→ the same with all types settled
//!        ─ relation, group, aggregate ─→ columns and filter over the input, groups, columns and filter over the groups
//!        ─ compile, view, key ─→ View, and before it the hidden views that it reads (hidden)
//! ```
//!
//! No rule of DataFusion's optimizer moves anything between the levels: a HAVING stays above its GROUP BY.

mod aggregate;
mod call;
mod catalog;
mod clauses;
mod compile;
mod conditions;
mod declared;
mod dedupe;
mod derived;
mod enrich;
mod error;
mod fixed;
mod functions;
mod group;
mod hidden;
mod interval;
mod join;
mod key;
mod once;
mod order;
mod ranking;
mod relation;
mod scalars;
mod syntax;
mod tables;
#[cfg(test)]
mod tests;
mod text;
mod types;
mod union;
mod view;
mod window;
mod windowed;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion_common::config::ConfigOptions;
use datafusion_common::tree_node::TreeNode;
use datafusion_expr::LogicalPlan;
use datafusion_optimizer::decorrelate_predicate_subquery::DecorrelatePredicateSubquery;
use datafusion_optimizer::{Analyzer, OptimizerContext, OptimizerRule};
use datafusion_sql::planner::{ParserOptions, SqlToRel};
use datafusion_sql::sqlparser::ast::{Query, Statement};
use freshet_model::Column;

pub use error::PlanError;
pub use fixed::identity;
pub use functions::{FunctionError, Functions};

use crate::plan::{Emit, LatePolicy, Plan, SourcePlan, TablePlan};
use catalog::{Catalog, KnownView};
use error::{Planned, Refusal};
use hidden::Lowering;
use relation::Relation;
use syntax::Spelling;
use tables::{Entry, Names};

/// A view as a job declares it.
#[derive(Debug, Clone)]
pub struct ViewDefinition {
    /// The view's name.
    pub name: String,
    /// Its query.
    pub sql: String,
    /// The columns that identify a row; derived from the query if empty.
    pub key: Vec<String>,
    /// When its rows reach the sinks.
    pub emit: Emit,
    /// What becomes of late events.
    pub late: LatePolicy,
}

/// What views may read beside one another.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    /// The sources.
    pub sources: Vec<SourcePlan>,
    /// The tables by which streams are enriched.
    pub tables: Vec<TablePlan>,
}

impl Inputs {
    fn names(&self) -> impl Iterator<Item = &String> {
        self.sources.iter().map(|source| &source.name).chain(self.tables.iter().map(|table| &table.name))
    }

    fn columns(&self) -> impl Iterator<Item = &Column> {
        let of_tables = self.tables.iter().flat_map(|table| &table.columns);
        self.sources.iter().flat_map(|source| &source.columns).chain(of_tables)
    }
}

/// Enough for the longest text that is accepted; what is not used is never touched.
const STACK_BYTES: usize = 256 << 20;

/// Plans the views of a job over its sources, with the functions that every build has.
///
/// # Errors
/// As for [`plan_with`].
pub fn plan(sources: &[SourcePlan], views: &[ViewDefinition]) -> Result<Plan, PlanError> {
    plan_with(&Inputs { sources: sources.to_vec(), tables: Vec::new() }, views, &Functions::new())
}

/// Plans the views of a job over its sources and tables.
///
/// # Errors
/// Names the view that cannot be planned, what is wrong with it, and what to write instead.
pub fn plan_with(inputs: &Inputs, views: &[ViewDefinition], functions: &Functions) -> Result<Plan, PlanError> {
    // Parsing and planning recurse over expressions before it is known how deep they are, so they get a stack to do it on.
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("sql".to_owned()).stack_size(STACK_BYTES);
        match thread.spawn_scoped(scope, || plan_views(inputs, views, functions)) {
            Ok(planning) => planning.join().unwrap_or_else(|panic| resume_unwind(panic)),
            Err(_) => plan_views(inputs, views, functions),
        }
    })
}

fn plan_views(inputs: &Inputs, views: &[ViewDefinition], functions: &Functions) -> Result<Plan, PlanError> {
    check_names(inputs, views)?;
    let mut functions = functions.clone();
    let queries = parse(inputs, views, &mut functions)?;
    let names: Vec<&str> = views.iter().map(|view| view.name.as_str()).collect();
    let reads: Vec<Vec<usize>> = queries.iter().map(|(_, read)| read.clone()).collect();
    let order = order::order(&names, &reads).map_err(|(view, refusal)| refusal.about(names[view]))?;

    let mut tables = Names::new(&functions);
    for (index, source) in inputs.sources.iter().enumerate() {
        tables.insert(&source.name, Entry::Source(index), schema(&source.columns));
    }
    for (index, table) in inputs.tables.iter().enumerate() {
        tables.insert(&table.name, Entry::Table(index), schema(&table.columns));
    }
    let Inputs { sources, tables: known } = inputs.clone();
    let mut catalog = Catalog { sources, tables: known, views: Vec::with_capacity(views.len()) };
    for index in order {
        let definition = &ViewDefinition { sql: identity(&views[index].sql, &functions), ..views[index].clone() };
        let known =
            view(definition, &queries[index].0, &tables, &mut catalog).map_err(|refusal| refusal.about(&definition.name))?;
        tables.insert(&definition.name, Entry::View(catalog.views.len()), known.view.table.arrow());
        catalog.views.push(known);
    }
    let Catalog { sources, tables, views } = catalog;
    Ok(Plan { sources, tables, views: views.into_iter().map(|known| known.view).collect() })
}

fn schema(columns: &[Column]) -> SchemaRef {
    Arc::new(Schema::new(columns.iter().map(|c| Field::new(&c.name, c.column_type.arrow(), true)).collect::<Vec<_>>()))
}

/// Refuses two things of one name, capital letters aside: their tables could not be told apart in every database.
fn check_names(inputs: &Inputs, views: &[ViewDefinition]) -> Result<(), PlanError> {
    let mut taken = BTreeSet::new();
    for name in inputs.names().chain(views.iter().map(|view| &view.name)) {
        if !taken.insert(name.to_lowercase()) {
            return Err(Refusal::new("another source, table or view has this name", "give each a name of its own").about(name));
        }
    }
    Ok(())
}

/// A query and the indices of the views that it reads.
type Parsed = (Box<Query>, Vec<usize>);

fn parse(inputs: &Inputs, views: &[ViewDefinition], functions: &mut Functions) -> Result<Vec<Parsed>, PlanError> {
    let names = || inputs.names().chain(views.iter().map(|view| &view.name));
    let declared: BTreeSet<String> = names().cloned().collect();
    let spelling = Spelling::new(names().chain(inputs.columns().map(|c| &c.name)).map(String::as_str));
    let mut parse = |view: &ViewDefinition| -> Planned<Parsed> {
        let parsed = syntax::parse(&view.sql, &spelling);
        let mut query = parsed.map_err(|refusal| fixed::without_keys(&view.sql, refusal))?;
        fixed::bind(&mut query, functions)?;
        clauses::check(&query, functions)?;
        let read = syntax::names_read(&query, &declared)?;
        Ok((query, (0..views.len()).filter(|&other| read.contains(&views[other].name)).collect()))
    };
    views.iter().map(|view| parse(view).map_err(|refusal| refusal.about(&view.name))).collect()
}

fn view(definition: &ViewDefinition, query: &Query, tables: &Names<'_>, catalog: &mut Catalog) -> Planned<KnownView> {
    // DataFusion has rules that panic on rare literals; nothing of what they were working on is used afterwards.
    let planned = catch_unwind(AssertUnwindSafe(|| plan_view(definition, query, tables, catalog)));
    let remedy = "write its expressions in another way, beginning with the literals";
    planned.unwrap_or_else(|_| Err(Refusal::new("planning the query failed inside DataFusion", remedy)))
}

fn plan_view(definition: &ViewDefinition, query: &Query, tables: &Names<'_>, catalog: &mut Catalog) -> Planned<KnownView> {
    // Literals with a point are exact decimals, as in PostgreSQL; text is Utf8, as in the sources' batches.
    let options = ParserOptions::new().with_parse_float_as_decimal(true).with_map_string_types_to_utf8view(false);
    let planner = SqlToRel::new_with_options(tables, options);
    let plan = planner.sql_statement_to_plan(Statement::Query(Box::new(query.clone())))?;
    let plan = Analyzer::new().execute_and_check(plan, &ConfigOptions::default(), |_, _| {})?;
    let plan = subqueries(plan)?;
    let names: Vec<String> = plan.schema().fields().iter().map(|field| field.name().clone()).collect();
    let mut lowering = Lowering::new(catalog, &definition.name);
    let mut relation = Relation::lower(&plan, &mut lowering)?;
    if definition.emit == Emit::Final {
        relation = once::once(relation, &names, &mut lowering)?;
    }
    view::build(&view::Part { definition, of: None }, relation, &names, &mut lowering)
}

/// Makes IN and EXISTS in WHERE semi and anti joins.
fn subqueries(plan: LogicalPlan) -> Planned<LogicalPlan> {
    let (rule, context) = (DecorrelatePredicateSubquery::new(), OptimizerContext::new());
    Ok(plan.transform_down(|part| rule.rewrite(part, &context))?.data)
}
