//! Who may connect to the development cluster's NATS, and as what.

use super::nats::{Permissions, User};
use crate::cluster::random_text;
use events::ids::{DeviceId, LotId};
use nodes::entropy::OsEntropy;

/// The token by which a source that speaks for many devices tells its answers from others': it hears
/// `_INBOX_<any device>.<token>.…` and nothing else.
pub const FLEET_TOKEN: &str = "fleet";
pub const GUESSER_TOKEN: &str = "booth";

/// The fleet's source.
pub const FLEET: &str = "fleet";
/// The red team's sources.
pub const COPIER: &str = "market";
pub const BOARD: &str = "workshop";
pub const REPLAYER: &str = "relay";
pub const GUESSER: &str = "booth";
/// The wire's witness.
pub const TAP: &str = "tap";
/// The nodes' user.
pub const NODES: &str = "nodes";

/// The source of a shop with one terminal.
#[must_use]
pub fn shop(number: usize) -> String {
    format!("shop-{number}")
}

/// A user whose password is random.
#[must_use]
pub fn user(name: &str, may: Permissions) -> User {
    User { name: name.to_owned(), password: random_text(&OsEntropy, 16).to_string(), may }
}

/// A source with one terminal: it hears what is said to this device only.
#[must_use]
pub fn terminal_user(source: &str, device: DeviceId) -> User {
    user(source, Permissions::Source { source: source.to_owned(), inbox: format!("_INBOX_{device}.>") })
}

/// A source whose terminal has no key: there is nothing that could be said to it.
#[must_use]
pub fn keyless_user(source: &str, lot: LotId) -> User {
    user(source, Permissions::Source { source: source.to_owned(), inbox: format!("_INBOX_{lot}.>") })
}

/// A source that speaks for many devices.
#[must_use]
pub fn crowd_user(source: &str, token: &str) -> User {
    user(source, Permissions::Source { source: source.to_owned(), inbox: format!("*.{token}.>") })
}
