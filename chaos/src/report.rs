//! What happened, fault by fault.

mod table;

use std::collections::BTreeMap;

use crate::faults::{ACTIONS, Dealt};
use crate::supervisor::Size;

/// One fault that was injected.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) fault: &'static str,
    /// Seconds since the first.
    pub(crate) at: f64,
    /// What the job was running as.
    pub(crate) size: Size,
    /// The fail point, if it was one.
    pub(crate) point: Option<Dealt>,
    /// When the next one could begin.
    pub(crate) until_micros: i64,
    /// Seconds until the job committed again, and for which followers of the enriched topic got nothing; or why the fault was not survived.
    pub(crate) result: Result<(f64, f64), String>,
    /// Looks that showed something that must not be.
    pub(crate) torn: u64,
    pub(crate) sentences: Vec<String>,
}

/// What all injections of one fault came to.
#[derive(Debug, Default)]
struct Row {
    injected: usize,
    survived: usize,
    lost: u64,
    repeated: u64,
    torn: u64,
    seconds: Vec<f64>,
    silent: Vec<f64>,
    skipped: Option<&'static str>,
}

/// What became of one action at one fail point.
#[derive(Debug, Default, Clone, Copy)]
struct Passages {
    set: usize,
    passed: usize,
    survived: usize,
}

/// The whole run.
#[derive(Debug, Default)]
pub(crate) struct Report {
    seed: u64,
    rows: BTreeMap<&'static str, Row>,
    points: BTreeMap<&'static str, [Passages; ACTIONS.len()]>,
    /// Each fault, and when it was over.
    timeline: Vec<(i64, &'static str)>,
    places: Vec<(&'static str, String)>,
    failures: Vec<String>,
    looks: u64,
    kills: usize,
}

impl Report {
    pub(crate) fn new(seed: u64) -> Report {
        Report { seed, ..Report::default() }
    }

    /// Adds a fault, and says so at once.
    pub(crate) fn add(&mut self, event: Event) {
        let Size { processes, workers } = event.size;
        let said = match &event.result {
            Ok((seconds, _)) => format!("committing again after {seconds:.2} s"),
            Err(why) => format!("NOT SURVIVED: {why}"),
        };
        let name = event.point.map_or_else(|| event.fault.to_owned(), |dealt| dealt.to_string());
        eprintln!("{:8.1} s  {name:20} -n {processes} -w {workers}  {said}", event.at);
        if let Some(dealt) = event.point {
            let passages = &mut self.points.entry(dealt.point).or_default()[dealt.action];
            passages.set += 1;
            passages.passed += usize::from(dealt.passed);
            passages.survived += usize::from(dealt.passed && event.result.is_ok());
        }
        self.timeline.push((event.until_micros, event.fault));
        let row = self.rows.entry(event.fault).or_default();
        row.injected += 1;
        match event.result {
            Ok((seconds, silent)) => {
                row.survived += 1;
                row.seconds.push(seconds);
                row.silent.push(silent);
            }
            Err(why) => self.failures.push(format!("{name} at {:.1} s: {why}", event.at)),
        }
        self.torn_before(event.torn, event.sentences);
    }

    /// Adds what a reader has seen since the newest fault was injected.
    pub(crate) fn torn_before(&mut self, torn: u64, sentences: Vec<String>) {
        if torn == 0 {
            return;
        }
        let fault = self.timeline.last().map_or("(before any)", |&(_, fault)| fault);
        self.rows.entry(fault).or_default().torn += torn;
        sentences.iter().take(3).for_each(|sentence| eprintln!("              torn: {sentence}"));
        self.failures.extend(sentences.into_iter().take(1).map(|sentence| format!("{fault}: {sentence}")));
    }

    /// Notes that a fault could not be injected.
    pub(crate) fn skip(&mut self, fault: &'static str, why: &'static str) {
        self.rows.entry(fault).or_default().skipped = Some(why);
    }

    /// Notes what must not be.
    pub(crate) fn fail(&mut self, what: String) {
        eprintln!("              {what}");
        self.failures.push(what);
    }

    /// Notes what was found at a place.
    pub(crate) fn place(&mut self, place: &'static str, found: String) {
        self.places.push((place, found));
    }

    /// Blames the fault that was under way, or next, when an event was produced.
    pub(crate) fn blame(&mut self, produced_micros: i64, lost: u64, repeated: u64) {
        let at = self.timeline.partition_point(|&(until, _)| until < produced_micros);
        let fault = self.timeline.get(at).or(self.timeline.last()).map_or("(before any)", |&(_, fault)| fault);
        let row = self.rows.entry(fault).or_default();
        row.lost += lost;
        row.repeated += repeated;
    }

    /// Notes how much was tried.
    pub(crate) fn close(&mut self, produced: u64, looks: u64, kills: usize) {
        self.place("records produced", produced.to_string());
        self.looks = looks;
        self.kills = kills;
    }

    /// Returns how many faults were injected.
    pub(crate) fn injected(&self) -> usize {
        self.timeline.len()
    }

    /// Tells whether nothing was lost, repeated or torn, and every fault survived.
    pub(crate) fn is_clean(&self) -> bool {
        self.failures.is_empty() && self.rows.values().all(|row| row.lost + row.repeated + row.torn == 0)
    }
}
