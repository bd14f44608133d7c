//! A rollout that ends while terminals are fetching it: by a person, and by itself since one of them failed. What lies on
//! flash is not installed, and the terminals stay as they were, and ready for the next one.

use crate::support::muster_json;
use crate::update::{Desk, prepare_terminal, until};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};

/// What each connection gets before the gate.
const BEFORE_GATE: usize = 64 * 1024;

/// Serves `bytes` under any path, and stops in the middle of each answer until its gate opens.
struct GatedServer {
    url: String,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Default)]
struct Inner {
    open: bool,
    /// Connections that wait in the middle of their answer.
    waiting: usize,
}

impl GatedServer {
    /// With `bad`, the first connection gets those bytes, all at once.
    fn serve(bytes: Vec<u8>, bad: Option<Vec<u8>>) -> GatedServer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/box.raucb", listener.local_addr().unwrap());
        let state = Arc::<State>::default();
        let (bytes, mut bad, shared) = (Arc::new(bytes), bad, state.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, bytes, state, bad) =
                    (stream.unwrap(), bytes.clone(), shared.clone(), bad.take());
                std::thread::spawn(move || match bad {
                    Some(bad) => answer(stream, &bad, || ()),
                    None => answer(stream, &bytes, || state.pass()),
                });
            }
        });
        GatedServer { url, state }
    }

    fn waiting(&self) -> usize {
        self.state.inner.lock().unwrap().waiting
    }

    fn open(&self) {
        self.state.inner.lock().unwrap().open = true;
        self.state.changed.notify_all();
    }
}

impl State {
    fn pass(&self) {
        let mut inner = self.inner.lock().unwrap();
        inner.waiting += 1;
        while !inner.open {
            inner = self.changed.wait(inner).unwrap();
        }
        inner.waiting -= 1;
    }
}

fn answer(mut stream: TcpStream, bytes: &[u8], gate: impl FnOnce()) {
    let head = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let head: Vec<String> = head.take_while(|line| !line.is_empty()).collect();
    let range =
        head.iter().find_map(|line| line.to_lowercase().strip_prefix("range: bytes=").map(str::to_owned));
    let from: usize = range.map_or(0, |range| range.trim_end_matches('-').parse().unwrap());
    let status = if from == 0 { "200 OK" } else { "206 Partial Content" };
    let (rest, last, whole) = (&bytes[from..], bytes.len() - 1, bytes.len());
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nContent-Range: bytes {from}-{last}/{whole}\r\n\r\n",
        rest.len()
    );
    let (first, second) = rest.split_at(BEFORE_GATE.min(rest.len()));
    // Whoever went away will ask again.
    let sent = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(first));
    gate();
    let _gone = sent.and_then(|()| stream.write_all(second));
}

/// What a terminal's folder says of it.
struct Terminal {
    dir: std::path::PathBuf,
}

impl Terminal {
    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.dir.join(name)).unwrap_or_default()
    }

    /// How often its agent said that it came so far with this rollout.
    fn said(&self, step: &str, rollout: &str) -> usize {
        let (step, rollout) = (format!("\"step\":\"{step}\""), format!("\"{rollout}\""));
        self.text("events.jsonl")
            .lines()
            .filter(|line| line.contains(&step) && line.contains(&rollout))
            .count()
    }

    fn acknowledged(&self) -> usize {
        self.text("events.jsonl").matches("\"event\":\"acknowledged\"").count()
    }

    /// Runs version 1, no hook ran, and it goes on beating.
    async fn is_as_it_was(&self) {
        assert!(self.text("agent.toml").contains("firmware = 1\n"), "{}", self.text("agent.toml"));
        assert_eq!(self.text("hook.log"), "", "the hook ran");
        let before = self.acknowledged();
        until("another heartbeat", || (self.acknowledged() > before).then_some(())).await;
    }
}

/// Until every node applied what any of them has by now: then each of them knows how the rollout stands.
async fn until_all_nodes_know(dir: &Path) {
    let applied = || {
        let status = muster_json(dir, &["cluster", "status", "--context", "context.json"]);
        let nodes = status["nodes"].as_array().unwrap().clone();
        nodes.iter().map(|node| node["status"]["applied"].as_u64().unwrap_or(0)).collect::<Vec<_>>()
    };
    let reached = applied().into_iter().max().unwrap();
    until("all nodes", || applied().iter().all(|applied| *applied >= reached).then_some(())).await;
}

#[tokio::test]
async fn a_rollout_that_ends_in_the_middle_of_its_downloads_is_installed_nowhere_and_the_next_one_is() {
    let mut staged = tests::staged(5).await;
    let dir = staged.dir.path().to_owned();
    let keys = muster_json(&dir, &["keys", "update", "--dir", "updates"]);
    let mut terminals = Vec::new();
    for (home, running) in &mut staged.stage.agents {
        running.stop().await.unwrap();
        prepare_terminal(&home.config(), keys["public_key"].as_str().unwrap());
        *running = home.run().unwrap();
        terminals.push(Terminal { dir: home.config().parent().unwrap().to_owned() });
    }
    let desk = Desk { dir: &dir, lot: staged.stage.burned.lot.to_string() };
    let artifact: Vec<u8> = (0..250_000_u32).flat_map(u32::to_le_bytes).collect();
    let count = terminals.len();
    let all = |step: &'static str, rollout: &str| {
        terminals.iter().all(|terminal| terminal.said(step, rollout) > 0).then_some(())
    };

    // A person ends it while all of them are in the middle of it.
    let server = GatedServer::serve(artifact.clone(), None);
    let rollout = desk.offer(2, &artifact, &server.url);
    until("all to be in the middle", || (server.waiting() >= count).then_some(())).await;
    let abort = ["update", "abort", &rollout, "--reason", "it ends terminals", "--context", "context.json"];
    assert_eq!(muster_json(&dir, &abort)["update"]["standing"]["ended"], "aborted");
    until_all_nodes_know(&dir).await;
    server.open();
    until("all to hold it back", || all("held", &rollout)).await;
    for terminal in &terminals {
        assert_eq!((terminal.said("verified", &rollout), terminal.said("installed", &rollout)), (1, 0));
        terminal.is_as_it_was().await;
    }
    let status = desk.status(&rollout);
    assert_eq!((&status["installed"], &status["failed"]), (&0.into(), &serde_json::json!({})), "{status}");

    // One terminal gets what was not signed: that ends it for the others, in the middle.
    let mut altered = artifact.clone();
    altered[BEFORE_GATE] ^= 1;
    let server = GatedServer::serve(artifact.clone(), Some(altered));
    let rollout = desk.offer(3, &artifact, &server.url);
    until("the others to be in the middle", || (server.waiting() >= count - 1).then_some(())).await;
    until("the abort", || Some(desk.status(&rollout)).filter(|view| view["standing"]["ended"] == "aborted"))
        .await;
    until_all_nodes_know(&dir).await;
    server.open();
    until("the others to hold it back", || {
        let held = terminals.iter().filter(|terminal| terminal.said("held", &rollout) > 0).count();
        (held == count - 1).then_some(())
    })
    .await;
    for terminal in &terminals {
        assert_eq!(terminal.said("installed", &rollout), 0);
        terminal.is_as_it_was().await;
    }
    assert_eq!(desk.status(&rollout)["failed"], serde_json::json!({ "DIGEST": 1 }));

    // Nothing of it stands in the way of the next one.
    let server = GatedServer::serve(artifact.clone(), None);
    server.open();
    let rollout = desk.offer(4, &artifact, &server.url);
    until("all to install the next one", || all("installed", &rollout)).await;
    for terminal in &terminals {
        let hook = terminal.text("hook.log");
        assert!(hook.contains("MUSTER_UPDATE_FIRMWARE=4") && !hook.contains("_FIRMWARE=2"), "{hook}");
    }
}
