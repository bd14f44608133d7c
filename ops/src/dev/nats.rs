//! The nats-server of the development cluster: which binary, and when it is ready.

use super::children::{Child, spawn};
use crate::nats::config_text;
pub use crate::nats::{Permissions, User};
use anyhow::{Context, Result, bail};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Older servers have known authorization bypasses.
const OLDEST: (u32, u32, u32) = (2, 12, 7);
const READY_WITHIN: Duration = Duration::from_secs(15);

/// A running server; killed when dropped.
pub struct NatsServer {
    pub address: SocketAddr,
    _child: Child,
}

impl NatsServer {
    /// The URL with a user's credentials, as configuration files and clients want it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }
}

/// Starts a server with these users and waits until it accepts one of them.
pub async fn start(
    binary: &Path,
    dir: &Path,
    address: SocketAddr,
    region: &str,
    users: &[User],
) -> Result<NatsServer> {
    std::fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
    let config = dir.join("nats.conf");
    crate::files::write_secret(&config, config_text(&address.to_string(), region, users, None).as_bytes())?;
    let mut command = std::process::Command::new(binary);
    command.arg("--config").arg(&config);
    let mut child = spawn("nats-server", command, &dir.join("nats.log"))?;
    let first = users.first().context("a nats-server without users serves nobody")?;
    wait_until_ready(address, first, &mut child).await?;
    Ok(NatsServer { address, _child: child })
}

async fn wait_until_ready(address: SocketAddr, user: &User, child: &mut Child) -> Result<()> {
    let deadline = Instant::now() + READY_WITHIN;
    loop {
        let options =
            async_nats::ConnectOptions::with_user_and_password(user.name.clone(), user.password.clone());
        match options.connect(format!("nats://{address}")).await {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() > deadline => {
                bail!(
                    "nats-server on {address} is not ready after {READY_WITHIN:?}: {error}; see {}",
                    child.log()
                );
            }
            Err(_) => child.still_running()?,
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

/// The binary to run: `MUSTER_NATS_SERVER`, then `.local/nats-server` below `root`, then PATH; new enough or refused.
pub fn find_binary(root: &Path) -> Result<PathBuf> {
    let named = std::env::var_os("MUSTER_NATS_SERVER").map(PathBuf::from);
    let fetched = Some(root.join(".local/nats-server"));
    let on_path = std::env::var_os("PATH")
        .into_iter()
        .flat_map(|path| std::env::split_paths(&path).collect::<Vec<_>>())
        .map(|dir| dir.join("nats-server"));
    let mut too_old = Vec::new();
    for candidate in named.into_iter().chain(fetched).chain(on_path).filter(|path| path.is_file()) {
        match version_of(&candidate) {
            Some(version) if version >= OLDEST => return Ok(candidate),
            Some((major, minor, patch)) => {
                too_old.push(format!("{} is {major}.{minor}.{patch}", candidate.display()))
            }
            None => too_old.push(format!("{} does not tell its version", candidate.display())),
        }
    }
    let (major, minor, patch) = OLDEST;
    let found = if too_old.is_empty() { "found none".to_owned() } else { too_old.join(", ") };
    bail!(
        "a nats-server >= {major}.{minor}.{patch} is needed ({found}); `./ops/dev` and `./ops/test` fetch one, or name \
         yours with MUSTER_NATS_SERVER"
    )
}

fn version_of(binary: &Path) -> Option<(u32, u32, u32)> {
    let output = std::process::Command::new(binary).arg("--version").output().ok()?;
    parse_version(&String::from_utf8_lossy(&output.stdout))
}

fn parse_version(text: &str) -> Option<(u32, u32, u32)> {
    let numbers = text.trim().rsplit('v').next()?;
    let mut parts = numbers.split(['.', '-']).map(str::parse::<u32>);
    Some((parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_the_server_prints_them() {
        assert_eq!(parse_version("nats-server: v2.15.1\n"), Some((2, 15, 1)));
        assert_eq!(parse_version("nats-server: v2.12.7-RC.1"), Some((2, 12, 7)));
        assert_eq!(parse_version("garbage"), None);
    }
}
