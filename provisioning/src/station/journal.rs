//! The station's journal: one checksummed line per step, fsynced before the step that it announces is taken.
//!
//! ```text
//! 5f3c9a10 {"number":3,"at":1795374203042,"step":{"burning":{"unit":1}}}
//! └ CRC-32C of what follows the space, in hex
//! ```
//!
//! Invariants:
//! - Lines are numbered from 1 without a gap; nothing is ever changed.
//! - Only the end can be torn by a power cut: a bad line that a good one follows is damage, and refused.
//! - After a failed write or fsync nobody knows what the disk holds: the journal refuses everything until it is opened again.

use super::ledger::{Ledger, LedgerError};
use super::medium::Medium;
use super::step::{Line, Step};
use events::time::Timestamp;
use std::io;
use std::path::PathBuf;

/// Why the journal could not be read or written, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error(
        "{path}: line {line} is damaged although later lines are not: the disk is failing. Keep the file, stop this station, and have its terminals checked with `muster station verify`"
    )]
    Damaged { path: PathBuf, line: usize },
    #[error("{path}: line {line} {source}: the file was changed by hand; restore it from a copy")]
    Contradiction { path: PathBuf, line: u64, source: LedgerError },
    #[error(transparent)]
    OutOfOrder(#[from] LedgerError),
    #[error("{path}: an earlier write failed, so nobody knows what the disk holds: open the station again")]
    Poisoned { path: PathBuf },
    #[error("could not {doing} {path}: {source}: open the station again once the disk is well")]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
}

/// The journal and what its lines add up to.
pub struct Journal {
    medium: Box<dyn Medium>,
    ledger: Ledger,
    lines: u64,
    poisoned: bool,
}

impl Journal {
    /// Reads all lines, cuts a torn tail off, and adds them up.
    pub fn open(mut medium: Box<dyn Medium>) -> Result<Self, JournalError> {
        let path = medium.path();
        let failed = |doing, source| JournalError::Io { doing, path: path.clone(), source };
        // What was read may not be on the disk yet, if an earlier fsync never happened.
        medium.sync().map_err(|e| failed("fsync", e))?;
        let bytes = medium.read().map_err(|e| failed("read", e))?;
        let (lines, sound) =
            parse(&bytes).map_err(|line| JournalError::Damaged { path: path.clone(), line })?;
        if sound < bytes.len() {
            medium.cut(sound as u64).map_err(|e| failed("cut the torn tail of", e))?;
        }
        let mut ledger = Ledger::default();
        for line in &lines {
            ledger.apply(line.at, &line.step).map_err(|source| JournalError::Contradiction {
                path: path.clone(),
                line: line.number,
                source,
            })?;
        }
        Ok(Journal { medium, ledger, lines: lines.len() as u64, poisoned: false })
    }

    /// Writes one step and returns once it is on the disk. A step that the ledger does not allow is not written.
    /// Time never goes back along the journal, whatever the station's clock says.
    pub fn record(&mut self, now: Timestamp, step: Step) -> Result<(), JournalError> {
        let path = self.medium.path();
        if self.poisoned {
            return Err(JournalError::Poisoned { path });
        }
        let at = self.ledger.not_before_last(now);
        self.ledger.check(&step)?;
        let line = Line { number: self.lines + 1, at, step };
        self.poisoned = true;
        let failed = |doing| move |source| JournalError::Io { doing, path, source };
        self.medium.append(line.encode().as_bytes()).map_err(failed.clone()("write"))?;
        self.medium.sync().map_err(failed("fsync"))?;
        self.poisoned = false;
        self.lines = line.number;
        self.ledger.apply(line.at, &line.step)?;
        Ok(())
    }

    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Journal({}, {} lines)", self.medium.path().display(), self.lines)
    }
}

/// The sound lines and their length in bytes; or the number of the damaged line.
fn parse(bytes: &[u8]) -> Result<(Vec<Line>, usize), usize> {
    let mut lines: Vec<Line> = Vec::new();
    let mut sound = 0;
    for text in bytes.split_inclusive(|&b| b == b'\n') {
        match Line::decode(text) {
            Some(line) if line.number == lines.len() as u64 + 1 => {
                sound += text.len();
                lines.push(line);
            }
            None if !holds_a_line(&bytes[sound..]) => break,
            // A sound line that is not the next one, or one behind a bad one: lines between are lost.
            _ => return Err(lines.len() + 1),
        }
    }
    Ok((lines, sound))
}

/// Whether a sound line stands anywhere in what may be a torn tail, even one whose predecessor lost its line feed.
fn holds_a_line(tail: &[u8]) -> bool {
    tail.split_inclusive(|&b| b == b'\n').any(|text| {
        let starts = 0..text.len().saturating_sub(9);
        starts
            .filter(|&start| text[start + 8..].starts_with(b" {"))
            .any(|start| Line::decode(&text[start..]).is_some())
    })
}

#[cfg(test)]
mod tests {
    use super::super::medium::FileMedium;
    use super::super::step::tests::planned;
    use super::*;
    use events::ids::{LotId, StationId};
    use proptest::prelude::*;
    use std::fs;
    use std::path::Path;

    const AT: Timestamp = Timestamp::from_millis(1_795_374_203_042);

    fn open(path: &Path) -> Result<Journal, JournalError> {
        Journal::open(Box::new(FileMedium::open(path).unwrap().expect("no other process")))
    }

    /// Three units' worth of steps: one burned, one voided, one unfinished.
    fn steps() -> Vec<Step> {
        let opened = Step::Opened { station: StationId::from_bytes([1; 4]), lot: LotId::from_bytes([2; 4]) };
        let burn = |unit| vec![Step::Planned(planned(unit)), Step::Burning { unit }];
        let mut steps = vec![opened];
        steps.extend(burn(1));
        steps.extend([Step::ReadBack { unit: 1 }, Step::Burned { unit: 1 }]);
        steps.extend(burn(2));
        steps.push(Step::Voided { unit: 2, reason: super::super::step::VoidReason::Blank });
        steps.extend(burn(3));
        steps
    }

    fn written(path: &Path) -> Vec<u8> {
        let mut journal = open(path).unwrap();
        for step in steps() {
            journal.record(AT, step).unwrap();
        }
        drop(journal);
        fs::read(path).unwrap()
    }

    #[test]
    fn a_journal_reads_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        written(&path);
        let journal = open(&path).unwrap();
        assert_eq!(journal.lines, steps().len() as u64);
        assert_eq!(journal.ledger().burned(), 1);
        assert_eq!(journal.ledger().unfinished().map(|(unit, _)| unit), Some(3));
        assert_eq!(journal.ledger().next_unit(), 4);
    }

    #[test]
    fn a_journal_cut_anywhere_opens_with_the_lines_that_were_whole() {
        let dir = tempfile::tempdir().unwrap();
        let whole = written(&dir.path().join("journal"));
        for length in 0..whole.len() {
            let path = dir.path().join("cut");
            fs::write(&path, &whole[..length]).unwrap();
            let lines = whole[..length].iter().filter(|&&b| b == b'\n').count();
            assert_eq!(open(&path).unwrap().lines, lines as u64);
            let kept = fs::read(&path).unwrap();
            assert!(whole.starts_with(&kept) && (kept.is_empty() || kept.ends_with(b"\n")));
        }
    }

    #[test]
    fn a_torn_tail_may_be_zeros_or_any_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let whole = written(&dir.path().join("journal"));
        for tail in [&[0; 512][..], b"garbage", b"garbage\nand\nmore\n"] {
            let path = dir.path().join("torn");
            fs::write(&path, [&whole, tail].concat()).unwrap();
            assert_eq!(open(&path).unwrap().lines, steps().len() as u64);
            assert_eq!(fs::read(&path).unwrap(), whole);
        }
    }

    #[test]
    fn a_missing_line_is_damage() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let whole = written(&path);
        let second = whole.iter().position(|&b| b == b'\n').unwrap() + 1;
        fs::write(&path, &whole[second..]).unwrap();
        assert!(matches!(open(&path), Err(JournalError::Damaged { line: 1, .. })));
    }

    #[test]
    fn a_step_out_of_order_is_not_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let before = written(&path);
        let mut journal = open(&path).unwrap();
        for step in [Step::Burning { unit: 1 }, Step::Planned(planned(1)), Step::Burned { unit: 2 }] {
            assert!(matches!(journal.record(AT, step), Err(JournalError::OutOfOrder(_))));
        }
        assert_eq!(fs::read(&path).unwrap(), before);
    }

    #[test]
    fn a_second_process_finds_the_journal_locked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let _first = open(&path).unwrap();
        assert!(FileMedium::open(&path).unwrap().is_none());
    }

    #[test]
    fn after_a_failed_write_the_journal_refuses_everything() {
        struct Failing;
        impl Medium for Failing {
            fn read(&mut self) -> io::Result<Vec<u8>> {
                Ok(Vec::new())
            }
            fn append(&mut self, _: &[u8]) -> io::Result<()> {
                Ok(())
            }
            fn sync(&mut self) -> io::Result<()> {
                static CALLS: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
                match CALLS.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
                    1 => Err(io::Error::other("bad block")),
                    _ => Ok(()),
                }
            }
            fn cut(&mut self, _: u64) -> io::Result<()> {
                Ok(())
            }
            fn path(&self) -> PathBuf {
                "journal".into()
            }
        }
        let mut journal = Journal::open(Box::new(Failing)).unwrap();
        let opened = &steps()[0];
        assert!(matches!(journal.record(AT, opened.clone()), Err(JournalError::Io { doing: "fsync", .. })));
        assert!(matches!(journal.record(AT, opened.clone()), Err(JournalError::Poisoned { .. })));
    }

    proptest! {
        #[test]
        fn a_changed_byte_before_the_last_line_is_damage(at: prop::sample::Index, bit in 0u8..8) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("journal");
            let mut bytes = written(&path);
            let last = bytes[..bytes.len() - 1].iter().rposition(|&b| b == b'\n').unwrap() + 1;
            bytes[at.index(last)] ^= 1 << bit;
            fs::write(&path, &bytes).unwrap();
            let refused = matches!(open(&path), Err(JournalError::Damaged { .. }));
            prop_assert!(refused);
        }
    }
}
