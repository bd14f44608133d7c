//! Activation codes at the sales desk: issued into one file of mode 0600, voided by a list.
//!
//! Plain codes are in that file, on what is sold, and on their way to the cluster's API, which keeps keyed digests only.
//! What they grant stands beside them, so that a cluster that is told late is told what was sold.

use crate::files::{self, FileError};
use events::ids::{CodeBatchId, IdError};
use events::license::code::{ActivationCode, CodeError};
use events::license::token::{TokenError, plan_fits};
use events::limits::CODES_PER_EVENT_MAX;
use events::vocabulary::license::Plan;
use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha384};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// A plan's name, in bytes.
pub const PLAN_NAME_BYTES_MAX: usize = 32;
/// An entitlement or a reseller, in bytes: what the log takes.
const NAME_BYTES_MAX: usize = 64;
/// Entitlements of one plan: what the log takes.
const ENTITLEMENTS_MAX: usize = 32;
/// Between entitlements, in one cell.
const BETWEEN: &str = ",";

/// Codes of one issue.
#[derive(Debug)]
pub struct IssuedCodes {
    pub batch: CodeBatchId,
    pub sold: Sold,
    pub codes: Vec<ActivationCode>,
}

/// What each code of an issue grants, and who sells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sold {
    pub plan: Plan,
    pub reseller: String,
}

/// A code that must not be redeemed any more.
#[derive(Debug, PartialEq, Eq)]
pub struct VoidOrder {
    pub code: ActivationCode,
    pub reason: String,
}

/// Why codes were not issued or read, and what to do. Never says anything of a code itself.
#[derive(Debug, thiserror::Error)]
pub enum CodesError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("one issue has 1 to {CODES_PER_EVENT_MAX} codes, not {0}: issue in parts")]
    Count(usize),
    #[error("a plan's name is 1 to {PLAN_NAME_BYTES_MAX} characters of a-z, 0-9 and `-`, got `{0}`")]
    Plan(String),
    #[error(
        "{what} is 1 to {NAME_BYTES_MAX} bytes without commas, quotes and control characters, and begins with none of \
         `=+-@`; got `{got}`"
    )]
    Name { what: &'static str, got: String },
    #[error("a plan has at most {ENTITLEMENTS_MAX} entitlements, got {0}")]
    Entitlements(usize),
    #[error("a license token lives for a time; give a lease of at least one second")]
    NoLease,
    #[error("{0}: shorten the plan's name or entitlements, or have fewer of them")]
    Token(#[from] TokenError),
    #[error("{path}, line {line}: {why}")]
    Row { path: PathBuf, line: u64, why: RowError },
    #[error("{path}: not readable as CSV: {why}")]
    Csv { path: PathBuf, why: String },
    #[error("{path} holds no codes")]
    Empty { path: PathBuf },
}

/// What is wrong with one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    #[error(transparent)]
    Code(#[from] CodeError),
    #[error(transparent)]
    Batch(#[from] IdError),
    #[error("the code is there twice")]
    Twice,
    #[error("batch, plan or reseller differ from the first line's; one file holds one issue")]
    OtherIssue,
    #[error("a reason is needed")]
    NoReason,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CodeRow {
    code: Zeroizing<String>,
    batch: String,
    plan: String,
    entitlements: String,
    term_seconds: u64,
    lease_seconds: u32,
    reseller: String,
}

/// The only column that whoever redeems codes needs.
#[derive(Deserialize)]
struct OnlyCode {
    code: Zeroizing<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VoidRow {
    code: Zeroizing<String>,
    reason: String,
}

impl Sold {
    /// What the log would refuse, or no license token could say, is refused before anything is sold.
    fn check(&self) -> Result<(), CodesError> {
        let Sold { plan, reseller } = self;
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if plan.name.is_empty() || plan.name.len() > PLAN_NAME_BYTES_MAX || !plan.name.chars().all(allowed) {
            return Err(CodesError::Plan(plan.name.chars().take(64).collect()));
        }
        named("a reseller", reseller)?;
        plan.entitlements.iter().try_for_each(|entitlement| named("an entitlement", entitlement))?;
        if plan.entitlements.len() > ENTITLEMENTS_MAX {
            return Err(CodesError::Entitlements(plan.entitlements.len()));
        }
        if plan.lease_seconds == 0 {
            return Err(CodesError::NoLease);
        }
        Ok(plan_fits(plan)?)
    }
}

/// A name that a spreadsheet shows and does not compute.
fn named(what: &'static str, name: &str) -> Result<(), CodesError> {
    let unfit = |c: char| c.is_control() || c == ',' || c == '"';
    let fits = (1..=NAME_BYTES_MAX).contains(&name.len())
        && !name.contains(unfit)
        && name.trim() == name
        && !name.starts_with(['=', '+', '-', '@']);
    if fits { Ok(()) } else { Err(CodesError::Name { what, got: name.chars().take(80).collect() }) }
}

impl CodeRow {
    fn sold(&self) -> Sold {
        let entitlements = self.entitlements.split(BETWEEN).filter(|name| !name.is_empty());
        Sold {
            plan: Plan {
                name: self.plan.clone(),
                entitlements: entitlements.map(str::to_owned).collect(),
                term_seconds: self.term_seconds,
                lease_seconds: self.lease_seconds,
            },
            reseller: self.reseller.clone(),
        }
    }
}

impl IssuedCodes {
    /// Makes `count` fresh codes. They count only once the cluster has them.
    pub fn issue(sold: Sold, count: usize, rng: &mut impl CryptoRng) -> Result<Self, CodesError> {
        if !(1..=CODES_PER_EVENT_MAX).contains(&count) {
            return Err(CodesError::Count(count));
        }
        sold.check()?;
        Ok(IssuedCodes::fresh(sold, count, rng))
    }

    /// One more code for a license, which is taken as it was sold.
    pub fn reissue(sold: Sold, rng: &mut impl CryptoRng) -> Self {
        IssuedCodes::fresh(sold, 1, rng)
    }

    fn fresh(sold: Sold, count: usize, rng: &mut impl CryptoRng) -> Self {
        let mut batch = [0; CodeBatchId::BYTES];
        rng.fill_bytes(&mut batch);
        let codes = (0..count).map(|_| ActivationCode::generate(rng)).collect();
        IssuedCodes { batch: CodeBatchId::from_bytes(batch), sold, codes }
    }

    /// Writes one line per code, with what it grants, into a new file of mode 0600.
    pub fn write_csv(&self, path: &Path) -> Result<(), CodesError> {
        let refused = |why: String| CodesError::Csv { path: path.to_owned(), why };
        let mut writer = csv::Writer::from_writer(Vec::new());
        let Sold { plan, reseller } = &self.sold;
        for code in &self.codes {
            let row = CodeRow {
                code: Zeroizing::new(code.to_string()),
                batch: self.batch.to_string(),
                plan: plan.name.clone(),
                entitlements: plan.entitlements.join(BETWEEN),
                term_seconds: plan.term_seconds,
                lease_seconds: plan.lease_seconds,
                reseller: reseller.clone(),
            };
            writer.serialize(row).map_err(|e| refused(e.to_string()))?;
        }
        let bytes = Zeroizing::new(writer.into_inner().map_err(|e| refused(e.to_string()))?);
        Ok(files::create_secret(path, &bytes)?)
    }

    /// Reads the file of one issue.
    pub fn read_csv(path: &Path) -> Result<Self, CodesError> {
        let mut issued: Option<IssuedCodes> = None;
        let mut seen = Seen::default();
        for_each_row(path, |row: CodeRow| {
            let (batch, sold) = (row.batch.parse()?, row.sold());
            let code = seen.read(&row.code)?;
            let known =
                issued.get_or_insert_with(|| IssuedCodes { batch, sold: sold.clone(), codes: vec![] });
            if known.batch != batch || known.sold != sold {
                return Err(RowError::OtherIssue);
            }
            known.codes.push(code);
            Ok(())
        })?;
        issued.ok_or_else(|| CodesError::Empty { path: path.to_owned() })
    }
}

/// Reads the codes of a file, whatever else stands in it.
pub fn read_codes(path: &Path) -> Result<Vec<ActivationCode>, CodesError> {
    let (mut codes, mut seen) = (Vec::new(), Seen::default());
    for_each_row(path, |row: OnlyCode| {
        codes.push(seen.read(&row.code)?);
        Ok(())
    })?;
    if codes.is_empty() { Err(CodesError::Empty { path: path.to_owned() }) } else { Ok(codes) }
}

/// Reads a list of codes to void: `code,reason`.
pub fn read_void_list(path: &Path) -> Result<Vec<VoidOrder>, CodesError> {
    let mut orders = Vec::new();
    let mut seen = Seen::default();
    for_each_row(path, |row: VoidRow| {
        let (code, reason) = (seen.read(&row.code)?, row.reason.trim().to_owned());
        if reason.is_empty() {
            return Err(RowError::NoReason);
        }
        orders.push(VoidOrder { code, reason });
        Ok(())
    })?;
    if orders.is_empty() { Err(CodesError::Empty { path: path.to_owned() }) } else { Ok(orders) }
}

/// The codes that a file named so far, by their digests: 100 random bits do not follow from one.
#[derive(Default)]
struct Seen(BTreeSet<[u8; 48]>);

impl Seen {
    fn read(&mut self, text: &str) -> Result<ActivationCode, RowError> {
        let code: ActivationCode = text.parse()?;
        let fresh = self.0.insert(Sha384::digest(&code.to_bytes()[..]).into());
        if fresh { Ok(code) } else { Err(RowError::Twice) }
    }
}

/// Nothing counts unless every line is right. An error names the line and never quotes it.
fn for_each_row<R: for<'de> Deserialize<'de>>(
    path: &Path,
    mut take: impl FnMut(R) -> Result<(), RowError>,
) -> Result<(), CodesError> {
    let bytes = files::read_secret(path)?;
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(bytes.as_slice());
    for (index, row) in reader.deserialize().enumerate() {
        // The first line is the header.
        let line = index as u64 + 2;
        let row = row.map_err(|e| CodesError::Csv { path: path.to_owned(), why: csv_problem(&e, line) })?;
        take(row).map_err(|why| CodesError::Row { path: path.to_owned(), line, why })?;
    }
    Ok(())
}

/// What is wrong, without the contents that the reader's own message may quote.
fn csv_problem(error: &csv::Error, line: u64) -> String {
    let what = match error.kind() {
        csv::ErrorKind::Utf8 { .. } => "is no text",
        csv::ErrorKind::UnequalLengths { .. } => "has another number of columns than the first line",
        csv::ErrorKind::Deserialize { .. } => {
            "does not fit the columns expected: \
             `code,batch,plan,entitlements,term_seconds,lease_seconds,reseller` of an issue, or `code,reason` of a list to \
             void. An issue of an older version kept the first three only: add the others as they were sold"
        }
        _ => "cannot be read",
    };
    format!("line {line} {what}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use getrandom::SysRng;
    use rand_core::UnwrapErr;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn sold(plan: &str) -> Sold {
        let entitlements = vec!["tv".to_owned(), "recorder with 2 tuners".to_owned()];
        let plan =
            Plan { name: plan.to_owned(), entitlements, term_seconds: 30 * 86_400, lease_seconds: 3_600 };
        Sold { plan, reseller: "corner shop".to_owned() }
    }

    fn try_issue(sold: Sold) -> Result<IssuedCodes, CodesError> {
        IssuedCodes::issue(sold, 1, &mut UnwrapErr(SysRng))
    }

    fn issued(count: usize) -> IssuedCodes {
        IssuedCodes::issue(sold("premium"), count, &mut UnwrapErr(SysRng)).unwrap()
    }

    const HEAD: &str = "code,batch,plan,entitlements,term_seconds,lease_seconds,reseller\n";

    fn secret_file(path: &Path, text: &str) {
        files::create_secret(path, text.as_bytes()).unwrap();
    }

    #[test]
    fn codes_and_what_they_grant_survive_their_file_which_is_closed_to_others() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("codes.csv");
        let codes = issued(50);
        codes.write_csv(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(fs::read_to_string(&path).unwrap().starts_with(HEAD));
        let read = IssuedCodes::read_csv(&path).unwrap();
        assert_eq!((read.batch, &read.sold, &read.codes), (codes.batch, &codes.sold, &codes.codes));
        assert_eq!(read_codes(&path).unwrap(), codes.codes);

        let mut bare = sold("bare");
        (bare.plan.entitlements, bare.plan.term_seconds) = (vec![], 0);
        let path = dir.path().join("bare.csv");
        try_issue(bare.clone()).unwrap().write_csv(&path).unwrap();
        assert_eq!(IssuedCodes::read_csv(&path).unwrap().sold, bare);
    }

    #[test]
    fn a_file_of_a_version_that_kept_the_plans_name_only_gives_its_codes_and_says_what_it_lacks() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("codes.csv");
        let codes = issued(1);
        secret_file(&path, &format!("code,batch,plan\n{},{},premium\n", codes.codes[0], codes.batch));
        assert_eq!(read_codes(&path).unwrap(), codes.codes);
        let refused = IssuedCodes::read_csv(&path).unwrap_err().to_string();
        assert!(refused.contains("older version") && refused.contains("lease_seconds"), "{refused}");
    }

    #[test]
    fn what_no_license_could_grant_is_refused_before_it_is_sold() {
        let with = |change: fn(&mut Sold)| {
            let mut sold = sold("premium");
            change(&mut sold);
            try_issue(sold).unwrap_err().to_string()
        };
        assert!(with(|sold| sold.plan.entitlements = vec!["e".repeat(60); 20]).contains("token"));
        assert!(with(|sold| sold.plan.entitlements = vec!["e".to_owned(); 33]).contains("at most 32"));
        assert!(with(|sold| sold.plan.entitlements = vec!["a,b".to_owned()]).contains("an entitlement"));
        assert!(with(|sold| sold.plan.entitlements = vec![String::new()]).contains("an entitlement"));
        assert!(with(|sold| sold.reseller = "=cmd|' /C calc'".to_owned()).contains("a reseller"));
        assert!(with(|sold| sold.plan.lease_seconds = 0).contains("lease"));
    }

    #[test]
    fn an_issue_never_overwrites_another() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("codes.csv");
        issued(1).write_csv(&path).unwrap();
        let again = issued(1).write_csv(&path);
        assert!(matches!(again, Err(CodesError::File(FileError::Exists { .. }))));
    }

    #[test]
    fn an_issue_without_codes_or_with_too_many_is_refused() {
        for count in [0, CODES_PER_EVENT_MAX + 1] {
            let refused = IssuedCodes::issue(sold("premium"), count, &mut UnwrapErr(SysRng));
            assert!(matches!(refused, Err(CodesError::Count(n)) if n == count));
        }
        let named = try_issue(sold("=cmd|' /C calc'"));
        assert!(matches!(named, Err(CodesError::Plan(_))));
    }

    #[test]
    fn one_wrong_line_is_named_and_nothing_of_the_file_counts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("codes.csv");
        let codes = issued(3);
        let row = |n: usize| format!("{},{},premium,tv,0,60,shop\n", codes.codes[n], codes.batch);
        let twice = format!("{HEAD}{}{}{}", row(0), row(1), row(0));
        secret_file(&path, &twice);
        let refused = IssuedCodes::read_csv(&path).unwrap_err();
        assert!(matches!(refused, CodesError::Row { line: 4, why: RowError::Twice, .. }), "{refused}");
    }

    #[test]
    fn an_error_never_quotes_a_code() {
        let dir = tempfile::tempdir().unwrap();
        let code = issued(1).codes[0].to_string();
        let broken = [
            format!("code,batch,plan\n{code}x,cba_0,premium\n"),
            format!("code,batch,plan\n{code}\n"),
            format!("code,batch,plan\n{code},nothing,premium\n"),
            format!("kode,batch,plan\n{code},cba_0,premium\n"),
        ];
        for (index, text) in broken.iter().enumerate() {
            let path = dir.path().join(index.to_string());
            secret_file(&path, text);
            let refused = IssuedCodes::read_csv(&path).unwrap_err();
            let shown = format!("{refused} {refused:?}");
            assert!(!shown.contains(&code[..11]), "{shown}");
        }
    }

    #[test]
    fn a_void_list_reads_codes_as_people_write_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("void.csv");
        let codes = issued(2);
        let spelled = codes.codes[0].to_string().to_lowercase().replace('-', " ");
        secret_file(
            &path,
            &format!("code,reason\n {spelled} , stolen in transit\n{},refunded\n", codes.codes[1]),
        );
        let orders = read_void_list(&path).unwrap();
        assert_eq!(orders[0], VoidOrder { code: codes.codes[0].clone(), reason: "stolen in transit".into() });
        assert_eq!(orders.len(), 2);
    }

    #[test]
    fn a_void_list_without_reasons_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("void.csv");
        secret_file(&path, &format!("code,reason\n{},\n", issued(1).codes[0]));
        let refused = read_void_list(&path).unwrap_err();
        assert!(matches!(refused, CodesError::Row { line: 2, why: RowError::NoReason, .. }), "{refused}");
    }
}
