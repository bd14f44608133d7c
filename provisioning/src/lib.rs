//! Factory and sales desk: keys, lots, stations, OTP burning, manifests, activation codes.
//!
//! ```text
//!   ceremony ──▶ factory key ──▶ lot ──▶ lot.firmware.json ─────────────▶ the lot's firmware, its stations
//!       │                         │
//!       └──▶ keyring ──▶ nodes    └──▶ certificate ──▶ station ──▶ otp: terminals, burned once
//!       └──▶ cluster.public.json ─────────────────────────┘  └──▶ manifest ──▶ `muster manifest import`
//!
//!   codes ──▶ one CSV file ──▶ what is sold, and the cluster's API
//! ```
//!
//! A station is offline: it has its folder and the terminal that is connected to it. Randomness is the caller's
//! `rand_core::CryptoRng`, time the caller's [`events::time::Timestamp`]; files are written by `files` only.

pub mod armor;
pub mod ceremony;
pub mod codes;
pub mod components;
pub mod files;
pub mod lot;
pub mod manifest;
pub mod otp;
pub mod station;
