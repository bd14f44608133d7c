//! The power is cut at every step that a terminal writes, from its first boot to its first proven session: a real
//! process, killed by a signal that nothing can catch, on a real folder that then loses what was never synced.

use crate::agent::Terminal;
use crate::bus::Bus;
use edge_agent::machine::{AgentEvent, Command};
use edge_agent::shell::agent::Agent;
use edge_agent::shell::config::Config;
use edge_agent::shell::flash::{Flash, FolderFlash};
use events::license::ActivationCode;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;

/// What the cut leaves of the step that it hits.
#[derive(Clone, Copy, Debug)]
enum Loss {
    /// The step had no effect.
    Nothing,
    /// The step began and what was not durable is gone: half a file, the old name.
    Unsynced,
}

/// A folder whose power fails at one step; each verb that changes something is one.
struct FailingFlash {
    folder: PathBuf,
    flash: FolderFlash,
    steps_left: Option<u64>,
    loss: Loss,
    /// What a rename replaced, until the names are durable.
    replaced: Option<(String, Option<Vec<u8>>)>,
}

impl FailingFlash {
    /// True if the power fails in this step.
    fn fails(&mut self) -> bool {
        let fails = self.steps_left == Some(0);
        self.steps_left = self.steps_left.map(|left| left.saturating_sub(1));
        if fails && matches!(self.loss, Loss::Nothing) {
            die();
        }
        fails
    }

    fn tear(&self, name: &str) -> io::Result<()> {
        let bytes = std::fs::read(self.folder.join(name))?;
        std::fs::write(self.folder.join(name), &bytes[..bytes.len() / 2])
    }
}

fn die() -> ! {
    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).unwrap();
    unreachable!("SIGKILL ends a process")
}

impl Flash for FailingFlash {
    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        self.flash.read(name)
    }

    fn write(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        if self.fails() {
            self.flash.write(name, &bytes[..bytes.len() / 2])?;
            die();
        }
        self.flash.write(name, bytes)
    }

    fn sync_file(&mut self, name: &str) -> io::Result<()> {
        if self.fails() {
            self.tear(name)?;
            die();
        }
        self.flash.sync_file(name)
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let before = self.flash.read(to)?;
        if self.fails() {
            self.flash.rename(from, to)?;
            die();
        }
        self.replaced = Some((to.to_owned(), before));
        self.flash.rename(from, to)
    }

    fn sync_names(&mut self) -> io::Result<()> {
        if self.fails() {
            match self.replaced.take() {
                Some((name, Some(before))) => self.flash.write(&name, &before)?,
                Some((name, None)) => std::fs::remove_file(self.folder.join(name))?,
                None => {}
            }
            die();
        }
        self.flash.sync_names()
    }
}

/// One life: boots, types the code when asked, ends in good order after two verdicts. Started by the test below.
#[tokio::test]
#[ignore = "a life of the terminal in the test below, which starts it as a process of its own"]
async fn one_life() {
    let said = |name: &str| std::env::var(name).ok();
    let config = Config::load(&PathBuf::from(said("LIFE_CONFIG").unwrap())).unwrap();
    let code: ActivationCode = said("LIFE_CODE").unwrap().parse().unwrap();
    let flash = FailingFlash {
        folder: config.state_dir.clone(),
        flash: FolderFlash::open(&config.state_dir).unwrap(),
        steps_left: said("LIFE_STEPS").map(|steps| steps.parse().unwrap()),
        loss: if said("LIFE_LOSS").is_some() { Loss::Unsynced } else { Loss::Nothing },
        replaced: None,
    };
    let mut agent = Agent::boot_on(&config, Box::new(flash)).await.unwrap();
    let mut told = agent.start().await.unwrap();
    let mut verdicts = 0;
    while verdicts < 2 {
        for event in std::mem::take(&mut told) {
            match event {
                AgentEvent::CodeNeeded => {
                    told.extend(agent.command(Command::Activate(code.clone())).await.unwrap())
                }
                AgentEvent::Acknowledged { .. } => verdicts += 1,
                AgentEvent::ActivationRefused { reason } => panic!("the activation was refused: {reason}"),
                _ => {}
            }
        }
        agent.wait().await.unwrap();
        told.extend(agent.settle().await.unwrap());
    }
    agent.stop().await.unwrap();
}

async fn live(terminal: &Terminal, code: &ActivationCode, cut: Option<(u64, Loss)>) -> ExitStatus {
    let mut command = tokio::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "power_cuts::one_life", "--ignored", "--nocapture"]);
    command.env("LIFE_CONFIG", terminal.path("agent.toml")).env("LIFE_CODE", code.to_string());
    if let Some((step, loss)) = cut {
        command.env("LIFE_STEPS", step.to_string());
        if matches!(loss, Loss::Unsynced) {
            command.env("LIFE_LOSS", "unsynced");
        }
    }
    let output = command.kill_on_drop(true).output().await.unwrap();
    let killed = output.status.signal() == Some(9);
    assert!(output.status.success() || killed, "{cut:?}: {}", String::from_utf8_lossy(&output.stdout));
    output.status
}

/// Cuts the power at `step` of the first life and again at the same step of the second; then it stays on. True if
/// the first life was long enough.
async fn live_through(bus: &Bus, step: u64, loss: Loss) -> bool {
    let terminal = Terminal::new(bus, 1_000 + 2 * step + u64::from(matches!(loss, Loss::Unsynced)));
    let codes = {
        let mut cluster = bus.cluster.lock().unwrap();
        [cluster.issue_code(), cluster.issue_code()]
    };
    let owner = |code: &ActivationCode| bus.cluster.lock().unwrap().owner_of(code);
    // A customer whose code is used up would have to buy another one.
    let next_code = || codes.iter().find(|code| owner(code).is_none()).unwrap().clone();
    let first = live(&terminal, &next_code(), Some((step, loss))).await;
    live(&terminal, &next_code(), Some((step, loss))).await;
    assert!(live(&terminal, &next_code(), None).await.success());
    assert_eq!(owner(&codes[0]), Some(terminal.device), "cut at step {step}, {loss:?}");
    assert_eq!(owner(&codes[1]), None, "a second code was used up: cut at step {step}, {loss:?}");
    let cluster = bus.cluster.lock().unwrap();
    let device = cluster.device(terminal.device);
    assert!(!device.cloned, "an honest terminal was convicted: cut at step {step}, {loss:?}");
    !first.success()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_that_fails_at_any_written_step_costs_no_second_code_and_ends_with_an_active_terminal() {
    let bus = Bus::start(40).await;
    bus.cluster.lock().unwrap().interval_millis = 50;
    let mut reached = 0;
    for step in 0.. {
        let (nothing, unsynced) =
            tokio::join!(live_through(&bus, step, Loss::Nothing), live_through(&bus, step, Loss::Unsynced));
        if !nothing && !unsynced {
            break;
        }
        reached = step + 1;
    }
    // Boot, sealed activation, grant, proof: four saves of four steps at the least.
    assert!(reached >= 16, "only {reached} steps were cut: the story is too short to mean anything");
}
