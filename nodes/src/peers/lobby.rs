//! Where connections wait that did not prove yet whose they are.
//!
//! - The lobby is bounded, in all and per address, and never shut: who comes when it is full takes the place of the one
//!   that waits longest, so a member, which is through in milliseconds, always finds one.
//! - An address that fills its own share pushes out its own; only the address that holds most pushes out for others.
//! - Members that proved themselves are not here any more: nobody who did not can take a place from them.

use crate::crowd::{Bounds, Crowd, network_of};
use parking_lot::Mutex;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::task::AbortHandle;

/// Connections in their handshake at one time, and of those from one address.
const WAITING_MAX: Bounds = Bounds { all: 256, share: 32 };

#[derive(Clone)]
pub(super) struct Lobby(Arc<Mutex<Crowd<IpAddr, AbortHandle>>>);

/// A place in the lobby; dropping it leaves.
pub(super) struct Place {
    lobby: Lobby,
    number: u64,
}

impl Default for Lobby {
    fn default() -> Self {
        Lobby(Arc::new(Mutex::new(Crowd::new(WAITING_MAX))))
    }
}

impl Lobby {
    /// Takes a place; true if another connection was pushed out for it. `handshake` starts the handshake, which holds
    /// the place until it is over.
    pub(super) fn enter(&self, address: IpAddr, handshake: impl FnOnce(Place) -> AbortHandle) -> bool {
        let address = network_of(address);
        let mut crowd = self.0.lock();
        // Who waits longest gives way.
        let pushed_out = crowd.make_room(address, |_| ());
        // The handshake may be over before it is entered here: it then waits for this lock to leave.
        crowd.enter(address, |number| handshake(Place { lobby: self.clone(), number }));
        drop(crowd);
        // Dropped without the lock: what is aborted gives its place back.
        let is_full = pushed_out.is_some();
        if let Some(pushed_out) = pushed_out {
            pushed_out.abort();
        }
        is_full
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.lobby.0.lock().leave(self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Handshakes that never end of themselves.
    async fn crowd(lobby: &Lobby, address: &str, count: usize) -> usize {
        let address = address.parse().unwrap();
        (0..count)
            .filter(|_| {
                lobby.enter(address, |place| {
                    tokio::spawn(async move {
                        let _place = place;
                        std::future::pending::<()>().await;
                    })
                    .abort_handle()
                })
            })
            .count()
    }

    fn held(lobby: &Lobby) -> BTreeMap<String, usize> {
        let mut held = BTreeMap::new();
        for address in lobby.0.lock().names() {
            *held.entry(address.to_string()).or_default() += 1;
        }
        held
    }

    #[tokio::test]
    async fn one_address_pushes_out_only_its_own() {
        let lobby = Lobby::default();
        crowd(&lobby, "10.0.0.2", 1).await;
        assert_eq!(crowd(&lobby, "10.0.0.1", 500).await, 500 - WAITING_MAX.share);
        assert_eq!(held(&lobby)["10.0.0.1"], WAITING_MAX.share);
        assert_eq!(held(&lobby)["10.0.0.2"], 1);
    }

    #[tokio::test]
    async fn many_addresses_fill_the_lobby_and_who_holds_most_gives_way() {
        let lobby = Lobby::default();
        for address in 0..8 {
            crowd(&lobby, &format!("10.0.1.{address}"), WAITING_MAX.share).await;
        }
        assert_eq!(crowd(&lobby, "10.0.0.2", 1).await, 1);
        assert_eq!(held(&lobby)["10.0.0.2"], 1);
        assert_eq!(held(&lobby).values().sum::<usize>(), WAITING_MAX.all);
    }

    #[tokio::test]
    async fn a_network_of_version_6_is_one_address_and_a_mapped_one_is_version_4() {
        let lobby = Lobby::default();
        crowd(&lobby, "2001:db8::1", 20).await;
        crowd(&lobby, "2001:db8::2", 20).await;
        crowd(&lobby, "::ffff:10.0.0.9", 1).await;
        assert_eq!(held(&lobby)["2001:db8::"], WAITING_MAX.share);
        assert_eq!(held(&lobby)["10.0.0.9"], 1);
    }

    #[tokio::test]
    async fn who_is_through_leaves_its_place() {
        let lobby = Lobby::default();
        let mut done = None;
        lobby.enter("10.0.0.1".parse().unwrap(), |place| {
            let task = tokio::spawn(async move { drop(place) });
            let handle = task.abort_handle();
            done = Some(task);
            handle
        });
        done.unwrap().await.unwrap();
        assert!(held(&lobby).is_empty());
    }
}
