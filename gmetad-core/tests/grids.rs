//! GRIDs of other gmetads: what is recognised while it is summed against what is understood anew.

use gmetad_core::{GmondReader, ReaderOptions};

/// Sums of recognised hosts against plain ones: same names, other TYPE, UNITS, DMAX, several GRIDs, more names than are kept.
#[test]
fn sums_of_what_is_recognised_are_those_of_what_is_read() {
    let mut seed = 12345u64;
    let mut rnd = |n: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % n
    };
    let mut fast = GmondReader::new(Vec::new(), ReaderOptions::default());
    let mut po = ReaderOptions::default();
    po.parse.plain = true;
    let mut plain = GmondReader::new(Vec::new(), po);
    for round in 0..300u64 {
        let mut d = String::from("<GANGLIA_XML VERSION=\"3.7.2\">\n");
        for g in 0..1 + rnd(3) {
            d += &format!("<GRID NAME=\"g{}\" LOCALTIME=\"1700000000\">\n", g % 2);
            for h in 0..rnd(12) {
                d += &format!(
                    "<HOST NAME=\"h{h}\" IP=\"1\" REPORTED=\"1700000000\" TN=\"{}\" TMAX=\"20\">\n",
                    if rnd(6) == 0 { 500 } else { 1 }
                );
                let wide = round % 20 == 7;
                for m in 0..if wide { 1500 } else { 8 } {
                    let name = if wide {
                        format!("w{}_{m}", rnd(3))
                    } else {
                        format!("m{}", if rnd(5) == 0 { rnd(8) } else { m })
                    };
                    let ty = ["float", "uint32", "string", "double", "int8", "timestamp"]
                        [if rnd(3) == 0 { rnd(6) as usize } else { (m % 3) as usize }];
                    let val = ["1", "1.50", "-0", "1e3", "abc", "0x10", "0.1", "12345678901234.5", "", "nan"]
                        [rnd(10) as usize];
                    let dmax = [0, 0, 0, 100][rnd(4) as usize];
                    let tn = [0, 5, 100, 101, 5000][rnd(5) as usize];
                    let units = ["", "u", "a &amp; b", "é"][if rnd(4) == 0 { rnd(4) as usize } else { 0 }];
                    let end = if rnd(10) == 0 {
                        "/>\n"
                    } else {
                        ">\n<EXTRA_DATA>\n<EXTRA_ELEMENT NAME=\"GROUP\" VAL=\"x\"/>\n</EXTRA_DATA>\n</METRIC>\n"
                    };
                    d += &format!(
                        "<METRIC NAME=\"{name}\" VAL=\"{val}\" TYPE=\"{ty}\" UNITS=\"{units}\" TN=\"{tn}\" TMAX=\"60\" DMAX=\"{dmax}\" SLOPE=\"both\" SOURCE=\"gmond\"{end}"
                    );
                }
                d += "</HOST>\n";
            }
            if rnd(4) == 0 {
                d += "<METRICS NAME=\"m1\" SUM=\"3.25\" NUM=\"2\" TYPE=\"double\" UNITS=\"z\"/>\n";
            }
            d += "</GRID>\n";
        }
        if rnd(10) == 0 {
            // a failed poll in between
            let _ = fast.read_document(d.as_bytes(), 1_700_000_000);
            let _ = plain.read_document(d.as_bytes(), 1_700_000_000);
            let cut = d.len() / 2;
            let cut = (0..=cut).rev().find(|c| d.is_char_boundary(*c)).expect("whole");
            assert_eq!(
                fast.read_document(&d.as_bytes()[..cut], 0).is_err(),
                plain.read_document(&d.as_bytes()[..cut], 0).is_err()
            );
            continue;
        }
        d += "</GANGLIA_XML>\n";
        let a = fast.read_document(d.as_bytes(), 1_700_000_000).expect("whole");
        let b = plain.read_document(d.as_bytes(), 1_700_000_000).expect("whole");
        let of = |s: &gmetad_core::SourceSnapshot| -> Vec<String> {
            s.grids()
                .flat_map(|g| {
                    let mut v = vec![format!("{} {} {}", g.name(), g.summary().hosts_up(), g.summary().hosts_down())];
                    v.extend(g.summary().metrics().iter().map(|m| {
                        format!(
                            "{} {:x} {} {} {} {} {}",
                            m.name(),
                            m.sum().to_bits(),
                            m.num(),
                            m.decimals(),
                            m.units(),
                            m.slope_text(),
                            m.source()
                        )
                    }));
                    v
                })
                .collect()
        };
        let (a, b) = (of(&a), of(&b));
        for (x, y) in a.iter().zip(&b) {
            assert_eq!(x, y, "round {round}");
        }
        assert_eq!(a.len(), b.len());
    }
}
