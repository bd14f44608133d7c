//! The license token on flash, and the folder of the socket that hands it out.

use super::finding::FindingCode::{
    LicenseExpired, LicenseHeld, LicenseNone, LicenseNotAuthentic, LicenseSocketMissing, LicenseSocketUnsafe,
};
use super::finding::Report;
use crate::machine::StateSummary;
use crate::shell::config::Config;
use crate::shell::owner::agents_user;
use events::keyring::ClusterPublic;
use events::license::{TokenError, token};
use events::time::Timestamp;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// `wall` is the clock of this terminal.
pub fn examine(
    config: &Config,
    cluster: &ClusterPublic,
    state: &StateSummary,
    wall: Timestamp,
    report: &mut Report,
) {
    let Some(held) = &state.license_token else {
        return report.add(LicenseNone, "the state holds none");
    };
    // As an agent judges that heard nobody yet in its boot.
    let at = state.time_reached.max(state.time_floor).max(wall);
    let keys = [&cluster.license_key].into_iter().chain(&config.license.keys);
    let mut judged = keys.map(|key| token::verify(key, held, at));
    match judged.find(|judged| *judged != Err(TokenError::Signature)) {
        Some(Ok(claims)) if claims.device == state.device => {
            report.add(LicenseHeld, format!("plan `{}`, lease until {}", claims.plan, claims.expires));
        }
        Some(Ok(claims)) => report.add(LicenseNotAuthentic, format!("the token is of {}", claims.device)),
        Some(Err(TokenError::Expired(at))) => report.add(LicenseExpired, format!("at {at}")),
        Some(Err(error)) => report.add(LicenseNotAuthentic, error),
        None => report.add(LicenseNotAuthentic, TokenError::Signature),
    }
}

pub fn socket(config: &Config, report: &mut Report) {
    if config.license.apps.is_empty() {
        return;
    }
    let folder = config.license.socket.parent().unwrap_or(Path::new("/"));
    let Ok(metadata) = folder.metadata() else {
        return report.add(LicenseSocketMissing, format!("`{}` is not there", folder.display()));
    };
    let ours = metadata.uid() == 0 || metadata.uid() == agents_user(&config.state_dir);
    if metadata.mode() & 0o022 != 0 || !ours {
        let mode = metadata.mode() & 0o777;
        let about = format!("`{}` has mode {mode:04o} and owner {}", folder.display(), metadata.uid());
        report.add(LicenseSocketUnsafe, about);
    }
}
