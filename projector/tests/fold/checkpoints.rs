//! Signed heads of the log: the fold keeps the last ones and has each compared, whatever it says.

use crate::world::{CLUSTER, INTERVAL, World};
use events::vocabulary::{CheckpointSigned, ClusterCreated};
use projector::view::CheckpointView;
use projector::{Decline, Effect, Outcome};

fn of_size(size: u64) -> CheckpointSigned {
    CheckpointSigned { generation: 1, size, root: [size as u8; 32], signature: vec![7; 100] }
}

fn compared(world: &mut World) -> Vec<CheckpointView> {
    let effects = std::mem::take(&mut world.effects).into_iter();
    effects
        .filter_map(|effect| match effect {
            Effect::Compare(checkpoint) => Some(checkpoint),
            Effect::Want(_) | Effect::Dispatch { .. } | Effect::Notice(_) => None,
        })
        .collect()
}

#[test]
fn a_checkpoint_covers_entries_before_its_own_and_is_kept_with_its_place() {
    let mut world = World::new();
    let size = world.applied() + 1;
    world.accept(of_size(size));
    let kept: Vec<_> = world.fold.checkpoints().cloned().collect();
    assert_eq!((kept.len(), kept[0].index, kept[0].size, kept[0].at), (1, size, size, world.now()));
    assert_eq!(compared(&mut world), kept);
}

#[test]
fn a_checkpoint_of_entries_that_are_not_committed_before_it_is_declined() {
    let mut world = World::new();
    let after_itself = world.applied() + 2;
    let malformed = Outcome::Declined(Decline::Malformed);
    assert_eq!(world.tell(of_size(after_itself)), malformed);
    assert_eq!(world.tell(of_size(0)), malformed);
    assert_eq!(world.tell(CheckpointSigned { signature: vec![7; 1000], ..of_size(1) }), malformed);
    assert_eq!(compared(&mut world), []);
    assert_eq!(world.fold.checkpoints().count(), 0);
}

#[test]
fn a_late_checkpoint_of_a_deposed_signer_changes_nothing_and_is_compared_all_the_same() {
    let mut world = World::new();
    (0..4).for_each(|_| world.wait(1000));
    world.accept(of_size(4));
    assert_eq!(world.tell(of_size(3)), Outcome::Duplicate);
    assert_eq!(world.tell(CheckpointSigned { root: [0; 32], ..of_size(4) }), Outcome::Duplicate);
    let sizes: Vec<_> = world.fold.checkpoints().map(|kept| (kept.size, kept.root)).collect();
    assert_eq!(sizes, [(4, [4; 32])]);
    assert_eq!(compared(&mut world).iter().map(|seen| seen.size).collect::<Vec<_>>(), [4, 3, 4]);
}

#[test]
fn rule_7_a_checkpoint_of_another_generation_is_declined() {
    let mut world = World::new();
    world.accept(ClusterCreated { cluster: CLUSTER, generation: 2, heartbeat_millis: INTERVAL });
    assert_eq!(world.tell(of_size(1)), Outcome::Declined(Decline::WrongCluster));
    world.accept(CheckpointSigned { generation: 2, ..of_size(1) });
}

#[test]
fn the_last_sixteen_are_kept() {
    let mut world = World::new();
    for _ in 0..20 {
        world.accept(of_size(world.applied()));
    }
    let sizes: Vec<_> = world.fold.checkpoints().map(|kept| kept.size).collect();
    assert_eq!((sizes.len(), *sizes.last().unwrap()), (16, world.applied() - 1));
}
