//! Who is blamed: sources for what they send, records and lots for what they report, devices only for what they
//! proved (protocol.md rules 3, 16 and 25).

use crate::terminal::{COMMITTED, Terminal};
use crate::world::{HOUR, LOT, World, record_digest, source};
use events::ids::LotId;
use events::vocabulary::rejection::{RejectionReason, TamperReason};
use events::vocabulary::shared::{FlagKind, Legitimacy};
use events::vocabulary::{FlagCleared, TamperReported};
use projector::view::FlagSubject;
use projector::{Decline, Outcome};

fn of_source(name: &str) -> FlagSubject {
    FlagSubject::Source(source(name))
}

fn report(record: u32) -> TamperReported {
    TamperReported {
        lot: LOT,
        record: record_digest(record),
        reason: TamperReason::RequiredHardware,
        mismatched: 2,
        source: source("garage-9"),
    }
}

#[test]
fn rule_3_replays_are_charged_to_the_source_and_never_to_the_device_named() {
    let mut world = World::new();
    let terminal = Terminal::alive(&mut world, 1);
    world.refuse("garage-9", RejectionReason::Replayed, Some(terminal.id), 50);
    assert_eq!(world.flags(), [(FlagKind::Replay, of_source("garage-9"))]);
    assert_eq!(world.the_flag(FlagKind::Replay, &of_source("garage-9")).count, 50);
    assert_eq!(world.legitimacy(terminal.id), Legitimacy::Legitimate);
    assert_eq!(world.fold.source(&source("garage-9")).unwrap().refused["REPLAYED"], 50);
}

#[test]
fn packets_that_a_network_duplicates_now_and_then_flag_nobody() {
    let mut world = World::new();
    for _ in 0..500 {
        world.wait(30_000);
        world.refuse("home-1", RejectionReason::Replayed, None, 3);
    }
    assert_eq!(world.flags(), []);
}

#[test]
fn one_who_replays_on_and_on_keeps_one_flag_that_counts() {
    let mut world = World::new();
    for _ in 0..10 {
        world.refuse("garage-9", RejectionReason::Replayed, None, 20);
    }
    let flag = world.the_flag(FlagKind::Replay, &of_source("garage-9"));
    assert_eq!((flag.count, flag.evidence.len()), (200, 10));
}

#[test]
fn guessed_codes_flag_the_source_and_the_device_that_signed_them() {
    let mut world = World::new();
    let guesser = Terminal::burned(&mut world, 1);
    for _ in 0..12 {
        world.refuse("garage-9", RejectionReason::CodeRefused, Some(guesser.id), 1);
    }
    let subjects = [FlagSubject::Device(guesser.id), of_source("garage-9")];
    assert_eq!(world.flags().len(), 2);
    assert!(subjects.iter().all(|subject| world.fold.open_flag(FlagKind::CodeBruteforce, subject).is_some()));
    assert_eq!(world.legitimacy(guesser.id), Legitimacy::Provisioned);
}

#[test]
fn a_source_that_guesses_through_many_devices_is_flagged_and_they_are_not() {
    let mut world = World::new();
    let devices: Vec<_> = (1..=12).map(|unit| Terminal::burned(&mut world, unit).id).collect();
    for device in devices {
        world.refuse("garage-9", RejectionReason::CodeRefused, Some(device), 1);
    }
    assert_eq!(world.flags(), [(FlagKind::CodeBruteforce, of_source("garage-9"))]);
}

#[test]
fn a_person_who_mistypes_a_code_flags_nobody() {
    let mut world = World::new();
    let terminal = Terminal::burned(&mut world, 1);
    for _ in 0..5 {
        world.refuse("home-1", RejectionReason::CodeRefused, Some(terminal.id), 8);
        world.wait(HOUR);
    }
    assert_eq!(world.flags(), []);
}

#[test]
fn refusals_that_prove_nothing_are_counted_and_flag_nobody() {
    let mut world = World::new();
    let harmless = [
        RejectionReason::EpochStale,
        RejectionReason::TicketRefused,
        RejectionReason::NotAuthentic,
        RejectionReason::RateExceeded,
        RejectionReason::NotLicensed,
        RejectionReason::Unavailable,
    ];
    for reason in harmless {
        world.refuse("home-1", reason, None, 10_000);
    }
    assert_eq!(world.flags(), []);
    assert_eq!(world.fold.source(&source("home-1")).unwrap().refused.len(), harmless.len());
}

#[test]
fn a_cleared_flag_empties_its_bucket() {
    let mut world = World::new();
    world.refuse("garage-9", RejectionReason::Replayed, None, 11);
    let flag = world.the_flag(FlagKind::Replay, &of_source("garage-9")).id;
    world.accept(FlagCleared { flag, by: "ada".into(), reason: "a test".into() });
    world.refuse("garage-9", RejectionReason::Replayed, None, 10);
    assert_eq!(world.flags(), []);
    world.refuse("garage-9", RejectionReason::Replayed, None, 1);
    assert_eq!(world.flags().len(), 1);
}

#[test]
fn rule_25_a_tamper_report_flags_record_lot_and_source_and_never_the_device() {
    let mut world = World::new();
    let mut terminal = Terminal::alive(&mut world, 1);
    world.accept(report(1));
    let mut subjects: Vec<_> = world.flags().into_iter().map(|(_, subject)| subject).collect();
    subjects.sort();
    let expected = [of_source("garage-9"), FlagSubject::Record(record_digest(1)), FlagSubject::Lot(LOT)];
    assert_eq!(subjects, expected);
    assert_eq!(world.legitimacy(terminal.id), Legitimacy::Legitimate);
    assert_eq!(terminal.beat(&mut world), COMMITTED);
    world.accept(report(1));
    assert_eq!(world.the_flag(FlagKind::Tamper, &expected[1]).count, 2);
}

#[test]
fn rule_25_invented_records_cannot_grow_the_state() {
    let mut world = World::new();
    for record in 1000..1100 {
        world.accept(report(record));
    }
    assert_eq!(world.flags().len(), 2, "lot and source only");
    let unknown = TamperReported { lot: LotId::from_bytes([9; 4]), ..report(1) };
    assert_eq!(world.tell(unknown), Outcome::Declined(Decline::UnknownLot));
}
