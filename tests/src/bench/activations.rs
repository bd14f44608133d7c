//! Activations and resumes: how many a second, each opened by its terminal.

use super::load::{Pace, Sent};
use super::processes::CpuMark;
use super::report::Measured;
use super::stage::Stage;
use super::terminals::{Activating, Resuming, Terminal};
use anyhow::{Result, anyhow};
use std::sync::Arc;
use std::time::Duration;

/// Activations under way: fewer than the nodes' pools take.
const ACTIVATING: usize = 256;
const RESUMING: usize = 1024;
const WITHIN: Duration = Duration::from_secs(60);

/// Every terminal activates with the code that was bought for it.
pub async fn activate(stage: &mut Stage) -> Result<Measured> {
    let ticket = stage.hello().await?;
    let public = stage.public.clone();
    let activating =
        on_all(&mut stage.terminals, |terminal, number| terminal.seal_activation(&public, &ticket, number))?;
    let lists: Vec<_> = activating
        .iter()
        .map(|list: &Vec<Activating>| {
            Arc::new(list.iter().map(|one| one.request.clone()).collect::<Vec<_>>())
        })
        .collect();
    let mark = CpuMark::now();
    let sent = stage.send(&lists, Pace::Window(ACTIVATING, WITHIN)).await?;
    let cpu = mark.cores_since();
    let terminals = &mut stage.terminals;
    Ok(Measured::judged(&sent, cpu, |connection, number, answer| {
        terminals[connection][number].activated(&activating[connection][number], answer)
    }))
}

/// Every terminal resumes, so many times one after the other.
pub async fn resume(stage: &mut Stage, passes: usize) -> Result<Vec<Measured>> {
    let mut measured = Vec::new();
    for _ in 0..passes {
        let ticket = stage.hello().await?;
        let resuming =
            on_all(&mut stage.terminals, |terminal, number| terminal.seal_resume(&ticket, number))?;
        let lists: Vec<_> = resuming
            .iter()
            .map(|list: &Vec<Resuming>| {
                Arc::new(list.iter().map(|one| one.request.clone()).collect::<Vec<_>>())
            })
            .collect();
        let mark = CpuMark::now();
        let sent: Vec<Sent> = stage.send(&lists, Pace::Window(RESUMING, WITHIN)).await?;
        let cpu = mark.cores_since();
        let terminals = &mut stage.terminals;
        measured.push(Measured::judged(&sent, cpu, |connection, number, answer| {
            terminals[connection][number].resumed(&resuming[connection][number], answer)
        }));
        // A node that lags parks what it cannot judge yet: the next pass begins on even ground.
        stage.cluster.settle().await?;
    }
    Ok(measured)
}

/// Something for every terminal, with its number on its connection; each connection's on a thread.
fn on_all<T: Send>(
    terminals: &mut [Vec<Terminal>],
    work: impl Fn(&mut Terminal, usize) -> Result<T> + Sync,
) -> Result<Vec<Vec<T>>> {
    let work = &work;
    std::thread::scope(|scope| {
        let one = |list: &mut Vec<Terminal>| -> Result<Vec<T>> {
            list.iter_mut().enumerate().map(|(number, terminal)| work(terminal, number)).collect()
        };
        let threads: Vec<_> = terminals.iter_mut().map(|list| scope.spawn(move || one(list))).collect();
        threads.into_iter().map(|thread| thread.join().map_err(|_| anyhow!("sealing panicked"))?).collect()
    })
}
