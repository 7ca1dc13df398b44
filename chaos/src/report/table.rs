//! The report as people read it.

use std::fmt;

use super::{Passages, Report, Row};
use crate::faults::{ACTIONS, Dealt};

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}: {} faults, {} processes killed, {} looks", self.seed, self.injected(), self.kills, self.looks)?;
        self.faults(f)?;
        self.fail_points(f)?;
        for (place, found) in &self.places {
            writeln!(f, "{place:20}  {found}")?;
        }
        self.failures.iter().try_for_each(|failure| writeln!(f, "FAILED  {failure}"))?;
        writeln!(f, "{}", if self.is_clean() { "nothing lost, repeated or torn" } else { "FAILED" })
    }
}

impl Report {
    fn faults(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:66}seconds until committing again   enriched topic silent", "")?;
        writeln!(
            f,
            "fault                 injected  survived  lost  repeated  torn      p50     p99     max          p50     p99     max"
        )?;
        for (fault, row) in &self.rows {
            write!(f, "{fault:20}  {:8}  {:8}  {:4}  {:8}  {:4}", row.injected, row.survived, row.lost, row.repeated, row.torn)?;
            match row.skipped.filter(|_| row.injected == 0) {
                Some(why) => writeln!(f, "  skipped: {why}")?,
                None => writeln!(f, "  {}      {}", spread(&row.seconds), spread(&row.silent))?,
            }
        }
        let kills: Vec<&Row> = self.rows.iter().filter(|(fault, _)| fault.starts_with("kill_")).map(|(_, row)| row).collect();
        let all = |times: fn(&Row) -> &Vec<f64>| kills.iter().flat_map(|row| times(row)).copied().collect::<Vec<f64>>();
        match all(|row| &row.seconds) {
            none if none.is_empty() => Ok(()),
            seconds => {
                writeln!(f, "{:58}  {}      {}", "kill -9, all together", spread(&seconds), spread(&all(|row| &row.silent)))
            }
        }
    }

    /// Says how often each action was survived, of how many times it happened.
    fn fail_points(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.points.is_empty() {
            return Ok(());
        }
        let [first, second, third] = ACTIONS.map(|(name, _)| name);
        writeln!(f, "fail point                            {first:16}{second:16}{third}")?;
        for (point, actions) in &self.points {
            let [first, second, third] = actions.map(|passages| passages.to_string());
            writeln!(f, "{point:36}  {first:16}{second:16}{third}")?;
        }
        let sum = |count: fn(&Passages) -> usize| self.points.values().flatten().map(count).sum::<usize>();
        let (set, passed, survived) = (sum(|p| p.set), sum(|p| p.passed), sum(|p| p.survived));
        writeln!(f, "{} fail points, set {set} times, passed {passed} times, survived {survived} times", self.points.len())
    }
}

impl fmt::Display for Passages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Passages { set: 0, .. } => f.pad("-"),
            Passages { passed: 0, .. } => f.pad("not passed"),
            Passages { passed, survived, .. } => f.pad(&format!("{survived} of {passed}")),
        }
    }
}

impl fmt::Display for Dealt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let passed = if self.passed { "" } else { ", not passed" };
        f.pad(&format!("{} {}{passed}", self.point, ACTIONS[self.action].0))
    }
}

/// Writes the middle, the ninety-ninth hundredth and the greatest of some times.
fn spread(times: &[f64]) -> String {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |share: f64| sorted[((share * sorted.len() as f64).ceil() as usize).clamp(1, sorted.len()) - 1];
    if sorted.is_empty() { String::new() } else { format!("{:7.2} {:7.2} {:7.2}", at(0.5), at(0.99), at(1.0)) }
}
