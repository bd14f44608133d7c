//! Ticket, activation, re-key and their answers.

use crate::by_hand::{self, Hpke, hkdf};
use crate::session::{Epoch, answer_vector};
use crate::world::{self, Constant, GENERATION};
use crate::{grant, hex};
use events::envelope::ticket::encode_hello;
use events::envelope::{
    ActivationBody, Answer, PreparedActivation, SuiteSet, Ticket, after_activation, seal_activation,
    seal_activation_answer,
};
use events::vocabulary::rejection::RejectionReason;
use events::vocabulary::shared::Suite;
use serde_json::{Value, json};

/// An activation and what it was made from.
pub struct Sealed {
    pub prepared: PreparedActivation,
    pub body: ActivationBody,
    pub offered: SuiteSet,
    ticket: Ticket,
    /// Every byte of what the ephemeral key is derived from.
    ephemeral: u8,
}

pub fn ticket() -> Value {
    let ticket = world::ticket(0x41, 1000, 0);
    json!({
        "hello": hex(encode_hello(world::device())),
        "generation": ticket.generation,
        "random": hex(ticket.random),
        "applied": ticket.applied,
        "stamp": ticket.stamp,
        "ticket": hex(ticket.encode()),
        "answer": hex(ticket.encode_answer()),
    })
}

/// With a code, offering both suites.
pub fn with_code() -> Sealed {
    let body = ActivationBody {
        code: Some(world::code()),
        record: world::record(),
        random: [0x45; 32],
        boot: world::boot(),
        boot_count: 3,
        firmware: 10_200,
        epoch_claimed: 0,
        components: world::components(),
    };
    seal(body, SuiteSet::ALL, world::ticket(0x41, 1000, 0), 0x47)
}

/// Without a code, offering ChaCha20-Poly1305 only, long after.
pub fn rekey() -> Sealed {
    let body = ActivationBody {
        code: None,
        random: [0x4b; 32],
        boot_count: 9,
        epoch_claimed: 8,
        components: Vec::new(),
        ..with_code().body
    };
    seal(body, SuiteSet::of(&[Suite::ChaCha20Poly1305]), world::ticket(0x4c, 9000, 86_400_000), 0x4d)
}

fn seal(body: ActivationBody, offered: SuiteSet, ticket: Ticket, ephemeral: u8) -> Sealed {
    let (key, pre_shared) = (world::seed().device_key(), world::seed().pre_shared_key());
    let (rng, cluster) = (&mut Constant(ephemeral), world::keyring().public());
    let prepared = seal_activation(rng, &key, &pre_shared, &cluster, offered, &ticket, &body).unwrap();
    Sealed { prepared, body, offered, ticket, ephemeral }
}

pub fn vector(sealed: &Sealed) -> Value {
    let message = &sealed.prepared.message;
    let (covered, mac) = message.split_at(message.len() - 32);
    let (transcript, rest) = covered.split_at(covered.len() - 96 - Ticket::BYTES);
    let (signature, ticket) = rest.split_at(96);
    assert_eq!(ticket, sealed.ticket.encode());
    let (aad, encapsulated, ciphertext) = (&transcript[..44], &transcript[44..141], &transcript[141..]);

    let (device, pre_shared) = (world::device(), world::seed().pre_shared_key());
    let psk = pre_shared.as_bytes();
    let info = [b"muster v1 activation", &world::keyring().cluster.as_bytes()[..]].concat();
    let hpke = Hpke { secret_key: &world::CLUSTER_KEY, info: &info, psk, psk_id: device.as_bytes() };
    let (body, exporter) = hpke.open(encapsulated, aad, ciphertext);
    assert_eq!(&exporter, sealed.prepared.exporter.as_bytes());
    let gate_key = hkdf(device.as_bytes(), psk, &[b"muster v1 activation gate"], 48);
    assert_eq!(by_hand::hmac(&gate_key, covered)[..32], *mac);

    let renewed = world::ticket(0x42, 2000, 120_000);
    let again = sealed.prepared.with_ticket(&pre_shared, device, &renewed).unwrap();
    json!({
        "offered": sealed.offered,
        "ephemeral_ikm": hex([sealed.ephemeral; 48]),
        "ticket": hex(ticket),
        "body_fields": body_fields(&sealed.body),
        "info": hex(&info),
        "associated_data": hex(aad),
        "body": hex(body),
        "encapsulated_key": hex(encapsulated),
        "ciphertext": hex(ciphertext),
        "exporter": hex(exporter),
        "signature": hex(signature),
        "gate_key": hex(gate_key),
        "mac": hex(mac),
        "message": hex(message),
        "renewed_ticket": hex(renewed.encode()),
        "renewed_message": hex(again.message),
    })
}

fn body_fields(body: &ActivationBody) -> Value {
    let components = body.components.iter();
    json!({
        "code": body.code.as_ref().map(|code| code.to_string()),
        "record": body.record,
        "random": hex(body.random),
        "boot": body.boot,
        "boot_count": body.boot_count,
        "firmware": body.firmware,
        "epoch_claimed": body.epoch_claimed,
        "components": components
            .map(|component| json!({ "kind": component.kind, "digest": hex(component.digest) }))
            .collect::<Vec<_>>(),
    })
}

/// The epoch that an activation is granted: 1 for the first, 9 for the re-key that claims 8.
pub fn granted(sealed: &Sealed) -> Epoch {
    let suite = sealed.offered.choose(&[Suite::Aes256Gcm, Suite::ChaCha20Poly1305]).unwrap();
    let server_nonce = [sealed.ephemeral + 1; 32];
    let epoch = Epoch::new(sealed.body.epoch_claimed + 1, sealed.offered, suite);
    let secret = after_activation(&sealed.prepared.exporter, &server_nonce, &epoch.binding);
    Epoch { secret, server_nonce, ..epoch }
}

pub fn answers(sealed: &Sealed) -> Value {
    let epoch = granted(sealed);
    let grant = events::envelope::GrantBody {
        license_token: sealed.body.code.as_ref().map(|_| "header.claims.signature".to_owned()),
        lease: u32::from(sealed.body.code.is_some()),
        generation: GENERATION,
        ..grant(&epoch)
    };
    let exporter = &sealed.prepared.exporter;
    let key = hkdf(&[], exporter.as_bytes(), &[b"muster v1 activation answer"], 32);
    let request = &sealed.prepared.message;
    let seal =
        |index, nonce, answer: &Answer| seal_activation_answer(exporter, request, index, nonce, answer);
    json!({
        "key": hex(&key),
        "granted": answer_vector(&key, request, 1001, [0x61; 12], &Answer::Granted(grant), seal),
        "refused": answer_vector(
            &key, request, 1002, [0x62; 12], &Answer::Refused(RejectionReason::CodeRefused), seal,
        ),
    })
}
