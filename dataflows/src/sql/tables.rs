//! What names mean to DataFusion's SQL planner: sources, planned views, table functions, functions and types.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use datafusion_common::config::ConfigOptions;
use datafusion_common::{Result, TableReference};
use datafusion_expr::planner::{ContextProvider, ExprPlanner, RelationPlanner, TypePlanner};
use datafusion_expr::{AggregateUDF, HigherOrderUDF, ScalarUDF, TableSource, WindowUDF};

use super::error::Refusal;
use super::functions::Functions;
use super::types::Types;
use super::window::WindowFunctions;

/// What a table of the query stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    /// The source with this index.
    Source(usize),
    /// The planned view with this index.
    View(usize),
    /// The table with this index, by which streams are enriched.
    Table(usize),
}

/// A source, a planned view or a table, as DataFusion sees it.
pub(super) struct Table {
    pub(super) entry: Entry,
    pub(super) schema: SchemaRef,
}

impl TableSource for Table {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}

/// All names that a view may use.
pub(super) struct Names<'a> {
    tables: BTreeMap<String, Arc<Table>>,
    functions: &'a Functions,
    options: ConfigOptions,
    expressions: Vec<Arc<dyn ExprPlanner>>,
    relations: Vec<Arc<dyn RelationPlanner>>,
    types: Arc<dyn TypePlanner>,
}

impl<'a> Names<'a> {
    pub(super) fn new(functions: &'a Functions) -> Names<'a> {
        Names {
            tables: BTreeMap::new(),
            functions,
            options: ConfigOptions::default(),
            expressions: vec![
                Arc::new(datafusion_functions_aggregate::planner::AggregateFunctionPlanner),
                Arc::new(datafusion_functions::core::planner::CoreFunctionPlanner::default()),
                Arc::new(datafusion_functions::datetime::planner::DatetimeFunctionPlanner),
                Arc::new(datafusion_functions::unicode::planner::UnicodeFunctionPlanner),
            ],
            relations: vec![Arc::new(WindowFunctions)],
            types: Arc::new(Types),
        }
    }

    pub(super) fn insert(&mut self, name: &str, entry: Entry, schema: SchemaRef) {
        self.tables.insert(name.to_owned(), Arc::new(Table { entry, schema }));
    }
}

impl ContextProvider for Names<'_> {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        match self.tables.get(name.table()) {
            Some(table) => Ok(Arc::clone(table) as Arc<dyn TableSource>),
            None => Err(Refusal::unknown("source or view", name.table(), self.tables.keys().map(String::as_str)).into()),
        }
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &self.expressions
    }

    fn get_relation_planners(&self) -> &[Arc<dyn RelationPlanner>] {
        &self.relations
    }

    fn get_type_planner(&self) -> Option<Arc<dyn TypePlanner>> {
        Some(Arc::clone(&self.types))
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.functions.scalars.get(name).cloned()
    }

    fn get_higher_order_meta(&self, _: &str) -> Option<Arc<HigherOrderUDF>> {
        None
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.functions.aggregates.get(name).cloned()
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        (name == self.functions.row_number.name()).then(|| Arc::clone(&self.functions.row_number))
    }

    fn get_variable_type(&self, _: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        &self.options
    }

    fn udf_names(&self) -> Vec<String> {
        self.functions.scalars.keys().cloned().collect()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn udaf_names(&self) -> Vec<String> {
        self.functions.aggregates.keys().cloned().collect()
    }

    fn udwf_names(&self) -> Vec<String> {
        Vec::new()
    }
}
