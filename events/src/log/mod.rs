//! How the log lies on disk: formats only; the disk is in `nodes`.
//!
//! ```text
//!   segment file = header ‖ frame ‖ frame ‖ …        one ordered stream over all segments
//!
//!   segment.rs  the header: whose file, which key, where the log stood when the file began
//!   frame.rs    length, checksum, sealing: one record at one place, and nowhere else
//!   record.rs   what a frame says: vote, entry, truncation, committed, purge floor, closed
//!   standing.rs where a log stands after a record, and which record may not follow
//!   keys.rs     key-encryption keys, and the keys derived from them
//!   header.rs   how a file's header proves itself
//!   snapshot.rs a snapshot of the projector: header and sealed parts
//!   merkle.rs   RFC 6962 hashes, and the frontier of a growing tree
//!   recent.rs   that tree as whoever follows a log keeps it: with the roots of its recent sizes
//!   proof.rs    what shows that a leaf is in that tree, or one tree the beginning of another
//!   prover.rs   makes such proofs while entries go by; proof_file.rs writes and checks them as text
//!   checkpoint.rs  a signed head of it
//!   leaf.rs     what a committed entry looks like as a leaf of that tree
//! ```
//!
//! Numbers are little endian. All offsets and lengths are in bytes.

pub mod checkpoint;
pub mod frame;
mod header;
pub mod keys;
pub mod leaf;
pub mod merkle;
pub mod proof;
pub mod proof_file;
pub mod prover;
pub mod recent;
pub mod record;
pub mod segment;
pub mod snapshot;
pub mod standing;
