//! `muster cluster certify` and `enrol`: certificates that are made later, by the authority that `cluster init` made.

use super::certificates::{Authority, Certified};
use crate::context::{ClientCertificate, Context};
use crate::exit::{USAGE, coded};
use crate::files::{create_dir, read_text, write_public, write_secret};
use anyhow::{Context as _, Result};
use events::ids::NodeId;
use events::time::Timestamp;
use nodes::config::AccessRole;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

const DAY_MILLIS: u64 = 24 * 60 * 60 * 1_000;

/// Writes `node.pem` and `node.key` into `out`, and returns where; what lies there is kept as `.old`.
pub fn certify_again(
    dir: &Path,
    node: NodeId,
    host: &str,
    out: &Path,
    this_year: i32,
) -> Result<(PathBuf, PathBuf)> {
    let (context, authority) = authority_in(dir, this_year)?;
    let certified = authority.certify_node(context.cluster, node, host).map_err(wrong)?;
    write(&certified, out, "node")
}

/// Writes all that somebody needs to ask the cluster into `out`: a certificate that names the role, its key, and a context.
/// Returns where the context lies.
pub fn enrol(
    dir: &Path,
    role: AccessRole,
    who: &str,
    until: Timestamp,
    out: &Path,
    this_year: i32,
) -> Result<PathBuf> {
    let (context, authority) = authority_in(dir, this_year)?;
    let certified =
        authority.certify_operator(context.cluster, role, who, first_day_after(until)?).map_err(wrong)?;
    let (certificate, key) = write(&certified, out, "operator")?;
    for (from, name) in [(&context.ca, "ca.pem"), (&context.public, "cluster.public.json")] {
        write_public(&out.join(name), read_text(from).map_err(wrong)?.as_bytes())?;
    }
    let own = Context {
        ca: "ca.pem".into(),
        token: None,
        client: Some(ClientCertificate { certificate: name_of(&certificate), key: name_of(&key) }),
        public: "cluster.public.json".into(),
        // The keyring stays where the cluster is, and a factory's keys at the factory.
        keyring: None,
        factory: None,
        // An address may carry the nodes' login.
        nats: Vec::new(),
        ..context
    };
    let file = out.join("context.json");
    own.save(&file)?;
    Ok(file)
}

fn wrong(error: anyhow::Error) -> anyhow::Error {
    coded(USAGE, format!("{error:#}"))
}

fn authority_in(dir: &Path, this_year: i32) -> Result<(Context, Authority)> {
    let context = Context::load(Some(&dir.join("context.json")))?;
    let own = Certified {
        certificate: read_text(&dir.join("ca.pem")).map_err(wrong)?,
        key: Zeroizing::new(read_text(&dir.join("ca.key")).map_err(wrong)?),
    };
    let authority = Authority::load(context.cluster, own, this_year)
        .with_context(|| format!("the authority in {}", dir.display()))
        .map_err(wrong)?;
    Ok((context, authority))
}

fn write(certified: &Certified, out: &Path, name: &str) -> Result<(PathBuf, PathBuf)> {
    create_dir(out)?;
    let (certificate, key) = (out.join(name).with_extension("pem"), out.join(name).with_extension("key"));
    for file in [&certificate, &key] {
        keep(file)?;
    }
    write_public(&certificate, certified.certificate.as_bytes())?;
    write_secret(&key, certified.key.as_bytes())?;
    Ok((certificate, key))
}

/// Year, month and day in UTC that begin with or next after `until`: a certificate ends where a day begins, and is good
/// for all of its last one.
fn first_day_after(until: Timestamp) -> Result<(i32, u8, u8)> {
    let text = until.plus_millis(DAY_MILLIS - 1_000).to_string();
    let mut parts = text.split(['-', 'T']);
    let mut part = || parts.next().context("a day has a year, a month and a day");
    Ok((part()?.parse()?, part()?.parse()?, part()?.parse()?))
}

fn name_of(path: &Path) -> PathBuf {
    path.file_name().map(PathBuf::from).unwrap_or_default()
}

fn keep(file: &Path) -> Result<()> {
    match std::fs::rename(file, file.with_added_extension("old")) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        renamed => renamed.with_context(|| format!("keeping {}", file.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_good_for_all_of_its_last_day() {
        let day_after = |text: &str| {
            let since =
                humantime::parse_rfc3339(text).unwrap().duration_since(std::time::UNIX_EPOCH).unwrap();
            first_day_after(Timestamp::from_millis(since.as_millis() as u64)).unwrap()
        };
        assert_eq!(day_after("2027-06-30T23:59:59Z"), (2027, 7, 1));
        assert_eq!(day_after("2027-12-31T10:00:00Z"), (2028, 1, 1));
        assert_eq!(day_after("2027-06-30T00:00:00Z"), (2027, 6, 30));
    }
}
