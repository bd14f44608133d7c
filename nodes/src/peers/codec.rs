//! Messages as they travel on a line, within gRPC's framing: no protobuf.
//!
//! ```text
//!   call    number (8, LE) ‖ postcard of the request
//!   answer  number (8, LE) ‖ kind (1) ‖ postcard of the reply, or why there is none
//! ```

use super::message::{MESSAGE_BYTES_MAX, MessageError, encode_after};
use bytes::{Buf, BufMut, Bytes};
use serde::Serialize;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

/// The one method of the service: a line of calls one way, of their answers in any order the other way.
pub(super) const LINE_PATH: &str = "/muster.peers.v2.Peers/Line";
/// A message with what stands before it.
pub(super) const FRAME_BYTES_MAX: usize = MESSAGE_BYTES_MAX + NUMBER_BYTES + 1;

const NUMBER_BYTES: usize = 8;
const REPLY: u8 = 0;
const MALFORMED: u8 = 1;

/// What came back for a call.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Postcard of a reply.
    Reply(Bytes),
    /// The peer could not read the call, or could not say its reply.
    Malformed(String),
}

/// A call's number is put in once it is known: see [`number_call`].
pub(super) fn encode_call<T: Serialize>(request: &T) -> Result<Vec<u8>, MessageError> {
    encode_after(vec![0; NUMBER_BYTES], request)
}

pub(super) fn number_call(mut call: Vec<u8>, number: u64) -> Bytes {
    call[..NUMBER_BYTES].copy_from_slice(&number.to_le_bytes());
    Bytes::from(call)
}

/// The number of a call and what it asks for; none if it is shorter than its number.
pub(super) fn split_call(mut call: Bytes) -> Option<(u64, Bytes)> {
    let number = call.try_get_u64_le().ok()?;
    Some((number, call))
}

pub(super) fn encode_reply<T: Serialize>(number: u64, reply: &T) -> Bytes {
    let mut head = number.to_le_bytes().to_vec();
    head.push(REPLY);
    match encode_after(head, reply) {
        Ok(answer) => Bytes::from(answer),
        Err(error) => encode_malformed(number, &error.to_string()),
    }
}

pub(super) fn encode_malformed(number: u64, why: &str) -> Bytes {
    let mut answer = number.to_le_bytes().to_vec();
    answer.push(MALFORMED);
    answer.extend_from_slice(why.as_bytes());
    Bytes::from(answer)
}

/// Which call is answered, and how; none if the bytes are no answer.
pub(super) fn split_answer(mut answer: Bytes) -> Option<(u64, Answer)> {
    let number = answer.try_get_u64_le().ok()?;
    let answer = match answer.try_get_u8().ok()? {
        REPLY => Answer::Reply(answer),
        MALFORMED => Answer::Malformed(String::from_utf8_lossy(&answer).into_owned()),
        _ => return None,
    };
    Some((number, answer))
}

#[derive(Clone, Copy, Default)]
pub(super) struct BytesCodec;

impl Codec for BytesCodec {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        BytesCodec
    }

    fn decoder(&mut self) -> Self {
        BytesCodec
    }
}

impl Encoder for BytesCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.reserve(item.len());
        into.put(item);
        Ok(())
    }
}

impl Decoder for BytesCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        let all = from.remaining();
        Ok(Some(from.copy_to_bytes(all)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_and_its_answers_keep_their_number() {
        let call = number_call(encode_call(&"who?").unwrap(), 7);
        let (number, request) = split_call(call).unwrap();
        assert_eq!(
            (number, super::super::message::decode::<String>(&request).unwrap()),
            (7, "who?".to_owned())
        );

        let (number, answer) = split_answer(encode_reply(7, &"I")).unwrap();
        let Answer::Reply(reply) = answer else { panic!("another kind came back") };
        assert_eq!((number, super::super::message::decode::<String>(&reply).unwrap()), (7, "I".to_owned()));
        assert_eq!(split_answer(encode_malformed(8, "why")), Some((8, Answer::Malformed("why".to_owned()))));
    }

    #[test]
    fn what_is_too_short_or_of_an_unknown_kind_is_no_message() {
        assert_eq!(split_call(Bytes::from_static(&[0; 7])), None);
        assert_eq!(split_answer(Bytes::from_static(&[0; 8])), None);
        assert_eq!(split_answer(Bytes::from_static(&[0, 0, 0, 0, 0, 0, 0, 0, 9])), None);
    }
}
