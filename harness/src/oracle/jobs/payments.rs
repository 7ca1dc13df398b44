//! `payments`: who pays unusually often, unusually much, or in two places at once.

use std::collections::{BTreeMap, BTreeSet};

use postgres::Client;

use super::super::MINUTE;
use super::super::rows::{Rows, check_rows, decimal};
use super::super::stream::{Declared, Fact, Stream};
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

const HOUR: i64 = 60 * MINUTE;

/// Fails unless the job's tables are right.
pub fn check(client: &mut Client, payments: &Stream, logins: &Stream) {
    let (payments, logins) = (&payments.distinct("payment_id", false), &logins.distinct("login_id", false));
    per_minute(client, payments);
    bursts(client, payments);
    unusual_amounts(client, payments);
    failed_logins(client, logins);
    joins(client, payments, logins);
}

/// Payments far from logins within the hour, and payments without a login in the hour before and the twenty minutes after.
///
/// Nothing is late for these two: what comes fifteen minutes late is within the bands.
fn joins(client: &mut Client, payments: &Stream, logins: &Stream) {
    let mut by_user: BTreeMap<String, Vec<&Fact>> = BTreeMap::new();
    logins.events.iter().for_each(|login| by_user.entry(login.expect("user_id")).or_default().push(login));
    let (mut travels, mut alone) = (Rows::new(), Rows::new());
    for payment in &payments.events {
        let (id, user, city) = (payment.expect("payment_id"), payment.expect("user_id"), payment.expect("city"));
        let logins = by_user.get(&user).into_iter().flatten();
        let after = |login: &Fact| payment.time - login.time;
        if !logins.clone().any(|login| (-20 * MINUTE..=60 * MINUTE).contains(&after(login))) {
            alone.insert(cells![id], cells![user, payment.time, city]);
        }
        for login in logins.filter(|login| after(login).abs() <= 60 * MINUTE) {
            let km = distance(payment, login);
            if km > 1000.0 {
                let key = cells![id, login.expect("login_id")];
                travels.insert(key, cells![user, payment.time, city, login.time, login.expect("city"), km]);
            }
        }
    }
    let values = ["user_id", "paid_at", "paid_in", "logged_in_at", "logged_in_from", "km"];
    check_rows(client, "impossible_travel", &["payment_id", "login_id"], &values, &travels);
    check_rows(client, "payments_without_login", &["payment_id"], &["user_id", "paid_at", "paid_in"], &alone);
}

/// The distance on a sphere, by the angle between two places.
fn distance(a: &Fact, b: &Fact) -> f64 {
    let place = |fact: &Fact| ["lat", "lon"].map(|name| fact.number(name).expect("a place").to_radians());
    let ([lat, lon], [other_lat, other_lon]) = (place(a), place(b));
    let half = |angle: f64| (angle / 2.0).sin().powi(2);
    let square = half(other_lat - lat) + lat.cos() * other_lat.cos() * half(other_lon - lon);
    2.0 * 6371.0088 * square.sqrt().atan2((1.0 - square).sqrt())
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

/// Payments more than five deviations over the mean of what the user paid in the day up to the last full hour, and three times that mean.
fn unusual_amounts(client: &mut Client, payments: &Stream) {
    let days = Windowed::new(client, "spending", payments, Window::Hop(HOUR, 24 * HOUR));
    let before: BTreeMap<(i64, String), Vec<f64>> = days
        .groups(|event| Some(vec![event.expect("user_id")]))
        .into_iter()
        .map(|((_, end, key), events)| {
            ((end, key[0].clone()), events.iter().filter_map(|event| event.number("amount")).collect())
        })
        .collect();
    // What comes when the watermark has passed it is late, and not compared.
    let compared = Windowed::new(client, "unusual_amounts", payments, Window::Session(0));
    let mut rows = Rows::new();
    for payment in payments.events.iter().filter(|payment| !compared.is_late(payment)) {
        let (user, hour) = (payment.expect("user_id"), payment.time.div_euclid(HOUR) * HOUR);
        let Some((amounts, amount)) = before.get(&(hour, user.clone())).zip(payment.number("amount")) else { continue };
        let count = amounts.len() as f64;
        let mean = amounts.iter().sum::<f64>() / count;
        let deviation = (amounts.iter().map(|amount| (amount - mean).powi(2)).sum::<f64>() / count).sqrt();
        if amounts.len() > 3 && amount > mean + 5.0 * deviation && amount > 3.0 * mean {
            rows.insert(cells![payment.expect("payment_id")], cells![user, payment.time, amounts.len(), mean, deviation]);
        }
    }
    let values = ["user_id", "paid_at", "payments", "mean", "deviation"];
    check_rows(client, "unusual_amounts", &["payment_id"], &values, &rows);
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
