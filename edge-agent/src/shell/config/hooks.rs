//! `[hooks]`: the vendor's programs that hear what the terminal may do.

use super::Millis;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// A program and its arguments, as they are: never read by a shell.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub struct HookCommand {
    program: PathBuf,
    arguments: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HooksConfig {
    /// The terminal may do everything.
    pub full: Option<HookCommand>,
    /// Nothing but software update.
    pub restricted: Option<HookCommand>,
    /// The cluster offers a software update.
    pub update: Option<HookCommand>,
    /// The cluster has something to tell.
    pub notify: Option<HookCommand>,
    /// A hook that takes longer is killed, with everything that it started.
    pub timeout_ms: Millis,
}

impl Default for HooksConfig {
    fn default() -> Self {
        HooksConfig { full: None, restricted: None, update: None, notify: None, timeout_ms: Millis(30_000) }
    }
}

impl HookCommand {
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    #[must_use]
    pub fn arguments(&self) -> &[String] {
        &self.arguments
    }
}

impl TryFrom<Vec<String>> for HookCommand {
    type Error = &'static str;
    fn try_from(mut argv: Vec<String>) -> Result<Self, Self::Error> {
        const EXPECTED: &str = "expected a list of a program's absolute path and its arguments";
        if argv.is_empty() || argv.iter().any(|argument| argument.contains('\0')) {
            return Err(EXPECTED);
        }
        let program = PathBuf::from(argv.remove(0));
        if program.is_absolute() { Ok(HookCommand { program, arguments: argv }) } else { Err(EXPECTED) }
    }
}
