//! The operating system's disk, whose fsync is counted, and fails when a test says so.

use nodes::storage::disk::{Disk, DiskFile, DiskLock, OsDisk};
use parking_lot::{Condvar, Mutex};
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

#[derive(Clone, Default)]
pub struct FaultyDisk {
    syncs_fail: Arc<AtomicBool>,
    syncs: Arc<AtomicU64>,
    used_up: Arc<AtomicBool>,
    gate: Arc<Gate>,
    snapshots_refused: Arc<Mutex<Option<ErrorKind>>>,
}

/// Before a half-written file is begun.
#[derive(Default)]
struct Gate {
    shut: Mutex<bool>,
    opened: Condvar,
}

impl FaultyDisk {
    /// While it is shut, whoever begins to write a snapshot waits.
    pub fn shut_gate(&self, shut: bool) {
        *self.gate.shut.lock() = shut;
        self.gate.opened.notify_all();
    }

    /// From now on no snapshot can be written, for this reason; the log can.
    pub fn refuse_snapshots(&self, why: Option<ErrorKind>) {
        *self.snapshots_refused.lock() = why;
    }

    /// From now on a single byte is left.
    pub fn use_up(&self, used_up: bool) {
        self.used_up.store(used_up, Ordering::SeqCst);
    }

    /// Files made durable so far.
    pub fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::SeqCst)
    }

    pub fn fail_syncs(&self, fail: bool) {
        self.syncs_fail.store(fail, Ordering::SeqCst);
    }

    fn file(&self, inner: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(FaultyFile { inner, syncs_fail: self.syncs_fail.clone(), syncs: self.syncs.clone() })
    }
}

struct FaultyFile {
    inner: Arc<dyn DiskFile>,
    syncs_fail: Arc<AtomicBool>,
    syncs: Arc<AtomicU64>,
}

impl Disk for FaultyDisk {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        OsDisk.create_dir(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        OsDisk.list(dir)
    }

    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        OsDisk.open_read(path).map(|file| self.file(file))
    }

    fn open_write(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        OsDisk.open_write(path).map(|file| self.file(file))
    }

    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        if path.extension().is_some_and(|end| end == "tmp") && path.to_string_lossy().contains("snapshot-") {
            let mut shut = self.gate.shut.lock();
            self.gate.opened.wait_while(&mut shut, |shut| *shut);
            if let Some(why) = *self.snapshots_refused.lock() {
                return Err(why.into());
            }
        }
        OsDisk.create_new(path).map(|file| self.file(file))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        OsDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        OsDisk.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        OsDisk.sync_dir(dir)
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        if self.used_up.load(Ordering::SeqCst) { Ok(1) } else { OsDisk.free_bytes(dir) }
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        OsDisk.lock(path)
    }
}

impl DiskFile for FaultyFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.inner.write_at(offset, bytes)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read_at(offset, buffer)
    }

    fn length(&self) -> io::Result<u64> {
        self.inner.length()
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.inner.truncate(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.syncs_fail.load(Ordering::SeqCst) {
            return Err(io::Error::other("the test's disk is dying"));
        }
        self.syncs.fetch_add(1, Ordering::SeqCst);
        self.inner.sync_data()
    }
}
