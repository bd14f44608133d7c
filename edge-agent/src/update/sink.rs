//! The artifact's file while it comes. It is written and synced away from the agent's loop: flash may take seconds for
//! what it is given, and neither heartbeats nor signs of life wait for it.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Gathered before they are written.
const WRITE_BYTES: usize = 256 * 1024;
/// Written before they are synced: the last sync of a large artifact would else take minutes.
const SYNC_BYTES: usize = 4 * 1024 * 1024;

pub(super) struct Sink {
    /// Away while it is written; lost with a write that failed.
    open: Option<Open>,
}

struct Open {
    file: File,
    gathered: Vec<u8>,
    unsynced: usize,
}

impl Sink {
    /// Opened for writing from byte `from` on.
    pub async fn open(file: PathBuf, from: u64) -> io::Result<Self> {
        let open = away(move || {
            let mut options = OpenOptions::new();
            let mut file = options.write(true).create(true).truncate(false).mode(0o600).open(file)?;
            if from > 0 {
                file.seek(SeekFrom::Start(from))?;
            }
            Ok(Open { file, gathered: Vec::with_capacity(WRITE_BYTES), unsynced: 0 })
        });
        Ok(Sink { open: Some(open.await?) })
    }

    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut open = self.take()?;
        open.gathered.extend_from_slice(bytes);
        if open.gathered.len() >= WRITE_BYTES {
            open = away(move || open.write()).await?;
        }
        self.open = Some(open);
        Ok(())
    }

    /// Returns once all of it is durable, and its name in `folder`.
    pub async fn finish(mut self, folder: &Path) -> io::Result<()> {
        let (open, folder) = (self.take()?, folder.to_owned());
        away(move || {
            open.write()?.file.sync_all()?;
            File::open(folder)?.sync_all()
        })
        .await
    }

    fn take(&mut self) -> io::Result<Open> {
        self.open.take().ok_or_else(|| io::Error::other("an earlier write of the artifact failed"))
    }
}

impl Open {
    fn write(mut self) -> io::Result<Self> {
        self.file.write_all(&self.gathered)?;
        self.unsynced += self.gathered.len();
        self.gathered.clear();
        if self.unsynced >= SYNC_BYTES {
            self.file.sync_data()?;
            self.unsynced = 0;
        }
        Ok(self)
    }
}

/// On a thread that may wait.
pub(super) async fn away<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}
