//! Child processes that never outlive us: killed when dropped, and by the kernel if we die first.
//!
//! Children lead their own process group, so that Ctrl-C reaches only us and we decide the order of the end.

use anyhow::{Context, Result, bail};
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A running child with its log file.
pub struct Child {
    name: String,
    process: std::process::Child,
    log: PathBuf,
}

/// Starts a child whose output and log are appended to `log`. Call it from the main thread only: the kernel's death
/// signal is bound to the thread that forked.
pub fn spawn(name: &str, command: Command, log: &Path) -> Result<Child> {
    spawn_with_output(name, command, log, log)
}

/// As [`spawn`], with standard output in a file of its own.
pub fn spawn_with_output(name: &str, mut command: Command, output: &Path, log: &Path) -> Result<Child> {
    // Logs are files: no colours.
    command.env("NO_COLOR", "1").stdin(Stdio::null()).stdout(append_to(output)?).stderr(append_to(log)?);
    die_with_parent(&mut command);
    let process = command.spawn().with_context(|| format!("starting {name}: {:?}", command.get_program()))?;
    Ok(Child { name: name.to_owned(), process, log: log.to_owned() })
}

fn append_to(path: &Path) -> Result<File> {
    let file = OpenOptions::new().create(true).append(true).open(path);
    file.with_context(|| format!("opening {}", path.display()))
}

#[allow(unsafe_code, reason = "prctl and pre_exec have no safe form; only async-signal-safe calls are made")]
fn die_with_parent(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    command.process_group(0);
    let parent = std::process::id();
    // SAFETY: between fork and exec only `prctl` and `getppid` are called, both async-signal-safe, and no memory is
    // touched but the stack.
    unsafe {
        command.pre_exec(move || {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                return Err(std::io::Error::last_os_error());
            }
            let orphaned = libc::getppid().cast_unsigned() != parent;
            if orphaned { Err(std::io::Error::from_raw_os_error(libc::ESRCH)) } else { Ok(()) }
        });
    }
}

impl Child {
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// The log file's path, for messages.
    #[must_use]
    pub fn log(&self) -> String {
        self.log.display().to_string()
    }

    /// An error that quotes the end of the log if the child has ended by itself.
    pub fn still_running(&mut self) -> Result<()> {
        match self.process.try_wait().with_context(|| format!("waiting for {}", self.name))? {
            None => Ok(()),
            Some(status) => bail!("{} ended ({status}):\n{}", self.name, last_lines(&self.log, 12)),
        }
    }

    /// SIGKILL: no chance to tidy up, as a power cut gives none.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill().with_context(|| format!("killing {}", self.name))?;
        self.process.wait().with_context(|| format!("waiting for {}", self.name))?;
        Ok(())
    }

    /// SIGTERM, and SIGKILL if the child does not end within `patience`; returns how it ended.
    pub async fn stop(&mut self, patience: Duration) -> Result<ExitStatus> {
        self.terminate();
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) =
                self.process.try_wait().with_context(|| format!("waiting for {}", self.name))?
            {
                return Ok(status);
            }
            if Instant::now() > deadline {
                self.kill()?;
                bail!(
                    "{} did not end within {patience:?} of SIGTERM and was killed; see {}",
                    self.name,
                    self.log()
                );
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    #[allow(unsafe_code, reason = "kill(2) has no safe form in std")]
    fn terminate(&self) {
        // SAFETY: a plain system call; the pid is ours and not yet reaped, so it names no other process.
        unsafe { libc::kill(self.process.id().cast_signed(), libc::SIGTERM) };
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if matches!(self.process.try_wait(), Ok(None)) {
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }
}

fn last_lines(path: &Path, count: usize) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_child_that_ends_early_is_reported_with_the_end_of_its_log() {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo why it failed >&2; exit 3"]);
        let mut child = spawn("doomed", command, &dir.path().join("log")).unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while child.still_running().is_ok() {
            assert!(Instant::now() < deadline);
            tokio::task::yield_now().await;
        }
        let error = child.still_running().unwrap_err().to_string();
        assert!(error.contains("doomed") && error.contains("why it failed"), "{error}");
    }

    #[test]
    fn a_dropped_child_is_dead() {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("sleep");
        command.arg("600");
        let child = spawn("sleeper", command, &dir.path().join("log")).unwrap();
        let pid = child.pid();
        drop(child);
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }
}
