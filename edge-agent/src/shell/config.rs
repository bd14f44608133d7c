//! The agent's TOML file, parsed once; a mistake names file, line, field and what was expected.
//!
//! Relative paths are relative to the file's own folder.

mod hooks;
mod license;
mod nats;
mod spool;

pub use hooks::{HookCommand, HooksConfig};
pub use license::{LICENSE_SOCKET, LicenseConfig};
pub use nats::{NatsConfig, NatsServers};
pub use spool::SpoolConfig;

use crate::machine::Settings;
use crate::update::UpdateConfig;
use events::envelope::SuiteSet;
use events::ids::{RegionName, SourceName};
use events::vocabulary::shared::{ComponentKind, Suite};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use zeroize::Zeroizing;

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read the config `{}`: {source}", file.display())]
    Read { file: PathBuf, source: std::io::Error },
    #[error("`{}`: {explained}", file.display())]
    Parse { file: PathBuf, explained: String },
}

/// Everything that an agent must be told.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Region whose nodes this terminal speaks to first.
    pub region: RegionName,
    /// What the NATS server confines this connection to.
    pub source: SourceName,
    /// Version of the terminal's firmware.
    pub firmware: u32,
    /// Folder of the state file, mode 0700. It must not be part of an image or of an A/B slot.
    pub state_dir: PathBuf,
    /// Public keys of the cluster, pinned (JSON).
    pub cluster_file: PathBuf,
    /// What the firmware of this lot carries: policy, lot secret, certificates (JSON, mode 0600).
    pub lot_firmware_file: PathBuf,
    pub nats: NatsConfig,
    pub otp: OtpConfig,
    /// Kind of component → file that holds its value.
    pub components: BTreeMap<ComponentKind, PathBuf>,
    #[serde(default)]
    pub timing: TimingConfig,
    /// Cipher suites to offer; the cluster chooses.
    #[serde(default = "default_suites")]
    pub suites: Vec<Suite>,
    /// Send a W3C `traceparent` header with each request.
    #[serde(default)]
    pub traces: bool,
    /// Where each of them is told as a span, one line of OTLP JSON each. Sends the headers, too.
    pub traces_file: Option<PathBuf>,
    /// Where the terminal's own programs read what the terminal may do (JSON, mode 0644). Not written if absent.
    pub standing_file: Option<PathBuf>,
    #[serde(default)]
    pub license: LicenseConfig,
    #[serde(default)]
    pub hooks: HooksConfig,
    #[serde(default)]
    pub update: UpdateConfig,
    #[serde(default)]
    pub spool: SpoolConfig,
}

/// Where the OTP record is, and for the `seed` profile the secret in the fuses.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OtpConfig {
    /// A file, an nvmem node or an MTD OTP region.
    pub record: PathBuf,
    /// First byte of the record in it.
    #[serde(default)]
    pub offset: u64,
    #[serde(default)]
    pub profile: ProfileName,
    pub fuse_secret: Option<PathBuf>,
    /// First byte of the secret in it [default: 0].
    pub fuse_offset: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProfileName {
    /// All of the record is in OTP memory.
    #[default]
    Full,
    /// A 32-byte secret is in the fuses, the record in ordinary storage.
    Seed,
}

/// Milliseconds, from one to thirty days.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u64")]
pub struct Millis(u64);

impl Millis {
    #[must_use]
    pub const fn as_duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

impl TryFrom<u64> for Millis {
    type Error = String;
    fn try_from(millis: u64) -> Result<Self, String> {
        const MAX: u64 = 30 * 24 * 3_600_000;
        if (1..=MAX).contains(&millis) {
            Ok(Millis(millis))
        } else {
            Err(format!("expected 1 to {MAX} milliseconds, got {millis}"))
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimingConfig {
    pub reply_timeout_ms: Option<Millis>,
    pub backoff_first_ms: Option<Millis>,
    pub backoff_max_ms: Option<Millis>,
    pub rekey_interval_ms: Option<Millis>,
    pub rekey_jitter_ms: Option<Millis>,
    pub time_floor_interval_ms: Option<Millis>,
    pub tamper_interval_ms: Option<Millis>,
    pub hardware_patience_ms: Option<Millis>,
}

fn default_suites() -> Vec<Suite> {
    Suite::ALL.to_vec()
}

impl Config {
    /// Reads and checks the file; nothing is applied in part.
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(file)
            .map(Zeroizing::new)
            .map_err(|source| ConfigError::Read { file: file.to_owned(), source })?;
        let mut config = Self::parse(&text)
            .map_err(|explained| ConfigError::Parse { file: file.to_owned(), explained })?;
        config.anchor_paths(file.parent().unwrap_or(Path::new("")));
        Ok(config)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let config: Config = toml::from_str(text).map_err(|error| explain(text, &error))?;
        config.check().map_err(str::to_owned)?;
        Ok(config)
    }

    /// Relations that no single field can show.
    fn check(&self) -> Result<(), &'static str> {
        if self.suites.is_empty() {
            return Err("field `suites`: expected at least one cipher suite");
        }
        if self.components.is_empty() {
            return Err("table `[components]`: expected at least one `kind = \"path\"`");
        }
        self.nats.check()?;
        match (self.otp.profile, &self.otp.fuse_secret) {
            (ProfileName::Seed, None) => Err("table `[otp]`: profile `seed` needs `fuse_secret`"),
            (ProfileName::Full, Some(_)) => Err("table `[otp]`: profile `full` has no `fuse_secret`"),
            (ProfileName::Full, None) if self.otp.fuse_offset.is_some() => {
                Err("table `[otp]`: profile `full` has no `fuse_offset`")
            }
            _ => Ok(()),
        }
    }

    fn anchor_paths(&mut self, folder: &Path) {
        let paths = [&mut self.state_dir, &mut self.cluster_file, &mut self.lot_firmware_file]
            .into_iter()
            .chain([&mut self.otp.record, &mut self.license.socket])
            .chain(&mut self.standing_file)
            .chain(&mut self.traces_file)
            .chain(&mut self.otp.fuse_secret)
            .chain(&mut self.nats.password_file)
            .chain(&mut self.nats.ca_file)
            .chain(&mut self.update.ca_file)
            .chain(self.components.values_mut());
        for path in paths {
            *path = folder.join(&*path);
        }
    }

    /// So long the boot check waits for hardware that cannot be read, and so often it looks again afterwards.
    #[must_use]
    pub fn hardware_patience(&self) -> Duration {
        self.timing.hardware_patience_ms.map_or(Duration::from_secs(60), Millis::as_duration)
    }

    /// The machine's settings: the defaults, where the file does not say otherwise.
    #[must_use]
    pub fn settings(&self) -> Settings {
        let defaults = Settings::default();
        let or = |given: Option<Millis>, default: u64| given.map_or(default, |millis| millis.0);
        Settings {
            firmware: self.firmware,
            offered: SuiteSet::of(&self.suites),
            license_keys: self.license.keys.clone(),
            reply_timeout: or(self.timing.reply_timeout_ms, defaults.reply_timeout),
            backoff_first: or(self.timing.backoff_first_ms, defaults.backoff_first),
            backoff_max: or(self.timing.backoff_max_ms, defaults.backoff_max),
            rekey_interval: or(self.timing.rekey_interval_ms, defaults.rekey_interval),
            rekey_jitter: or(self.timing.rekey_jitter_ms, defaults.rekey_jitter),
            time_floor_interval: or(self.timing.time_floor_interval_ms, defaults.time_floor_interval),
            spool_bodies: self.spool.bodies,
            spool_interval_min: or(self.spool.interval_min_ms, defaults.spool_interval_min),
            spool_write_interval: or(self.spool.write_interval_ms, defaults.spool_write_interval),
            tamper_interval: or(self.timing.tamper_interval_ms, defaults.tamper_interval),
            ..defaults
        }
    }
}

/// `line L, column C: what was expected`. The file's own text is not repeated: it may hold a password.
fn explain(text: &str, error: &toml::de::Error) -> String {
    let message = error.message().trim().replace('\n', "; ");
    let Some(span) = error.span() else { return message };
    let before = &text[..span.start.min(text.len())];
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    format!("line {line}, column {column}: {message}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"region = "eu-west"
source = "shop-7"
firmware = 3
state_dir = "/var/lib/muster"
cluster_file = "cluster.json"
lot_firmware_file = "lot.firmware.json"

[nats]
url = "nats://127.0.0.1:4222"
user = "shop-7"
password = "secret-word"

[otp]
record = "otp.bin"

[components]
soc-serial = "hw/soc"
mac-address = "/sys/class/net/eth0/address"

[timing]
reply_timeout_ms = 700
"#;

    fn refused(text: &str) -> String {
        Config::parse(text).unwrap_err()
    }

    #[test]
    fn a_good_config_is_read_with_its_paths_anchored_at_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("agent.toml");
        std::fs::write(&file, GOOD).unwrap();
        let config = Config::load(&file).unwrap();
        assert_eq!(config.otp.record, folder.path().join("otp.bin"));
        assert_eq!(config.components[&ComponentKind::MacAddress], Path::new("/sys/class/net/eth0/address"));
        assert_eq!(config.settings().reply_timeout, 700);
        assert_eq!(config.settings().rekey_interval, 3_600_000);
        assert!(!format!("{config:?}").contains("secret-word"));
    }

    #[test]
    fn an_unknown_field_is_refused_with_its_line_and_what_was_expected() {
        let said = refused(&GOOD.replace("firmware = 3", "firmwear = 3"));
        assert!(said.starts_with("line 3, column 1: unknown field `firmwear`, expected one of"), "{said}");
        assert!(said.contains("`firmware`"), "{said}");
        assert!(!said.contains("secret-word"));
    }

    #[test]
    fn a_value_out_of_range_is_refused_with_its_line() {
        let said = refused(&GOOD.replace("= 700", "= 0"));
        assert!(
            said.starts_with("line 21, ") && said.contains("1 to 2592000000 milliseconds, got 0"),
            "{said}"
        );
        let said = refused(&GOOD.replace("\"shop-7\"\nfirm", "\"Shop 7\"\nfirm"));
        assert!(said.starts_with("line 2, ") && said.contains("a-z, 0-9"), "{said}");
        let said = refused(&GOOD.replace("soc-serial", "soc"));
        assert!(said.starts_with("line 17, ") && said.contains("soc-serial"), "{said}");
    }

    #[test]
    fn a_seed_profile_without_its_fuse_secret_is_refused() {
        let said = refused(&GOOD.replace("[otp]", "[otp]\nprofile = \"seed\""));
        assert!(said.contains("needs `fuse_secret`"), "{said}");
    }

    #[test]
    fn a_user_without_a_password_and_a_password_without_a_user_are_refused() {
        for half in ["user = \"shop-7\"", "password = \"secret-word\""] {
            let said = refused(&GOOD.replace(&format!("{half}\n"), ""));
            assert!(said.contains("[nats]") && said.contains("one of the two"), "{said}");
            assert!(!said.contains("secret-word"));
        }
        Config::parse(&GOOD.replace("password = \"secret-word\"", "password_file = \"nats.password\""))
            .unwrap();
        Config::parse(&GOOD.replace("user = \"shop-7\"\npassword = \"secret-word\"\n", "")).unwrap();
    }

    #[test]
    fn one_nats_server_or_several_in_their_order_are_understood() {
        let one = Config::parse(GOOD).unwrap();
        assert_eq!(one.nats.url.as_slice().len(), 1);
        let list = r#"["tls://a.example.net", "b.example.net:4223", "nats://[::1]:4224"]"#;
        let several = Config::parse(&GOOD.replace("\"nats://127.0.0.1:4222\"", list)).unwrap();
        let servers = several.nats.url.as_slice().iter();
        let servers: Vec<_> = servers.map(|server| (server.host(), server.port())).collect();
        assert_eq!(servers, [("a.example.net", 4222), ("b.example.net", 4223), ("::1", 4224)]);
    }

    #[test]
    fn what_is_no_nats_server_is_refused_with_line_and_field_and_without_its_login() {
        for (wrong, says) in [
            ("\"http://nats.example.net\"", "http"),
            ("\"ws://nats.example.net\"", "nats://"),
            ("\"nats://\"", "host"),
            ("\"nats://a b\"", "invalid"),
            ("\"nats://host:port\"", "port"),
            ("\"\"", "host"),
            ("\"nats://shop:hunter2@nats.example.net\"", "`password_file`"),
            ("\"shop:hunter2@nats.example.net\"", "`password_file`"),
            ("[\"nats://good\", \"nats://x:hunter2@bad:port\"]", "port"),
            ("[]", "at least one"),
            ("7", "a list of them"),
        ] {
            let said = refused(&GOOD.replace("\"nats://127.0.0.1:4222\"", wrong));
            assert!(said.starts_with("line 9, ") && said.contains(says), "{wrong}: {said}");
            assert!(said.contains("`[nats] url`") || wrong == "7", "{wrong}: {said}");
            assert!(!said.contains("hunter2"), "{said}");
        }
    }

    #[test]
    fn an_offer_url_that_cannot_be_fetched_is_refused_with_line_and_field() {
        let with = |url: &str| Config::parse(&format!("{GOOD}\n[update]\noffer_url = \"{url}\"\n"));
        with("https://updates.example.net:8443/box/offer").unwrap();
        for wrong in
            ["updates.example.net/offer", "ftp://a/b", "https://", "http://u:hunter2@a/b", "https://a b/c"]
        {
            let said = with(wrong).unwrap_err();
            assert!(
                said.starts_with("line 24, ") && said.contains("`[update] offer_url`"),
                "{wrong}: {said}"
            );
            assert!(!said.contains("hunter2"), "{said}");
        }
    }

    #[test]
    fn a_missing_field_is_named() {
        let said = refused(&GOOD.replace("region = \"eu-west\"", ""));
        assert!(said.contains("missing field `region`"), "{said}");
    }
}
