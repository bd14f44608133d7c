//! What would have been: the same log folded twice, under two projector settings.
//!
//! The log holds what the cluster ordered as it was set. Under other settings flags have other ids, so what a person or
//! policy did about a flag is told to the other fold about its open flag of the same kind and subject; and what only the
//! other fold wants is ordered there at once, as a leader would have. What devices did is what they did: a device that
//! would have been restricted goes on in the log as it went on in life.

use super::differences::{Differences, Sides, compare};
use super::fold::Fold;
use super::moment::Moment;
use anyhow::{Context as _, Result};
use bytes::Bytes;
use events::batch::{Batch, EncodedEvent, HeartbeatColumns, access, split_stamp, stamped};
use events::ids::FlagId;
use events::log::record::EntryBody;
use events::vocabulary::operation::Cause;
use events::vocabulary::{Event, FlagCleared, OperationOrdered};
use nodes::storage::log_reader::HistoryEntry;
use projector::{Effect, Projector, WantOperation};

/// Orders that no log has are named from here on, above those of any batch.
const UNLOGGED_FROM: u16 = 60_000;

/// Folds one log under both settings, and says how the states differ. `left` reads; `right` is handed the entries.
pub fn of_settings(
    left: &mut Fold,
    right: &mut Fold,
    until: Moment,
    mut on_entry: impl FnMut(&Fold),
) -> Result<Differences> {
    let mut causes = Sides::default();
    while let Some(entry) = left.read_up_to(until)? {
        let told = translated(&entry, left.state(), right.state())?;
        let as_it_was = causes.left.fold(left, &entry)?;
        let otherwise = causes.right.fold(right, &told)?;
        let known: Vec<_> = wants(&as_it_was.effects).collect();
        let own = wants(&otherwise.effects).filter(|want| !known.iter().any(|known| same(known, want)));
        for (ordinal, want) in (UNLOGGED_FROM..u16::MAX).zip(own) {
            causes.right.order(right, want.clone(), ordinal);
        }
        on_entry(left);
    }
    left.check_reached(until)?;
    let mut differences =
        compare(left.projector(), right.projector(), None, |slot, fact| causes.of(slot, fact));
    differences.say_skipped(left, right);
    differences.flags.clear();
    differences.flags_only = Some(super::differences::flags_only(left.state(), right.state()));
    Ok(differences)
}

fn wants(effects: &[Effect]) -> impl Iterator<Item = &WantOperation> {
    effects.iter().filter_map(|effect| match effect {
        Effect::Want(want) => Some(want),
        Effect::Dispatch { .. } | Effect::Notice(_) | Effect::Compare(_) => None,
    })
}

/// Whether both ask for the same, be it because of flags with different ids.
fn same(one: &WantOperation, other: &WantOperation) -> bool {
    one.kind == other.kind && one.device == other.device
}

/// The entry as it has to be told to a fold whose flags have other ids.
fn translated(entry: &HistoryEntry, known: &Projector, other: &Projector) -> Result<HistoryEntry> {
    let place = || format!("{} at offset {}", entry.file.display(), entry.offset);
    let EntryBody::Batch(payload) = &entry.entry.body else { return Ok(entry.clone()) };
    let (stamp, bytes) = split_stamp(payload).with_context(place)?;
    let archived = access(bytes).with_context(place)?;
    if !archived.decode_events().filter_map(Result::ok).any(|event| named_flag(&event).is_some()) {
        return Ok(entry.clone());
    }
    let mut batch = Batch::new(archived.batch_id());
    for (event, encoded) in archived.decode_events().zip(archived.events.iter()) {
        match event {
            Ok(event) => batch.push(&renamed(event, known, other)).with_context(place)?,
            // What cannot be read is the fold's to refuse or to skip.
            Err(_) => {
                let kind = encoded.kind.to_native();
                batch.events.push(EncodedEvent { kind, bytes: encoded.bytes.to_vec() });
            }
        }
    }
    let mut heartbeats = HeartbeatColumns::default();
    archived.heartbeats.rows().for_each(|row| heartbeats.push(row));
    batch.heartbeats = heartbeats;
    let mut told = entry.clone();
    told.entry.body = EntryBody::Batch(Bytes::from(stamped(stamp, &batch.encode().with_context(place)?)));
    Ok(told)
}

fn named_flag(event: &Event) -> Option<FlagId> {
    match event {
        Event::FlagCleared(event) => Some(event.flag),
        Event::OperationOrdered(OperationOrdered { cause: Cause::Flag(flag), .. }) => Some(*flag),
        _ => None,
    }
}

fn renamed(event: Event, known: &Projector, other: &Projector) -> Event {
    let there = |flag: FlagId| {
        let flag = known.flag(&flag)?;
        Some(other.open_flag(flag.kind, &flag.subject)?.id)
    };
    match event {
        Event::FlagCleared(event) => {
            FlagCleared { flag: there(event.flag).unwrap_or(event.flag), ..event }.into()
        }
        Event::OperationOrdered(OperationOrdered { cause: Cause::Flag(flag), kind, device, expires }) => {
            let cause = Cause::Flag(there(flag).unwrap_or(flag));
            OperationOrdered { kind, device, cause, expires }.into()
        }
        other => other,
    }
}
