//! A cluster restored from a backup takes a new generation (protocol.md rule 7).

use crate::terminal::{COMMITTED, Heartbeat, Terminal};
use crate::world::{CLUSTER, INTERVAL, World};
use events::ids::{ClusterId, Generation};
use events::vocabulary::ClusterCreated;
use events::vocabulary::rejection::RejectionReason;
use events::vocabulary::shared::{Legitimacy, OperationKind};
use projector::{Decline, Judgement, Outcome};

fn generation(generation: Generation) -> ClusterCreated {
    ClusterCreated { cluster: CLUSTER, generation, heartbeat_millis: INTERVAL }
}

#[test]
fn rule_7_a_fork_across_a_restore_is_granted_and_suspects_nobody() {
    let mut world = World::new();
    let mut terminal = Terminal::alive(&mut world, 1);
    let older = terminal.clone();
    assert!(terminal.resume(&mut world));
    assert_eq!(terminal.beat(&mut world), COMMITTED);
    world.accept(generation(2));
    let mut older = Terminal { entropy: older.entropy + 100, ..older };
    assert!(older.resume(&mut world));
    assert_eq!(older.beat(&mut world), COMMITTED);
    assert_eq!(world.legitimacy(older.id), Legitimacy::Legitimate);
    assert_eq!(world.flags(), []);
}

#[test]
fn rule_7_a_fork_from_before_a_restore_convicts_nobody_after_it() {
    let mut world = World::new();
    let mut honest = Terminal::alive(&mut world, 1);
    let copy = honest.clone();
    assert!(honest.resume(&mut world));
    assert_eq!(honest.beat(&mut world), COMMITTED);
    assert!(Terminal { entropy: 90_000, ..copy }.resume(&mut world));
    world.accept(generation(2));
    assert_eq!(honest.beat(&mut world), COMMITTED);
    assert_eq!(honest.beat(&mut world), COMMITTED);
    assert_eq!(world.flags(), []);
}

#[test]
fn rule_7_the_same_sequence_with_other_content_proves_nothing_across_a_restore() {
    let mut world = World::new();
    let mut terminal = Terminal::alive(&mut world, 1);
    let mut forgotten = terminal.clone();
    assert_eq!(terminal.beat(&mut world), COMMITTED);
    world.accept(generation(2));
    forgotten.entropy += 1;
    assert_eq!(forgotten.beat(&mut world), Heartbeat::Refused(Judgement::Stale));
    assert_eq!(world.flags(), []);
}

#[test]
fn rule_7_failures_just_after_a_restore_are_held_against_nobody() {
    let mut world = World::new();
    world.refuse("home-1", RejectionReason::Replayed, None, 10);
    world.accept(generation(2));
    world.refuse("home-1", RejectionReason::Replayed, None, 1000);
    assert_eq!(world.flags(), []);
    world.wait(600_000);
    world.refuse("home-1", RejectionReason::Replayed, None, 10);
    assert_eq!(world.flags(), []);
    world.refuse("home-1", RejectionReason::Replayed, None, 1);
    assert_eq!(world.flags().len(), 1);
}

#[test]
fn rule_7_directives_of_the_new_generation_are_above_all_older_ones() {
    let mut world = World::new();
    let mut terminal = Terminal::alive(&mut world, 1);
    world.by_hand(OperationKind::Rekey, terminal.id, "before");
    terminal.beat(&mut world);
    terminal.obey();
    let before = terminal.obeyed;
    world.accept(generation(2));
    world.by_hand(OperationKind::Rekey, terminal.id, "after");
    terminal.beat(&mut world);
    assert!(terminal.directive.unwrap().id > before);
    assert_eq!(terminal.directive.unwrap().id.generation, 2);
}

#[test]
fn only_a_newer_generation_of_the_same_cluster_is_a_restore() {
    let mut world = World::new();
    assert_eq!(world.tell(generation(1)), Outcome::Duplicate);
    assert_eq!(world.tell(generation(0)), Outcome::Declined(Decline::WrongCluster));
    let other = ClusterCreated { cluster: ClusterId::from_bytes([8; 16]), ..generation(2) };
    assert_eq!(world.tell(other), Outcome::Declined(Decline::WrongCluster));
    assert_eq!(world.fold.generation(), 1);
    world.accept(generation(5));
    assert_eq!(world.fold.generation(), 5);
}
