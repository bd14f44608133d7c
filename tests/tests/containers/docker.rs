//! What the suite asks of the Docker engine beyond what testcontainers offers: networks with fixed addresses, signals,
//! and cutting a container off.

use std::net::Ipv4Addr;
use std::process::Command;

/// Runs `docker`; its standard output.
///
/// # Panics
/// If it fails; shows what it said.
pub fn docker(arguments: &[&str]) -> String {
    try_docker(arguments).unwrap_or_else(|said| panic!("docker {}: {said}", arguments.join(" ")))
}

fn try_docker(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("docker").args(arguments).output();
    let output = output.map_err(|error| format!("cannot be started: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }
}

/// A bridge network, removed when dropped.
pub struct Network {
    pub name: String,
    /// The first three bytes of its addresses.
    prefix: [u8; 3],
}

impl Network {
    /// A new network on a subnet that nobody uses.
    pub fn create(name: &str) -> Self {
        let mut said = String::new();
        for third in 0..=255 {
            let prefix = [10, 213, third];
            let subnet = format!("{}/24", Network::address_in(prefix, 0));
            match try_docker(&["network", "create", "--subnet", &subnet, name]) {
                Ok(_) => return Network { name: name.to_owned(), prefix },
                Err(error) => said = error,
            }
        }
        panic!("no subnet is free for {name}: {said}")
    }

    fn address_in([a, b, c]: [u8; 3], host: u8) -> Ipv4Addr {
        Ipv4Addr::new(a, b, c, host)
    }

    /// The address of a host in it; 1 is the gateway.
    pub fn address(&self, host: u8) -> Ipv4Addr {
        Network::address_in(self.prefix, host)
    }

    pub fn connect(&self, container: &str, host: u8) {
        let address = self.address(host).to_string();
        docker(&["network", "connect", "--ip", &address, &self.name, container]);
    }

    /// The container hears and reaches nobody here any more.
    pub fn disconnect(&self, container: &str) {
        docker(&["network", "disconnect", "--force", &self.name, container]);
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // Containers are gone by now; what is left of them shows in `docker network ls`.
        let _ = try_docker(&["network", "rm", &self.name]);
    }
}

/// SIGKILL to the container's program.
pub fn kill(container: &str) {
    docker(&["kill", "--signal", "KILL", container]);
}

/// SIGTERM, and waits for the program's own end; its exit code.
pub fn stop(container: &str) -> i32 {
    docker(&["stop", "--time", "20", container]);
    let code = docker(&["inspect", "--format", "{{.State.ExitCode}}", container]);
    code.parse().unwrap_or_else(|error| panic!("{container} ended with {code}: {error}"))
}

pub fn start(container: &str) {
    docker(&["start", container]);
}

/// Freezes every thread of the program.
pub fn pause(container: &str) {
    docker(&["pause", container]);
}

pub fn unpause(container: &str) {
    docker(&["unpause", container]);
}

/// `healthy`, `unhealthy` or `starting`, as the image's own health check says.
pub fn health(container: &str) -> String {
    docker(&["inspect", "--format", "{{.State.Health.Status}}", container])
}
