//! Back-off with full jitter: a region that comes back must not come back at one instant.

use super::settings::Settings;
use rand_core::CryptoRng;

/// A uniform number below `bound`; zero if `bound` is.
///
/// Widening multiplication instead of a modulo: its bias is below 2⁻³² for any bound that a delay can have.
pub fn below(bound: u64, rng: &mut dyn CryptoRng) -> u64 {
    ((u128::from(rng.next_u64()) * u128::from(bound)) >> 64) as u64
}

/// Milliseconds to wait before attempt number `attempt` (from 1): uniform below first · 2^(attempt-1), capped.
pub fn full_jitter(settings: &Settings, attempt: u32, rng: &mut dyn CryptoRng) -> u64 {
    let doubled = settings.backoff_first.saturating_mul(1_u64 << attempt.saturating_sub(1).min(32));
    below(doubled.min(settings.backoff_max), rng)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::entropy::Entropy;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_delay_never_exceeds_the_cap_nor_the_doubled_first_step(attempt in 0_u32..200, first in 0_u64..10_000, max in 0_u64..1_000_000) {
            let settings = Settings { backoff_first: first, backoff_max: max, ..Settings::default() };
            let delay = full_jitter(&settings, attempt, &mut Entropy);
            let doubled = first.saturating_mul(1 << attempt.saturating_sub(1).min(32));
            prop_assert!(delay <= max.min(doubled));
        }
    }

    #[test]
    fn a_thousand_terminals_spread_over_the_whole_range() {
        let settings = Settings { backoff_first: 1_000, backoff_max: 8_000, ..Settings::default() };
        let delays: Vec<u64> = (0..1_000).map(|_| full_jitter(&settings, 4, &mut Entropy)).collect();
        for eighth in 0..8 {
            let inside = delays.iter().filter(|delay| **delay / 1_000 == eighth).count();
            assert!((60..200).contains(&inside), "{inside} of 1000 delays in eighth {eighth}");
        }
    }
}
