//! `payments`: who pays unusually often, unusually much, or in two places at once.

use std::collections::BTreeSet;

use postgres::Client;

use super::super::MINUTE;
use super::super::rows::{Rows, check_rows, decimal};
use super::super::stream::{Declared, Stream};
use super::super::windows::{Window, Windowed};
use crate::cells;

/// What the job declares of the payments.
pub const PAYMENTS: Declared = Declared {
    time: "event_time",
    delay_minutes: 2,
    texts: &[("payment_id", 36), ("user_id", 50), ("currency", 3), ("merchant", 50), ("city", 50), ("country", 2)],
    numbers: &["amount", "lat", "lon"],
};

/// What the job declares of the logins.
pub const LOGINS: Declared = Declared {
    time: "event_time",
    delay_minutes: 2,
    texts: &[("login_id", 36), ("user_id", 50), ("device", 20), ("ip", 45), ("city", 50), ("country", 2)],
    numbers: &["lat", "lon"],
};

const DAY: i64 = 24 * 60 * MINUTE;

/// Fails unless the job's tables are right.
pub fn check(client: &mut Client, payments: &Stream, logins: &Stream) {
    let (payments, logins) = (&payments.distinct("payment_id", false), &logins.distinct("login_id", false));
    per_minute(client, payments);
    bursts(client, payments);
    unusual_amounts(client, payments);
    failed_logins(client, logins);
}

fn per_minute(client: &mut Client, payments: &Stream) {
    let minutes = Windowed::new(client, "payments_per_minute", payments, Window::Hop(MINUTE, MINUTE));
    let groups = minutes.groups(|event| Some(vec![event.expect("country"), event.expect("currency")]));
    let rows = groups.into_iter().map(|((start, end, key), events)| {
        let amount = events.iter().filter_map(|event| event.hundredths("amount")).sum();
        (cells![start, key[0], key[1]], cells![end, events.len(), decimal(amount)])
    });
    let key = ["window_start", "country", "currency"];
    check_rows(client, "payments_per_minute", &key, &["window_end", "payments", "amount"], &rows.collect());
}

fn bursts(client: &mut Client, payments: &Stream) {
    let windows = Windowed::new(client, "payment_bursts", payments, Window::Hop(MINUTE / 6, MINUTE));
    let rows: Rows = windows
        .groups(|event| Some(vec![event.expect("user_id")]))
        .into_iter()
        .filter(|(_, events)| events.len() > 8)
        .map(|((start, end, key), events)| {
            let amount = events.iter().filter_map(|event| event.hundredths("amount")).sum();
            (cells![start, key[0]], cells![end, events.len(), decimal(amount)])
        })
        .collect();
    check_rows(client, "payment_bursts", &["window_start", "user_id"], &["window_end", "payments", "amount"], &rows);
}

/// A greatest payment of a day that is more than five deviations over the mean of the user's others, and three times that mean.
fn unusual_amounts(client: &mut Client, payments: &Stream) {
    let days = Windowed::new(client, "daily_spending", payments, Window::Hop(DAY, DAY));
    let mut rows = Rows::new();
    for ((start, end, key), events) in days.groups(|event| Some(vec![event.expect("user_id")])) {
        let mut amounts: Vec<f64> = events.iter().filter_map(|event| event.number("amount")).collect();
        amounts.sort_by(f64::total_cmp);
        let greatest = amounts.pop().unwrap_or(0.0);
        let count = amounts.len() as f64;
        let mean = amounts.iter().sum::<f64>() / count;
        let deviation = (amounts.iter().map(|amount| (amount - mean).powi(2)).sum::<f64>() / count).sqrt();
        if events.len() > 3 && greatest > mean + 5.0 * deviation && greatest > 3.0 * mean {
            rows.insert(cells![start, key[0]], cells![end, events.len(), greatest, mean]);
        }
    }
    let values = ["window_end", "payments", "greatest", "mean_of_others"];
    check_rows(client, "unusual_amounts", &["window_start", "user_id"], &values, &rows);
}

fn failed_logins(client: &mut Client, logins: &Stream) {
    let windows = Windowed::new(client, "failed_logins", logins, Window::Hop(MINUTE / 6, MINUTE));
    let rows: Rows = windows
        .groups(|event| (!event.is_true("success")).then(|| vec![event.expect("user_id")]))
        .into_iter()
        .filter(|(_, events)| events.len() > 3)
        .map(|((start, _, key), events)| {
            let addresses: BTreeSet<_> = events.iter().map(|event| event.expect("ip")).collect();
            (cells![start, key[0]], cells![events.len(), addresses.len()])
        })
        .collect();
    check_rows(client, "failed_logins", &["window_start", "user_id"], &["failures", "addresses"], &rows);
}
