//! The whole protocol, then without one rule after another.

use stateright::{Checker, HasDiscoveries, Model};

use crate::rules::Rules;
use crate::world::Protocol;

#[test]
fn the_protocol_holds() {
    let begun = std::time::Instant::now();
    let checker = Protocol { rules: Rules::ALL }.checker().threads(2).spawn_bfs().join();
    println!(
        "{} different states, {} steps between them, up to {} steps deep, in {:.1?}",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
        begun.elapsed()
    );
    assert!(checker.is_done(), "every state was looked at");
    checker.assert_properties();
}

/// Checks what is left of the protocol, which has to fail; prints a short way there.
fn fails_without(rule: &str, rules: Rules) {
    let checker = Protocol { rules }.checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let is_failure = |name: &str| checker.discovery_classification(name).to_string() == "counterexample";
    let failures: Vec<_> = checker.discoveries().into_iter().filter(|(name, _)| is_failure(name)).collect();
    assert!(!failures.is_empty(), "without '{rule}' nothing goes wrong");
    for (property, path) in failures {
        println!("without '{rule}', not any more: {property}");
        path.into_actions().iter().for_each(|event| println!("    {event:?}"));
    }
}

#[test]
fn without_a_generation_of_its_own() {
    fails_without("raise the generation", Rules { raise_generation: false, ..Rules::ALL });
}

#[test]
fn without_fences_before_reading() {
    fails_without("fence first", Rules { fence_first: false, ..Rules::ALL });
}

#[test]
fn without_the_generation_beside_what_a_sink_says() {
    fails_without("read with the generation", Rules { read_with_generation: false, ..Rules::ALL });
}

#[test]
fn without_the_chain_of_segments() {
    fails_without("chain by Start", Rules { chain_by_start: false, ..Rules::ALL });
}

#[test]
fn without_the_log_before_the_commit() {
    fails_without("log first", Rules { log_first: false, ..Rules::ALL });
}

#[test]
fn without_the_generation_in_a_commit() {
    fails_without("check the generation", Rules { check_generation: false, ..Rules::ALL });
}

#[test]
fn without_the_epoch_in_a_commit() {
    fails_without("check the epoch", Rules { check_epoch: false, ..Rules::ALL });
}

#[test]
fn without_reading_back() {
    fails_without("read back", Rules { read_back: false, ..Rules::ALL });
}

#[test]
fn without_waiting_for_the_sinks_before_a_checkpoint() {
    fails_without("checkpoint behind the sinks", Rules { checkpoint_behind_sinks: false, ..Rules::ALL });
}

#[test]
fn without_the_manifest_last() {
    fails_without("manifest last", Rules { manifest_last: false, ..Rules::ALL });
}
