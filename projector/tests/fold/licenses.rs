//! What people do to licenses: transfer, renewal, suspension and its end, reissue. Each counts once, however often it
//! comes, and honest terminals stay honest.

use crate::terminal::{COMMITTED, Terminal};
use crate::world::{DAY, HOUR, World, code};
use events::ids::{DeviceId, LicenseId};
use events::time::Timestamp;
use events::vocabulary::rejection::RejectionReason;
use events::vocabulary::shared::{Legitimacy, OperationKind};
use events::vocabulary::{
    Event, LicenseReissued, LicenseRenewed, LicenseResumed, LicenseSuspended, LicenseTransferred,
    RequestKeyed,
};
use projector::view::{CodeState, LicenseState};
use projector::{Change, Decline, Outcome};

fn license_of(world: &World, device: DeviceId) -> Option<LicenseId> {
    world.fold.device(world.fold.slot_of(&device)?)?.license()
}

fn transfer(license: LicenseId, from: DeviceId, to: DeviceId) -> Event {
    LicenseTransferred { license, from, to, by: "kim".into(), reason: "broken board".into() }.into()
}

fn renew(license: LicenseId, expires: Timestamp) -> Event {
    LicenseRenewed { license, expires, by: "kim".into(), reason: "paid".into() }.into()
}

fn suspend(license: LicenseId) -> Event {
    LicenseSuspended { license, by: "kim".into(), reason: "chargeback".into() }.into()
}

fn resume(license: LicenseId) -> Event {
    LicenseResumed { license, by: "kim".into(), reason: "settled".into() }.into()
}

fn reissue(license: LicenseId, unit: u32) -> Event {
    LicenseReissued { license, code: code(unit), by: "kim".into(), reason: "lost its state".into() }.into()
}

fn said(world: &World, device: DeviceId, what: &str) -> bool {
    world.fold.story(&device).iter().any(|line| line.what.contains(what))
}

/// A box with a license, a box without one, and the license's name.
fn two_boxes(world: &mut World) -> (Terminal, Terminal, LicenseId) {
    let old = Terminal::alive(world, 1);
    let new = Terminal::burned(world, 2);
    let license = license_of(world, old.id).unwrap();
    (old, new, license)
}

#[test]
fn after_a_transfer_the_new_box_activates_with_the_same_code_and_the_old_one_has_no_license() {
    let mut world = World::new();
    let (old, mut new, license) = two_boxes(&mut world);
    world.accept(transfer(license, old.id, new.id));
    assert_eq!((license_of(&world, old.id), license_of(&world, new.id)), (None, Some(license)));
    assert_eq!(world.legitimacy(old.id), Legitimacy::Provisioned);
    assert_eq!(world.legitimacy(new.id), Legitimacy::Legitimate);
    new.activate(&mut world, code(1));
    assert_eq!(new.beat(&mut world), COMMITTED);
    assert_eq!(world.fold.license(&license).unwrap().leases, 2, "one more lease of the same license");
    assert!(said(&world, old.id, &format!("transferred to {} by kim: broken board", new.id)));
    assert!(said(&world, new.id, &format!("transferred from {} by kim: broken board", old.id)));
}

#[test]
fn the_old_box_after_a_transfer_is_neither_a_guesser_nor_flagged_however_often_it_tries_its_code() {
    let mut world = World::new();
    let (mut old, new, license) = two_boxes(&mut world);
    world.accept(transfer(license, old.id, new.id));
    for _ in 0..50 {
        let event = old.activation(&world, Some(code(1)));
        let Outcome::Refused(reason) = world.tell(event) else { panic!("not refused") };
        assert_eq!(world.fold.judge_code(old.slot, Some(&code(1))), Err(reason), "a node judges the same");
        // What the admitting node counts, as it counts it.
        world.refuse("home-1", reason, Some(old.id), 1);
    }
    assert_eq!(world.flags(), []);
    assert_eq!(world.legitimacy(old.id), Legitimacy::Provisioned);
    assert_eq!(old.beat(&mut world), COMMITTED, "its session goes on");
    let mut thief = Terminal::burned(&mut world, 3);
    let event = thief.activation(&world, Some(code(1)));
    assert_eq!(world.tell(event), Outcome::Refused(RejectionReason::CodeRefused), "a stranger still guesses");
}

#[test]
fn a_transfer_counts_once_and_goes_only_from_who_owns_to_who_may_own() {
    let mut world = World::new();
    let (old, new, license) = two_boxes(&mut world);
    let other = Terminal::alive(&mut world, 3);
    let declined = |decline| Outcome::Declined(decline);
    assert_eq!(world.tell(transfer(license, old.id, other.id)), declined(Decline::DeviceLicensed));
    assert_eq!(world.tell(transfer(license, new.id, other.id)), declined(Decline::LicenseElsewhere));
    assert_eq!(world.tell(transfer(license, old.id, old.id)), declined(Decline::LicenseElsewhere));
    let nobody = DeviceId::from_bytes([9; 16]);
    assert_eq!(world.tell(transfer(license, old.id, nobody)), declined(Decline::UnknownDevice));
    let nothing = LicenseId::from_bytes([9; 16]);
    assert_eq!(world.tell(transfer(nothing, old.id, new.id)), declined(Decline::UnknownLicense));
    world.accept(transfer(license, old.id, new.id));
    assert_eq!(world.tell(transfer(license, old.id, new.id)), Outcome::Duplicate);
    assert_eq!(world.fold.license(&license).unwrap().moves.len(), 1);
    world.by_hand(OperationKind::Revoke, old.id, "scrapped");
    assert_eq!(world.tell(transfer(license, new.id, old.id)), declined(Decline::NotApplicable));
}

#[test]
fn a_license_may_come_back_and_its_first_owner_activates_again() {
    let mut world = World::new();
    let (mut old, new, license) = two_boxes(&mut world);
    world.accept(transfer(license, old.id, new.id));
    world.accept(transfer(license, new.id, old.id));
    old.activate(&mut world, code(1));
    assert_eq!(old.beat(&mut world), COMMITTED);
    assert_eq!(license_of(&world, new.id), None);
}

#[test]
fn a_suspended_license_stays_suspended_on_the_new_box() {
    let mut world = World::new();
    let (old, mut new, license) = two_boxes(&mut world);
    world.accept(suspend(license));
    world.accept(transfer(license, old.id, new.id));
    let event = new.activation(&world, Some(code(1)));
    let Outcome::Activated(grant) = world.tell(event) else { panic!("not activated") };
    assert_eq!(grant.license, None);
}

#[test]
fn a_renewed_license_outlives_its_first_term_and_an_ended_one_comes_back() {
    let mut world = World::new();
    let terminal = Terminal::alive(&mut world, 1);
    let license = license_of(&world, terminal.id).unwrap();
    let end = world.fold.license(&license).unwrap().expires;
    let later = end.plus_millis(10 * DAY);
    world.accept(renew(license, later));
    assert_eq!(world.tell(renew(license, later)), Outcome::Duplicate);
    assert_eq!(world.tell(renew(license, end)), Outcome::Declined(Decline::EndsLater));
    assert_eq!(world.tell(renew(license, Timestamp::from_millis(5))), Outcome::Declined(Decline::Malformed));
    world.wait(end.millis_since(world.now()) + HOUR);
    assert_eq!(world.fold.license(&license).unwrap().state, LicenseState::Active);
    world.wait(10 * DAY);
    assert_eq!(world.fold.license(&license).unwrap().state, LicenseState::Expired);
    assert_eq!(world.tell(suspend(license)), Outcome::Declined(Decline::LicenseEnded));
    world.accept(renew(license, Timestamp::ZERO));
    let license = world.fold.license(&license).unwrap();
    assert_eq!((license.state, license.expires), (LicenseState::Active, Timestamp::ZERO));
    assert!(said(&world, terminal.id, "renewed without end by kim: paid"));
}

#[test]
fn no_lease_is_given_while_a_license_is_suspended() {
    let mut world = World::new();
    let mut terminal = Terminal::alive(&mut world, 1);
    let license = license_of(&world, terminal.id).unwrap();
    world.accept(suspend(license));
    assert_eq!(world.tell(suspend(license)), Outcome::Duplicate);
    let before = world.fold.license(&license).unwrap().leases;
    world.wait(DAY);
    assert_eq!(terminal.beat(&mut world), COMMITTED);
    assert_eq!(world.fold.license(&license).unwrap().leases, before);
    world.accept(resume(license));
    assert_eq!(world.tell(resume(license)), Outcome::Duplicate);
    assert_eq!(terminal.beat(&mut world), COMMITTED);
    assert_eq!(world.fold.license(&license).unwrap().leases, before + 1);
}

#[test]
fn a_box_whose_older_license_is_renewed_after_its_newer_one_went_is_legitimate_again() {
    let mut world = World::new();
    let mut terminal = Terminal::alive(&mut world, 1);
    let heir = Terminal::burned(&mut world, 2);
    let older = license_of(&world, terminal.id).unwrap();
    world.wait(366 * DAY);
    assert_eq!(world.fold.license(&older).unwrap().state, LicenseState::Expired);
    terminal.activate(&mut world, code(3));
    assert_eq!(terminal.beat(&mut world), COMMITTED);
    let newer = license_of(&world, terminal.id).unwrap();
    world.accept(transfer(newer, terminal.id, heir.id));
    assert_eq!(world.legitimacy(terminal.id), Legitimacy::Provisioned);
    world.accept(renew(older, world.now().plus_millis(DAY)));
    assert_eq!(license_of(&world, terminal.id), Some(older));
    assert_eq!(world.legitimacy(terminal.id), Legitimacy::Legitimate);
}

#[test]
fn the_end_of_a_suspension_takes_back_the_order_that_caused_it() {
    let mut world = World::new();
    let mut terminal = Terminal::alive(&mut world, 1);
    let license = license_of(&world, terminal.id).unwrap();
    world.by_hand(OperationKind::SuspendLicense, terminal.id, "chargeback");
    world.accept(resume(license));
    assert_eq!(world.fold.license(&license).unwrap().state, LicenseState::Active);
    assert_eq!(terminal.beat(&mut world), COMMITTED);
    assert_eq!(world.fold.device(terminal.slot).unwrap().directive(), None);
}

#[test]
fn a_terminal_that_lost_state_and_code_activates_with_the_reissued_code_and_keeps_its_license() {
    let mut world = World::new();
    let terminal = Terminal::alive(&mut world, 1);
    let license = license_of(&world, terminal.id).unwrap();
    world.accept(reissue(license, 5_001));
    assert_eq!(world.tell(reissue(license, 5_001)), Outcome::Duplicate);
    assert_eq!(world.tell(reissue(license, 2)), Outcome::Declined(Decline::CodeConflict), "it is on sale");
    let mut empty =
        Terminal { epoch: 0, sequence: 0, acked: 0, seen: 0, entropy: 77_000, ..terminal.clone() };
    empty.activate(&mut world, code(5_001));
    assert_eq!(empty.beat(&mut world), COMMITTED);
    assert_eq!(license_of(&world, empty.id), Some(license));
    assert_eq!(world.fold.licenses().count(), 1);
    assert_eq!(world.fold.code(&code(1)), CodeState::Void, "the lost code opens nothing any more");
    assert_eq!(world.fold.code(&code(5_001)), CodeState::Used { license, slot: empty.slot });
    let mut thief = Terminal::burned(&mut world, 3);
    for stolen in [1, 5_001] {
        let event = thief.activation(&world, Some(code(stolen)));
        assert_eq!(world.tell(event), Outcome::Refused(RejectionReason::CodeRefused));
    }
    world.accept(reissue(license, 5_002));
    empty.activate(&mut world, code(5_002));
    assert_eq!(world.flags(), []);
}

#[test]
fn who_watches_live_is_told_of_each_change() {
    let mut world = World::new();
    let (old, new, license) = two_boxes(&mut world);
    let batch = world.batch(&[transfer(license, old.id, new.id)], &[]);
    let changes = world.commit_batch(&batch).changes;
    let gone =
        Change::Legitimacy { device: old.id, from: Legitimacy::Legitimate, to: Legitimacy::Provisioned };
    assert!(changes.contains(&gone), "{changes:?}");
    assert!(matches!(changes.last(), Some(Change::LicenseMoved(done)) if done.license == license));
}

fn keyed(key: u8, content: u8) -> Event {
    RequestKeyed { key: [key; 16], content: [content; 16] }.into()
}

#[test]
fn a_request_that_comes_again_with_its_key_is_not_done_again_even_if_the_state_moved_on() {
    let mut world = World::new();
    let (old, new, license) = two_boxes(&mut world);
    let there = [keyed(1, 1), transfer(license, old.id, new.id)];
    assert_eq!(world.commit(&there), [Outcome::Accepted, Outcome::Accepted]);
    let first = world.applied();
    world.accept(transfer(license, new.id, old.id));
    assert_eq!(world.commit(&there), [Outcome::Repeated { first }, Outcome::Repeated { first }]);
    assert_eq!(license_of(&world, old.id), Some(license), "the way back stands");
    let other = [keyed(1, 2), suspend(license)];
    let reused = Outcome::Declined(Decline::KeyReused);
    assert_eq!(world.commit(&other), [reused.clone(), reused]);
    assert_eq!(world.fold.license(&license).unwrap().state, LicenseState::Active);
}

#[test]
fn a_refused_request_is_judged_again_when_it_comes_again() {
    let mut world = World::new();
    let (old, new, license) = two_boxes(&mut world);
    let back = [keyed(1, 1), transfer(license, new.id, old.id)];
    let refused = [Outcome::Accepted, Outcome::Declined(Decline::LicenseElsewhere)];
    assert_eq!(world.commit(&back), refused);
    world.accept(transfer(license, old.id, new.id));
    assert_eq!(world.commit(&back), [Outcome::Accepted, Outcome::Accepted]);
}
