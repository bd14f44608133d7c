//! The terminal that is connected to a station: flags that name its memory and its components.

use super::lot::parse_component;
use super::now;
use crate::exit::{USAGE, coded};
use anyhow::{Context as _, Result};
use clap::Args;
use events::identity::fingerprint::{Component, Fingerprint};
use events::identity::otp::{FuseSecret, RECORD_BYTES};
use events::vocabulary::shared::ComponentKind;
use provisioning::otp::{FileOtp, NvmemOtp, OtpMemory};
use provisioning::station::{Memory, Station, Terminal};
use std::path::PathBuf;

/// Size of a development slot: the record and room to spare.
pub(crate) const SLOT_BYTES: usize = 256;

#[derive(Args)]
pub(crate) struct TerminalArguments {
    /// The station's directory
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// OTP memory in a file (development)
    #[arg(long, value_name = "FILE", required_unless_present = "nvmem", conflicts_with = "nvmem")]
    otp: Option<PathBuf>,
    /// OTP memory in fuses: a folder below /sys/bus/nvmem/devices
    #[arg(long, value_name = "DIR")]
    nvmem: Option<PathBuf>,
    /// First byte of the slot in --nvmem
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    offset: usize,
    /// What an unburned byte of --nvmem reads as
    #[arg(long, value_name = "BYTE", default_value_t = 0)]
    blank: u8,
    /// Profile `seed`: only a 32-byte secret goes into the slot, the sealed record into this file
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// A hardware component and the file that holds its value; once for each
    #[arg(long = "component", value_name = "KIND=FILE", required = true, value_parser = parse_component_file)]
    components: Vec<(ComponentKind, PathBuf)>,
}

impl TerminalArguments {
    /// Opens the station and the terminal that is connected to it.
    pub(super) fn with_terminal<T>(
        &self,
        work: impl FnOnce(&mut Station, &mut Terminal<'_>) -> Result<T>,
    ) -> Result<T> {
        let mut station = Station::open(&self.dir, now())?;
        let fingerprint = read_fingerprint(&self.components)?;
        let mut slot = self.slot()?;
        let memory = match &self.record {
            None => Memory::Full(&mut *slot),
            Some(record) => Memory::Seed { fuses: &mut *slot, record },
        };
        work(&mut station, &mut Terminal { fingerprint: &fingerprint, memory })
    }

    fn slot(&self) -> Result<Box<dyn OtpMemory>> {
        let size = if self.record.is_some() { FuseSecret::BYTES } else { SLOT_BYTES };
        match (&self.otp, &self.nvmem) {
            (Some(file), None) => Ok(Box::new(FileOtp::new(file, size))),
            (None, Some(folder)) => {
                // A terminal reads what lies behind its record too, so far as there is anything.
                let least = if self.record.is_some() { FuseSecret::BYTES } else { RECORD_BYTES };
                Ok(Box::new(NvmemOtp::open_up_to(folder, self.offset, least, size, self.blank)?))
            }
            _ => Err(coded(USAGE, "give --otp FILE or --nvmem DIR")),
        }
    }
}

/// Reads every component as the terminal's agent will.
pub(crate) fn read_fingerprint(files: &[(ComponentKind, PathBuf)]) -> Result<Fingerprint> {
    let read = |(kind, file): &(ComponentKind, PathBuf)| {
        let value = std::fs::read(file)
            .with_context(|| format!("reading component {kind} from {}", file.display()))?;
        Component::new(*kind, &value).with_context(|| format!("component {kind} in {}", file.display()))
    };
    Ok(Fingerprint::new(files.iter().map(read).collect::<Result<_>>()?)?)
}

fn parse_component_file(text: &str) -> Result<(ComponentKind, PathBuf), String> {
    let (kind, file) = text.split_once('=').ok_or("expected KIND=FILE, such as soc-serial=/sys/…")?;
    Ok((parse_component(kind)?, file.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_is_a_kind_and_a_file() {
        let (kind, file) = parse_component_file("mac-address=/sys/class/net/eth0/address").unwrap();
        assert_eq!((kind, file), (ComponentKind::MacAddress, PathBuf::from("/sys/class/net/eth0/address")));
        assert!(parse_component_file("nose=/x").unwrap_err().contains("soc-serial"));
    }
}
