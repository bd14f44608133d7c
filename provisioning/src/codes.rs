//! Activation codes at the sales desk: issued into one file of mode 0600, voided by a list.
//!
//! Plain codes are in that file, on what is sold, and on their way to the cluster's API, which keeps keyed digests only.

use crate::files::{self, FileError};
use events::ids::{CodeBatchId, IdError};
use events::license::code::{ActivationCode, CodeError};
use events::limits::CODES_PER_EVENT_MAX;
use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha384};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// A plan's name, in bytes.
pub const PLAN_NAME_BYTES_MAX: usize = 32;

/// Codes of one issue.
#[derive(Debug)]
pub struct IssuedCodes {
    pub batch: CodeBatchId,
    /// Name of the plan that each code grants.
    pub plan: String,
    pub codes: Vec<ActivationCode>,
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
    #[error("batch or plan differ from the first line's; one file holds one issue")]
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
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VoidRow {
    code: Zeroizing<String>,
    reason: String,
}

impl IssuedCodes {
    /// Makes `count` fresh codes. They count only once the cluster has them.
    pub fn issue(plan: &str, count: usize, rng: &mut impl CryptoRng) -> Result<Self, CodesError> {
        if !(1..=CODES_PER_EVENT_MAX).contains(&count) {
            return Err(CodesError::Count(count));
        }
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if plan.is_empty() || plan.len() > PLAN_NAME_BYTES_MAX || !plan.chars().all(allowed) {
            return Err(CodesError::Plan(plan.chars().take(64).collect()));
        }
        let mut batch = [0; CodeBatchId::BYTES];
        rng.fill_bytes(&mut batch);
        let codes = (0..count).map(|_| ActivationCode::generate(rng)).collect();
        Ok(IssuedCodes { batch: CodeBatchId::from_bytes(batch), plan: plan.to_owned(), codes })
    }

    /// Writes `code,batch,plan`, one line per code, into a new file of mode 0600.
    pub fn write_csv(&self, path: &Path) -> Result<(), CodesError> {
        let refused = |why: String| CodesError::Csv { path: path.to_owned(), why };
        let mut writer = csv::Writer::from_writer(Vec::new());
        for code in &self.codes {
            let code = Zeroizing::new(code.to_string());
            let row = CodeRow { code, batch: self.batch.to_string(), plan: self.plan.clone() };
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
            let batch = row.batch.parse()?;
            let code = seen.read(&row.code)?;
            let known =
                issued.get_or_insert_with(|| IssuedCodes { batch, plan: row.plan.clone(), codes: vec![] });
            if known.batch != batch || known.plan != row.plan {
                return Err(RowError::OtherIssue);
            }
            known.codes.push(code);
            Ok(())
        })?;
        issued.ok_or_else(|| CodesError::Empty { path: path.to_owned() })
    }
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
            "does not fit the columns expected (`code,batch,plan`, or `code,reason`)"
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

    fn issued(count: usize) -> IssuedCodes {
        IssuedCodes::issue("premium", count, &mut UnwrapErr(SysRng)).unwrap()
    }

    fn secret_file(path: &Path, text: &str) {
        files::create_secret(path, text.as_bytes()).unwrap();
    }

    #[test]
    fn codes_survive_their_file_which_is_closed_to_others() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("codes.csv");
        let codes = issued(50);
        codes.write_csv(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(fs::read_to_string(&path).unwrap().starts_with("code,batch,plan\n"));
        let read = IssuedCodes::read_csv(&path).unwrap();
        assert_eq!((read.batch, &read.plan, &read.codes), (codes.batch, &codes.plan, &codes.codes));
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
            let refused = IssuedCodes::issue("premium", count, &mut UnwrapErr(SysRng));
            assert!(matches!(refused, Err(CodesError::Count(n)) if n == count));
        }
        let named = IssuedCodes::issue("=cmd|' /C calc'", 1, &mut UnwrapErr(SysRng));
        assert!(matches!(named, Err(CodesError::Plan(_))));
    }

    #[test]
    fn one_wrong_line_is_named_and_nothing_of_the_file_counts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("codes.csv");
        let codes = issued(3);
        let row = |n: usize| format!("{},{},premium\n", codes.codes[n], codes.batch);
        let twice = format!("code,batch,plan\n{}{}{}", row(0), row(1), row(0));
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
