//! Test vectors of how device and cluster speak: `vectors/envelope.json`, from inputs to bytes.
//!
//! They are what an agent in another language is checked against, and the golden bytes of the wire.
//! `MUSTER_WRITE_VECTORS=1 cargo nextest run -p events envelope_vectors` writes the file if it is missing and never
//! touches one that is there: changed bytes mean a new version of the protocol.

#![allow(clippy::unwrap_used, reason = "a test file: a panic is the failure")]
#![allow(clippy::disallowed_methods, reason = "a test that keeps its vectors; the library touches no file")]

mod activation;
mod by_hand;
mod session;
mod unsealed;
mod world;

use data_encoding::HEXLOWER;
use events::envelope::{
    Answer, GrantBody, ReceivedActivation, ReceivedResume, RequestDigest, open_activation_answer,
    open_resume_answer,
};
use events::vocabulary::rejection::RejectionReason;
use events::vocabulary::shared::Legitimacy;
use serde_json::{Value, json};
use session::Epoch;
use std::path::Path;

fn hex(bytes: impl AsRef<[u8]>) -> String {
    HEXLOWER.encode(bytes.as_ref())
}

fn bytes(value: &Value) -> Vec<u8> {
    HEXLOWER.decode(value.as_str().unwrap().as_bytes()).unwrap()
}

/// What an epoch's grant says, without a license.
fn grant(epoch: &Epoch) -> GrantBody {
    GrantBody {
        epoch: epoch.binding.epoch,
        server_nonce: epoch.server_nonce,
        suite: epoch.binding.suite,
        generation: world::GENERATION,
        stamp: world::at(5_000),
        interval_millis: 30_000,
        legitimacy: Legitimacy::Legitimate,
        lease: 0,
        license_token: None,
    }
}

fn computed() -> Value {
    let (activation, rekey) = (activation::with_code(), activation::rekey());
    json!({
        "cluster": cluster(),
        "device": device(),
        "ticket": activation::ticket(),
        "activation": activation::vector(&activation),
        "activation_answer": activation::answers(&activation),
        "rekey": activation::vector(&rekey),
        "rekey_answer": activation::answers(&rekey),
        "resume": session::resume(&activation),
        "epochs": {
            "activated": activation::granted(&activation).vector(None),
            "resumed": session::resumed(&activation).vector(None),
            "rekeyed": activation::granted(&rekey).vector(Some(session::directive())),
        },
        "refusals": unsealed::refusals(),
        "tamper": unsealed::tamper(),
        "code": unsealed::code(),
        "wrapped": unsealed::wrapped(),
    })
}

fn cluster() -> Value {
    let keyring = world::keyring();
    json!({
        "cluster": keyring.cluster,
        "public": keyring.public(),
        "cluster_private_key": hex(world::CLUSTER_KEY),
        "ticket_key": hex(world::TICKET_KEY),
    })
}

fn device() -> Value {
    let key = world::seed().device_key();
    json!({
        "device_id": world::device(),
        "seed": hex(world::seed().as_bytes()),
        "private_key": hex(&key.to_bytes()[..]),
        "public_key": key.public(),
        "pre_shared_key": hex(world::seed().pre_shared_key().as_bytes()),
    })
}

fn vectors() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/envelope.json");
    if !path.exists() && std::env::var_os("MUSTER_WRITE_VECTORS").is_some() {
        std::fs::write(&path, serde_json::to_string_pretty(&computed()).unwrap() + "\n").unwrap();
    }
    serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap()
}

#[test]
fn envelope_vectors_follow_from_their_inputs() {
    let (kept, computed) = (vectors(), computed());
    for (part, expected) in computed.as_object().unwrap() {
        assert_eq!(&kept[part], expected, "{part}");
    }
    assert_eq!(kept, computed, "and nothing else is in the file");
}

#[test]
fn the_cluster_opens_the_activations_of_the_vectors() {
    let (kept, keyring) = (vectors(), world::keyring());
    for (name, sealed) in [("activation", activation::with_code()), ("rekey", activation::rekey())] {
        for message in ["message", "renewed_message"] {
            let message = bytes(&kept[name][message]);
            let received = ReceivedActivation::parse(&message).unwrap();
            let issued = received.ticket().stamp;
            let ticketed = received.check_ticket(&keyring.ticket_key, world::GENERATION, issued).unwrap();
            let gated = ticketed.check_mac(&world::seed().pre_shared_key()).unwrap();
            let verified = gated.open(&keyring, &world::seed().device_key().public()).unwrap();
            assert_eq!((verified.body, verified.offered), (sealed.body.clone(), sealed.offered));
            assert_eq!(verified.exporter, sealed.prepared.exporter);
        }
    }
}

#[test]
fn the_device_opens_the_answers_of_the_vectors() {
    let (kept, sealed) = (vectors(), activation::with_code());
    let open = |name: &str| {
        let message = bytes(&kept["activation_answer"][name]["message"]);
        open_activation_answer(&sealed.prepared.exporter, &sealed.prepared.message, &message).unwrap()
    };
    let (index, answer) = open("granted");
    assert_eq!(index, 1001);
    assert!(matches!(answer, Answer::Granted(grant) if grant.epoch == 1 && grant.license_token.is_some()));
    assert_eq!(open("refused"), (1002, Answer::Refused(RejectionReason::CodeRefused)));

    let secret = activation::granted(&sealed).secret;
    let request = bytes(&kept["resume"]["message"]);
    let head = *ReceivedResume::parse(&request).unwrap().head();
    let message = bytes(&kept["resume"]["granted"]["message"]);
    let granted = grant(&session::resumed(&sealed));
    let opened = open_resume_answer(&secret, &head, &request, &message);
    assert_eq!(opened, Ok((3001, Answer::Granted(granted))));
}

#[test]
fn heartbeats_and_verdicts_of_the_vectors_open_in_their_epoch_only() {
    let (activation, rekey) = (activation::with_code(), activation::rekey());
    let epochs = [
        ("activated", activation::granted(&activation)),
        ("resumed", session::resumed(&activation)),
        ("rekeyed", activation::granted(&rekey)),
    ];
    let kept = vectors();
    for (name, epoch) in &epochs {
        let keys = epoch.secret.session_keys(world::device(), epoch.binding.epoch, epoch.binding.suite);
        for (said_in, _) in &epochs {
            let heartbeat = bytes(&kept["epochs"][said_in]["heartbeat"]["message"]);
            let verdict = bytes(&kept["epochs"][said_in]["verdict"]["message"]);
            assert_eq!(keys.open_heartbeat(&heartbeat).is_ok(), name == said_in);
            let opened = keys.open_verdict(&RequestDigest::of(&heartbeat), &verdict);
            assert_eq!(opened.is_ok(), name == said_in);
        }
    }
}
