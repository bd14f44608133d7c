//! Reports under a lot's key: weak, bounded, held against nobody named.

use crate::world::{LOT, World, reason};
use events::envelope::TamperReport;
use events::identity::lot::TamperKey;
use events::ids::{LotId, RecordDigest};
use events::vocabulary::Event;
use events::vocabulary::rejection::{RejectionReason, TamperReason};
use events::vocabulary::shared::FlagKind;
use nodes::bus::subject::UpKind;

fn report(record: u8, random: u8) -> TamperReport {
    TamperReport {
        lot: LOT,
        record: RecordDigest::from_bytes([record; 16]),
        reason: TamperReason::RequiredHardware,
        mismatched: 2,
        random: [random; 16],
    }
}

fn reports(world: &World) -> usize {
    world.events().iter().filter(|event| matches!(event, Event::TamperReported(_))).count()
}

#[tokio::test]
async fn rule_25_a_record_that_does_not_open_is_reported_and_acknowledged() {
    let world = World::new().await;
    let message = report(1, 1).seal(&world.tamper_key);
    let answer = world.ask(UpKind::Tamper, "garage", &LOT.to_string(), message).await;
    assert_eq!(answer.len(), 2, "an acknowledgement says nothing else");
    assert_eq!(reports(&world), 1);
    assert!(world.nodes[0].fold.read(|fold| fold.flags().any(|flag| flag.kind == FlagKind::Tamper)));
}

#[tokio::test]
async fn one_record_cannot_fill_the_log_with_its_reports() {
    let world = World::new().await;
    for random in 0..12 {
        let message = report(1, random).seal(&world.tamper_key);
        let answer = world.ask(UpKind::Tamper, "garage", &LOT.to_string(), message).await;
        assert_eq!(answer.len(), 2);
    }
    assert_eq!(reports(&world), 4);
}

#[tokio::test]
async fn one_source_cannot_fill_the_log_with_many_records() {
    let world = World::new().await;
    let mut limited = 0;
    for record in 0..40 {
        let message = report(record, 0).seal(&world.tamper_key);
        let answer = world.ask(UpKind::Tamper, "garage", &LOT.to_string(), message).await;
        limited += usize::from(answer.len() == events::envelope::Refusal::BYTES);
    }
    assert!(limited >= 20, "{limited} of 40 were limited");
    assert_eq!(reports(&world), 40 - limited);
}

#[tokio::test]
async fn rule_16_an_unknown_lot_and_a_bad_mac_hear_the_same() {
    let world = World::new().await;
    let unknown = LotId::from_bytes([7; 4]);
    let bad_mac = report(1, 1).seal(&TamperKey::from_bytes([0; 32]));
    let of_unknown = TamperReport { lot: unknown, ..report(1, 1) }.seal(&world.tamper_key);
    let first = world.ask(UpKind::Tamper, "garage", &LOT.to_string(), bad_mac).await;
    let second = world.ask(UpKind::Tamper, "garage", &unknown.to_string(), of_unknown).await;
    assert_eq!(first, second);
    assert_eq!(reason(&first), RejectionReason::NotAuthentic);
    assert_eq!(reports(&world), 0);
    world.until_refused("garage", RejectionReason::NotAuthentic, 2).await;
}
