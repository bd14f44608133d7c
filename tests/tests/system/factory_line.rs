//! The factory's way by hand, offline: keys, lot, station, burn, verify, export.

use crate::support::{muster, muster_json};
use std::path::Path;

/// A factory with one lot and one equipped station; returns the lot's folder.
fn factory(dir: &Path) -> String {
    muster_json(dir, &["cluster", "init", "--dir", "c", "--nats", "nats://127.0.0.1:4222"]);
    muster_json(dir, &["keys", "create", "--dir", "factory"]);
    let create = ["lot", "create", "--factory", "factory", "--sku", "STB-7"];
    let hardware = ["--require", "soc-serial", "--optional", "mac-address,emmc-cid", "--threshold", "1"];
    let lot = muster_json(dir, &[&create[..], &hardware[..]].concat());
    let firmware = lot["firmware"].as_str().unwrap().to_owned();
    let lot = Path::new(&firmware).parent().unwrap().display().to_string();
    muster_json(dir, &["station", "create", "--dir", "station"]);
    let certify =
        ["station", "certify", "--factory", "factory", "--lot", &lot, "--station", "station/station.pub"];
    muster_json(dir, &[&certify[..], &["--quota", "2", "--until", "2099-12-31"]].concat());
    let cluster = "c/cluster.public.json";
    muster_json(
        dir,
        &["station", "equip", "--dir", "station", "--firmware", &firmware, "--cluster", cluster],
    );
    lot
}

fn hardware(dir: &Path, serial: &str) {
    std::fs::write(dir.join("soc"), serial).unwrap();
    std::fs::write(dir.join("mac"), format!("mac of {serial}")).unwrap();
    std::fs::write(dir.join("emmc"), format!("emmc of {serial}")).unwrap();
}

fn terminal<'a>(verb: &'a str, otp: &'a str) -> Vec<&'a str> {
    let components =
        ["--component", "soc-serial=soc", "--component", "mac-address=mac", "--component", "emmc-cid=emmc"];
    [&["station", verb, "--dir", "station", "--otp", otp][..], &components[..]].concat()
}

#[test]
fn a_unit_is_burned_once_verified_and_exported_offline() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    factory(dir);
    hardware(dir, "0001");
    let burned = muster_json(dir, &terminal("burn", "otp-1"));
    assert!(burned["device"].as_str().unwrap().starts_with("dev_"), "{burned}");

    let again = muster(dir, &terminal("burn", "otp-1"));
    assert_eq!(again.code, 1, "{}", again.stdout);
    assert!(again.stderr.contains("never burned again"), "{}", again.stderr);

    let verified = muster_json(dir, &terminal("verify", "otp-1"));
    assert_eq!((&verified["device"], &verified["passes"]), (&burned["device"], &true.into()));
    let exported = muster_json(dir, &["station", "export", "--dir", "station", "--out", "manifest"]);
    assert_eq!(exported["units"], 1);
    assert!(std::fs::read_to_string(dir.join("manifest")).unwrap().starts_with("muster manifest v1"));
}

#[test]
fn a_record_on_another_board_does_not_pass_and_one_replaced_part_does() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    factory(dir);
    hardware(dir, "0001");
    muster_json(dir, &terminal("burn", "otp-1"));

    std::fs::write(dir.join("mac"), "a replaced network card").unwrap();
    let replaced = muster_json(dir, &terminal("verify", "otp-1"));
    assert_eq!((&replaced["passes"], &replaced["mismatched"][0]), (&true.into(), &"mac-address".into()));

    std::fs::write(dir.join("emmc"), "and another disk").unwrap();
    assert_eq!(muster(dir, &terminal("verify", "otp-1")).code, 5);
    hardware(dir, "0002");
    let other = muster(dir, &terminal("verify", "otp-1"));
    assert_eq!(other.code, 5, "{}", other.stdout);
}

#[test]
fn a_station_burns_no_more_than_its_quota() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    factory(dir);
    for (serial, otp) in [("0001", "otp-1"), ("0002", "otp-2")] {
        hardware(dir, serial);
        muster_json(dir, &terminal("burn", otp));
    }
    hardware(dir, "0003");
    let third = muster(dir, &terminal("burn", "otp-3"));
    assert_eq!(third.code, 1);
    assert!(third.stderr.contains("all 2 units"), "{}", third.stderr);
}

#[test]
fn a_station_of_another_lot_is_not_equipped() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    factory(dir);
    let other = ["lot", "create", "--factory", "factory", "--sku", "KIOSK-1", "--require", "soc-serial"];
    let other = muster_json(dir, &other);
    let firmware = other["firmware"].as_str().unwrap();
    let cluster = "c/cluster.public.json";
    let refused =
        muster(dir, &["station", "equip", "--dir", "station", "--firmware", firmware, "--cluster", cluster]);
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("certif"), "{}", refused.stderr);
}
