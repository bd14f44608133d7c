//! Software update: what an offer would need on this terminal the night it comes.

use super::finding::FindingCode::{
    UpdateCertificates, UpdateHookUnusable, UpdateOff, UpdateOfferUnreachable, UpdateReady,
};
use super::finding::Report;
use super::hooks::why_unusable;
use crate::shell::config::Config;
use crate::update::{HttpClient, HttpError, UpdateConfig};
use std::time::Duration;
use tokio::time::timeout;

/// To connect, and to be answered.
const PATIENCE: Duration = Duration::from_secs(5);

pub async fn examine(config: &Config, report: &mut Report) {
    let update = &config.update;
    if !update.is_used() {
        let what = match (update.keys.is_empty(), update.install.is_empty()) {
            (true, true) => "neither keys nor install hooks",
            (true, false) => "no keys",
            _ => "no install hooks",
        };
        report.add(UpdateOff, format!("[update] has {what}"));
        return;
    }
    let before = report.findings.len();
    for (kind, hook) in &update.install {
        if let Some(why) = why_unusable(hook.program()) {
            report.add(UpdateHookUnusable, format!("{kind}: `{}` {why}", hook.program().display()));
        }
    }
    // An image that was put together by hand often has no certificates at all.
    if let Err(error) = HttpClient::new(update.ca_file.as_deref()).read_roots() {
        report.add(UpdateCertificates, error);
    }
    if let Some(why) = offer_in_the_way(update).await {
        report.add(UpdateOfferUnreachable, why);
    }
    if report.findings.len() == before {
        let kinds: Vec<_> = update.install.keys().map(String::as_str).collect();
        report.add(UpdateReady, format!("{} keys; installs {}", update.keys.len(), kinds.join(", ")));
    }
}

/// Why nobody answers where an offer would lie, if so. That none lies there now is no ailment.
async fn offer_in_the_way(update: &UpdateConfig) -> Option<String> {
    let url = update.offer_url.as_ref()?.as_str();
    let mut http = HttpClient::new(update.ca_file.as_deref());
    let why = match timeout(PATIENCE, http.get(url, 0)).await {
        Ok(Ok(_) | Err(HttpError::Status(404))) => return None,
        Ok(Err(error)) => error.to_string(),
        Err(_elapsed) => format!("no answer within {} s", PATIENCE.as_secs()),
    };
    Some(format!("{url}: {why}"))
}
