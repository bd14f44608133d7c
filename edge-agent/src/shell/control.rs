//! The control socket: how a second `muster-agent` hands an activation code to the one that runs.
//!
//! ```text
//! ask      {"activate":"<code>"}\n
//! answer   {"outcome":"granted","epoch":1}\n   or   {"outcome":"refused","reason":"…"}\n
//! ```
//!
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

/// The running agent's end.
pub struct ControlSocket {
    path: PathBuf,
    codes: mpsc::Receiver<HandedCode>,
    listening: tokio::task::JoinHandle<()>,
}

impl ControlSocket {
    /// Needs the instance lock: a socket file of an agent that died is removed.
    pub fn listen(state_dir: &Path) -> Result<Self, ControlError> {
        let path = state_dir.join(NAME);
        let _ = std::fs::remove_file(&path);
        let listener =
            UnixListener::bind(&path).map_err(|source| ControlError::Io { path: path.clone(), source })?;
        let (sender, codes) = mpsc::channel(4);
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
        Ok(ControlSocket { path, codes, listening })
    }

    /// The next code handed over. Safe to cancel.
    pub async fn next(&mut self) -> Option<HandedCode> {
        self.codes.recv().await
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        self.listening.abort();
        let _ = std::fs::remove_file(&self.path);
    }
}

/// One caller: one line in, one line out. Whoever speaks otherwise is hung up on.
async fn serve(stream: UnixStream, codes: mpsc::Sender<HandedCode>) {
    let (reader, mut writer) = stream.into_split();
    let mut line = Zeroizing::new(String::with_capacity(LINE_BYTES_MAX as usize));
    let mut reader = BufReader::new(reader.take(LINE_BYTES_MAX));
    let read = tokio::time::timeout(PATIENCE, reader.read_line(&mut line)).await;
    if !matches!(read, Ok(Ok(_))) {
        return;
    }
    let Ok(Ask::Activate(code)) = serde_json::from_str(&line) else { return };
    let (outcome, answer) = oneshot::channel();
    if codes.send(HandedCode { code, outcome }).await.is_err() {
        return;
    }
    let Ok(answer) = answer.await else { return };
    if let Ok(mut text) = serde_json::to_string(&answer) {
        text.push('\n');
        let _ = writer.write_all(text.as_bytes()).await;
    }
}

/// Whether an agent runs on this state directory now.
#[must_use]
pub fn is_listening(state_dir: &Path) -> bool {
    std::os::unix::net::UnixStream::connect(state_dir.join(NAME)).is_ok()
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
            let handed = socket.next().await.unwrap();
            assert_eq!(handed.code.as_str(), "abc-def");
            handed.outcome.send(ActivationOutcome::Granted { epoch: 7 }).unwrap();
        };
        let (outcome, ()) = tokio::join!(caller, agent);
        assert_eq!(outcome.unwrap(), ActivationOutcome::Granted { epoch: 7 });
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
