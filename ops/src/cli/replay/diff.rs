//! `muster replay diff`: what changed, for whom, and by which entry; or what would have been under other settings.

use super::{Files, human_skipped, moment, warn_of};
use crate::cli::Global;
use crate::cli::device::{human_flag, when};
use crate::exit::{NOT_HELD, USAGE, answered, coded};
use crate::files::read_text;
use crate::offline::differences::{Differences, FactChange, Standpoint, between, of_logs};
use crate::offline::what_if::of_settings;
use crate::offline::{Fold, Logs, Moment};
use anyhow::Result;
use clap::Args;
use projector::settings::Settings;
use std::path::{Path, PathBuf};

#[derive(Args)]
pub(super) struct DiffArguments {
    /// A moment of the log, a node's data directory, or projector settings: `default`, or a TOML file as
    /// `muster replay settings` prints it
    #[arg(allow_hyphen_values = true)]
    from: String,
    /// Another moment of the same log, another node's data directory, or other settings
    #[arg(allow_hyphen_values = true)]
    to: String,
    /// Of two directories or two settings: compare at this moment [default: as far as the log reaches]
    #[arg(long, value_name = "MOMENT", value_parser = moment, allow_hyphen_values = true)]
    until: Option<Moment>,
}

/// What is compared.
enum Two {
    Moments(Moment, Moment),
    Folders(PathBuf, PathBuf),
    Settings(Box<Settings>, Box<Settings>),
}

/// What names the settings of live nodes.
const DEFAULT_SETTINGS: &str = "default";

pub(super) fn run(global: &Global, files: &Files, arguments: &DiffArguments) -> Result<()> {
    let (differences, folders) = match two(arguments)? {
        Two::Moments(from, to) => {
            let (mut fold, mut progress) = files.open(global)?;
            let differences = between(&mut fold, from, to, |fold| progress.show(fold))?;
            progress.end();
            warn_of(&fold.troubles());
            (differences, false)
        }
        Two::Folders(from, to) => {
            let (mut left, mut progress) = files.open_these(global, &[from])?;
            let (mut right, _) = files.open_these(global, &[to])?;
            let until = arguments.until.unwrap_or(Moment::END);
            let differences = of_logs(&mut left, &mut right, until, |fold| progress.show(fold))?;
            progress.end();
            (differences, true)
        }
        Two::Settings(from, to) => {
            let (left, mut progress) = files.open(global)?;
            let mut left = left.under(*from);
            // Handed what the other one reads.
            let mut right = Fold::new(Logs::new(Vec::new())).skipping_unknown(files.skip_unknown).under(*to);
            let until = arguments.until.unwrap_or(Moment::END);
            let differences = of_settings(&mut left, &mut right, until, |fold| progress.show(fold))?;
            progress.end();
            warn_of(&left.troubles());
            (differences, false)
        }
    };
    global.format().print(&differences, human)?;
    // Not all that a log holds is in the state: reasons that somebody wrote, signatures, who led.
    let other_entry = differences.first_other_entry.as_ref().map(|other| other.index);
    match (folders && differences.from.digest != differences.to.digest, other_entry.filter(|_| folders)) {
        (true, _) => Err(answered(NOT_HELD, "the two logs do not mean the same")),
        (false, Some(index)) => Err(answered(
            NOT_HELD,
            format!("the two logs part at entry {index}, although both states are the same"),
        )),
        (false, None) => Ok(()),
    }
}

fn two(arguments: &DiffArguments) -> Result<Two> {
    let wrong = |why: String| coded(USAGE, why);
    let (from, to) = (PathBuf::from(&arguments.from), PathBuf::from(&arguments.to));
    let is_settings = |named: &str, path: &Path| named == DEFAULT_SETTINGS || path.is_file();
    match (is_settings(&arguments.from, &from), is_settings(&arguments.to, &to)) {
        (true, true) => {
            return Ok(Two::Settings(Box::new(settings(&from)?), Box::new(settings(&to)?)));
        }
        (true, false) | (false, true) => {
            return Err(wrong("compare two settings, not settings with something else".into()));
        }
        (false, false) => {}
    }
    match (from.is_dir(), to.is_dir()) {
        (true, true) => Ok(Two::Folders(from, to)),
        (true, false) | (false, true) => Err(wrong(
            "compare two moments of one log, or two nodes' directories, not one with the other".into(),
        )),
        (false, false) => {
            if arguments.until.is_some() {
                return Err(wrong(
                    "--until goes with two directories or settings; two moments say themselves where to stop"
                        .into(),
                ));
            }
            let (from, to) = (moment(&arguments.from).map_err(wrong)?, moment(&arguments.to).map_err(wrong)?);
            match (from, to) {
                (Moment::Index(a), Moment::Index(b)) if b < a => {
                    Err(wrong(format!("{b} lies before {a}; give the earlier moment first")))
                }
                (Moment::Time(a), Moment::Time(b)) if b < a => {
                    Err(wrong(format!("{b} lies before {a}; give the earlier moment first")))
                }
                _ => Ok(Two::Moments(from, to)),
            }
        }
    }
}

/// The settings that a file holds; what it leaves out is as live nodes have it.
fn settings(path: &Path) -> Result<Settings> {
    if path == Path::new(DEFAULT_SETTINGS) && !path.exists() {
        return Ok(Settings::default());
    }
    let text = read_text(path)?;
    toml::from_str(&text).map_err(|error| coded(USAGE, format!("{}: {error}", path.display())))
}

fn human(said: &Differences) -> String {
    let mut text = format!("from  {}\nto    {}\n", human_standpoint(&said.from), human_standpoint(&said.to));
    if let Some(other) = &said.first_other_entry {
        text.push_str(&format!("THE LOGS PART at entry {}: {} and {}\n", other.index, other.from, other.to));
    }
    for device in &said.devices {
        text.push_str(&format!("{}\n", device.device));
        device.changes.iter().for_each(|change| text.push_str(&human_change(change)));
    }
    for flag in &said.flags {
        text.push_str(&format!("{}\n", human_flag(flag)));
    }
    let only = said
        .flags_only
        .as_ref()
        .map(|only| [(&only.from, "only with the first"), (&only.to, "only with the second")]);
    for (flags, whose) in only.iter().flatten() {
        flags.iter().for_each(|flag| text.push_str(&format!("{whose}: {}\n", human_flag(flag))));
    }
    let no_flag = only.iter().flatten().all(|(flags, _)| flags.is_empty());
    if said.devices.is_empty() && said.flags.is_empty() && no_flag {
        text.push_str("No device stands otherwise, and no flag.\n");
    }
    text
}

fn human_standpoint(at: &Standpoint) -> String {
    format!(
        "log index {} (log time {}): {} devices, {} heartbeats, digest {}",
        at.index,
        when(at.stamp),
        at.devices,
        at.heartbeats,
        at.digest
    ) + &human_skipped(&at.skipped)
}

fn human_change(change: &FactChange) -> String {
    let FactChange { what, from, to, index, cause } = change;
    let why = match (index, cause) {
        (Some(index), Some(cause)) => format!("   log index {index}: {cause}"),
        _ => String::new(),
    };
    format!("  {what:<12}{from} → {to}{why}\n")
}
