//! Opaque cursors: where a page ended, bound to the query that it belongs to.
//!
//! ```text
//! cursor = base64url(position u64 BE ‖ first 8 bytes of SHA-256("muster cursor v1\0" ‖ query ‖ position))
//! ```
//!
//! No secret is in it and none is needed: a forged cursor only reads what may be read anyhow. The digest is there to
//! refuse a cursor of another query, which would leave out items in silence.

use super::refusal::Refused;
use super::shapes::Cursor;
use data_encoding::BASE64URL_NOPAD;
use sha2::{Digest, Sha256};

/// Items of a page, where the request names no limit and at most.
pub(super) const PAGE: usize = 100;
pub(super) const PAGE_MAX: usize = 1_000;

/// One page as asked for.
#[derive(Debug)]
pub(super) struct PageAsk {
    pub(super) limit: usize,
    /// Position of the first item to look at.
    pub(super) from: u64,
    query: String,
}

impl PageAsk {
    /// `query` names the list and its conditions, without cursor and limit.
    pub(super) fn new(query: String, after: Option<&Cursor>, limit: Option<usize>) -> Result<Self, Refused> {
        let limit = match limit.unwrap_or(PAGE) {
            limit @ 1..=PAGE_MAX => limit,
            got => {
                return Err(Refused::malformed(format!("query: `limit` is {got}, expected 1 to {PAGE_MAX}")));
            }
        };
        let from = match after {
            None => 0,
            Some(cursor) => read(&query, cursor)?,
        };
        Ok(PageAsk { limit, from, query })
    }

    /// The cursor of the page that begins at `position`.
    pub(super) fn next(&self, position: u64) -> Cursor {
        let bytes = [position.to_be_bytes(), binding(&self.query, position)].concat();
        Cursor(BASE64URL_NOPAD.encode(&bytes))
    }
}

fn read(query: &str, cursor: &Cursor) -> Result<u64, Refused> {
    let refused = || {
        Refused::malformed(
            "query: `after` is no cursor of this query; give `next` of the page before, unchanged",
        )
    };
    let bytes = BASE64URL_NOPAD.decode(cursor.0.as_bytes()).map_err(|_| refused())?;
    let (position, bound) = bytes.split_first_chunk::<8>().ok_or_else(refused)?;
    let position = u64::from_be_bytes(*position);
    if bound == binding(query, position) { Ok(position) } else { Err(refused()) }
}

fn binding(query: &str, position: u64) -> [u8; 8] {
    let mut hash = Sha256::new();
    hash.update(b"muster cursor v1\0");
    hash.update(query);
    hash.update(position.to_be_bytes());
    let digest: [u8; 32] = hash.finalize().into();
    let mut bound = [0; 8];
    bound.copy_from_slice(&digest[..8]);
    bound
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(query: &str, after: Option<&Cursor>) -> Result<PageAsk, Refused> {
        PageAsk::new(query.to_owned(), after, Some(10))
    }

    #[test]
    fn a_cursor_continues_its_own_query_and_no_other() {
        let next = ask("devices", None).unwrap().next(41);
        assert_eq!(ask("devices", Some(&next)).unwrap().from, 41);
        assert!(ask("devices lot_1", Some(&next)).is_err());
    }

    #[test]
    fn a_changed_or_invented_cursor_is_refused() {
        for text in ["", "AAAA", "not base64!", "AAAAAAAAACkAAAAAAAAAAA"] {
            assert!(ask("devices", Some(&Cursor(text.to_owned()))).is_err(), "{text}");
        }
    }
}
