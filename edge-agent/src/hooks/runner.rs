//! One hook, run once: an argv without a shell, an environment of its own, a time limit, bounded output.

use crate::shell::config::HookCommand;
use rustix::process::{Pid, Signal, kill_process_group};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout, timeout_at};

/// What is kept of standard output and of standard error, each; what comes after it is read and dropped.
pub const OUTPUT_BYTES_MAX: usize = 4096;
/// What a hook finds programs with.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";
/// A hook that ended may have left something behind that holds its output open: not waited for.
const OUTPUT_PATIENCE: Duration = Duration::from_millis(200);

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HookEnd {
    Done,
    /// Its exit code; none if a signal ended it.
    Failed(Option<i32>),
    /// It took too long and was killed, with its whole process group.
    TimedOut,
    NotStarted(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookOutcome {
    pub end: HookEnd,
    /// Standard output, then standard error: their first bytes.
    pub output: String,
}

/// Runs `command` to its end.
pub async fn run_hook(
    command: &HookCommand,
    environment: &[(&'static str, String)],
    limit: Duration,
) -> HookOutcome {
    let mut child = match start(command, environment) {
        Ok(child) => child,
        Err(error) => {
            return HookOutcome { end: HookEnd::NotStarted(error.to_string()), output: String::new() };
        }
    };
    let deadline = Instant::now() + limit;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let end = {
        let reading = async { tokio::join!(drain(stdout, &mut out), drain(stderr, &mut err)) };
        tokio::pin!(reading);
        let ended = tokio::select! {
            ended = timeout_at(deadline, child.wait()) => Some(ended),
            _ = &mut reading => None,
        };
        match ended {
            Some(ended) => {
                let end = judge(ended, &mut child).await;
                let _held_open = timeout(OUTPUT_PATIENCE, reading).await;
                end
            }
            // It closed its output and goes on.
            None => {
                let ended = timeout_at(deadline, child.wait()).await;
                judge(ended, &mut child).await
            }
        }
    };
    out.extend_from_slice(&err);
    HookOutcome { end, output: String::from_utf8_lossy(&out).into_owned() }
}

fn start(command: &HookCommand, environment: &[(&'static str, String)]) -> std::io::Result<Child> {
    Command::new(command.program())
        .args(command.arguments())
        .env_clear()
        .env("PATH", PATH)
        .envs(environment.iter().map(|(name, value)| (*name, value)))
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // A group of its own, so that what it started can be ended with it.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

type Waited = Result<std::io::Result<ExitStatus>, tokio::time::error::Elapsed>;

async fn judge(waited: Waited, child: &mut Child) -> HookEnd {
    match waited {
        Ok(Ok(status)) if status.success() => HookEnd::Done,
        Ok(Ok(status)) => HookEnd::Failed(status.code()),
        Ok(Err(error)) => HookEnd::NotStarted(error.to_string()),
        Err(_elapsed) => {
            kill_group(child);
            let _reaped = child.wait().await;
            HookEnd::TimedOut
        }
    }
}

/// Only while the child was not waited for: its id cannot be another's.
fn kill_group(child: &mut Child) {
    let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(group) = group {
        let _gone = kill_process_group(group, Signal::KILL);
    }
    let _gone = child.start_kill();
}

/// Reads all, so that a talkative hook is not held up, and keeps the first bytes.
async fn drain(stream: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>) {
    let Some(mut stream) = stream else { return };
    let mut buffer = [0; 1024];
    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
        let room = OUTPUT_BYTES_MAX.saturating_sub(kept.len());
        kept.extend_from_slice(&buffer[..read.min(room)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn command(argv: &[&str]) -> HookCommand {
        argv.iter().map(|argument| (*argument).to_owned()).collect::<Vec<_>>().try_into().unwrap()
    }

    async fn run(argv: &[&str], limit: Duration) -> HookOutcome {
        run_hook(&command(argv), &[("MUSTER_HOOK", "full".to_owned())], limit).await
    }

    #[tokio::test]
    async fn arguments_arrive_as_they_are_and_no_shell_reads_them() {
        let outcome = run(&["/bin/echo", "$HOME; `id` && 'x'"], LONG).await;
        assert_eq!(outcome.end, HookEnd::Done);
        assert_eq!(outcome.output, "$HOME; `id` && 'x'\n");
    }

    #[tokio::test]
    async fn a_hook_sees_its_own_environment_and_nothing_of_the_agents() {
        let outcome = run(&["/usr/bin/env"], LONG).await;
        let mut lines: Vec<_> = outcome.output.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["MUSTER_HOOK=full", &format!("PATH={PATH}")]);
    }

    #[tokio::test]
    async fn a_hook_that_hangs_is_killed_with_everything_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let pids = folder.path().join("pids");
        let script = format!("sleep 1000 & echo $! > {0}; echo begun; wait", pids.display());
        let outcome = run(&["/bin/sh", "-c", &script], Duration::from_millis(500)).await;
        assert_eq!(outcome.end, HookEnd::TimedOut);
        assert_eq!(outcome.output, "begun\n");
        let sleeper = std::fs::read_to_string(pids).unwrap();
        // The signal is sent; dying takes the kernel a moment. A zombie is one that nobody reaped yet.
        let stat = format!("/proc/{}/stat", sleeper.trim());
        while std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn output_without_end_is_read_and_cut() {
        let outcome = run(&["/bin/sh", "-c", "head -c 1000000 /dev/zero | tr '\\0' x; exit 3"], LONG).await;
        assert_eq!(outcome.end, HookEnd::Failed(Some(3)));
        assert_eq!(outcome.output.len(), OUTPUT_BYTES_MAX);
    }

    #[tokio::test]
    async fn a_hook_that_leaves_a_daemon_behind_does_not_hold_up_the_next_one() {
        let outcome = run(&["/bin/sh", "-c", "sleep 5 & echo left"], LONG).await;
        assert_eq!(outcome, HookOutcome { end: HookEnd::Done, output: "left\n".into() });
    }

    #[tokio::test]
    async fn a_hook_that_is_not_there_is_said_to_be_so() {
        let outcome = run(&["/nonexistent/hook"], LONG).await;
        assert!(matches!(outcome.end, HookEnd::NotStarted(why) if why.contains("No such file")));
    }
}
