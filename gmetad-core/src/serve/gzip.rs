//! Gzip for answers of any length.
//!
//! The compressor is the thread's, not the answer's: each piece is compressed by itself, ends at a byte, and refers to no
//! piece before it (RFC 1951 lets blocks follow each other like that). So an answer on its way has a checksum and a length,
//! and not the 300 kB that a deflate stream needs; thousands of slow readers cost no more than plain ones. Pieces of 128 kB
//! make a dump 6.3 % of its size where one long stream makes it 5.6 %.

use std::cell::Cell;
use std::time::Duration;

use flate2::{Compress, Compression, Crc, FlushCompress, Status};

use super::{Body, Progress};
use crate::limits;

/// Magic, deflate, no flags, no time, fastest, unknown system (RFC 1952).
const HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 255];
/// The least effort that still has codes of its own for each piece: 0.9 GB/s, where the default has 0.4 and saves a third.
const LEVEL: Compression = Compression::new(2);

/// What a thread needs to compress: the state of deflate, and the piece before it is compressed.
struct Press {
    deflate: Compress,
    plain: Vec<u8>,
}

thread_local! {
    static PRESS: Cell<Option<Box<Press>>> = const { Cell::new(None) };
}

/// A body as a gzip stream.
pub struct Gzip<B> {
    body: B,
    crc: Crc,
    begun: bool,
    done: bool,
}

impl<B: Body> Gzip<B> {
    /// Compresses what `body` makes, as it makes it.
    pub fn new(body: B) -> Self {
        Self { body, crc: Crc::new(), begun: false, done: false }
    }
}

impl<B: Body> Body for Gzip<B> {
    /// Takes a piece of the body whatever the budget, since it becomes a fraction of it.
    fn fill(&mut self, out: &mut Vec<u8>, _budget: usize) -> Progress {
        if self.done {
            return Progress::Done;
        }
        // Taken out of its place, so that a body that compresses itself, or panics, finds an empty place and no locked one.
        let mut press =
            PRESS.take().unwrap_or_else(|| Box::new(Press { deflate: Compress::new(LEVEL, false), plain: Vec::new() }));
        press.plain.clear();
        let piece = if self.begun { limits::GZIP_PIECE } else { limits::GZIP_FIRST };
        let progress = self.body.fill(&mut press.plain, piece);
        if !std::mem::replace(&mut self.begun, true) {
            out.extend_from_slice(&HEAD);
        }
        self.crc.update(&press.plain);
        press.squeeze(out, progress == Progress::Done);
        if progress == Progress::Done {
            self.done = true;
            out.extend_from_slice(&self.crc.sum().to_le_bytes());
            // The length modulo 2^32, as the format wants it.
            out.extend_from_slice(&self.crc.amount().to_le_bytes());
        }
        // A page that came whole must not keep its size here for ever.
        press.plain.shrink_to(2 * limits::GZIP_PIECE);
        PRESS.set(Some(press));
        progress
    }

    fn costly(&self) -> bool {
        true
    }

    fn sent(&mut self, time: Duration) {
        self.body.sent(time);
    }
}

impl Press {
    /// Appends the piece, compressed; `last` ends the stream.
    fn squeeze(&mut self, out: &mut Vec<u8>, last: bool) {
        self.deflate.reset();
        let flush = if last { FlushCompress::Finish } else { FlushCompress::Sync };
        let mut rest = &self.plain[..];
        loop {
            out.reserve(rest.len() / 8 + 1024);
            let before = self.deflate.total_in();
            let status = self.deflate.compress_vec(rest, out, flush);
            // zlib has errors for states that were never set up or are used after their end.
            let status = status.expect("a fresh stream takes any bytes");
            rest = &rest[(self.deflate.total_in() - before) as usize..];
            // A flush is complete when it leaves room; the end says so itself.
            if status == Status::StreamEnd || (!last && out.len() < out.capacity()) {
                return;
            }
        }
    }
}

/// These bytes as gzip.
pub fn gzip(bytes: Vec<u8>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut body = Gzip::new(bytes);
    while body.fill(&mut out, limits::ANSWER_CHUNK) == Progress::More {}
    out
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;
    use proptest::prelude::*;

    use super::*;

    /// Bytes in pieces of given sizes, whatever is asked for.
    struct Pieces {
        bytes: Vec<u8>,
        sizes: Vec<usize>,
        at: usize,
    }

    impl Body for Pieces {
        fn fill(&mut self, out: &mut Vec<u8>, _budget: usize) -> Progress {
            let size = if self.sizes.is_empty() { self.bytes.len() } else { self.sizes.remove(0) };
            let end = (self.at + size).min(self.bytes.len());
            out.extend_from_slice(&self.bytes[self.at..end]);
            self.at = end;
            if end == self.bytes.len() && self.sizes.is_empty() { Progress::Done } else { Progress::More }
        }
    }

    fn inflate(bytes: &[u8]) -> Vec<u8> {
        let mut decoder = GzDecoder::new(bytes);
        let mut plain = Vec::new();
        decoder.read_to_end(&mut plain).expect("a whole gzip stream, with its checksum");
        assert!(decoder.into_inner().is_empty(), "nothing follows");
        plain
    }

    /// Compresses two in turn on one thread, as the loops do.
    fn both(a: Pieces, b: Pieces) -> [Vec<u8>; 2] {
        let mut bodies = [a, b].map(Gzip::new);
        let mut outs = [Vec::new(), Vec::new()];
        let mut more = [true; 2];
        while more.contains(&true) {
            for n in 0..2 {
                more[n] = more[n] && bodies[n].fill(&mut outs[n], 1) == Progress::More;
            }
        }
        outs
    }

    /// What does not become smaller.
    fn noise(len: usize) -> Vec<u8> {
        let mut x = 1u64;
        std::iter::repeat_with(|| {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (x >> 56) as u8
        })
        .take(len)
        .collect()
    }

    #[test]
    fn nothing_and_what_does_not_shrink() {
        for bytes in [Vec::new(), b"a".to_vec(), noise(1_000_000), vec![b'a'; 1_000_000]] {
            let packed = gzip(bytes.clone());
            assert!(packed.len() < bytes.len() + bytes.len() / 100 + 100, "{} -> {}", bytes.len(), packed.len());
            assert_eq!(inflate(&packed), bytes);
        }
    }

    #[test]
    fn a_body_that_panics_leaves_a_thread_that_compresses() {
        struct Panics;
        impl Body for Panics {
            fn fill(&mut self, _out: &mut Vec<u8>, _budget: usize) -> Progress {
                std::panic::resume_unwind(Box::new(()))
            }
        }
        let run = || Gzip::new(Panics).fill(&mut Vec::new(), 1);
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err());
        assert_eq!(inflate(&inflate(&gzip(gzip(b"abc".to_vec())))), b"abc");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_cut_inflates_to_the_same(
            text in "(<METRIC NAME=\"load_(one|five)\" VAL=\"[0-9.]{1,8}\"/>\n|\\PC{0,9}){0,300}",
            random in proptest::collection::vec(any::<u8>(), 0..4000),
            sizes in proptest::collection::vec(0usize..3000, 0..40),
        ) {
            let text = text.into_bytes();
            let [a, b] = both(
                Pieces { bytes: text.clone(), sizes: sizes.clone(), at: 0 },
                Pieces { bytes: random.clone(), sizes: sizes.into_iter().rev().collect(), at: 0 },
            );
            prop_assert_eq!(inflate(&a), text);
            prop_assert_eq!(inflate(&b), random);
        }
    }
}
