//! Answers that cost P-384, kept as they were sealed: the same bytes again get the same bytes again, which cost nothing
//! and tell nothing new to whoever repeats them.
//!
//! Invariants: bounded; an answer is found only by the very request that it answers, and the caller has checked that
//! its ticket still counts and that the log still says the same.

use bytes::Bytes;
use events::envelope::RequestDigest;
use events::ids::{CodeDigest, Epoch};
use events::vocabulary::rejection::RejectionReason;
use std::collections::{HashMap, VecDeque};

/// Answers kept: at most about 8 MiB.
const ANSWERS_MAX: usize = 4_096;

/// What an answer says, as far as it can grow stale.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    Granted(Epoch),
    /// With what the log said about this code.
    Refused(Option<CodeDigest>, Result<(), RejectionReason>),
}

pub(super) struct Answered {
    max: usize,
    known: HashMap<[u8; 16], (Said, Bytes)>,
    order: VecDeque<[u8; 16]>,
}

impl Answered {
    pub fn new() -> Self {
        Answered { max: ANSWERS_MAX, known: HashMap::new(), order: VecDeque::new() }
    }

    pub fn find(&self, request: &[u8]) -> Option<(Said, Bytes)> {
        self.known.get(&name(request)).cloned()
    }

    pub fn keep(&mut self, request: &[u8], said: Said, sealed: Bytes) {
        let name = name(request);
        if self.known.insert(name, (said, sealed)).is_some() {
            return;
        }
        self.order.push_back(name);
        if self.order.len() > self.max
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}

fn name(request: &[u8]) -> [u8; 16] {
    let digest = RequestDigest::of(request);
    std::array::from_fn(|i| digest.as_bytes()[i])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_found_by_its_request_alone_and_the_oldest_are_forgotten() {
        let mut answered = Answered { max: 2, ..Answered::new() };
        for request in [b"a", b"b", b"b", b"c"] {
            answered.keep(request, Said::Granted(1), Bytes::from_static(request));
        }
        assert_eq!(answered.find(b"a"), None);
        assert_eq!(answered.find(b"c"), Some((Said::Granted(1), Bytes::from_static(b"c"))));
        assert_eq!((answered.known.len(), answered.order.len()), (2, 2));
    }
}
