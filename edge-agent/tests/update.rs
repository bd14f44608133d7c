//! Software update as the agent does it, from an offer to the vendor's hook: killed after every step, offered what it must
//! not take, and with hooks that fail.

#![allow(clippy::unwrap_used, reason = "a test: a panic is the failure")]

use bytes::Bytes;
use edge_agent::machine::AgentEvent;
use edge_agent::shell::flash::{Flash, FolderFlash};
use edge_agent::update::{
    OfferTime, Step, UpdateConfig, UpdateDesk, UpdateEvent, UpdateIdentity, Wanted, folder, read,
};
use events::envelope::HeartbeatStatus;
use events::identity::key::SigningKey;
use events::ids::{DeviceId, LotId, RecordDigest, RolloutId};
use events::time::Timestamp;
use events::update::{Offer, UpdateAnswer, UpdateFailure, UpdateRefusal, UpdateScope};
use failing_flash::{FailingFlash, Loss, fail_at};
use sha2::{Digest, Sha384};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;
use tempfile::TempDir;

const LOT: LotId = LotId::from_bytes([1; 4]);
const NOW: Timestamp = Timestamp::from_millis(1_000_000);
/// A clock without a battery that came up in another century.
const CENTURIES_LATER: Timestamp = Timestamp::from_millis(10_000_000_000_000);

/// The time as a sealed answer of this boot said it.
fn sealed(at: Timestamp) -> OfferTime {
    OfferTime { at, is_sealed: true }
}

/// The time as a boot believes it that heard nobody yet.
fn believed(at: Timestamp) -> OfferTime {
    OfferTime { at, is_sealed: false }
}

/// A verdict verified at this time.
fn verdict(desk: &UpdateDesk, at: Timestamp) {
    let status = HeartbeatStatus::Committed;
    desk.event(&AgentEvent::Acknowledged { epoch: 1, sequence: 1, index: 1, status }, sealed(at));
}

#[path = "process/failing_flash.rs"]
mod failing_flash;
#[path = "update/interrupted.rs"]
mod interrupted;

struct Bench {
    dir: TempDir,
    config: UpdateConfig,
    key: SigningKey,
    url: String,
    /// What the cluster offers: it answers every question with this.
    offered: Mutex<Vec<u8>>,
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

fn identity(firmware: u32) -> UpdateIdentity {
    UpdateIdentity {
        device: Some(DeviceId::from_bytes([4; 16])),
        record: RecordDigest::from_bytes([5; 16]),
        lot: LOT,
        sku: "box".into(),
        firmware,
    }
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
        fs::write(dir.path().join("update.toml"), &text).unwrap();
        let (config, offered) = (toml::from_str(&text).unwrap(), Mutex::default());
        Bench { config, key, url: serve(served), offered, dir }
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
        self.start_at(firmware, believed(NOW))
    }

    fn start_at(&self, firmware: u32, time: OfferTime) -> UpdateDesk {
        UpdateDesk::open(&self.config, identity(firmware), self.dir.path(), time).unwrap()
    }

    fn give(&self, desk: &UpdateDesk, offer: Offer) {
        self.give_bytes(desk, offer.sign(&self.key).unwrap().encode());
    }

    fn give_bytes(&self, desk: &UpdateDesk, offer: Vec<u8>) {
        *self.offered.lock().unwrap() = offer;
        self.answer(desk);
    }

    /// The cluster offers nothing any more, or not now.
    fn withdraw(&self) {
        self.offered.lock().unwrap().clear();
    }

    fn answer(&self, desk: &UpdateDesk) {
        let offer = self.offered.lock().unwrap().clone();
        desk.answered(Bytes::from(UpdateAnswer { ask_after_millis: 0, offer }.encode()), sealed(NOW));
    }

    /// The next event, while the cluster answers what it is asked.
    async fn next(&self, desk: &mut UpdateDesk) -> UpdateEvent {
        loop {
            let wanted = tokio::time::timeout(Duration::from_secs(20), desk.next()).await;
            match wanted.expect("nothing is told").unwrap() {
                Wanted::Tell(event) => return event,
                Wanted::Ask(_) => self.answer(desk),
            }
        }
    }

    fn floor(&self) -> u32 {
        read(&FolderFlash::existing(&folder(self.dir.path())).unwrap()).unwrap().floor
    }

    fn hook_ran(&self) -> bool {
        self.path("ran").exists()
    }
}

const GOOD_HOOK: &str = "sha384sum < \"$MUSTER_UPDATE_FILE\" >> ran";

#[tokio::test]
async fn an_offer_is_fetched_checked_installed_and_settled_by_the_next_start_which_raises_the_floor() {
    let bench = Bench::new(GOOD_HOOK, artifact());
    let mut desk = bench.start(7);
    bench.give(&desk, bench.offer());
    let rollout = bench.offer().rollout;
    assert_eq!(bench.next(&mut desk).await, UpdateEvent::Taken { rollout, firmware: 8 });
    assert_eq!(bench.next(&mut desk).await, UpdateEvent::Verified { rollout });
    assert_eq!(bench.next(&mut desk).await, UpdateEvent::Installed { rollout, firmware: 8 });
    assert_eq!(bench.floor(), 0, "what has not booted must not lock out what has");
    drop(desk);
    let mut desk = bench.start(8);
    assert_eq!(bench.next(&mut desk).await, UpdateEvent::Running { firmware: 8, floor: 8 });
    assert_eq!(bench.floor(), 8);
    drop(desk);
    // The boot loader fell back later: what is below the floor is not taken, however well it is signed.
    let mut desk = bench.start(6);
    let reason = UpdateFailure::NotBooted;
    assert_eq!(bench.next(&mut desk).await, UpdateEvent::Failed { rollout, reason });
    bench.give(&desk, Offer { firmware: 7, floor: 7, ..bench.offer() });
    assert_eq!(bench.next(&mut desk).await, UpdateEvent::Refused { reason: UpdateRefusal::BelowFloor });
}

#[tokio::test]
async fn killed_after_any_step_it_goes_on_and_the_hook_sees_nothing_but_the_whole_artifact() {
    for steps in 0..3 {
        let bench = Bench::new(GOOD_HOOK, artifact());
        let mut desk = bench.start(7);
        bench.give(&desk, bench.offer());
        for _ in 0..=steps {
            let _step = bench.next(&mut desk).await;
        }
        drop(desk);
        for _restart in 0..2 {
            let mut desk = bench.start(7);
            while !bench.hook_ran() {
                tokio::task::yield_now().await;
                match tokio::time::timeout(Duration::from_millis(20), desk.next()).await {
                    Ok(Ok(Wanted::Tell(UpdateEvent::Failed { reason, .. }))) => {
                        panic!("after {steps} steps: {reason}");
                    }
                    Ok(Ok(Wanted::Ask(_))) => bench.answer(&desk),
                    Ok(Ok(Wanted::Tell(_))) | Err(_) => {}
                    Ok(Err(error)) => panic!("after {steps} steps: {error}"),
                }
            }
        }
        let digest: String = Sha384::digest(artifact()).iter().map(|byte| format!("{byte:02x}")).collect();
        let seen = fs::read_to_string(bench.path("ran")).unwrap();
        assert!(seen.lines().all(|line| line.starts_with(&digest)), "after {steps} steps: {seen}");
        let mut desk = bench.start(8);
        assert_eq!(bench.next(&mut desk).await, UpdateEvent::Running { firmware: 8, floor: 8 });
    }
}

/// One life of the worker: goes on with what lies on flash, takes the offer, and ends once it is installed or runs.
/// Started by the test below.
#[tokio::test]
#[ignore = "a life of the terminal in the test below, which starts it as a process of its own"]
async fn one_life() {
    let said = |name: &str| std::env::var(name).unwrap();
    let (dir, firmware) = (PathBuf::from(said("LIFE_DIR")), said("LIFE_FIRMWARE").parse().unwrap());
    let config: UpdateConfig = toml::from_str(&fs::read_to_string(dir.join("update.toml")).unwrap()).unwrap();
    let flash = FailingFlash::of_this_life(&folder(&dir));
    let mut desk =
        UpdateDesk::open_on(&config, identity(firmware), &dir, Box::new(flash), believed(NOW)).unwrap();
    let kept = || read(&FolderFlash::existing(&folder(&dir)).unwrap()).unwrap();
    let is_done = || match kept().job {
        Some(job) => matches!(job.step, Step::Installed { .. }) && firmware < 8,
        None => kept().floor == 8,
    };
    let answer = || Bytes::from(fs::read(dir.join("answer")).unwrap());
    desk.answered(answer(), sealed(NOW));
    while !is_done() {
        match desk.next().await.unwrap() {
            Wanted::Tell(event) => assert!(!matches!(event, UpdateEvent::Failed { .. }), "{event:?}"),
            Wanted::Ask(_) => desk.answered(answer(), sealed(NOW)),
        }
    }
}

/// Cuts the power of four lives at this step; the one between them and the last one keep it. True if the first life was
/// long enough.
async fn live_through(step: u64, loss: Loss) -> bool {
    let bench = Bench::new(GOOD_HOOK, artifact());
    let offer = bench.offer().sign(&bench.key).unwrap().encode();
    fs::write(bench.path("answer"), UpdateAnswer { ask_after_millis: 0, offer }.encode()).unwrap();
    let live = async |firmware: u32, cut: Option<(u64, Loss)>| {
        let mut life = tokio::process::Command::new(std::env::current_exe().unwrap());
        life.args(["--exact", "one_life", "--ignored", "--nocapture"]);
        life.env("LIFE_DIR", bench.dir.path()).env("LIFE_FIRMWARE", firmware.to_string());
        fail_at(&mut life, cut);
        let output = life.kill_on_drop(true).output().await.unwrap();
        let lived = output.status.success();
        let killed = output.status.signal() == Some(9);
        assert!(lived || (killed && cut.is_some()), "{cut:?}: {}", String::from_utf8_lossy(&output.stdout));
        lived
    };
    let first = live(7, Some((step, loss))).await;
    live(7, Some((step, loss))).await;
    live(7, None).await;
    assert_eq!(bench.floor(), 0, "what has not booted must not lock out what has: {step}, {loss:?}");
    live(8, Some((step, loss))).await;
    live(8, None).await;
    assert_eq!(bench.floor(), 8, "cut at step {step}, {loss:?}");
    let digest: String = Sha384::digest(artifact()).iter().map(|byte| format!("{byte:02x}")).collect();
    let seen = fs::read_to_string(bench.path("ran")).unwrap();
    assert!(seen.lines().all(|line| line.starts_with(&digest)), "cut at step {step}, {loss:?}: {seen}");
    !first
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_that_fails_at_any_written_step_of_an_update_ends_with_the_new_version_and_its_floor() {
    let mut reached = 0;
    for step in 0.. {
        let (nothing, unsynced) =
            tokio::join!(live_through(step, Loss::Nothing), live_through(step, Loss::Unsynced));
        if !nothing && !unsynced {
            break;
        }
        reached = step + 1;
    }
    // Taken, verified, installing, installed: four saves of four steps at the least.
    assert!(reached >= 16, "only {reached} steps were cut: the story is too short to mean anything");
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
        assert_eq!(bench.next(&mut desk).await, UpdateEvent::Refused { reason });
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
        assert_eq!(bench.next(&mut desk).await, UpdateEvent::Refused { reason });
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
        assert_eq!(bench.next(&mut desk).await, UpdateEvent::Taken { rollout, firmware: 8 });
        assert_eq!(bench.next(&mut desk).await, UpdateEvent::Failed { rollout, reason });
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
        let _taken = (bench.next(&mut desk).await, bench.next(&mut desk).await);
        assert_eq!(bench.next(&mut desk).await, UpdateEvent::Failed { rollout, reason });
        bench.give(&desk, bench.offer());
        // Another rollout of the same version is another matter.
        let other = RolloutId::from_bytes([10; 16]);
        bench.give(&desk, Offer { rollout: other, ..bench.offer() });
        assert_eq!(bench.next(&mut desk).await, UpdateEvent::Taken { rollout: other, firmware: 8 });
        assert_eq!(desk.failure(), None);
    }
}

/// Flash that can be read and takes nothing.
struct WornOut(FolderFlash);

impl Flash for WornOut {
    fn read(&self, name: &str) -> std::io::Result<Option<Vec<u8>>> {
        self.0.read(name)
    }

    fn write(&mut self, _name: &str, _bytes: &[u8]) -> std::io::Result<()> {
        Err(std::io::Error::other("worn out"))
    }

    fn sync_file(&mut self, name: &str) -> std::io::Result<()> {
        self.0.sync_file(name)
    }

    fn rename(&mut self, from: &str, to: &str) -> std::io::Result<()> {
        self.0.rename(from, to)
    }

    fn sync_names(&mut self) -> std::io::Result<()> {
        self.0.sync_names()
    }
}

#[tokio::test]
async fn flash_that_does_not_take_the_journal_ends_the_agent_rather_than_its_updates() {
    let bench = Bench::new(GOOD_HOOK, artifact());
    let dir = bench.dir.path();
    let flash = Box::new(WornOut(FolderFlash::open(&folder(dir)).unwrap()));
    let mut desk = UpdateDesk::open_on(&bench.config, identity(7), dir, flash, believed(NOW)).unwrap();
    bench.give(&desk, bench.offer());
    let error = loop {
        match tokio::time::timeout(Duration::from_secs(20), desk.next()).await.expect("nothing is told") {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(error.to_string().contains("worn out"), "{error}");
}
