//! The fleet over a real nats-server, in front of the model cluster of the agent's tests.

#![allow(clippy::unwrap_used, reason = "a test: a panic is the failure")]
#![allow(unreachable_pub, dead_code, reason = "the model is shared with the agent's test programs")]

#[path = "../../../edge-agent/tests/process/bus.rs"]
mod bus;
#[path = "../../../edge-agent/tests/machine/support/mod.rs"]
mod support;

use bus::Bus;
use edge_agent::machine::Settings;
use events::ids::DeviceId;
use ops::fleet::{Counters, FleetConnection, FleetOptions, FleetReport, TerminalSpec, run};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use support::factory::{Factory, component};
use support::rng::SeededRng;

struct Crowd {
    bus: Bus,
    factory: Factory,
    specs: Vec<TerminalSpec>,
    devices: BTreeSet<DeviceId>,
}

impl Crowd {
    async fn burn(seed: u64, count: u32) -> Self {
        let bus = Bus::start(seed).await;
        let mut rng = SeededRng::new(seed);
        let factory = Factory::new(&mut rng);
        let (mut specs, mut devices) = (Vec::new(), BTreeSet::new());
        for unit in 1..=count {
            let unit = factory.burn(unit, &mut rng);
            let mut cluster = bus.cluster.lock().unwrap();
            devices.insert(cluster.import(&unit.seed));
            let code = Some(cluster.issue_code());
            let (record, components) = (unit.record, unit.components);
            specs.push(TerminalSpec { record, fuse_secret: None, components, code, snapshot: None });
        }
        Crowd { bus, factory, specs, devices }
    }

    fn options(&self, state_dir: Option<PathBuf>) -> FleetOptions {
        let cluster = Arc::new(self.bus.cluster.lock().unwrap().keyring.public());
        FleetOptions {
            connection: FleetConnection {
                url: self.bus.url.clone(),
                user: String::new(),
                password: String::new().into(),
                authority: None,
                region: "eu".parse().unwrap(),
                source: "shop-1".parse().unwrap(),
                token: "fleet".to_owned(),
                traces_file: None,
            },
            cluster,
            firmware: Arc::new(self.factory.firmware.clone()),
            settings: Settings {
                reply_timeout: 2_000,
                backoff_first: 200,
                backoff_max: 1_000,
                ..Settings::default()
            },
            ramp: Duration::from_millis(200),
            state_dir,
            drain: Duration::from_secs(5),
            progress_every: Duration::from_millis(20),
        }
    }

    /// Runs until the counters are as `enough` wants them.
    async fn run_until(&self, options: FleetOptions, enough: impl Fn(&Counters) -> bool) -> FleetReport {
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let mut stop = Some(stop);
        let progress = move |counters: &Counters| {
            if enough(counters) {
                drop(stop.take());
            }
        };
        let stopped = async { drop(stopped.await) };
        let running = run(options, self.specs.clone(), stopped, progress);
        tokio::time::timeout(Duration::from_secs(60), running).await.expect("a fleet in time").unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_terminal_of_a_fleet_activates_and_every_heartbeat_is_accounted_for() {
    let crowd = Crowd::burn(1, 40).await;
    let report =
        crowd.run_until(crowd.options(None), |counters| counters.heartbeats_acknowledged >= 400).await;
    assert_eq!(report.counters.activations, 40);
    assert_eq!(
        report.counters.heartbeats_sent, report.counters.heartbeats_acknowledged,
        "{:?}",
        report.counters
    );
    assert_eq!(report.acknowledged.len() as u64, report.counters.heartbeats_acknowledged);
    let heard: BTreeSet<DeviceId> = report.acknowledged.iter().map(|one| one.device).collect();
    assert_eq!(heard, crowd.devices);
    let cluster = crowd.bus.cluster.lock().unwrap();
    for one in &report.acknowledged {
        let session = &cluster.device(one.device).sessions[&one.epoch];
        assert!(session.beats.contains_key(&one.sequence), "{one:?} is not known to the cluster");
    }
    assert!(crowd.devices.iter().all(|device| !cluster.device(*device).cloned));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_with_a_state_directory_resumes_where_it_was() {
    let crowd = Crowd::burn(2, 8).await;
    let folder = tempfile::tempdir().unwrap();
    let state_dir = || Some(folder.path().to_owned());
    let first =
        crowd.run_until(crowd.options(state_dir()), |counters| counters.heartbeats_acknowledged >= 16).await;
    let second =
        crowd.run_until(crowd.options(state_dir()), |counters| counters.heartbeats_acknowledged >= 16).await;
    assert_eq!((first.counters.activations, second.counters.activations), (8, 0));
    assert_eq!((first.counters.resumes, second.counters.resumes), (0, 8));
    assert!(first.acknowledged.iter().all(|one| !second.acknowledged.contains(one)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminal_on_foreign_hardware_reports_itself_and_the_others_go_on() {
    let mut crowd = Crowd::burn(3, 3).await;
    let kind = crowd.specs[0].components[0].kind();
    crowd.specs[0].components[0] = component(kind, "another board");
    let report = crowd
        .run_until(crowd.options(None), |counters| {
            counters.tamper_reports >= 1 && counters.heartbeats_acknowledged >= 6
        })
        .await;
    assert_eq!(report.terminals.iter().filter(|terminal| terminal.device.is_none()).count(), 1);
    assert_eq!((report.counters.booted, report.counters.restricted), (2, 1));
    assert!(!crowd.bus.cluster.lock().unwrap().tamper_reports.is_empty());
}
