//! The OTP source, the components of the fingerprint, and the boot check over both.

use super::finding::FindingCode::{
    BootCheckFull, BootCheckRestricted, BootCheckUnread, ComponentDiffers, ComponentUnreadable,
    ComponentsRead, FuseSecretUnreadable, OtpBlank, OtpFound, OtpIsFile, OtpUnreadable,
};
use super::finding::{Level, Report};
use crate::machine::{BootCheck, HardwareSource, boot_check};
use crate::shell::config::Config;
use crate::shell::hardware;
use events::identity::fingerprint::Component;
use events::identity::lot::LotFirmware;
use std::path::Path;

pub fn examine(config: &Config, firmware: &LotFirmware, report: &mut Report) -> Option<BootCheck> {
    let mut unread = Vec::new();
    let record = otp(config, report);
    if record.is_none() {
        unread.push(HardwareSource::Record);
    }
    let fuse_secret = match hardware::read_fuse_secret(config) {
        Ok(secret) => secret,
        Err(error) => {
            report.add(FuseSecretUnreadable, error);
            return None;
        }
    };
    let components = components(config, firmware, &mut unread, report);
    let check = boot_check(record.as_deref(), firmware, fuse_secret.as_ref(), components)
        .with_unread(unread, &firmware.policy);
    let found = check.report();
    match check.is_full() {
        true => {
            report.add(BootCheckFull, check.device().map_or_else(String::new, |device| device.to_string()))
        }
        false => {
            let reason = found.reason.map_or("", |reason| reason.as_str());
            let code = if check.awaits_hardware() { BootCheckUnread } else { BootCheckRestricted };
            report.add(code, format!("{reason}: {}", found.explained));
        }
    }
    if check.is_full() && !found.mismatched.is_empty() {
        let names: Vec<_> = found.mismatched.iter().map(|kind| kind.as_str()).collect();
        report.add(ComponentDiffers, names.join(", "));
    }
    Some(check)
}

fn otp(config: &Config, report: &mut Report) -> Option<Vec<u8>> {
    let source = &config.otp.record;
    let record = match hardware::try_read_record(config) {
        Ok(record) => record,
        Err(error) => {
            let others = nvmem_nodes();
            let hint = if others.is_empty() { String::new() } else { format!("; this board has {others}") };
            report.add(OtpUnreadable, format!("`{}`: {error}{hint}", source.display()));
            return None;
        }
    };
    let about = format!("`{}` from byte {}, {} bytes", source.display(), config.otp.offset, record.len());
    if record.iter().all(|byte| *byte == 0) || record.iter().all(|byte| *byte == 0xff) {
        report.add(OtpBlank, &about);
    } else {
        report.add(OtpFound, &about);
    }
    if !source.starts_with("/sys") && source.is_file() {
        report.add(OtpIsFile, format!("`{}`", source.display()));
    }
    Some(record)
}

/// What the kernel offers, for whoever pointed the config at the wrong one.
fn nvmem_nodes() -> String {
    let Ok(entries) = std::fs::read_dir(Path::new("/sys/bus/nvmem/devices")) else { return String::new() };
    let mut nodes: Vec<_> =
        entries.flatten().map(|entry| entry.path().join("nvmem").display().to_string()).collect();
    nodes.sort();
    nodes.join(", ")
}

fn components(
    config: &Config,
    firmware: &LotFirmware,
    unread: &mut Vec<HardwareSource>,
    report: &mut Report,
) -> Vec<Component> {
    let mut found = Vec::new();
    for (kind, file) in &config.components {
        match hardware::read_component(*kind, file) {
            Ok(component) => found.push(component),
            Err(error) => {
                if hardware::is_unread(&error) {
                    unread.push(HardwareSource::Component(*kind));
                }
                let required = firmware.policy.required().contains(kind);
                let level = if required { Level::Problem } else { Level::Warning };
                report.add_as(ComponentUnreadable, level, format!("{kind}, `{}`: {error}", file.display()));
            }
        }
    }
    for kind in firmware.policy.required() {
        if !config.components.contains_key(kind) {
            report.add_as(
                ComponentUnreadable,
                Level::Problem,
                format!("{kind} is required and not configured"),
            );
        }
    }
    // The values never leave the terminal, so only the names are told.
    let names: Vec<_> = found.iter().map(|component| component.kind().as_str()).collect();
    report.add(ComponentsRead, names.join(", "));
    found
}
