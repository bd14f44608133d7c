//! What is heard, or found out, while an update is on its way: another time, another offer, no offer any more.

use super::*;
use edge_agent::shell::config::Millis;

/// A server that takes requests and says nothing.
fn silent() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/artifact", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let _held: Vec<_> = listener.incoming().collect();
    });
    url
}

#[tokio::test]
async fn a_clock_in_another_century_delays_what_was_taken_until_a_sealed_stamp_says_what_time_it_is() {
    let bench = Bench::new(GOOD_HOOK, artifact());
    let rollout = bench.offer().rollout;
    let mut desk = bench.start(7);
    bench.give(&desk, Offer { urls: vec![silent()], ..bench.offer() });
    assert_eq!(bench.next(&mut desk).await, UpdateEvent::Taken { rollout, firmware: 8 });
    drop(desk);
    let mut desk = bench.start_at(7, believed(CENTURIES_LATER));
    // What the clock calls ended is not taken, and nothing of that is kept.
    let other = RolloutId::from_bytes([10; 16]);
    let offer = Offer { rollout: other, firmware: 9, floor: 8, ..bench.offer() };
    desk.handed(offer.clone().sign(&bench.key).unwrap().encode());
    assert_eq!(bench.next(&mut desk).await, UpdateEvent::Refused { reason: UpdateRefusal::Expired });
    assert_eq!(desk.failure(), None);
    // The same offer once more, now that the time is known.
    verdict(&desk, NOW);
    desk.handed(offer.sign(&bench.key).unwrap().encode());
    assert_eq!(bench.next(&mut desk).await, UpdateEvent::Taken { rollout: other, firmware: 9 });
    assert_eq!(bench.next(&mut desk).await, UpdateEvent::Verified { rollout: other });
    assert_eq!(bench.next(&mut desk).await, UpdateEvent::Installed { rollout: other, firmware: 9 });
}

#[tokio::test]
async fn a_job_that_only_a_wrong_clock_calls_ended_goes_on_after_a_verdict() {
    let bench = Bench::new(GOOD_HOOK, artifact());
    let rollout = bench.offer().rollout;
    let mut desk = bench.start(7);
    bench.give(&desk, bench.offer());
    assert_eq!(bench.next(&mut desk).await, UpdateEvent::Taken { rollout, firmware: 8 });
    drop(desk);
    let mut desk = bench.start_at(7, believed(CENTURIES_LATER));
    verdict(&desk, NOW);
    let mut told = bench.next(&mut desk).await;
    if told == (UpdateEvent::Verified { rollout }) {
        told = bench.next(&mut desk).await;
    }
    assert_eq!(told, UpdateEvent::Installed { rollout, firmware: 8 });
}

#[tokio::test]
async fn an_offer_that_ends_while_its_artifact_comes_is_given_up_and_not_held_against_its_image() {
    let bench = Bench::new(GOOD_HOOK, artifact());
    let rollout = bench.offer().rollout;
    let mut desk = bench.start(7);
    bench.give(&desk, Offer { urls: vec![silent()], ..bench.offer() });
    assert_eq!(bench.next(&mut desk).await, UpdateEvent::Taken { rollout, firmware: 8 });
    verdict(&desk, NOW.plus_millis(60_001));
    let reason = UpdateFailure::Expired;
    assert_eq!(bench.next(&mut desk).await, UpdateEvent::Failed { rollout, reason });
    assert_eq!(desk.failure(), None, "a heartbeat that told it would count against the rollout");
    drop(desk);
    assert_eq!(bench.start(7).failure(), None);
}

#[tokio::test]
async fn a_newer_offer_takes_the_place_of_one_whose_artifact_does_not_come() {
    let bench = Bench::new(GOOD_HOOK, artifact());
    let mut desk = bench.start(7);
    bench.give(&desk, Offer { urls: vec![silent()], ..bench.offer() });
    let _taken = bench.next(&mut desk).await;
    let rollout = RolloutId::from_bytes([10; 16]);
    bench.give(&desk, Offer { rollout, firmware: 9, ..bench.offer() });
    assert_eq!(bench.next(&mut desk).await, UpdateEvent::Taken { rollout, firmware: 9 });
    assert_eq!(bench.next(&mut desk).await, UpdateEvent::Verified { rollout });
    assert_eq!(bench.next(&mut desk).await, UpdateEvent::Installed { rollout, firmware: 9 });
}

#[tokio::test]
async fn a_rollout_that_was_stopped_while_its_artifact_came_is_not_installed_until_it_is_offered_again() {
    let bench = Bench::new(GOOD_HOOK, artifact());
    let rollout = bench.offer().rollout;
    let mut desk = bench.start(7);
    bench.give(&desk, bench.offer());
    bench.withdraw();
    assert_eq!(bench.next(&mut desk).await, UpdateEvent::Taken { rollout, firmware: 8 });
    assert_eq!(bench.next(&mut desk).await, UpdateEvent::Verified { rollout });
    assert_eq!(bench.next(&mut desk).await, UpdateEvent::Held { rollout });
    assert!(!bench.hook_ran());
    drop(desk);
    // A power-on does not forget it, and asks nothing that silence could answer.
    let mut desk = bench.start(7);
    assert_eq!(desk.next().await.unwrap(), Wanted::Tell(UpdateEvent::Held { rollout }));
    assert!(!bench.hook_ran());
    bench.give(&desk, bench.offer());
    let installed = UpdateEvent::Installed { rollout, firmware: 8 };
    assert_eq!(
        desk.next().await.unwrap(),
        Wanted::Tell(installed),
        "the cluster's word came before any question"
    );
}

#[tokio::test]
async fn what_replaces_a_rollout_before_it_is_installed_is_installed_in_its_place() {
    let bench = Bench::new(GOOD_HOOK, artifact());
    let mut desk = bench.start(7);
    bench.give(&desk, bench.offer());
    let rollout = RolloutId::from_bytes([10; 16]);
    let other = Offer { rollout, ..bench.offer() };
    *bench.offered.lock().unwrap() = other.sign(&bench.key).unwrap().encode();
    let mut told = Vec::new();
    while !matches!(told.last(), Some(UpdateEvent::Installed { .. })) {
        told.push(bench.next(&mut desk).await);
    }
    assert_eq!(told.last(), Some(&UpdateEvent::Installed { rollout, firmware: 8 }), "{told:?}");
    assert_eq!(fs::read_to_string(bench.path("ran")).unwrap().lines().count(), 1, "{told:?}");
}

#[tokio::test]
async fn a_version_whose_hook_failed_at_its_last_line_and_that_boots_all_the_same_raises_the_floor() {
    let bench = Bench::new(&format!("{GOOD_HOOK}\nexit 1"), artifact());
    let rollout = bench.offer().rollout;
    let mut desk = bench.start(7);
    bench.give(&desk, bench.offer());
    let _taken = (bench.next(&mut desk).await, bench.next(&mut desk).await);
    let reason = UpdateFailure::HookFailed;
    assert_eq!(bench.next(&mut desk).await, UpdateEvent::Failed { rollout, reason });
    drop(desk);
    assert_eq!(bench.start(7).failure(), Some(reason), "only the agent started again");
    assert_eq!(bench.floor(), 0);
    let mut desk = bench.start(8);
    assert_eq!(bench.next(&mut desk).await, UpdateEvent::Running { firmware: 8, floor: 8 });
    assert_eq!((bench.floor(), desk.failure()), (8, None));
}

#[tokio::test]
async fn what_is_on_its_way_and_is_handed_in_goes_on_and_is_asked_for_no_more() {
    let bench = Bench::new(GOOD_HOOK, artifact());
    let rollout = bench.offer().rollout;
    let mut desk = bench.start(7);
    bench.give(&desk, bench.offer());
    let offer = bench.offered.lock().unwrap().clone();
    bench.withdraw();
    let _taken = (bench.next(&mut desk).await, bench.next(&mut desk).await);
    assert_eq!(bench.next(&mut desk).await, UpdateEvent::Held { rollout });
    desk.handed(offer.clone());
    assert_eq!(bench.next(&mut desk).await, UpdateEvent::Taken { rollout, firmware: 8 });
    assert_eq!(bench.next(&mut desk).await, UpdateEvent::Installed { rollout, firmware: 8 });
    desk.handed(offer);
    assert_eq!(bench.next(&mut desk).await, UpdateEvent::Refused { reason: UpdateRefusal::AlreadyTaken });
}

#[tokio::test]
async fn a_clock_that_was_set_while_nobody_was_heard_is_asked_from_then_on() {
    let bench = Bench::new(GOOD_HOOK, artifact());
    let mut desk = bench.start_at(7, believed(Timestamp::ZERO));
    desk.time(believed(CENTURIES_LATER));
    desk.handed(bench.offer().sign(&bench.key).unwrap().encode());
    assert_eq!(bench.next(&mut desk).await, UpdateEvent::Refused { reason: UpdateRefusal::Expired });
}

/// The next event, while nobody answers what is asked.
async fn next_told(desk: &mut UpdateDesk) -> UpdateEvent {
    loop {
        if let Wanted::Tell(event) = desk.next().await.unwrap() {
            return event;
        }
    }
}

#[tokio::test]
async fn silence_installs_only_after_questions_that_left_on_a_connection() {
    let mut bench = Bench::new(GOOD_HOOK, artifact());
    bench.config.ask_interval_ms = Some(Millis::try_from(20).unwrap());
    let rollout = bench.offer().rollout;
    let mut desk = bench.start(7);
    bench.give(&desk, bench.offer());
    let taken = (next_told(&mut desk).await, next_told(&mut desk).await);
    assert_eq!(taken, (UpdateEvent::Taken { rollout, firmware: 8 }, UpdateEvent::Verified { rollout }));
    // Nobody is reached, so nobody was asked.
    for _question in 0..40 {
        assert!(matches!(desk.next().await.unwrap(), Wanted::Ask(_)));
    }
    assert!(!bench.hook_ran());
    loop {
        match desk.next().await.unwrap() {
            Wanted::Ask(_) => desk.question_left(),
            Wanted::Tell(event) => {
                assert_eq!(event, UpdateEvent::Installed { rollout, firmware: 8 });
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_version_that_ran_and_fell_back_is_told_as_failed_and_not_taken_again_unless_it_comes_back() {
    let bench = Bench::new(GOOD_HOOK, artifact());
    let rollout = bench.offer().rollout;
    let mut desk = bench.start(7);
    bench.give(&desk, bench.offer());
    let _taken = (bench.next(&mut desk).await, bench.next(&mut desk).await);
    assert_eq!(bench.next(&mut desk).await, UpdateEvent::Installed { rollout, firmware: 8 });
    drop(desk);
    let mut desk = bench.start(8);
    assert_eq!(bench.next(&mut desk).await, UpdateEvent::Running { firmware: 8, floor: 8 });
    assert_eq!(desk.failure(), None);
    drop(desk);
    let reason = UpdateFailure::NotBooted;
    let mut desk = bench.start(7);
    assert_eq!(bench.next(&mut desk).await, UpdateEvent::Failed { rollout, reason });
    assert_eq!((desk.failure(), bench.floor()), (Some(reason), 8));
    desk.handed(bench.offer().sign(&bench.key).unwrap().encode());
    let refused = UpdateEvent::Refused { reason: UpdateRefusal::AlreadyFailed };
    assert_eq!(bench.next(&mut desk).await, refused);
    drop(desk);
    let mut desk = bench.start(8);
    assert_eq!(bench.next(&mut desk).await, UpdateEvent::Running { firmware: 8, floor: 8 });
    assert_eq!(desk.failure(), None, "it runs after all");
    drop(desk);
    let mut desk = bench.start(7);
    assert_eq!(bench.next(&mut desk).await, UpdateEvent::Failed { rollout, reason }, "each time");
}

#[tokio::test]
async fn a_failure_of_one_rollout_is_not_told_while_another_is_under_way_also_after_a_start() {
    let bench = Bench::new("exit 3", artifact());
    let mut desk = bench.start(7);
    bench.give(&desk, bench.offer());
    let _taken = (bench.next(&mut desk).await, bench.next(&mut desk).await, bench.next(&mut desk).await);
    assert_eq!(desk.failure(), Some(UpdateFailure::HookFailed));
    let rollout = RolloutId::from_bytes([10; 16]);
    bench.give(&desk, Offer { rollout, firmware: 9, urls: vec![silent()], ..bench.offer() });
    assert_eq!(bench.next(&mut desk).await, UpdateEvent::Taken { rollout, firmware: 9 });
    drop(desk);
    assert_eq!(bench.start(7).failure(), None);
}
