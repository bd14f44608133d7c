//! Subjects, parsed once into types.
//!
//! ```text
//!   muster.v1.<region>.up.<source>.<sender>.<kind>     sender: a device; for `tamper` a lot; for `update` either
//!   _INBOX_<sender>.<anything>                          where its answers go, and nowhere else
//! ```
//!
//! Invariants: tokens are in the one spelling that ids print, so that subject and inbox compare as text; a
//! [`ReplyInbox`] exists only below the inbox of the sender that its message's subject names (protocol.md rule 13).

use super::Subject;
use events::ids::{DeviceId, LotId, RegionName, SourceId, SourceName};
use std::ops::Range;
use std::str::FromStr;

const PREFIX: &str = "muster.v1.";
const UP: &str = ".up.";

/// What a terminal may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UpKind {
    Hello,
    Activation,
    Resume,
    Heartbeat,
    Tamper,
    Update,
}

impl UpKind {
    pub const ALL: [UpKind; 6] = [
        UpKind::Hello,
        UpKind::Activation,
        UpKind::Resume,
        UpKind::Heartbeat,
        UpKind::Tamper,
        UpKind::Update,
    ];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            UpKind::Hello => "hello",
            UpKind::Activation => "activation",
            UpKind::Resume => "resume",
            UpKind::Heartbeat => "heartbeat",
            UpKind::Tamper => "tamper",
            UpKind::Update => "update",
        }
    }

    /// The subjects of this kind, of every region and source: regions fail over to each other's nodes.
    #[must_use]
    pub fn pattern(self) -> String {
        format!("muster.v1.*.up.*.*.{}", self.as_str())
    }

    fn parse(token: &str) -> Option<Self> {
        UpKind::ALL.into_iter().find(|kind| kind.as_str() == token)
    }
}

/// Who speaks, as the subject names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    Device(DeviceId),
    Lot(LotId),
}

/// A subject of the way up. Borrowed: a heartbeat costs no allocation here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpSubject<'a> {
    region: &'a str,
    source: &'a str,
    sender_token: &'a str,
    pub sender: Sender,
    pub kind: UpKind,
}

/// Why a text is no subject of the way up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubjectError {
    #[error("a subject reads `muster.v1.<region>.up.<source>.<device>.<kind>`")]
    Shape,
    #[error("the region is no name")]
    Region,
    #[error("the source is no name")]
    Source,
    #[error("the sender is no id as ids are printed")]
    Sender,
    #[error("the kind is none of hello, activation, resume, heartbeat, tamper, update")]
    Kind,
}

impl<'a> UpSubject<'a> {
    pub fn parse(text: &'a str) -> Result<Self, SubjectError> {
        let rest = text.strip_prefix(PREFIX).ok_or(SubjectError::Shape)?;
        let mut tokens = rest.split('.');
        let mut next = || tokens.next().ok_or(SubjectError::Shape);
        let (region, up, source, sender_token, kind) = (next()?, next()?, next()?, next()?, next()?);
        if up != UP.trim_matches('.') || tokens.next().is_some() {
            return Err(SubjectError::Shape);
        }
        if !is_name(region, events::limits::REGION_NAME_BYTES_MAX) {
            return Err(SubjectError::Region);
        }
        if !is_name(source, events::limits::SOURCE_NAME_BYTES_MAX) {
            return Err(SubjectError::Source);
        }
        let kind = UpKind::parse(kind).ok_or(SubjectError::Kind)?;
        let sender = parse_sender(kind, sender_token).ok_or(SubjectError::Sender)?;
        Ok(UpSubject { region, source, sender_token, sender, kind })
    }

    /// Where the region stands in the subject's text, and where the source does.
    #[must_use]
    pub fn ranges(&self) -> (Range<usize>, Range<usize>) {
        let region = PREFIX.len()..PREFIX.len() + self.region.len();
        let at = region.end + UP.len();
        (region, at..at + self.source.len())
    }

    /// The source as an id of the log.
    #[must_use]
    pub fn source_id(&self) -> SourceId {
        #[allow(clippy::expect_used, reason = "checked by `parse`, which is the only constructor")]
        source_id(self.region, self.source).expect("both were checked when the subject was parsed")
    }

    /// Whether `reply` lies below the inbox of the sender named here; anything else is never answered.
    #[must_use]
    pub fn reply_inbox(&self, reply: Option<&Subject>) -> Option<ReplyInbox> {
        let reply = reply?;
        let rest =
            reply.as_str().strip_prefix("_INBOX_")?.strip_prefix(self.sender_token)?.strip_prefix('.')?;
        let plain = |token: &str| !token.is_empty() && token.bytes().all(is_inbox_byte);
        (rest.len() <= INBOX_REST_BYTES_MAX && rest.split('.').all(plain)).then(|| ReplyInbox(reply.clone()))
    }
}

/// The source that a subject names even if nothing else of it is right, so that refusals find who to charge.
#[must_use]
pub fn source_of(subject: &str) -> Option<SourceId> {
    let mut tokens = subject.split('.');
    let region = tokens.nth(2)?;
    source_id(region, tokens.nth(1)?)
}

fn source_id(region: &str, source: &str) -> Option<SourceId> {
    let (region, source): (RegionName, SourceName) = (region.parse().ok()?, source.parse().ok()?);
    Some(SourceId::new(&region, &source))
}

/// A subject that a node may answer on.
#[derive(Clone, Debug)]
pub struct ReplyInbox(Subject);

impl ReplyInbox {
    #[must_use]
    pub fn into_subject(self) -> Subject {
        self.0
    }
}

/// What may follow the inbox's prefix: longer ones are nobody's honest choice.
const INBOX_REST_BYTES_MAX: usize = 64;

const fn is_inbox_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

fn is_name(token: &str, max: usize) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !token.is_empty() && token.len() <= max && token.bytes().all(allowed)
}

fn parse_sender(kind: UpKind, token: &str) -> Option<Sender> {
    match kind {
        UpKind::Tamper => parse_printed(LotId::PREFIX, token).map(Sender::Lot),
        UpKind::Hello | UpKind::Activation | UpKind::Resume | UpKind::Heartbeat => {
            parse_printed(DeviceId::PREFIX, token).map(Sender::Device)
        }
        // A terminal without a key asks for its lot.
        UpKind::Update => parse_printed(DeviceId::PREFIX, token)
            .map(Sender::Device)
            .or_else(|| parse_printed(LotId::PREFIX, token).map(Sender::Lot)),
    }
}

/// Ids read more spellings than they print (upper case, `o` for `0`); a subject has one.
fn parse_printed<I: FromStr>(prefix: &str, token: &str) -> Option<I> {
    let printed = |byte: u8| byte.is_ascii_digit() || (byte.is_ascii_lowercase() && !b"ilou".contains(&byte));
    token.strip_prefix(prefix)?.bytes().all(printed).then(|| token.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn device() -> DeviceId {
        DeviceId::from_bytes([7; 16])
    }

    fn heartbeat() -> String {
        format!("muster.v1.eu-west.up.shop-7.{}.heartbeat", device())
    }

    #[test]
    fn a_subject_names_region_source_device_and_kind() {
        let text = heartbeat();
        let subject = UpSubject::parse(&text).unwrap();
        assert_eq!(subject.source_id().as_str(), "eu-west.shop-7");
        assert_eq!(source_of(&text), Some(subject.source_id()));
        let (region, source) = subject.ranges();
        assert_eq!((&text[region], &text[source]), ("eu-west", "shop-7"));
        assert_eq!(subject.sender, Sender::Device(device()));
        assert_eq!(subject.kind, UpKind::Heartbeat);
    }

    #[test]
    fn tamper_is_spoken_by_a_lot_and_by_nobody_else() {
        let lot = LotId::from_bytes([1, 2, 3, 4]);
        let text = format!("muster.v1.eu.up.s.{lot}.tamper");
        assert_eq!(UpSubject::parse(&text).unwrap().sender, Sender::Lot(lot));
        assert_eq!(UpSubject::parse(&format!("muster.v1.eu.up.s.{lot}.hello")), Err(SubjectError::Sender));
        assert_eq!(
            UpSubject::parse(&format!("muster.v1.eu.up.s.{}.tamper", device())),
            Err(SubjectError::Sender)
        );
    }

    #[test]
    fn every_wrong_part_of_a_subject_is_named() {
        let device = device();
        let parse = |text: String| UpSubject::parse(&text).map(|_| ());
        assert_eq!(parse(format!("muster.v2.eu.up.s.{device}.hello")), Err(SubjectError::Shape));
        assert_eq!(parse(format!("muster.v1.eu.down.s.{device}.hello")), Err(SubjectError::Shape));
        assert_eq!(parse(format!("muster.v1.eu.up.s.{device}.hello.more")), Err(SubjectError::Shape));
        assert_eq!(parse(format!("muster.v1.EU.up.s.{device}.hello")), Err(SubjectError::Region));
        assert_eq!(parse(format!("muster.v1.eu.up..{device}.hello")), Err(SubjectError::Source));
        assert_eq!(parse(format!("muster.v1.eu.up.s.{device}.shout")), Err(SubjectError::Kind));
    }

    #[test]
    fn another_spelling_of_an_id_is_no_sender() {
        // All-zero ids may be spelt with `o`; a second spelling would be a second inbox.
        let spelt = DeviceId::from_bytes([0; 16]).to_string().replace("_0", "_O");
        assert!(spelt.parse::<DeviceId>().is_ok());
        assert_eq!(UpSubject::parse(&format!("muster.v1.eu.up.s.{spelt}.hello")), Err(SubjectError::Sender));
        let spelt = spelt.replace('O', "o");
        assert_eq!(UpSubject::parse(&format!("muster.v1.eu.up.s.{spelt}.hello")), Err(SubjectError::Sender));
    }

    #[test]
    fn rule_13_only_the_inbox_of_the_device_named_is_answered() {
        let (text, device) = (heartbeat(), device());
        let other = DeviceId::from_bytes([8; 16]);
        let subject = UpSubject::parse(&text).unwrap();
        let answers = |reply: String| subject.reply_inbox(Some(&Subject::from(reply))).is_some();
        assert!(answers(format!("_INBOX_{device}.abc.1")));
        for wrong in [
            format!("_INBOX_{other}.abc"),
            format!("_INBOX_{device}"),
            format!("_INBOX_{device}."),
            format!("_INBOX_{device}.a..b"),
            format!("_INBOX_{device}.*"),
            format!("_INBOX_{device}.>"),
            format!("_INBOX_{device}x.abc"),
            format!("_INBOX_{device}.{}", "a".repeat(65)),
            format!("muster.v1.eu.up.s.{device}.heartbeat"),
            "$SYS.REQ.SERVER.PING".to_owned(),
        ] {
            assert!(!answers(wrong.clone()), "{wrong} must not be answered");
        }
        assert!(subject.reply_inbox(None).is_none());
    }

    proptest! {
        #[test]
        fn no_text_panics_the_parser(text: String) {
            let _ = UpSubject::parse(&text);
            let _ = source_of(&text);
        }

        #[test]
        fn no_text_behind_the_prefix_panics_the_parser(text: String) {
            let _ = UpSubject::parse(&format!("muster.v1.{text}"));
        }
    }
}
