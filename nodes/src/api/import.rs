//! A manifest's way in: factory's and station's signatures, the import key, and then the log, in batches. What is in
//! the log already stays as it is, so that an import may be repeated (protocol.md rule 22).

use super::ApiState;
use super::extract::Write;
use super::factory::{factory_key, lot_created, station_certified};
use super::refusal::Refused;
use super::shapes::{ImportManifest, ImportReport, Refusal, RefusedUnit};
use crate::entropy::EntropyRng;
use axum::Json;
use axum::extract::State;
use events::identity::key::PublicKey;
use events::identity::manifest::{EntryBody, Manifest, OpenedManifest};
use events::ids::LogIndex;
use events::keyring::Purpose;
use events::vocabulary::{DeviceProvisioned, Event};
use projector::Outcome;

/// Devices of one batch; far below what a batch may hold.
const DEVICES_PER_BATCH: usize = 1_000;

/// The units that a station burned. It takes no `Idempotency-Key`: unit by unit is seen what is known, so an import may be
/// repeated.
#[utoipa::path(post, path = "/v1/manifests", tag = "factory", request_body = ImportManifest,
    responses((status = 200, body = ImportReport), (status = "default", body = Refusal)))]
pub(super) async fn manifest(
    State(state): State<ApiState>,
    Write { body: import, large, .. }: Write<ImportManifest>,
) -> Result<Json<ImportReport>, Refused> {
    let factory = factory_key(&state, &import.factory_key)?;
    let opening = state.clone();
    let open = move || open(&opening, &import.manifest.0, &factory);
    let opened = match large {
        Some(place) => place.work(open).await??,
        None => open()?,
    };

    let mut report = ImportReport {
        lot: opened.declaration.lot(),
        station: opened.station.station(),
        imported: 0,
        duplicate: 0,
        refused: Vec::new(),
    };
    let mut index = announce(&state, &opened).await?;
    for some in opened.entries.chunks(DEVICES_PER_BATCH) {
        let events: Vec<Event> = some.iter().map(|entry| provisioned(&state, entry).into()).collect();
        let outcomes = state.deps.proposer.propose_events(&events).await?;
        for (entry, outcome) in some.iter().zip(&outcomes.events) {
            report.count(entry, outcome);
        }
        index = outcomes.index;
    }
    state.caught_up(index).await;
    tracing::info!(
        lot = %report.lot,
        station = %report.station,
        imported = report.imported,
        duplicate = report.duplicate,
        refused = report.refused.len(),
        "imported a manifest"
    );
    Ok(Json(report))
}

/// Opens everything or nothing. Blocking: a P-384 operation per unit.
fn open(state: &ApiState, bytes: &[u8], factory: &PublicKey) -> Result<OpenedManifest, Refused> {
    let malformed =
        |e: events::identity::manifest::ManifestError| Refused::malformed(format!("`manifest`: {e}"));
    let verified = Manifest::parse(bytes).and_then(|manifest| manifest.verify(factory)).map_err(malformed)?;
    verified.open(&state.deps.keyring).map_err(malformed)
}

/// Lot and station, which the log mostly knows already; where it was told.
async fn announce(state: &ApiState, opened: &OpenedManifest) -> Result<LogIndex, Refused> {
    let lot = lot_created(state, &opened.declaration, &opened.tamper_key);
    let events = [lot.into(), station_certified(&opened.station).into()];
    let outcomes = state.deps.proposer.propose_events(&events).await?;
    for outcome in outcomes.events {
        if let Outcome::Declined(decline) = outcome {
            return Err(Refused::declined(decline));
        }
    }
    Ok(outcomes.index)
}

fn provisioned(state: &ApiState, entry: &EntryBody) -> DeviceProvisioned {
    let rng = &mut EntropyRng(state.deps.entropy.as_ref());
    let device = entry.device();
    let secret = entry.pre_shared_key.as_bytes();
    let keyring = &state.deps.keyring;
    DeviceProvisioned {
        device,
        lot: entry.lot,
        station: entry.station,
        unit: entry.unit,
        public_key: entry.public_key.as_bytes().to_vec(),
        pre_shared_key: keyring.wrap(rng, Purpose::PreSharedKey, device.as_bytes(), 0, secret),
        nats_key: entry.nats_key,
        components: entry.components.clone(),
        record: entry.record,
        burned_at: entry.burned_at,
    }
}

impl ImportReport {
    fn count(&mut self, entry: &EntryBody, outcome: &Outcome) {
        match outcome {
            Outcome::Imported { .. } | Outcome::Accepted => self.imported += 1,
            Outcome::Duplicate => self.duplicate += 1,
            Outcome::Declined(decline) => self.refuse(entry, decline.to_string()),
            other => self.refuse(entry, format!("the log answered {other:?}")),
        }
    }

    fn refuse(&mut self, entry: &EntryBody, why: String) {
        self.refused.push(RefusedUnit { unit: entry.unit, device: entry.device(), why });
    }
}
