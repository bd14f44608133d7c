//! A crowd of bounded size, before a door that is never shut: who comes when all places are taken takes the place of
//! another. Nobody is told to wait, since whoever fills a queue could make everybody wait.
//!
//! - A name that fills its own share pushes out its own; only a name that holds most gives a place up for others.
//! - Which of them gives way is for the owner to say.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub all: usize,
    /// Of those, of one name.
    pub share: usize,
}

pub(crate) struct Crowd<K, T> {
    bounds: Bounds,
    /// Who came first is first.
    present: Vec<Present<K, T>>,
    next: u64,
}

struct Present<K, T> {
    number: u64,
    name: K,
    who: T,
}

impl<K: Copy + Eq + Hash, T> Crowd<K, T> {
    pub fn new(bounds: Bounds) -> Self {
        Crowd { bounds, present: Vec::new(), next: 0 }
    }

    /// Makes room for one more of `name`: who has to give way to it, if anybody. Of those that may have to, the one of the
    /// lowest rank does, and of equal ones who came first.
    pub fn make_room<R: Ord>(&mut self, name: K, rank: impl Fn(&T) -> R) -> Option<T> {
        let mut held = HashMap::<K, usize>::new();
        for present in &self.present {
            *held.entry(present.name).or_default() += 1;
        }
        let most = held.values().copied().max().unwrap_or(0);
        let fills_its_share = held.get(&name).is_some_and(|own| *own >= self.bounds.share);
        let is_full = self.present.len() >= self.bounds.all;
        let gives_way = |of: &K| match fills_its_share {
            true => *of == name,
            false => is_full && held.get(of) == Some(&most),
        };
        let those = self.present.iter().enumerate().filter(|(_, present)| gives_way(&present.name));
        let (at, _) = those.min_by_key(|(_, present)| rank(&present.who))?;
        Some(self.present.remove(at).who)
    }

    /// Lets somebody in; `who` is told the number to leave with.
    pub fn enter(&mut self, name: K, who: impl FnOnce(u64) -> T) {
        let number = self.next;
        self.next += 1;
        self.present.push(Present { number, name, who: who(number) });
    }

    pub fn leave(&mut self, number: u64) {
        self.present.retain(|present| present.number != number);
    }

    #[cfg(test)]
    pub fn names(&self) -> impl Iterator<Item = K> + '_ {
        self.present.iter().map(|present| present.name)
    }
}

/// The name under which an address counts: whoever has one of version 6 has the 2^64 of its network.
pub(crate) fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        v4 @ IpAddr::V4(_) => v4,
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
    }
}
