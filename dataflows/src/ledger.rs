//! Where records went, view by view: read = counted + filtered + late + dead letters.

use freshet_model::LedgerRow;

use crate::changes::{Counts, LeftOut};
use crate::plan::{Derived, Input, Plan, View};

/// The accounts of the epochs taken since the last commit. The sums over all epochs are the sink's: a process does not know those before it.
pub(crate) struct Ledger {
    /// Records and dead letters of each declared source.
    sources: Vec<(u64, u64)>,
    /// What each stream that is made from others left out.
    streams: Vec<LeftOut>,
    /// The records of each view.
    views: Vec<Counts>,
    accounts: Vec<Account>,
}

/// The account of one view that reads sources, itself or by a part of it.
struct Account {
    view: String,
    /// The views whose records are this one's: itself, or its parts.
    counts: Vec<usize>,
    /// All that those records have passed before.
    passed: Vec<Input>,
}

impl Ledger {
    pub(crate) fn new(plan: &Plan) -> Ledger {
        let (sources, streams) = (vec![(0, 0); plan.sources.len()], vec![LeftOut::default(); plan.sources.len()]);
        let mut ledger = Ledger { sources, streams, views: vec![Counts::default(); plan.views.len()], accounts: Vec::new() };
        for (index, view) in plan.views.iter().enumerate() {
            // The rows of other views come and go, and are no records.
            let sources =
                view.inputs.iter().filter_map(|input| if let Input::Source(source) = input { Some(*source) } else { None });
            let passed: Vec<Input> = sources.flat_map(|source| plan.passed_by(source)).collect();
            if !passed.is_empty() && !feeds_a_stream(plan, index, view) {
                let account = ledger.account(view.shown_name());
                account.counts.push(index);
                account.passed.extend(passed);
            }
        }
        ledger
    }

    /// Returns the account of the view of this name, which is opened if there is none.
    fn account(&mut self, view: &str) -> &mut Account {
        let known = self.accounts.iter().position(|account| account.view == view);
        let at = known.unwrap_or_else(|| {
            self.accounts.push(Account { view: view.to_owned(), counts: Vec::new(), passed: Vec::new() });
            self.accounts.len() - 1
        });
        &mut self.accounts[at]
    }

    pub(crate) fn advance_source(&mut self, source: usize, records: u64, dead_letters: u64) {
        let held = &mut self.sources[source];
        *held = (held.0 + records, held.1 + dead_letters);
    }

    pub(crate) fn advance_stream(&mut self, left_out: &LeftOut) {
        let held = &mut self.streams[left_out.stream];
        held.repeats += left_out.repeats;
        held.late += left_out.late;
        held.unmatched += left_out.unmatched;
    }

    pub(crate) fn advance_view(&mut self, counts: &Counts) {
        let held = &mut self.views[counts.view];
        held.counted += counts.counted;
        held.filtered += counts.filtered;
        held.late += counts.late;
        held.failed += counts.failed;
    }

    /// Returns a row for each account, and begins anew.
    pub(crate) fn take_rows(&mut self) -> Vec<LedgerRow> {
        let rows = self.accounts.iter().map(|account| self.row(account)).collect();
        self.sources.fill((0, 0));
        self.streams.fill(LeftOut::default());
        self.views.fill(Counts::default());
        rows
    }

    fn row(&self, account: &Account) -> LedgerRow {
        let view = account.view.clone();
        let mut row = LedgerRow { view, read: 0, counted: 0, filtered: 0, late: 0, dead_letters: 0 };
        for &input in &account.passed {
            match input {
                Input::Source(source) => {
                    let ((read, dead_letters), left_out) = (self.sources[source], self.streams[source]);
                    row.read += read;
                    row.dead_letters += dead_letters;
                    row.filtered += left_out.repeats + left_out.unmatched;
                    row.late += left_out.late;
                }
                Input::View(view) => add(&mut row, &Counts { counted: 0, ..self.views[view] }),
            }
        }
        account.counts.iter().for_each(|&view| add(&mut row, &self.views[view]));
        row
    }
}

fn add(row: &mut LedgerRow, counts: &Counts) {
    row.counted += counts.counted;
    row.filtered += counts.filtered;
    row.late += counts.late;
    row.dead_letters += counts.failed;
}

/// Tells whether a view is a part of another one by what a stream takes from it: its records are accounted for behind the stream.
fn feeds_a_stream(plan: &Plan, index: usize, view: &View) -> bool {
    let derived = plan.sources.iter().filter_map(|source| source.derived.as_ref());
    view.part_of.is_some() && derived.flat_map(Derived::inputs).any(|&input| input == Input::View(index))
}
