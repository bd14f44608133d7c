//! Closes the book of refusals in regular windows: what an attack leaves in the log is one bounded event each.

use super::desk::Desk;
use super::queue::{Favour, Refused as NoPlace};
use super::settle::EventWaiter;
use events::vocabulary::Event;
use events::vocabulary::rejection::RejectionReason;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

/// Closes a window every `length`, and a last one when `stop` turns true.
pub(super) async fn run(desk: Arc<Desk>, length: Duration, mut stop: watch::Receiver<bool>) {
    let mut windows = interval(length);
    windows.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = windows.tick() => close(&desk),
            _ = stop.wait_for(|stop| *stop) => break,
        }
    }
    close(&desk);
}

/// Proposes the window's summary, if anything was refused.
pub(super) fn close(desk: &Desk) {
    let Some(summary) = desk.close_window() else { return };
    let event = Event::from(summary.clone());
    let waiter = EventWaiter::Summary(Box::new(summary));
    let placed =
        desk.batcher.fill(desk.applied(), |queue| queue.event(&event, Favour::Favoured, None, waiter));
    if let Err(NoPlace::Full(waiter) | NoPlace::UnderWay(waiter) | NoPlace::Malformed(waiter, _)) = placed {
        // Back into the book; the next window says it.
        waiter.refuse(desk, RejectionReason::Unavailable);
    }
}
