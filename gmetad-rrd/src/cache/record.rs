//! The journal's records as bytes: no I/O.
//!
//! ```text
//! segment = MAGIC record*
//! record  = MARK, length of the payload (u32), CRC-32 of length and payload (u32), payload
//! payload = SCHEMA id, bytes of an RRD header up to its live part
//!         | SLOTS group, first slot, directory, (schema id, flags, file name)*
//!         | ROW group, row
//!         | MADE group
//!         | PAD, zeros
//! ```
//!
//! Numbers in payloads are varints, texts have their length before them. Ids count within the segment, which tells all it
//! needs; so segments can go one by one. A record whose checksum is wrong costs itself: reading goes on at the next mark with
//! a right one.

use super::row::{put_varint, take_varint};

pub(crate) const MAGIC: &[u8] = b"gmetad journal 1\n";
const MARK: [u8; 2] = [0xa7, 0x1c];
const HEAD: usize = 10;
/// Longest payload; a row of 100,000 metrics.
const MAX_PAYLOAD: usize = 4 << 20;

const SCHEMA: u8 = 1;
const SLOTS: u8 = 2;
const ROW: u8 = 3;
const MADE: u8 = 4;
const PAD: u8 = 5;
/// Bytes of a [`Record::Pad`]: a page of a disk.
const PAD_BYTES: usize = 4096;

/// What a segment says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Record<'a> {
    /// A schema, as the unchanging part of a file's header.
    Schema { id: u32, header: &'a [u8] },
    /// Files of a group, in the order of their slots.
    Slots { group: u32, first: u32, dir: &'a [u8], slots: Vec<SlotRecord<'a>> },
    /// Values for a group.
    Row { group: u32, row: &'a [u8] },
    /// The files of a group's slots told so far exist.
    Made { group: u32 },
    /// Says nothing: keeps what stands before it and behind it from being lost together.
    Pad,
}

/// A file of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SlotRecord<'a> {
    pub(crate) schema: u32,
    /// It was there when this was written.
    pub(crate) made: bool,
    pub(crate) name: &'a str,
}

impl Record<'_> {
    /// Appends the record.
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&MARK);
        out.extend_from_slice(&[0; HEAD - 2]);
        match self {
            Self::Schema { id, header } => {
                out.push(SCHEMA);
                put_varint(out, u64::from(*id));
                out.extend_from_slice(header);
            }
            Self::Slots { group, first, dir, slots } => {
                out.push(SLOTS);
                put_varint(out, u64::from(*group));
                put_varint(out, u64::from(*first));
                put_bytes(out, dir);
                for slot in slots {
                    put_varint(out, u64::from(slot.schema));
                    out.push(slot.made.into());
                    put_bytes(out, slot.name.as_bytes());
                }
            }
            Self::Row { group, row } => {
                out.push(ROW);
                put_varint(out, u64::from(*group));
                out.extend_from_slice(row);
            }
            Self::Made { group } => {
                out.push(MADE);
                put_varint(out, u64::from(*group));
            }
            Self::Pad => {
                out.push(PAD);
                out.resize(start + HEAD + PAD_BYTES, 0);
            }
        }
        let length = ((out.len() - start - HEAD) as u32).to_le_bytes();
        let sum = checksum(length, &out[start + HEAD..]).to_le_bytes();
        out[start + 2..start + 6].copy_from_slice(&length);
        out[start + 6..start + HEAD].copy_from_slice(&sum);
    }
}

fn checksum(length: [u8; 4], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length);
    hasher.update(payload);
    hasher.finalize()
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// The records of a segment, and what could not be read.
#[derive(Debug)]
pub(crate) struct Records<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Damaged places before the last good record.
    pub(crate) damaged: u64,
    /// Bytes after the last good record: what was being written when the machine stopped, or damage at the end.
    pub(crate) torn: usize,
}

impl<'a> Records<'a> {
    /// Without the right beginning there may be records all the same.
    pub(crate) fn new(segment: &'a [u8]) -> Self {
        let whole = segment.starts_with(MAGIC);
        Self { bytes: segment, at: if whole { MAGIC.len() } else { 0 }, damaged: u64::from(!whole), torn: 0 }
    }

    fn payload_at(&self, at: usize) -> Option<&'a [u8]> {
        let head = self.bytes.get(at..at + HEAD)?;
        let length: [u8; 4] = head.get(2..6)?.try_into().ok()?;
        let sum = u32::from_le_bytes(head.get(6..HEAD)?.try_into().ok()?);
        let size = u32::from_le_bytes(length) as usize;
        let payload = self.bytes.get(at + HEAD..at + HEAD + size).filter(|_| head.starts_with(&MARK))?;
        (size <= MAX_PAYLOAD && checksum(length, payload) == sum).then_some(payload)
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        let mut begin = self.at;
        loop {
            if let Some(payload) = self.payload_at(self.at) {
                let skipped = self.at > begin;
                self.at += HEAD + payload.len();
                let record = record(payload);
                self.damaged += u64::from(skipped) + u64::from(record.is_none());
                match record {
                    Some(record) => return Some(record),
                    // Of a kind that this version does not know.
                    None => {
                        begin = self.at;
                        continue;
                    }
                }
            }
            // The next mark; a mark that is none costs a checksum of what it says is its length.
            let rest = self.bytes.get(self.at + 1..).unwrap_or_default();
            match rest.windows(2).position(|two| two == MARK) {
                Some(next) => self.at += 1 + next,
                None => {
                    self.torn = self.bytes.len().saturating_sub(begin);
                    self.at = self.bytes.len();
                    return None;
                }
            }
        }
    }
}

fn record(payload: &[u8]) -> Option<Record<'_>> {
    let (&kind, mut rest) = payload.split_first()?;
    let id = u32::try_from(take_varint(&mut rest)?).ok()?;
    match kind {
        SCHEMA => Some(Record::Schema { id, header: rest }),
        ROW => Some(Record::Row { group: id, row: rest }),
        MADE => Some(Record::Made { group: id }),
        PAD => Some(Record::Pad),
        SLOTS => {
            let first = u32::try_from(take_varint(&mut rest)?).ok()?;
            let dir = take_bytes(&mut rest)?;
            let mut slots = Vec::new();
            while !rest.is_empty() {
                let schema = u32::try_from(take_varint(&mut rest)?).ok()?;
                let (&made, after) = rest.split_first()?;
                rest = after;
                let name = std::str::from_utf8(take_bytes(&mut rest)?).ok()?;
                slots.push(SlotRecord { schema, made: made != 0, name });
            }
            Some(Record::Slots { group: id, first, dir, slots })
        }
        _ => None,
    }
}

fn take_bytes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(take_varint(rest)?).ok()?;
    let (bytes, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn segment(rows: &[Vec<u8>]) -> (Vec<u8>, Vec<usize>) {
        let mut out = MAGIC.to_vec();
        let mut ends = Vec::new();
        for (group, row) in rows.iter().enumerate() {
            Record::Row { group: group as u32, row }.put(&mut out);
            ends.push(out.len());
        }
        (out, ends)
    }

    #[test]
    fn every_kind_comes_back() {
        let slots = vec![
            SlotRecord { schema: 0, made: true, name: "load_one.rrd" },
            SlotRecord { schema: 300, made: false, name: "ü.rrd" },
        ];
        let records = [
            Record::Schema { id: 0, header: b"RRD\0" },
            Record::Slots { group: 70_000, first: 3, dir: b"a cluster/h\xff", slots },
            Record::Row { group: 1, row: b"" },
            Record::Made { group: 9 },
            Record::Pad,
        ];
        let mut out = MAGIC.to_vec();
        records.iter().for_each(|record| record.put(&mut out));
        let mut read = Records::new(&out);
        assert_eq!(read.by_ref().collect::<Vec<_>>(), records);
        assert_eq!((read.damaged, read.torn), (0, 0));
        assert_eq!(Records::new(b"something else").count(), 0);
        let mut none = MAGIC.to_vec();
        for _ in 0..1_000_000 {
            none.extend_from_slice(&[0xa7, 0x1c, 1, 0, 0, 0]);
            none.extend_from_slice(&checksum([1, 0, 0, 0], b"x").to_le_bytes());
            none.push(b'x');
        }
        assert_eq!(Records::new(&none).count(), 0, "many records of an unknown kind");
    }

    proptest! {
        #[test]
        fn damage_costs_what_it_hits(
            rows in prop::collection::vec(prop::collection::vec(prop_oneof![Just(0xa7u8), Just(0x1c), any::<u8>()], 0..40), 1..20),
            hit in any::<prop::sample::Index>(),
            change in 1u8..,
        ) {
            let (mut bytes, ends) = segment(&rows);
            let at = MAGIC.len() + hit.index(bytes.len() - MAGIC.len());
            bytes[at] ^= change;
            let victim = ends.iter().position(|&end| at < end).unwrap();
            let mut read = Records::new(&bytes);
            let found: Vec<_> = read.by_ref().filter_map(|r| match r { Record::Row { group, .. } => Some(group as usize), _ => None }).collect();
            let expected: Vec<_> = (0..rows.len()).filter(|&group| group != victim).collect();
            prop_assert_eq!(found, expected);
            prop_assert!(read.damaged > 0 || read.torn > 0);
        }

        #[test]
        fn a_torn_tail_is_cut(rows in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..10), cut in any::<prop::sample::Index>()) {
            let (bytes, ends) = segment(&rows);
            let cut = MAGIC.len() + cut.index(bytes.len() - MAGIC.len());
            let whole = ends.iter().filter(|&&end| end <= cut).count();
            let read = Records::new(&bytes[..cut]);
            prop_assert_eq!(read.count(), whole);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut all = MAGIC.to_vec();
            all.extend(bytes);
            let _ = Records::new(&all).count();
        }
    }
}
