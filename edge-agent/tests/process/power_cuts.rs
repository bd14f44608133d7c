//! The power is cut at every step that a terminal writes, from its first boot to its first proven session: a real
//! process, killed by a signal that nothing can catch, on a real folder that then loses what was never synced.

use crate::agent::Terminal;
use crate::bus::Bus;
use crate::failing_flash::{FailingFlash, Loss, fail_at};
use edge_agent::machine::{AgentEvent, Command};
use edge_agent::shell::agent::Agent;
use edge_agent::shell::config::Config;
use events::license::ActivationCode;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;

/// One life: boots, types the code when asked, ends in good order after two verdicts. Started by the test below.
#[tokio::test]
#[ignore = "a life of the terminal in the test below, which starts it as a process of its own"]
async fn one_life() {
    let said = |name: &str| std::env::var(name).ok();
    let config = Config::load(&PathBuf::from(said("LIFE_CONFIG").unwrap())).unwrap();
    let code: ActivationCode = said("LIFE_CODE").unwrap().parse().unwrap();
    let flash = FailingFlash::of_this_life(&config.state_dir);
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
    fail_at(&mut command, cut);
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
