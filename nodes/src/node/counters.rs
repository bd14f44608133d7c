//! What parts of a node count, under the names that `status` and metrics give to it.

use crate::ingress::IngressCounters;
use std::collections::BTreeMap;

/// Ingress' counters by name.
pub fn ingress_by_name(counters: &IngressCounters) -> BTreeMap<String, u64> {
    let IngressCounters {
        received,
        tickets,
        activations,
        resumes,
        tamper_reports,
        update_requests,
        heartbeats_routine,
        heartbeats_irregular,
        verdicts,
        retries,
        parked,
        unanswered,
        unwrapped,
        derived,
        lacking,
        refused,
        batches,
        p384,
    } = counters;
    let plain = [
        ("received", received),
        ("tickets", tickets),
        ("activations", activations),
        ("resumes", resumes),
        ("tamper_reports", tamper_reports),
        ("update_requests", update_requests),
        ("heartbeats_routine", heartbeats_routine),
        ("heartbeats_irregular", heartbeats_irregular),
        ("verdicts", verdicts),
        ("retries", retries),
        ("parked", parked),
        ("unanswered", unanswered),
        ("unwrapped", unwrapped),
        ("derived", derived),
        ("lacking", lacking),
        ("batches", batches),
        ("p384", p384),
    ];
    let refused = refused.iter().map(|(reason, count)| (format!("ingress_refused_{reason}"), *count));
    plain.into_iter().map(|(name, count)| (format!("ingress_{name}"), *count)).chain(refused).collect()
}
