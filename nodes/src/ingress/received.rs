//! A message whose subject is understood: who speaks, from which source, and where answers may go.

use super::trace::Trace;
use crate::bus::subject::{ReplyInbox, Sender, UpKind, UpSubject, source_of};
use crate::bus::{Message, Subject};
use bytes::Bytes;
use events::ids::{DeviceId, SourceName};
use events::limits::MESSAGE_BYTES_MAX;
use events::vocabulary::rejection::RejectionReason;
use std::ops::Range;

/// Nothing of its payload is trusted or even read.
#[derive(Debug)]
pub struct Received {
    pub kind: UpKind,
    pub sender: Sender,
    pub payload: Bytes,
    pub inbox: ReplyInbox,
    pub trace: Option<Box<Trace>>,
    /// When it came, by this node's monotonic clock.
    pub arrived_millis: u64,
    subject: Subject,
    source: Range<usize>,
}

/// A message that goes no further, with what its refusal needs.
#[derive(Debug)]
pub struct Refused {
    pub reason: RejectionReason,
    /// None if the subject names none.
    pub source: Option<SourceName>,
    /// None if there is no place that a node may answer on.
    pub inbox: Option<ReplyInbox>,
}

impl Received {
    /// `traced` says whether this source may have one more of its messages traced.
    pub fn read(
        message: Message,
        arrived_millis: u64,
        traced: impl FnOnce(&str) -> bool,
    ) -> Result<Self, Refused> {
        let Ok(subject) = UpSubject::parse(message.subject.as_str()) else {
            let source = source_of(message.subject.as_str());
            return Err(Refused { reason: RejectionReason::Malformed, source, inbox: None });
        };
        let refuse = |reason, inbox| Refused { reason, source: Some(subject.source_name()), inbox };
        let Some(inbox) = subject.reply_inbox(message.reply.as_ref()) else {
            return Err(refuse(RejectionReason::ReplySubject, None));
        };
        if message.payload.len() > MESSAGE_BYTES_MAX {
            return Err(refuse(RejectionReason::Oversized, Some(inbox)));
        }
        // A span of nobody's costs more than the message it tells of, and anybody may write a trace header.
        let trace = message.trace.as_deref().filter(|_| traced(&message.subject[subject.source_range()]));
        Ok(Received {
            kind: subject.kind,
            sender: subject.sender,
            inbox,
            trace: Trace::begin(trace, subject.kind, &subject.sender),
            arrived_millis,
            source: subject.source_range(),
            payload: message.payload,
            subject: message.subject,
        })
    }

    /// What the server confined the sender's connection to.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.subject.as_str()[self.source.clone()]
    }

    /// The source as an id of the log.
    #[must_use]
    pub fn source_name(&self) -> SourceName {
        #[allow(clippy::expect_used, reason = "checked when the subject was parsed")]
        self.source().parse().expect("the source was checked when the subject was parsed")
    }

    /// The device that the subject names, for the kinds that devices speak.
    #[must_use]
    pub fn device(&self) -> Option<DeviceId> {
        match self.sender {
            Sender::Device(device) => Some(device),
            Sender::Lot(_) => None,
        }
    }

    #[must_use]
    pub fn refused(self, reason: RejectionReason) -> Refused {
        Refused { reason, source: Some(self.source_name()), inbox: Some(self.inbox) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(subject: &str, reply: &str, payload: Vec<u8>) -> Result<Received, Refused> {
        Received::read(Message::new(subject.to_owned(), reply.to_owned(), payload), 0, |_| true)
    }

    #[test]
    fn a_message_knows_its_source_and_is_answered_below_its_inbox_only() {
        let device = DeviceId::from_bytes([7; 16]);
        let subject = format!("muster.v1.eu.up.shop-7.{device}.heartbeat");
        let received = read(&subject, &format!("_INBOX_{device}.1"), vec![]).unwrap();
        assert_eq!((received.source(), received.device()), ("shop-7", Some(device)));
        let refused = read(&subject, "_INBOX_other.1", vec![]).unwrap_err();
        assert_eq!(refused.reason, RejectionReason::ReplySubject);
        assert!(refused.inbox.is_none());
    }

    #[test]
    fn what_is_larger_than_any_message_is_refused_unread() {
        let device = DeviceId::from_bytes([7; 16]);
        let subject = format!("muster.v1.eu.up.shop-7.{device}.heartbeat");
        let refused =
            read(&subject, &format!("_INBOX_{device}.1"), vec![0; MESSAGE_BYTES_MAX + 1]).unwrap_err();
        assert_eq!(refused.reason, RejectionReason::Oversized);
        assert!(refused.inbox.is_some());
    }

    #[test]
    fn a_subject_that_is_none_is_charged_to_the_source_it_still_names() {
        let refused = read("muster.v1.eu.up.shop-7.nobody.heartbeat", "_INBOX_nobody.1", vec![]).unwrap_err();
        assert_eq!(refused.source.unwrap().as_str(), "shop-7");
        assert!(refused.inbox.is_none());
    }
}
