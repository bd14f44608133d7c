//! Tables for other programs: the same rows in every format, whole or not at all.

use crate::author::Author;
use crate::story::{Fleet, Unit, fleet, found};
use crate::{command, muster, muster_json, path};
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::record::Field;
use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Stdio;

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The rows of a Parquet file as JSON objects, with times as numbers.
fn parquet_rows(file: &Path) -> Vec<Value> {
    let reader = SerializedFileReader::new(std::fs::File::open(file).unwrap()).unwrap();
    let value = |field: &Field| match field {
        Field::Null => Value::Null,
        Field::ULong(number) => (*number).into(),
        Field::TimestampMillis(millis) => (*millis).into(),
        Field::Str(text) => text.clone().into(),
        other => panic!("no column is of this kind: {other:?}"),
    };
    let row = |row: parquet::record::Row| {
        row.get_column_iter()
            .map(|(name, field)| (name.clone(), value(field)))
            .collect::<serde_json::Map<_, _>>()
    };
    reader.get_row_iter(None).unwrap().map(|found| Value::Object(row(found.unwrap()))).collect()
}

fn export(fleet: &Fleet, more: &[&str]) -> Vec<Value> {
    let [data, folder, keyring, file] = &fleet.author.flags();
    let mut arguments = vec!["replay", "export", data, folder, keyring, file];
    arguments.extend(more);
    let ran = muster(&arguments);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    lines(&ran.stdout)
}

#[test]
fn every_format_holds_the_same_rows() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = fleet(dir.path());
    let [data, folder, keyring, file] = &fleet.author.flags();
    for table in ["events", "heartbeats", "devices", "flags", "operations", "licenses"] {
        let rows = export(&fleet, &["--table", table]);
        assert!(!rows.is_empty(), "{table}");
        let written = |ending: &str| {
            let out = dir.path().join(format!("{table}.{ending}"));
            let to = ["replay", "export", "--table", table, "--out", path(&out), data, folder, keyring, file];
            assert_eq!(muster_json(&to)["rows"], rows.len(), "{table}.{ending}");
            out
        };
        assert_eq!(lines(&std::fs::read_to_string(written("jsonl")).unwrap()), rows);

        let mut commas = csv::Reader::from_path(written("csv")).unwrap();
        let names: Vec<_> = commas.headers().unwrap().iter().map(str::to_owned).collect();
        let in_columns = parquet_rows(&written("parquet"));
        for ((row, record), columns) in rows.iter().zip(commas.records()).zip(&in_columns) {
            let record = record.unwrap();
            assert_eq!(names.len(), row.as_object().unwrap().len());
            for (name, field) in names.iter().zip(&record) {
                let text = match &row[name] {
                    Value::Null => String::new(),
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                assert_eq!(field, text, "{table} {name}");
                let same = match &columns[name] {
                    Value::Null => text.is_empty(),
                    Value::String(column) => *column == text,
                    Value::Number(number) => {
                        let time = |millis| events::time::Timestamp::from_millis(millis).to_string();
                        number.to_string() == text || number.as_u64().map(time).as_ref() == Some(&text)
                    }
                    _ => false,
                };
                assert!(same, "{table} {name}: {} and {text}", columns[name]);
            }
        }
        assert_eq!(in_columns.len(), rows.len());
    }
}

#[test]
fn filters_let_through_what_was_asked_for_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = fleet(dir.path());
    let (cloned, honest) = (fleet.cloned.device.to_string(), fleet.honest.device.to_string());
    let all = export(&fleet, &[]);
    let of_device =
        |device: &str| all.iter().filter(|row| row["device"] == device).cloned().collect::<Vec<_>>();
    assert_eq!(export(&fleet, &["--device", &cloned]), of_device(&cloned));
    assert_eq!(export(&fleet, &["--device", &cloned, "--device", &honest]).len(), {
        of_device(&cloned).len() + of_device(&honest).len()
    });
    let resumed = export(&fleet, &["--kind", "SessionResumed", "--kind", "DeviceActivated"]);
    let kinds: Vec<_> = resumed.iter().map(|row| row["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["DeviceActivated", "DeviceActivated", "SessionResumed"]);
    assert_eq!(resumed[2]["outcome"], "resumed: epoch 2");
    let (since, until) = (fleet.quiet.to_string(), fleet.ordered.to_string());
    let between = export(&fleet, &["--since", &since, "--until", &until]);
    let indices: Vec<_> = between.iter().map(|row| row["index"].as_u64().unwrap()).collect();
    assert!(indices.iter().all(|index| (fleet.quiet..=fleet.ordered).contains(index)), "{indices:?}");
    assert_eq!(indices.last(), Some(&fleet.ordered));

    let early = export(&fleet, &["--table", "devices", "--until", &since]);
    assert_eq!(
        early.iter().map(|row| row["legitimacy"].as_str().unwrap()).collect::<Vec<_>>(),
        ["legitimate"; 2]
    );
    let [data, folder, keyring, file] = &fleet.author.flags();
    let wrong = muster(&["replay", "export", data, folder, keyring, file, "--kind", "SessionResume"]);
    assert_eq!(wrong.code, 2);
    assert!(
        wrong.stderr.contains("expected one of") && wrong.stderr.contains("SessionResumed"),
        "{}",
        wrong.stderr
    );
    assert_eq!(muster(&["replay", "export", data, folder, keyring, file, "--format", "parquet"]).code, 2);
}

/// A log that takes a while to export.
fn long_log(dir: &Path) -> Author {
    let mut author = Author::begin(dir);
    found(&mut author);
    let mut unit = Unit::alive(&mut author, 1);
    for _ in 0..60 {
        let rows: Vec<_> = (0..8000).map(|_| unit.row(&author)).collect();
        let _ = author.commit(&[], &rows);
    }
    author.stop();
    author
}

#[test]
fn an_interrupted_export_leaves_nothing_and_keeps_what_was_there() {
    let dir = tempfile::tempdir().unwrap();
    let author = long_log(&dir.path().join("log"));
    let [data, folder, keyring, file] = &author.flags();
    let out = dir.path().join("out");
    std::fs::create_dir(&out).unwrap();
    let target = out.join("heartbeats.jsonl");
    std::fs::write(&target, "of yesterday").unwrap();
    let arguments = ["replay", "export", "--table", "heartbeats", "--progress", "--out", path(&target)];
    let mut child =
        command(&arguments).args([data, folder, keyring, file]).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    let first = said.next().unwrap().unwrap();
    assert!(first.contains("% read"), "{first}");
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), 2, "it writes beside the file");
    let pid = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(said.any(|line| line.unwrap().contains("interrupted; nothing was written")));
    let left: Vec<_> = std::fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["heartbeats.jsonl"]);
    assert_eq!(std::fs::read_to_string(&target).unwrap(), "of yesterday");
}

#[test]
fn an_interrupted_export_to_stdout_does_not_say_that_nothing_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let author = long_log(&dir.path().join("log"));
    let [data, folder, keyring, file] = &author.flags();
    let mut child = command(&["replay", "export", "--table", "heartbeats", data, folder, keyring, file]);
    let mut child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut rows = BufReader::new(child.stdout.take().unwrap()).lines();
    rows.next().unwrap().unwrap();
    // It waits for who reads, so it is in the middle.
    let pid = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    assert!(rows.count() > 0);
    let ended = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(130), "{said}");
    assert!(said.contains("interrupted; the rows end early"), "{said}");
}

#[test]
fn an_export_that_meets_damage_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = fleet(&dir.path().join("log"));
    crate::bad_input::flip(&fleet.author.segment(3), 400);
    let [data, folder, keyring, file] = &fleet.author.flags();
    let out = dir.path().join("events.parquet");
    let ran = muster(&["replay", "export", "--out", path(&out), data, folder, keyring, file]);
    assert_eq!(ran.code, 5, "{}", ran.stderr);
    assert!(!out.exists());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "the log only");
}
