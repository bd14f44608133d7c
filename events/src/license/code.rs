//! Activation code: 100 random bits in 20 symbols of Crockford's base32, and one check symbol.
//!
//! Written `XXXXX-XXXXX-XXXXX-XXXXX-X`. Read without regard to case, blanks and dashes; `O` is read as 0, `I` and `L`
//! as 1.
//!
//! The check symbol is of the same 32 symbols, not of Crockford's mod-37 set, whose `*~$=U` neither a phone keypad nor
//! a CSV file takes kindly. Symbols are elements of GF(32) = GF(2)[x] / (x⁵ + x² + 1), and with a = x
//!
//! ```text
//! check = a¹·s₁ + a²·s₂ + … + a²⁰·s₂₀
//! ```
//!
//! `a` generates all 31 non-zero elements, so the 21 weights (the check symbol's is a⁰) differ: one wrong symbol, and
//! any two symbols that changed places, are always detected; other errors in 31 of 32 cases.

use rand_core::CryptoRng;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Symbols without the check symbol.
pub const CODE_SYMBOLS: usize = 20;

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const GROUP: usize = 5;

/// What the customer buys. Printed only by `Display`, which is for labels and files that are sold; wiped when dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct ActivationCode {
    /// Values 0 to 31.
    symbols: [u8; CODE_SYMBOLS],
}

/// Why a text is no activation code. The text itself is not repeated: it may be all but one symbol of a real one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CodeError {
    #[error("an activation code has 21 letters and digits, got {0}")]
    Length(usize),
    #[error("letter {position} is none that a code can have (no U, no special characters)")]
    Symbol { position: usize },
    #[error("the code does not add up: a letter is wrong, or two changed places")]
    Check,
}

impl ActivationCode {
    pub fn generate(rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        let mut code = ActivationCode { symbols: [0; CODE_SYMBOLS] };
        rng.fill_bytes(&mut code.symbols);
        // 256 is a multiple of 32, so the low five bits are as even as the byte was.
        code.symbols.iter_mut().for_each(|symbol| *symbol &= 31);
        code
    }

    /// The 20 symbols as upper-case ASCII, without check symbol and dashes: what is sealed and digested.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<[u8; CODE_SYMBOLS]> {
        Zeroizing::new(self.symbols.map(|symbol| ALPHABET[usize::from(symbol)]))
    }

    /// Reads what [`ActivationCode::to_bytes`] wrote, and no other spelling.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CodeError> {
        let bytes: &[u8; CODE_SYMBOLS] = bytes.try_into().map_err(|_| CodeError::Length(bytes.len()))?;
        let mut code = ActivationCode { symbols: [0; CODE_SYMBOLS] };
        for (position, (symbol, byte)) in code.symbols.iter_mut().zip(bytes).enumerate() {
            let value = ALPHABET.iter().position(|known| known == byte);
            *symbol = value.ok_or(CodeError::Symbol { position: position + 1 })? as u8;
        }
        Ok(code)
    }

    fn check_symbol(&self) -> u8 {
        // Horner's rule from the last symbol: ((s₂₀·a + s₁₉)·a + … + s₁)·a.
        self.symbols.iter().rev().fold(0, |sum, symbol| times_a(sum ^ symbol))
    }
}

/// Multiplies by x in GF(2)[x] / (x⁵ + x² + 1).
fn times_a(value: u8) -> u8 {
    let shifted = value << 1;
    if shifted & 0b10_0000 == 0 { shifted } else { shifted ^ 0b10_0101 }
}

/// The value of a symbol as a person may write it.
fn read_symbol(letter: char) -> Option<u8> {
    let letter = match letter.to_ascii_uppercase() {
        'O' => '0',
        'I' | 'L' => '1',
        other => other,
    };
    let letter = u8::try_from(letter).ok()?;
    ALPHABET.iter().position(|known| *known == letter).map(|value| value as u8)
}

impl std::str::FromStr for ActivationCode {
    type Err = CodeError;
    fn from_str(text: &str) -> Result<Self, CodeError> {
        let letters = || text.chars().filter(|c| !c.is_whitespace() && *c != '-');
        let count = letters().count();
        if count != CODE_SYMBOLS + 1 {
            return Err(CodeError::Length(count));
        }
        let mut read = Zeroizing::new([0; CODE_SYMBOLS + 1]);
        for (position, letter) in letters().enumerate() {
            read[position] = read_symbol(letter).ok_or(CodeError::Symbol { position: position + 1 })?;
        }
        let code = ActivationCode { symbols: std::array::from_fn(|i| read[i]) };
        if code.check_symbol() == read[CODE_SYMBOLS] { Ok(code) } else { Err(CodeError::Check) }
    }
}

impl std::fmt::Display for ActivationCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for group in self.to_bytes().chunks(GROUP) {
            group.iter().try_for_each(|symbol| std::fmt::Write::write_char(f, char::from(*symbol)))?;
            f.write_str("-")?;
        }
        write!(f, "{}", char::from(ALPHABET[usize::from(self.check_symbol())]))
    }
}

impl std::fmt::Debug for ActivationCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ActivationCode(…)")
    }
}

impl PartialEq for ActivationCode {
    fn eq(&self, other: &Self) -> bool {
        self.symbols.ct_eq(&other.symbols).into()
    }
}

impl Eq for ActivationCode {}

#[cfg(test)]
mod tests;
