//! The commands, one file each, and the way from the command line to one of them.

mod check;
mod explain;
mod find;
mod generate;
mod letters;
mod run;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{CommandFactory, Parser};
use freshet_dataflows::sql::Functions;

use crate::cli::{self, Cli, Command};
use crate::exit::Failure;
use crate::job;
use crate::logging;
use crate::screen::Screen;

/// Does what the command line says; the whole program.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    main_with(arguments, &Functions::new())
}

/// The same for a program that gives views functions of its own: see `examples/own_function.rs`.
pub fn main_with(arguments: impl IntoIterator<Item = OsString>, functions: &Functions) -> ExitCode {
    let cli = Cli::parse_from(cli::with_command(arguments.into_iter().collect()));
    let screen = Screen::new();
    logging::start(&cli.log, &screen);
    match dispatch(cli, &screen, functions) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads the output has seen enough: `freshet explain | head`.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            let _ = screen.print(format!("error: {}\n", failure.message()).as_bytes());
            ExitCode::from(failure.code())
        }
    }
}

fn dispatch(cli: Cli, screen: &Arc<Screen>, functions: &Functions) -> Result<(), Failure> {
    match cli.command {
        Command::Run(options) => run::run(&options, &cli.log, screen, functions),
        Command::Check(options) => check::check(&options, functions),
        Command::Explain(options) => explain::explain(&options, functions),
        Command::Generate(options) => generate::generate(&options, &cli.log, screen),
        Command::Dlq { command } => letters::dlq(&command, functions),
        Command::Late { command } => letters::late(&command, functions),
        Command::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "freshet", &mut text);
            Ok(io::stdout().write_all(&text)?)
        }
        Command::Schema => Ok(io::stdout().write_all(job::json_schema().as_bytes())?),
    }
}
