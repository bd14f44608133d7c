//! How far a long command is: a bar for people, lines where there is no terminal. Always on stderr.

use super::Global;
use crate::offline::Fold;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{IsTerminal as _, Write as _};

/// How far a fold is in its files, by bytes.
pub(super) struct Progress {
    bar: ProgressBar,
    /// Lines instead of a bar: bytes of all files, and the next percent to tell.
    lines: Option<(u64, u64)>,
}

impl Progress {
    /// As [`Progress::new`], for what is counted and not measured in bytes.
    pub(super) fn counting(global: &Global, asked: bool, total: u64) -> Self {
        let progress = Progress::new(global, asked, total);
        match ProgressStyle::with_template("{bar:40} {human_pos}/{human_len} {eta} {msg}") {
            Ok(style) => progress.bar.set_style(style),
            Err(_) => progress.bar.tick(),
        }
        progress
    }

    /// A bar where a person looks; with `asked` also beside `--json`, and as lines where there is no terminal.
    pub(super) fn new(global: &Global, asked: bool, bytes: u64) -> Self {
        let terminal = std::io::stderr().is_terminal();
        if !terminal || (global.json && !asked) {
            let lines = (asked && !terminal).then_some((bytes, 0));
            return Progress { bar: ProgressBar::hidden(), lines };
        }
        let bar = ProgressBar::new(bytes);
        let style = ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {eta} {msg}");
        let bar = match style {
            Ok(style) => bar.with_style(style),
            Err(_) => bar,
        };
        Progress { bar, lines: None }
    }

    pub(super) fn show(&mut self, fold: &Fold) {
        self.at(fold.payload_bytes(), || format!("read, log index {}", fold.state().applied()));
    }

    /// So much is done; `what` says so in words.
    pub(super) fn at(&mut self, done: u64, what: impl FnOnce() -> String) {
        self.bar.set_position(done);
        let Some((total, next)) = &mut self.lines else { return };
        let percent = (done * 100).checked_div(*total).unwrap_or(100);
        if percent >= *next {
            *next = percent + 10;
            // Whoever does not listen any more does not stop the command.
            let _ = writeln!(std::io::stderr(), "{percent} % {}", what());
        }
    }

    pub(super) fn end(&self) {
        self.bar.finish_and_clear();
    }
}
