//! `muster replay export`: tables for other programs.

use super::{Files, human_skipped, moment, skipped_in_words, warn_of};
use crate::cli::Global;
use crate::cli::interrupt::Interrupt;
use crate::exit::{USAGE, coded};
use crate::offline::export::{Export, FileFormat, Filter, Table};
use crate::offline::{Fold, Moment};
use anyhow::Result;
use clap::Args;
use events::ids::{DeviceId, LogIndex};
use events::vocabulary::Event;
use events::vocabulary::shared::{FlagKind, OperationKind};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

#[derive(Args)]
pub(super) struct ExportArguments {
    /// What to write
    #[arg(long, value_enum, default_value_t = Table::Events)]
    table: Table,
    /// How to write it [default: as the file's name ends, else jsonl]
    #[arg(long, value_enum)]
    format: Option<FileFormat>,
    /// The file; it appears whole or not at all, and takes the place of one of that name [default: stdout]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Nothing that happened before this moment
    #[arg(long, value_name = "MOMENT", value_parser = moment, allow_hyphen_values = true)]
    since: Option<Moment>,
    /// Nothing after this moment; of what stands, how it stood then
    #[arg(long, value_name = "MOMENT", value_parser = moment, allow_hyphen_values = true)]
    until: Option<Moment>,
    /// Only what is about this device; may be given again
    #[arg(long, value_name = "DEVICE")]
    device: Vec<DeviceId>,
    /// Only events of this name (DeviceActivated), flags or operations of this kind (clone); may be given again
    #[arg(long, value_name = "KIND")]
    kind: Vec<String>,
}

#[derive(Serialize)]
struct Exported {
    file: PathBuf,
    rows: u64,
    applied: LogIndex,
    bytes: u64,
    /// Events of unknown kinds that were passed over, by kind.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    skipped: BTreeMap<u16, u64>,
}

pub(super) fn run(global: &Global, files: &Files, arguments: ExportArguments) -> Result<()> {
    let format = format_of(&arguments)?;
    check_kinds(&arguments)?;
    let (mut fold, mut progress) = files.open(global)?;
    let interrupt = Interrupt::watch(match arguments.out {
        Some(_) => "nothing was written",
        None => "the rows end early",
    })?;
    let mut go_on = |fold: &Fold| {
        progress.show(fold);
        interrupt.check()
    };
    let export = Export {
        table: arguments.table,
        format,
        filter: Filter {
            since: arguments.since.unwrap_or(Moment::Index(0)),
            devices: arguments.device,
            kinds: arguments.kind,
        },
        until: arguments.until.unwrap_or(Moment::END),
        go_on: &mut go_on,
    };
    let Some(file) = arguments.out else {
        let out = BufWriter::new(std::io::stdout());
        return match export.to_writer(&mut fold, Box::new(out)) {
            // As `| head` expects.
            Err(error) if is_broken_pipe(&error) => Ok(()),
            other => other.map(|_| {
                warn_of(&fold.troubles());
                // Nothing but rows goes to stdout.
                if let Some(words) = skipped_in_words(fold.skipped()) {
                    eprintln!("muster: warning: skipped {words}");
                }
            }),
        };
    };
    let rows = export.to_file(&mut fold, &file)?;
    progress.end();
    warn_of(&fold.troubles());
    let bytes = std::fs::metadata(&file)?.len();
    let (applied, skipped) = (fold.state().applied(), fold.skipped().clone());
    let said = Exported { file, rows, applied, bytes, skipped };
    global.format().print(&said, |said| {
        format!(
            "{} rows, up to log index {}: {} ({} bytes){}",
            said.rows,
            said.applied,
            said.file.display(),
            said.bytes,
            human_skipped(&said.skipped)
        )
    })
}

fn format_of(arguments: &ExportArguments) -> Result<FileFormat> {
    let ending = arguments.out.as_deref().and_then(Path::extension).and_then(|ending| ending.to_str());
    let format = arguments.format.unwrap_or(match ending {
        Some("parquet") => FileFormat::Parquet,
        Some("csv") => FileFormat::Csv,
        _ => FileFormat::Jsonl,
    });
    match (format, &arguments.out) {
        (FileFormat::Parquet, None) => Err(coded(USAGE, "Parquet needs a file; give --out FILE")),
        _ => Ok(format),
    }
}

/// A kind that is misspelt would give an empty table.
fn check_kinds(arguments: &ExportArguments) -> Result<()> {
    let known: Vec<&str> = match arguments.table {
        Table::Events => Event::NAMES.to_vec(),
        Table::Flags => FlagKind::ALL.iter().map(|kind| kind.as_str()).collect(),
        Table::Operations => OperationKind::ALL.iter().map(|kind| kind.as_str()).collect(),
        Table::Heartbeats | Table::Devices | Table::Licenses => Vec::new(),
    };
    match arguments.kind.iter().find(|kind| !known.contains(&kind.as_str())) {
        Some(_) if !arguments.table.has_kinds() => {
            Err(coded(USAGE, "--kind goes with the tables events, flags and operations"))
        }
        Some(kind) => Err(coded(USAGE, format!("`{kind}` is no kind; expected one of {}", known.join(", ")))),
        None => Ok(()),
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let broken = |kind: std::io::ErrorKind| kind == std::io::ErrorKind::BrokenPipe;
    error.chain().any(|cause| {
        let io = cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        let json = cause.downcast_ref::<serde_json::Error>().and_then(serde_json::Error::io_error_kind);
        let csv = cause.downcast_ref::<csv::Error>().and_then(|error| match error.kind() {
            csv::ErrorKind::Io(error) => Some(error.kind()),
            _ => None,
        });
        io.or(json).or(csv).is_some_and(broken)
    })
}
