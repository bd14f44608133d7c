//! The way of a write into the log, and what its outcome means to who posted it.

use super::ApiState;
use super::access::Caller;
use super::refusal::Refused;
use super::shapes::{Base64, Done, RefusalCode};
use axum::Json;
use events::identity::key::PublicKey;
use events::vocabulary::{Event, RequestKeyed};
use projector::{Outcome, Outcomes};

/// A name or a reason, in characters.
const WORDS_MAX: usize = 200;

/// Commits one event.
pub(super) async fn commit(
    state: &ApiState,
    key: Option<RequestKeyed>,
    event: Event,
) -> Result<Json<Done>, Refused> {
    let (outcomes, outcome) = propose_one(state, key, event).await?;
    done(outcomes.index, &outcome).map(Json)
}

/// Gets one event committed; with a key, once per key, whatever node it comes to.
pub(super) async fn propose_one(
    state: &ApiState,
    key: Option<RequestKeyed>,
    event: Event,
) -> Result<(Outcomes, Outcome), Refused> {
    let mut events: Vec<Event> = key.into_iter().map(Event::from).collect();
    events.push(event);
    let mut outcomes = state.deps.proposer.propose_events(&events).await?;
    // Who asks this node next finds what was just done.
    state.caught_up(outcomes.index).await;
    let outcome = outcomes.events.pop();
    let outcome = outcome.ok_or_else(|| Refused::malformed("the log gave no outcome for the event"))?;
    Ok((outcomes, outcome))
}

/// What an outcome means to who posted it.
pub(super) fn done(index: u64, outcome: &Outcome) -> Result<Done, Refused> {
    match outcome {
        Outcome::Duplicate => Ok(Done { index, duplicate: true }),
        Outcome::Repeated { first } => Ok(Done { index: *first, duplicate: true }),
        Outcome::Declined(decline) => Err(Refused::declined(*decline)),
        Outcome::Refused(reason) => Err(Refused::malformed(format!("the log refused it: {reason}"))),
        Outcome::Accepted
        | Outcome::Activated(_)
        | Outcome::Resumed(_)
        | Outcome::Observed(_)
        | Outcome::Imported { .. }
        | Outcome::Ordered { .. }
        | Outcome::Raced { .. } => Ok(Done { index, duplicate: false }),
    }
}

/// Who did it and why, as the log keeps it: whoever the caller says it is, the caller's own name stands before it, where
/// nothing can push it out of what is shown.
pub(super) fn signed(
    caller: &Caller,
    by: Option<String>,
    reason: String,
) -> Result<(String, String), Refused> {
    let by = match by.map(|by| words("by", by)).transpose()? {
        Some(by) if by != caller.name => format!("{caller}, for {by}"),
        Some(_) | None => caller.to_string(),
    };
    Ok((by, words("reason", reason)?))
}

/// A text by a person: not empty, and not endless.
pub(super) fn words(field: &'static str, text: String) -> Result<String, Refused> {
    let length = text.chars().count();
    if text.chars().any(char::is_control) {
        return Err(Refused::malformed(format!(
            "`{field}` has control characters, expected one line of text"
        )));
    }
    if text.trim().is_empty() || length > WORDS_MAX {
        return Err(Refused::malformed(format!(
            "`{field}` has {length} characters, expected 1 to {WORDS_MAX}"
        )));
    }
    Ok(text)
}

/// The key that a request names in `field`, if it is one of those that the configuration lists; without a list any is.
/// `declined` says what is wrong with another, and what to do.
pub(super) fn believed(
    field: &'static str,
    given: &Base64,
    listed: &[PublicKey],
    declined: impl FnOnce() -> (&'static str, &'static str),
) -> Result<PublicKey, Refused> {
    let key = PublicKey::from_bytes(&given.0).map_err(|e| Refused::malformed(format!("`{field}`: {e}")))?;
    if listed.is_empty() || listed.contains(&key) {
        return Ok(key);
    }
    let (why, what_to_do) = declined();
    Err(Refused::new(RefusalCode::Declined, why, what_to_do))
}
