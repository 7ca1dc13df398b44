//! From logical expressions to compiled ones: simplified, typed, with checked arithmetic.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use datafusion_common::DFSchema;
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_expr::execution_props::ExecutionProps;
use datafusion_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion_expr::simplify::SimplifyContext;
use datafusion_expr::{Expr, ExprSchemable, Operator, cast};
use datafusion_optimizer::simplify_expressions::ExprSimplifier;
use datafusion_physical_expr::expressions::BinaryExpr;
use datafusion_physical_expr::{PhysicalExpr, create_physical_expr};
use freshet_model::ColumnType;

use super::error::{Planned, Refusal};
use super::text;
use crate::plan::Expression;

/// Compiles expressions over one row type.
pub(super) struct Compiler {
    schema: Arc<DFSchema>,
    simplifier: ExprSimplifier,
}

impl Compiler {
    pub(super) fn new(fields: Vec<Field>) -> Planned<Compiler> {
        let schema = Arc::new(DFSchema::from_unqualified_fields(fields.into(), Default::default())?);
        let context = SimplifyContext::builder().with_schema(Arc::clone(&schema)).build();
        Ok(Compiler { schema, simplifier: ExprSimplifier::new(context) })
    }

    pub(super) fn data_type(&self, expr: &Expr) -> Planned<DataType> {
        Ok(expr.get_type(&self.schema)?)
    }

    /// Brings an expression into the form in which equal ones have equal texts.
    pub(super) fn simplify(&self, expr: Expr) -> Planned<Expr> {
        Ok(self.simplifier.simplify(expr.unalias_nested().data)?)
    }

    /// Compiles an expression, cast to a type if it is of another.
    pub(super) fn compile(&self, expr: Expr, data_type: &DataType) -> Planned<Expression> {
        let expr = match self.data_type(&expr)? == *data_type {
            true => expr,
            false => cast(expr, data_type.clone()),
        };
        let expr = self.simplify(expr)?;
        let compiled = create_physical_expr(&expr, &self.schema, &ExecutionProps::new(), &PhysicalPlanningContext::default())?;
        Ok(Expression { compiled: checked(compiled)?, text: text::canonical(&expr)?, data_type: data_type.clone() })
    }

    /// Compiles a condition; `None` if it always holds.
    pub(super) fn condition(&self, condition: Option<Expr>) -> Planned<Option<Expression>> {
        let Some(condition) = condition else { return Ok(None) };
        let compiled = self.compile(condition, &DataType::Boolean)?;
        Ok(Some(compiled).filter(|compiled| compiled.text != "true"))
    }
}

/// Returns the column type that a value becomes; `what` names it for the message.
///
/// # Errors
/// Refuses types that no column has.
pub(super) fn column_type(data_type: &DataType, what: &str) -> Planned<ColumnType> {
    ColumnType::from_arrow(data_type).ok_or_else(|| {
        let remedy = match data_type {
            DataType::Duration(_) | DataType::Interval(_) => {
                "for whole seconds write CAST(EXTRACT(EPOCH FROM b - a) AS BIGINT)".to_owned()
            }
            DataType::Null => "give NULL a type: CAST(NULL AS TEXT)".to_owned(),
            _ => "cast it to text, bigint, double, boolean, timestamp or decimal(p, s)".to_owned(),
        };
        Refusal::new(format!("{what} is of type {data_type}, which no column can hold"), remedy)
    })
}

/// Makes integer arithmetic fail on overflow, where DataFusion would wrap round.
fn checked(compiled: Arc<dyn PhysicalExpr>) -> Planned<Arc<dyn PhysicalExpr>> {
    let compiled = compiled.transform_up(|part| match part.downcast_ref::<BinaryExpr>() {
        Some(binary) if matches!(binary.op(), Operator::Plus | Operator::Minus | Operator::Multiply) => {
            Ok(Transformed::yes(Arc::new(binary.clone().with_fail_on_overflow(true)) as Arc<dyn PhysicalExpr>))
        }
        _ => Ok(Transformed::no(part)),
    })?;
    Ok(compiled.data)
}
