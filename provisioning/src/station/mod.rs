//! A provisioning station on a factory line.
mod journal;
mod ledger;
mod medium;
mod step;
