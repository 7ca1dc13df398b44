//! The canonical text of an expression: equal texts over one input are equal expressions.
//!
//! It is DataFusion's own text of the simplified expression, after names are quoted where they could be taken for something
//! else, and literals are written as in SQL where that leaves no doubt about their type.

use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{Column, Result, ScalarValue};
use datafusion_expr::Expr;

use super::error::{Planned, quoted_if_needed};

/// Returns the canonical text of a simplified expression.
pub(super) fn canonical(expr: &Expr) -> Planned<String> {
    Ok(expr.clone().transform_up(|part| leaf(&part).map(|text| text.map_or(Transformed::no(part), Transformed::yes)))?.data.to_string())
}

/// A name or a literal, as a column whose name is the text to be shown.
fn leaf(expr: &Expr) -> Result<Option<Expr>> {
    let text = match expr {
        Expr::Column(column) if column.name == super::relation::PROCESSING_TIME_COLUMN => column.name.clone(),
        Expr::Column(column) => quoted_if_needed(&column.name),
        Expr::Literal(ScalarValue::Utf8(Some(text)), _) => format!("'{}'", text.replace('\'', "''")),
        Expr::Literal(ScalarValue::Int64(Some(number)), _) => number.to_string(),
        Expr::Literal(ScalarValue::Boolean(Some(truth)), _) => truth.to_string(),
        _ => return Ok(None),
    };
    Ok(Some(Expr::Column(Column::new_unqualified(text))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion_expr::{col, lit};

    fn column(name: &str) -> Expr {
        Expr::Column(Column::new_unqualified(name))
    }

    #[test]
    fn different_expressions_have_different_texts() {
        let expressions = [
            column("a") + column("b"),
            column("a + b"),
            column("\"a + b\""),
            column("a").eq(lit("x")),
            column("a").eq(column("x")),
            column("a").eq(lit("'x'")),
            lit(1_i64),
            lit(1_i32),
            lit(1.0),
            lit("1"),
        ];
        let texts = expressions.map(|e| canonical(&e).expect("text"));
        for (i, text) in texts.iter().enumerate() {
            assert!(!texts[..i].contains(text), "{text} stands for two expressions");
        }
    }

    #[test]
    fn a_text_reads_like_sql() {
        let text = canonical(&col("event_type").eq(lit("page_view")).and(col("n").gt(lit(3_i64))));
        assert_eq!(text, Ok("event_type = 'page_view' AND n > 3".to_owned()));
    }
}
