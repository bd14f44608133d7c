//! The development cluster that stays up: a live view until Ctrl-C, and how to look around meanwhile.

use super::DevPlan;
use super::stage::{Programs, Stage, set_up};
use anyhow::{Context as _, Result};
use nodes::api::shapes::{Role, Status};
use std::io::IsTerminal as _;
use std::path::Path;
use std::time::{Duration, Instant};

const ALL_LEGITIMATE_WITHIN: Duration = Duration::from_secs(120);
/// A terminal is redrawn this often; a pipe gets one line in ten.
const REDRAW: Duration = Duration::from_secs(1);
const LINES_SKIPPED_IN_A_PIPE: u64 = 10;

/// Sets the stage up and shows it until Ctrl-C.
pub async fn run(plan: &DevPlan, say: &dyn Fn(&str)) -> Result<()> {
    let programs = Programs::find()?;
    let dir = plan.prepare_dir()?;
    // One listener from beginning to end: an interrupt between two of them would be heard by nobody.
    let interrupted = tokio::signal::ctrl_c();
    tokio::pin!(interrupted);
    let mut stage = tokio::select! {
        stage = set_up(&programs, plan, &dir, say) => stage?,
        interrupted = &mut interrupted => return interrupted.context("listening for Ctrl-C"),
    };
    tokio::select! {
        legitimate = stage.wait_until_all_legitimate(ALL_LEGITIMATE_WITHIN) => legitimate?,
        interrupted = &mut interrupted => return interrupted.context("listening for Ctrl-C"),
    }
    crate::output::line(&how_to_look_around(&stage))?;
    tokio::select! {
        shown = show(&mut stage) => shown,
        interrupted = &mut interrupted => {
            interrupted.context("listening for Ctrl-C")?;
            say("stopping");
            stop(stage, &dir, say).await
        }
    }
}

async fn show(stage: &mut Stage) -> Result<()> {
    let redraw = std::io::stdout().is_terminal();
    let mut beats_before = None;
    for round in 0_u64.. {
        stage.cluster.still_running()?;
        let statuses = stage.cluster.statuses().await;
        let beats = statuses.iter().map(|status| status.counts.heartbeats).max().unwrap_or(0);
        let rate = beats_before
            .map(|(before, at): (u64, Instant)| per_second(beats - before.min(beats), at.elapsed()));
        beats_before = Some((beats, Instant::now()));
        let text = view(&statuses, rate);
        if redraw {
            // Up over the lines of the last round, then over each of them.
            let up = if round > 0 { format!("\x1b[{}A", text.lines().count()) } else { String::new() };
            let cleared: Vec<_> = text.lines().map(|line| format!("{line}\x1b[K")).collect();
            crate::output::line(&format!("{up}{}", cleared.join("\n")))?;
        } else if round % LINES_SKIPPED_IN_A_PIPE == 1 {
            crate::output::line(&text.lines().collect::<Vec<_>>().join("; "))?;
        }
        tokio::time::sleep(REDRAW).await;
    }
    Ok(())
}

#[allow(clippy::cast_precision_loss, reason = "a rate for people")]
fn per_second(count: u64, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64().max(0.001)
}

/// Always the same number of lines, so that it can be drawn over.
fn view(statuses: &[Status], rate: Option<f64>) -> String {
    let nodes: Vec<_> = statuses
        .iter()
        .map(|status| {
            let role = if status.role == Role::Leader { "leads" } else { "follows" };
            format!("{} {role} at {}", status.name, status.applied)
        })
        .collect();
    let Some(newest) = statuses.iter().max_by_key(|status| status.applied) else {
        return "nodes       none answers\ndevices     ?\nheartbeats  ?\nflags       ?".to_owned();
    };
    let counts = &newest.counts;
    let devices: Vec<_> = counts.legitimacy.iter().map(|(state, count)| format!("{count} {state}")).collect();
    let flags: Vec<_> = counts.flags.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    format!(
        "nodes       {}\ndevices     {}\nheartbeats  {} committed, {:.0}/s\nflags       {}",
        nodes.join(", "),
        devices.join(", "),
        counts.heartbeats,
        rate.unwrap_or(0.0),
        if flags.is_empty() { "none".to_owned() } else { flags.join(", ") }
    )
}

fn how_to_look_around(stage: &Stage) -> String {
    let muster = std::env::current_exe().map_or_else(|_| "muster".to_owned(), |path| shown(&path));
    let context = match stage.context_file == Path::new(crate::context::DEFAULT_PATH) {
        true => String::new(),
        false => format!(" --context {}", stage.context_file.display()),
    };
    let device = stage.devices().next().map(|device| device.to_string()).unwrap_or_default();
    let data = stage.cluster.data_directory(1).map(|path| shown(&path)).unwrap_or_default();
    let (agent_dir, run_dir) =
        (stage.agents.first().map(|(home, _)| shown(&home.config())), shown(&stage.dir));
    format!(
        "\nThe cluster is up. Look around from another terminal:\n  \
         {muster} cluster status{context}\n  \
         {muster} device list{context}\n  \
         {muster} device explain {device}{context}\n  \
         {muster} flag list{context}\n  \
         {muster} log cat --data {data}{context}\n  \
         {muster} replay --data {data}{context}\n  \
         {muster}-agent --config {} status\n\
         Everything of this run is in {run_dir}. Ctrl-C ends it.\n",
        agent_dir.unwrap_or_default(),
    )
}

/// Relative to the working directory where it lies below.
fn shown(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(&here).unwrap_or(path).display().to_string()
}

/// Terminals first, then nodes; NATS goes with the stage.
async fn stop(mut stage: Stage, dir: &Path, say: &dyn Fn(&str)) -> Result<()> {
    for (_, agent) in &mut stage.agents {
        agent.stop().await?;
    }
    stage.crowd.stop().await?;
    let nodes: Vec<_> = stage.cluster.ids().collect();
    for node in nodes {
        stage.cluster.stop(node).await?;
    }
    say(&format!("stopped; logs and data stay in {}", shown(dir)));
    Ok(())
}
