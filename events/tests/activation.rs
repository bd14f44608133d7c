//! Activation from seal to verified, and what an attacker gains at each gate (protocol.md rules 1, 15, 16, 17).

#![allow(clippy::unwrap_used, reason = "a test file: a panic is the failure")]

use events::envelope::session::EpochBinding;
use events::envelope::ticket::TicketRefused;
use events::envelope::*;
use events::identity::key::{DeviceSeed, PublicKey};
use events::ids::{BootId, ClusterId, RecordDigest};
use events::keyring::Keyring;
use events::license::code::ActivationCode;
use events::limits::MESSAGE_BYTES_MAX;
use events::time::Timestamp;
use events::vocabulary::provisioning::ComponentDigest;
use events::vocabulary::shared::{ComponentKind, Suite};
use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;

struct World {
    keyring: Keyring,
    seed: DeviceSeed,
}

const NOW: Timestamp = Timestamp::from_millis(5_000);

impl World {
    fn new() -> Self {
        let mut rng = UnwrapErr(SysRng);
        let keyring = Keyring::generate(&mut rng, ClusterId::from_bytes([1; 16]));
        World { keyring, seed: DeviceSeed::generate(&mut rng) }
    }

    fn ticket(&self) -> Ticket {
        Ticket::issue(&self.keyring.ticket_key, 1, [4; 16], 17, NOW)
    }

    fn body(&self) -> ActivationBody {
        ActivationBody {
            code: Some(ActivationCode::generate(&mut UnwrapErr(SysRng))),
            record: RecordDigest::from_bytes([2; 16]),
            random: [3; 32],
            boot: BootId::from_bytes([5; 16]),
            boot_count: 1,
            firmware: 10_000,
            epoch_claimed: 0,
            components: ComponentKind::ALL
                .iter()
                .map(|&kind| ComponentDigest { kind, digest: [kind as u8; 8] })
                .collect(),
        }
    }

    fn seal(&self, body: &ActivationBody) -> PreparedActivation {
        seal_activation(
            &mut UnwrapErr(SysRng),
            &self.seed.device_key(),
            &self.seed.pre_shared_key(),
            &self.keyring.public(),
            SuiteSet::ALL,
            &self.ticket(),
            body,
        )
        .unwrap()
    }

    fn gate<'a>(&self, message: &'a [u8]) -> Result<GatedActivation<'a>, EnvelopeError> {
        let received = ReceivedActivation::parse(message)?;
        received.check_ticket(&self.keyring.ticket_key, 1, NOW)?.check_mac(&self.seed.pre_shared_key())
    }

    fn public(&self) -> PublicKey {
        self.seed.device_key().public()
    }
}

#[test]
fn both_ends_of_an_activation_arrive_at_the_same_session() {
    let world = World::new();
    let body = world.body();
    let sealed = world.seal(&body);
    assert!(sealed.message.len() <= MESSAGE_BYTES_MAX);
    let verified = world.gate(&sealed.message).unwrap().open(&world.keyring, &world.public()).unwrap();
    assert_eq!(verified.body, body);
    assert_eq!(verified.ticket, world.ticket());
    assert_eq!(verified.exporter, sealed.exporter);

    let binding = EpochBinding {
        device: verified.device,
        epoch: 1,
        offered: verified.offered,
        suite: Suite::Aes256Gcm,
    };
    let nodes = after_activation(&verified.exporter, &[9; 32], &binding);
    let agents = after_activation(&sealed.exporter, &[9; 32], &binding);
    assert_eq!(nodes, agents);
}

#[test]
fn rule_17_a_third_party_checks_the_signature_from_what_the_log_keeps() {
    let world = World::new();
    let sealed = world.seal(&world.body());
    let verified = world.gate(&sealed.message).unwrap().open(&world.keyring, &world.public()).unwrap();
    let covered = activation::signed(&verified.transcript);
    assert!(world.public().verify(&covered, &verified.signature).is_ok());
    let mut altered = verified.transcript.clone();
    altered[2] ^= 1;
    assert!(world.public().verify(&activation::signed(&altered), &verified.signature).is_err());
}

#[test]
fn rule_15_every_changed_bit_is_refused_before_any_p384() {
    let world = World::new();
    let sealed = world.seal(&world.body());
    for bit in 0..sealed.message.len() * 8 {
        let mut changed = sealed.message.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(world.gate(&changed).is_err(), "bit {bit} passed the gates");
    }
}

#[test]
fn rule_15_a_stranger_without_the_pre_shared_key_stops_at_the_mac() {
    let world = World::new();
    let stranger = World { keyring: world.keyring.clone(), seed: DeviceSeed::from_bytes([7; 32]) };
    let sealed = stranger.seal(&stranger.body());
    assert_eq!(world.gate(&sealed.message).unwrap_err(), EnvelopeError::NotAuthentic);
}

#[test]
fn rule_1_an_activation_with_a_stale_or_foreign_ticket_stops_at_the_ticket() {
    let world = World::new();
    let sealed = world.seal(&world.body());
    let refuse = |generation, now| {
        let received = ReceivedActivation::parse(&sealed.message).unwrap();
        received.check_ticket(&world.keyring.ticket_key, generation, now).unwrap_err()
    };
    assert_eq!(refuse(1, NOW.plus_millis(60_001)), EnvelopeError::Ticket(TicketRefused::Expired));
    assert_eq!(refuse(2, NOW), EnvelopeError::Ticket(TicketRefused::Generation));
}

#[test]
fn rule_18_a_renewed_ticket_keeps_the_sealed_activation_as_it_was() {
    let world = World::new();
    let sealed = world.seal(&world.body());
    let later = Ticket::issue(&world.keyring.ticket_key, 1, [9; 16], 99, NOW);
    let renewed =
        sealed.with_ticket(&world.seed.pre_shared_key(), world.public().device_id(), &later).unwrap();
    assert_ne!(renewed.message, sealed.message);
    let open = |message: &[u8]| world.gate(message).unwrap().open(&world.keyring, &world.public()).unwrap();
    let (first, second) = (open(&sealed.message), open(&renewed.message));
    assert_eq!((first.transcript, first.exporter), (second.transcript, second.exporter));
    assert_eq!(second.ticket, later);
    let thief = DeviceSeed::from_bytes([7; 32]).pre_shared_key();
    let stolen = sealed.with_ticket(&thief, world.public().device_id(), &later).unwrap();
    assert_eq!(world.gate(&stolen.message).unwrap_err(), EnvelopeError::NotAuthentic);
}

#[test]
fn an_activation_for_another_device_or_cluster_does_not_open() {
    let world = World::new();
    let sealed = world.seal(&world.body());
    let gated = world.gate(&sealed.message).unwrap();
    let other_device = DeviceSeed::from_bytes([8; 32]).device_key().public();
    assert_eq!(gated.open(&world.keyring, &other_device).unwrap_err(), EnvelopeError::NotAuthentic);
    let mut other_cluster = world.keyring.clone();
    other_cluster.cluster = ClusterId::from_bytes([2; 16]);
    assert_eq!(gated.open(&other_cluster, &world.public()).unwrap_err(), EnvelopeError::NotAuthentic);
}

#[test]
fn components_have_one_order_and_each_kind_once() {
    let world = World::new();
    let component = |kind| ComponentDigest { kind, digest: [6; 8] };
    let (soc, mac) = (component(ComponentKind::SocSerial), component(ComponentKind::MacAddress));
    for (components, allowed) in [(vec![soc, mac], true), (vec![mac, soc], false), (vec![soc, soc], false)] {
        let sealed = world.seal(&ActivationBody { components, ..world.body() });
        let opened = world.gate(&sealed.message).unwrap().open(&world.keyring, &world.public());
        assert_eq!(opened.is_ok(), allowed);
    }
}

#[test]
fn rule_6_a_re_key_is_an_activation_without_a_code() {
    let world = World::new();
    let body = ActivationBody { code: None, epoch_claimed: 12, ..world.body() };
    let sealed = world.seal(&body);
    let verified = world.gate(&sealed.message).unwrap().open(&world.keyring, &world.public()).unwrap();
    assert_eq!((verified.body.code, verified.body.epoch_claimed), (None, 12));
}

#[test]
fn no_bytes_panic_the_cluster_side() {
    let world = World::new();
    let sealed = world.seal(&world.body());
    for len in 0..sealed.message.len() {
        assert!(world.gate(&sealed.message[..len]).is_err(), "{len} bytes passed the gates");
    }
}
