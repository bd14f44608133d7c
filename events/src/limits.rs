//! Every maximum in one place, with the relations between them checked at compile time.

/// A message that a terminal may send, whole, in bytes. An activation is the largest: 507 with eight components.
pub const MESSAGE_BYTES_MAX: usize = 2048;
/// Events in one batch, routine heartbeats not counted.
pub const BATCH_EVENTS_MAX: usize = 4096;
/// Routine heartbeats in one batch.
pub const BATCH_HEARTBEATS_MAX: usize = 16_384;
/// One encoded batch, in bytes; a forwarded batch must fit into one message between peers.
pub const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;
/// One encoded event, in bytes.
pub const EVENT_BYTES_MAX: usize = 256 * 1024;
/// One frame of the log, in bytes.
pub const FRAME_BYTES_MAX: usize = 8 * 1024 * 1024;
/// A segment is closed once it is this large, in bytes.
pub const SEGMENT_BYTES_TARGET: u64 = 64 * 1024 * 1024;

/// A source's name: what a NATS connection is confined to.
pub const SOURCE_NAME_BYTES_MAX: usize = 32;
/// The name of an app on a terminal, as its agent's configuration lists it.
pub const APP_NAME_BYTES_MAX: usize = 32;
/// A region's name.
pub const REGION_NAME_BYTES_MAX: usize = 32;
/// `<region>.<source>`.
pub const SOURCE_ID_BYTES_MAX: usize = REGION_NAME_BYTES_MAX + 1 + SOURCE_NAME_BYTES_MAX;

/// Components of a fingerprint (protocol.md rule 23).
pub const COMPONENTS_MAX: usize = 8;
/// The raw value of one component, in bytes.
pub const COMPONENT_VALUE_BYTES_MAX: usize = 64;
/// A lot's SKU, in bytes.
pub const SKU_BYTES_MAX: usize = 64;
/// Entries of one manifest, about 7 MB; larger exports come in parts.
pub const MANIFEST_ENTRIES_MAX: usize = 16_384;

/// A license token, in bytes; it travels in sealed answers.
pub const LICENSE_TOKEN_BYTES_MAX: usize = 1536;
/// A signed update offer, in bytes; it travels in unsealed answers.
pub const UPDATE_OFFER_BYTES_MAX: usize = 1536;
/// Lots that one offer names.
pub const UPDATE_LOTS_MAX: usize = 16;
/// Name of what an artifact is, for the terminal's hook.
pub const UPDATE_KIND_BYTES_MAX: usize = 32;
/// Places of one artifact.
pub const UPDATE_URLS_MAX: usize = 4;
/// One of them, in bytes.
pub const UPDATE_URL_BYTES_MAX: usize = 255;
/// Phases of a rollout.
pub const UPDATE_PHASES_MAX: usize = 8;
/// Codes that one `CodesIssued` event carries.
pub const CODES_PER_EVENT_MAX: usize = 4096;

/// A ticket is valid this long, in log time (protocol.md rule 1).
pub const TICKET_MILLIS_MAX: u64 = 60_000;
/// Pending successors of an epoch (protocol.md rule 5).
pub const PENDING_SUCCESSORS_MAX: usize = 4;
/// Content digests kept per device (protocol.md rule 2).
pub const CONTENT_DIGESTS_MAX: usize = 8;
/// Width of the sequence window (RFC 6479 style).
pub const WINDOW_WIDTH: u32 = 64;
/// So long after a re-key the cluster grants no further one that nothing demands, in milliseconds of log time. An agent
/// waits an hour by its own clock; the difference is slack for what the first one was under way.
pub const REKEY_REST_MILLIS: u64 = 45 * 60_000;
/// So many times within that rest may a device present the code of the license that it has. Fewer than the superseded
/// epochs that are kept plus one: what another holder of the code supersedes stays kept, so the other can take it back.
pub const REACTIVATIONS_MAX: usize = 2;
/// How far ahead of what the cluster knows a re-key may claim its epoch (protocol.md rule 6).
pub const EPOCH_CLAIM_JUMP_MAX: u32 = 1024;

/// Bodies from a spool that one heartbeat brings: it then still fits into one packet of most networks.
pub const SPOOLED_BODIES_MAX: usize = 32;
/// Bodies that a terminal may keep through outages, and that a node takes of it at once.
pub const SPOOL_BODIES_MAX: usize = 512;

/// Entries of one `RejectionSummary`; what does not fit is counted in its overflow.
pub const REJECTION_ENTRIES_MAX: usize = 64;
/// A node closes its summary this often, in milliseconds.
pub const REJECTION_WINDOW_MILLIS: u64 = 2_000;

/// Nodes whose state digests are compared use every index that this divides; in large fleets every one that a multiple of
/// this divides.
pub const DIGEST_INDEX_INTERVAL: u64 = 64;

const _: () = {
    assert!(EVENT_BYTES_MAX < BATCH_BYTES_MAX);
    assert!(BATCH_BYTES_MAX < FRAME_BYTES_MAX);
    assert!((FRAME_BYTES_MAX as u64) < SEGMENT_BYTES_TARGET);
    assert!(BATCH_HEARTBEATS_MAX * 24 < BATCH_BYTES_MAX);
    assert!(CODES_PER_EVENT_MAX * 16 < EVENT_BYTES_MAX);
    assert!(MESSAGE_BYTES_MAX < EVENT_BYTES_MAX);
    assert!(LICENSE_TOKEN_BYTES_MAX < MESSAGE_BYTES_MAX);
    // Lengths that the formats hold in one and in two bytes.
    assert!(SKU_BYTES_MAX <= u8::MAX as usize && COMPONENT_VALUE_BYTES_MAX <= u16::MAX as usize);
    // The largest offer: fixed fields, a SKU, kind, URLs, signature.
    assert!(
        91 + SKU_BYTES_MAX + UPDATE_KIND_BYTES_MAX + 2 + UPDATE_URLS_MAX * (1 + UPDATE_URL_BYTES_MAX) + 96
            <= UPDATE_OFFER_BYTES_MAX
    );
    assert!(4 * UPDATE_LOTS_MAX <= SKU_BYTES_MAX && UPDATE_URL_BYTES_MAX <= u8::MAX as usize);
    assert!(UPDATE_OFFER_BYTES_MAX < MESSAGE_BYTES_MAX);
    assert!(APP_NAME_BYTES_MAX <= u8::MAX as usize);
    assert!(CONTENT_DIGESTS_MAX as u32 <= WINDOW_WIDTH);
    // The count of spooled bodies has one byte; header, bodies, tag.
    assert!(SPOOLED_BODIES_MAX <= u8::MAX as usize && SPOOLED_BODIES_MAX <= SPOOL_BODIES_MAX);
    assert!(40 + 27 + 2 + 25 * SPOOLED_BODIES_MAX + 16 < MESSAGE_BYTES_MAX);
};
