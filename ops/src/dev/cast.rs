//! Who plays what, and when: all of it follows from the seed.

use super::chance::Chance;
use super::stage::AGENTS;

/// Terminals whose credentials the guesser holds.
const OWNED_BY_GUESSER: usize = 6;

/// Choices of one scene. Terminals are counted in the order of their burning; the first ones are real agents.
#[derive(Clone, Debug, PartialEq)]
pub struct Cast {
    /// The agent that is copied completely.
    pub copied: usize,
    /// The copy uses the very connection of the original; else one of its own.
    pub copy_shares_connection: bool,
    /// The terminal whose OTP record is copied onto another board.
    pub record_of: usize,
    /// The terminal whose heartbeats are captured and sent again.
    pub replayed: usize,
    /// Terminals whose owner guesses codes with them.
    pub guessers: Vec<usize>,
    /// When the leader dies, as a part of the time in which terminals beat.
    pub leader_dies_at: f64,
}

impl Cast {
    /// Draws a cast for so many terminals, of which there are at least ten.
    #[must_use]
    pub fn draw(seed: u64, terminals: usize) -> Self {
        let mut chance = Chance::new(seed);
        let crowd = terminals.saturating_sub(AGENTS);
        let owned = OWNED_BY_GUESSER.min(crowd.saturating_sub(1));
        let mut drawn = chance.distinct(1 + owned, crowd).into_iter().map(|index| index + AGENTS);
        Cast {
            copied: chance.below(AGENTS),
            copy_shares_connection: chance.below(2) == 0,
            record_of: chance.below(terminals),
            replayed: drawn.next().unwrap_or(AGENTS),
            guessers: drawn.collect(),
            leader_dies_at: 0.45 + 0.15 * chance.fraction(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_victim_of_a_replay_is_honest_and_no_real_agent() {
        for seed in 0..200 {
            let cast = Cast::draw(seed, 10 + seed as usize);
            assert!(!cast.guessers.contains(&cast.replayed) && cast.replayed >= AGENTS, "{cast:?}");
            assert!(cast.copied < AGENTS && cast.record_of < 10 + seed as usize, "{cast:?}");
            assert!(!cast.guessers.is_empty() && (0.4..0.65).contains(&cast.leader_dies_at), "{cast:?}");
        }
    }

    #[test]
    fn seeds_differ_in_who_is_copied_and_how() {
        let casts: Vec<_> = (0..64).map(|seed| Cast::draw(seed, 200)).collect();
        assert!((0..AGENTS).all(|agent| casts.iter().any(|cast| cast.copied == agent)));
        assert!([true, false].iter().all(|shares| casts.iter().any(|c| c.copy_shares_connection == *shares)));
        assert_eq!(casts[7], Cast::draw(7, 200));
    }
}
