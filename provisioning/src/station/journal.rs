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
        self.record_all(now, &[step])
    }

    /// Writes steps that follow from each other with one fsync. A power cut may leave the first of them only.
    pub fn record_all(&mut self, now: Timestamp, steps: &[Step]) -> Result<(), JournalError> {
        let path = self.medium.path();
        if self.poisoned {
            return Err(JournalError::Poisoned { path });
        }
        if let Some(first) = steps.first() {
            self.ledger.check(first)?;
        }
        let at = self.ledger.not_before_last(now);
        let numbered = (self.lines + 1..).zip(steps);
        let text: String =
            numbered.map(|(number, step)| Line { number, at, step: step.clone() }.encode()).collect();
        // Until everything is written and added up, nobody knows what the disk holds.
        self.poisoned = true;
        let failed = |doing| move |source| JournalError::Io { doing, path, source };
        self.medium.append(text.as_bytes()).map_err(failed.clone()("write"))?;
        self.medium.sync().map_err(failed("fsync"))?;
        steps.iter().try_for_each(|step| self.ledger.apply(at, step))?;
        self.lines += steps.len() as u64;
        self.poisoned = false;
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
    use super::super::step::VoidReason;
    use super::super::step::tests::planned;
    use super::*;
    use events::ids::{LotId, StationId};
    use proptest::prelude::*;
    use std::sync::{Arc, Mutex};

    const AT: Timestamp = Timestamp::from_millis(1_795_374_203_042);

    /// A disk in memory, which counts down to an fsync that fails.
    #[derive(Clone, Default)]
    struct Paper {
        bytes: Arc<Mutex<Vec<u8>>>,
        fsyncs_until_failure: Option<u32>,
    }

    impl Paper {
        fn with(bytes: &[u8]) -> Self {
            Paper { bytes: Arc::new(Mutex::new(bytes.to_vec())), fsyncs_until_failure: None }
        }

        fn bytes(&self) -> Vec<u8> {
            self.bytes.lock().unwrap().clone()
        }

        fn open(&self) -> Result<Journal, JournalError> {
            Journal::open(Box::new(self.clone()))
        }
    }

    impl Medium for Paper {
        fn read(&mut self) -> io::Result<Vec<u8>> {
            Ok(self.bytes())
        }

        fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
            self.bytes.lock().unwrap().extend_from_slice(bytes);
            Ok(())
        }

        fn sync(&mut self) -> io::Result<()> {
            match &mut self.fsyncs_until_failure {
                Some(0) => Err(io::Error::other("bad block")),
                Some(left) => {
                    *left -= 1;
                    Ok(())
                }
                None => Ok(()),
            }
        }

        fn cut(&mut self, length: u64) -> io::Result<()> {
            self.bytes.lock().unwrap().truncate(length as usize);
            Ok(())
        }

        fn path(&self) -> PathBuf {
            "journal".into()
        }
    }

    /// Three units' worth of steps: one burned, one voided, one unfinished.
    fn steps() -> Vec<Step> {
        let opened = Step::Opened { station: StationId::from_bytes([1; 4]), lot: LotId::from_bytes([2; 4]) };
        let burn = |unit| vec![Step::Planned(planned(unit)), Step::Burning { unit }];
        let mut steps = vec![opened];
        steps.extend(burn(1));
        steps.extend([Step::ReadBack { unit: 1 }, Step::Burned { unit: 1 }]);
        steps.extend(burn(2));
        steps.push(Step::Voided { unit: 2, reason: VoidReason::Blank });
        steps.extend(burn(3));
        steps
    }

    /// A journal that holds all of them.
    fn written() -> Vec<u8> {
        let paper = Paper::default();
        let mut journal = paper.open().unwrap();
        for step in steps() {
            journal.record(AT, step).unwrap();
        }
        paper.bytes()
    }

    #[test]
    fn a_journal_reads_as_it_was_written() {
        let journal = Paper::with(&written()).open().unwrap();
        assert_eq!(journal.lines, steps().len() as u64);
        assert_eq!(journal.ledger().burned(), 1);
        assert_eq!(journal.ledger().unfinished().map(|(unit, _)| unit), Some(3));
        assert_eq!(journal.ledger().next_unit(), 4);
    }

    #[test]
    fn steps_written_at_once_are_the_same_as_one_by_one() {
        let paper = Paper::default();
        paper.open().unwrap().record_all(AT, &steps()).unwrap();
        assert_eq!(paper.bytes(), written());
    }

    #[test]
    fn a_journal_cut_anywhere_opens_with_the_lines_that_were_whole() {
        let whole = written();
        for length in 0..whole.len() {
            let paper = Paper::with(&whole[..length]);
            let lines = whole[..length].iter().filter(|&&b| b == b'\n').count();
            assert_eq!(paper.open().unwrap().lines, lines as u64);
            let kept = paper.bytes();
            assert!(whole.starts_with(&kept) && (kept.is_empty() || kept.ends_with(b"\n")));
        }
    }

    #[test]
    fn a_torn_tail_may_be_zeros_or_any_bytes() {
        let whole = written();
        for tail in [&[0; 512][..], b"garbage", b"garbage\nand\nmore\n", &whole[whole.len() - 20..]] {
            let paper = Paper::with(&[&whole, tail].concat());
            assert_eq!(paper.open().unwrap().lines, steps().len() as u64);
            assert_eq!(paper.bytes(), whole);
        }
    }

    #[test]
    fn a_missing_line_is_damage() {
        let whole = written();
        let second = whole.iter().position(|&b| b == b'\n').unwrap() + 1;
        let refused = Paper::with(&whole[second..]).open();
        assert!(matches!(refused, Err(JournalError::Damaged { line: 1, .. })));
    }

    #[test]
    fn a_step_out_of_order_is_not_written() {
        let paper = Paper::with(&written());
        let mut journal = paper.open().unwrap();
        for step in [Step::Burning { unit: 1 }, Step::Planned(planned(1)), Step::Burned { unit: 2 }] {
            assert!(matches!(journal.record(AT, step), Err(JournalError::OutOfOrder(_))));
        }
        assert_eq!(paper.bytes(), written());
    }

    #[test]
    fn a_second_process_finds_the_journal_locked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let first = FileMedium::open(&path).unwrap();
        assert!(first.is_some() && FileMedium::open(&path).unwrap().is_none());
        drop(first);
        assert!(FileMedium::open(&path).unwrap().is_some());
    }

    #[test]
    fn after_a_failed_fsync_the_journal_refuses_everything() {
        let paper = Paper { fsyncs_until_failure: Some(1), ..Paper::default() };
        let mut journal = paper.open().unwrap();
        let opened = &steps()[0];
        assert!(matches!(journal.record(AT, opened.clone()), Err(JournalError::Io { doing: "fsync", .. })));
        assert!(matches!(journal.record(AT, opened.clone()), Err(JournalError::Poisoned { .. })));
    }

    proptest! {
        #[test]
        fn a_changed_byte_before_the_last_line_is_damage(at: prop::sample::Index, bit in 0u8..8) {
            let mut bytes = written();
            let last = bytes[..bytes.len() - 1].iter().rposition(|&b| b == b'\n').unwrap() + 1;
            bytes[at.index(last)] ^= 1 << bit;
            let refused = matches!(Paper::with(&bytes).open(), Err(JournalError::Damaged { .. }));
            prop_assert!(refused);
        }
    }
}
