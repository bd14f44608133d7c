//! The flag that a failed write leaves behind, for ever.

use super::error::Poisoned;
use tokio::sync::watch;

/// Shared between the writer, which sets it, and everybody who must stop.
#[derive(Clone, Debug)]
pub struct Poison(watch::Sender<Option<Poisoned>>);

impl Default for Poison {
    fn default() -> Self {
        Poison(watch::Sender::new(None))
    }
}

impl Poison {
    /// Sets the flag; the first reason stays.
    pub(super) fn set(&self, reason: &str) -> Poisoned {
        let mut kept = Poisoned(reason.into());
        self.0.send_if_modified(|poisoned| match poisoned {
            Some(first) => {
                kept = first.clone();
                false
            }
            None => {
                tracing::error!(reason, "storage failed; this node must end");
                *poisoned = Some(kept.clone());
                true
            }
        });
        kept
    }

    pub(super) fn check(&self) -> Result<(), Poisoned> {
        self.0.borrow().clone().map_or(Ok(()), Err)
    }

    /// Resolves once storage failed; the node then ends its process.
    pub async fn failed(&self) -> Poisoned {
        let mut receiver = self.0.subscribe();
        let poisoned = receiver.wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone());
        match poisoned {
            Some(poisoned) => poisoned,
            // The sender is `self`, so it outlives this borrow.
            None => std::future::pending().await,
        }
    }
}
