//! The log as evidence over the API: checkpoints on demand, and proofs that hold with the public key alone.

use crate::support::members::lot_created;
use crate::support::served::{Served, TOKEN, served};
use axum::http::StatusCode;
use events::log::checkpoint::Checkpoint;
use events::log::leaf::Item;
use events::log::proof_file::{ProofFile, Shown};
use nodes::api::shapes::{CheckpointShown, CheckpointVerdict, CheckpointsShown, ProofShown, RefusalCode};
use serde_json::{Value, json};

async fn check(served: &Served, query: &str, older: Option<&Checkpoint>) -> Shown {
    let shown: ProofShown = served.get(&format!("/v1/proofs?{query}")).await;
    let key = served.members.keyring().checkpoint_key.public();
    ProofFile::parse(&shown.proof).unwrap().check(&key, older).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_is_signed_on_demand_and_proofs_against_it_hold_with_the_public_key_alone() {
    let served = served().await;
    let key = served.members.keyring().checkpoint_key.public();
    let proposer = served.members.core(1).proposer();
    let index = proposer.propose_events(&[lot_created(1), lot_created(2)]).await.unwrap().index;

    let first: CheckpointShown = served.done("/v1/checkpoints", &json!({})).await;
    let older = Checkpoint::open(&first.note, &key).unwrap();
    assert!(older.size > index && first.index >= older.size);
    let Shown::Entry { index: shown, batch, .. } = check(&served, &format!("index={index}"), None).await
    else {
        panic!("no entry")
    };
    assert_eq!((shown, batch.unwrap().events), (index, 2));
    let item = check(&served, &format!("index={index}&item=1"), None).await;
    let Shown::Item { item: Item::Event(event), .. } = item else { panic!("{item:?}") };
    assert_eq!(*event, lot_created(2));

    proposer.propose_events(&[lot_created(3)]).await.unwrap();
    let second: CheckpointShown = served.done("/v1/checkpoints", &json!({})).await;
    let grown = check(&served, &format!("since={}", older.size), Some(&older)).await;
    let Shown::Growth { since, head } = grown else { panic!("{grown:?}") };
    assert_eq!((since, head.size), (first.size, second.size));

    let kept: CheckpointsShown = served.get("/v1/checkpoints").await;
    assert_eq!(kept.verdict, CheckpointVerdict::Equal);
    assert!(kept.tree.unwrap().size > second.size);
    assert_eq!(kept.checkpoints, [second, first], "the latest first");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_proven_is_refused_with_a_code() {
    let served = served().await;
    let asked = async |query: &str| {
        let (status, text) = served.asked(TOKEN, &format!("/v1/proofs{query}")).await;
        let refusal: Value = serde_json::from_str(&text).unwrap();
        (status, refusal["code"].as_str().unwrap().to_owned())
    };
    let code = |code: RefusalCode| serde_json::to_value(code).unwrap().as_str().unwrap().to_owned();
    let not_found = (StatusCode::NOT_FOUND, code(RefusalCode::NotFound));
    assert_eq!(asked("?index=1").await, not_found, "there is no checkpoint yet");
    let _: CheckpointShown = served.done("/v1/checkpoints", &json!({})).await;
    for query in ["?index=9999999", "?index=0&item=0", "?since=9999999"] {
        assert_eq!(asked(query).await, not_found, "{query}");
    }
    let malformed = (StatusCode::UNPROCESSABLE_ENTITY, code(RefusalCode::Malformed));
    for query in ["", "?item=1", "?index=1&since=1", "?index=-1", "?depth=1"] {
        assert_eq!(asked(query).await, malformed, "{query}");
    }
}
