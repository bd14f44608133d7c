//! Whole-system suites live in `tests/`; this library holds what they share: the built programs, and a stage of real
//! processes.
//!
//! The programs are not built by the tests themselves: `./ops/test` does so before it runs them.

pub mod bench;

use ops::dev::DevPlan;
use ops::dev::nats::find_binary;
use ops::dev::stage::{Programs, Stage, set_up};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// A stage with its directory, which goes when it is dropped; everything that runs is killed before.
pub struct Staged {
    pub stage: Stage,
    pub dir: TempDir,
}

/// The workspace.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("")).to_owned()
}

/// The `muster` program that was built beside this test.
#[must_use]
pub fn muster() -> PathBuf {
    programs().muster
}

/// A nats-server that is new enough.
///
/// # Panics
/// If there is none; says how to get one.
#[must_use]
pub fn nats_server() -> PathBuf {
    find_binary(&root()).unwrap_or_else(|error| panic!("{error:#}"))
}

/// The built programs and a nats-server.
///
/// # Panics
/// If one of them is missing; says how to get it.
#[must_use]
pub fn programs() -> Programs {
    let test = std::env::current_exe().unwrap_or_else(|error| panic!("finding this test: {error}"));
    // Tests lie in `deps/` beside the programs.
    let beside = test.parent().and_then(Path::parent).unwrap_or(Path::new(""));
    Programs::of(beside.join("muster"), nats_server()).unwrap_or_else(|error| panic!("{error:#}"))
}

/// Three nodes, a nats-server, three agents and a fleet: all legitimate.
///
/// # Panics
/// If the stage does not stand within half a minute.
pub async fn staged(devices: u32) -> Staged {
    let dir = tempfile::tempdir().unwrap_or_else(|error| panic!("making a directory: {error}"));
    let plan = DevPlan {
        devices,
        nodes: 3,
        beat_for: Duration::ZERO,
        seed: 1,
        otlp: None,
        dir: Some(dir.path().to_owned()),
    };
    let silent = |_: &str| {};
    let stand = async {
        let mut stage = set_up(&programs(), &plan, dir.path(), &silent).await?;
        stage.wait_until_all_legitimate(Duration::from_secs(60)).await?;
        Ok::<_, ops::Error>(stage)
    };
    let stage = stand.await.unwrap_or_else(|error| panic!("the stage does not stand: {error:#}"));
    Staged { stage, dir }
}
