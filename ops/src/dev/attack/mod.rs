//! The red team of the scene: what design.md's enemies do, done with what they would have.
//!
//! ```text
//!   copy.rs     two copies: an OTP record on another board; a terminal with everything in it
//!   replay.rs   sealed heartbeats captured on the wire, sent again from elsewhere
//!   guess.rs    a source that owns some terminals and guesses activation codes
//! ```

mod copy;
mod guess;
mod replay;

pub use copy::{CopiedRecord, copied_terminal, copy_record};
pub use guess::{Guessed, Guesser};
pub use replay::Replayer;

use super::nats::User;
use anyhow::{Context as _, Result};

/// A connection as one of the server's users.
pub async fn connect(url: &str, user: &User) -> Result<async_nats::Client> {
    let options =
        async_nats::ConnectOptions::with_user_and_password(user.name.clone(), user.password.clone());
    options.connect(url).await.with_context(|| format!("connecting to NATS as {}", user.name))
}
