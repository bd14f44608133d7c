//! A terminal as files in a folder, and the agent's process on it.

use crate::bus::Bus;
use crate::support::factory::Factory;
use crate::support::rng::SeededRng;
use events::ids::DeviceId;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

pub struct Terminal {
    pub folder: TempDir,
    pub device: DeviceId,
}

pub struct Running {
    pub child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

const HARDWARE: [(&str, usize); 4] =
    [("soc-serial", 0), ("emmc-cid", 1), ("mac-address", 2), ("board-serial", 3)];

impl Terminal {
    /// Burns a unit, imports it and lays out its files.
    pub fn new(bus: &Bus, seed: u64) -> Self {
        let mut rng = SeededRng::new(seed);
        let factory = Factory::new(&mut rng);
        let unit = factory.burn(1, &mut rng);
        let mut cluster = bus.cluster.lock().unwrap();
        let device = cluster.import(&unit.seed);
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("cluster.json"), serde_json::to_string(&cluster.keyring.public()).unwrap()).unwrap();
        fs::write(at("lot.firmware.json"), factory.firmware.to_json().as_bytes()).unwrap();
        fs::write(at("otp.bin"), &unit.record).unwrap();
        let values = ["soc-1\n", "emmc-1\0", "02:00:00:00:00:01\n", "board-1"];
        for (name, value) in HARDWARE {
            fs::write(at(name), values[value]).unwrap();
        }
        fs::write(at("agent.toml"), config(&bus.url)).unwrap();
        Terminal { folder, device }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// Adds tables to the end of the config.
    pub fn configure(&self, toml: &str) {
        let config = fs::read_to_string(self.path("agent.toml")).unwrap();
        self.write("agent.toml", &format!("{config}\n{toml}"));
    }

    /// Adds fields that are in no table.
    pub fn configure_top(&self, toml: &str) {
        let config = fs::read_to_string(self.path("agent.toml")).unwrap();
        self.write("agent.toml", &format!("{toml}\n{config}"));
    }

    /// Other servers than the bus, and whatever else stands in `[nats]`.
    pub fn with_nats(&self, toml: &str) {
        let config = fs::read_to_string(self.path("agent.toml")).unwrap();
        let line = config.lines().find(|line| line.starts_with("url = ")).unwrap();
        self.write("agent.toml", &config.replace(line, toml));
    }

    /// Activates, and ends again.
    pub async fn activate(&self, bus: &Bus) {
        let code = bus.cluster.lock().unwrap().issue_code().to_string();
        let activated = self.command(&["activate", "--code", &code]).await;
        assert_eq!(activated.status.code(), Some(0), "{activated:?}");
    }

    /// One command, to its end.
    pub async fn command(&self, arguments: &[&str]) -> Output {
        agent(self.folder.path()).args(arguments).output().await.unwrap()
    }

    /// The same with more in its environment.
    pub async fn command_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
        let mut command = agent(self.folder.path());
        command.args(arguments).envs(environment.iter().copied()).output().await.unwrap()
    }

    pub fn run(&self) -> Running {
        self.run_with(&[])
    }

    pub fn run_with(&self, environment: &[(&str, &str)]) -> Running {
        let mut command = agent(self.folder.path());
        command.envs(environment.iter().copied());
        let mut child = command.arg("run").stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Running { child, lines }
    }

    pub async fn status(&self) -> serde_json::Value {
        let output = self.command(&["status"]).await;
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

impl Running {
    /// Reads events until one is called `name`.
    pub async fn until(&mut self, name: &str) -> serde_json::Value {
        loop {
            let line = self.lines.next_line().await.unwrap().expect("the agent ended");
            let event: serde_json::Value = serde_json::from_str(&line).unwrap();
            if event["event"] == name {
                return event;
            }
        }
    }

    /// One of those that `kill` knows.
    pub async fn signal(&self, name: &str) {
        let id = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &id]).status().await.unwrap().success());
    }

    pub async fn terminate(mut self) {
        self.signal("TERM").await;
        assert_eq!(self.child.wait().await.unwrap().code(), Some(0));
    }
}

fn agent(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_muster-agent"));
    command.arg("--json").arg("--config").arg(folder.join("agent.toml")).kill_on_drop(true);
    command
}

fn config(url: &str) -> String {
    let components: String = HARDWARE.iter().map(|(name, _)| format!("{name} = \"{name}\"\n")).collect();
    format!(
        "region = \"eu\"\nsource = \"shop-1\"\nfirmware = 7\nstate_dir = \"state\"\ncluster_file = \"cluster.json\"\n\
         lot_firmware_file = \"lot.firmware.json\"\ntraces = true\n\n[nats]\nurl = \"{url}\"\n\n[otp]\n\
         record = \"otp.bin\"\n\n[timing]\nreply_timeout_ms = 500\nbackoff_first_ms = 100\nbackoff_max_ms = 500\n\n\
         [components]\n{components}"
    )
}
