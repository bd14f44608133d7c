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
    /// A write failed; the first reason stays.
    pub(super) fn set(&self, reason: &str) -> Poisoned {
        self.set_to(Poisoned::Failed(reason.into()))
    }

    /// Somebody found that the disk holds something else than was written; the first reason stays.
    pub(super) fn condemn(&self, reason: &str) -> Poisoned {
        self.set_to(Poisoned::Condemned(reason.into()))
    }

    fn set_to(&self, reason: Poisoned) -> Poisoned {
        let mut kept = reason;
        self.0.send_if_modified(|poisoned| match poisoned {
            Some(first) => {
                kept = first.clone();
                false
            }
            None => {
                tracing::error!(reason = %kept, "this node must end");
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
