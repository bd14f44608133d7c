//! What the service manager is told: ready, alive, stopping (`sd_notify(3)`), over its datagram socket.
//!
//! The agent's own loop sends the signs of life, so a loop that hangs is a service that is restarted.

use std::env;
use std::ffi::OsString;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

/// Without a service manager it says nothing to nobody.
pub struct Supervisor {
    socket: Option<UnixDatagram>,
    ticks: Option<tokio::time::Interval>,
}

impl Supervisor {
    /// Reads what the service manager left in the environment.
    #[must_use]
    pub fn from_environment() -> Self {
        let socket = env::var_os("NOTIFY_SOCKET").and_then(|name| connect(&name));
        let number = |name| env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
        let for_us = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|_| for_us && socket.is_some());
        Supervisor { socket, ticks: watchdog.map(ticks) }
    }

    pub fn ready(&self) {
        self.say("READY=1");
    }

    /// The start takes so much longer than it is used to.
    pub fn extend_start(&self, by: Duration) {
        self.say(&format!("EXTEND_TIMEOUT_USEC={}", by.as_micros()));
    }

    pub fn stopping(&self) {
        self.say("STOPPING=1");
    }

    /// One line for `systemctl status`.
    pub fn status(&self, status: &str) {
        self.say(&format!("STATUS={status}"));
    }

    /// Comes when a sign of life is due; never without a watchdog. Safe to cancel.
    pub async fn due(&mut self) {
        match &mut self.ticks {
            Some(ticks) => drop(ticks.tick().await),
            None => std::future::pending().await,
        }
    }

    pub fn alive(&self) {
        self.say("WATCHDOG=1");
    }

    /// A service manager that does not listen is no reason to stop a terminal.
    fn say(&self, what: &str) {
        if let Some(socket) = &self.socket
            && let Err(error) = socket.send(what.as_bytes())
        {
            tracing::debug!(%error, what, "the service manager does not listen");
        }
    }
}

/// Twice within the time that the service manager allows, as `sd_watchdog_enabled(3)` advises.
fn ticks(watchdog_usec: u64) -> tokio::time::Interval {
    let period = Duration::from_micros((watchdog_usec / 2).max(1_000));
    let mut ticks = interval_at(Instant::now() + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// A name that begins with `@` is of the abstract kind.
fn connect(name: &OsString) -> Option<UnixDatagram> {
    let address = match name.as_bytes().split_first()? {
        (b'@', name) => SocketAddr::from_abstract_name(name),
        _ => SocketAddr::from_pathname(name),
    };
    let socket = UnixDatagram::unbound().ok()?;
    socket.connect_addr(&address.ok()?).ok()?;
    // The agent's loop must not wait for the service manager.
    socket.set_nonblocking(true).ok()?;
    Some(socket)
}
