//! What is not authentic, by source: each costs as much as what is, and the messages of all sources wait for one task. A
//! source that sends too much of it is not listened to any more, but for sessions that were proven here.

use super::buckets::{Buckets, Rate};
use super::received::Received;
use events::ids::SourceName;
use parking_lot::Mutex;

/// A gateway whose terminals all lost their sessions at once is far below this; an attacker gets no more than it.
pub(super) const FAILURES: Rate = Rate { burst: 4_096, every_millis: 2 };
const SOURCES_MAX: usize = 65_536;

pub(super) struct Failures(Mutex<Buckets<SourceName>>);

impl Failures {
    pub fn new(rate: Rate) -> Self {
        Failures(Mutex::new(Buckets::new(rate, SOURCES_MAX)))
    }

    /// One more of this source was not authentic, as far as this node can say.
    pub fn note(&self, received: &Received, now: u64) {
        self.0.lock().take(received.source_name(), now);
    }

    /// Whether there were so many of this source that nothing of it is worth a try.
    pub fn are_too_many(&self, received: &Received, now: u64) -> bool {
        !self.0.lock().has_token(received.source(), now)
    }
}
