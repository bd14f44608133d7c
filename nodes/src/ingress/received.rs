//! A message whose subject is understood: who speaks, from which source, and where answers may go.

use super::trace::Trace;
use crate::bus::subject::{ReplyInbox, Sender, UpKind, UpSubject, source_of};
use crate::bus::{Message, Subject};
use bytes::Bytes;
use events::ids::{DeviceId, SourceId};
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
    region: Range<usize>,
    source: Range<usize>,
}

/// A message that goes no further, with what its refusal needs.
#[derive(Debug)]
pub struct Refused {
    pub reason: RejectionReason,
    /// None if the subject names none.
    pub source: Option<SourceId>,
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
        let refuse = |reason, inbox| Refused { reason, source: Some(subject.source_id()), inbox };
        let Some(inbox) = subject.reply_inbox(message.reply.as_ref()) else {
            return Err(refuse(RejectionReason::ReplySubject, None));
        };
        if message.payload.len() > MESSAGE_BYTES_MAX {
            return Err(refuse(RejectionReason::Oversized, Some(inbox)));
        }
        // A span of nobody's costs more than the message it tells of, and anybody may write a trace header.
        let (region, source) = subject.ranges();
        let whose = region.start..source.end;
        let trace = message.trace.as_deref().filter(|_| traced(&message.subject[whose.clone()]));
        Ok(Received {
            kind: subject.kind,
            sender: subject.sender,
            inbox,
            trace: Trace::begin(trace, subject.kind, &subject.sender),
            arrived_millis,
            region,
            source,
            payload: message.payload,
            subject: message.subject,
        })
    }

    /// What the server confined the sender's connection to, in the words of the subject: one text for each source of each
    /// region, and nothing has to be made of it.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.subject.as_str()[self.region.start..self.source.end]
    }

    /// Whether that is the source which the log calls so.
    #[must_use]
    pub fn is_from(&self, source: &SourceId) -> bool {
        let subject = self.subject.as_str();
        source.is(&subject[self.region.clone()], &subject[self.source.clone()])
    }

    /// The source as an id of the log.
    #[must_use]
    pub fn source_id(&self) -> SourceId {
        #[allow(clippy::expect_used, reason = "checked when the subject was parsed")]
        source_of(self.subject.as_str()).expect("both were checked when the subject was parsed")
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
        Refused { reason, source: Some(self.source_id()), inbox: Some(self.inbox) }
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
        assert_eq!((received.source(), received.device()), ("eu.up.shop-7", Some(device)));
        assert!(received.is_from(&received.source_id()));
        let namesake = subject.replace(".eu.", ".us.");
        let namesake = read(&namesake, &format!("_INBOX_{device}.1"), vec![]).unwrap();
        assert!(
            !namesake.is_from(&received.source_id()),
            "a shop of the same name in another region is another"
        );
        assert_ne!((namesake.source(), namesake.source_id()), (received.source(), received.source_id()));
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
        assert_eq!(refused.source.unwrap().as_str(), "eu.shop-7");
        assert!(refused.inbox.is_none());
    }
}
