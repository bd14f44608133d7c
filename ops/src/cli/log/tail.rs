//! `muster log tail`: the last entries, and what comes after them.

use super::{Gap, Line, LogArguments};
use crate::cli::Global;
use crate::cli::progress::Progress;
use crate::offline::{Passed, entries_end, open_log, read_keyring, refusal};
use anyhow::Result;
use clap::Args;
use events::ids::LogIndex;
use nodes::storage::log_reader::{History, LogReader};
use std::collections::VecDeque;
use std::time::Duration;

/// How long a follower waits before it looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

#[derive(Args)]
pub(crate) struct TailArguments {
    #[command(flatten)]
    log: LogArguments,
    /// So many entries from the end
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10)]
    lines: usize,
    /// Go on with what a running node commits, until Ctrl-C
    #[arg(short, long)]
    follow: bool,
}

pub(super) async fn run(global: &Global, arguments: TailArguments) -> Result<()> {
    let keyring = read_keyring(&crate::cli::keyring_path(global, arguments.log.keyring)?)?;
    let mut reader = open_log(&arguments.log.data, &keyring)?;
    // Where the last ones lie the newest segment tells: a long log is not read from its beginning for ten lines.
    if let Some(end) = committed_at_the_end(open_log(&arguments.log.data, &keyring)?) {
        reader = reader.starting_near((end + 1).saturating_sub(arguments.lines as u64));
    }
    let mut last = VecDeque::with_capacity(arguments.lines.min(1024));
    let (mut progress, mut passed) =
        (Progress::new(global, arguments.log.progress, reader.bytes_total()?), Passed::default());
    read(&mut reader, |said| {
        passed.note(&said);
        progress.read(passed.bytes(), entries_end(&said));
        last.push_back(said);
        if last.len() > arguments.lines {
            last.pop_front();
        }
        Ok(())
    })?;
    progress.end();
    last.into_iter().try_for_each(|said| print(global, said))?;
    if !arguments.follow {
        return Ok(());
    }
    loop {
        tokio::time::sleep(LOOK_AGAIN).await;
        reader.read_further()?;
        read(&mut reader, |said| print(global, said))?;
    }
}

/// The last entry that is known committed, by the newest segment alone; none if that one does not say so.
fn committed_at_the_end(reader: LogReader) -> Option<LogIndex> {
    let mut newest = reader.starting_near(LogIndex::MAX);
    if newest.by_ref().any(|history| history.is_err()) {
        return None;
    }
    newest.report().standing.committed.map(|at| at.index)
}

fn read(reader: &mut LogReader, mut take: impl FnMut(History) -> Result<()>) -> Result<()> {
    let mut readable: Option<LogIndex> = None;
    for history in reader.by_ref() {
        let history = history.map_err(|error| refusal(error, readable))?;
        readable = Some(entries_end(&history));
        take(history)?;
    }
    Ok(())
}

fn print(global: &Global, said: History) -> Result<()> {
    match said {
        History::Entry(entry) => global.format().print(&Line::of(&entry)?, Line::human),
        History::Gap { from, through } => {
            let gap = Gap::of(from, through);
            global.format().print(&gap, Gap::human)
        }
    }
}
