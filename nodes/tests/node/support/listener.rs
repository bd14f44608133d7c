//! The other end of a webhook: takes, refuses, fails or hangs, and keeps what it took.

use super::{PATIENCE, in_time};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use nodes::config::{Secret, WebhookConfig};
use nodes::webhooks::SigningSecret;
use serde_json::Value;
use std::sync::Arc;
use tokio::sync::watch;

pub const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    Takes,
    /// Answers with this.
    Answers(u16),
    /// Reads the request and never answers.
    Hangs,
}

#[derive(Clone, Debug)]
pub struct Delivery {
    pub headers: HeaderMap,
    pub body: Bytes,
    pub event: Value,
}

impl Delivery {
    pub fn field(&self, name: &str) -> &str {
        self.event[name].as_str().unwrap()
    }
}

pub struct Listener {
    pub url: String,
    pub mood: watch::Sender<Mood>,
    /// All requests, whatever was answered.
    asked: watch::Sender<usize>,
    taken: watch::Sender<Vec<Delivery>>,
}

impl Listener {
    pub async fn start(mood: Mood) -> Arc<Self> {
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/muster", socket.local_addr().unwrap());
        let (mood, asked, taken) =
            (watch::Sender::new(mood), watch::Sender::new(0), watch::Sender::new(vec![]));
        let listener = Arc::new(Listener { url, mood, asked, taken });
        let app = Router::new().route("/muster", post(hear)).with_state(listener.clone());
        tokio::spawn(async move { axum::serve(socket, app).await });
        listener
    }

    pub fn webhook(&self, name: &str, events: &[&str]) -> WebhookConfig {
        WebhookConfig {
            name: name.to_owned(),
            url: Secret::new(self.url.clone()),
            secret: SigningSecret::parse(SECRET).unwrap(),
            events: events.iter().map(|&name| name.to_owned()).collect(),
            ca_file: None,
            timeout_ms: 60_000,
        }
    }

    pub fn taken(&self) -> Vec<Delivery> {
        self.taken.borrow().clone()
    }

    /// The types of what was taken, in the order in which it came.
    pub fn types(&self) -> Vec<String> {
        self.taken().iter().map(|delivery| delivery.field("type").to_owned()).collect()
    }

    /// Waits until what was taken is enough.
    pub async fn until(&self, what: &str, enough: impl Fn(&[Delivery]) -> bool) -> Vec<Delivery> {
        let mut taken = self.taken.subscribe();
        let found = tokio::time::timeout(PATIENCE, taken.wait_for(|taken| enough(taken))).await;
        found.unwrap_or_else(|_| panic!("in vain: {what}; taken: {:?}", self.types())).unwrap().clone()
    }

    pub async fn asked(&self, times: usize) {
        let mut asked = self.asked.subscribe();
        in_time("an attempt", asked.wait_for(|asked| *asked >= times)).await.unwrap();
    }
}

async fn hear(State(listener): State<Arc<Listener>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    listener.asked.send_modify(|asked| *asked += 1);
    let mut moods = listener.mood.subscribe();
    let mood = *moods.wait_for(|mood| *mood != Mood::Hangs).await.unwrap();
    if let Mood::Answers(status) = mood {
        return StatusCode::from_u16(status).unwrap();
    }
    let event = serde_json::from_slice(&body).unwrap();
    listener.taken.send_modify(|taken| taken.push(Delivery { headers, body, event }));
    StatusCode::NO_CONTENT
}
