//! A signed offer as a file: its bytes, or the text that `muster update sign` writes for people and mail programs.
//!
//! ```text
//! muster update offer v1
//! firmware 8 for lot_…. Public.
//! -----BEGIN MUSTER UPDATE OFFER-----
//! base64 in lines
//! -----END MUSTER UPDATE OFFER-----
//! ```

use data_encoding::BASE64;

/// What the text begins with; bytes begin with their version, 1.
pub const OFFER_TEXT_FIRST_LINE: &str = "muster update offer v1";
/// What stands between the dashes.
pub const OFFER_TEXT_LABEL: &str = "MUSTER UPDATE OFFER";

/// The bytes of a signed offer from a file in either form. None if it is text that was damaged; what is no such text is
/// returned as it is, for whoever parses offers to judge.
#[must_use]
pub fn offer_in_file(file: &[u8]) -> Option<Vec<u8>> {
    if !file.starts_with(OFFER_TEXT_FIRST_LINE.as_bytes()) {
        return Some(file.to_vec());
    }
    let text = std::str::from_utf8(file).ok()?;
    let (_, after) = text.split_once(&format!("-----BEGIN {OFFER_TEXT_LABEL}-----"))?;
    let (base64, _) = after.split_once(&format!("-----END {OFFER_TEXT_LABEL}-----"))?;
    let base64: String = base64.split_whitespace().collect();
    BASE64.decode(base64.as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(bytes: &[u8], line_end: &str) -> String {
        let base64 = BASE64.encode(bytes);
        let lines: Vec<&str> =
            base64.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
        let begin = format!("-----BEGIN {OFFER_TEXT_LABEL}-----");
        let end = format!("-----END {OFFER_TEXT_LABEL}-----");
        let all = [vec![OFFER_TEXT_FIRST_LINE, "a note", &begin], lines, vec![&end, ""]].concat();
        all.join(line_end)
    }

    proptest! {
        #[test]
        fn an_offer_is_found_in_its_text_and_in_its_bytes(rest: Vec<u8>) {
            let bytes = [vec![1], rest].concat();
            for file in [bytes.clone(), text(&bytes, "\n").into_bytes(), text(&bytes, "\r\n").into_bytes()] {
                prop_assert_eq!(offer_in_file(&file), Some(bytes.clone()));
            }
        }

        #[test]
        fn no_text_panics_the_reader(rest: Vec<u8>) {
            let _ = offer_in_file(&[OFFER_TEXT_FIRST_LINE.as_bytes(), &rest].concat());
        }
    }

    #[test]
    fn a_text_that_was_cut_is_no_offer() {
        let whole = text(&[1, 2, 3], "\n");
        assert_eq!(offer_in_file(&whole.as_bytes()[..whole.len() - 10]), None);
        assert_eq!(offer_in_file(whole.replace("AQID", "AQ*D").as_bytes()), None);
    }
}
