//! Writes that carry a key: what follows in the batch is done once per key.

use super::step::Step;
use crate::outcome::{Decline, Outcome};
use events::vocabulary::RequestKeyed;

/// What the key at the head of the batch means for the events after it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Keyed {
    /// There is none.
    #[default]
    No,
    New(RequestKeyed),
    /// Done before; what follows is answered with this.
    Settled(Outcome),
}

impl Step<'_> {
    pub(crate) fn request_keyed(&mut self, event: RequestKeyed) -> Outcome {
        match self.state.requests.find(&event.key) {
            Some((content, first)) if content == event.content => {
                self.keyed = Keyed::Settled(Outcome::Repeated { first });
                Outcome::Repeated { first }
            }
            Some(_) => {
                self.keyed = Keyed::Settled(Outcome::Declined(Decline::KeyReused));
                Outcome::Declined(Decline::KeyReused)
            }
            None => {
                self.keyed = Keyed::New(event);
                Outcome::Accepted
            }
        }
    }

    /// Remembers the key if everything was done: what was refused is judged again when it comes again.
    pub(crate) fn close_request(&mut self, outcomes: &[Outcome]) {
        let Keyed::New(request) = std::mem::take(&mut self.keyed) else { return };
        let refused = |outcome: &Outcome| {
            matches!(outcome, Outcome::Declined(_) | Outcome::Refused(_) | Outcome::Raced { .. })
        };
        if !outcomes.iter().any(refused) {
            self.state.requests.remember(request.key, request.content, self.index);
        }
    }
}
