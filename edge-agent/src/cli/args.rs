//! The command line, with help that teaches.

use clap::{Parser, Subcommand};
use std::path::PathBuf;

/// The agent of a muster terminal: checks its hardware at boot, activates with a purchased code, beats, obeys.
#[derive(Debug, Parser)]
#[command(name = "muster-agent", version, after_help = EXIT_CODES)]
pub struct Args {
    /// The agent's config (TOML).
    #[arg(long, short, env = "MUSTER_AGENT_CONFIG", default_value = "/etc/muster/agent.toml", global = true)]
    pub config: PathBuf,
    /// Answer in JSON; `run` prints one line per event.
    #[arg(long, global = true)]
    pub json: bool,
    #[command(subcommand)]
    pub verb: Verb,
}

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed; the message says what
  2  the command line, the config or a file that it names is wrong
  3  no answer in time
  4  refused, by the cluster or by this terminal
  5  the boot check ended restricted
  6  another muster-agent works in the same state directory

Logs go to stderr; MUSTER_LOG sets their level (for example `debug` or `edge_agent=trace`).";

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Boot, check the hardware, resume or activate, and beat until SIGTERM.
    ///
    /// Every start is a boot: it takes a new epoch. The result of the boot check lies in `boot-check.json` in the
    /// state directory, where applications find it.
    Run,
    /// Compare OTP record and hardware, print the result, and end with 0 (full) or 5 (restricted). Sends nothing.
    BootCheck,
    /// Redeem an activation code.
    ///
    /// A running agent gets the code handed over; without one this command boots, activates and ends, and the next
    /// `run` resumes. The plain code is never written to flash.
    #[command(after_help = "Example:\n  muster-agent activate < code.txt")]
    Activate(ActivateArgs),
    /// Show what is on flash: device, epoch, standing, license. Reads only; safe beside a running agent.
    Status,
}

#[derive(Debug, clap::Args)]
pub struct ActivateArgs {
    /// The code. Every process on the terminal can see it here: prefer --code-file or standard input.
    #[arg(long, conflicts_with = "code_file")]
    pub code: Option<String>,
    /// A file that holds the code.
    #[arg(long)]
    pub code_file: Option<PathBuf>,
    /// Seconds to wait for the cluster's sealed answer.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub timeout: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }
}
