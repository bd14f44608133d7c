//! What a NATS server delivers, made readable, byte by byte as it comes.
//!
//! The server passes on whatever a terminal wrote: subjects, reply subjects and headers that are no text, headers that
//! are no headers, payloads as large as the server allows. The client library takes such bytes for a broken connection
//! and gives it up with all that waits in it, so that one terminal could keep a node away from all others. Here:
//!
//! ```text
//!   subject, reply   bytes that no subject of ours has become `?`       ─▶ refused as malformed, charged to its source
//!   headers          nothing but a well-formed `traceparent` is kept    ─▶ the message is judged as if it had no other
//!   payload          cut to one byte more than any message may have     ─▶ refused as oversized
//! ```
//!
//! Invariants: each delivery comes out once and in order, with the payload that was sent up to that length; memory is
//! bounded by the longest line, whatever comes; where bytes are cut does not matter.

use bytes::{Buf, BytesMut};
use events::limits::MESSAGE_BYTES_MAX;
use std::io;

/// What the server itself says in one line, its list of servers included, stays far below.
const LINE_BYTES_MAX: usize = 256 * 1024;
/// Header blocks above are not looked at.
const HEADERS_BYTES_MAX: usize = 4 * 1024;
/// One more than allowed, so that ingress sees that it was too much.
const PAYLOAD_BYTES_MAX: usize = MESSAGE_BYTES_MAX + 1;
/// `00-<32 hex>-<16 hex>-<2 hex>`.
const TRACEPARENT_BYTES: usize = 55;
const TRACEPARENT: &[u8] = b"traceparent";

/// One connection's deliveries.
#[derive(Debug, Default)]
pub struct Sanitizer {
    next: Next,
    /// Servers that the server named.
    discovered: Vec<String>,
}

/// What the next bytes are.
#[derive(Debug, Default)]
enum Next {
    #[default]
    Line,
    /// Headers of a delivery.
    Headers(Delivery),
    /// Of a delivery: bytes to hand on, then bytes to leave out, then the end of the line.
    Payload { keep: usize, leave_out: usize },
    /// Header bytes that are not looked at, before the payload.
    Skip(usize, Delivery),
}

/// The line of a `MSG` or `HMSG`, its texts cleaned.
#[derive(Debug, Default)]
struct Delivery {
    /// Subject, subscription, and the reply subject if there is one.
    texts: Vec<u8>,
    headers: usize,
    payload: usize,
}

impl Sanitizer {
    /// Moves what is complete from `from` to `to`. An error is a server that speaks no NATS.
    pub fn sanitize(&mut self, from: &mut BytesMut, to: &mut BytesMut) -> io::Result<()> {
        while self.step(from, to)? {}
        Ok(())
    }

    /// Servers that the server named since the last call.
    pub fn take_discovered(&mut self) -> Vec<String> {
        std::mem::take(&mut self.discovered)
    }

    /// False if more bytes are needed.
    fn step(&mut self, from: &mut BytesMut, to: &mut BytesMut) -> io::Result<bool> {
        match &mut self.next {
            Next::Line => {
                let Some(end) = from.windows(2).position(|two| two == b"\r\n") else {
                    return if from.len() > LINE_BYTES_MAX {
                        Err(broken("a line without end"))
                    } else {
                        Ok(false)
                    };
                };
                let line = from.split_to(end);
                from.advance(2);
                self.line(&line, to)?;
                Ok(true)
            }
            Next::Headers(delivery) => {
                if from.len() < delivery.headers {
                    return Ok(false);
                }
                let headers = from.split_to(delivery.headers);
                self.next = std::mem::take(delivery).begin(traceparent(&headers), to);
                Ok(true)
            }
            Next::Skip(left, delivery) => {
                let skipped = from.len().min(*left);
                from.advance(skipped);
                *left -= skipped;
                if *left > 0 {
                    return Ok(false);
                }
                self.next = std::mem::take(delivery).begin(None, to);
                Ok(true)
            }
            Next::Payload { keep, leave_out } => {
                let kept = from.len().min(*keep);
                to.extend_from_slice(&from.split_to(kept));
                *keep -= kept;
                let left_out = from.len().min(*leave_out);
                from.advance(left_out);
                *leave_out -= left_out;
                if *keep + *leave_out > 0 || from.len() < 2 {
                    return Ok(false);
                }
                if from.split_to(2) != b"\r\n"[..] {
                    return Err(broken("a payload of another length than announced"));
                }
                to.extend_from_slice(b"\r\n");
                self.next = Next::Line;
                Ok(true)
            }
        }
    }

    fn line(&mut self, line: &[u8], to: &mut BytesMut) -> io::Result<()> {
        if let Some(arguments) = line.strip_prefix(b"MSG ") {
            self.next = Delivery::parse(arguments, 1)?.begin(None, to);
        } else if let Some(arguments) = line.strip_prefix(b"HMSG ") {
            let delivery = Delivery::parse(arguments, 2)?;
            self.next = match delivery.headers {
                0..=HEADERS_BYTES_MAX => Next::Headers(delivery),
                more => Next::Skip(more, delivery),
            };
        } else if let Some(info) = line.strip_prefix(b"INFO ") {
            to.extend_from_slice(b"INFO ");
            to.extend_from_slice(&self.info(info)?);
            to.extend_from_slice(b"\r\n");
        } else {
            to.extend(line.iter().map(|&byte| if byte == b' ' { byte } else { cleaned(byte) }));
            to.extend_from_slice(b"\r\n");
        }
        Ok(())
    }

    /// The client speaks to this node, over no wire, and is to find other servers through this node only.
    fn info(&mut self, info: &[u8]) -> io::Result<Vec<u8>> {
        let mut info: serde_json::Value = serde_json::from_slice(info).map_err(|_| broken("no INFO"))?;
        if let Some(info) = info.as_object_mut() {
            for encryption in ["tls_required", "tls_available", "tls_verify"] {
                info.remove(encryption);
            }
            let urls = info.remove("connect_urls");
            let urls = urls.as_ref().and_then(|urls| urls.as_array()).into_iter().flatten();
            self.discovered.extend(urls.filter_map(|url| url.as_str().map(str::to_owned)));
        }
        Ok(info.to_string().into_bytes())
    }
}

impl Delivery {
    /// Subject, subscription, perhaps a reply subject, and `numbers` lengths: of the headers, and of all.
    fn parse(arguments: &[u8], numbers: usize) -> io::Result<Self> {
        let mut parts: Vec<&[u8]> = arguments.split(|&byte| byte == b' ').filter(|p| !p.is_empty()).collect();
        let mut last = || -> io::Result<usize> {
            let number = parts.pop().and_then(|part| std::str::from_utf8(part).ok()?.parse().ok());
            number.ok_or_else(|| broken("a delivery without length"))
        };
        let total = last()?;
        let headers = if numbers == 2 { last()? } else { 0 };
        let payload = total.checked_sub(headers).ok_or_else(|| broken("headers longer than all"))?;
        if !(2..=3).contains(&parts.len()) {
            return Err(broken("a delivery that is none"));
        }
        let mut texts = Vec::with_capacity(arguments.len());
        for part in parts {
            texts.extend(part.iter().copied().map(cleaned));
            texts.push(b' ');
        }
        Ok(Delivery { texts, headers, payload })
    }

    /// Writes its line, and its trace if it has one; the payload follows.
    fn begin(self, trace: Option<[u8; TRACEPARENT_BYTES]>, to: &mut BytesMut) -> Next {
        let keep = self.payload.min(PAYLOAD_BYTES_MAX);
        let headers = trace.map(|trace| [b"NATS/1.0\r\ntraceparent: ", &trace[..], b"\r\n\r\n"].concat());
        to.extend_from_slice(if headers.is_some() { b"HMSG " } else { b"MSG " });
        to.extend_from_slice(&self.texts);
        match headers {
            Some(headers) => {
                to.extend_from_slice(format!("{} {}\r\n", headers.len(), headers.len() + keep).as_bytes());
                to.extend_from_slice(&headers);
            }
            None => to.extend_from_slice(format!("{keep}\r\n").as_bytes()),
        }
        Next::Payload { keep, leave_out: self.payload - keep }
    }
}

const fn cleaned(byte: u8) -> u8 {
    if byte.is_ascii_graphic() { byte } else { b'?' }
}

/// The value of the trace header, if there is one of the standard's shape.
fn traceparent(headers: &[u8]) -> Option<[u8; TRACEPARENT_BYTES]> {
    let named = |line: &[u8]| {
        let colon = line.iter().position(|&byte| byte == b':')?;
        let (name, value) = line.split_at(colon);
        name.eq_ignore_ascii_case(TRACEPARENT).then(|| value[1..].trim_ascii().to_vec())
    };
    let value = headers.split(|&byte| byte == b'\n').find_map(named)?;
    let shaped = value.iter().all(|&byte| byte.is_ascii_hexdigit() || byte == b'-');
    shaped.then(|| value.try_into().ok())?
}

fn broken(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sanitized(delivered: &[u8]) -> Vec<u8> {
        let (mut from, mut to) = (BytesMut::from(delivered), BytesMut::new());
        Sanitizer::default().sanitize(&mut from, &mut to).unwrap();
        assert!(from.is_empty(), "everything is handed on");
        to.to_vec()
    }

    fn text(delivered: &[u8]) -> String {
        String::from_utf8(sanitized(delivered)).unwrap()
    }

    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn what_an_honest_terminal_says_is_handed_on_as_it_is() {
        let plain = b"MSG muster.v1.eu.up.s.dev_x.hello 7 _INBOX_dev_x.1 5\r\n\x00\xff\r\n\x01\r\nPING\r\n-ERR 'x y'\r\n";
        assert_eq!(sanitized(plain), plain);
        let headers = format!("NATS/1.0\r\ntraceparent: {TRACE}\r\n\r\n");
        let traced = format!("HMSG a.b 7 c {} {}\r\n{headers}hi\r\n", headers.len(), headers.len() + 2);
        assert_eq!(text(traced.as_bytes()), traced);
    }

    #[test]
    fn subjects_that_are_no_text_are_told_from_every_subject_of_ours() {
        assert_eq!(
            text(b"MSG a.\xff\xfe.hello 1 in\x0bbox\xc2\xa0 2\r\nhi\r\n"),
            "MSG a.??.hello 1 in?box?? 2\r\nhi\r\n"
        );
    }

    #[test]
    fn headers_that_are_none_cost_the_message_its_headers_and_nothing_else() {
        for headers in [
            "NATS/1.0\r\n\u{e9}: a\r\n\r\n",
            "NATS/1.0 9x9\r\n\r\n",
            "HTTP\r\n\r\n",
            "NATS/1.0\r\nno colon\r\n\r\n",
            "",
        ] {
            let delivered = format!("HMSG s 1 r {} {}\r\n{headers}hi\r\n", headers.len(), headers.len() + 2);
            assert_eq!(text(delivered.as_bytes()), "MSG s 1 r 2\r\nhi\r\n", "{headers:?}");
        }
        let headers =
            format!("NATS/1.0\r\nx: {}\r\ntraceparent: {TRACE}\r\n\r\n", "y".repeat(HEADERS_BYTES_MAX));
        let delivered = format!("HMSG s 1 {} {}\r\n{headers}hi\r\n", headers.len(), headers.len() + 2);
        assert_eq!(text(delivered.as_bytes()), "MSG s 1 2\r\nhi\r\n", "too long to be looked at");
    }

    #[test]
    fn a_payload_that_is_too_large_costs_one_message_of_memory_and_is_seen_to_be_too_large() {
        let delivered = [b"MSG s 1 1000000\r\n", &vec![7; 1_000_000][..], b"\r\nPONG\r\n"].concat();
        let expected =
            [format!("MSG s 1 {PAYLOAD_BYTES_MAX}\r\n").as_bytes(), &[7; PAYLOAD_BYTES_MAX], b"\r\nPONG\r\n"]
                .concat();
        assert_eq!(sanitized(&delivered), expected);
    }

    #[test]
    fn the_client_learns_of_other_servers_through_this_node_only() {
        let mut sanitizer = Sanitizer::default();
        let info = br#"INFO {"version":"2.15.1","tls_required":true,"connect_urls":["10.0.0.2:4222"]}"#;
        let (mut from, mut to) = (BytesMut::from(&[info, &b"\r\n"[..]].concat()[..]), BytesMut::new());
        sanitizer.sanitize(&mut from, &mut to).unwrap();
        assert_eq!(to, &b"INFO {\"version\":\"2.15.1\"}\r\n"[..]);
        assert_eq!(sanitizer.take_discovered(), ["10.0.0.2:4222"]);
    }

    #[test]
    fn a_line_without_end_does_not_fill_memory() {
        let mut from = BytesMut::from(&vec![b'x'; LINE_BYTES_MAX + 1][..]);
        assert!(Sanitizer::default().sanitize(&mut from, &mut BytesMut::new()).is_err());
    }

    proptest! {
        #[test]
        fn whatever_terminals_write_comes_out_once_as_text_wherever_bytes_are_cut(
            messages in proptest::collection::vec(
                (
                    proptest::collection::vec(any::<u8>(), 1..20),
                    proptest::option::of(proptest::collection::vec(any::<u8>(), 1..20)),
                    proptest::option::of(proptest::collection::vec(any::<u8>(), 0..60)),
                    proptest::collection::vec(any::<u8>(), 0..40),
                ),
                1..6,
            ),
            cuts in proptest::collection::vec(1usize..50, 1..20),
        ) {
            // The server never lets these into a subject.
            let word = |bytes: &[u8]| -> Vec<u8> {
                bytes.iter().map(|&b| if b" \t\r\n".contains(&b) { b'x' } else { b }).collect()
            };
            let mut delivered = Vec::new();
            for (subject, reply, headers, payload) in &messages {
                let reply = reply.as_ref().map(|r| [&word(r)[..], b" "].concat()).unwrap_or_default();
                let texts = [&word(subject)[..], b" 9 ", &reply[..]].concat();
                let headers_len = headers.as_ref().map_or(0, Vec::len);
                match headers {
                    Some(_) => delivered.extend([b"HMSG ", &texts[..], format!("{headers_len} ").as_bytes()].concat()),
                    None => delivered.extend([b"MSG ", &texts[..]].concat()),
                }
                delivered.extend(format!("{}\r\n", headers_len + payload.len()).bytes());
                delivered.extend(headers.iter().flatten());
                delivered.extend(payload);
                delivered.extend(b"\r\n");
            }
            let whole = sanitized(&delivered);
            let (mut sanitizer, mut from, mut to) = (Sanitizer::default(), BytesMut::new(), BytesMut::new());
            let (mut rest, mut cuts) = (&delivered[..], cuts.iter().cycle());
            while !rest.is_empty() {
                let cut = rest.len().min(*cuts.next().unwrap());
                from.extend_from_slice(&rest[..cut]);
                rest = &rest[cut..];
                sanitizer.sanitize(&mut from, &mut to).unwrap();
            }
            prop_assert_eq!(&to[..], &whole[..]);
            let mut rest = &whole[..];
            for (.., payload) in &messages {
                let end = rest.windows(2).position(|two| two == b"\r\n").unwrap();
                prop_assert!(rest[..end].iter().all(|b| b.is_ascii_graphic() || *b == b' '));
                prop_assert_eq!(&rest[end + 2..end + 2 + payload.len()], &payload[..]);
                rest = &rest[end + 4 + payload.len()..];
            }
            prop_assert!(rest.is_empty());
        }
    }
}
