//! The `muster` program.

use std::process::ExitCode;
use tikv_jemallocator::Jemalloc;

/// Configured in `.cargo/config.toml`.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    ops::cli::run()
}
