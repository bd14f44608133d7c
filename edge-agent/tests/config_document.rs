//! `CONFIG.md` lists every field that the agent understands, with its default, and no other.

#![allow(clippy::unwrap_used, reason = "a test: a panic is the failure")]

use edge_agent::machine::Settings;
use edge_agent::shell::config::{Config, LICENSE_SOCKET};
use events::vocabulary::shared::ComponentKind;
use std::collections::{BTreeMap, BTreeSet};

const DOCUMENT: &str = include_str!("../CONFIG.md");

/// First cells of the first table below a heading → all cells, without backticks.
fn table(heading: &str) -> BTreeMap<String, Vec<String>> {
    let below = DOCUMENT.lines().skip_while(|line| *line != format!("## {heading}")).skip(1);
    let rows =
        below.skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|')).skip(2).map(
            |line| line.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`').to_owned()),
        );
    let rows: BTreeMap<_, _> =
        rows.map(|row| row.collect::<Vec<_>>()).map(|row| (row[0].clone(), row)).collect();
    assert!(!rows.is_empty(), "no table below `{heading}`");
    rows
}

/// The blocks of TOML in the document, in order.
fn blocks() -> Vec<&'static str> {
    DOCUMENT.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

fn load(toml: &str) -> Result<Config, String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("agent.toml");
    std::fs::write(&file, toml).unwrap();
    Config::load(&file).map_err(|error| error.to_string())
}

/// The fields that the code expects, as it says when it refuses one.
fn expected(said: &str) -> BTreeSet<String> {
    let list = said.split("expected").nth(1).unwrap_or_else(|| panic!("no list of fields in: {said}"));
    list.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn documented(heading: &str) -> BTreeSet<String> {
    table(heading).into_keys().collect()
}

#[test]
fn every_field_of_the_code_is_in_the_document_and_no_other() {
    let smallest = blocks()[0];
    load(smallest).expect("the smallest example is a good config");
    let said = load(&format!("bogus = 1\n{smallest}")).unwrap_err();
    assert!(said.contains("line 1, column 1: unknown field `bogus`"), "{said}");
    assert_eq!(expected(&said), documented("Top level"));
    for name in ["nats", "otp", "timing", "license", "hooks", "spool"] {
        let header = format!("[{name}]\n");
        let with_bogus = match smallest.contains(&header) {
            true => smallest.replace(&header, &format!("{header}bogus = 1\n")),
            false => format!("{smallest}\n{header}bogus = 1\n"),
        };
        assert_eq!(expected(&load(&with_bogus).unwrap_err()), documented(name), "{name}");
    }
}

#[test]
fn every_kind_of_component_is_in_the_document() {
    let kinds: BTreeSet<_> = ComponentKind::ALL.iter().map(|kind| kind.as_str().to_owned()).collect();
    assert_eq!(documented("components"), kinds);
}

#[test]
fn the_examples_are_good_configs() {
    for block in &blocks()[1..] {
        load(&format!("{}\n{block}", blocks()[0])).unwrap();
    }
}

#[test]
fn the_defaults_of_the_document_are_those_of_the_code() {
    let config = load(&blocks()[0].replace("offset = 512\n", "")).unwrap();
    let settings = config.settings();
    assert_eq!(settings.reply_timeout, Settings::default().reply_timeout);
    for (field, value) in [
        ("reply_timeout_ms", settings.reply_timeout),
        ("backoff_first_ms", settings.backoff_first),
        ("backoff_max_ms", settings.backoff_max),
        ("rekey_interval_ms", settings.rekey_interval),
        ("rekey_jitter_ms", settings.rekey_jitter),
        ("time_floor_interval_ms", settings.time_floor_interval),
        ("tamper_interval_ms", settings.tamper_interval),
        ("hardware_patience_ms", config.hardware_patience().as_millis() as u64),
    ] {
        assert_eq!(table("timing")[field][1], value.to_string(), "{field}");
    }
    for (field, value) in [
        ("bodies", settings.spool_bodies as u64),
        ("interval_min_ms", settings.spool_interval_min),
        ("write_interval_ms", settings.spool_write_interval),
    ] {
        assert_eq!(table("spool")[field][2], value.to_string(), "{field}");
    }
    assert_eq!(table("license")["socket"][2], LICENSE_SOCKET);
    assert_eq!(
        table("hooks")["timeout_ms"][2],
        config.hooks.timeout_ms.as_duration().as_millis().to_string()
    );
    assert_eq!(table("otp")["offset"][2], config.otp.offset.to_string());
    assert_eq!(table("Top level")["traces"][2], config.traces.to_string());
}
