//! The control socket: how a second `muster-agent` hands an activation code to the one that runs, and asks whether it lives.
//!
//! ```text
//! ask      {"activate":"<code>"}\n
//! answer   {"outcome":"granted","epoch":1}\n   or   {"outcome":"refused","reason":"…"}\n
//! ask      "alive"\n
//! answer   "alive"\n
//! ```
//!
//! Both are answered by the agent's own loop: the kernel takes connections for a process that hangs, too.
//! It lies in the state directory, which only the agent's own user may enter.

use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use zeroize::Zeroizing;

const NAME: &str = "control.sock";
const LINE_BYTES_MAX: u64 = 256;
/// Somebody who connects and says nothing is not waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// A loop that does not answer within this time hangs; what runs this as a health check waits longer.
pub const ALIVE_WITHIN: Duration = Duration::from_secs(2);
/// After an accept that failed.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    #[error("cannot use the control socket `{}`: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("the running agent gave no answer in time; it keeps trying, see `muster-agent status`")]
    NoAnswer,
}

/// What a caller may ask.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum Ask {
    Activate(Zeroizing<String>),
    Alive,
}

/// The loop's answer to [`Ask::Alive`].
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Life {
    Alive,
}

/// How an activation ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum ActivationOutcome {
    Granted { epoch: u32 },
    Refused { reason: String },
}

/// A code that somebody handed over, and where the outcome goes.
pub struct HandedCode {
    pub code: Zeroizing<String>,
    pub outcome: oneshot::Sender<ActivationOutcome>,
}

/// What a caller wants of the running agent's loop.
pub enum Handed {
    Code(HandedCode),
    /// Whether the loop still turns.
    Alive(oneshot::Sender<()>),
}

/// The running agent's end.
pub struct ControlSocket {
    path: PathBuf,
    handed: mpsc::Receiver<Handed>,
    listening: tokio::task::JoinHandle<()>,
}

impl ControlSocket {
    /// Needs the instance lock: a socket file of an agent that died is removed.
    pub fn listen(state_dir: &Path) -> Result<Self, ControlError> {
        let path = state_dir.join(NAME);
        let _ = std::fs::remove_file(&path);
        let listener =
            UnixListener::bind(&path).map_err(|source| ControlError::Io { path: path.clone(), source })?;
        let (sender, handed) = mpsc::channel(4);
        let listening = tokio::spawn(async move {
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => drop(tokio::spawn(serve(stream, sender.clone()))),
                    // Too many open files, most likely: that passes, and the socket must outlive it.
                    Err(error) => {
                        tracing::warn!(%error, "the control socket takes nobody for now");
                        tokio::time::sleep(ACCEPT_AGAIN_AFTER).await;
                    }
                }
            }
        });
        Ok(ControlSocket { path, handed, listening })
    }

    /// What the next caller wants. Safe to cancel.
    pub async fn next(&mut self) -> Option<Handed> {
        self.handed.recv().await
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        self.listening.abort();
        let _ = std::fs::remove_file(&self.path);
    }
}

/// One caller: one line in, one line out. Whoever speaks otherwise is hung up on.
async fn serve(stream: UnixStream, handed: mpsc::Sender<Handed>) {
    let (reader, mut writer) = stream.into_split();
    let mut line = Zeroizing::new(String::with_capacity(LINE_BYTES_MAX as usize));
    let mut reader = BufReader::new(reader.take(LINE_BYTES_MAX));
    let read = tokio::time::timeout(PATIENCE, reader.read_line(&mut line)).await;
    if !matches!(read, Ok(Ok(_))) {
        return;
    }
    let Ok(ask) = serde_json::from_str(&line) else { return };
    if let Some(mut text) = ask_the_loop(ask, &handed).await {
        text.push('\n');
        let _ = writer.write_all(text.as_bytes()).await;
    }
}

async fn ask_the_loop(ask: Ask, handed: &mpsc::Sender<Handed>) -> Option<String> {
    match ask {
        Ask::Activate(code) => {
            let (outcome, answer) = oneshot::channel();
            handed.send(Handed::Code(HandedCode { code, outcome })).await.ok()?;
            serde_json::to_string(&answer.await.ok()?).ok()
        }
        Ask::Alive => {
            let (alive, answer) = oneshot::channel();
            let asked = async {
                handed.send(Handed::Alive(alive)).await.ok()?;
                answer.await.ok()
            };
            // Who asked is gone by then; a loop that hangs must not collect the askers.
            tokio::time::timeout(PATIENCE, asked).await.ok()??;
            serde_json::to_string(&Life::Alive).ok()
        }
    }
}

/// Whether an agent runs on this state directory now.
#[must_use]
pub fn is_listening(state_dir: &Path) -> bool {
    std::os::unix::net::UnixStream::connect(state_dir.join(NAME)).is_ok()
}

/// Whether the agent that runs on this state directory answers: one that hangs listens, and answers nobody.
#[must_use]
pub fn is_alive(state_dir: &Path) -> bool {
    use std::io::{BufRead as _, Read as _, Write as _};
    let ask = || -> io::Result<bool> {
        let mut stream = std::os::unix::net::UnixStream::connect(state_dir.join(NAME))?;
        stream.set_read_timeout(Some(ALIVE_WITHIN))?;
        stream.set_write_timeout(Some(ALIVE_WITHIN))?;
        let mut line = serde_json::to_string(&Ask::Alive)?;
        line.push('\n');
        stream.write_all(line.as_bytes())?;
        let mut answer = String::new();
        std::io::BufReader::new(stream.take(LINE_BYTES_MAX)).read_line(&mut answer)?;
        Ok(serde_json::from_str(&answer).is_ok_and(|life: Life| life == Life::Alive))
    };
    ask().unwrap_or(false)
}

/// The caller's end: hands `code` to the running agent and waits for the outcome.
pub async fn hand_over(
    state_dir: &Path,
    code: &Zeroizing<String>,
    patience: Duration,
) -> Result<ActivationOutcome, ControlError> {
    let path = state_dir.join(NAME);
    let failed = |source: io::Error| ControlError::Io { path: path.clone(), source };
    let mut stream = UnixStream::connect(&path).await.map_err(failed)?;
    let ask = serde_json::to_string(&Ask::Activate(code.clone())).map(Zeroizing::new);
    let ask = ask.map_err(|error| failed(io::Error::other(error)))?;
    stream.write_all(ask.as_bytes()).await.map_err(failed)?;
    stream.write_all(b"\n").await.map_err(failed)?;
    let mut line = String::new();
    let mut reader = BufReader::new(stream);
    match tokio::time::timeout(patience, reader.read_line(&mut line)).await {
        Ok(Ok(read)) if read > 0 => serde_json::from_str(&line).map_err(|_| ControlError::NoAnswer),
        _ => Err(ControlError::NoAnswer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_code_reaches_the_running_agent_and_its_outcome_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let mut socket = ControlSocket::listen(folder.path()).unwrap();
        let code = Zeroizing::new("abc-def".to_owned());
        let caller = hand_over(folder.path(), &code, Duration::from_secs(10));
        let agent = async {
            let Some(Handed::Code(handed)) = socket.next().await else { panic!("a code was handed over") };
            assert_eq!(handed.code.as_str(), "abc-def");
            handed.outcome.send(ActivationOutcome::Granted { epoch: 7 }).unwrap();
        };
        let (outcome, ()) = tokio::join!(caller, agent);
        assert_eq!(outcome.unwrap(), ActivationOutcome::Granted { epoch: 7 });
    }

    #[tokio::test]
    async fn an_agent_lives_while_its_loop_answers_and_not_because_its_socket_listens() {
        let folder = tempfile::tempdir().unwrap();
        let mut socket = ControlSocket::listen(folder.path()).unwrap();
        let dir = folder.path().to_owned();
        let asking = tokio::task::spawn_blocking(move || is_alive(&dir));
        let Some(Handed::Alive(answer)) = socket.next().await else { panic!("somebody asked") };
        answer.send(()).unwrap();
        assert!(asking.await.unwrap());

        // The loop hangs: nobody takes what is handed over, and the socket still takes connections.
        let dir = folder.path().to_owned();
        let asking = tokio::task::spawn_blocking(move || (is_listening(&dir), is_alive(&dir)));
        assert_eq!(asking.await.unwrap(), (true, false));
        drop(socket);
        assert!(!is_alive(folder.path()));
    }

    #[tokio::test]
    async fn garbage_is_hung_up_on_and_the_next_caller_is_served() {
        let folder = tempfile::tempdir().unwrap();
        let mut socket = ControlSocket::listen(folder.path()).unwrap();
        for garbage in ["\n", "{\"deactivate\":1}\n", &"x".repeat(300)] {
            let mut stream = UnixStream::connect(folder.path().join(NAME)).await.unwrap();
            stream.write_all(garbage.as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            // A peer that closes with unread bytes resets; either way the stream ends without an answer.
            let _ = stream.read_to_end(&mut answer).await;
            assert!(answer.is_empty());
        }
        let code = Zeroizing::new("xyz".to_owned());
        let caller = hand_over(folder.path(), &code, Duration::from_secs(10));
        let agent = async { drop(socket.next().await.unwrap()) };
        let (outcome, ()) = tokio::join!(caller, agent);
        assert!(matches!(outcome, Err(ControlError::NoAnswer)));
    }
}
