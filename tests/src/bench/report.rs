//! What was measured: one JSON document, or a table for people. Goals are judged, not adjusted.

use super::Plan;
use super::load::Sent;
use super::machine::Machine;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum System {
    Echo,
    JetStreamDefault,
    JetStreamAlways,
    Muster,
}

impl System {
    const fn name(self) -> &'static str {
        match self {
            System::Echo => "NATS echo",
            System::JetStreamDefault => "JetStream R3, default sync",
            System::JetStreamAlways => "JetStream R3, sync always",
            System::Muster => "muster heartbeats",
        }
    }
}

/// One measurement.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// Good answers a second, from the first request to the last answer.
    pub per_second: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub sent: usize,
    pub answered: usize,
    /// Requests without a good answer, by what was said instead.
    pub failed: BTreeMap<String, u64>,
    /// Cores used, by process.
    pub cpu_cores: BTreeMap<String, f64>,
    /// What each heartbeat left in one node's log, everything included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_bytes_each: Option<f64>,
}

impl Measured {
    /// `good` is asked of every answer.
    pub fn of(sent: &[Sent], cpu: BTreeMap<String, f64>, good: impl Fn(&[u8]) -> bool) -> Self {
        let said = |answer: &[u8]| String::from_utf8_lossy(answer).chars().take(80).collect();
        Measured::judged(sent, cpu, |_, _, answer| if good(answer) { Ok(()) } else { Err(said(answer)) })
    }

    /// `judge` is asked of every answer, with connection and number.
    pub fn judged(
        sent: &[Sent],
        cpu_cores: BTreeMap<String, f64>,
        mut judge: impl FnMut(usize, usize, &[u8]) -> Result<(), String>,
    ) -> Self {
        let mut latencies = Vec::new();
        let mut failed: BTreeMap<String, u64> = BTreeMap::new();
        for (connection, list) in sent.iter().enumerate() {
            for (number, answer) in list.answers.iter().take(list.count).enumerate() {
                let judged = match answer {
                    Some(answer) => judge(connection, number, &answer.payload).map(|()| answer.after),
                    None => Err("no answer".to_owned()),
                };
                match judged {
                    Ok(after) => latencies.push(after),
                    Err(why) => *failed.entry(why).or_default() += 1,
                }
            }
        }
        latencies.sort_unstable();
        let began = sent.iter().map(|list| list.began).min();
        let ended = sent.iter().map(|list| list.ended).max();
        let elapsed = began.zip(ended).map_or(Duration::ZERO, |(began, ended)| ended.duration_since(began));
        Measured {
            per_second: latencies.len() as f64 / elapsed.as_secs_f64().max(1e-9),
            p50_ms: millis(percentile(&latencies, 0.50)),
            p99_ms: millis(percentile(&latencies, 0.99)),
            sent: sent.iter().map(|list| list.count).sum(),
            answered: latencies.len(),
            failed,
            cpu_cores,
            log_bytes_each: None,
        }
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct EngineFigures {
    pub engine: String,
    pub ecdh_micros: f64,
    pub verify_micros: f64,
    pub sign_micros: f64,
    /// ECDH, verify and sign together, on all cores, and nothing else.
    pub activations_per_second: f64,
}

#[derive(Clone, Debug, Serialize)]
pub struct ActivationFigures {
    pub measured: Measured,
    /// Of what the nodes' engine could do with all cores to itself.
    pub to_engine: f64,
}

#[derive(Clone, Debug, Serialize)]
pub struct FailoverFigures {
    pub kills: usize,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub all_ms: Vec<f64>,
}

impl FailoverFigures {
    #[must_use]
    pub fn of(all_ms: Vec<f64>) -> Self {
        let mut sorted: Vec<_> = all_ms.iter().map(|millis| Duration::from_secs_f64(millis / 1e3)).collect();
        sorted.sort_unstable();
        let at = |part| if sorted.is_empty() { f64::NAN } else { millis(percentile(&sorted, part)) };
        FailoverFigures { kills: all_ms.len(), p50_ms: at(0.50), p99_ms: at(0.99), all_ms }
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct Round {
    pub number: usize,
    pub window: usize,
    pub systems: BTreeMap<System, Measured>,
}

pub(super) fn at_least(goal: &str, least: f64, measured: f64) -> Judged {
    Judged { goal: format!("{goal} at least {least}"), measured, met: measured >= least }
}

pub(super) fn at_most(goal: &str, most: f64, measured: f64) -> Judged {
    Judged { goal: format!("{goal} at most {most}"), measured, met: measured <= most }
}

/// A goal and what became of it.
#[derive(Clone, Debug, Serialize)]
pub struct Judged {
    pub goal: String,
    pub measured: f64,
    pub met: bool,
}

#[derive(Clone, Debug, Serialize)]
pub struct Report {
    #[serde(flatten)]
    pub machine: Machine,
    pub smoke: bool,
    pub terminals: u32,
    pub payload_bytes: usize,
    pub engines: Vec<EngineFigures>,
    pub activations: Option<ActivationFigures>,
    pub resumes: Vec<Measured>,
    pub rounds: Vec<Round>,
    /// Half of muster's median rate at the goals' window, sent steadily.
    pub half_load: BTreeMap<System, Measured>,
    pub failover: Option<FailoverFigures>,
    pub goals: Vec<Judged>,
}

impl Report {
    #[must_use]
    pub fn begin(plan: &Plan) -> Self {
        Report {
            machine: Machine::this(),
            smoke: plan.smoke,
            terminals: plan.terminals,
            payload_bytes: events::envelope::heartbeat::HEARTBEAT_BYTES,
            engines: Vec::new(),
            activations: None,
            resumes: Vec::new(),
            rounds: Vec::new(),
            half_load: BTreeMap::new(),
            failover: None,
            goals: Vec::new(),
        }
    }

    /// The nodes' engine is the last.
    pub fn activated(&mut self, measured: Measured, engines: Vec<EngineFigures>) {
        let engine = engines.last().map_or(f64::NAN, |engine| engine.activations_per_second);
        self.activations = Some(ActivationFigures { to_engine: measured.per_second / engine, measured });
        self.engines = engines;
    }

    /// The median over the rounds.
    #[must_use]
    pub fn median_rate(&self, system: System, window: usize) -> f64 {
        self.median(system, window, |measured| measured.per_second)
    }

    fn median(&self, system: System, window: usize, of: impl Fn(&Measured) -> f64) -> f64 {
        let rounds = self.rounds.iter().filter(|round| round.window == window);
        median(rounds.filter_map(|round| round.systems.get(&system)).map(of).collect())
    }

    /// The median of the rounds' own ratios: what else the machine did in a round hit both.
    fn ratio(&self, to: System, window: usize) -> f64 {
        let rounds = self.rounds.iter().filter(|round| round.window == window);
        let of = |round: &Round| {
            Some(round.systems.get(&System::Muster)?.per_second / round.systems.get(&to)?.per_second)
        };
        median(rounds.filter_map(of).collect())
    }

    /// Judges the goals at `window`.
    pub fn conclude(&mut self, window: usize) {
        let echo = |of: fn(&Measured) -> f64| self.half_load.get(&System::Echo).map_or(f64::NAN, of);
        let half = |of: fn(&Measured) -> f64| self.half_load.get(&System::Muster).map_or(f64::NAN, of);
        let resumes = median(self.resumes.iter().map(|pass| pass.per_second).collect());
        self.goals = vec![
            at_least("heartbeats to JetStream sync always", 2.0, self.ratio(System::JetStreamAlways, window)),
            at_least(
                "heartbeats to JetStream default sync",
                1.0,
                self.ratio(System::JetStreamDefault, window),
            ),
            at_least("heartbeats to NATS echo", 0.5, self.ratio(System::Echo, window)),
            at_most("half load, p50 to that of echo", 3.0, half(|m| m.p50_ms) / echo(|m| m.p50_ms)),
            at_most("half load, p99 in ms", 10.0, half(|m| m.p99_ms)),
            at_least(
                "activations to the engine's arithmetic",
                0.9,
                self.activations.as_ref().map_or(f64::NAN, |figures| figures.to_engine),
            ),
            at_least("resumes to NATS echo", 0.3, resumes / self.median_rate(System::Echo, window)),
            at_most(
                "half load, bytes of log per heartbeat",
                24.0,
                half(|m| m.log_bytes_each.unwrap_or(f64::NAN)),
            ),
            at_most(
                "kill -9 of the leader to the next verdict, p99 in ms",
                1_000.0,
                self.failover.as_ref().map_or(f64::NAN, |figures| figures.p99_ms),
            ),
        ];
    }

    /// For people.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = format!(
            "{}; {} terminals, payload {} bytes{}\n\n",
            self.machine,
            self.terminals,
            self.payload_bytes,
            if self.smoke { "; a smoke run shows nothing about speed" } else { "" },
        );
        let mut windows: Vec<usize> = self.rounds.iter().map(|round| round.window).collect();
        windows.sort_unstable();
        windows.dedup();
        text.push_str("| window | what | per second | p50 ms | p99 ms | muster to it | log bytes each | cores used |\n|---|---|---|---|---|---|---|---|\n");
        for &window in &windows {
            for system in [System::Echo, System::JetStreamDefault, System::JetStreamAlways, System::Muster] {
                self.line(&mut text, window, system);
            }
        }
        for (system, measured) in &self.half_load {
            let _ = writeln!(
                text,
                "| half load | {} | {:.0} | {:.2} | {:.2} | | {} | {} |",
                system.name(),
                measured.per_second,
                measured.p50_ms,
                measured.p99_ms,
                measured.log_bytes_each.map_or_else(String::new, |bytes| format!("{bytes:.1}")),
                cores(&measured.cpu_cores)
            );
        }
        text.push_str("\n| P-384 engine | ECDH µs | verify µs | sign µs | activations' arithmetic per second, all cores |\n|---|---|---|---|---|\n");
        for engine in &self.engines {
            let EngineFigures { engine, ecdh_micros, verify_micros, sign_micros, activations_per_second } =
                engine;
            let _ = writeln!(
                text,
                "| {engine} | {ecdh_micros:.0} | {verify_micros:.0} | {sign_micros:.0} | {activations_per_second:.0} |"
            );
        }
        text.push('\n');
        if let Some(ActivationFigures { measured, to_engine }) = &self.activations {
            let _ = writeln!(
                text,
                "activations: {:.0} per second, {to_engine:.2} of the arithmetic; {}",
                measured.per_second,
                cores(&measured.cpu_cores)
            );
        }
        for pass in &self.resumes {
            let _ = writeln!(
                text,
                "resumes: {:.0} per second, p99 {:.1} ms; {}",
                pass.per_second,
                pass.p99_ms,
                cores(&pass.cpu_cores)
            );
        }
        if let Some(figures) = &self.failover {
            let _ = writeln!(
                text,
                "leader killed to next verdict, {} kills: p50 {:.0} ms, p99 {:.0} ms",
                figures.kills, figures.p50_ms, figures.p99_ms
            );
        }
        self.failures(&mut text);
        text.push_str("\n| goal | measured | |\n|---|---|---|\n");
        for Judged { goal, measured, met } in &self.goals {
            let _ = writeln!(text, "| {goal} | {measured:.2} | {} |", if *met { "met" } else { "missed" });
        }
        text
    }

    fn line(&self, text: &mut String, window: usize, system: System) {
        let of = |of: fn(&Measured) -> f64| self.median(system, window, of);
        let ratio = if system == System::Muster {
            String::new()
        } else {
            format!("{:.2}", self.ratio(system, window))
        };
        let bytes = of(|m| m.log_bytes_each.unwrap_or(f64::NAN));
        let last = self.rounds.iter().rev().find(|round| round.window == window);
        let cpu = last.and_then(|round| round.systems.get(&system)).map(|m| cores(&m.cpu_cores));
        let _ = writeln!(
            text,
            "| {window} | {} | {:.0} | {:.2} | {:.2} | {ratio} | {} | {} |",
            system.name(),
            of(|m| m.per_second),
            of(|m| m.p50_ms),
            of(|m| m.p99_ms),
            if bytes.is_nan() { String::new() } else { format!("{bytes:.1}") },
            cpu.unwrap_or_default()
        );
    }

    /// Whatever did not go well is said.
    fn failures(&self, text: &mut String) {
        let rounds = self.rounds.iter().flat_map(|round| {
            round.systems.iter().map(move |(s, m)| (format!("window {}", round.window), *s, m))
        });
        let half = self.half_load.iter().map(|(s, m)| ("half load".to_owned(), *s, m));
        let resumes = self.resumes.iter().map(|m| ("resumes".to_owned(), System::Muster, m));
        let activations =
            self.activations.iter().map(|a| ("activations".to_owned(), System::Muster, &a.measured));
        for (what, system, measured) in activations.chain(resumes).chain(rounds).chain(half) {
            for (why, count) in &measured.failed {
                let _ =
                    writeln!(text, "{what}, {}: {count} of {} failed: {why}", system.name(), measured.sent);
            }
        }
    }
}

fn cores(by_process: &BTreeMap<String, f64>) -> String {
    by_process.iter().map(|(name, cores)| format!("{name} {cores:.2}")).collect::<Vec<_>>().join(", ")
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// The value below which `part` of the sorted values lie; zero if there are none.
fn percentile(sorted: &[Duration], part: f64) -> Duration {
    let at = (sorted.len() as f64 * part).ceil() as usize;
    sorted.get(at.saturating_sub(1)).copied().unwrap_or_default()
}

pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let sorted: Vec<_> = (1..=100).map(Duration::from_millis).collect();
        assert_eq!(percentile(&sorted, 0.50), Duration::from_millis(50));
        assert_eq!(percentile(&sorted, 0.99), Duration::from_millis(99));
        assert_eq!(percentile(&sorted[..1], 0.99), Duration::from_millis(1));
        assert_eq!(percentile(&[], 0.5), Duration::ZERO);
    }

    #[test]
    fn a_goal_that_was_not_measured_is_not_met() {
        let plan = Plan::smoke("muster".into(), "nats-server".into());
        let mut report = Report::begin(&plan);
        report.conclude(64);
        assert!(!report.goals.is_empty() && report.goals.iter().all(|goal| !goal.met), "{:?}", report.goals);
    }
}
