//! Free loopback ports for processes that must know each other's before they start.

use anyhow::{Context, Result};
use nodes::entropy::{Entropy, OsEntropy};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Range;

/// Below those that the system gives to outgoing connections: one of these would take a port between here and the child
/// that is to listen there.
const PORTS: Range<u16> = 20_000..32_000;

/// So many distinct ports of 127.0.0.1 that were free a moment ago. Another program may take one meanwhile; the
/// child that then cannot listen says so and ends.
pub fn free(count: usize) -> Result<Vec<SocketAddr>> {
    let all = PORTS.len() as u64;
    // From a random place on, so that those who look at the same time find others.
    let first = OsEntropy.number() % all;
    let tried = (0..all).map(|next| PORTS.start + ((first + next) % all) as u16);
    // All are held at once, so that no port comes twice.
    let held: Vec<_> =
        tried.filter_map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()).take(count).collect();
    anyhow::ensure!(held.len() == count, "{count} ports of 127.0.0.1 in {PORTS:?} are not free");
    held.iter().map(|listener| listener.local_addr().context("reading a free port")).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    #[test]
    fn ports_are_distinct() {
        let ports: BTreeSet<_> = super::free(16).unwrap().into_iter().collect();
        assert_eq!(ports.len(), 16);
    }
}
