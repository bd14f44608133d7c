//! The bus in memory: one process, no network. For tests and simulation.

use super::{Bus, BusError, BusHealth, Message, Outgoing, Subject, Subscription};
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::{mpsc, watch};

/// A bus whose messages never leave the process. Clones are one bus.
#[derive(Clone)]
pub struct MemBus {
    shared: Arc<Shared>,
}

struct Shared {
    places: Mutex<Vec<Place>>,
    /// Counts joins and leaves.
    changes: watch::Sender<u64>,
    health: watch::Sender<BusHealth>,
}

/// One member of a queue group, or (without a group) a plain listener.
struct Place {
    pattern: Vec<String>,
    group: Option<String>,
    deliver: mpsc::UnboundedSender<Message>,
}

impl MemBus {
    #[must_use]
    pub fn new() -> Self {
        let (health, _) = watch::channel(BusHealth::Connected);
        let changes = watch::Sender::new(0);
        MemBus { shared: Arc::new(Shared { places: Mutex::new(Vec::new()), changes, health }) }
    }

    /// Sends one message as a terminal would; how many listeners took it.
    pub fn send(&self, message: Message) -> usize {
        self.shared.deliver(&message)
    }

    /// Listens to `pattern` outside of any group, as a terminal does to its inbox.
    #[must_use]
    pub fn listen(&self, pattern: &str) -> mpsc::UnboundedReceiver<Message> {
        self.shared.join(pattern, None)
    }

    /// How many members `group` has on all patterns together.
    #[must_use]
    pub fn members(&self, group: &str) -> usize {
        let mut places = self.shared.places.lock();
        places.retain(|place| !place.deliver.is_closed());
        places.iter().filter(|place| place.group.as_deref() == Some(group)).count()
    }

    /// Waits until `group` has `members` members on all patterns together.
    pub async fn until_members(&self, group: &str, members: usize) {
        let mut changes = self.shared.changes.subscribe();
        while self.members(group) != members {
            // The sender lives as long as this bus.
            let _ = changes.changed().await;
        }
    }

    /// Plays a change of the connection.
    pub fn set_health(&self, health: BusHealth) {
        self.shared.health.send_replace(health);
    }
}

impl Default for MemBus {
    fn default() -> Self {
        MemBus::new()
    }
}

impl Shared {
    fn join(&self, pattern: &str, group: Option<&str>) -> mpsc::UnboundedReceiver<Message> {
        let (deliver, received) = mpsc::unbounded_channel();
        let pattern = pattern.split('.').map(str::to_owned).collect();
        self.places.lock().push(Place { pattern, group: group.map(str::to_owned), deliver });
        self.changes.send_modify(|changes| *changes += 1);
        received
    }

    fn deliver(&self, message: &Message) -> usize {
        let mut places = self.places.lock();
        places.retain(|place| !place.deliver.is_closed());
        let mut served: Vec<String> = Vec::new();
        let mut taken = 0;
        for place in places.iter().filter(|place| place.matches(message.subject.as_str())) {
            // The first member of a group serves it; in this bus there is no nearest one.
            if let Some(group) = &place.group {
                if served.contains(group) {
                    continue;
                }
                served.push(group.clone());
            }
            taken += usize::from(place.deliver.send(message.clone()).is_ok());
        }
        taken
    }
}

impl Place {
    fn matches(&self, subject: &str) -> bool {
        let mut tokens = subject.split('.');
        for expected in &self.pattern {
            if expected == ">" {
                return tokens.next().is_some();
            }
            match tokens.next() {
                Some(token) if expected == "*" || expected == token => {}
                _ => return false,
            }
        }
        tokens.next().is_none()
    }
}

impl Bus for MemBus {
    fn subscribe<'a>(
        &'a self,
        pattern: &'a str,
        group: &'a str,
    ) -> BoxFuture<'a, Result<Box<dyn Subscription>, BusError>> {
        async move {
            let messages = self.shared.join(pattern, Some(group));
            let shared = Arc::clone(&self.shared);
            Ok(Box::new(MemSubscription { messages, shared }) as Box<dyn Subscription>)
        }
        .boxed()
    }

    fn publish<'a>(&'a self, burst: &'a mut Vec<Outgoing>) -> BoxFuture<'a, Result<(), BusError>> {
        async move {
            for Outgoing { subject, payload } in burst.drain(..) {
                self.shared.deliver(&Message { subject, reply: None, payload, trace: None });
            }
            Ok(())
        }
        .boxed()
    }

    fn health(&self) -> watch::Receiver<BusHealth> {
        self.shared.health.subscribe()
    }
}

struct MemSubscription {
    messages: mpsc::UnboundedReceiver<Message>,
    shared: Arc<Shared>,
}

impl MemSubscription {
    fn close(&mut self) {
        self.messages.close();
        self.shared.changes.send_modify(|changes| *changes += 1);
    }
}

impl Drop for MemSubscription {
    fn drop(&mut self) {
        self.close();
    }
}

impl Subscription for MemSubscription {
    fn poll_burst(&mut self, cx: &mut Context<'_>, into: &mut Vec<Message>, max: usize) -> Poll<bool> {
        let mut taken = 0;
        while taken < max {
            match self.messages.poll_recv(cx) {
                Poll::Ready(Some(message)) => into.push(message),
                Poll::Ready(None) => return Poll::Ready(false),
                Poll::Pending if taken == 0 => return Poll::Pending,
                Poll::Pending => break,
            }
            taken += 1;
        }
        Poll::Ready(true)
    }

    fn leave(&mut self) -> BoxFuture<'_, Result<(), BusError>> {
        self.close();
        async { Ok(()) }.boxed()
    }
}

impl Message {
    /// A message as a terminal publishes it.
    #[must_use]
    pub fn new(subject: impl Into<Subject>, reply: impl Into<Subject>, payload: impl Into<Bytes>) -> Self {
        Message { subject: subject.into(), reply: Some(reply.into()), payload: payload.into(), trace: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    async fn burst(subscription: &mut Box<dyn Subscription>) -> (Vec<Message>, bool) {
        let mut taken = Vec::new();
        let more = poll_fn(|cx| subscription.poll_burst(cx, &mut taken, 16)).await;
        (taken, more)
    }

    #[tokio::test]
    async fn one_member_of_a_group_gets_each_message_and_every_listener_does() {
        let bus = MemBus::new();
        let mut first = bus.subscribe("a.*.c", "nodes").await.unwrap();
        let _second = bus.subscribe("a.*.c", "nodes").await.unwrap();
        let mut listener = bus.listen("a.>");
        assert_eq!(bus.send(Message::new("a.b.c", "r", "1")), 2);
        assert_eq!(bus.send(Message::new("a.b.d", "r", "2")), 1);
        let (taken, more) = burst(&mut first).await;
        assert_eq!((taken.len(), more), (1, true));
        assert_eq!(listener.recv().await.unwrap().payload, "1");
        assert_eq!(listener.recv().await.unwrap().payload, "2");
    }

    #[tokio::test]
    async fn who_left_the_group_still_gets_what_was_delivered_and_then_the_end() {
        let bus = MemBus::new();
        let mut subscription = bus.subscribe("a", "nodes").await.unwrap();
        bus.send(Message::new("a", "r", "1"));
        subscription.leave().await.unwrap();
        assert_eq!(bus.members("nodes"), 0);
        assert_eq!(bus.send(Message::new("a", "r", "2")), 0);
        let (taken, _) = burst(&mut subscription).await;
        assert_eq!(taken.len(), 1);
        assert_eq!(burst(&mut subscription).await, (vec![], false));
    }

    impl PartialEq for Message {
        fn eq(&self, other: &Self) -> bool {
            self.subject == other.subject && self.payload == other.payload
        }
    }
}
