//! What a device paid for: activation codes that customers type, license tokens that apps check offline.

pub mod code;
pub mod proof;
pub mod refusal;
pub mod token;

pub use code::{ActivationCode, CodeError};
pub use proof::ProofStatement;
pub use refusal::LicenseRefusal;
pub use token::{Claims, KeyThumbprint, TokenError};
