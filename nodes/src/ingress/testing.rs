//! A log of one process without raft, for tests of ingress: it applies what is proposed, to one fold or to several,
//! and holds, lags or fails as the test says.

use super::Propose;
use crate::proposer::ProposeError;
use crate::shared_projector::SharedProjector;
use bytes::Bytes;
use events::batch::stamped;
use events::time::Timestamp;
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use projector::outcome::Outcomes;
use std::sync::Arc;
use tokio::sync::watch;

/// Clones are one log.
#[derive(Clone)]
pub struct LocalLog(Arc<Inner>);

struct Inner {
    leader: SharedProjector,
    entries: Mutex<Vec<Bytes>>,
    /// Followers, and how many entries each has applied.
    followers: Mutex<Vec<(SharedProjector, usize)>>,
    stamp: Mutex<Timestamp>,
    open: watch::Sender<bool>,
    failure: Mutex<Option<ProposeError>>,
}

impl LocalLog {
    /// A log that `leader` applies at once.
    #[must_use]
    pub fn new(leader: SharedProjector, stamp: Timestamp) -> Self {
        LocalLog(Arc::new(Inner {
            leader,
            entries: Mutex::default(),
            followers: Mutex::default(),
            stamp: Mutex::new(stamp),
            open: watch::Sender::new(true),
            failure: Mutex::default(),
        }))
    }

    /// Adds a fold that applies only when [`LocalLog::catch_up`] is called.
    pub fn add_follower(&self, follower: SharedProjector) {
        self.0.followers.lock().push((follower, 0));
    }

    /// Lets all followers apply everything.
    pub fn catch_up(&self) {
        let entries = self.0.entries.lock();
        for (follower, applied) in self.0.followers.lock().iter_mut() {
            for (at, payload) in entries.iter().enumerate().skip(*applied) {
                let _ = follower.apply(at as u64 + 1, payload);
            }
            *applied = entries.len();
            follower.publish_applied();
        }
    }

    /// Lets log time pass.
    pub fn advance(&self, millis: u64) {
        let mut stamp = self.0.stamp.lock();
        *stamp = stamp.plus_millis(millis);
    }

    /// While it is held, proposals wait.
    pub fn hold(&self, hold: bool) {
        self.0.open.send_replace(!hold);
    }

    /// From now on proposals fail with this, or succeed again.
    pub fn fail_with(&self, failure: Option<ProposeError>) {
        *self.0.failure.lock() = failure;
    }

    /// Payloads of all entries, the first of index 1.
    #[must_use]
    pub fn entries(&self) -> Vec<Bytes> {
        self.0.entries.lock().clone()
    }

    /// Appends and applies one batch.
    pub fn append(&self, batch: &[u8]) -> Result<Outcomes, ProposeError> {
        let mut entries = self.0.entries.lock();
        let payload = Bytes::from(stamped(*self.0.stamp.lock(), batch));
        let index = entries.len() as u64 + 1;
        let outcomes = self
            .0
            .leader
            .apply(index, &payload)
            .map_err(|error| ProposeError::Malformed { why: error.to_string() })?;
        entries.push(payload);
        drop(entries);
        self.0.leader.publish_applied();
        Ok(outcomes)
    }
}

impl Propose for LocalLog {
    fn propose(&self, batch: Vec<u8>) -> BoxFuture<'_, Result<Outcomes, ProposeError>> {
        async move {
            let mut open = self.0.open.subscribe();
            let _ = open.wait_for(|open| *open).await;
            if let Some(failure) = self.0.failure.lock().clone() {
                return Err(failure);
            }
            self.append(&batch)
        }
        .boxed()
    }
}
