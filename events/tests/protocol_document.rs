//! `PROTOCOL.md` says what the code does: its tables of numbers, sizes, limits and labels are compared with the code,
//! so that neither can move alone.

#![allow(clippy::unwrap_used, reason = "a test file: a panic is the failure")]
#![allow(clippy::disallowed_methods, reason = "a test that reads sources; the library touches no file")]

use events::envelope::header::DownHeader;
use events::envelope::{
    Header, HeartbeatStatus, MessageKind, Refusal, Ticket, activation, heartbeat, resume, tamper, ticket,
    verdict,
};
use events::identity::certificate::CERTIFICATE_BYTES;
use events::identity::otp::{OtpProfile, RECORD_BYTES, SLOT_BYTES};
use events::ids::DeviceId;
use events::license::LicenseRefusal;
use events::limits;
use events::update::{REQUEST_BYTES, UpdateFailure, UpdateRefusal};
use events::vocabulary::heartbeat::condition;
use events::vocabulary::rejection::{RejectionReason, TamperReason};
use events::vocabulary::shared::{ComponentKind, Legitimacy, OperationKind, Suite};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const DOCUMENT: &str = include_str!("../PROTOCOL.md");

/// The rows of the first table below a heading, as cells without backticks; its head and rule are left out.
fn table(heading: &str) -> Vec<Vec<String>> {
    let is_heading = |line: &&str| line.starts_with('#') && line.trim_start_matches('#').trim() == heading;
    let mut below = DOCUMENT.lines().skip_while(|line| !is_heading(line)).skip(1);
    let rows: Vec<_> = below
        .by_ref()
        .skip_while(|line| !line.starts_with('|') && !line.starts_with('#'))
        .take_while(|line| line.starts_with('|'))
        .map(cells)
        .skip(2)
        .collect();
    assert!(!rows.is_empty(), "no table below `{heading}`");
    rows
}

fn cells(line: &str) -> Vec<String> {
    let inner = line.trim().trim_matches('|');
    inner.split('|').map(|cell| cell.trim().trim_matches('`').to_owned()).collect()
}

/// First column a number, second a name.
fn numbered(heading: &str) -> Vec<(u64, String)> {
    table(heading).into_iter().map(|row| (row[0].parse().unwrap(), row[1].clone())).collect()
}

/// First column a name, second a number.
fn named(heading: &str) -> Vec<(String, u64)> {
    table(heading).into_iter().map(|row| (row[0].clone(), row[1].parse().unwrap())).collect()
}

macro_rules! the_document_names_every {
    ($($test:ident: $kind:ident),+ $(,)?) => {$(
        #[test]
        fn $test() {
            let code: Vec<_> =
                $kind::ALL.iter().map(|&value| (value as u64, value.as_str().to_owned())).collect();
            assert_eq!(numbered(concat!("`", stringify!($kind), "`")), code);
        }
    )+};
}

the_document_names_every! {
    the_document_names_every_message_kind: MessageKind,
    the_document_names_every_rejection_reason: RejectionReason,
    the_document_names_every_suite: Suite,
    the_document_names_every_component_kind: ComponentKind,
    the_document_names_every_legitimacy: Legitimacy,
    the_document_names_every_operation_kind: OperationKind,
    the_document_names_every_heartbeat_status: HeartbeatStatus,
    the_document_names_every_tamper_reason: TamperReason,
    the_document_names_every_otp_profile: OtpProfile,
    the_document_names_every_refusal_to_an_app: LicenseRefusal,
    the_document_names_every_refusal_of_an_offer: UpdateRefusal,
    the_document_names_every_failure_of_an_update: UpdateFailure,
}

#[test]
fn the_document_names_every_bit_of_a_condition() {
    let bits: Vec<_> = numbered("`condition`").into_iter().map(|(bit, name)| (1 << bit, name)).collect();
    let code = [
        (condition::RESTRICTED, "RESTRICTED"),
        (condition::CLOCK_ROLLBACK, "CLOCK_ROLLBACK"),
        (condition::SPOOL_DROPPED, "SPOOL_DROPPED"),
    ];
    assert_eq!(bits, code.map(|(bit, name)| (u64::from(bit), name.to_owned())));
}

#[test]
fn the_document_says_what_to_do_about_every_refusal() {
    let told: Vec<_> =
        table("5.9 What a refusal means, and what to do").into_iter().map(|row| row[0].clone()).collect();
    let code: Vec<_> = RejectionReason::ALL.iter().map(|reason| reason.as_str().to_owned()).collect();
    assert_eq!(told, code);
}

#[test]
fn the_sizes_of_the_document_are_those_of_the_code() {
    let hello = ticket::encode_hello(DeviceId::from_bytes([0; 16])).len();
    let code = [
        ("up header", Header::BYTES),
        ("down header", DownHeader::BYTES),
        ("hello", hello),
        ("ticket", Ticket::BYTES),
        ("ticket answer", 2 + Ticket::BYTES),
        ("activation, without components", activation::ACTIVATION_BYTES_MIN),
        ("activation, with eight components", activation::ACTIVATION_BYTES_MIN + 8 * 9),
        ("resume", resume::RESUME_BYTES),
        ("heartbeat", heartbeat::HEARTBEAT_BYTES),
        ("heartbeat with 32 spooled bodies", heartbeat::heartbeat_bytes(limits::SPOOLED_BODIES_MAX)),
        ("verdict", verdict::VERDICT_BYTES),
        ("refusal", Refusal::BYTES),
        ("tamper report", tamper::TAMPER_BYTES),
        ("update request", REQUEST_BYTES),
        ("OTP record", RECORD_BYTES),
        ("OTP slot", SLOT_BYTES),
        ("station certificate", CERTIFICATE_BYTES),
    ];
    assert_eq!(named("Sizes"), code.map(|(name, bytes)| (name.to_owned(), bytes as u64)));
}

#[test]
fn the_limits_of_the_document_are_those_of_the_code() {
    let code = [
        ("message, bytes", limits::MESSAGE_BYTES_MAX as u64),
        ("license token, bytes", limits::LICENSE_TOKEN_BYTES_MAX as u64),
        ("component value, bytes", limits::COMPONENT_VALUE_BYTES_MAX as u64),
        ("components", limits::COMPONENTS_MAX as u64),
        ("name of a source, bytes", limits::SOURCE_NAME_BYTES_MAX as u64),
        ("name of a region, bytes", limits::REGION_NAME_BYTES_MAX as u64),
        ("name of an app, bytes", limits::APP_NAME_BYTES_MAX as u64),
        ("SKU, bytes", limits::SKU_BYTES_MAX as u64),
        ("manifest entries", limits::MANIFEST_ENTRIES_MAX as u64),
        ("ticket, milliseconds of log time", limits::TICKET_MILLIS_MAX),
        ("pending successors of an epoch", limits::PENDING_SUCCESSORS_MAX as u64),
        ("content digests kept per device", limits::CONTENT_DIGESTS_MAX as u64),
        ("width of the sequence window", u64::from(limits::WINDOW_WIDTH)),
        ("jump of an epoch claimed", u64::from(limits::EPOCH_CLAIM_JUMP_MAX)),
        ("update offer, bytes", limits::UPDATE_OFFER_BYTES_MAX as u64),
        ("lots of an offer", limits::UPDATE_LOTS_MAX as u64),
        ("name of a kind of artifact, bytes", limits::UPDATE_KIND_BYTES_MAX as u64),
        ("URLs of an offer", limits::UPDATE_URLS_MAX as u64),
        ("URL of an offer, bytes", limits::UPDATE_URL_BYTES_MAX as u64),
        ("phases of a rollout", limits::UPDATE_PHASES_MAX as u64),
        ("spooled bodies of a heartbeat", limits::SPOOLED_BODIES_MAX as u64),
        ("bodies of a spool", limits::SPOOL_BODIES_MAX as u64),
        ("activations with the code of its own license within a rest", limits::REACTIVATIONS_MAX as u64),
    ];
    assert_eq!(named("Limits"), code.map(|(name, value)| (name.to_owned(), value)));
}

#[test]
fn the_document_lists_every_label_of_the_code_and_no_other() {
    let listed: Vec<_> = table("Labels").into_iter().map(|row| row[0].clone()).collect();
    let document: BTreeSet<_> = listed.iter().cloned().collect();
    assert_eq!(document.len(), listed.len(), "a label is listed twice");
    let code: BTreeSet<_> = sources().iter().flat_map(|source| labels(source)).collect();
    assert_eq!(document, code);
}

#[test]
fn the_document_places_every_rule_that_binds_an_agent() {
    let rules: Vec<_> = numbered("Rules").into_iter().map(|(rule, _)| rule).collect();
    assert_eq!(rules, (1..=18).chain([20]).collect::<Vec<_>>());
}

/// The byte strings `b"muster v1 …"` of a source, as they are written there.
fn labels(source: &str) -> Vec<String> {
    let mut found: Vec<_> = source.split("b\"muster v1 ").skip(1).collect();
    found.retain(|rest| rest.contains('"'));
    found.iter().filter_map(|rest| rest.split('"').next()).map(|rest| format!("muster v1 {rest}")).collect()
}

/// What speaks on a wire or is burned; the log's formats at rest are another matter.
fn sources() -> Vec<String> {
    let mut files = Vec::new();
    for room in ["envelope", "identity", "keyring", "license", "update"] {
        collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(room), &mut files);
    }
    assert!(files.len() > 20, "only {} sources found", files.len());
    files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs") {
            files.push(path);
        }
    }
}
