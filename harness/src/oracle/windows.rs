//! Windows over a stream, the naive way, and the events that a job reports as late for them.

use std::collections::{BTreeMap, BTreeSet};

use postgres::Client;

use super::stream::{Fact, Stream};

/// The text of each column that makes a key, or of each that does not.
pub type Cells = Vec<String>;

const QUERY: &str = r#"
    SELECT view, "partition"::int, "offset"::bigint,
        (extract(epoch FROM window_start) * 1000000)::bigint, (extract(epoch FROM window_end) * 1000000)::bigint,
        (extract(epoch FROM event_time) * 1000000)::bigint, (extract(epoch FROM watermark) * 1000000)::bigint
    FROM freshet.late_events WHERE view = $1"#;

/// A kind of window.
#[derive(Clone, Copy)]
pub enum Window {
    /// Windows of a size that begin every slide, in microseconds.
    Hop(i64, i64),
    /// What a key does without a pause longer than the gap.
    Session(i64),
}

impl Window {
    /// Lists the windows that an event belongs to; of a session, the one that it would have alone.
    fn of(self, time: i64) -> Vec<(i64, i64)> {
        match self {
            Window::Hop(slide, size) => {
                let newest = time.div_euclid(slide) * slide;
                let starts = (0..).map(|back| newest - back * slide).take_while(|start| start + size > time);
                starts.map(|start| (start, start + size)).collect()
            }
            Window::Session(gap) => vec![(time, time + gap)],
        }
    }
}

/// A view over windows of a stream, with the events that counted in none of them.
pub struct Windowed<'a> {
    stream: &'a Stream,
    window: Window,
    /// (partition, offset, start of the window) of each late event.
    late: BTreeSet<(i32, i64, i64)>,
}

impl<'a> Windowed<'a> {
    /// Reads the late events of a view and fails on the first that cannot be late.
    pub fn new(client: &mut Client, view: &str, stream: &'a Stream, window: Window) -> Windowed<'a> {
        let mut late = BTreeSet::new();
        for row in client.query(QUERY, &[&view]).expect("freshet.late_events can be read") {
            let (partition, offset): (i32, i64) = (row.get(1), row.get(2));
            let (start, end, time, watermark): (i64, i64, i64, i64) = (row.get(3), row.get(4), row.get(5), row.get(6));
            let event = stream.find(partition, offset).unwrap_or_else(|| panic!("{view}: no event at {partition}/{offset}"));
            let may_be_late = event.time == time
                && window.of(time).contains(&(start, end))
                && end <= watermark
                && event.before != i64::MIN
                && watermark <= event.before - stream.delay;
            assert!(may_be_late, "{view}: {row:?} cannot be late");
            assert!(late.insert((partition, offset, start)), "{view}: {row:?} is late twice");
        }
        Windowed { stream, window, late }
    }

    /// Returns the number of (event, window) pairs that were late.
    pub fn late(&self) -> usize {
        self.late.len()
    }

    /// Tells whether an event was late for the window that begins with it.
    pub fn is_late(&self, event: &Fact) -> bool {
        self.late.contains(&(event.partition, event.offset, event.time))
    }

    /// Groups the events by window and by the key that `key` gives them, if it takes them at all.
    pub fn groups(&self, key: impl Fn(&Fact) -> Option<Cells>) -> BTreeMap<(i64, i64, Cells), Vec<&'a Fact>> {
        let mut groups: BTreeMap<(i64, i64, Cells), Vec<&Fact>> = BTreeMap::new();
        for event in &self.stream.events {
            let Some(key) = key(event) else { continue };
            for (start, end) in self.window.of(event.time) {
                if !self.late.contains(&(event.partition, event.offset, start)) {
                    groups.entry((start, end, key.clone())).or_default().push(event);
                }
            }
        }
        match self.window {
            Window::Hop(..) => groups,
            Window::Session(gap) => joined(groups, gap),
        }
    }
}

/// Joins the sessions of single events into those of their keys.
fn joined(groups: BTreeMap<(i64, i64, Cells), Vec<&Fact>>, gap: i64) -> BTreeMap<(i64, i64, Cells), Vec<&Fact>> {
    let mut by_key: BTreeMap<Cells, Vec<&Fact>> = BTreeMap::new();
    groups.into_iter().for_each(|((_, _, key), events)| by_key.entry(key).or_default().extend(events));
    let mut sessions = BTreeMap::new();
    for (key, mut events) in by_key {
        events.sort_by_key(|event| event.time);
        for session in events.chunk_by(|a, b| b.time - a.time <= gap) {
            let (start, end) = (session[0].time, session[session.len() - 1].time + gap);
            sessions.insert((start, end, key.clone()), session.to_vec());
        }
    }
    sessions
}
