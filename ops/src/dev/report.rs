//! What the scene's reader found in the nodes' own states and logs, and whether all of it held.

use serde::Serialize;
use std::fmt;

/// The whole scene, build excluded, takes at most this long on two cores with the default plan, in seconds.
const SECONDS_MAX: f64 = 60.0;

/// One JSON document, the last line of `muster dev --once --json`.
#[derive(Serialize, Debug, Clone)]
pub struct Report {
    pub ok: bool,
    pub nodes: u64,
    pub leader_kills: u32,
    /// From the kill of the leader to the next verdict that a terminal verified.
    pub failover_ms: u64,
    pub devices: DeviceCounts,
    pub licenses: LicenseCounts,
    pub heartbeats: HeartbeatCounts,
    pub flags: FlagCounts,
    /// Honest devices that carry a flag or are not legitimate.
    pub wrongly_flagged: u32,
    /// All nodes report the same digest at the same index, and a replay of each node's log gives it again.
    pub state_digests_equal: bool,
    pub seconds: f64,
    pub seed: u64,
    /// What did not hold, in words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_held: Vec<String>,
    /// What the players of the scene expected.
    #[serde(skip)]
    pub checks: Vec<Check>,
}

#[derive(Serialize, Debug, Clone, Default, PartialEq, Eq)]
pub struct DeviceCounts {
    pub burned: u32,
    pub legitimate: u32,
    pub suspect: u32,
    pub restricted: u32,
}

#[derive(Serialize, Debug, Clone, Default, PartialEq, Eq)]
pub struct LicenseCounts {
    pub active: u32,
}

#[derive(Serialize, Debug, Clone, Default, PartialEq, Eq)]
pub struct HeartbeatCounts {
    /// Sealed by a terminal and handed to NATS, retries not counted.
    pub sent: u64,
    /// A verdict for it verified at its terminal.
    pub acknowledged: u64,
    /// Of the acknowledged ones, those that every node's log holds.
    pub found_in_log: u64,
    /// Acknowledged, but missing in a node's log.
    pub lost: u64,
}

#[derive(Serialize, Debug, Clone, Default, PartialEq, Eq)]
pub struct FlagCounts {
    pub clone: u32,
    pub replay: u32,
    pub code_bruteforce: u32,
    pub tamper: u32,
}

/// One expectation of the scene and whether it held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    pub held: bool,
    pub what: String,
}

impl Check {
    pub fn new(held: bool, what: impl Into<String>) -> Self {
        Check { held, what: what.into() }
    }
}

impl Report {
    /// Sets `ok` from the report's own figures and from what the players of the scene expected.
    pub fn judge(&mut self, planned_devices: u32, planned_seconds: f64) {
        let (d, h, f) = (&self.devices, &self.heartbeats, &self.flags);
        let own = [
            Check::new(
                d.burned == planned_devices,
                format!("{} of {planned_devices} devices burned", d.burned),
            ),
            Check::new(
                d.legitimate + d.suspect + d.restricted == d.burned,
                format!("{} + {} + {} devices make up {}", d.legitimate, d.suspect, d.restricted, d.burned),
            ),
            Check::new(
                self.licenses.active == planned_devices,
                format!("{} of {planned_devices} licenses active", self.licenses.active),
            ),
            Check::new(h.acknowledged > 0, "heartbeats were acknowledged"),
            Check::new(h.sent >= h.acknowledged, "no more heartbeats acknowledged than sent"),
            Check::new(h.lost == 0, format!("{} acknowledged heartbeats lost", h.lost)),
            Check::new(h.found_in_log == h.acknowledged, "every acknowledged heartbeat found in every log"),
            Check::new(f.clone > 0, "the copied terminal raises `clone`"),
            Check::new(f.replay > 0, "replayed heartbeats raise `replay`"),
            Check::new(f.code_bruteforce > 0, "guessed codes raise `code_bruteforce`"),
            Check::new(f.tamper > 0, "the copied record raises `tamper`"),
            Check::new(
                self.wrongly_flagged == 0,
                format!("{} devices wrongly flagged", self.wrongly_flagged),
            ),
            Check::new(self.state_digests_equal, "state digests equal on all nodes and in replays"),
            Check::new(self.leader_kills == 1, "the leader was killed once"),
            Check::new(
                self.seconds <= SECONDS_MAX.max(planned_seconds * 2.0),
                format!("{:.1} s are more than allowed", self.seconds),
            ),
        ];
        let all = own.into_iter().chain(self.checks.iter().cloned());
        self.not_held = all.filter(|check| !check.held).map(|check| check.what).collect();
        self.ok = self.not_held.is_empty();
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (d, h, flags) = (&self.devices, &self.heartbeats, &self.flags);
        writeln!(f, "{}", if self.ok { "It held." } else { "It did not hold:" })?;
        for what in &self.not_held {
            writeln!(f, "  not held: {what}")?;
        }
        writeln!(
            f,
            "devices      {} burned, {} legitimate, {} suspect, {} restricted; {} licenses active; {} wrongly flagged",
            d.burned, d.legitimate, d.suspect, d.restricted, self.licenses.active, self.wrongly_flagged
        )?;
        writeln!(
            f,
            "heartbeats   {} sent, {} acknowledged, {} found in every log, {} lost",
            h.sent, h.acknowledged, h.found_in_log, h.lost
        )?;
        writeln!(
            f,
            "flags        clone {}, replay {}, code_bruteforce {}, tamper {}",
            flags.clone, flags.replay, flags.code_bruteforce, flags.tamper
        )?;
        writeln!(
            f,
            "cluster      {} nodes, leader killed {} time(s), next verdict after {} ms, state digests {}",
            self.nodes,
            self.leader_kills,
            self.failover_ms,
            if self.state_digests_equal { "equal" } else { "DIFFERENT" }
        )?;
        write!(f, "took         {:.1} s, seed {}", self.seconds, self.seed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Report {
        Report {
            ok: false,
            nodes: 3,
            leader_kills: 1,
            failover_ms: 900,
            devices: DeviceCounts { burned: 10, legitimate: 9, suspect: 0, restricted: 1 },
            licenses: LicenseCounts { active: 10 },
            heartbeats: HeartbeatCounts { sent: 12, acknowledged: 11, found_in_log: 11, lost: 0 },
            flags: FlagCounts { clone: 1, replay: 1, code_bruteforce: 1, tamper: 2 },
            wrongly_flagged: 0,
            state_digests_equal: true,
            seconds: 40.0,
            seed: 1,
            not_held: vec![],
            checks: vec![Check::new(true, "the victim went on")],
        }
    }

    #[test]
    fn a_scene_that_held_says_so() {
        let mut report = good();
        report.judge(10, 30.0);
        assert!(report.ok, "{:?}", report.not_held);
        assert!(!serde_json::to_string(&report).unwrap().contains("not_held"));
    }

    #[test]
    fn each_figure_that_is_wrong_is_named() {
        type Spoil = fn(&mut Report);
        let wrong: [(&str, Spoil); 8] = [
            ("lost", |r| r.heartbeats.lost = 1),
            ("found in every log", |r| r.heartbeats.found_in_log = 10),
            ("wrongly flagged", |r| r.wrongly_flagged = 1),
            ("digests", |r| r.state_digests_equal = false),
            ("tamper", |r| r.flags.tamper = 0),
            ("clone", |r| r.flags.clone = 0),
            ("licenses", |r| r.licenses.active = 9),
            ("make up", |r| r.devices.legitimate = 8),
        ];
        for (word, spoil) in wrong {
            let mut report = good();
            spoil(&mut report);
            report.judge(10, 30.0);
            assert!(!report.ok && report.not_held.len() == 1, "{word}: {:?}", report.not_held);
            assert!(report.not_held[0].contains(word), "{word}: {:?}", report.not_held);
        }
    }

    #[test]
    fn what_the_players_expected_counts_too() {
        let mut report = good();
        report.checks = vec![Check::new(false, "the victim went on")];
        report.judge(10, 30.0);
        assert_eq!(report.not_held, ["the victim went on"]);
    }
}
