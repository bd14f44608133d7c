//! The keys that a terminal carries: those of its cluster, and those of its lot.

use super::finding::FindingCode::{
    ClusterFileInvalid, ClusterKeyRetired, ClusterKeysPinned, ClusterOther, LotFirmwareInvalid,
    LotFirmwareRead, StationsMissing,
};
use super::finding::Report;
use crate::shell::boot;
use crate::shell::config::Config;
use events::identity::lot::LotFirmware;
use events::keyring::ClusterPublic;
use std::path::Path;

pub fn cluster(config: &Config, newest: Option<&Path>, report: &mut Report) -> Option<ClusterPublic> {
    let pinned = match boot::cluster(config) {
        Ok(pinned) => pinned,
        Err(error) => {
            report.add(ClusterFileInvalid, error);
            return None;
        }
    };
    let about = format!("{}, cluster key {}", pinned.cluster, pinned.cluster_key.id);
    report.add(ClusterKeysPinned, about);
    match newest.map(boot::cluster_file) {
        Some(Ok(newest)) => compare(&pinned, &newest, report),
        Some(Err(error)) => report.add(ClusterFileInvalid, error),
        None => {}
    }
    Some(pinned)
}

fn compare(pinned: &ClusterPublic, newest: &ClusterPublic, report: &mut Report) {
    if pinned.cluster != newest.cluster {
        let about = format!("pinned is {}, the file given is of {}", pinned.cluster, newest.cluster);
        return report.add(ClusterOther, about);
    }
    if pinned.cluster_key != newest.cluster_key {
        let (old, new) = (pinned.cluster_key.id, newest.cluster_key.id);
        report.add(ClusterKeyRetired, format!("cluster key {old} is pinned, {new} is the newest"));
    }
    if pinned.license_key != newest.license_key {
        report.add(ClusterKeyRetired, "another license key is pinned than the newest");
    }
}

pub fn lot_firmware(config: &Config, report: &mut Report) -> Option<LotFirmware> {
    match boot::lot_firmware(config) {
        Ok(firmware) => {
            let stations = firmware.stations.len();
            let about = format!("{}, {stations} certified stations", firmware.lot);
            report.add(if stations == 0 { StationsMissing } else { LotFirmwareRead }, about);
            Some(firmware)
        }
        Err(error) => {
            report.add(LotFirmwareInvalid, error);
            None
        }
    }
}
