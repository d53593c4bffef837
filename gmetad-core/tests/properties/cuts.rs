//! However a document is cut or packed on its way, it is the same document.

use std::io::Write;
use std::net::TcpListener;

use flate2::Compression;
use flate2::write::GzEncoder;
use gmetad_core::{Address, GmondReader, PollError, ReaderOptions, SourceSnapshot};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::document::{START, any_document, spelling};
use crate::oracle::text;
use crate::parser::reader;

/// Polls a source that sends `bytes` in pieces that end at `cuts`.
fn poll(bytes: &[u8], cuts: &[Index]) -> Result<SourceSnapshot, PollError> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut reader = GmondReader::new(vec![Address::from(listener.local_addr().unwrap())], ReaderOptions::default());
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).chain([0, bytes.len()]).collect();
    cuts.sort_unstable();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let (mut client, _) = listener.accept().unwrap();
            client.set_nodelay(true).unwrap();
            for piece in cuts.windows(2) {
                client.write_all(&bytes[piece[0]..piece[1]]).unwrap();
                // Lets the reader come by before the next piece.
                std::thread::yield_now();
            }
        });
        reader.poll(START)
    })
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn cuts_and_gzip_do_not_matter(
        document in (any_document(), spelling()).prop_map(|(document, spelling)| document.write(spelling)),
        cuts in vec(any::<Index>(), 0..20),
        behind in vec(any::<u8>(), 0..20),
    ) {
        let whole = text(&reader(true).read_document(&document, START).expect("a whole document"), START);
        prop_assert_eq!(&whole, &text(&poll(&document, &cuts).expect("a whole document"), START));
        // What follows a gzip stream is ignored.
        let packed = [gzip(&document), behind].concat();
        prop_assert_eq!(&whole, &text(&poll(&packed, &cuts).expect("a whole document"), START));
    }

    #[test]
    fn a_cut_gzip_stream_fails(document in any_document().prop_map(|document| document.lines()), cut: Index) {
        let packed = gzip(&document);
        prop_assert!(poll(&packed[..cut.index(packed.len())], &[]).is_err());
    }
}

#[test]
fn a_second_gzip_member_is_not_read() {
    let document = b"<GANGLIA_XML VERSION=\"3.7.2\"><CLUSTER NAME=\"c\"></CLUSTER></GANGLIA_XML>";
    let members = [gzip(&document[..30]), gzip(&document[30..])].concat();
    assert!(matches!(poll(&members, &[]), Err(PollError::Document { .. })));
    assert!(poll(&[gzip(document), gzip(b"more")].concat(), &[]).is_ok());
    assert!(matches!(poll(&gzip(b""), &[]), Err(PollError::Document { .. })));
}
