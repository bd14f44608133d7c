//! Update requests: answered from applied state with the offer of the lot, unlogged, bounded.

use crate::terminal::Terminal;
use crate::world::{LOT, World, answered, reason};
use events::identity::key::SigningKey;
use events::ids::{DeviceId, LotId, RecordDigest, RolloutId};
use events::time::Timestamp;
use events::update::{Offer, UpdateAnswer, UpdateRequest, UpdateScope};
use events::vocabulary::UpdateCreated;
use events::vocabulary::rejection::RejectionReason;
use events::vocabulary::update::{RolloutPhase, RolloutRules};
use nodes::bus::subject::UpKind;
use projector::Outcome;

/// Starts a rollout of version 2 to everybody of the lot; returns the offer.
fn roll_out(world: &mut World) -> Vec<u8> {
    let offer = Offer {
        rollout: RolloutId::from_bytes([9; 16]),
        scope: UpdateScope::Lots(vec![LOT]),
        firmware: 2,
        floor: 1,
        not_after: Timestamp::from_millis(u64::MAX),
        size: 1,
        digest: [1; 48],
        kind: "rauc".into(),
        urls: vec!["https://a/b".into()],
    };
    let offer = offer.sign(&SigningKey::from_bytes(&[1; 48]).unwrap()).unwrap().encode();
    let rules = RolloutRules {
        phases: vec![RolloutPhase { permille: 1000, seconds: 0 }],
        success_permille: 0,
        failure_permille: 1000,
        sample_min: 1,
        per_minute_max: 1,
    };
    let event = UpdateCreated { offer: offer.clone(), rules, by: "ada".into(), reason: "fix".into() };
    assert_eq!(world.commit(&[event.into()]), [Outcome::Accepted]);
    offer
}

async fn asked(world: &World, sender: &str, request: UpdateRequest) -> Vec<u8> {
    let answer = world.ask(UpKind::Update, "garage", sender, request.encode()).await;
    UpdateAnswer::parse(&answer).unwrap().offer
}

#[tokio::test]
async fn a_device_and_a_terminal_without_a_key_get_the_signed_offer_of_their_lot_and_the_log_stays_as_it_was()
{
    let mut world = World::new().await;
    let (device, record) = (DeviceId::from_bytes([7; 16]), RecordDigest::from_bytes([8; 16]));
    assert!(asked(&world, &LOT.to_string(), UpdateRequest::of_record(record, LOT, 1)).await.is_empty());
    let offer = roll_out(&mut world);
    let before = world.events().len();
    // Nothing hangs on whether the device is known: an offer is public.
    assert_eq!(asked(&world, &device.to_string(), UpdateRequest::of_device(device, LOT, 1)).await, offer);
    assert_eq!(asked(&world, &LOT.to_string(), UpdateRequest::of_record(record, LOT, 1)).await, offer);
    assert!(asked(&world, &device.to_string(), UpdateRequest::of_device(device, LOT, 2)).await.is_empty());
    let other = LotId::from_bytes([0xee; 4]);
    assert!(asked(&world, &other.to_string(), UpdateRequest::of_record(record, other, 1)).await.is_empty());
    assert_eq!(world.events().len(), before);
}

#[tokio::test]
async fn nobody_asks_in_the_name_of_another() {
    let world = World::new().await;
    let (device, other) = (DeviceId::from_bytes([7; 16]), DeviceId::from_bytes([8; 16]));
    let of_lot = UpdateRequest::of_record(RecordDigest::from_bytes([8; 16]), LOT, 1);
    for request in [UpdateRequest::of_device(other, LOT, 1), of_lot] {
        let answer = world.ask(UpKind::Update, "garage", &device.to_string(), request.encode()).await;
        assert_eq!(reason(&answer), RejectionReason::Malformed);
    }
}

/// More than a source gets for devices that nobody knows.
const TERMINALS: u32 = 300;
const FLOOD: u32 = 400;

#[tokio::test]
async fn the_terminals_of_one_gateway_all_get_the_offer_at_once_and_the_gateway_is_not_charged() {
    let mut world = World::new().await;
    let terminals: Vec<_> = (0..TERMINALS).map(|_| world.burn()).collect();
    let offer = roll_out(&mut world);
    // For the offer, and before it is installed.
    for _ in 0..2 {
        let send = |terminal: &Terminal| {
            let request = UpdateRequest::of_device(terminal.id, LOT, 1).encode();
            world.send(0, UpKind::Update, "gateway", &terminal.name(), request)
        };
        let mut inboxes: Vec<_> = terminals.iter().map(send).collect();
        for inbox in &mut inboxes {
            assert_eq!(UpdateAnswer::parse(&answered(inbox).await).unwrap().offer, offer);
        }
    }
    // A flood of the same gateway in the names of devices that nobody knows is bounded, and ends none of this.
    let mut refused = 0;
    for number in 0..FLOOD {
        let mut id = [0xee; 16];
        id[..4].copy_from_slice(&number.to_le_bytes());
        let device = DeviceId::from_bytes(id);
        let request = UpdateRequest::of_device(device, LOT, 1).encode();
        let answer = world.ask(UpKind::Update, "gateway", &device.to_string(), request).await;
        refused += u64::from(UpdateAnswer::parse(&answer).is_err());
    }
    // On a slow machine some tokens come back meanwhile.
    assert!(refused > 0 && refused <= u64::from(FLOOD) - 256, "{refused}");
    let device = terminals[0].id;
    let request = UpdateRequest::of_device(device, LOT, 1).encode();
    let answer = world.ask(UpKind::Update, "gateway", &device.to_string(), request).await;
    assert_eq!(UpdateAnswer::parse(&answer).unwrap().offer, offer);
    world.until_refused("gateway", RejectionReason::RateExceeded, refused).await;
}

#[tokio::test]
async fn one_source_that_asks_too_often_is_refused_and_others_are_not() {
    let world = World::new().await;
    let request = UpdateRequest::of_record(RecordDigest::from_bytes([8; 16]), LOT, 1);
    let mut served = 0;
    let refused = loop {
        let answer = world.ask(UpKind::Update, "garage", &LOT.to_string(), request.encode()).await;
        if UpdateAnswer::parse(&answer).is_err() {
            break answer;
        }
        served += 1;
    };
    // On a slow machine some tokens come back meanwhile.
    assert!((256..1_000).contains(&served), "{served}");
    assert_eq!(reason(&refused), RejectionReason::RateExceeded);
    let other = world.ask(UpKind::Update, "kiosk", &LOT.to_string(), request.encode()).await;
    assert!(UpdateAnswer::parse(&other).is_ok());
}
