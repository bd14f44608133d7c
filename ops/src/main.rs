//! The `muster` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    ops::cli::run()
}
