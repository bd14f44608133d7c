//! Factory and sales desk: keys, lots, stations, OTP burning, manifests, activation codes.
pub mod armor;
pub mod files;
pub mod otp;
pub mod station;
