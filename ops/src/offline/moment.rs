//! A moment of the log, as people write it: an index, or a time.
//!
//! ```text
//!   4711                       the log index
//!   2026-11-22T14:34:00Z       RFC 3339; also with a blank, without seconds, with an offset (+02:00)
//!   2026-11-22                 the beginning of that day
//!   yesterday 14:34            also `today 14:34`, and with seconds
//!   -2h                        so long ago: s, m, h, d and sums of them (-1h30m)
//!   now
//! ```
//!
//! A time without an offset is UTC, as all times are printed. Anything else is refused: a moment that is guessed wrong
//! would answer another question.

use events::batch::split_stamp;
use events::ids::LogIndex;
use events::log::record::EntryBody;
use events::time::Timestamp;
use nodes::storage::log_reader::HistoryEntry;
use projector::Projector;
use std::time::{Duration, UNIX_EPOCH};

const DAY_MILLIS: u64 = 86_400_000;

/// Up to where to fold. The state at a time is the one after the last entry whose stamp is not later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    Index(LogIndex),
    Time(Timestamp),
}

/// Why a text is no moment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no moment; expected a log index (4711), a time (2026-11-22T14:34:00Z, 2026-11-22 14:34), `yesterday \
     14:34`, `today 14:34`, `-2h` or `now`; times are UTC unless they say otherwise"
)]
pub struct MomentError(String);

impl Moment {
    /// Behind every entry.
    pub const END: Moment = Moment::Index(LogIndex::MAX);

    /// Reads what a person wrote at the time `now`.
    pub fn parse(text: &str, now: Timestamp) -> Result<Self, MomentError> {
        let found = match text {
            "now" => Some(Moment::Time(now)),
            _ if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok().map(Moment::Index),
            _ => time(text, now).map(Moment::Time),
        };
        found.ok_or_else(|| MomentError(text.to_owned()))
    }

    /// Whether `entry` belongs to the log up to this moment, if log time was `stamp` before it.
    pub(crate) fn includes(self, entry: &HistoryEntry, stamp: Timestamp) -> bool {
        match self {
            Moment::Index(until) => entry.entry.at.index <= until,
            Moment::Time(until) => stamp_of(entry).unwrap_or(stamp).max(stamp) <= until,
        }
    }

    /// Whether it lies before a state: what was folded cannot be taken back.
    #[must_use]
    pub(super) fn is_before(self, state: &Projector) -> bool {
        match self {
            Moment::Index(index) => index < state.applied(),
            Moment::Time(time) => time < state.stamp(),
        }
    }

    /// Whether an entry that was folded lies before this moment.
    #[must_use]
    pub fn is_after(self, index: LogIndex, stamp: Timestamp) -> bool {
        match self {
            Moment::Index(from) => index < from,
            Moment::Time(from) => stamp < from,
        }
    }
}

impl std::fmt::Display for Moment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Moment::Index(index) => write!(f, "log index {index}"),
            Moment::Time(time) => write!(f, "{time}"),
        }
    }
}

/// The leader's stamp on an entry, if it carries a batch.
pub(crate) fn stamp_of(entry: &HistoryEntry) -> Option<Timestamp> {
    match &entry.entry.body {
        EntryBody::Batch(payload) => split_stamp(payload).ok().map(|(stamp, _)| stamp),
        EntryBody::Blank | EntryBody::Membership(_) => None,
    }
}

fn time(text: &str, now: Timestamp) -> Option<Timestamp> {
    let today = now.as_millis() / DAY_MILLIS * DAY_MILLIS;
    if let Some(span) = text.strip_prefix('-') {
        let ago = humantime::parse_duration(span).ok()?;
        return earlier(now.as_millis(), ago);
    }
    if let Some(clock) = text.strip_prefix("yesterday ") {
        return Some(Timestamp::from_millis(today.checked_sub(DAY_MILLIS)? + time_of_day(clock)?));
    }
    if let Some(clock) = text.strip_prefix("today ") {
        return Some(Timestamp::from_millis(today + time_of_day(clock)?));
    }
    calendar(text)
}

fn earlier(millis: u64, ago: Duration) -> Option<Timestamp> {
    millis.checked_sub(u64::try_from(ago.as_millis()).ok()?).map(Timestamp::from_millis)
}

/// `14:34` or `14:34:05`, in milliseconds since midnight.
fn time_of_day(clock: &str) -> Option<u64> {
    calendar(&format!("1970-01-01T{clock}Z")).map(Timestamp::as_millis)
}

/// RFC 3339, and its shorter forms.
fn calendar(text: &str) -> Option<Timestamp> {
    let (date, rest) = text.split_at_checked(10)?;
    if rest.is_empty() {
        return utc(date, "00:00:00");
    }
    let rest = rest.strip_prefix(['T', 't', ' '])?;
    let (clock, offset_minutes) = zone(rest)?;
    let seconds = if clock.len() == 5 { ":00" } else { "" };
    let local = utc(date, &format!("{clock}{seconds}"))?;
    local.as_millis().checked_add_signed(-offset_minutes * 60_000).map(Timestamp::from_millis)
}

/// The clock, and by how many minutes it is ahead of UTC.
fn zone(text: &str) -> Option<(&str, i64)> {
    if let Some(clock) = text.strip_suffix(['Z', 'z']) {
        return Some((clock, 0));
    }
    let Some(at) = text.rfind(['+', '-']) else { return Some((text, 0)) };
    let (clock, offset) = (text.get(..at)?, text.get(at + 1..)?);
    let (hours, minutes) = offset.split_once(':')?;
    let number = |part: &str| -> Option<i64> {
        let two_digits = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
        two_digits.then(|| part.parse().ok()).flatten()
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    let ahead = (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)?;
    Some((clock, if text.as_bytes()[at] == b'-' { -ahead } else { ahead }))
}

fn utc(date: &str, clock: &str) -> Option<Timestamp> {
    let time = humantime::parse_rfc3339(&format!("{date}T{clock}Z")).ok()?;
    let since = time.duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(since.as_millis()).ok().map(Timestamp::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-22T19:03:23.042Z
    const NOW: Timestamp = Timestamp::from_millis(1_795_374_203_042);

    fn parsed(text: &str) -> String {
        match Moment::parse(text, NOW).unwrap() {
            Moment::Index(index) => index.to_string(),
            Moment::Time(time) => time.to_string(),
        }
    }

    #[test]
    fn every_form_means_one_moment() {
        for (text, moment) in [
            ("0", "0"),
            ("4711", "4711"),
            ("now", "2026-11-22T19:03:23.042Z"),
            ("2026-11-22T14:34:00Z", "2026-11-22T14:34:00.000Z"),
            ("2026-11-22T14:34:00.250Z", "2026-11-22T14:34:00.250Z"),
            ("2026-11-22t14:34z", "2026-11-22T14:34:00.000Z"),
            ("2026-11-22 14:34", "2026-11-22T14:34:00.000Z"),
            ("2026-11-22T14:34:00+02:00", "2026-11-22T12:34:00.000Z"),
            ("2026-11-22T22:34-03:30", "2026-11-23T02:04:00.000Z"),
            ("2026-11-22", "2026-11-22T00:00:00.000Z"),
            ("yesterday 14:34", "2026-11-21T14:34:00.000Z"),
            ("yesterday 14:34:05", "2026-11-21T14:34:05.000Z"),
            ("today 00:00", "2026-11-22T00:00:00.000Z"),
            ("-2h", "2026-11-22T17:03:23.042Z"),
            ("-1h30m", "2026-11-22T17:33:23.042Z"),
            ("-3d", "2026-11-19T19:03:23.042Z"),
        ] {
            assert_eq!(parsed(text), moment, "{text}");
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for text in [
            "",
            "-",
            "-2",
            "2h",
            "yesterday",
            "tomorrow 10:00",
            "14:34",
            "22.11.2026",
            "2026-13-01",
            "2026-11-22T25:00Z",
            "2026-11-22T14Z",
            "2026-11-22T14:34+2",
            "2026-11-22T14:34+02:75",
            "99999999999999999999",
            "yesterday 14:34Z",
            "2026-11-22 14:34 +02:00x",
            "é2026-11-22",
        ] {
            assert!(Moment::parse(text, NOW).is_err(), "{text}");
        }
    }
}
