//! An artifact on its way to flash: resumed where it ended, bounded by the offer's size, checked over what lies in the
//! file. What a server says is never believed.
//!
//! Invariants:
//! - What lies on flash is written once a round, whatever a server sends again: flash wears, and who owns the way to the
//!   server owns what it sends.
//! - All that comes for one job is a small multiple of the artifact.

use super::http::{HttpClient, HttpError, Response};
use super::pace::{LEAST_BYTES, Pace};
use super::sink::{Sink, away};
use crate::shell::entropy::Entropy;
use events::update::{Offer, UpdateFailure};
use rand_core::Rng;
use rustix::fs::statvfs;
use sha2::{Digest, Sha384};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Tries in a row that bring nothing new worth the name, over all URLs.
const BARREN_TRIES_MAX: u32 = 12;
/// Tries in a row that reach nobody: some two days of them. A line or a server that is away says nothing of the image.
const UNREACHED_TRIES_MAX: u32 = 1_152;
/// Whole downloads that are begun anew because a continued one did not match.
const ROUNDS_MAX: u32 = 3;
/// What is received for one job, as a multiple of the artifact, and beside it for small ones.
const RECEIVED_MAX: u64 = 8;
const RECEIVED_BESIDE: u64 = 1024 * 1024;
/// Left alone on the disk, in bytes.
const SPACE_LEFT_ALONE: u64 = 16 * 1024 * 1024;
const BACKOFF_MAX: Duration = Duration::from_secs(300);

/// The file in the folder of updates.
const ARTIFACT: &str = "artifact";

/// One artifact and where it goes.
pub struct Download<'a> {
    offer: &'a Offer,
    file: PathBuf,
    folder: &'a Path,
    retry_first: Duration,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// All of it is on flash, and size and digest hold.
    Whole,
    Failed(UpdateFailure),
}

/// Why one try ended.
enum Try {
    /// The file has all bytes.
    Complete,
    /// The connection ended early, or was too slow; `brought` says whether it brought enough that was new.
    Broken {
        brought: bool,
    },
    /// Nobody could be asked.
    Unreached,
    /// This server has something else: another artifact, or a page of a portal on the way.
    OtherSize,
    /// More came than any honest place needs to send.
    TooMuch,
    Disk(io::Error),
}

impl<'a> Download<'a> {
    #[must_use]
    pub fn new(offer: &'a Offer, folder: &'a Path, retry_first: Duration) -> Self {
        Download { offer, file: artifact(folder), folder, retry_first }
    }

    /// Fetches what is missing. Safe to call again after any interruption.
    pub async fn fetch(&self, http: &mut HttpClient) -> Fetched {
        let mut received = 0;
        for _round in 0..ROUNDS_MAX {
            match self.round(http, &mut received).await {
                Ok(continued) => match self.verify().await {
                    Ok(true) => return Fetched::Whole,
                    // A power cut may have left holes in what came before it: once more, from the start.
                    Ok(false) if continued => {
                        tracing::warn!("a continued download does not match: begun anew")
                    }
                    Ok(false) => return self.discard(UpdateFailure::Digest).await,
                    Err(error) => return self.storage(&error).await,
                },
                Err(failed) => return failed,
            }
            if let Err(error) = self.remove().await {
                return self.storage(&error).await;
            }
        }
        self.discard(UpdateFailure::Digest).await
    }

    /// Gets the file to its full length; true if not all of it came in one go.
    async fn round(&self, http: &mut HttpClient, received: &mut u64) -> Result<bool, Fetched> {
        // Tries in a row that brought nothing, and how many of them met something else; those since that reached nobody.
        let (mut continued, mut barren, mut other_size, mut unreached) = (false, 0_u32, 0_u32, 0_u32);
        let (mut turn, mut some_are_away) = (0_usize, false);
        loop {
            let (have, fits) = match self.have().and_then(|have| Ok((have, self.fits(have)?))) {
                Ok(found) => found,
                Err(error) => return Err(self.storage(&error).await),
            };
            continued |= have > 0;
            if have == self.offer.size {
                return Ok(continued);
            }
            if !fits {
                return Err(self.discard(UpdateFailure::NoSpace).await);
            }
            let url = &self.offer.urls[turn % self.offer.urls.len()];
            turn += 1;
            match self.attempt(http, url, have, received).await {
                Try::Complete => return Ok(continued),
                Try::Broken { brought: true } => (barren, other_size, unreached, turn) = (0, 0, 0, 0),
                Try::Broken { brought: false } => (barren, unreached) = (barren + 1, 0),
                Try::Unreached => (unreached, some_are_away) = (unreached + 1, true),
                Try::OtherSize => {
                    tracing::info!(url, "something else than the artifact is served");
                    (barren, other_size, unreached) = (barren + 1, other_size + 1, 0);
                }
                Try::TooMuch => return Err(self.discard(UpdateFailure::Download).await),
                Try::Disk(error) => return Err(self.storage(&error).await),
            }
            if barren >= BARREN_TRIES_MAX || unreached >= UNREACHED_TRIES_MAX {
                // One portal or stale mirror is no verdict on the offer; all that is ever heard is.
                let nothing_else = other_size == barren && !some_are_away;
                let failure = if nothing_else { UpdateFailure::Size } else { UpdateFailure::Download };
                return Err(self.discard(failure).await);
            }
            sleep(self.jitter(barren.saturating_add(unreached))).await;
        }
    }

    async fn attempt(&self, http: &mut HttpClient, url: &str, have: u64, received: &mut u64) -> Try {
        match http.get(url, have).await {
            Ok(response) => self.receive(response, have, received).await,
            Err(error @ HttpError::Connect(_)) => {
                tracing::info!(url, have, %error, "nobody is there to download from; tried again");
                Try::Unreached
            }
            Err(error) => {
                tracing::info!(url, have, %error, "a download is tried again");
                Try::Broken { brought: false }
            }
        }
    }

    /// Writes what comes, and makes it durable however it ends.
    async fn receive(&self, mut response: Response, have: u64, received: &mut u64) -> Try {
        let promised =
            response.total.map(|total| if response.from == 0 { total } else { total.max(response.from) });
        if promised.is_some_and(|total| total != self.offer.size) {
            return Try::OtherSize;
        }
        let mut sink = match Sink::open(self.file.clone(), have).await {
            Ok(sink) => sink,
            Err(error) => return Try::Disk(error),
        };
        let most = self.offer.size.saturating_mul(RECEIVED_MAX).saturating_add(RECEIVED_BESIDE);
        let (mut at, mut pace) = (response.from, Pace::default());
        let ended = loop {
            let asked = Instant::now();
            match response.piece().await {
                Ok(None) if at == self.offer.size => break Try::Complete,
                Ok(None) => break Try::Broken { brought: at.saturating_sub(have) >= LEAST_BYTES },
                Ok(Some(piece)) => {
                    *received = received.saturating_add(piece.len() as u64);
                    let after = at + piece.len() as u64;
                    if after > self.offer.size {
                        break Try::OtherSize;
                    }
                    if *received > most {
                        tracing::warn!(received, "a download takes too much and is given up");
                        break Try::TooMuch;
                    }
                    // A server without ranges begins at 0 again: what lies on flash is passed over.
                    let known = have.saturating_sub(at).min(piece.len() as u64) as usize;
                    if let Err(error) = sink.write(&piece[known..]).await {
                        return Try::Disk(error);
                    }
                    at = after;
                    if at == self.offer.size {
                        break Try::Complete;
                    }
                    if !pace.keeps_up(piece.len() as u64, asked.elapsed()) {
                        tracing::info!(at, "a download is too slow and is tried elsewhere");
                        break Try::Broken { brought: at.saturating_sub(have) >= LEAST_BYTES };
                    }
                }
                Err(error @ (HttpError::Transfer(_) | HttpError::Silence)) => {
                    tracing::info!(at, %error, "a download was cut and goes on");
                    break Try::Broken { brought: at.saturating_sub(have) >= LEAST_BYTES };
                }
                Err(error) => {
                    tracing::info!(at, %error, "a download ended");
                    break Try::Broken { brought: false };
                }
            }
        };
        match sink.finish(self.folder).await {
            Ok(()) => ended,
            Err(error) => Try::Disk(error),
        }
    }

    /// Bytes in the file; a file that is too long is none of ours.
    fn have(&self) -> io::Result<u64> {
        match fs::metadata(&self.file) {
            Ok(found) if found.len() <= self.offer.size => Ok(found.len()),
            Ok(_) => discard(self.folder).map(|()| 0),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(error),
        }
    }

    fn fits(&self, have: u64) -> io::Result<bool> {
        let disk = statvfs(self.folder).map_err(io::Error::from)?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        Ok(free >= (self.offer.size - have).saturating_add(SPACE_LEFT_ALONE))
    }

    /// Whether the file on flash is what the offer says. Away from the agent's loop: it may take a while.
    pub async fn verify(&self) -> io::Result<bool> {
        let (file, size, digest) = (self.file.clone(), self.offer.size, self.offer.digest);
        away(move || holds(&file, size, &digest)).await
    }

    fn jitter(&self, barren: u32) -> Duration {
        let bound = self.retry_first.saturating_mul(1 << barren.min(16)).min(BACKOFF_MAX);
        Duration::from_millis(Entropy.next_u64() % (bound.as_millis() as u64).max(1))
    }

    async fn storage(&self, error: &io::Error) -> Fetched {
        tracing::error!(file = %self.file.display(), %error, "the artifact cannot be kept");
        if error.kind() == io::ErrorKind::StorageFull {
            return self.discard(UpdateFailure::NoSpace).await;
        }
        self.discard(UpdateFailure::Storage).await
    }

    async fn discard(&self, failure: UpdateFailure) -> Fetched {
        if let Err(error) = self.remove().await {
            tracing::error!(%error, "the artifact cannot be removed");
        }
        Fetched::Failed(failure)
    }

    async fn remove(&self) -> io::Result<()> {
        let folder = self.folder.to_owned();
        away(move || discard(&folder)).await
    }
}

/// The one file that an artifact goes to.
#[must_use]
pub(super) fn artifact(folder: &Path) -> PathBuf {
    folder.join(ARTIFACT)
}

pub(super) fn discard(folder: &Path) -> io::Result<()> {
    match fs::remove_file(artifact(folder)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => File::open(folder)?.sync_all(),
    }
}

/// What is not there, or not this user's any more, is fetched anew: an updater that is killed in the middle may have made the
/// file its own, as RAUC does.
const fn is_lost(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied)
}

fn holds(file: &Path, size: u64, digest: &[u8; 48]) -> io::Result<bool> {
    let mut file = match File::open(file) {
        Err(error) if is_lost(error.kind()) => return Ok(false),
        opened => opened?,
    };
    if file.metadata()?.len() != size {
        return Ok(false);
    }
    let (mut hash, mut buffer) = (Sha384::new(), vec![0; 64 * 1024]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hash.finalize().as_slice() == digest),
            read => hash.update(&buffer[..read]),
        }
    }
}

#[cfg(test)]
mod tests;
