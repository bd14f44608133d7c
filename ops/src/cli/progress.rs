//! How far a long command is: a bar for people, lines where there is no terminal. Always on stderr.

use super::Global;
use crate::offline::Fold;
use events::ids::LogIndex;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{IsTerminal as _, Write as _};

/// How far a command is in its files, by bytes.
pub(super) struct Progress {
    bar: ProgressBar,
    /// What earlier passes over the files make up of the whole.
    passed: u64,
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
            return Progress { bar: ProgressBar::hidden(), passed: 0, lines };
        }
        let bar = ProgressBar::new(bytes);
        let style = ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {eta} {msg}");
        let bar = match style {
            Ok(style) => bar.with_style(style),
            Err(_) => bar,
        };
        Progress { bar, passed: 0, lines: None }
    }

    pub(super) fn show(&mut self, fold: &Fold) {
        self.read(fold.bytes_passed(), fold.state().applied());
    }

    /// So many bytes of files are read, up to this entry.
    pub(super) fn read(&mut self, bytes: u64, index: LogIndex) {
        self.at(bytes, || format!("read, log index {index}"));
    }

    /// One of several passes over the files is done; it was so much of the whole.
    pub(super) fn pass_done(&mut self, bytes: u64) {
        self.passed += bytes;
        self.bar.set_position(self.passed);
    }

    /// So much is done; `what` says so in words.
    pub(super) fn at(&mut self, done: u64, what: impl FnOnce() -> String) {
        let done = self.passed + done;
        if !self.bar.is_finished() {
            self.bar.set_position(done);
        }
        let Some((total, next)) = &mut self.lines else { return };
        let percent = (done * 100).checked_div(*total).unwrap_or(100);
        if percent >= *next {
            *next = percent + 10;
            // Whoever does not listen any more does not stop the command.
            let _ = writeln!(std::io::stderr(), "{percent} % {}", what());
        }
    }

    /// What is asked for is printed from here on: where that is the same terminal, the bar would stand in its way.
    pub(super) fn make_way(&self) {
        if std::io::stdout().is_terminal() {
            self.bar.finish_and_clear();
        }
    }

    pub(super) fn end(&self) {
        self.bar.finish_and_clear();
    }
}
