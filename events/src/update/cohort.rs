//! A terminal's place in a rollout.

use crate::ids::RolloutId;

/// A rollout is cut into so many parts.
pub const PERMILLE: u16 = 1000;

/// The part, 0 to 999, in which a terminal gets a rollout: for ever the same, and for each rollout another, so that
/// not always the same terminals go first. `subject` is the device id, or the record digest of a terminal without a
/// key; both are digests, so that a mix of 64 bits spreads them evenly.
#[must_use]
pub fn cohort(rollout: &RolloutId, subject: &[u8; 16]) -> u16 {
    let half = |bytes: &[u8; 16], at: usize| u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
    let mut mixed = 0;
    for bytes in [rollout.as_bytes(), subject] {
        mixed = mix(mixed ^ half(bytes, 0));
        mixed = mix(mixed ^ half(bytes, 8));
    }
    (mixed % u64::from(PERMILLE)) as u16
}

/// The finalizer of SplitMix64: every bit of the result hangs on every bit that goes in.
const fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha384};

    fn subject(n: u32) -> [u8; 16] {
        let digest = Sha384::digest(n.to_le_bytes());
        std::array::from_fn(|i| digest[i])
    }

    #[test]
    fn a_tenth_of_the_parts_holds_about_a_tenth_of_the_terminals() {
        let rollout = RolloutId::from_bytes([7; 16]);
        let early = (0..10_000).filter(|n| cohort(&rollout, &subject(*n)) < 100).count();
        assert!((900..1100).contains(&early), "{early}");
    }

    #[test]
    fn another_rollout_begins_with_other_terminals() {
        let first = |rollout: u8| {
            let rollout = RolloutId::from_bytes([rollout; 16]);
            (0..1000).filter(move |n| cohort(&rollout, &subject(*n)) < 100).collect::<Vec<_>>()
        };
        let (one, two) = (first(1), first(2));
        let both = one.iter().filter(|n| two.contains(n)).count();
        assert!(both < one.len() / 3, "{both} of {}", one.len());
    }

    /// Nodes of two versions must agree on who is in a phase.
    #[test]
    fn the_part_of_a_terminal_never_changes() {
        let parts = [1, 2, 3].map(|n| cohort(&RolloutId::from_bytes([n; 16]), &subject(u32::from(n))));
        assert_eq!(parts, [442, 485, 283]);
    }
}
