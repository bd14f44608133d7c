//! From kill -9 of the leader to the next verdict: of a heartbeat that was sent after the kill, so that nothing which
//! was on its way already counts.

use super::heartbeats::{check, count_sent, seal};
use super::load::number_of;
use super::report::FailoverFigures;
use super::stage::Stage;
use anyhow::{Context as _, Result, bail};
use events::ids::NodeId;
use futures::StreamExt as _;
use std::time::{Duration, Instant};

const EVERY: Duration = Duration::from_millis(2);
const BEFORE: Duration = Duration::from_millis(300);
const WITHIN: Duration = Duration::from_secs(15);
const REQUESTS: usize = 10_000;

pub async fn measure(stage: &mut Stage, kills: usize) -> Result<FailoverFigures> {
    let mut millis = Vec::with_capacity(kills);
    for _ in 0..kills {
        let leader = stage.cluster.wait_until_ready().await?;
        millis.push(one(stage, leader).await?.as_secs_f64() * 1e3);
        stage.cluster.start(leader)?;
        stage.cluster.wait_until_ready().await?;
        stage.cluster.settle().await?;
    }
    Ok(FailoverFigures::of(millis))
}

async fn one(stage: &mut Stage, leader: NodeId) -> Result<Duration> {
    let requests = seal(&stage.terminals[0], REQUESTS);
    let (mut sent, mut verdicts) = (0, 0_u64);
    let mut killed: Option<(Instant, usize)> = None;
    let (began, mut tick) = (Instant::now(), tokio::time::interval(EVERY));
    let took = loop {
        tokio::select! {
            _ = tick.tick() => {
                let request = requests.get(sent).context("no heartbeats left")?.clone();
                let client = &stage.connections[0].client;
                client.publish_with_reply(request.subject, request.reply, request.payload).await.context("publishing")?;
                sent += 1;
                if killed.is_none() && began.elapsed() > BEFORE && verdicts > 0 {
                    killed = Some((Instant::now(), sent));
                    stage.cluster.kill(leader)?;
                }
            }
            message = stage.connections[0].answers.next() => {
                let message = message.context("the connection was closed")?;
                let Some(number) = number_of(message.subject.as_str()) else { continue };
                if !check(&stage.terminals[0], &requests, number, &message.payload)? {
                    continue;
                }
                verdicts += 1;
                if let Some((at, first)) = killed && number >= first {
                    break at.elapsed();
                }
            }
        }
        if began.elapsed() > WITHIN {
            bail!("no verdict {WITHIN:?} after the leader's death ({verdicts} before)");
        }
    };
    count_sent(&mut stage.terminals[0], sent);
    Ok(took)
}
