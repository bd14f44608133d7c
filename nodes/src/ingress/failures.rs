//! What was opened for nothing, by source: not authentic, or repeated too often. Each costs as much as what is good, and the
//! messages of all sources wait for one task. A source that sends too much of it is not listened to any more, but for
//! sessions that were proven here. A ticket that does not count is not counted: it costs little, and where a region comes
//! back after an outage the tickets of honest terminals grow old in the queue.

use super::buckets::{Buckets, Rate};
use super::received::Received;
use parking_lot::Mutex;

/// A gateway whose terminals all lost their sessions at once is far below this; an attacker gets no more than it.
pub(super) const FAILURES: Rate = Rate { burst: 4_096, every_millis: 2 };
const SOURCES_MAX: usize = 65_536;

pub(super) struct Failures(Mutex<Buckets<Box<str>>>);

impl Failures {
    pub fn new(rate: Rate) -> Self {
        Failures(Mutex::new(Buckets::new(rate, SOURCES_MAX)))
    }

    /// One more of this source was opened for nothing, as far as this node can say.
    pub fn note(&self, received: &Received, now: u64) {
        self.0.lock().take(received.source().into(), now);
    }

    /// Whether there were so many of this source that nothing of it is worth a try.
    pub fn are_too_many(&self, received: &Received, now: u64) -> bool {
        !self.0.lock().has_token(received.source(), now)
    }
}
