//! Copies: how two holders of one secret are told from one honest terminal (protocol.md rules 2 and 4).

use crate::terminal::{COMMITTED, Heartbeat, Terminal};
use crate::world::{CLUSTER, DAY, HOUR, INTERVAL, World, source};
use events::ids::LogIndex;
use events::vocabulary::shared::{FlagKind, Legitimacy, OperationKind};
use events::vocabulary::{ClusterCreated, FlagCleared};
use projector::view::FlagSubject;
use projector::{Effect, HeartbeatStatus, Notice};

const EVIDENCE: Heartbeat = Heartbeat::Judged(HeartbeatStatus::CloneEvidence);

fn copy_of(terminal: &Terminal) -> Terminal {
    Terminal { source: source("garage-9"), entropy: terminal.entropy + 500_000, ..terminal.clone() }
}

#[test]
fn a_complete_copy_that_resumes_and_the_honest_one_that_resumes_after_it_convict_the_device() {
    let mut world = World::new();
    let mut honest = Terminal::alive(&mut world, 1);
    let mut copy = copy_of(&honest);
    assert!(copy.resume(&mut world));
    assert_eq!(copy.beat(&mut world), COMMITTED);
    assert_eq!(honest.beat(&mut world), Heartbeat::Refused(projector::Judgement::Stale));
    assert!(honest.resume(&mut world));
    let fork = world.applied();
    assert_eq!(world.legitimacy(honest.id), Legitimacy::Suspect);
    assert_eq!(world.flags(), [], "a fork alone proves nothing");
    assert_eq!(honest.beat(&mut world), COMMITTED);
    assert!(copy.resume(&mut world), "the second voice");
    let subject = FlagSubject::Device(honest.id);
    let flag = world.the_flag(FlagKind::Clone, &subject);
    assert_eq!(flag.evidence, [fork, world.applied()]);
    assert_eq!(world.flags(), [(FlagKind::Clone, subject)]);
}

#[test]
fn the_current_branch_that_beats_with_a_newer_seen_after_the_fork_convicts() {
    let mut world = World::new();
    let mut honest = Terminal::alive(&mut world, 1);
    let stolen = copy_of(&honest);
    assert!(honest.resume(&mut world));
    assert_eq!(honest.beat(&mut world), COMMITTED);
    assert!(stolen.clone().resume(&mut world), "the thief wakes up with an old state");
    assert_eq!(honest.beat(&mut world), COMMITTED, "sealed before it had seen anything after the fork");
    assert_eq!(world.flags(), []);
    assert_eq!(honest.beat(&mut world), EVIDENCE);
    assert_eq!(world.flags().len(), 1);
}

#[test]
fn a_verdict_of_the_very_entry_that_forked_proves_nothing() {
    let mut world = World::new();
    let mut honest = Terminal::alive(&mut world, 1);
    let mut stolen = copy_of(&honest);
    assert!(honest.resume(&mut world));
    assert_eq!(honest.beat(&mut world), COMMITTED);
    assert!(stolen.resume(&mut world));
    honest.seen = world.applied();
    assert_eq!(honest.beat(&mut world), COMMITTED, "both were answered by one entry");
    assert_eq!(honest.beat(&mut world), EVIDENCE);
}

#[test]
fn a_thief_who_forks_again_and_again_does_not_hide_his_first_fork() {
    let mut world = World::new();
    let mut honest = Terminal::alive(&mut world, 1);
    let mut stolen = copy_of(&honest);
    assert!(honest.resume(&mut world));
    assert_eq!(honest.beat(&mut world), COMMITTED);
    assert!(stolen.clone().resume(&mut world));
    assert_eq!(honest.beat(&mut world), COMMITTED);
    stolen.entropy += 1000;
    assert!(stolen.clone().resume(&mut world), "just before the honest one speaks again");
    assert_eq!(honest.beat(&mut world), EVIDENCE);
}

#[test]
fn rule_2_one_sequence_with_two_contents_convicts_at_once() {
    let mut world = World::new();
    let mut honest = Terminal::alive(&mut world, 1);
    let mut copy = honest.clone();
    assert_eq!(honest.beat(&mut world), COMMITTED);
    copy.entropy += 1;
    assert_eq!(copy.beat(&mut world), EVIDENCE);
    let flag = world.the_flag(FlagKind::Clone, &FlagSubject::Device(honest.id));
    assert_eq!((flag.count, flag.evidence), (1, vec![world.applied()]));
}

#[test]
fn rule_2_one_sequence_with_two_contents_convicts_in_an_epoch_that_was_just_superseded() {
    let mut world = World::new();
    let mut honest = Terminal::alive(&mut world, 1);
    let mut copy = copy_of(&honest);
    assert_eq!(honest.beat(&mut world), COMMITTED);
    assert!(honest.resume(&mut world));
    assert_eq!(honest.beat(&mut world), COMMITTED);
    assert_eq!(copy.beat(&mut world), EVIDENCE);
}

#[test]
fn two_nodes_admit_the_same_sequence_with_two_contents_and_the_second_row_is_asked_again() {
    let mut world = World::new();
    let terminal = Terminal::alive(&mut world, 1);
    let heard = |digest| projector::Heard { epoch: 1, sequence: 2, digest, acked: 1, seen: terminal.seen };
    assert_eq!(world.row(terminal.row(&heard(7))).status, HeartbeatStatus::Committed);
    assert_eq!(world.row(terminal.row(&heard(8))).status, HeartbeatStatus::Again);
    let judged = world.fold.judge(terminal.slot, &heard(8));
    assert_eq!(judged, projector::Judgement::CloneEvidence);
}

#[test]
fn a_case_that_is_shown_needs_no_more_evidence_until_somebody_closes_it() {
    let mut world = World::new();
    let mut honest = Terminal::alive(&mut world, 1);
    let mut contradict = |world: &mut World| {
        let mut copy = honest.clone();
        assert_eq!(honest.beat(world), COMMITTED);
        copy.entropy += 1;
        copy.beat(world)
    };
    let enough = projector::CLONE_EVIDENCE_ENOUGH;
    for _ in 0..enough {
        assert_eq!(contradict(&mut world), EVIDENCE);
    }
    for _ in 0..30 {
        assert_eq!(
            contradict(&mut world),
            Heartbeat::Refused(projector::Judgement::Stale),
            "nothing is logged"
        );
    }
    let flag = world.the_flag(FlagKind::Clone, &FlagSubject::Device(honest.id));
    assert_eq!((flag.count, flag.evidence.len()), (enough as u64, enough));
    let raised = |effect: &&Effect| matches!(effect, Effect::Notice(Notice::FlagRaised(_)));
    assert_eq!(world.effects.iter().filter(raised).count(), 1, "people hear of it once");
}

/// The copy takes the session away by a re-key, the honest one takes it back by a resume: a fork.
#[track_caller]
fn rekey_and_take_back(
    world: &mut World,
    copy: &mut Terminal,
    honest: &mut Terminal,
) -> (LogIndex, LogIndex) {
    copy.rekey(world);
    let root = world.applied();
    assert_eq!(copy.beat(world), COMMITTED);
    assert_eq!(honest.beat(world), Heartbeat::Refused(projector::Judgement::Stale));
    assert!(honest.resume(world));
    let fork = world.applied();
    assert_eq!(honest.beat(world), COMMITTED);
    (root, fork)
}

#[test]
fn a_copy_that_re_keys_instead_of_resuming_is_convicted_by_the_second_time() {
    let mut world = World::new();
    let mut honest = Terminal::alive(&mut world, 1);
    let mut copy = copy_of(&honest);
    let first = rekey_and_take_back(&mut world, &mut copy, &mut honest);
    assert_eq!(world.legitimacy(honest.id), Legitimacy::Suspect);
    assert_eq!(world.flags(), [], "once may be flash that lies");
    world.wait(HOUR);
    let second = rekey_and_take_back(&mut world, &mut copy, &mut honest);
    let flag = world.the_flag(FlagKind::Clone, &FlagSubject::Device(honest.id));
    assert_eq!(flag.evidence, [first.0, first.1, second.0, second.1]);
}

#[test]
fn a_root_that_follows_a_restore_never_counts_although_the_device_had_never_re_keyed_before() {
    let mut world = World::new();
    let mut terminal = Terminal::alive(&mut world, 1);
    world.accept(ClusterCreated { cluster: CLUSTER, generation: 2, heartbeat_millis: INTERVAL });
    // Flash that lies takes it back to before the re-key.
    let mut lying_flash = Terminal { entropy: 40_000, ..terminal.clone() };
    rekey_and_take_back(&mut world, &mut terminal, &mut lying_flash);
    world.wait(HOUR);
    let mut terminal = Terminal { entropy: 50_000, ..lying_flash.clone() };
    rekey_and_take_back(&mut world, &mut terminal, &mut lying_flash);
    assert_eq!(world.flags(), [], "of two roots one is explained by the restore");
    world.wait(HOUR);
    let mut copy = Terminal { entropy: 60_000, ..lying_flash.clone() };
    rekey_and_take_back(&mut world, &mut copy, &mut lying_flash);
    assert_eq!(world.flags().len(), 1, "two that nothing explains convict");
}

#[test]
fn a_copy_that_re_keys_and_then_resumes_under_its_own_root_is_found_by_its_root_all_the_same() {
    let mut world = World::new();
    let mut honest = Terminal::alive(&mut world, 1);
    let mut copy = copy_of(&honest);
    rekey_and_take_back(&mut world, &mut copy, &mut honest);
    world.wait(HOUR);
    copy.rekey(&mut world);
    assert_eq!(copy.beat(&mut world), COMMITTED);
    assert!(copy.resume(&mut world));
    assert_eq!(copy.beat(&mut world), COMMITTED);
    assert!(honest.resume(&mut world));
    assert_eq!(world.flags(), [(FlagKind::Clone, FlagSubject::Device(honest.id))]);
}

#[test]
fn a_copy_cannot_push_the_honest_epoch_out_by_resumes_under_its_own_root() {
    let mut world = World::new();
    let mut honest = Terminal::alive(&mut world, 1);
    let mut copy = copy_of(&honest);
    let mut takes_over = |world: &mut World| {
        copy.rekey(world);
        assert_eq!(copy.beat(world), COMMITTED);
        for _ in 0..4 {
            assert!(copy.resume(world));
            assert_eq!(copy.beat(world), COMMITTED);
        }
    };
    takes_over(&mut world);
    assert!(honest.resume(&mut world), "its epoch is kept beside the copy's branch");
    assert_eq!(honest.beat(&mut world), COMMITTED);
    assert_eq!(world.legitimacy(honest.id), Legitimacy::Suspect);
    world.wait(HOUR);
    takes_over(&mut world);
    assert!(honest.resume(&mut world));
    assert_eq!(world.flags(), [(FlagKind::Clone, FlagSubject::Device(honest.id))]);
}

#[test]
fn a_lying_flash_after_a_re_key_is_suspect_and_heals() {
    let mut world = World::new();
    let mut terminal = Terminal::alive(&mut world, 1);
    let before_the_write = terminal.clone();
    terminal.rekey(&mut world);
    assert_eq!(terminal.beat(&mut world), COMMITTED);
    let mut lying_flash = Terminal { entropy: 40_000, ..before_the_write };
    assert!(lying_flash.resume(&mut world));
    assert_eq!(lying_flash.beat(&mut world), COMMITTED);
    assert_eq!(world.legitimacy(lying_flash.id), Legitimacy::Suspect);
    world.wait(DAY + HOUR);
    assert_eq!(world.legitimacy(lying_flash.id), Legitimacy::Legitimate);
    assert_eq!(world.flags(), []);
}

#[test]
fn re_keys_that_directives_demanded_prove_nothing_however_often_flash_lies_after_them() {
    let mut world = World::new();
    let mut terminal = Terminal::alive(&mut world, 1);
    for round in 0..4 {
        world.by_hand(OperationKind::Rekey, terminal.id, &format!("round {round}"));
        assert_eq!(terminal.beat(&mut world), COMMITTED);
        let before_the_write = terminal.clone();
        terminal.rekey(&mut world);
        terminal.obey();
        assert_eq!(terminal.beat(&mut world), COMMITTED);
        terminal = Terminal { entropy: terminal.entropy + 50, ..before_the_write };
        terminal.directive = None;
        assert!(terminal.resume(&mut world), "round {round}");
        assert_eq!(terminal.beat(&mut world), COMMITTED);
    }
    assert_eq!(world.legitimacy(terminal.id), Legitimacy::Suspect);
    assert_eq!(world.flags(), []);
}

#[test]
fn a_second_fork_from_an_epoch_that_was_granted_before_the_first_one_proves_nothing() {
    let mut world = World::new();
    let mut terminal = Terminal::alive(&mut world, 1);
    let before_the_writes = terminal.clone();
    for entropy in [40_000, 50_000] {
        world.wait(HOUR);
        terminal.rekey(&mut world);
        assert_eq!(terminal.beat(&mut world), COMMITTED);
        let mut lying_flash = Terminal { entropy, ..before_the_writes.clone() };
        assert!(lying_flash.resume(&mut world), "granted, and lost again before a word was said under it");
        terminal = Terminal { entropy: entropy + 100, ..before_the_writes.clone() };
    }
    assert_eq!(world.legitimacy(terminal.id), Legitimacy::Suspect);
    assert_eq!(world.flags(), []);
}

#[test]
fn a_proven_clone_does_not_heal_by_waiting() {
    let mut world = World::new();
    let mut honest = Terminal::alive(&mut world, 1);
    let mut copy = copy_of(&honest);
    assert!(copy.resume(&mut world));
    assert_eq!(copy.beat(&mut world), COMMITTED);
    assert!(honest.resume(&mut world));
    assert_eq!(honest.beat(&mut world), COMMITTED);
    assert!(copy.resume(&mut world));
    world.wait(3 * DAY);
    assert_eq!(world.legitimacy(honest.id), Legitimacy::Suspect);
}

#[test]
fn a_cleared_flag_takes_its_old_evidence_with_it_and_new_evidence_raises_a_new_flag() {
    let mut world = World::new();
    let mut honest = Terminal::alive(&mut world, 1);
    let mut copy = honest.clone();
    assert_eq!(honest.beat(&mut world), COMMITTED);
    copy.entropy += 1;
    assert_eq!(copy.beat(&mut world), EVIDENCE);
    let subject = FlagSubject::Device(honest.id);
    let first = world.the_flag(FlagKind::Clone, &subject);
    let cleared = FlagCleared { flag: first.id, by: "ada".into(), reason: "our own test rig".into() };
    world.accept(cleared.clone());
    assert_eq!(world.tell(cleared), projector::Outcome::Duplicate);
    assert_eq!(world.fold.flag(&first.id).unwrap().cleared.as_ref().unwrap().by, "ada");
    assert_eq!(honest.beat(&mut world), COMMITTED);
    copy.entropy += 1;
    assert_eq!(copy.beat(&mut world), EVIDENCE);
    assert_ne!(world.the_flag(FlagKind::Clone, &subject).id, first.id);
    assert_eq!(world.fold.flags_of(&subject).count(), 2);
}
