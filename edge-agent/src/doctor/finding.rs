//! What doctor can find. Every finding has a code that never changes, a level, and advice.

use serde::Serialize;
use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    Fine,
    /// Works, but somebody should look.
    Warning,
    /// Does not work, or is not safe.
    Problem,
}

macro_rules! findings {
    ($($variant:ident = $code:literal, $level:ident, $advice:literal;)+) => {
        /// The code of a finding.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum FindingCode { $($variant),+ }

        impl FindingCode {
            pub const ALL: &'static [FindingCode] = &[$(FindingCode::$variant),+];

            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(FindingCode::$variant => $code),+ }
            }

            #[must_use]
            pub const fn level(self) -> Level {
                match self { $(FindingCode::$variant => Level::$level),+ }
            }

            /// What to do; empty if all is well.
            #[must_use]
            pub const fn advice(self) -> &'static str {
                match self { $(FindingCode::$variant => $advice),+ }
            }
        }
    };
}

findings! {
    ConfigRead = "CONFIG_READ", Fine, "";
    ConfigInvalid = "CONFIG_INVALID", Problem, "mend the line that is named; edge-agent/CONFIG.md lists every field";
    PermissionsTooWide = "PERMISSIONS_TOO_WIDE", Problem, "take the rights away (chmod), and give the file to the agent's user or root (chown)";
    ClusterKeysPinned = "CLUSTER_KEYS_PINNED", Fine, "";
    ClusterFileInvalid = "CLUSTER_FILE_INVALID", Problem, "ship the cluster file that `muster keys public` writes";
    ClusterKeyRetired = "CLUSTER_KEY_RETIRED", Warning, "ship the newest cluster file with the next firmware; nodes that keep the retired key still let this terminal activate";
    ClusterOther = "CLUSTER_OTHER", Problem, "this terminal pins another cluster than the file given; ship the right one, or ask the right cluster";
    LotFirmwareRead = "LOT_FIRMWARE_READ", Fine, "";
    LotFirmwareInvalid = "LOT_FIRMWARE_INVALID", Problem, "ship the lot.firmware.json of this terminal's lot, as `muster lot create` wrote it";
    StationsMissing = "STATIONS_MISSING", Problem, "build the firmware after the lot's stations were certified";
    OtpFound = "OTP_FOUND", Fine, "";
    OtpIsFile = "OTP_IS_A_FILE", Warning, "good for development; on a product point [otp] record at the nvmem node or the MTD OTP region";
    OtpUnreadable = "OTP_UNREADABLE", Problem, "point [otp] record at the nvmem node (/sys/bus/nvmem/devices/*/nvmem) or MTD OTP region, load its driver, and let the agent's user read it";
    OtpBlank = "OTP_BLANK", Problem, "nothing is burned there: check [otp] offset, or take the unit back to its station";
    FuseSecretUnreadable = "FUSE_SECRET_UNREADABLE", Problem, "point [otp] fuse_secret at the fuses' nvmem node and fuse_offset at the secret's first byte, and let the agent's user read its 32 bytes";
    ComponentsRead = "COMPONENTS_READ", Fine, "";
    ComponentUnreadable = "COMPONENT_UNREADABLE", Warning, "point the [components] line at a file that exists on this board, or find out why the part is gone";
    BootCheckFull = "BOOT_CHECK_FULL", Fine, "";
    BootCheckRestricted = "BOOT_CHECK_RESTRICTED", Problem, "the board is not the one that the record was burned for, or a part was changed: restore the part, or burn a new unit";
    BootCheckUnread = "BOOT_CHECK_UNREAD", Problem, "nothing that was read differs: let the agent's user read what is named above; a running agent looks again by itself and reports nothing until then";
    ComponentDiffers = "COMPONENT_DIFFERS", Warning, "the lot's threshold still allows it; one change more may restrict the terminal";
    StateRead = "STATE_READ", Fine, "";
    StateNone = "STATE_NONE", Fine, "";
    StateUnreadable = "STATE_UNREADABLE", Problem, "let the agent's user own the state directory (mode 0700) on a writable file system";
    StateOtherOwner = "STATE_OTHER_OWNER", Problem, "somebody else ran the agent: give the whole state directory to its user (chown -R muster: /var/lib/muster), and run commands as that user (sudo -u muster)";
    StateDamaged = "STATE_DAMAGED", Warning, "one copy is torn or its sector cannot be read, the other is used and the next write replaces the damaged one; if it comes again, look at the flash";
    StateLost = "STATE_LOST", Problem, "no copy is whole: start the agent, a licensed device re-keys by itself; look at the flash (the kernel's log, fsck)";
    StateOtherDevice = "STATE_OTHER_DEVICE", Problem, "this state came from another terminal, in an image or a restored backup: stop the agent, empty the state directory, and take the state out of the image";
    StateCopied = "STATE_COPIED", Problem, "the files were copied here: if from another terminal or out of an image, stop the agent and empty the state directory; if you moved this terminal's own state, delete `home` in it";
    StateInSlot = "STATE_IN_SLOT", Problem, "an update would bring back an old state, which looks like a clone: put state_dir on a partition that no update writes";
    StateInImage = "STATE_IN_IMAGE", Warning, "state_dir lies on the root file system, which images replace: put it on a partition of its own";
    StateVolatile = "STATE_VOLATILE", Problem, "state_dir does not survive a power cut: put it on flash or disk";
    AgentRunning = "AGENT_RUNNING", Fine, "";
    AgentNotRunning = "AGENT_NOT_RUNNING", Warning, "start it: systemctl start muster-agent";
    NotActivated = "NOT_ACTIVATED", Warning, "redeem an activation code: sudo -u muster muster-agent activate < code.txt";
    ActivationPending = "ACTIVATION_PENDING", Warning, "a sealed activation waits for its answer: bring the terminal online and let the agent run";
    RestrictedByCluster = "RESTRICTED_BY_CLUSTER", Problem, "the cluster restricted this terminal: ask its operator (`muster device explain`)";
    ClockRight = "CLOCK_RIGHT", Fine, "";
    ClockBehind = "CLOCK_BEHIND", Problem, "the clock was set back or lost its battery: set it (NTP); until then heartbeats report a rollback";
    ClockUnset = "CLOCK_UNSET", Warning, "the clock was never set: set it (NTP), TLS certificates are judged by it";
    ClockDiffers = "CLOCK_DIFFERS", Warning, "an unsealed ticket tells another time; if the terminal is online, set its clock (NTP)";
    LicenseHeld = "LICENSE_HELD", Fine, "";
    LicenseNone = "LICENSE_NONE", Warning, "no token is held: apps are refused; it comes with the next granted session of a licensed device";
    LicenseExpired = "LICENSE_EXPIRED", Problem, "the lease ended: bring the terminal online, the next verdict renews it";
    LicenseNotAuthentic = "LICENSE_NOT_AUTHENTIC", Problem, "no pinned license key verifies the token: ship the newest cluster file, or list the new key in [license] keys";
    LicenseSocketUnsafe = "LICENSE_SOCKET_UNSAFE", Problem, "let only the agent's user write to the socket's folder, or another program could answer in its place";
    LicenseSocketMissing = "LICENSE_SOCKET_MISSING", Problem, "create the folder (systemd: RuntimeDirectory=muster, RuntimeDirectoryMode=0755)";
    HookUnusable = "HOOK_UNUSABLE", Problem, "install the program, make it executable, and let nobody but its owner write to it";
    UpdateReady = "UPDATE_READY", Fine, "";
    UpdateOff = "UPDATE_OFF", Warning, "list the public update keys (`muster keys update`) and an install hook per kind of artifact in [update]; until then only a new burn mends a restricted terminal";
    UpdateHookUnusable = "UPDATE_HOOK_UNUSABLE", Problem, "install the program, make it executable, and let nobody but its owner write to it: an offer of this kind would fail here";
    UpdateCertificates = "UPDATE_CERTIFICATES", Problem, "point [update] ca_file at the PEM file of the authority that signs the update servers' certificates, or install the system's (`ca-certificates`): every download over HTTPS would fail here";
    UpdateOfferUnreachable = "UPDATE_OFFER_UNREACHABLE", Warning, "check [update] offer_url: it matters to a terminal that does not reach NATS";
    FileUnwritable = "FILE_UNWRITABLE", Problem, "create the folder and let the agent's user write to it (systemd: ReadWritePaths, RuntimeDirectory), or leave the field out";
    NatsAnswered = "NATS_ANSWERED", Fine, "";
    NatsPasswordUnreadable = "NATS_PASSWORD_UNREADABLE", Problem, "point [nats] password_file at a text file that the agent's user may read";
    NatsUnreachable = "NATS_UNREACHABLE", Problem, "check [nats] url, name resolution, routes and firewalls; the agent keeps trying by itself";
    NatsTls = "NATS_TLS", Problem, "check [nats] ca_file, the server's certificate, and this terminal's clock";
    NatsRefused = "NATS_REFUSED", Problem, "check [nats] user and password with the operator";
    NatsForbidden = "NATS_FORBIDDEN", Problem, "the user may publish muster.v1.<region>.up.<source>.> and subscribe _INBOX_<device>.> only: region, source and user must belong together";
    NatsNoNode = "NATS_NO_NODE", Problem, "NATS works, but no muster node listens: ask the operator (`muster cluster status`)";
    NatsSilent = "NATS_SILENT", Problem, "NATS took the hello, and no node answered in time: the cluster may have lost its quorum";
}

#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    pub code: FindingCode,
    pub level: Level,
    /// What was seen.
    pub about: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub advice: &'static str,
}

/// All that was found, in the order of the examination.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    pub findings: Vec<Finding>,
}

impl Report {
    pub(super) fn add(&mut self, code: FindingCode, about: impl fmt::Display) {
        self.add_as(code, code.level(), about);
    }

    pub(super) fn add_as(&mut self, code: FindingCode, level: Level, about: impl fmt::Display) {
        self.findings.push(Finding { code, level, about: about.to_string(), advice: code.advice() });
    }

    #[must_use]
    pub fn count(&self, level: Level) -> usize {
        self.findings.iter().filter(|finding| finding.level == level).count()
    }

    #[must_use]
    pub fn found(&self, code: FindingCode) -> bool {
        self.findings.iter().any(|finding| finding.code == code)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            let mark = match finding.level {
                Level::Fine => "ok      ",
                Level::Warning => "warning ",
                Level::Problem => "PROBLEM ",
            };
            writeln!(f, "{mark} {:<24} {}", finding.code.as_str(), finding.about)?;
            if !finding.advice.is_empty() {
                writeln!(f, "         {:<24} -> {}", "", finding.advice)?;
            }
        }
        let (problems, warnings) = (self.count(Level::Problem), self.count(Level::Warning));
        writeln!(f, "{problems} problems, {warnings} warnings")
    }
}

impl Serialize for FindingCode {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_code_is_one_of_its_kind_and_whatever_is_not_fine_says_what_to_do() {
        let codes: BTreeSet<_> = FindingCode::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(codes.len(), FindingCode::ALL.len());
        for code in FindingCode::ALL {
            assert_eq!(code.advice().is_empty(), code.level() == Level::Fine, "{}", code.as_str());
        }
    }
}
