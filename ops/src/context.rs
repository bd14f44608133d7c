//! Where the cluster is and how to be let in: one small file that `cluster init` and `dev` write, so that commands
//! need few flags.
//!
//! Found by `--context`, then `MUSTER_CONTEXT`, then `.dev/context.json` in the working directory. Paths in it are
//! relative to the file.

use crate::exit::{USAGE, coded};
use anyhow::{Context as _, Result};
use events::ids::ClusterId;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Where a context lies that nobody named.
pub const DEFAULT_PATH: &str = ".dev/context.json";

/// The file as written.
#[derive(Serialize, Deserialize, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub struct Context {
    pub cluster: ClusterId,
    /// Operators' APIs, one URL a node.
    pub apis: Vec<String>,
    /// Certificate authority that the nodes' certificates must come from (PEM).
    pub ca: PathBuf,
    /// File that holds the operator's token. May be left out where there is a certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<PathBuf>,
    /// The operator's certificate, shown to nodes that believe its authority (`api.client_authority`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<ClientCertificate>,
    /// The cluster's public keys, for stations and agents.
    pub public: PathBuf,
    /// The cluster's keyring; only machines of the cluster have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keyring: Option<PathBuf>,
    /// The factory's directory, where this machine has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub factory: Option<PathBuf>,
    /// NATS servers that terminals reach.
    #[serde(default)]
    pub nats: Vec<String>,
}

/// Who asks, proven by a certificate. Both files are PEM.
#[derive(Serialize, Deserialize, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub struct ClientCertificate {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Context {
    /// Reads the context that was named, or the one in the working directory; paths become absolute or relative to
    /// the working directory.
    pub fn load(named: Option<&Path>) -> Result<Self> {
        let path = named.unwrap_or_else(|| Path::new(DEFAULT_PATH));
        let text = std::fs::read_to_string(path).map_err(|error| coded(USAGE, no_context(named, &error)))?;
        let mut context: Context = serde_json::from_str(&text).map_err(|error| {
            coded(USAGE, format!("{} is no context file of `muster cluster init`: {error}", path.display()))
        })?;
        context.resolve(path.parent().unwrap_or(Path::new("")));
        Ok(context)
    }

    pub fn save(&self, path: &Path) -> Result<()> {
        let mut text = serde_json::to_string_pretty(self).context("encoding the context")?;
        text.push('\n');
        crate::files::write_public(path, text.as_bytes())
    }

    fn resolve(&mut self, dir: &Path) {
        let client = self.client.iter_mut().flat_map(|client| [&mut client.certificate, &mut client.key]);
        let maybe = [&mut self.token, &mut self.keyring, &mut self.factory].into_iter().flatten();
        for path in [&mut self.ca, &mut self.public].into_iter().chain(maybe).chain(client) {
            *path = dir.join(&*path);
        }
    }
}

fn no_context(named: Option<&Path>, error: &std::io::Error) -> String {
    match named {
        Some(path) => {
            format!(
                "no context in {}: {error}; `muster cluster init` and `muster dev` write one",
                path.display()
            )
        }
        None => format!(
            "no cluster named: give --context FILE or set MUSTER_CONTEXT (`muster cluster init` and `muster dev` write \
             such a file; looked for {DEFAULT_PATH} too). What only reads a log, or writes a file, needs no cluster: give \
             --keyring FILE there, as the nodes have it"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context() -> Context {
        Context {
            cluster: ClusterId::from_bytes([1; 16]),
            apis: vec!["https://127.0.0.1:1".into()],
            ca: "ca.pem".into(),
            token: Some("/elsewhere/token".into()),
            client: Some(ClientCertificate { certificate: "kim.pem".into(), key: "kim.key".into() }),
            public: "public.json".into(),
            keyring: Some("keyring.json".into()),
            factory: None,
            nats: vec![],
        }
    }

    #[test]
    fn paths_are_relative_to_the_file_not_to_the_working_directory() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("context.json");
        context().save(&path).unwrap();
        let loaded = Context::load(Some(&path)).unwrap();
        assert_eq!(loaded.ca, dir.path().join("ca.pem"));
        assert_eq!(loaded.token.as_deref(), Some(Path::new("/elsewhere/token")));
        let client = loaded.client.unwrap();
        assert_eq!(
            (client.certificate, client.key),
            (dir.path().join("kim.pem"), dir.path().join("kim.key"))
        );
        assert_eq!(loaded.keyring, Some(dir.path().join("keyring.json")));
    }

    #[test]
    fn a_missing_context_says_what_to_do() {
        let error = Context::load(Some(Path::new("/nowhere/context.json"))).unwrap_err();
        assert!(error.to_string().contains("muster cluster init"), "{error}");
        assert_eq!(crate::exit::code_of(&error), USAGE);
    }

    #[test]
    fn a_file_that_is_no_context_is_a_wrong_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("context.json");
        std::fs::write(&path, "{\"cluster\":7}").unwrap();
        assert_eq!(crate::exit::code_of(&Context::load(Some(&path)).unwrap_err()), USAGE);
    }
}
