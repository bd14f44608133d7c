//! A disk in memory that forgets what was not synced, and fails on demand.

use nodes::storage::disk::{Disk, DiskFile, DiskLock};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Error, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const SECTOR: usize = 512;
/// What a kernel says of a device that failed.
const EIO: i32 = 5;

#[derive(Clone, Default)]
pub struct MemDisk(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    contents: Vec<Content>,
    locks: BTreeSet<PathBuf>,
    faults: Faults,
    operations: usize,
    syncs: usize,
    writes: usize,
    /// How often each operation was asked for.
    asked: BTreeMap<Op, usize>,
    late: Option<usize>,
}

#[derive(Clone, Default)]
struct Content {
    now: Vec<u8>,
    durable: Vec<u8>,
    /// Sectors that a sync has to write. A failed sync forgets them, as kernels do: what they hold is still read, and
    /// no later sync writes it.
    dirty: BTreeSet<usize>,
    /// What the device does not give back any more, however often it is asked: in bytes from the start of the file.
    unreadable: Option<(usize, usize)>,
}

/// What goes wrong, and when. Operations are everything that changes the disk, counted from 0.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// The power goes at this operation: it and all later ones fail.
    pub power_fails_at: Option<usize>,
    /// This sync of a file fails once, and what it should have written is forgotten, as kernels do.
    pub sync_fails_at: Option<usize>,
    /// This write puts a part of what it should and fails: (which write, how many bytes of it).
    pub write_fails_at: Option<(usize, usize)>,
    /// This operation fails once, alone, with an error of the device, and does nothing: (which kind, which of that kind).
    pub fails_at: Option<(Op, usize)>,
    /// The disk is full at this many bytes over all files: a write puts what fits and fails.
    pub capacity: Option<usize>,
    /// A planted bug: what a sync promises.
    pub sync: SyncPromise,
}

/// What a disk is asked for, reading and changing. Writes and syncs of files have faults of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Op {
    List,
    Open,
    Read,
    Length,
    CreateNew,
    Rename,
    Remove,
    Truncate,
    SyncDir,
}

impl Op {
    pub const ALL: [Op; 9] = [
        Op::List,
        Op::Open,
        Op::Read,
        Op::Length,
        Op::CreateNew,
        Op::Rename,
        Op::Remove,
        Op::Truncate,
        Op::SyncDir,
    ];
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SyncPromise {
    #[default]
    Kept,
    /// As if somebody had left out the fsync.
    Broken,
    /// As if somebody called back before the fsync: it happens with the next operation.
    Late,
}

/// What a power cut leaves of what was not synced.
#[derive(Clone, Copy, Debug)]
pub enum Left {
    Nothing,
    Everything,
    /// Some sectors and some names, by this seed.
    Some(u64),
}

impl MemDisk {
    pub fn with(faults: Faults) -> MemDisk {
        let disk = MemDisk::default();
        disk.0.lock().faults = faults;
        disk
    }

    pub fn as_disk(&self) -> Arc<dyn Disk> {
        Arc::new(self.clone())
    }

    /// What is on the disk when the power comes back.
    pub fn after_power_cut(&self, left: Left) -> MemDisk {
        let state = self.0.lock();
        let mut random = match left {
            Left::Nothing | Left::Everything => 1,
            Left::Some(seed) => seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
        };
        let mut keep = || match left {
            Left::Nothing => false,
            Left::Everything => true,
            Left::Some(_) => {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                random & 1 == 1
            }
        };
        let contents: Vec<Content> = state.contents.iter().map(|content| content.cut(&mut keep)).collect();
        let mut names = state.durable_names.clone();
        for path in state.names.keys().chain(state.durable_names.keys()) {
            if state.names.get(path) != state.durable_names.get(path) && keep() {
                match state.names.get(path) {
                    Some(id) => names.insert(path.clone(), *id),
                    None => names.remove(path),
                };
            }
        }
        let left = State { durable_names: names.clone(), names, contents, ..State::default() };
        MemDisk(Arc::new(Mutex::new(left)))
    }

    /// The power goes after so many more operations.
    pub fn cut_power_after(&self, operations: usize) {
        let mut state = self.0.lock();
        state.faults.power_fails_at = Some(state.operations + operations);
    }

    /// How many operations changed the disk so far.
    pub fn operations(&self) -> usize {
        self.0.lock().operations
    }

    /// How many syncs of files and writes were asked for so far.
    pub fn syncs_and_writes(&self) -> (usize, usize) {
        let state = self.0.lock();
        (state.syncs, state.writes)
    }

    /// Every way in which one operation of what was done here can fail alone.
    pub fn single_faults(&self) -> Vec<Faults> {
        let state = self.0.lock();
        let of = |op: Op| (0..state.asked.get(&op).copied().unwrap_or(0)).map(move |at| (op, at));
        let alone = Op::ALL.into_iter().flat_map(of);
        let others = alone.map(|at| Faults { fails_at: Some(at), ..Faults::default() });
        let syncs = (0..state.syncs).map(|at| Faults { sync_fails_at: Some(at), ..Faults::default() });
        let writes =
            (0..state.writes).map(|at| Faults { write_fails_at: Some((at, 30)), ..Faults::default() });
        others.chain(syncs).chain(writes).collect()
    }

    pub fn bytes(&self, path: &Path) -> Vec<u8> {
        let state = self.0.lock();
        state.contents[state.names[path]].now.clone()
    }

    /// Changes a file behind everybody's back, durably.
    pub fn tamper(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.0.lock();
        let id = state.names[path];
        let content = &mut state.contents[id];
        change(&mut content.now);
        content.durable = content.now.clone();
        content.dirty.clear();
    }

    /// From now on no read of the file that touches these bytes succeeds, as with a bad sector.
    pub fn make_unreadable(&self, path: &Path, from: usize, to: usize) {
        let mut state = self.0.lock();
        let id = state.names[path];
        state.contents[id].unreadable = Some((from, to));
    }

    /// Whether a part of any file cannot be read.
    pub fn has_unreadable(&self) -> bool {
        self.0.lock().contents.iter().any(|content| content.unreadable.is_some())
    }

    /// Removes a file behind everybody's back.
    pub fn lose(&self, path: &Path) {
        let mut state = self.0.lock();
        state.names.remove(path);
        state.durable_names.remove(path);
    }

    /// Puts a file there behind everybody's back.
    pub fn put(&self, path: &Path, bytes: Vec<u8>) {
        let mut state = self.0.lock();
        let id = state.contents.len();
        state.contents.push(Content { now: bytes.clone(), durable: bytes, ..Content::default() });
        state.names.insert(path.to_owned(), id);
        state.durable_names.insert(path.to_owned(), id);
    }

    /// Bytes over all files, as a capacity counts them.
    pub fn used(&self) -> usize {
        self.0.lock().used()
    }

    pub fn files(&self) -> Vec<PathBuf> {
        self.0.lock().names.keys().cloned().collect()
    }

    /// A copy with the same durable and volatile content, and without faults or locks.
    pub fn copy(&self) -> MemDisk {
        self.copy_with(Faults::default())
    }

    pub fn copy_with(&self, faults: Faults) -> MemDisk {
        let state = self.0.lock();
        MemDisk(Arc::new(Mutex::new(State {
            names: state.names.clone(),
            durable_names: state.durable_names.clone(),
            contents: state.contents.clone(),
            faults,
            ..State::default()
        })))
    }

    fn file(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.0.lock();
        state.ask(Op::Open)?;
        let id = *state.names.get(path).ok_or(ErrorKind::NotFound)?;
        Ok(Arc::new(MemFile { disk: self.clone(), id }))
    }
}

impl Content {
    fn cut(&self, keep: &mut impl FnMut() -> bool) -> Content {
        let mut bytes = self.durable.clone();
        let longest = self.now.len().max(self.durable.len());
        for start in (0..longest).step_by(SECTOR) {
            let end = start + SECTOR;
            let sector = |of: &Vec<u8>| of.get(start..end.min(of.len())).map(<[u8]>::to_vec);
            if sector(&self.now) == sector(&self.durable) || !keep() {
                continue;
            }
            match sector(&self.now) {
                Some(new) => {
                    bytes.resize(bytes.len().max(start + new.len()), 0);
                    bytes[start..start + new.len()].copy_from_slice(&new);
                }
                None => bytes.truncate(start),
            }
        }
        Content { now: bytes.clone(), durable: bytes, dirty: BTreeSet::new(), unreadable: self.unreadable }
    }

    fn touch(&mut self, from: usize, to: usize) {
        self.dirty.extend(from / SECTOR..to.div_ceil(SECTOR));
    }

    fn sync(&mut self) {
        self.durable.resize(self.now.len(), 0);
        for sector in std::mem::take(&mut self.dirty) {
            let (start, end) = (sector * SECTOR, ((sector + 1) * SECTOR).min(self.now.len()));
            if start < end {
                self.durable[start..end].copy_from_slice(&self.now[start..end]);
            }
        }
    }
}

impl State {
    fn ask(&mut self, op: Op) -> io::Result<()> {
        let asked = self.asked.entry(op).or_default();
        let this = (op, *asked);
        *asked += 1;
        if self.faults.fails_at == Some(this) { Err(Error::from_raw_os_error(EIO)) } else { Ok(()) }
    }

    fn change(&mut self) -> io::Result<()> {
        let operation = self.operations;
        self.operations += 1;
        if self.faults.power_fails_at.is_some_and(|at| operation >= at) {
            return Err(Error::other("the power is gone"));
        }
        if let Some(id) = self.late.take() {
            self.make_durable(id);
        }
        Ok(())
    }

    fn make_durable(&mut self, id: usize) {
        self.contents[id].sync();
    }

    fn used(&self) -> usize {
        self.contents.iter().map(|content| content.now.len()).sum()
    }
}

impl Disk for MemDisk {
    fn create_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut state = self.0.lock();
        state.ask(Op::List)?;
        let inside = state.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside.map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect())
    }

    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        let state = self.0.lock();
        let room = |capacity: usize| capacity.saturating_sub(state.used()) as u64;
        Ok(state.faults.capacity.map_or(u64::MAX, room))
    }

    fn are_on_one(&self, _: &Path, _: &Path) -> io::Result<bool> {
        Ok(true)
    }

    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.file(path)
    }

    fn open_write(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.file(path)
    }

    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.0.lock();
        state.change()?;
        state.ask(Op::CreateNew)?;
        if state.names.contains_key(path) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let id = state.contents.len();
        state.contents.push(Content::default());
        state.names.insert(path.to_owned(), id);
        Ok(Arc::new(MemFile { disk: self.clone(), id }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        state.change()?;
        state.ask(Op::Rename)?;
        let id = state.names.remove(from).ok_or(ErrorKind::NotFound)?;
        state.names.insert(to.to_owned(), id);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        state.change()?;
        state.ask(Op::Remove)?;
        state.names.remove(path).map(|_| ()).ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        state.change()?;
        state.ask(Op::SyncDir)?;
        let inside = |path: &Path| path.parent() == Some(dir);
        state.durable_names.retain(|path, _| !inside(path));
        let synced: Vec<_> =
            state.names.iter().filter(|(path, _)| inside(path)).map(|(p, id)| (p.clone(), *id)).collect();
        state.durable_names.extend(synced);
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        let taken = self.0.lock().locks.insert(path.to_owned());
        match taken {
            true => Ok(Box::new(MemLock { disk: self.clone(), path: path.to_owned() })),
            false => Err(ErrorKind::WouldBlock.into()),
        }
    }
}

struct MemFile {
    disk: MemDisk,
    id: usize,
}

impl DiskFile for MemFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        state.change()?;
        let room = state.faults.capacity.map_or(usize::MAX, |capacity| capacity.saturating_sub(state.used()));
        let write = state.writes;
        state.writes += 1;
        let failing = state.faults.write_fails_at.filter(|(at, _)| *at == write);
        let fits = failing.map_or(bytes.len(), |(_, part)| part).min(bytes.len()).min(room);
        let (content, start) = (&mut state.contents[self.id], offset as usize);
        content.now.resize(content.now.len().max(start + fits), 0);
        content.now[start..start + fits].copy_from_slice(&bytes[..fits]);
        content.touch(start, start + fits);
        match failing {
            Some(_) => Err(Error::other("the disk failed")),
            None if fits < bytes.len() => Err(ErrorKind::StorageFull.into()),
            None => Ok(()),
        }
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut state = self.disk.0.lock();
        state.ask(Op::Read)?;
        let content = &state.contents[self.id];
        let rest = content.now.get(offset as usize..).unwrap_or_default();
        let read = rest.len().min(buffer.len());
        let (start, end) = (offset as usize, offset as usize + read);
        if content.unreadable.is_some_and(|(from, to)| from < end && start < to) {
            return Err(Error::from_raw_os_error(EIO));
        }
        buffer[..read].copy_from_slice(&rest[..read]);
        Ok(read)
    }

    fn length(&self) -> io::Result<u64> {
        let mut state = self.disk.0.lock();
        state.ask(Op::Length)?;
        Ok(state.contents[self.id].now.len() as u64)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        state.change()?;
        state.ask(Op::Truncate)?;
        let content = &mut state.contents[self.id];
        content.now.truncate(length as usize);
        content.touch(length as usize, length as usize + 1);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        state.change()?;
        let sync = state.syncs;
        state.syncs += 1;
        if state.faults.sync_fails_at == Some(sync) {
            state.contents[self.id].dirty.clear();
            return Err(Error::other("the disk failed"));
        }
        match state.faults.sync {
            SyncPromise::Kept => state.make_durable(self.id),
            SyncPromise::Broken => {}
            SyncPromise::Late => state.late = Some(self.id),
        }
        Ok(())
    }
}

struct MemLock {
    disk: MemDisk,
    path: PathBuf,
}

impl DiskLock for MemLock {}

impl Drop for MemLock {
    fn drop(&mut self) {
        self.disk.0.lock().locks.remove(&self.path);
    }
}
