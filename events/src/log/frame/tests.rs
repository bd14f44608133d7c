use super::*;
use crate::log::keys::SegmentKeys;
use crate::log::record::strategies::record;
use crate::log::record::{EntryBody, LogPosition, VoteRecord};
use crate::log::segment::fixtures;
use crate::log::segment::{HEADER_BYTES, SealedHeader};
use proptest::prelude::*;

fn cipher() -> SegmentCipher {
    fixtures::header().seal(&fixtures::key()).1
}

const PLACE: FramePlace = FramePlace { offset: 192, counter: 7, durable: 150 };

fn sealed(record: &Record, place: FramePlace) -> Vec<u8> {
    let mut out = Vec::new();
    cipher().seal(place, record, &mut out).unwrap();
    out
}

fn entry(index: u64, bytes: &[u8]) -> Record {
    Record::Entry { at: LogPosition { term: 2, index }, body: EntryBody::Batch(bytes.to_vec()) }
}

/// Frames one after the other from the header on, each knowing the one before it durable.
fn segment(records: &[Record]) -> (Vec<u8>, Vec<u32>) {
    let (header, cipher) = fixtures::header().seal(&fixtures::key());
    let (mut file, mut offsets, mut durable) = (header.to_vec(), Vec::new(), HEADER_BYTES as u32);
    for (counter, record) in records.iter().enumerate() {
        let offset = file.len() as u32;
        offsets.push(offset);
        cipher.seal(FramePlace { offset, counter: counter as u32, durable }, record, &mut file).unwrap();
        durable = file.len() as u32;
    }
    (file, offsets)
}

proptest! {
    #[test]
    fn every_record_survives_its_frame(record in record(), offset: u32, counter: u32, durable: u32) {
        let place = FramePlace { offset, counter, durable };
        let mut bytes = sealed(&record, place);
        let length = bytes.len() as u32;
        bytes.extend_from_slice(b"what follows");
        let cipher = cipher();
        let frame = Frame::read(cipher.identity(), offset, &bytes).unwrap();
        prop_assert_eq!(frame.place, place);
        prop_assert_eq!(frame.length(), length);
        prop_assert_eq!(cipher.open(&frame), Ok(record));
    }

    #[test]
    fn every_flipped_bit_is_noticed(record in record(), at: prop::sample::Index, bit in 0u8..8) {
        let mut bytes = sealed(&record, PLACE);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(Frame::read(cipher().identity(), PLACE.offset, &bytes).is_err());
    }

    #[test]
    fn every_shortened_frame_is_noticed(record in record(), to: prop::sample::Index) {
        let bytes = sealed(&record, PLACE);
        let to = to.index(bytes.len());
        prop_assert_eq!(Frame::read(cipher().identity(), PLACE.offset, &bytes[..to]).err(), Some(FrameDamage::Short));
    }

    #[test]
    fn no_bytes_panic_the_reader(bytes: Vec<u8>, offset: u32) {
        let mut framed = MAGIC.to_vec();
        framed.extend_from_slice(&(bytes.len() as u32 + 4).to_le_bytes());
        framed.extend_from_slice(&bytes);
        let _ = Frame::read(cipher().identity(), offset, &framed);
        let _ = is_torn_tail(cipher().identity(), &framed, offset);
    }
}

#[test]
fn a_frame_passes_nowhere_but_where_it_was_written() {
    let bytes = sealed(&entry(9, b"batch"), PLACE);
    let home = *cipher().identity();
    assert!(Frame::read(&home, PLACE.offset, &bytes).is_ok());
    let elsewhere = [
        SegmentIdentity { segment: home.segment + 1, ..home },
        SegmentIdentity { generation: home.generation + 1, ..home },
        SegmentIdentity { node: home.node + 1, ..home },
        SegmentIdentity { cluster: crate::ids::ClusterId::from_bytes([9; 16]), ..home },
    ];
    for identity in elsewhere {
        assert_eq!(Frame::read(&identity, PLACE.offset, &bytes).err(), Some(FrameDamage::Checksum));
    }
    assert_eq!(Frame::read(&home, PLACE.offset + 1, &bytes).err(), Some(FrameDamage::Checksum));
}

#[test]
fn a_forged_frame_with_a_right_checksum_does_not_open() {
    let cipher = cipher();
    for forged in [12, 20, 24, 32, 40] {
        let mut bytes = sealed(&entry(9, b"batch"), PLACE);
        bytes[forged] ^= 1;
        let right = checksum(cipher.identity(), PLACE.offset, &bytes).to_le_bytes();
        bytes[8..12].copy_from_slice(&right);
        let frame = Frame::read(cipher.identity(), PLACE.offset, &bytes).unwrap();
        assert_eq!(cipher.open(&frame), Err(FrameRefusal::Seal), "byte {forged}");
    }
}

#[test]
fn a_frame_out_of_order_is_refused() {
    let bytes = sealed(&entry(9, b"batch"), PLACE);
    let identity = *cipher().identity();
    let frame = Frame::read(&identity, PLACE.offset, &bytes).unwrap();
    assert_eq!(frame.in_order(7), Ok(()));
    assert_eq!(frame.in_order(8), Err(FrameRefusal::Counter { expected: 8, got: 7 }));
    let bytes = sealed(&entry(9, b"batch"), FramePlace { durable: 193, ..PLACE });
    let frame = Frame::read(&identity, PLACE.offset, &bytes).unwrap();
    assert_eq!(frame.in_order(7), Err(FrameRefusal::Durable));
}

#[test]
fn damage_that_a_later_frame_knew_durable_is_no_torn_tail() {
    let (file, offsets) = segment(&[entry(1, b"one"), entry(2, b"two"), entry(3, b"three")]);
    let identity = *cipher().identity();
    assert!(!is_torn_tail(&identity, &file, offsets[0]));
    assert!(!is_torn_tail(&identity, &file, offsets[1]));
    assert!(is_torn_tail(&identity, &file, offsets[2]));
}

#[test]
fn damage_in_one_unsynced_write_is_a_torn_tail_though_intact_frames_follow() {
    let (header, cipher) = fixtures::header().seal(&fixtures::key());
    let mut file = header.to_vec();
    let durable = HEADER_BYTES as u32;
    for counter in 0..3 {
        let place = FramePlace { offset: file.len() as u32, counter, durable };
        cipher.seal(place, &entry(1, b"of one write"), &mut file).unwrap();
    }
    file[HEADER_BYTES + 50] ^= 1;
    assert!(is_torn_tail(cipher.identity(), &file, durable));
}

#[test]
fn a_record_beyond_the_limit_is_refused_before_anything_is_written() {
    let mut out = Vec::new();
    let too_large = entry(1, &vec![0; FRAME_BYTES_MAX - FRAME_OVERHEAD_BYTES + 1]);
    assert!(cipher().seal(PLACE, &too_large, &mut out).is_err());
    assert!(out.is_empty());
    let largest = entry(1, &vec![0; FRAME_BYTES_MAX - FRAME_OVERHEAD_BYTES]);
    assert_eq!(cipher().seal(PLACE, &largest, &mut out), Ok(FRAME_BYTES_MAX as u32));
}

#[test]
fn the_format_of_a_segment_stays_what_it_was() {
    let records = [
        Record::Vote(VoteRecord { term: 6, node: 3, committed: true }),
        entry(91, b"stamp and batch"),
        Record::Committed(LogPosition { term: 2, index: 91 }),
        Record::Truncation { keep: None },
        Record::Closed,
    ];
    let (file, offsets) = segment(&records);
    let golden =
        data_encoding::HEXLOWER.decode(include_str!("golden_segment.hex").trim().as_bytes()).unwrap();
    assert_eq!(data_encoding::HEXLOWER.encode(&file), data_encoding::HEXLOWER.encode(&golden));

    let keys = SegmentKeys::new(vec![fixtures::key()]).unwrap();
    let (header, cipher) = SealedHeader::parse(&golden).unwrap().unlock(&keys).unwrap();
    assert_eq!(header, fixtures::header());
    for (counter, (offset, record)) in offsets.iter().zip(records).enumerate() {
        let frame = Frame::read(cipher.identity(), *offset, &golden[*offset as usize..]).unwrap();
        frame.in_order(counter as u32).unwrap();
        assert_eq!(cipher.open(&frame), Ok(record));
    }
}
