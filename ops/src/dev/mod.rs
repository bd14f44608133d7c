//! The development cluster: everything of muster on one machine, in separate processes, over real NATS.
//!
//! ```text
//!   cast.rs      who plays what, from a seed (chance.rs)
//!   stage.rs ─┬─ factory.rs    an offline station burns the lot          ports.rs, children.rs
//!             ├─ nats.rs       the server; sources.rs: who may what      tap.rs: a witness on the wire
//!             ├─ cluster.rs    `muster node` processes
//!             ├─ agents.rs     `muster-agent` processes
//!             └─ crowd.rs      all other terminals, in `fleet`
//!
//!   live.rs    stands until Ctrl-C, with view.rs
//!   scene.rs   plays red_team.rs (attack/) and the leader's death, then asks evidence.rs, then writes report.rs
//! ```

pub mod agents;
pub mod attack;
pub mod cast;
pub mod chance;
pub mod children;
pub mod cluster;
pub mod crowd;
pub mod evidence;
pub mod factory;
pub mod live;
pub mod nats;
pub mod ports;
pub mod red_team;
pub mod report;
pub mod scene;
pub mod sources;
pub mod stage;
pub mod tap;

use anyhow::{Context as _, Result};
use std::path::PathBuf;
use std::time::Duration;

/// What `muster dev` is asked for.
pub struct DevPlan {
    pub devices: u32,
    pub nodes: u64,
    /// How long terminals beat in a scene.
    pub beat_for: Duration,
    pub seed: u64,
    /// Where nodes send traces by OTLP over gRPC; agents then tell theirs in files.
    pub otlp: Option<String>,
    /// None for a new directory below `.dev`.
    pub dir: Option<PathBuf>,
}

impl DevPlan {
    /// The directory of this run, new and closed to others.
    fn prepare_dir(&self) -> Result<PathBuf> {
        let dir = self.dir.clone().unwrap_or_else(|| {
            // Colons are awkward in paths, so the stamp goes without them.
            PathBuf::from(".dev").join(crate::cli::now().to_string().replace(':', "").replace('.', "-"))
        });
        if dir.exists() {
            anyhow::bail!(
                "{} exists already; each run has a directory of its own: choose another --dir",
                dir.display()
            );
        }
        crate::files::create_dir(&dir)?;
        crate::files::close_dir(&dir)?;
        dir.canonicalize().with_context(|| format!("finding {}", dir.display()))
    }
}
