//! What views that keep rows whole must hold, computed in the plainest way from the tables that they read.

use std::collections::{BTreeMap, BTreeSet};

use crate::harness::Table;

/// Adds the tables of such views.
pub(crate) fn extend(tables: &mut BTreeMap<String, Table>) {
    let rows =
        |name: &str| tables[name].values().map(|row| row.split('|').map(str::to_owned).collect()).collect::<Vec<Vec<String>>>();
    let top = top(&rows("pages"));
    let viewed: BTreeSet<String> = rows("pages").iter().map(|row| format!("{}|{}", row[2], row[3])).collect();
    let both = |what: &str, row: &[String]| {
        let key = format!("{what}|{}|{}", row[0], row[1]);
        (key.clone(), format!("{key}|{}", row[2]))
    };
    let pages = rows("busy").into_iter().map(|row| both("pages", &row));
    let both = pages.chain(rows("active").into_iter().map(|row| both("users", &row))).collect();
    tables.insert("viewed".to_owned(), viewed.into_iter().map(|row| (row.clone(), row)).collect());
    tables.insert("both".to_owned(), both);
    tables.insert("most".to_owned(), most(&top));
    tables.insert("top".to_owned(), top);
}

/// The two pages of each minute that were viewed most; of those viewed alike the first ones by name.
fn top(pages: &[Vec<String>]) -> Table {
    let mut minutes: BTreeMap<&str, Vec<(i64, &str)>> = BTreeMap::new();
    for row in pages {
        minutes.entry(&row[0]).or_default().push((-row[3].parse::<i64>().expect("a number"), &row[2]));
    }
    let mut table = Table::new();
    for (start, mut pages) in minutes {
        pages.sort_unstable();
        for (at, (views, page)) in pages.into_iter().take(2).enumerate() {
            table.insert(format!("{start}|{page}"), format!("{start}|{page}|{}|{}", -views, at + 1));
        }
    }
    table
}

fn most(top: &Table) -> Table {
    let mut minutes: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
    for row in top.values() {
        let row: Vec<&str> = row.split('|').collect();
        let held = minutes.entry(row[0]).or_default();
        *held = (held.0.max(row[3].parse().expect("a number")), held.1 + row[2].parse::<i64>().expect("a number"));
    }
    minutes.into_iter().map(|(start, (places, views))| (start.to_owned(), format!("{start}|{places}|{views}"))).collect()
}
