//! Places of one kind, of which nobody has more than a share: whoever asks for too much at once waits for himself, and
//! nobody waits for him.

use crate::crowd::Bounds;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

/// The most that one caller has: this part of all places, rounded up.
const SHARE: usize = 4;

pub(super) struct Shares {
    bounds: Bounds,
    /// How many each caller has; who has none is not in it.
    held: Mutex<HashMap<String, usize>>,
}

/// One place; dropping it gives it back.
pub(super) struct SharePlace {
    shares: Arc<Shares>,
    caller: String,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// All are taken.
    All,
    /// There are places, and the caller has so many already.
    Share(usize),
}

impl Shares {
    pub fn of(all: usize) -> Arc<Self> {
        let bounds = Bounds { all, share: all.div_ceil(SHARE) };
        Arc::new(Shares { bounds, held: Mutex::default() })
    }

    /// How many places are taken.
    pub fn taken(&self) -> usize {
        self.held.lock().values().sum()
    }

    pub fn enter(self: &Arc<Self>, caller: &str) -> Result<SharePlace, Full> {
        let mut held = self.held.lock();
        let own = held.get(caller).copied().unwrap_or(0);
        if held.values().sum::<usize>() >= self.bounds.all {
            return Err(Full::All);
        }
        if own >= self.bounds.share {
            return Err(Full::Share(own));
        }
        held.insert(caller.to_owned(), own + 1);
        Ok(SharePlace { shares: Arc::clone(self), caller: caller.to_owned() })
    }
}

impl Drop for SharePlace {
    fn drop(&mut self) {
        let mut held = self.shares.held.lock();
        if let Some(own) = held.get_mut(&self.caller) {
            *own -= 1;
            if *own == 0 {
                held.remove(&self.caller);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_greedy_caller_fills_its_share_and_leaves_the_rest_to_others() {
        let shares = Shares::of(8);
        let mut greedy: Vec<_> = (0..2).map(|_| shares.enter("greedy").ok()).collect();
        assert_eq!(shares.enter("greedy").err(), Some(Full::Share(2)));
        let others: Vec<_> = (0..6).filter_map(|n| shares.enter(&format!("other-{n}")).ok()).collect();
        assert_eq!((others.len(), shares.taken()), (6, 8));
        assert_eq!(shares.enter("one more").err(), Some(Full::All));
        greedy.pop();
        assert!(shares.enter("one more").is_ok());
    }

    #[test]
    fn whoever_left_is_forgotten_and_a_single_place_is_anybodys() {
        let shares = Shares::of(1);
        for caller in ["kim", "lee", "kim"] {
            drop(shares.enter(caller).ok().unwrap());
        }
        assert!(shares.held.lock().is_empty());
    }
}
