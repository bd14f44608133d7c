//! The calling end of one line: many calls under way on one stream, each answered by its number.
//!
//! A stream for each call would cost both ends three frames a message and the setting up of a stream; a line costs that
//! once.
//!
//! Invariants: a call is answered at most once; whoever waits when the line breaks hears that it broke, and nobody
//! waits on a line that is broken.

use super::codec::{Answer, encode_call, number_call, split_answer};
use super::message::{PeerReply, PeerRequest, decode};
use super::{PeerError, chain};
use bytes::Bytes;
use events::ids::NodeId;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

/// Calls that wait to be written; who comes then waits, within its own time.
const UNWRITTEN_MAX: usize = 64;

/// One line to one peer. Dropping it closes the stream.
pub(super) struct Line {
    node: NodeId,
    calls: mpsc::Sender<Bytes>,
    waiting: Arc<Mutex<Waiting>>,
}

/// Who waits for which answer; why nobody can any more.
struct Waiting {
    next: u64,
    answers: HashMap<u64, oneshot::Sender<Answer>>,
    broken: Option<String>,
}

impl Line {
    /// A line whose calls are the given stream, before anything is connected.
    pub fn new(node: NodeId) -> (Self, impl Stream<Item = Bytes> + Send + 'static) {
        let (calls, unwritten) = mpsc::channel(UNWRITTEN_MAX);
        let waiting = Waiting { next: 0, answers: HashMap::new(), broken: None };
        (Line { node, calls, waiting: Arc::new(Mutex::new(waiting)) }, ReceiverStream::new(unwritten))
    }

    /// Hands each of `answers` to who waits for it, until the stream ends.
    pub fn listen(&self, mut answers: Streaming<Bytes>) {
        let waiting = Arc::clone(&self.waiting);
        tokio::spawn(async move {
            let why = loop {
                match answers.message().await {
                    Ok(Some(answer)) => {
                        let Some((number, answer)) = split_answer(answer) else {
                            break "it sent what is no answer".to_owned();
                        };
                        let waiter = waiting.lock().answers.remove(&number);
                        if let Some(waiter) = waiter {
                            let _ = waiter.send(answer);
                        }
                    }
                    Ok(None) => break "it closed the line".to_owned(),
                    Err(status) => break ended(&status),
                }
            };
            let mut waiting = waiting.lock();
            waiting.broken = Some(why);
            // Dropping the senders tells all who wait.
            waiting.answers = HashMap::new();
        });
    }

    pub fn is_broken(&self) -> bool {
        self.waiting.lock().broken.is_some()
    }

    /// Asks, and waits for the answer as long as the line holds.
    pub async fn call(&self, request: &PeerRequest) -> Result<PeerReply, PeerError> {
        let node = self.node;
        let malformed = |why: String| PeerError::Malformed { node, why };
        let call = encode_call(request).map_err(|e| malformed(e.to_string()))?;
        let (number, answered) = self.wait_for_answer()?;
        let _gives_up = GiveUp { waiting: &self.waiting, number };
        if self.calls.send(number_call(call, number)).await.is_err() {
            return Err(self.broken());
        }
        match answered.await {
            Ok(Answer::Reply(reply)) => decode(&reply).map_err(|e| malformed(e.to_string())),
            Ok(Answer::Malformed(why)) => Err(malformed(why)),
            Err(_) => Err(self.broken()),
        }
    }

    fn wait_for_answer(&self) -> Result<(u64, oneshot::Receiver<Answer>), PeerError> {
        let mut waiting = self.waiting.lock();
        if waiting.broken.is_some() {
            drop(waiting);
            return Err(self.broken());
        }
        let (answer, answered) = oneshot::channel();
        let number = waiting.next;
        waiting.next += 1;
        waiting.answers.insert(number, answer);
        Ok((number, answered))
    }

    fn broken(&self) -> PeerError {
        let why = self.waiting.lock().broken.clone();
        PeerError::Unreachable { node: self.node, why: why.unwrap_or_else(|| "the line broke".to_owned()) }
    }
}

fn ended(status: &Status) -> String {
    format!("the line broke: {}", chain(status))
}

/// Nobody waits any more, however the call ended: its answer may still come.
struct GiveUp<'a> {
    waiting: &'a Mutex<Waiting>,
    number: u64,
}

impl Drop for GiveUp<'_> {
    fn drop(&mut self) {
        self.waiting.lock().answers.remove(&self.number);
    }
}
