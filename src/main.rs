//! The `freshet` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    freshet::commands::main(std::env::args_os())
}
