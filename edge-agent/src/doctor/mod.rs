//! `muster-agent doctor`: looks at everything that an agent stands on, says what it found and what to do about it.
//! It changes nothing, needs no running agent, and harms none.
//!
//! ```text
//!   config ─▶ keys ─▶ OTP ─▶ components, boot check ─▶ state ─▶ clock ─▶ license ─▶ hooks ─▶ update ─▶ NATS
//!      └─ each examination adds findings to the report; one that needs what an earlier one missed is left out
//! ```

mod clock;
mod finding;
mod hardware;
mod hooks;
mod keys;
mod license;
mod mounts;
mod nats;
mod outputs;
mod permissions;
mod state;
mod update;

pub use finding::{Finding, FindingCode, Level, Report};

use crate::shell::clock::Clock;
use crate::shell::config::Config;
use finding::FindingCode::{ConfigInvalid, ConfigRead};
use std::path::Path;

/// Examines the terminal that `config_file` describes. `newest_cluster` is a cluster file known to be current.
pub async fn examine(config_file: &Path, newest_cluster: Option<&Path>) -> Report {
    let mut report = Report::default();
    let config = match Config::load(config_file) {
        Ok(config) => config,
        Err(error) => {
            report.add(ConfigInvalid, error);
            return report;
        }
    };
    report.add(ConfigRead, format!("`{}`", config_file.display()));
    permissions::examine(config_file, &config, &mut report);
    outputs::examine(&config, &mut report);
    let cluster = keys::cluster(&config, newest_cluster, &mut report);
    let firmware = keys::lot_firmware(&config, &mut report);
    let check = firmware.and_then(|firmware| hardware::examine(&config, &firmware, &mut report));
    let device = check.as_ref().and_then(crate::machine::BootCheck::device);
    let state = state::examine(&config, device, &mut report);
    clock::examine(state.as_ref(), &mut report);
    if let (Some(cluster), Some(state)) = (&cluster, &state) {
        license::examine(&config, cluster, state, Clock::start().now().wall, &mut report);
    }
    license::socket(&config, &mut report);
    hooks::examine(&config, &mut report);
    update::examine(&config, &mut report).await;
    nats::examine(&config, device, &mut report).await;
    report
}
