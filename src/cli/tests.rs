//! Help texts as golden files, and which command a command line means.

use super::*;
use crate::golden;

fn words(line: &str) -> Vec<OsString> {
    line.split(' ').map(OsString::from).collect()
}

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(with_command(words(line)))
}

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn help_reads_like_this() {
    let mut command = Cli::command().term_width(100);
    command.build();
    golden::compare("cli/golden/freshet.txt", &command.render_long_help().to_string());
    for name in ["run", "check", "explain", "generate"] {
        let help = command.find_subcommand_mut(name).expect(name).render_long_help().to_string();
        golden::compare(&format!("cli/golden/{name}.txt"), &help);
    }
    for (name, commands) in [("dlq", &["list", "show", "replay"][..]), ("late", &["list", "show"])] {
        let group = command.find_subcommand_mut(name).expect(name);
        for command in commands {
            let help = group.find_subcommand_mut(command).expect(command).render_long_help().to_string();
            golden::compare(&format!("cli/golden/{name}-{command}.txt"), &help);
        }
    }
}

#[test]
fn a_job_runs_when_no_command_is_named() {
    for line in [
        "freshet",
        "freshet -w 4",
        "freshet jobs/x.toml --bounded",
        "freshet -q",
        "freshet --log-format json -vv jobs/x.toml",
        "freshet run",
    ] {
        let cli = parse(line).expect(line);
        assert!(matches!(cli.command, Command::Run(_)), "{line}");
    }
    let Ok(Cli { command: Command::Run(options), log }) = parse("freshet -q jobs/x.toml -w 4 -n 2 -p 1 --listen 9464") else {
        panic!("it is a run");
    };
    assert_eq!(options.job.job, Some(PathBuf::from("jobs/x.toml")));
    assert_eq!((options.workers, options.processes, options.process, log.quiet), (4, Some(2), 1, true));
    assert_eq!(options.listen.map(|address| address.to_string()).as_deref(), Some("127.0.0.1:9464"));
}

#[test]
fn a_reset_is_of_everything_or_of_views_that_are_named() {
    for (line, views) in [
        ("freshet x.toml", &[][..]),
        ("freshet x.toml --reset", &[""]),
        ("freshet x.toml --reset --bounded", &[""]),
        ("freshet x.toml --reset a --reset b -w 2", &["a", "b"]),
    ] {
        let Command::Run(options) = parse(line).expect(line).command else { panic!("{line} is a run") };
        assert_eq!(options.reset, views, "{line}");
        assert_eq!(options.job.job, Some(PathBuf::from("x.toml")), "{line}");
    }
}

#[test]
fn commands_are_found_behind_options_for_the_log() {
    for line in
        ["freshet check x.toml", "freshet -q check", "freshet --log-format=json check", "freshet --log-format text -v check"]
    {
        assert!(matches!(parse(line).expect(line).command, Command::Check(_)), "{line}");
    }
}

#[test]
fn mistakes_are_refused_with_code_2() {
    for (line, part) in [
        ("freshet chekc", "'check'"),
        ("freshet -w 0", "0 is not in 1..=1024"),
        ("freshet --listen nowhere", "an address such as"),
        ("freshet --bound", "'--bounded'"),
        ("freshet generate ful --to file://x", "'full'"),
        ("freshet generate full --kind clicks --to file://x", "'clicks'"),
        ("freshet generate full", "--to <URL>"),
        ("freshet -q -v", "cannot be used with"),
        ("freshet dlq show clicks/7", "source/partition/offset"),
        ("freshet dlq list --since yesterday", "a duration such as 2h"),
    ] {
        let error = parse(line).expect_err(line);
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains(part), "{line}: {error}");
    }
}

#[test]
fn parameters_of_the_generator_are_those_that_were_given() {
    let Ok(Cli { command: Command::Generate(options), .. }) = parse("freshet generate full --to file://x --rate 10 --late 0.1")
    else {
        panic!("it generates");
    };
    assert_eq!(options.parameters(), [("rate".to_owned(), "10".to_owned()), ("late".to_owned(), "0.1".to_owned())]);
}
