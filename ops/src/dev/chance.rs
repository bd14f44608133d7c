//! Choices that a seed makes: who is attacked, and when. Never used for anything secret.

/// SplitMix64 (Steele, Lea, Flood: "Fast Splittable Pseudorandom Number Generators", 2014).
pub struct Chance(u64);

impl Chance {
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Chance(seed)
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 to `bound - 1`; 0 if `bound` is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = bound as u64;
        if bound == 0 { 0 } else { usize::try_from(self.number() % bound).unwrap_or(0) }
    }

    /// Draws every byte.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for part in bytes.chunks_mut(8) {
            part.copy_from_slice(&self.number().to_le_bytes()[..part.len()]);
        }
    }

    /// A number from 0 to 1.
    #[allow(clippy::cast_precision_loss, reason = "53 bits are enough for a moment within a scene")]
    pub fn fraction(&mut self) -> f64 {
        (self.number() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// So many distinct numbers below `bound`, in the order in which they were drawn.
    pub fn distinct(&mut self, count: usize, bound: usize) -> Vec<usize> {
        let mut all: Vec<usize> = (0..bound).collect();
        let mut drawn = Vec::with_capacity(count.min(bound));
        while drawn.len() < count && !all.is_empty() {
            drawn.push(all.swap_remove(self.below(all.len())));
        }
        drawn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_choices_and_another_one_others() {
        let draw = |seed| Chance::new(seed).distinct(5, 200);
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn drawn_numbers_are_distinct_and_within_bounds() {
        let mut drawn = Chance::new(3).distinct(50, 50);
        drawn.sort_unstable();
        assert_eq!(drawn, (0..50).collect::<Vec<_>>());
        let fraction = Chance::new(4).fraction();
        assert!((0.0..1.0).contains(&fraction));
    }
}
