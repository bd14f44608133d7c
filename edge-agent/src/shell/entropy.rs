//! Randomness of the operating system, in the shape that the pure rooms expect.

use rand_core::{TryCryptoRng, TryRng};
use std::convert::Infallible;

/// `getrandom(2)`. It fails only where the kernel has no random source at all; going on without would reuse keys,
/// so the process ends.
#[derive(Clone, Copy, Debug, Default)]
pub struct Entropy;

impl TryRng for Entropy {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes).map(|()| u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes).map(|()| u64::from_le_bytes(bytes))
    }

    #[allow(clippy::expect_used, reason = "without entropy no key is safe: ending is the only right answer")]
    fn try_fill_bytes(&mut self, destination: &mut [u8]) -> Result<(), Infallible> {
        getrandom::fill(destination).expect("the kernel has a random source");
        Ok(())
    }
}

impl TryCryptoRng for Entropy {}
