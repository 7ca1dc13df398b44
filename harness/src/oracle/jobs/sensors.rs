//! `sensors`: the least, greatest and mean reading of each, and those that fell silent.

use postgres::Client;

use super::super::MINUTE;
use super::super::rows::{Rows, check_rows};
use super::super::stream::{Declared, Fact, Stream};
use super::super::windows::{Cells, Window, Windowed};
use crate::cells;

/// What the job declares of its topic.
pub const DECLARED: Declared = Declared {
    time: "reading_time",
    delay_minutes: 1,
    texts: &[("sensor_id", 50), ("site", 50)],
    numbers: &["temperature", "humidity", "battery"],
};

/// Fails unless the job's tables are right.
pub fn check(client: &mut Client, topic: &Stream) {
    let stream = &topic.distinct("sensor_id", true);
    readings(client, stream, "sensor_minutes", MINUTE, &["temperature"]);
    readings(client, stream, "sensor_five_minutes", 5 * MINUTE, &["temperature", "humidity"]);
    readings(client, stream, "sensor_hours", 60 * MINUTE, &["temperature", "humidity"]);
    gaps(client, stream);
}

fn sensor(event: &Fact) -> Option<Cells> {
    Some(vec![event.expect("sensor_id"), event.expect("site")])
}

fn readings(client: &mut Client, stream: &Stream, view: &str, size: i64, columns: &[&str]) {
    let windows = Windowed::new(client, view, stream, Window::Hop(size, size));
    let row = |((start, end, key), events): ((i64, i64, Cells), Vec<&Fact>)| {
        let mut cells = cells![end, events.len()];
        columns.iter().for_each(|column| cells.extend(extremes(&events, column)));
        ([cells![start], key].concat(), cells)
    };
    let rows: Rows = windows.groups(sensor).into_iter().map(row).collect();
    let values = columns.iter().flat_map(|column| ["min", "max", "mean"].map(|what| format!("{what}_{column}")));
    let values: Vec<String> = ["window_end".to_owned(), "readings".to_owned()].into_iter().chain(values).collect();
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    check_rows(client, view, &["window_start", "sensor_id", "site"], &values, &rows);
}

/// The least, the greatest and the mean value.
fn extremes(events: &[&Fact], column: &str) -> [String; 3] {
    let values: Vec<f64> = events.iter().filter_map(|event| event.number(column)).collect();
    let (least, greatest) = values.iter().fold((f64::MAX, f64::MIN), |(low, high), &x| (low.min(x), high.max(x)));
    [least, greatest, values.iter().sum::<f64>() / values.len() as f64].map(|value| format!("{value:?}"))
}

fn gaps(client: &mut Client, stream: &Stream) {
    let windows = Windowed::new(client, "sensor_gaps", stream, Window::Session(MINUTE));
    let row = |((start, end, key), events): ((i64, i64, Cells), Vec<&Fact>)| {
        ([key, cells![start]].concat(), cells![events[events.len() - 1].time, end, events.len()])
    };
    let rows: Rows = windows.groups(sensor).into_iter().map(row).collect();
    check_rows(client, "sensor_gaps", &["sensor_id", "site", "spoke_since"], &["silent_since", "missed_at", "readings"], &rows);
}
