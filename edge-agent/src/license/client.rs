//! The asking end: what `muster-agent license` does, and an example for apps in other languages.

use super::wire::{ANSWER_BYTES_MAX, Answer, Nonce, Question, Reply};
use events::ids::AppName;
use events::license::LicenseRefusal;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A whole exchange takes a few milliseconds; a busy agent says so.
const PATIENCE: Duration = Duration::from_secs(6);

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("LICENSE_SOCKET: cannot ask `{}`: {source}; does the agent run, and does its config list an app?", path.display())]
    Socket { path: PathBuf, source: io::Error },
    #[error("LICENSE_ANSWER: what answered on `{}` is no muster agent", .0.display())]
    Answer(PathBuf),
    #[error("LICENSE_PROOF: the proof does not hold for this app and nonce; whatever listens on `{}` is no agent", .0.display())]
    Proof(PathBuf),
    #[error("{refused}: {explained}")]
    Refused { refused: LicenseRefusal, explained: String },
}

/// Asks for the token of `app`, with a nonce that was never used before, and checks the proof.
pub fn ask(socket: &Path, app: &AppName, nonce: Nonce) -> Result<Answer, ClientError> {
    let failed = |source| ClientError::Socket { path: socket.to_owned(), source };
    let line = exchange(socket, &Question { app: app.clone(), nonce }).map_err(failed)?;
    match serde_json::from_slice(&line) {
        Ok(Reply::Handed(answer)) if answer.proves(app, nonce) => Ok(answer),
        Ok(Reply::Handed(_)) => Err(ClientError::Proof(socket.to_owned())),
        Ok(Reply::Refused { refused, explained }) => Err(ClientError::Refused { refused, explained }),
        Err(_) => Err(ClientError::Answer(socket.to_owned())),
    }
}

fn exchange(socket: &Path, question: &Question) -> io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = serde_json::to_vec(question).map_err(io::Error::other)?;
    line.push(b'\n');
    // Whoever refuses before it reads may hang up first; what it said is still there to read.
    let _hung_up = stream.write_all(&line);
    let mut answer = Vec::with_capacity(ANSWER_BYTES_MAX);
    BufReader::new(stream.take(ANSWER_BYTES_MAX as u64)).read_until(b'\n', &mut answer)?;
    Ok(answer)
}
