//! The state file on a flash whose power fails, tears what was not durable, or lies.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// A flash in memory that keeps durable and visible content apart and fails at a chosen operation.
#[derive(Default, Clone)]
struct FragileFlash {
    visible: BTreeMap<String, Vec<u8>>,
    /// Content that survives, by name, as of the last `sync_names`.
    durable: BTreeMap<String, Vec<u8>>,
    /// Content made durable by `sync_file`; its name may not be yet.
    synced: BTreeMap<String, Vec<u8>>,
    operations_left: Option<usize>,
    /// What reading a file ends with.
    unreadable: BTreeMap<String, i32>,
}

impl FragileFlash {
    fn spend(&mut self) -> io::Result<()> {
        match &mut self.operations_left {
            None => Ok(()),
            Some(0) => Err(io::Error::other("power cut")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
        }
    }

    /// What the next boot finds. The file system may or may not have made names and bytes durable that nobody
    /// synced: `kept` says which way it went; `torn` cuts content that was never synced.
    fn after_power_cut(&self, kept: bool, torn: usize) -> Self {
        let mut durable = self.durable.clone();
        if kept {
            durable = self.visible.clone();
            for (name, bytes) in &mut durable {
                if self.synced.get(name) != Some(bytes) {
                    bytes.truncate(torn);
                }
            }
        }
        FragileFlash { visible: durable.clone(), synced: durable.clone(), durable, ..FragileFlash::default() }
    }
}

impl Flash for FragileFlash {
    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        match self.unreadable.get(name) {
            Some(errno) => Err(io::Error::from_raw_os_error(*errno)),
            None => Ok(self.visible.get(name).cloned()),
        }
    }
    fn write(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let cut = self.spend();
        let reached = if cut.is_err() { &bytes[..bytes.len() / 2] } else { bytes };
        self.visible.insert(name.into(), reached.to_vec());
        cut
    }
    fn sync_file(&mut self, name: &str) -> io::Result<()> {
        self.spend()?;
        if let Some(errno) = self.unreadable.get(name) {
            return Err(io::Error::from_raw_os_error(*errno));
        }
        let bytes = self.visible[name].clone();
        if let Some(durable) = self.durable.get_mut(name) {
            *durable = bytes.clone();
        }
        self.synced.insert(name.into(), bytes);
        Ok(())
    }
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.spend()?;
        // The name gets other sectors.
        self.unreadable.remove(to);
        for files in [&mut self.visible, &mut self.synced] {
            if let Some(bytes) = files.remove(from) {
                files.insert(to.into(), bytes);
            }
        }
        Ok(())
    }
    fn sync_names(&mut self) -> io::Result<()> {
        self.spend()?;
        self.durable = self.visible.clone();
        Ok(())
    }
}

fn opened(flash: FragileFlash) -> (StateFile<FragileFlash>, Option<Vec<u8>>) {
    let (file, found) = StateFile::open(flash).unwrap();
    (file, found.payload.map(|payload| payload.to_vec()))
}

#[test]
fn what_was_saved_is_found_again_and_the_newest_wins() {
    let (mut file, none) = opened(FragileFlash::default());
    assert_eq!(none, None);
    for payload in [b"one".as_slice(), b"two", b"three"] {
        file.save(payload).unwrap();
        let (_, found) = opened(file.flash.after_power_cut(false, 0));
        assert_eq!(found.as_deref(), Some(payload));
    }
}

#[test]
fn a_power_cut_at_any_operation_leaves_the_last_durable_state_or_the_new_one() {
    for saved_before in 0..3_u8 {
        for cut_at in 0..4 {
            for (kept, torn) in [(false, 0), (true, 0), (true, 7), (true, 23), (true, 4096)] {
                let (mut file, _) = opened(FragileFlash::default());
                for number in 0..saved_before {
                    file.save(&[number; 40]).unwrap();
                }
                file.flash.operations_left = Some(cut_at);
                assert!(file.save(&[99; 40]).is_err());
                let (mut next, found) = opened(file.flash.after_power_cut(kept, torn));
                let before = saved_before.checked_sub(1).map(|number| vec![number; 40]);
                assert!(
                    found == before || found == Some(vec![99; 40]),
                    "after {saved_before} saves, cut at {cut_at}, kept {kept}, torn {torn}: {found:?}"
                );
                next.save(b"goes on").unwrap();
                assert_eq!(
                    opened(next.flash.after_power_cut(false, 0)).1.as_deref(),
                    Some(b"goes on".as_slice())
                );
            }
        }
    }
}

#[test]
fn a_failed_save_poisons_the_file_for_this_process() {
    let (mut file, _) = opened(FragileFlash::default());
    file.flash.operations_left = Some(1);
    assert!(matches!(file.save(b"lost"), Err(StateFileError::Io { verb: "fsync", .. })));
    file.flash.operations_left = None;
    assert!(matches!(file.save(b"again"), Err(StateFileError::Poisoned)));
}

#[test]
fn a_damaged_copy_is_named_and_the_other_is_used() {
    let (mut file, _) = opened(FragileFlash::default());
    file.save(b"older").unwrap();
    file.save(b"newer").unwrap();
    let mut flash = file.flash.clone();
    flash.visible.get_mut("state.b").unwrap()[25] ^= 1;
    let (_, found) = StateFile::open(flash).unwrap();
    assert_eq!(found.payload.unwrap().as_slice(), b"older");
    assert_eq!(found.damaged, ["state.b"]);
}

#[test]
fn a_copy_in_an_unreadable_sector_is_damaged_and_the_next_save_takes_its_place() {
    for errno in [Errno::IO, Errno::UCLEAN, Errno::BADMSG] {
        for (broken, found_then) in [("state.a", "newer"), ("state.b", "older")] {
            let (mut file, _) = opened(FragileFlash::default());
            file.save(b"older").unwrap();
            file.save(b"newer").unwrap();
            let mut flash = file.flash.clone();
            flash.unreadable.insert(broken.to_owned(), errno.raw_os_error());
            assert_eq!(read_only(&flash).unwrap().damaged, [broken]);
            let (mut file, found) = StateFile::open(flash).unwrap();
            assert_eq!(found.payload.unwrap().as_slice(), found_then.as_bytes(), "{broken}, {errno}");
            assert_eq!(found.damaged, [broken]);
            file.save(b"newest").unwrap();
            let (_, found) = StateFile::open(file.flash.after_power_cut(false, 0)).unwrap();
            assert_eq!(found.payload.unwrap().as_slice(), b"newest");
            assert!(found.damaged.is_empty(), "{broken}, {errno}: {:?}", found.damaged);
        }
    }
}

#[test]
fn a_copy_that_somebody_else_owns_is_no_damage_and_is_not_replaced() {
    let (mut file, _) = opened(FragileFlash::default());
    file.save(b"older").unwrap();
    let mut flash = file.flash.clone();
    flash.unreadable.insert("state.a".to_owned(), Errno::ACCESS.raw_os_error());
    assert!(matches!(StateFile::open(flash), Err(StateFileError::Io { verb: "read", file: "state.a", .. })));
}

proptest! {
    #[test]
    fn a_flipped_bit_anywhere_is_noticed(payload: Vec<u8>, at: prop::sample::Index, bit in 0..8_u8) {
        let mut bytes = encode(7, &payload).to_vec();
        prop_assert_eq!(decode(&bytes), Some((7, payload.as_slice())));
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert_eq!(decode(&bytes), None);
    }

    #[test]
    fn no_bytes_panic_the_decoder(bytes: Vec<u8>) {
        let _ = decode(&bytes);
    }
}
