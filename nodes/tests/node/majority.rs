//! Three members on three disks that forget: the power of all goes at once, at any step, and then one disk is damaged as
//! well. What was acknowledged is there, at every member, after it.
//!
//! `MUSTER_TEST_CASES=200 cargo nextest run -p nodes --test node majority` tries more worlds.

use crate::mem_disk::{Faults, Left, MemDisk, SyncPromise};
use crate::support::in_time;
use crate::support::members::{Members, lot, lot_created, timers};
use events::ids::NodeId;
use events::log::frame::Frame;
use events::log::segment::{HEADER_BYTES, SealedHeader};
use nodes::config::RaftTimers;
use nodes::node::NodeError;
use nodes::node::core::Core;
use nodes::node::repair::Repair;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

const CASES: u64 = 5;

struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit.max(1)
    }
}

/// A cluster whose power can be cut.
struct World {
    members: Members,
    disks: BTreeMap<NodeId, MemDisk>,
    acknowledged: BTreeSet<u32>,
    next: u32,
}

impl World {
    async fn begin(sync: SyncPromise) -> World {
        let faults = Faults { sync, ..Faults::default() };
        let disks: BTreeMap<_, _> = (1..=3).map(|node| (node, MemDisk::with(faults))).collect();
        let as_disks = disks.iter().map(|(node, disk)| (*node, disk.as_disk())).collect();
        let timers = RaftTimers { proposal_ms_max: 3_000, ..timers() };
        let members = Members::start_on(timers, as_disks).await;
        World { members, disks, acknowledged: BTreeSet::new(), next: 0 }
    }

    /// Proposes lots one after the other until one is not acknowledged, or there are enough.
    async fn live(&mut self, count: u32) {
        let leader = self.members.leader().await;
        for number in self.next..self.next + count {
            self.next = number + 1;
            let proposer = self.members.core(leader).proposer();
            // Without power nobody answers: whether the lot came to be is unknown.
            let event = [lot_created(number)];
            let proposed = tokio::select! {
                proposed = proposer.propose_events(&event) => proposed.is_ok(),
                _ = self.members.core(leader).failed() => false,
            };
            if !proposed {
                return;
            }
            self.acknowledged.insert(number);
        }
    }

    /// The power of all members goes; what each disk had not synced is gone, kept, or both in part.
    fn cut_power(&mut self, left: impl Fn(NodeId) -> Left) {
        for node in 1..=3 {
            self.members.abandon(node);
            let disk = self.disks[&node].after_power_cut(left(node));
            self.members.give_disk(node, disk.as_disk());
            self.disks.insert(node, disk);
        }
    }

    /// Starts all members; whoever must, repairs its log first. False for a disk that ended its node's life.
    async fn start_again(&mut self) -> Result<(), NodeError> {
        let mut patients = Vec::new();
        for node in 1..=3 {
            match self.members.try_open(node).await {
                Ok(()) => {}
                Err(failed) => patients.push((node, failed)),
            }
        }
        assert!(patients.len() <= 1, "a power cut alone needs no repair: {patients:?}");
        for (node, failed) in patients {
            let deps = self.members.core_deps(node);
            let Some(repair) = Repair::after(failed, &deps).await? else { continue };
            self.members.board.plug_in(node, repair.service()?);
            assert!(Core::open(deps).await.is_err(), "nothing opens it before its repair");
            // Its peers need not wait for it: a majority is there.
            let leader = self.members.leader().await;
            in_time(
                "the leader's word",
                self.members.core(leader).proposer().propose_events(&[lot_created(self.next)]),
            )
            .await
            .unwrap();
            self.next += 1;
            in_time("the repair", repair.run()).await?;
            self.members.open(node).await;
        }
        Ok(())
    }

    /// Acknowledged lots that some running member lacks.
    async fn missing(&mut self) -> Vec<u32> {
        let leader = self.members.leader().await;
        let last = self.members.core(leader).proposer().propose_events(&[lot_created(self.next)]).await;
        self.next += 1;
        self.members.all_applied(last.unwrap().index).await;
        let lacks = |number: &u32| {
            self.members
                .all()
                .any(|(_, core)| core.projector().read(|fold| fold.lot(&lot(*number)).is_none()))
        };
        self.acknowledged.iter().copied().filter(lacks).collect()
    }

    /// Damages what one member's disk was known to hold: in a file that another follows, or below what a later frame knew
    /// durable. (Of the end of the last file nobody can tell: see storage_damage.rs.)
    fn damage(&mut self, node: NodeId, chance: &mut Chance) -> String {
        let (disk, log) = (&self.disks[&node], self.members.data(node).join("log"));
        let is_segment = |path: &PathBuf| {
            path.parent() == Some(log.as_path()) && path.extension().is_some_and(|end| end == "log")
        };
        let files: Vec<_> = disk.files().into_iter().filter(is_segment).collect();
        let earlier: Vec<_> = files.iter().filter(|path| files.last() != Some(path)).collect();
        let known = known_durable(&disk.bytes(files.last().unwrap()));
        match chance.below(5) {
            0 if !earlier.is_empty() => {
                let path = earlier[chance.below(earlier.len())];
                disk.lose(path);
                format!("{} is lost", path.display())
            }
            1 if !earlier.is_empty() => {
                let path = earlier[chance.below(earlier.len())];
                let length = chance.below(disk.bytes(path).len());
                disk.tamper(path, |bytes| bytes.truncate(length));
                format!("{} is cut to {length}", path.display())
            }
            2 if files.len() > 2 => {
                let (one, two) = (&files[0], &files[1]);
                let (first, second) = (disk.bytes(one), disk.bytes(two));
                disk.tamper(one, |bytes| *bytes = second);
                disk.tamper(two, |bytes| *bytes = first);
                "the first two files are swapped".to_owned()
            }
            _ => {
                let last = files.last().unwrap();
                let at = HEADER_BYTES + chance.below(known.saturating_sub(HEADER_BYTES));
                disk.tamper(last, |bytes| bytes[at] ^= 0x20);
                format!("a bit of {} at {at} is flipped", last.display())
            }
        }
    }
}

/// Up to where a frame of this segment knew it durable.
fn known_durable(bytes: &[u8]) -> usize {
    let Ok(header) = SealedHeader::parse(bytes) else { return 0 };
    let (identity, mut at, mut known) = (header.claims().identity, HEADER_BYTES as u32, 0);
    while let Ok(frame) = Frame::read(&identity, at, &bytes[(at as usize).min(bytes.len())..]) {
        (at, known) = (frame.end(), frame.place.durable);
    }
    known as usize
}

fn cases() -> u64 {
    std::env::var("MUSTER_TEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(CASES)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_a_power_cut_of_all_and_damage_of_one() {
    for case in 0..cases() {
        let mut chance = Chance(case + 1);
        let mut world = World::begin(SyncPromise::Kept).await;
        world.live(15).await;
        // A first cut in peace, so that each log has two files and more.
        world.cut_power(|node| Left::Some(case * 7 + node));
        world.start_again().await.unwrap();
        for disk in world.disks.values() {
            disk.cut_power_after(40 + chance.below(120));
        }
        world.live(60).await;
        world.cut_power(|node| Left::Some(case * 31 + node));
        let patient = 1 + chance.below(3) as NodeId;
        let damage = world.damage(patient, &mut chance);
        world
            .start_again()
            .await
            .unwrap_or_else(|error| panic!("case {case}, node {patient}, {damage}: {error}"));
        let missing = world.missing().await;
        assert!(missing.is_empty(), "case {case}, node {patient}, {damage}: {missing:?} are lost");
        assert!(world.acknowledged.len() > 15, "the second life acknowledged something");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_left_out_fsync_on_every_disk_is_caught_by_the_same_check() {
    let mut world = World::begin(SyncPromise::Broken).await;
    world.live(30).await;
    assert_eq!(world.acknowledged.len(), 30);
    world.cut_power(|_| Left::Nothing);
    let mut lost = false;
    for node in 1..=3 {
        // An empty log without a birth file is a wiped one.
        lost |= world.members.try_open(node).await.is_err();
    }
    assert!(lost || !world.missing().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_two_of_three_acknowledged_survives_their_power_cut_while_the_third_was_away() {
    let mut world = World::begin(SyncPromise::Kept).await;
    world.live(20).await;
    world.members.kill(3).await;
    world.live(20).await;
    for node in 1..=2 {
        world.members.abandon(node);
        let disk = world.disks[&node].after_power_cut(Left::Nothing);
        world.members.give_disk(node, disk.as_disk());
    }
    for node in 1..=3 {
        world.members.open(node).await;
    }
    assert_eq!(world.acknowledged.len(), 40);
    assert!(world.missing().await.is_empty());
}
