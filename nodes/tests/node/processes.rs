//! Three nodes as three processes over mutual TLS: how many batches without events they commit, and what that costs.
//!
//! `cargo test --release -p nodes --test node -- --ignored --nocapture three_processes` prints the table.

use crate::support::faulty::FaultyDisk;
use crate::support::members::{config, lot_created, timers};
use crate::whole::House;
use events::batch::{Batch, BatchId};
use events::ids::NodeId;
use nodes::bus::MemBus;
use nodes::clock::SystemClock;
use nodes::config::{NodeConfig, PeersConfig};
use nodes::entropy::OsEntropy;
use nodes::node::{Node, NodeDeps};
use nodes::proposer::Proposer;
use nodes::raft::leadership::Leadership;
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

const NODE_VARIABLE: &str = "MUSTER_TEST_NODE";
const DIR_VARIABLE: &str = "MUSTER_TEST_DIR";
const PORTS_VARIABLE: &str = "MUSTER_TEST_PORTS";
const CHILD: &str = "processes::the_process_that_is_one_node";
/// What a child says to its parent begins so; the test harness prints other lines.
const SAYS: &str = "muster says ";

/// Not a test by itself: others start it as a process of its own. It obeys a line at a time: `role`, `used`,
/// `propose <first boot> <lanes> <rounds>`, `lots <from> <to>`, `applied <index>`, `digest <index>`, until its standard
/// input ends.
#[tokio::test(flavor = "multi_thread")]
#[allow(clippy::print_stdout, reason = "its parent reads it")]
async fn the_process_that_is_one_node() {
    let Ok(node) = std::env::var(NODE_VARIABLE) else { return };
    let disk = FaultyDisk::default();
    let deps = NodeDeps {
        clock: Arc::new(SystemClock::new()),
        entropy: Arc::new(OsEntropy),
        disk: Arc::new(disk.clone()),
        bus: Arc::new(MemBus::new()),
    };
    let node = Node::start(own_config(node.parse().unwrap()), deps).await.unwrap();
    loop {
        let line = tokio::task::spawn_blocking(|| {
            let mut line = String::new();
            std::io::stdin().read_line(&mut line).map(|_| line)
        });
        let line = line.await.unwrap().unwrap();
        if line.is_empty() {
            return;
        }
        let words: Vec<&str> = line.trim().split(' ').collect();
        let said = match words[..] {
            ["role"] => match Leadership::now(node.core().raft()) {
                Leadership::Here { .. } => "leads".to_owned(),
                Leadership::Elsewhere(_) => "follows".to_owned(),
                Leadership::HereSoon | Leadership::Nobody => "waits".to_owned(),
            },
            ["lots", from, to] => {
                let [from, to] = [from, to].map(|word| word.parse::<u32>().unwrap());
                let mut index = 0;
                for number in from..to {
                    let proposed =
                        node.core().proposer().propose_events(&[lot_created(number)]).await.unwrap();
                    index = proposed.index;
                }
                index.to_string()
            }
            ["applied", index] => {
                let index: u64 = index.parse().unwrap();
                let mut applied = node.core().projector().applied();
                let reached = *applied.wait_for(|applied| *applied >= index).await.unwrap();
                format!("{reached} {}", node.core().projector().read(|fold| fold.lots().count()))
            }
            ["digest", index] => {
                let index: u64 = index.parse().unwrap();
                let digests = node.core().projector().digests();
                let at = digests.iter().find(|at| at.index == index);
                at.map_or("none".to_owned(), |at| at.digest.to_string())
            }
            ["used"] => format!("{} {}", disk.syncs(), cpu_millis()),
            ["propose", boot, lanes, rounds] => {
                let [boot, lanes, rounds] = [boot, lanes, rounds].map(|word| word.parse().unwrap());
                propose(node.core().proposer(), *node.core().raft().node_id(), boot, lanes, rounds).await
            }
            _ => panic!("unknown command {line}"),
        };
        println!("\n{SAYS}{said}");
    }
}

fn own_config(node: NodeId) -> NodeConfig {
    let dir = std::env::var_os(DIR_VARIABLE).unwrap();
    let (dir, ports) = (Path::new(&dir), std::env::var(PORTS_VARIABLE).unwrap());
    let ports: Vec<&str> = ports.split(',').collect();
    let mut config = config(dir, node, ports.len() as NodeId, timers());
    let own = dir.join(node.to_string());
    config.keyring = dir.join("keyring.json");
    config.peers = PeersConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        authority: own.join("ca.pem"),
        certificate: own.join("node.pem"),
        key: own.join("node.key"),
    };
    config.api.certificate = config.peers.certificate.clone();
    config.api.key = config.peers.key.clone();
    for member in &mut config.members {
        member.address = format!("127.0.0.1:{}", ports[usize::try_from(member.id).unwrap() - 1]);
        if member.id == node {
            config.peers.listen = member.address.parse().unwrap();
        }
    }
    config
}

/// Of this process, user and system, from the kernel's accounts (100 ticks a second).
fn cpu_millis() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    10 * (fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap())
}

/// Every lane proposes one batch after the other; says the wall time and the latencies' median and 99th percentile.
async fn propose(proposer: &Proposer, node: NodeId, boot: u64, lanes: u64, rounds: u64) -> String {
    let began = Instant::now();
    let lanes: Vec<_> =
        (0..lanes).map(|lane| tokio::spawn(lane_of(proposer.clone(), node, boot + lane, rounds))).collect();
    let mut micros = Vec::new();
    for lane in lanes {
        micros.extend(lane.await.unwrap());
    }
    let elapsed = began.elapsed();
    micros.sort_unstable();
    let at = |part: f64| micros[((micros.len() - 1) as f64 * part) as usize];
    format!("{} {} {}", elapsed.as_micros(), at(0.5), at(0.99))
}

async fn lane_of(proposer: Proposer, node: NodeId, boot: u64, rounds: u64) -> Vec<u128> {
    let mut micros = Vec::new();
    for counter in 1..=rounds {
        let batch = Batch::new(BatchId { node, boot, counter }).encode().unwrap();
        let began = Instant::now();
        proposer.propose(batch).await.unwrap();
        micros.push(began.elapsed().as_micros());
    }
    micros
}

/// A child, killed when dropped.
pub struct Process {
    child: Child,
    tell: ChildStdin,
    says: Lines<BufReader<ChildStdout>>,
}

impl Process {
    pub fn start(house: &House, node: NodeId) -> Self {
        let ports: Vec<String> = house.ports().iter().map(u16::to_string).collect();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([CHILD, "--exact", "--nocapture", "--test-threads=1"])
            .env(NODE_VARIABLE, node.to_string())
            .env(DIR_VARIABLE, house.path())
            .env(PORTS_VARIABLE, ports.join(","))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (tell, says) =
            (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()).lines());
        Process { child, tell, says }
    }

    pub fn ask(&mut self, what: &str) -> String {
        writeln!(self.tell, "{what}").unwrap();
        loop {
            let line = self.says.next().expect("the node lives").unwrap();
            if let Some(said) = line.strip_prefix(SAYS) {
                return said.to_owned();
            }
        }
    }

    pub fn numbers(&mut self, what: &str) -> Vec<u64> {
        self.ask(what).split(' ').map(|word| word.parse().unwrap()).collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Which of three leads, once the others follow it.
pub fn leader(processes: &mut [Process]) -> usize {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let roles: Vec<String> = processes.iter_mut().map(|process| process.ask("role")).collect();
        if let Some(leader) = roles.iter().position(|role| role == "leads")
            && roles.iter().filter(|role| *role == "follows").count() == 2
        {
            return leader;
        }
        assert!(Instant::now() < deadline, "no leader: {roles:?}");
    }
}

/// (fdatasyncs, CPU in milliseconds) of all of them so far.
fn used(processes: &mut [Process]) -> (u64, u64) {
    let used = processes.iter_mut().map(|process| process.numbers("used"));
    used.fold((0, 0), |(syncs, cpu), used| (syncs + used[0], cpu + used[1]))
}

#[test]
#[ignore = "measures; wants the release profile and an idle machine"]
#[allow(clippy::print_stdout, reason = "its table is for the reader")]
fn three_processes_commit_batches_without_events() {
    let house = House::new(3);
    house.write_members();
    let mut processes: Vec<_> = (1..=3).map(|node| Process::start(&house, node)).collect();
    let leader = leader(&mut processes);
    println!("| at | lanes | commits/s | p50 | p99 | fdatasync a commit, 3 nodes | CPU a commit, 3 nodes |");
    println!("|---|---|---|---|---|---|---|");
    let mut boot = 1;
    for (what, at) in [("leader", leader), ("follower", (leader + 1) % 3)] {
        for (lanes, rounds) in [(1, 1_000), (16, 500), (128, 200)] {
            processes[at].ask(&format!("propose {boot} {lanes} 20"));
            let (syncs, cpu) = used(&mut processes);
            let measured = processes[at].numbers(&format!("propose {} {lanes} {rounds}", boot + 1_000));
            let (syncs_after, cpu_after) = used(&mut processes);
            boot += 10_000;
            let commits = (lanes * rounds) as f64;
            println!(
                "| {what} | {lanes} | {:.0} | {:.2} ms | {:.2} ms | {:.2} | {:.3} ms |",
                1e6 * commits / measured[0] as f64,
                measured[1] as f64 / 1e3,
                measured[2] as f64 / 1e3,
                (syncs_after - syncs) as f64 / commits,
                (cpu_after - cpu) as f64 / commits,
            );
        }
    }
}
