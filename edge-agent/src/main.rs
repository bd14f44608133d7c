//! `muster-agent`: see `muster-agent --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    edge_agent::cli::main()
}
