//! The disk under one node fills up, for real: it takes nothing in and says so, later it ends with a code of its own, and
//! with room again it comes back with everything.
//!
//! A small file system needs the right to mount one (root). Without it the story cannot be told, and says so.

use nodes::storage::disk::{Disk, OsDisk};
use ops::dev::evidence;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

/// A file system in memory; it is gone when this is dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(dir: &Path, bytes: u64) -> Option<Self> {
        std::fs::create_dir_all(dir).unwrap();
        let size = format!("size={bytes}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(dir).status();
        mounted.is_ok_and(|status| status.success()).then(|| SmallDisk(dir.to_owned()))
    }

    /// Leaves so many bytes.
    fn fill(&self, left: u64) {
        let ballast = self.0.join("ballast");
        let _ = std::fs::remove_file(&ballast);
        let free = OsDisk.free_bytes(&self.0).unwrap();
        match std::fs::write(&ballast, vec![0; (free - left) as usize]) {
            // The node wrote meanwhile, and took the rest.
            Err(error) if left == 0 && error.kind() == ErrorKind::StorageFull => {}
            written => written.unwrap(),
        }
    }

    fn empty(&self) {
        std::fs::remove_file(self.0.join("ballast")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// What `muster node health --json` says.
fn health(config: &Path) -> (bool, String) {
    let mut asked = Command::new(tests::muster());
    let said = asked.args(["node", "health", "--json", "--config"]).arg(config).output().unwrap();
    (said.status.success(), String::from_utf8_lossy(&said.stdout).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_stops_one_node_with_a_word_and_loses_nothing() {
    let mut staged = tests::staged(6).await;
    let node = 3;
    let data = staged.stage.cluster.data_directory(node).unwrap();
    let config = data.with_file_name("node.toml");
    staged.stage.cluster.stop(node).await.unwrap();
    let kept = data.with_file_name("kept");
    std::fs::rename(&data, &kept).unwrap();
    let Some(disk) = SmallDisk::mount(&data, 600 << 20) else {
        std::fs::rename(&kept, &data).unwrap();
        eprintln!("SKIPPED: no right to mount a small file system");
        return;
    };
    let copied = Command::new("cp").arg("-a").arg(format!("{}/.", kept.display())).arg(&data).status();
    assert!(copied.unwrap().success());
    staged.stage.cluster.start(node).unwrap();
    staged.stage.cluster.wait_until_ready().await.unwrap();
    until("it is ready", || health(&config).0);

    disk.fill(100 << 20);
    until("it says that there is no room", || health(&config).1.contains("NO_ROOM"));
    disk.empty();
    until("it is ready again", || health(&config).0);

    disk.fill(0);
    until("it ends", || staged.stage.cluster.still_running().is_err());
    let why = format!("{:#}", staged.stage.cluster.still_running().unwrap_err());
    assert!(why.contains("storage failed") && why.contains("segment-"), "{why}");
    assert!(why.contains("exit status: 6"), "{why}");

    disk.empty();
    staged.stage.cluster.kill(node).unwrap();
    staged.stage.cluster.start(node).unwrap();
    staged.stage.cluster.wait_until_ready().await.unwrap();
    let acknowledged = staged.stage.crowd.stop().await.unwrap();
    let names: std::collections::BTreeSet<_> = acknowledged.iter().map(|a| a.name).collect();
    let evidence = evidence::gather(&staged.stage.cluster).await.unwrap();
    assert_eq!(evidence.found_in_every_log(&names), names.len());
    staged.stage.cluster.stop(node).await.unwrap();
    drop(disk);
}
