//! Software update, the whole way: an offer that a person signed, real nodes, a real agent, and a server that cuts the
//! connection in the middle.

use crate::support::{muster, muster_json};
use ops::dev::sources;
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);
const CUT_AFTER: usize = 300_000;

/// Serves `bytes` under any path; the first answer ends early.
struct Server {
    url: String,
    /// First bytes asked for.
    asked: Arc<Mutex<Vec<usize>>>,
}

fn serve(bytes: Vec<u8>) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/box.raucb", listener.local_addr().unwrap());
    let asked: Arc<Mutex<Vec<usize>>> = Arc::default();
    let book = asked.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let head = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            let head: Vec<String> = head.take_while(|line| !line.is_empty()).collect();
            let range = head
                .iter()
                .find_map(|line| line.to_lowercase().strip_prefix("range: bytes=").map(str::to_owned));
            let from: usize = range.map_or(0, |range| range.trim_end_matches('-').parse().unwrap());
            let is_first = {
                let mut asked = book.lock().unwrap();
                asked.push(from);
                asked.len() == 1
            };
            let rest = &bytes[from..];
            let sent = if is_first { CUT_AFTER.min(rest.len()) } else { rest.len() };
            let status = if from == 0 { "200 OK" } else { "206 Partial Content" };
            let (last, whole) = (bytes.len() - 1, bytes.len());
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\nContent-Range: bytes {from}-{last}/{whole}\r\n\r\n",
                rest.len()
            );
            // Whoever went away will ask again.
            let _gone = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&rest[..sent]));
        }
    });
    Server { url, asked }
}

/// Waits until `look` finds something.
pub(crate) async fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The terminal's part: which key it believes, and a hook that checks what it was given and installs it by raising the
/// version in the configuration.
pub(crate) fn prepare_terminal(config: &Path, public_key: &str) {
    let folder = config.parent().unwrap();
    let hook = folder.join("install.sh");
    let script = format!(
        "#!/bin/sh\nset -eu\necho \"$MUSTER_UPDATE_SHA384  $MUSTER_UPDATE_FILE\" | sha384sum --check --status\n\
         env | grep '^MUSTER_' | sort >> {0}/hook.log\n\
         sed -i \"s/^firmware = .*/firmware = $MUSTER_UPDATE_FIRMWARE/\" {0}/agent.toml\n",
        folder.display()
    );
    fs::write(&hook, script).unwrap();
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    let mut text = fs::read_to_string(config).unwrap();
    text += &format!(
        "\n[update]\nkeys = [\"{public_key}\"]\nretry_first_ms = 50\n\n[update.install]\nraw = [\"{}\"]\n",
        hook.display()
    );
    fs::write(config, text).unwrap();
}

pub(crate) struct Desk<'a> {
    pub(crate) dir: &'a Path,
    pub(crate) lot: String,
}

impl Desk<'_> {
    /// Signs an offer of `artifact` and starts its rollout to everybody; returns its id.
    pub(crate) fn offer(&self, firmware: u32, artifact: &[u8], url: &str) -> String {
        let at = |name: &str| self.dir.join(name).display().to_string();
        fs::write(at("artifact"), artifact).unwrap();
        let (key, firmware, out) = (at("updates/update.key"), firmware.to_string(), at("offer"));
        let artifact = at("artifact");
        let sign =
            ["update", "sign", "--key", &key, "--artifact", &artifact, "--firmware", &firmware, "--floor"];
        let sign =
            [&sign[..], &[&firmware, "--lot", &self.lot, "--kind", "raw", "--url", url, "--out", &out]];
        muster_json(self.dir, &sign.concat());
        let public = at("updates/update.pub");
        let create =
            ["update", "create", &out, "--public-key", &public, "--phase", "1000:0h", "--sample", "1"];
        let create = [&create[..], &["--failure", "0", "--reason", "test", "--context", "context.json"]];
        let done = muster_json(self.dir, &create.concat());
        done["rollout"].as_str().unwrap().to_owned()
    }

    pub(crate) fn status(&self, rollout: &str) -> Value {
        muster_json(self.dir, &["update", "status", rollout, "--context", "context.json"])
    }
}

#[tokio::test]
async fn a_signed_update_reaches_a_terminal_through_a_cut_connection_and_a_bad_one_aborts_its_rollout() {
    let mut staged = tests::staged(5).await;
    let dir = staged.dir.path().to_owned();
    let keys = muster_json(&dir, &["keys", "update", "--dir", "updates"]);
    let (home, running) = &mut staged.stage.agents[0];
    running.stop().await.unwrap();
    prepare_terminal(&home.config(), keys["public_key"].as_str().unwrap());
    *running = home.run().unwrap();
    let said = home.config().with_file_name("events.jsonl");
    let step = |name: &str| {
        let text = fs::read_to_string(&said).unwrap_or_default();
        text.contains(&format!("\"step\":\"{name}\"")).then_some(())
    };

    let artifact: Vec<u8> = (0..250_000_u32).flat_map(u32::to_le_bytes).collect();
    let server = serve(artifact.clone());
    let desk = Desk { dir: &dir, lot: staged.stage.burned.lot.to_string() };
    let rollout = desk.offer(2, &artifact, &server.url);
    until("the hook", || step("installed")).await;
    let asked = server.asked.lock().unwrap().clone();
    assert_eq!((asked.len(), asked[0]), (2, 0), "{asked:?}");
    assert!(asked[1] > 0, "it went on where it was cut: {asked:?}");
    let hook = fs::read_to_string(home.config().with_file_name("hook.log")).unwrap();
    for told in
        ["MUSTER_UPDATE_FIRMWARE=2", "MUSTER_UPDATE_KIND=raw", &format!("MUSTER_UPDATE_ROLLOUT={rollout}")]
    {
        assert!(hook.contains(told), "{hook}");
    }

    // The terminal starts anew, with the new version.
    running.stop().await.unwrap();
    *running = home.run().unwrap();
    let installed =
        until("the result", || Some(desk.status(&rollout)).filter(|view| view["installed"] == 1)).await;
    assert_eq!((&installed["standing"], &installed["failed"]), (&"running".into(), &serde_json::json!({})));
    until("the floor", || step("running")).await;

    // What lies behind the URL is not what was signed.
    let mut altered = artifact.clone();
    altered[CUT_AFTER] ^= 1;
    let bad = serve(altered);
    let rollout = desk.offer(3, &artifact, &bad.url);
    let aborted = until("the abort", || {
        Some(desk.status(&rollout)).filter(|view| view["standing"]["ended"] == "aborted")
    })
    .await;
    assert_eq!(aborted["failed"], serde_json::json!({ "DIGEST": 1 }), "{aborted}");
    let hook = fs::read_to_string(home.config().with_file_name("hook.log")).unwrap();
    assert!(!hook.contains("MUSTER_UPDATE_FIRMWARE=3"), "the hook never saw it");

    let human = muster(&dir, &["update", "status", &rollout, "--context", "context.json"]);
    assert!(
        human.stdout.contains("failed     1 DIGEST") && human.stdout.contains("aborted"),
        "{}",
        human.stdout
    );
}

/// The record of this terminal does not open on the board that it lies on: no key, no session, no verdict. Software
/// update is all that is left to it.
#[tokio::test]
async fn a_restricted_terminal_without_a_key_gets_the_update_of_its_lot() {
    let staged = tests::staged(4).await;
    let dir = staged.dir.path().to_owned();
    let keys = muster_json(&dir, &["keys", "update", "--dir", "updates"]);
    let user = &staged.stage.users[sources::BOARD];
    let home = staged.stage.agents[0].0.copy_to(&dir.join("board"), user).unwrap();
    fs::write(dir.join("board/hardware/soc-serial"), "another board").unwrap();
    prepare_terminal(&home.config(), keys["public_key"].as_str().unwrap());
    let text = fs::read_to_string(home.config()).unwrap();
    fs::write(
        home.config(),
        text.replace("retry_first_ms = 50", "retry_first_ms = 50\nask_interval_ms = 200"),
    )
    .unwrap();

    let artifact = vec![7; 10_000];
    let server = serve(artifact.clone());
    let desk = Desk { dir: &dir, lot: staged.stage.burned.lot.to_string() };
    desk.offer(2, &artifact, &server.url);
    let _running = home.run().unwrap();
    let said = || fs::read_to_string(home.config().with_file_name("events.jsonl")).unwrap_or_default();
    until("the hook", || said().contains("\"step\":\"installed\"").then_some(())).await;
    assert!(said().contains("\"standing\":\"restricted\""), "{}", said());
    let hook = fs::read_to_string(home.config().with_file_name("hook.log")).unwrap();
    assert!(hook.contains("MUSTER_UPDATE_FIRMWARE=2"), "{hook}");
}
