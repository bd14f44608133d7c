//! The only door to randomness.

use rand_core::{Infallible, TryCryptoRng, TryRng};

/// Cryptographically secure randomness of one node; simulation puts a seeded source in place.
pub trait Entropy: Send + Sync + 'static {
    fn fill(&self, bytes: &mut [u8]);

    /// A random number, for names such as the boot of a process.
    fn number(&self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }
}

/// The operating system's generator.
#[derive(Debug, Default, Clone, Copy)]
pub struct OsEntropy;

impl Entropy for OsEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        // A node without randomness must not seal anything: there is no way on.
        #[allow(clippy::expect_used, reason = "no key or nonce may be made without randomness")]
        getrandom::fill(bytes).expect("the operating system gives randomness");
    }
}

/// Lets an [`Entropy`] stand where a `rand_core::CryptoRng` is asked for.
#[derive(Clone, Copy)]
pub struct EntropyRng<'a>(pub &'a dyn Entropy);

impl TryRng for EntropyRng<'_> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.0.fill(&mut bytes);
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.0.number())
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.0.fill(bytes);
        Ok(())
    }
}

impl TryCryptoRng for EntropyRng<'_> {}
