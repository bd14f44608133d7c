//! W3C Trace Context, level 1, section 3.2: one header that lets a node continue the trace of a request.
//!
//! ```text
//! traceparent = "00" "-" trace-id (32 hex) "-" parent-id (16 hex) "-" "01" (sampled)
//! ```

use rand_core::CryptoRng;

/// Name of the NATS header.
pub const HEADER: &str = "traceparent";

/// A fresh trace with one span. All-zero ids are invalid by the standard, so the lowest bit of each is set.
pub fn generate(rng: &mut dyn CryptoRng) -> String {
    let mut random = [0_u8; 24];
    rng.fill_bytes(&mut random);
    random[15] |= 1;
    random[23] |= 1;
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    format!("00-{}-{}-01", hex(&random[..16]), hex(&random[16..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::entropy::Entropy;

    #[test]
    fn a_traceparent_has_the_shape_of_the_standard_and_is_fresh() {
        let (one, two) = (generate(&mut Entropy), generate(&mut Entropy));
        let parts: Vec<&str> = one.split('-').collect();
        assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [2, 32, 16, 2]);
        assert!(
            parts.iter().all(|part| part.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase()))
        );
        assert_ne!(one, two);
    }
}
