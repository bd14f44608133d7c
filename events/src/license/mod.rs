//! What a device paid for: activation codes that customers type, license tokens that apps check offline.

pub mod code;
pub mod token;

pub use code::{ActivationCode, CodeError};
pub use token::{Claims, KeyThumbprint, TokenError};
