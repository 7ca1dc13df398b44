//! From text to one query: tokens, names in their declared spelling, and which views the query reads.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{
    CastKind, DataType, Expr, FunctionArg, FunctionArgExpr, Ident, Query, SelectItem, SetExpr, Statement, TableFactor,
    TableFunctionArgs, Value, ValueWithSpan, Visit, VisitMut, Visitor, VisitorMut, visit_expressions_mut,
};
use datafusion_sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion_sql::sqlparser::keywords::Keyword;
use datafusion_sql::sqlparser::parser::Parser;
use datafusion_sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

use super::clauses::{normal, single};
use super::error::{Planned, Refusal};

/// A view's text may not be longer.
const MAX_SQL_BYTES: usize = 64 * 1024;

/// Declared names that have capital letters, by their lower-case form: unquoted, they are taken as declared.
#[derive(Debug, Default)]
pub(super) struct Spelling(BTreeMap<String, Option<String>>);

impl Spelling {
    pub(super) fn new<'a>(declared: impl IntoIterator<Item = &'a str>) -> Spelling {
        let mut spelling: BTreeMap<String, Option<String>> = BTreeMap::new();
        for name in declared {
            let entry = spelling.entry(name.to_lowercase()).or_insert_with(|| Some(name.to_owned()));
            // Two declared spellings: only quotes can tell them apart.
            if entry.as_deref() != Some(name) {
                *entry = None;
            }
        }
        spelling.retain(|lower, name| name.as_ref().is_some_and(|name| name != lower));
        Spelling(spelling)
    }

    /// Puts quotes round the unquoted names that are declared with capital letters.
    fn apply(&self, tokens: &mut [TokenWithSpan]) {
        for i in 0..tokens.len() {
            let called = tokens[i + 1..]
                .iter()
                .find(|t| !matches!(t.token, Token::Whitespace(_)))
                .is_some_and(|t| t.token == Token::LParen);
            let Token::Word(word) = &mut tokens[i].token else { continue };
            if called || word.quote_style.is_some() || word.keyword != Keyword::NoKeyword {
                continue;
            }
            if let Some(Some(declared)) = self.0.get(&word.value.to_lowercase()) {
                word.value.clone_from(declared);
                word.quote_style = Some('"');
            }
        }
    }
}

/// Parses the text of a view: one `SELECT`.
///
/// # Errors
/// Refuses what is not SQL, several statements, and statements other than a query.
pub(super) fn parse(sql: &str, spelling: &Spelling) -> Planned<Box<Query>> {
    if sql.len() > MAX_SQL_BYTES {
        return Err(Refusal::new(format!("the SQL is longer than {MAX_SQL_BYTES} bytes"), "divide it into several views"));
    }
    let one_select = "write one SELECT … FROM a source or a view";
    let wrong = |error: String| match error.contains("recursion limit") {
        true => Refusal::new("brackets or conditions are nested too deep", "divide the query into several views"),
        false => Refusal::new(error.trim_start_matches("sql parser error: ").to_owned(), "correct the SQL there"),
    };
    let dialect = PostgreSqlDialect {};
    let mut tokens = Tokenizer::new(&dialect, sql).tokenize_with_location().map_err(|e| wrong(e.to_string()))?;
    spelling.apply(&mut tokens);
    let mut parser = Parser::new(&dialect).with_tokens_with_locations(tokens);
    let mut statements = parser.parse_statements().map_err(|e| wrong(e.to_string()))?;
    match (statements.pop(), statements.len()) {
        (Some(Statement::Query(mut query)), 0) => {
            exponents_as_doubles(&mut query);
            let _: ControlFlow<()> = VisitMut::visit(&mut *query, &mut Unions);
            Ok(query)
        }
        (Some(_), 0) => Err(Refusal::new("the statement is not a SELECT", one_select)),
        (None, _) => Err(Refusal::new("there is no SQL", one_select)),
        _ => Err(Refusal::new("there are several statements", one_select)),
    }
}

/// Makes numbers with an exponent doubles, as in the SQL standard; those with a point alone are exact decimals.
///
/// DataFusion would make them decimals of a negative scale, on which its own rules divide by zero.
fn exponents_as_doubles(query: &mut Query) {
    let _: ControlFlow<()> = visit_expressions_mut(query, |expr| {
        if let Expr::Value(ValueWithSpan { value: Value::Number(number, _), .. }) = expr
            && number.contains(['e', 'E'])
        {
            let number = Expr::Value(Value::SingleQuotedString(number.clone()).into());
            *expr = Expr::Cast {
                kind: CastKind::Cast,
                expr: Box::new(number),
                data_type: DataType::DoublePrecision,
                array: false,
                format: None,
            };
        }
        ControlFlow::Continue(())
    });
}

/// Names the unnamed columns of all parts of a union but the first, from which its columns have their names.
struct Unions;

impl VisitorMut for Unions {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        name_columns(&mut query.body, false);
        ControlFlow::Continue(())
    }
}

fn name_columns(body: &mut SetExpr, is_later: bool) {
    match body {
        SetExpr::SetOperation { left, right, .. } => {
            name_columns(left, is_later);
            name_columns(right, true);
        }
        SetExpr::Select(select) if is_later => {
            for (index, item) in select.projection.iter_mut().enumerate() {
                if let SelectItem::UnnamedExpr(expr) = item
                    && !matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_))
                {
                    let alias = Ident::with_quote('"', format!("column {}", index + 1));
                    *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
                }
            }
        }
        _ => {}
    }
}

/// Returns the names in FROM, wherever in the query.
///
/// # Errors
/// Refuses a `WITH` name that hides one of `declared`: which of the two a FROM means would depend on where it stands.
pub(super) fn names_read(query: &Query, declared: &BTreeSet<String>) -> Planned<BTreeSet<String>> {
    let mut read = Read { declared, names: BTreeSet::new() };
    match query.visit(&mut read) {
        ControlFlow::Continue(()) => Ok(read.names),
        ControlFlow::Break(hidden) => {
            Err(Refusal::new(format!("WITH {hidden} hides the source or view '{hidden}'"), "give the WITH query another name"))
        }
    }
}

struct Read<'a> {
    declared: &'a BTreeSet<String>,
    names: BTreeSet<String>,
}

impl Visitor for Read<'_> {
    type Break = String;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<String> {
        let mut with = query.with.iter().flat_map(|with| &with.cte_tables).map(|cte| normal(&cte.alias.name));
        match with.find(|name| self.declared.contains(name)) {
            Some(hidden) => ControlFlow::Break(hidden),
            None => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<String> {
        let name = match factor {
            TableFactor::Table { args: Some(TableFunctionArgs { args, .. }), .. } => match args.first() {
                Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Identifier(ident)))) => Some(normal(ident)),
                _ => None,
            },
            TableFactor::Table { name, .. } => single(name),
            _ => None,
        };
        self.names.extend(name);
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(sql: &str) -> Planned<Vec<String>> {
        let query = parse(sql, &Spelling::default())?;
        Ok(names_read(&query, &BTreeSet::from(["clean".to_owned()]))?.into_iter().collect())
    }

    #[test]
    fn names_in_from_are_found_at_any_depth() {
        assert_eq!(read("SELECT * FROM (SELECT a FROM T) x"), Ok(vec!["t".to_owned()]));
        let sql = "WITH w AS (SELECT * FROM \"S\") SELECT * FROM tumble(w, INTERVAL '1 minute');";
        assert_eq!(read(sql), Ok(vec!["S".to_owned(), "w".to_owned()]));
    }

    #[test]
    fn a_with_name_may_not_hide_a_view() {
        let refusal = read("WITH clean AS (SELECT 1 FROM t) SELECT * FROM clean").expect_err("hidden").to_string();
        assert!(refusal.contains("hides the source or view 'clean'"), "{refusal}");
    }

    #[test]
    fn capital_letters_need_no_quotes_where_the_name_is_declared_once() {
        let spelling = Spelling::new(["userId", "Count", "url", "URL", "Timestamp"]);
        let query = parse("SELECT userid, USERID AS x, count(1), url, CAST(a AS timestamp) FROM t", &spelling).expect("valid");
        assert_eq!(query.to_string(), "SELECT \"userId\", \"userId\" AS x, count(1), url, CAST(a AS TIMESTAMP) FROM t");
    }

    #[test]
    fn what_is_not_one_select_is_refused() {
        for (sql, words) in [
            ("", "no SQL"),
            ("SELECT 1; SELECT 2", "several statements"),
            ("DROP TABLE x", "not a SELECT"),
            ("SELEC 1", "Line: 1"),
            ("SELECT 'a", "Unterminated"),
            (&format!("SELECT {}", " ".repeat(MAX_SQL_BYTES)), "longer than"),
        ] {
            let refusal = parse(sql, &Spelling::default()).expect_err(words).to_string();
            assert!(refusal.contains(words), "{refusal}");
        }
    }
}
