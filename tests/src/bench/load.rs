//! The load generator: requests made ready before, a window of them in flight, or a steady pace.
//!
//! A few NATS connections with one task each; no task, timer or allocation per request but the client's own. What came
//! back is kept as it came and judged after the clock stopped.

use anyhow::{Context as _, Result, ensure};
use async_nats::{Client, Subject, Subscriber};
use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Nothing is waited for longer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
const TICK: Duration = Duration::from_millis(1);

/// One request, ready to be sent.
#[derive(Clone)]
pub struct Request {
    pub subject: Subject,
    /// Ends with `.<number>`, the request's place among those of its connection.
    pub reply: Subject,
    pub payload: Bytes,
}

/// A connection, and the subscription that hears all of its answers.
pub struct Connection {
    pub client: Client,
    pub answers: Subscriber,
}

/// How a connection sends.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// So many in flight at any time, for so long.
    Window(usize, Duration),
    /// So many a second, whatever comes back, for so long.
    PerSecond(f64, Duration),
}

/// What became of one connection's requests.
pub struct Sent {
    /// How many of the requests were sent: the first ones.
    pub count: usize,
    /// By request; none for what was not answered.
    pub answers: Vec<Option<Answer>>,
    pub began: Instant,
    pub ended: Instant,
}

pub struct Answer {
    pub payload: Bytes,
    /// From when it was due to be sent.
    pub after: Duration,
    pub at: Instant,
}

impl Connection {
    pub async fn open(client: Client, inbox: String) -> Result<Self> {
        let answers = client.subscribe(inbox).await.context("subscribing to answers")?;
        client.flush().await.context("flushing")?;
        Ok(Connection { client, answers })
    }
}

/// Sends on all connections at once; `requests` has one list for each.
pub async fn send(
    connections: Vec<Connection>,
    requests: &[Arc<Vec<Request>>],
    pace: Pace,
) -> Result<(Vec<Connection>, Vec<Sent>)> {
    ensure!(connections.len() == requests.len(), "one list of requests for each connection");
    let share = connections.len();
    let tasks: Vec<_> = connections
        .into_iter()
        .zip(requests)
        .map(|(connection, requests)| {
            let requests = Arc::clone(requests);
            tokio::spawn(async move {
                match pace {
                    Pace::Window(window, within) => {
                        windowed(connection, &requests, (window / share).max(1), within).await
                    }
                    Pace::PerSecond(rate, within) => {
                        paced(connection, &requests, rate / share as f64, within).await
                    }
                }
            })
        })
        .collect();
    let mut both = (Vec::new(), Vec::new());
    for task in tasks {
        let (connection, sent) = task.await.context("a task of the load generator")??;
        both.0.push(connection);
        both.1.push(sent);
    }
    Ok(both)
}

struct Book {
    due: Vec<Instant>,
    answers: Vec<Option<Answer>>,
    answered: usize,
}

impl Book {
    fn new(requests: usize) -> Self {
        Book {
            due: Vec::with_capacity(requests),
            answers: (0..requests).map(|_| None).collect(),
            answered: 0,
        }
    }

    /// Answers to earlier measurements carry numbers too: only what was sent now and not answered yet counts.
    fn note(&mut self, message: async_nats::Message) {
        let Some(number) = number_of(message.subject.as_str()) else { return };
        let (Some(&due), Some(place)) = (self.due.get(number), self.answers.get_mut(number)) else { return };
        if place.is_none() {
            let at = Instant::now();
            *place = Some(Answer { payload: message.payload, after: at.duration_since(due), at });
            self.answered += 1;
        }
    }

    fn in_flight(&self) -> usize {
        self.due.len() - self.answered
    }

    fn close(self, began: Instant) -> Sent {
        let ended = self.answers.iter().flatten().map(|answer| answer.at).max().unwrap_or_else(Instant::now);
        Sent { count: self.due.len(), answers: self.answers, began, ended }
    }
}

async fn publish(client: &Client, request: &Request) -> Result<()> {
    let Request { subject, reply, payload } = request.clone();
    client.publish_with_reply(subject, reply, payload).await.context("publishing a request")
}

async fn windowed(
    mut connection: Connection,
    requests: &[Request],
    window: usize,
    within: Duration,
) -> Result<(Connection, Sent)> {
    let mut book = Book::new(requests.len());
    let began = Instant::now();
    let last = began + within;
    let mut open = true;
    loop {
        while open && book.in_flight() < window {
            let now = Instant::now();
            let Some(request) = requests.get(book.due.len()).filter(|_| now < last) else {
                open = false;
                break;
            };
            book.due.push(now);
            publish(&connection.client, request).await?;
        }
        if book.in_flight() == 0 {
            break;
        }
        let Ok(first) = tokio::time::timeout(ANSWER_WITHIN, connection.answers.next()).await else { break };
        book.note(first.context("the connection was closed")?);
        while let Some(Some(message)) = connection.answers.next().now_or_never() {
            book.note(message);
        }
    }
    Ok((connection, book.close(began)))
}

async fn paced(
    mut connection: Connection,
    requests: &[Request],
    rate: f64,
    within: Duration,
) -> Result<(Connection, Sent)> {
    let mut book = Book::new(requests.len());
    let began = Instant::now();
    let mut tick = tokio::time::interval(TICK);
    while book.due.len() < requests.len() && began.elapsed() < within {
        tokio::select! {
            _ = tick.tick() => {
                let due = (began.elapsed().as_secs_f64() * rate) as usize;
                while book.due.len() < due.min(requests.len()) {
                    // What is late because of us counts as late.
                    let due_at = began + Duration::from_secs_f64(book.due.len() as f64 / rate);
                    let number = book.due.len();
                    book.due.push(due_at);
                    publish(&connection.client, &requests[number]).await?;
                }
            }
            message = connection.answers.next() => {
                book.note(message.context("the connection was closed")?);
                while let Some(Some(message)) = connection.answers.next().now_or_never() {
                    book.note(message);
                }
            }
        }
    }
    while book.in_flight() > 0 {
        let Ok(message) = tokio::time::timeout(ANSWER_WITHIN, connection.answers.next()).await else { break };
        book.note(message.context("the connection was closed")?);
    }
    Ok((connection, book.close(began)))
}

/// The last token of a subject.
pub fn number_of(subject: &str) -> Option<usize> {
    subject.rsplit('.').next()?.parse().ok()
}

/// So many requests of the same subject and payload, their answers below `inbox`.
pub fn alike(subject: &str, inbox: &str, payload: &Bytes, count: usize) -> Arc<Vec<Request>> {
    let subject = Subject::from(subject.to_owned());
    let one = |number| Request {
        subject: subject.clone(),
        reply: Subject::from(format!("{inbox}.{number}")),
        payload: payload.clone(),
    };
    Arc::new((0..count).map(one).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_names_its_request() {
        assert_eq!(number_of("_INBOX_dev_0.one.17"), Some(17));
        assert_eq!(number_of("_INBOX_dev_0.one.x"), None);
    }
}
