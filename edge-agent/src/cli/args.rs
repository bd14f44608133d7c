//! The command line, with help that teaches.

use crate::license::wire::Nonce;
use crate::shell::config::LICENSE_SOCKET;
use clap::{Parser, Subcommand};
use events::ids::AppName;
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
  7  doctor found a problem

Logs go to stderr; MUSTER_LOG sets their level (for example `debug` or `edge_agent=trace`).";

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Boot, check the hardware, resume or activate, and beat until SIGTERM.
    ///
    /// Every start is a boot: it takes a new epoch. Applications read `standing_file` of the config, which says how the
    /// terminal stands from the boot check on. The result of the boot check alone lies in `boot-check.json` in the state
    /// directory, which only the agent's user may enter: it is for `status` and `doctor`.
    Run,
    /// Compare OTP record and hardware, print the result, and end with 0 (full) or 5 (restricted). Sends nothing.
    BootCheck,
    /// Redeem an activation code.
    ///
    /// A running agent gets the code handed over; without one this command boots, activates and ends, and the next
    /// `run` resumes. The plain code is never written to flash.
    #[command(after_help = "Example:\n  sudo -u muster muster-agent activate < code.txt")]
    Activate(ActivateArgs),
    /// Show how the terminal's software update stands; with --offer, install a signed offer from a file now.
    ///
    /// A running agent takes offers by itself, also while it is restricted. --offer is for a terminal on a bench: the
    /// offer is checked in the same way, and the agent must not run meanwhile. The time that it is judged by is then the
    /// terminal's own clock.
    #[command(after_help = "Example:\n  muster-agent update --json")]
    Update(UpdateArgs),
    /// Look at everything that an agent stands on: config, keys, OTP, components, state, clock, license, hooks, NATS.
    ///
    /// Every finding has a code and says what to do. Changes nothing; safe beside a running agent. Run it as the
    /// agent's user. Ends with 7 if there is a problem.
    #[command(after_help = "Example:\n  sudo -u muster muster-agent doctor --newest-cluster cluster.json")]
    Doctor(DoctorArgs),
    /// Ask the running agent for the license token, as an app does, and check the proof.
    ///
    /// The agent's config must list the app with the user id that asks. Needs no config itself: apps cannot read it.
    #[command(after_help = "Example:\n  sudo -u player muster-agent license --app player --json")]
    License(LicenseArgs),
    /// Show what is on flash: device, epoch, standing, license. Reads only; safe beside a running agent.
    Status(StatusArgs),
}

#[derive(Debug, clap::Args)]
pub struct StatusArgs {
    /// End with 3 unless a running agent answers within two seconds: one that hangs does not. For health checks.
    #[arg(long)]
    pub running: bool,
}

#[derive(Debug, clap::Args)]
pub struct UpdateArgs {
    /// A signed offer: what `muster update sign` writes, or the bytes of PROTOCOL.md section 6.5.
    #[arg(long)]
    pub offer: Option<PathBuf>,
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

#[derive(Debug, clap::Args)]
pub struct DoctorArgs {
    /// A cluster file known to be current: pinned keys that were retired since are found by it.
    #[arg(long)]
    pub newest_cluster: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub struct LicenseArgs {
    /// The app that asks.
    #[arg(long)]
    pub app: AppName,
    /// 64 hexadecimal digits, never used before; drawn at random if not given.
    #[arg(long)]
    pub nonce: Option<Nonce>,
    /// The agent's license socket.
    #[arg(long, env = "MUSTER_LICENSE_SOCKET", default_value = LICENSE_SOCKET)]
    pub socket: PathBuf,
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
