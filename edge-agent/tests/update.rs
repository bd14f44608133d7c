//! Software update as the agent does it, from an offer to the vendor's hook: killed after every step, offered what it must
//! not take, and with hooks that fail.

#![allow(clippy::unwrap_used, reason = "a test: a panic is the failure")]

use bytes::Bytes;
use edge_agent::shell::flash::FolderFlash;
use edge_agent::update::{UpdateConfig, UpdateDesk, UpdateEvent, UpdateIdentity, Wanted, folder, read};
use events::identity::key::SigningKey;
use events::ids::{DeviceId, LotId, RecordDigest, RolloutId};
use events::time::Timestamp;
use events::update::{Offer, UpdateAnswer, UpdateFailure, UpdateRefusal, UpdateScope};
use sha2::{Digest, Sha384};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;

const LOT: LotId = LotId::from_bytes([1; 4]);
const NOW: Timestamp = Timestamp::from_millis(1_000_000);

struct Bench {
    dir: TempDir,
    config: UpdateConfig,
    key: SigningKey,
    url: String,
}

fn artifact() -> Vec<u8> {
    (0..60_000_u32).flat_map(u32::to_le_bytes).collect()
}

/// A server that answers ranges.
fn serve(bytes: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/artifact", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let head = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            let head: Vec<String> = head.take_while(|line| !line.is_empty()).collect();
            let range =
                head.iter().find_map(|line| line.to_lowercase().split("bytes=").nth(1).map(str::to_owned));
            let from: usize = range.map_or(0, |range| range.trim_end_matches('-').parse().unwrap());
            let (rest, whole) = (&bytes[from..], bytes.len());
            let head = match from {
                0 => format!("HTTP/1.1 200 OK\r\nContent-Length: {whole}\r\n\r\n"),
                _ => format!(
                    "HTTP/1.1 206 Partial Content\r\nContent-Length: {}\r\nContent-Range: bytes {from}-{}/{whole}\r\n\r\n",
                    rest.len(),
                    whole - 1
                ),
            };
            let _gone = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(rest));
        }
    });
    url
}

impl Bench {
    /// A terminal whose hook does `script`.
    fn new(script: &str, served: Vec<u8>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let hook = dir.path().join("hook.sh");
        fs::write(&hook, format!("#!/bin/sh\nset -eu\ncd {}\n{script}\n", dir.path().display())).unwrap();
        fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
        let key = SigningKey::from_bytes(&[1; 48]).unwrap();
        let text = format!(
            "keys = [\"{}\"]\nretry_first_ms = 1\ninstall_timeout_ms = 2000\n[install]\nraw = [\"{}\"]\n",
            key.public().as_bytes().iter().map(|byte| format!("{byte:02x}")).collect::<String>(),
            hook.display()
        );
        Bench { config: toml::from_str(&text).unwrap(), key, url: serve(served), dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn offer(&self) -> Offer {
        Offer {
            rollout: RolloutId::from_bytes([9; 16]),
            scope: UpdateScope::Lots(vec![LOT]),
            firmware: 8,
            floor: 8,
            not_after: NOW.plus_millis(60_000),
            size: artifact().len() as u64,
            digest: Sha384::digest(artifact()).into(),
            kind: "raw".into(),
            urls: vec![self.url.clone()],
        }
    }

    /// A start of the agent that runs this version.
    fn start(&self, firmware: u32) -> UpdateDesk {
        let identity = UpdateIdentity {
            device: Some(DeviceId::from_bytes([4; 16])),
            record: RecordDigest::from_bytes([5; 16]),
            lot: LOT,
            sku: "box".into(),
            firmware,
        };
        UpdateDesk::open(&self.config, identity, self.dir.path(), NOW).unwrap()
    }

    fn give(&self, desk: &UpdateDesk, offer: Offer) {
        self.give_bytes(desk, offer.sign(&self.key).unwrap().encode());
    }

    fn give_bytes(&self, desk: &UpdateDesk, offer: Vec<u8>) {
        desk.answered(Bytes::from(UpdateAnswer { ask_after_millis: 0, offer }.encode()), NOW);
    }

    fn floor(&self) -> u32 {
        read(&FolderFlash::existing(&folder(self.dir.path())).unwrap()).unwrap().floor
    }

    fn hook_ran(&self) -> bool {
        self.path("ran").exists()
    }
}

async fn next(desk: &mut UpdateDesk) -> UpdateEvent {
    loop {
        let wanted =
            tokio::time::timeout(Duration::from_secs(20), desk.next()).await.expect("nothing is told");
        if let Wanted::Tell(event) = wanted {
            return event;
        }
    }
}

const GOOD_HOOK: &str = "sha384sum < \"$MUSTER_UPDATE_FILE\" >> ran";

#[tokio::test]
async fn an_offer_is_fetched_checked_installed_and_settled_by_the_next_start_which_raises_the_floor() {
    let bench = Bench::new(GOOD_HOOK, artifact());
    let mut desk = bench.start(7);
    bench.give(&desk, bench.offer());
    let rollout = bench.offer().rollout;
    assert_eq!(next(&mut desk).await, UpdateEvent::Taken { rollout, firmware: 8 });
    assert_eq!(next(&mut desk).await, UpdateEvent::Verified { rollout });
    assert_eq!(next(&mut desk).await, UpdateEvent::Installed { rollout, firmware: 8 });
    assert_eq!(bench.floor(), 0, "what has not booted must not lock out what has");
    drop(desk);
    let mut desk = bench.start(8);
    assert_eq!(next(&mut desk).await, UpdateEvent::Running { firmware: 8, floor: 8 });
    assert_eq!(bench.floor(), 8);
    drop(desk);
    // The boot loader fell back later: what is below the floor is not taken, however well it is signed.
    let mut desk = bench.start(6);
    bench.give(&desk, Offer { firmware: 7, floor: 7, ..bench.offer() });
    assert_eq!(next(&mut desk).await, UpdateEvent::Refused { reason: UpdateRefusal::BelowFloor });
}

#[tokio::test]
async fn killed_after_any_step_it_goes_on_and_the_hook_sees_nothing_but_the_whole_artifact() {
    for steps in 0..3 {
        let bench = Bench::new(GOOD_HOOK, artifact());
        let mut desk = bench.start(7);
        bench.give(&desk, bench.offer());
        for _ in 0..=steps {
            let _step = next(&mut desk).await;
        }
        drop(desk);
        for _restart in 0..2 {
            let mut desk = bench.start(7);
            while !bench.hook_ran() {
                tokio::task::yield_now().await;
                if let Ok(Wanted::Tell(UpdateEvent::Failed { reason, .. })) =
                    tokio::time::timeout(Duration::from_millis(20), desk.next()).await
                {
                    panic!("after {steps} steps: {reason}");
                }
            }
        }
        let digest: String = Sha384::digest(artifact()).iter().map(|byte| format!("{byte:02x}")).collect();
        let seen = fs::read_to_string(bench.path("ran")).unwrap();
        assert!(seen.lines().all(|line| line.starts_with(&digest)), "after {steps} steps: {seen}");
        let mut desk = bench.start(8);
        assert_eq!(next(&mut desk).await, UpdateEvent::Running { firmware: 8, floor: 8 });
    }
}

#[tokio::test]
async fn what_is_unsigned_altered_old_expired_or_another_lots_is_refused_and_the_terminal_stays_as_it_was() {
    let bench = Bench::new(GOOD_HOOK, artifact());
    let mut desk = bench.start(7);
    let good = bench.offer().sign(&bench.key).unwrap().encode();
    let stranger = bench.offer().sign(&SigningKey::from_bytes(&[2; 48]).unwrap()).unwrap().encode();
    let mut altered = good.clone();
    altered[20] ^= 1;
    let bad = [
        (good[..good.len() - 7].to_vec(), UpdateRefusal::Malformed),
        (stranger, UpdateRefusal::NotAuthentic),
        (altered, UpdateRefusal::NotAuthentic),
    ];
    for (bytes, reason) in bad {
        bench.give_bytes(&desk, bytes);
        assert_eq!(next(&mut desk).await, UpdateEvent::Refused { reason });
    }
    let other_lot = UpdateScope::Lots(vec![LotId::from_bytes([2; 4])]);
    let signed_and_wrong = [
        (Offer { scope: other_lot, ..bench.offer() }, UpdateRefusal::OtherLot),
        (Offer { firmware: 7, floor: 7, ..bench.offer() }, UpdateRefusal::NotNewer),
        (Offer { not_after: Timestamp::from_millis(1), ..bench.offer() }, UpdateRefusal::Expired),
        (Offer { kind: "other".into(), ..bench.offer() }, UpdateRefusal::UnknownKind),
    ];
    for (offer, reason) in signed_and_wrong {
        bench.give(&desk, offer);
        assert_eq!(next(&mut desk).await, UpdateEvent::Refused { reason });
    }
    assert_eq!(desk.failure(), None, "a refusal is told to nobody");
    assert!(!bench.hook_ran() && bench.floor() == 0);
    assert!(!folder(bench.dir.path()).join("artifact").exists());
}

#[tokio::test]
async fn an_artifact_that_is_truncated_or_altered_never_reaches_the_hook_and_its_failure_is_told() {
    let mut altered = artifact();
    altered[1234] ^= 1;
    let truncated = artifact()[..1000].to_vec();
    for (served, reason) in [(altered, UpdateFailure::Digest), (truncated, UpdateFailure::Size)] {
        let bench = Bench::new(GOOD_HOOK, served);
        let mut desk = bench.start(7);
        bench.give(&desk, bench.offer());
        let rollout = bench.offer().rollout;
        assert_eq!(next(&mut desk).await, UpdateEvent::Taken { rollout, firmware: 8 });
        assert_eq!(next(&mut desk).await, UpdateEvent::Failed { rollout, reason });
        assert_eq!(desk.failure(), Some(reason));
        assert!(!bench.hook_ran());
        drop(desk);
        let desk = bench.start(7);
        assert_eq!(desk.failure(), Some(reason), "the next start tells it on");
    }
}

#[tokio::test]
async fn a_hook_that_fails_or_hangs_ends_the_update_and_the_rollout_is_not_taken_again() {
    for (script, reason) in [("exit 3", UpdateFailure::HookFailed), ("sleep 60", UpdateFailure::HookTimeout)]
    {
        let bench = Bench::new(script, artifact());
        let mut desk = bench.start(7);
        bench.give(&desk, bench.offer());
        let rollout = bench.offer().rollout;
        let _taken = (next(&mut desk).await, next(&mut desk).await);
        assert_eq!(next(&mut desk).await, UpdateEvent::Failed { rollout, reason });
        bench.give(&desk, bench.offer());
        // Another rollout of the same version is another matter.
        let other = RolloutId::from_bytes([10; 16]);
        bench.give(&desk, Offer { rollout: other, ..bench.offer() });
        assert_eq!(next(&mut desk).await, UpdateEvent::Taken { rollout: other, firmware: 8 });
        assert_eq!(desk.failure(), None);
    }
}
