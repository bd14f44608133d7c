//! Free loopback ports for processes that must know each other's before they start.

use anyhow::{Context, Result};
use std::net::{SocketAddr, TcpListener};

/// So many distinct ports of 127.0.0.1 that were free a moment ago. Another program may take one meanwhile; the
/// child that then cannot listen says so and ends.
pub fn free(count: usize) -> Result<Vec<SocketAddr>> {
    // All are held at once, so that no port comes twice.
    let held = (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<std::io::Result<Vec<_>>>();
    let held = held.context("looking for free ports on 127.0.0.1")?;
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
