//! The `freshet` program.

use std::process::ExitCode;

/// Batches are made on one thread and dropped on another: glibc's allocator keeps what they held, for each thread.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    #[cfg(feature = "failpoints")]
    let _scenario = fail::FailScenario::setup();
    freshet::commands::main(std::env::args_os())
}
