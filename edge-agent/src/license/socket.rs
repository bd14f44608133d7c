//! The agent's end of the license socket. Everything about it is bounded: connections, bytes, time, signatures.

use super::gate::Gate;
use super::wire::{QUESTION_BYTES_MAX, Question, Reply};
use crate::machine::HandedLicense;
use crate::shell::clock::Clock;
use crate::shell::config::LicenseConfig;
use events::ids::AppName;
use events::license::LicenseRefusal;
use events::license::proof::NONCE_BYTES;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{sleep, timeout};

/// Connections at a time; the kernel's queue holds the others.
const SEATS: usize = 16;
/// Questions that wait for the agent's loop.
const WAITING_MAX: usize = 8;
/// Somebody who connects and says nothing, or does not read, is not waited for.
const PATIENCE: Duration = Duration::from_secs(2);
/// A pause after the kernel refused a connection, for example for want of descriptors.
const PAUSE: Duration = Duration::from_millis(200);

#[derive(Debug, thiserror::Error)]
#[error("cannot listen on the license socket `{}`: {source}", path.display())]
pub struct LicenseSocketError {
    path: PathBuf,
    source: io::Error,
}

/// A question that passed the gate, and where the answer goes.
pub struct Asked {
    pub app: AppName,
    pub nonce: [u8; NONCE_BYTES],
    pub answer: oneshot::Sender<Result<HandedLicense, LicenseRefusal>>,
}

/// The running agent's end; closed and removed when dropped.
pub struct LicenseSocket {
    path: PathBuf,
    questions: mpsc::Receiver<Asked>,
    listening: tokio::task::JoinHandle<()>,
}

impl LicenseSocket {
    /// None if the config lists no app. Needs the instance lock: the socket of an agent that died is removed.
    pub fn listen(config: &LicenseConfig) -> Result<Option<Self>, LicenseSocketError> {
        if config.apps.is_empty() {
            return Ok(None);
        }
        let path = config.socket.clone();
        let listener = bind(&path).map_err(|source| LicenseSocketError { path: path.clone(), source })?;
        let (sender, questions) = mpsc::channel(WAITING_MAX);
        let gate = Arc::new(Mutex::new(Gate::new(config.apps.clone())));
        let listening = tokio::spawn(accept(listener, Door { gate, sender, clock: Clock::start() }));
        Ok(Some(LicenseSocket { path, questions, listening }))
    }

    /// The next question. Safe to cancel.
    pub async fn next(&mut self) -> Option<Asked> {
        self.questions.recv().await
    }
}

impl Drop for LicenseSocket {
    fn drop(&mut self) {
        self.listening.abort();
        let _ = fs::remove_file(&self.path);
    }
}

/// Everybody may connect: who it is, the kernel says, and what he may, the gate.
fn bind(path: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o666))?;
    Ok(listener)
}

#[derive(Clone)]
struct Door {
    gate: Arc<Mutex<Gate>>,
    sender: mpsc::Sender<Asked>,
    clock: Clock,
}

async fn accept(listener: UnixListener, door: Door) {
    let seats = Arc::new(Semaphore::new(SEATS));
    while let Ok(seat) = seats.clone().acquire_owned().await {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "the license socket cannot take a connection");
                sleep(PAUSE).await;
                continue;
            }
        };
        let door = door.clone();
        tokio::spawn(async move {
            door.serve(stream).await;
            drop(seat);
        });
    }
}

/// A place that one user id holds.
struct Seat<'a> {
    gate: &'a Mutex<Gate>,
    uid: u32,
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        locked(self.gate).leave(self.uid);
    }
}

/// Nothing panics under this lock; if something did, its counters still hold.
fn locked(gate: &Mutex<Gate>) -> std::sync::MutexGuard<'_, Gate> {
    gate.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Door {
    /// One question, one answer.
    async fn serve(&self, mut stream: UnixStream) {
        let Ok(peer) = stream.peer_cred() else { return };
        let reply = Reply::from(self.judge(&mut stream, peer.uid()).await);
        if let Reply::Refused { refused, .. } = &reply {
            tracing::debug!(uid = peer.uid(), %refused, "a license question was refused");
        }
        let Ok(mut line) = serde_json::to_string(&reply) else { return };
        line.push('\n');
        let _gone = timeout(PATIENCE, stream.write_all(line.as_bytes())).await;
    }

    async fn judge(&self, stream: &mut UnixStream, uid: u32) -> Result<HandedLicense, LicenseRefusal> {
        locked(&self.gate).enter(uid)?;
        let _seat = Seat { gate: &self.gate, uid };
        let question = timeout(PATIENCE, read_question(stream)).await.ok().flatten();
        let question = question.ok_or(LicenseRefusal::Malformed)?;
        locked(&self.gate).ask(uid, &question.app, self.clock.now().monotonic_millis)?;
        let (answer, judged) = oneshot::channel();
        let asked = Asked { app: question.app, nonce: question.nonce.0, answer };
        self.sender.try_send(asked).map_err(|_| LicenseRefusal::Unavailable)?;
        match timeout(PATIENCE, judged).await {
            Ok(Ok(judged)) => judged,
            Ok(Err(_)) | Err(_) => Err(LicenseRefusal::Unavailable),
        }
    }
}

/// None for whatever is no question.
async fn read_question(stream: &mut UnixStream) -> Option<Question> {
    let mut line = Vec::with_capacity(QUESTION_BYTES_MAX);
    let mut reader = BufReader::with_capacity(QUESTION_BYTES_MAX, stream.take(QUESTION_BYTES_MAX as u64));
    reader.read_until(b'\n', &mut line).await.ok()?;
    line.pop_if(|last| *last == b'\n')?;
    serde_json::from_slice(&line).ok()
}
