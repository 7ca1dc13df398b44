//! A few kills for every test run.

use std::process::Command;

/// Needs the program to be built, as the tests of the root package do.
#[test]
fn ten_kills_lose_repeat_and_tear_nothing() {
    let line = "--minutes 0.5 --kills 10 --seed 7 --rate 1000 --faults kill_leader,kill_all,kill_again,rescale --workers 1,2 --processes 1";
    let run = Command::new(env!("CARGO_BIN_EXE_chaos")).args(line.split(' ')).output().expect("chaos runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (table, rest) = (text(&run.stdout), text(&run.stderr));
    println!("{table}");
    assert!(run.status.success(), "{table}{rest}");
    let killed = table.lines().next().and_then(|line| line.split(", ").find_map(|words| words.strip_suffix(" processes killed")));
    assert!(
        killed.and_then(|killed| killed.parse::<usize>().ok()).is_some_and(|killed| killed >= 5),
        "some were killed: {table}"
    );
}
