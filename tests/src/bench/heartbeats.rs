//! Heartbeats: sealed before the clock starts, committed by three nodes, projected, and answered by a sealed verdict
//! that is opened after it stopped.

use super::load::{Pace, Request};
use super::processes::CpuMark;
use super::report::Measured;
use super::stage::Stage;
use super::terminals::Terminal;
use super::{Plan, log_bytes};
use anyhow::{Context as _, Result};
use async_nats::Subject;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

/// Between measurements, so that every device has its burst again.
const REST: Duration = Duration::from_secs(2);

pub async fn measure(stage: &mut Stage, plan: &Plan, window: usize) -> Result<Measured> {
    send(stage, plan, Pace::Window(window, plan.measure_for)).await
}

pub async fn measure_paced(stage: &mut Stage, plan: &Plan, rate: f64) -> Result<Measured> {
    send(stage, plan, Pace::PerSecond(rate, plan.measure_for)).await
}

async fn send(stage: &mut Stage, plan: &Plan, pace: Pace) -> Result<Measured> {
    let requests_max = plan.requests_max / 2;
    let lists: Vec<_> = stage
        .terminals
        .iter()
        .map(|terminals| seal(terminals, requests_max / stage.terminals.len()))
        .collect();
    if !plan.smoke {
        tokio::time::sleep(REST).await;
    }
    let folder = stage.log_folder()?;
    stage.cluster.settle().await?;
    let before = log_bytes::of(&folder)?;
    let mark = CpuMark::now();
    let sent = stage.send(&lists, pace).await?;
    let cpu = mark.cores_since();
    stage.cluster.settle().await?;
    let grown = log_bytes::of(&folder)?.saturating_sub(before);

    let terminals = &stage.terminals;
    let mut measured = Measured::judged(&sent, cpu, |connection, number, answer| {
        let own = &terminals[connection];
        own[number % own.len()].check_verdict(&lists[connection][number].payload, answer)
    });
    measured.log_bytes_each = Some(grown as f64 / measured.answered.max(1) as f64);
    for (own, sent) in stage.terminals.iter_mut().zip(&sent) {
        count_sent(own, sent.count);
    }
    Ok(measured)
}

/// Heartbeats in turn, one of each terminal, then the next of each.
pub fn seal(terminals: &[Terminal], count: usize) -> Arc<Vec<Request>> {
    let subjects: Vec<Subject> = terminals.iter().map(Terminal::heartbeat_subject).collect();
    let seal = |number: usize| {
        let at = number % terminals.len();
        let ahead = u32::try_from(number / terminals.len()).ok()? + 1;
        let payload = terminals[at].seal_heartbeat(ahead)?;
        let reply = terminals[at].request("heartbeat", number, Vec::new()).reply;
        Some(Request { subject: subjects[at].clone(), reply, payload: Bytes::from(payload) })
    };
    Arc::new((0..count).filter_map(seal).collect())
}

/// Of the heartbeats in turn, the first `count` have been sent.
pub fn count_sent(terminals: &mut [Terminal], count: usize) {
    let all = terminals.len();
    for (at, terminal) in terminals.iter_mut().enumerate() {
        let own = count / all + usize::from(at < count % all);
        terminal.sent(u32::try_from(own).unwrap_or(u32::MAX));
    }
}

/// For who sends by himself: the verdict on request `number`.
pub fn check(terminals: &[Terminal], requests: &[Request], number: usize, answer: &[u8]) -> Result<bool> {
    let request = requests.get(number).context("an answer to what was never sent")?;
    Ok(terminals[number % terminals.len()].check_verdict(&request.payload, answer).is_ok())
}
