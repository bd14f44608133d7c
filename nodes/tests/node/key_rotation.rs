//! Key-encryption keys change while the cluster runs, and what was written stays as it is and readable.

use crate::support::device::Device;
use crate::support::in_time;
use crate::support::members::{Members, lot, lot_created};
use events::ids::NodeId;
use events::keyring::rotation::KeyList;
use events::keyring::{Keyring, Purpose, UnwrapError};
use events::log::segment::SealedHeader;
use events::vocabulary::{Event, LotCreated};
use nodes::entropy::{EntropyRng, OsEntropy};
use nodes::raft::leadership::Leadership;
use nodes::storage::disk::OsDisk;
use nodes::storage::error::StorageError;
use nodes::storage::log_reader::{History, LogReader};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const SECRET: &[u8] = b"a pre-shared key of thirty-two b";
const TAMPER: &[u8] = b"a tamper key";

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(files(&entry.path())),
            false => found.push(entry.path()),
        }
    }
    found
}

/// The numbers of the keys that a member's segments were sealed under.
fn sealed_under(members: &Members, node: NodeId) -> BTreeSet<u32> {
    let segments = files(&members.data(node).join("log")).into_iter();
    let segments = segments.filter(|path| path.extension().is_some_and(|extension| extension == "log"));
    segments.map(|path| SealedHeader::parse(&std::fs::read(path).unwrap()).unwrap().claims().key_id).collect()
}

/// Each member gets the keyring and starts again, one after the other; the cluster goes on meanwhile.
async fn roll(members: &mut Members, keyring: &Keyring, lots: &mut u32) {
    members.give_keyring(keyring.clone());
    for node in 1..=3 {
        members.kill(node).await;
        let leader = members.leader().await;
        *lots += 1;
        let index =
            members.core(leader).proposer().propose_events(&[lot_created(*lots)]).await.unwrap().index;
        members.open(node).await;
        members.all_applied(index).await;
    }
}

/// A lot and a device, whose secrets are wrapped as nodes wrap them.
async fn import(members: &Members, device: &Device) {
    let keyring = members.keyring();
    let wrap = |purpose, subject: &[u8], secret: &[u8]| {
        keyring.wrap(&mut EntropyRng(&OsEntropy), purpose, subject, 0, secret)
    };
    let mut events: Vec<Event> = device.life_of_a_clone().into_iter().take(3).collect();
    for event in &mut events {
        match event {
            Event::LotCreated(LotCreated { tamper_key, .. }) => {
                *tamper_key = wrap(Purpose::TamperKey, lot(1).as_bytes(), TAMPER);
            }
            Event::DeviceProvisioned(provisioned) => {
                provisioned.pre_shared_key = wrap(Purpose::PreSharedKey, device.id().as_bytes(), SECRET);
            }
            _ => {}
        }
    }
    let leader = members.leader().await;
    let outcomes = members.core(leader).proposer().propose_events(&events).await.unwrap();
    members.all_applied(outcomes.index).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_rotate_on_a_live_cluster_without_history_being_rewritten() {
    let mut members = Members::start(3).await;
    let device = Device::new();
    import(&members, &device).await;
    let first = (**members.keyring()).clone();
    let (mut keyring, mut lots) = (first.clone(), 1);

    for list in KeyList::ALL {
        keyring.stage(list, &mut EntropyRng(&OsEntropy)).unwrap();
    }
    roll(&mut members, &keyring, &mut lots).await;
    assert_eq!(sealed_under(&members, 1), [1].into(), "a staged key seals nothing");
    let mut before: Vec<_> = files(&members.data(1).join("log"));
    before.retain(|path| path.extension().is_some_and(|end| end == "log"));
    let kept: Vec<_> = before.iter().map(|path| std::fs::read(path).unwrap()).collect();

    for list in KeyList::ALL {
        keyring.promote(list).unwrap();
    }
    roll(&mut members, &keyring, &mut lots).await;
    for node in 1..=3 {
        assert_eq!(sealed_under(&members, node), [1, 2].into());
    }
    for (path, kept) in before.iter().zip(&kept) {
        // A segment without frames is removed when its log is opened.
        let Ok(now) = std::fs::read(path) else { continue };
        assert!(now.starts_with(kept), "{} was rewritten", path.display());
    }

    // The leader wraps the secrets anew, by an event like any other.
    let key = |core: &nodes::node::core::Core| {
        core.projector().read(|fold| {
            let slot = fold.slot_of(&device.id()).unwrap();
            (fold.device(slot).unwrap().pre_shared_key(), fold.lot(&lot(1)).unwrap().tamper_key.clone())
        })
    };
    for (node, core) in members.all() {
        let mut applied = core.projector().applied();
        in_time(&format!("secrets under the second key at node {node}"), async {
            while key(core).0.key != 2 {
                applied.changed().await.unwrap();
            }
        })
        .await;
    }
    keyring.retire(KeyList::Device, 1).unwrap();
    keyring.retire(KeyList::Session, 1).unwrap();
    roll(&mut members, &keyring, &mut lots).await;
    let (psk, tamper) = key(members.core(1));
    let opened =
        |purpose, subject: &[u8], wrapped| keyring.unwrap(purpose, subject, 0, wrapped).unwrap().to_vec();
    assert_eq!(opened(Purpose::PreSharedKey, device.id().as_bytes(), &psk), SECRET);
    assert_eq!(opened(Purpose::TamperKey, lot(1).as_bytes(), &tamper), TAMPER);
    let opened = first.unwrap(Purpose::PreSharedKey, device.id().as_bytes(), 0, &psk);
    assert_eq!(opened.unwrap_err(), UnwrapError::UnknownKey(2));

    // All of history is read with all keys, and not without the first one.
    let node = members.leader().await;
    let read = |keyring: &Keyring| {
        let keys = keyring.segment_keys().unwrap();
        let reader = LogReader::open(Arc::new(OsDisk), members.data(node).join("log"), keys).unwrap();
        reader.collect::<Result<Vec<_>, _>>()
    };
    let history = read(&keyring).unwrap();
    let indices = history.iter().filter_map(|history| match history {
        History::Entry(held) => Some(held.entry.at.index),
        History::Gap { .. } => None,
    });
    assert!(indices.eq(0..history.len() as u64), "no entry is missing");
    let mut lacking = keyring.clone();
    lacking.segment_keys.retain(|key| key.id != 1);
    assert!(matches!(read(&lacking), Err(StorageError::Key { .. })));
    assert!(matches!(Leadership::now(members.core(node).raft()), Leadership::Here { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_disk_tells_nothing_without_the_keyring() {
    let members = Members::start(3).await;
    let device = Device::new();
    let leader = members.leader().await;
    let mut last = 0;
    for event in device.life_of_a_clone() {
        last = members.core(leader).proposer().propose_events(&[event]).await.unwrap().index;
    }
    members.all_applied(last).await;
    members.core(leader).raft().trigger().snapshot().await.unwrap();
    let made = members.core(leader).raft().wait(Some(crate::support::PATIENCE));
    made.metrics(|metrics| metrics.snapshot.is_some(), "a snapshot").await.unwrap();

    // Who it is, what it is called, where it was heard, what it sent: as bytes and as text.
    let markers: Vec<Vec<u8>> = vec![
        device.id().as_bytes().to_vec(),
        device.id().to_string().into_bytes(),
        b"box 1".to_vec(),
        b"shop-1".to_vec(),
        b"basic".to_vec(),
        vec![5; 32],
        vec![6; 32],
        vec![3; 16],
    ];
    let mut read = 0;
    for node in 1..=3 {
        for path in files(&members.data(node)) {
            let bytes = std::fs::read(&path).unwrap();
            read += bytes.len();
            for marker in &markers {
                let found = bytes.windows(marker.len()).any(|window| window == marker);
                assert!(!found, "{} holds {:?}", path.display(), String::from_utf8_lossy(marker));
            }
        }
    }
    assert!(read > 10_000, "{read}");
    assert!(
        files(&members.data(leader)).iter().any(|path| path.extension().is_some_and(|end| end == "snap"))
    );
}
