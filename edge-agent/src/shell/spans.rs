//! The terminal's own part of a trace: a span from each request to its answer, one line of OTLP JSON each, as the
//! OpenTelemetry file exporter writes them and a collector's `otlpjsonfile` receiver reads them. A terminal needs no
//! connection to a collector, and no gRPC, for it.
//!
//! Invariant: tracing never costs the terminal its service. Files are bounded, and one that cannot be written is given up.

use super::traceparent::TraceContext;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// A file that has grown so far becomes `<file>.1`, in place of the one before.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Requests without an answer that are followed at one time.
const OPEN_MAX: usize = 4_096;

/// OTLP, `Span.SpanKind`: who asks over the network and waits.
const SPAN_KIND_CLIENT: u8 = 3;
/// OTLP, `Status.StatusCode`.
const STATUS_OK: u8 = 1;
const STATUS_ERROR: u8 = 2;

/// Writes the spans of one process; `K` tells its requests apart.
pub struct Spans<K> {
    service: &'static str,
    path: PathBuf,
    /// None after it could not be written.
    file: Option<File>,
    bytes: u64,
    bytes_max: u64,
    open: BTreeMap<K, OpenSpan>,
}

struct OpenSpan {
    context: TraceContext,
    name: &'static str,
    /// Device or lot.
    sender: String,
    began_nanos: u128,
}

impl<K: Ord + Copy> Spans<K> {
    /// Goes on writing at the end of the file.
    pub fn open(path: &Path, service: &'static str) -> std::io::Result<Self> {
        let file = File::options().create(true).append(true).open(path)?;
        let bytes = file.metadata()?.len();
        Ok(Spans {
            service,
            path: path.to_owned(),
            file: Some(file),
            bytes,
            bytes_max: FILE_BYTES_MAX,
            open: BTreeMap::new(),
        })
    }

    /// A request leaves. One of this key that was never answered ends here.
    pub fn begin(&mut self, key: K, context: TraceContext, name: &'static str, sender: &str) {
        self.end(key, STATUS_ERROR);
        if self.open.len() >= OPEN_MAX {
            self.open.pop_first();
        }
        let span = OpenSpan { context, name, sender: sender.to_owned(), began_nanos: nanos() };
        self.open.insert(key, span);
    }

    /// The first answer ends the span; further ones tell nothing.
    pub fn answered(&mut self, key: K) {
        self.end(key, STATUS_OK);
    }

    fn end(&mut self, key: K, status: u8) {
        let Some(span) = self.open.remove(&key) else { return };
        let mut line = span.to_otlp(self.service, nanos(), status).to_string();
        line.push('\n');
        if let Err(error) = self.write(line.as_bytes()) {
            tracing::warn!(%error, file = %self.path.display(), "spans are no longer written");
            self.file = None;
        }
    }

    fn write(&mut self, line: &[u8]) -> std::io::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        if self.bytes + line.len() as u64 > self.bytes_max {
            let mut older = self.path.clone().into_os_string();
            older.push(".1");
            std::fs::rename(&self.path, older)?;
            *file = File::options().create(true).append(true).open(&self.path)?;
            self.bytes = 0;
        }
        // In one call, so that a reader never sees half a line for long.
        file.write_all(line)?;
        self.bytes += line.len() as u64;
        Ok(())
    }
}

impl OpenSpan {
    /// `TracesData` of opentelemetry-proto in its JSON form: ids in hex, 64-bit numbers as text.
    fn to_otlp(&self, service: &str, ended_nanos: u128, status: u8) -> Value {
        let span = json!({
            "traceId": self.context.trace_id(),
            "spanId": self.context.span_id(),
            "name": self.name,
            "kind": SPAN_KIND_CLIENT,
            "startTimeUnixNano": self.began_nanos.to_string(),
            // A wall clock may have been set back meanwhile.
            "endTimeUnixNano": ended_nanos.max(self.began_nanos).to_string(),
            "attributes": [attribute("sender", &self.sender)],
            "status": { "code": status },
        });
        json!({ "resourceSpans": [{
            "resource": { "attributes": [attribute("service.name", service)] },
            "scopeSpans": [{ "scope": { "name": "muster" }, "spans": [span] }],
        }] })
    }
}

fn attribute(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}

fn nanos() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::entropy::Entropy;

    fn spans(dir: &Path) -> Spans<u64> {
        Spans::open(&dir.join("spans.jsonl"), "muster-agent").unwrap()
    }

    fn lines(dir: &Path) -> Vec<Value> {
        let text = std::fs::read_to_string(dir.join("spans.jsonl")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn span(line: &Value) -> &Value {
        &line["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
    }

    #[test]
    fn a_span_lasts_from_the_request_to_its_first_answer() {
        let dir = tempfile::tempdir().unwrap();
        let mut spans = spans(dir.path());
        let context = TraceContext::generate(&mut Entropy);
        spans.begin(7, context, "heartbeat", "dev");
        spans.answered(8);
        assert!(lines(dir.path()).is_empty(), "another request's answer");
        spans.answered(7);
        spans.answered(7);
        let lines = lines(dir.path());
        assert_eq!(lines.len(), 1);
        let span = span(&lines[0]);
        assert_eq!(span["traceId"], context.to_string()[3..35]);
        assert_eq!(span["spanId"], context.to_string()[36..52]);
        assert_eq!((&span["name"], &span["status"]["code"]), (&"heartbeat".into(), &STATUS_OK.into()));
        let time = |field: &str| span[field].as_str().unwrap().parse::<u128>().unwrap();
        assert!(time("startTimeUnixNano") > 0 && time("endTimeUnixNano") >= time("startTimeUnixNano"));
    }

    #[test]
    fn a_request_that_is_sent_again_ends_its_first_span_as_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let mut spans = spans(dir.path());
        spans.begin(7, TraceContext::generate(&mut Entropy), "resume", "dev");
        spans.begin(7, TraceContext::generate(&mut Entropy), "resume", "dev");
        spans.answered(7);
        let codes: Vec<_> =
            lines(dir.path()).iter().map(|line| span(line)["status"]["code"].clone()).collect();
        assert_eq!(codes, [STATUS_ERROR, STATUS_OK]);
    }

    #[test]
    fn files_stay_bounded_and_so_do_requests_that_nobody_answers() {
        let dir = tempfile::tempdir().unwrap();
        let mut spans = spans(dir.path());
        spans.bytes_max = 2_000;
        for key in 0..50 {
            spans.begin(key, TraceContext::generate(&mut Entropy), "heartbeat", "dev");
            spans.answered(key);
        }
        for file in ["spans.jsonl", "spans.jsonl.1"] {
            let bytes = std::fs::metadata(dir.path().join(file)).unwrap().len();
            assert!((1..=2_000).contains(&bytes), "{file}: {bytes}");
        }
        for key in 0..2 * OPEN_MAX as u64 {
            spans.begin(key, TraceContext::generate(&mut Entropy), "heartbeat", "dev");
        }
        assert_eq!(spans.open.len(), OPEN_MAX);
    }

    #[test]
    fn a_file_that_cannot_be_written_is_given_up_and_nothing_else_is() {
        let mut spans: Spans<u64> = Spans::open(Path::new("/dev/full"), "muster-agent").unwrap();
        for key in 0..3 {
            spans.begin(key, TraceContext::generate(&mut Entropy), "heartbeat", "dev");
            spans.answered(key);
        }
        assert!(spans.file.is_none());
    }
}
