//! Who a device is: what the factory burned, what the board says, and the key that follows from both.

pub mod certificate;
pub mod fingerprint;
#[cfg(test)]
pub(crate) mod fixtures;
pub mod key;
pub mod lot;
pub mod manifest;
pub mod otp;
