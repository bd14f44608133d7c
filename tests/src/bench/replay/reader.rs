//! Read, checksum, decrypt, and nothing done with it.

use super::Log;
use anyhow::{Result, ensure};
use events::batch::{access, split_stamp};
use events::keyring::Keyring;
use events::log::frame::FRAME_OVERHEAD_BYTES;
use events::log::record::EntryBody;
use nodes::storage::log_reader::History;
use ops::offline::open_log;
use ops::spent::Spent;
use serde::Serialize;

/// Of the part of the log that holds heartbeats; by the time of one core.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ReaderFigures {
    pub heartbeats_per_second: f64,
    pub bytes_per_second: f64,
    pub bytes_per_heartbeat: f64,
}

pub(super) fn measure(log: &Log, keyring: &Keyring) -> Result<ReaderFigures> {
    let (mut began, mut bytes, mut sample) = (None, 0, 0);
    for history in open_log(&log.data, keyring)? {
        let History::Entry(held) = history? else { continue };
        if held.entry.at.index < log.beats_from {
            continue;
        }
        began.get_or_insert_with(Spent::mark);
        let body = held.entry.body.bytes();
        // Each entry is followed by the word that it is committed, a frame without a body.
        bytes += body.len() + 2 * FRAME_OVERHEAD_BYTES;
        if held.entry.at.index == log.beats_from
            && let EntryBody::Batch(payload) = &held.entry.body
        {
            sample = access(split_stamp(payload)?.1)?.heartbeats.len();
        }
    }
    ensure!(sample > 0, "entry {} holds no heartbeats", log.beats_from);
    let seconds = began.map_or(f64::NAN, |began| began.since().cpu_seconds);
    Ok(ReaderFigures {
        heartbeats_per_second: log.heartbeats as f64 / seconds,
        bytes_per_second: bytes as f64 / seconds,
        bytes_per_heartbeat: bytes as f64 / log.heartbeats as f64,
    })
}
