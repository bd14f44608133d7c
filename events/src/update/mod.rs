//! Software update: what is offered, to whom, and how a terminal asks for it.
//!
//! ```text
//!   offer.rs     what the update key signs: version, floor, artifact; verified before anything of it is believed
//!   scope.rs     which lots it is for
//!   request.rs   a terminal asks a node for the offer of its lot: unsealed, since a terminal without a key asks too
//!   cohort.rs    where a terminal stands in a rollout that goes out in phases
//!   text.rs      an offer in a file: bytes, or the text that people carry
//!   result.rs    why an offer is refused, why an update failed, and how a heartbeat says so
//! ```
//!
//! An offer is public. What makes it safe on an open wire is its signature, its floor and its end; what makes it
//! arrive in phases is politeness of the nodes, which no terminal relies on.

mod cohort;
mod offer;
mod request;
mod result;
mod scope;
mod text;

pub use cohort::{PERMILLE, cohort};
pub use offer::{Offer, OfferError, SignedOffer, UpdateKey};
pub use request::{ANSWER_BYTES_MAX, REQUEST_BYTES, UpdateAnswer, UpdateRequest};
pub use result::{UpdateFailure, UpdateRefusal, failure_in, with_failure};
pub use scope::UpdateScope;
pub use text::{OFFER_TEXT_FIRST_LINE, OFFER_TEXT_LABEL, offer_in_file};
