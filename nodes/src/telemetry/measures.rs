//! What is measured where it happens, for the metrics: cheap, and shared by whoever measures.

use crate::storage::disk::{Disk, DiskFile, DiskLock};
use projector::Change;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// Measures of one node.
#[derive(Debug)]
pub struct Measures {
    /// How long `fdatasync` took, in seconds.
    pub fsync_seconds: Histogram,
    /// Bytes written to log and snapshots.
    pub written_bytes: Counter,
    /// How long the fold took for one entry, in seconds.
    pub apply_seconds: Histogram,
    /// Entries that the fold applied.
    pub entries: Counter,
    /// Events of those entries.
    pub events: Counter,
    /// Heartbeats of those entries that came as rows.
    pub heartbeats: Counter,
    /// Operations that the fold saw ordered or settled.
    pub operations: Family<OperationLabels, Counter>,
    /// From the arrival of a heartbeat at this node to its sealed verdict, in seconds.
    pub verdict_seconds: Histogram,
    /// Terms that began while this node ran.
    pub elections: Counter,
    /// Segments in this node's archive, their bytes, and the last entry of its own log in it.
    pub archived_segments: Gauge,
    pub archived_bytes: Gauge,
    pub archived_through: Gauge,
    /// 1 once a check found a damaged segment.
    pub damaged_segments: Gauge,
    /// How often the archive could not be written.
    pub archive_failures: Counter,
    /// How often no snapshot was made because there was no room for it.
    pub snapshots_skipped: Counter,
    /// How often history that peers gave was not what a signed checkpoint vouches for.
    pub histories_disbelieved: Counter,
}

/// What became of operations of a kind: `ordered`, or how it was settled.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OperationLabels {
    kind: String,
    became: String,
}

impl Measures {
    /// Counts what an applied entry did to operations.
    pub fn note_operations(&self, changes: &[Change]) {
        for change in changes {
            let (kind, became) = match change {
                Change::OperationOrdered { directive, .. } => (directive.kind, "ordered".to_owned()),
                Change::OperationSettled { kind, settlement, .. } => (*kind, settlement.to_string()),
                _ => continue,
            };
            self.operations.get_or_create(&OperationLabels { kind: kind.to_string(), became }).inc();
        }
    }
}

impl Default for Measures {
    fn default() -> Self {
        Measures {
            // 50 microseconds to 1.6 seconds.
            fsync_seconds: Histogram::new(exponential_buckets(0.000_05, 2.0, 16)),
            written_bytes: Counter::default(),
            // 10 microseconds to 80 milliseconds.
            apply_seconds: Histogram::new(exponential_buckets(0.000_01, 2.0, 14)),
            entries: Counter::default(),
            events: Counter::default(),
            heartbeats: Counter::default(),
            operations: Family::default(),
            // 1 millisecond to 32 seconds.
            verdict_seconds: Histogram::new(exponential_buckets(0.001, 2.0, 16)),
            elections: Counter::default(),
            archived_segments: Gauge::default(),
            archived_bytes: Gauge::default(),
            archived_through: Gauge::default(),
            damaged_segments: Gauge::default(),
            archive_failures: Counter::default(),
            snapshots_skipped: Counter::default(),
            histories_disbelieved: Counter::default(),
        }
    }
}

/// A disk that measures what is done on it.
pub struct MeasuredDisk {
    pub disk: Arc<dyn Disk>,
    pub measures: Arc<Measures>,
}

struct MeasuredFile {
    file: Arc<dyn DiskFile>,
    measures: Arc<Measures>,
}

impl MeasuredDisk {
    fn file(&self, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(MeasuredFile { file, measures: self.measures.clone() })
    }
}

impl Disk for MeasuredDisk {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.create_dir(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }

    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.open_read(path)
    }

    fn open_write(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.open_write(path).map(|file| self.file(file))
    }

    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.create_new(path).map(|file| self.file(file))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        self.disk.free_bytes(dir)
    }

    fn are_on_one(&self, dir: &Path, other: &Path) -> io::Result<bool> {
        self.disk.are_on_one(dir, other)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        self.disk.lock(path)
    }
}

impl DiskFile for MeasuredFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(offset, bytes)?;
        self.measures.written_bytes.inc_by(bytes.len() as u64);
        Ok(())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(offset, buffer)
    }

    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.file.truncate(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        let began = Instant::now();
        let synced = self.file.sync_data();
        self.measures.fsync_seconds.observe(began.elapsed().as_secs_f64());
        synced
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::disk::OsDisk;

    #[test]
    fn a_measured_disk_knows_what_the_disk_beneath_knows() {
        let dir = tempfile::tempdir().unwrap();
        let measured = MeasuredDisk { disk: Arc::new(OsDisk), measures: Arc::default() };
        assert!(measured.are_on_one(dir.path(), dir.path()).unwrap());
        assert!(measured.free_bytes(dir.path()).unwrap() < u64::MAX);
    }
}
