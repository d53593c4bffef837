//! Damaged documents: nothing panics, and damage costs the element it is in (invariant 2).

use gmetad_core::SourceSnapshot;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::document::{START, any_document, clusters, spelling};
use crate::oracle::text;
use crate::parser::reader;

#[derive(Clone, Debug)]
enum Mutation {
    Set(Index, u8),
    Insert(Index, u8),
    Remove(Index, usize),
    Truncate(Index),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let byte = || prop_oneof![3 => select(&b"<>\"'&/!-[]? =\n\0\xff"[..]), 1 => any::<u8>()];
    prop_oneof![
        4 => (any::<Index>(), byte()).prop_map(|(at, byte)| Mutation::Set(at, byte)),
        4 => (any::<Index>(), byte()).prop_map(|(at, byte)| Mutation::Insert(at, byte)),
        3 => (any::<Index>(), 1..40usize).prop_map(|(at, n)| Mutation::Remove(at, n)),
        1 => any::<Index>().prop_map(Mutation::Truncate),
    ]
}

fn apply(document: &mut Vec<u8>, mutation: &Mutation) {
    // Inside the declaration of the document type there is nothing to break.
    let from = gmetad_core::xml::PROLOG.len().min(document.len());
    let at = |index: &Index| from + index.index(document.len() - from + 1);
    match mutation {
        Mutation::Set(index, byte) => {
            let at = at(index);
            if let Some(old) = document.get_mut(at) {
                *old = *byte;
            }
        }
        Mutation::Insert(index, byte) => {
            let at = at(index);
            document.insert(at, *byte);
        }
        Mutation::Remove(index, n) => {
            let at = at(index);
            document.drain(at..(at + n).min(document.len()));
        }
        Mutation::Truncate(index) => document.truncate(at(index)),
    }
}

/// A way to damage one tag, and whether the element survives it.
type Damage = (&'static str, fn(&str) -> String, bool);

const DAMAGES: [Damage; 5] = [
    ("a raw & in a value", |tag| tag.replacen("=\"", "=\"& &x; ", 1), true),
    ("a raw < in a value", |tag| tag.replacen("=\"", "=\"a<b ", 1), true),
    ("a quote too many", |tag| tag.replacen("\" ", "\"\" ", 1), false),
    ("no NAME", |tag| tag.replacen(" NAME=", " NOME=", 1), false),
    ("a value without quotes", |tag| tag.replacen(' ', " BAD=1 ", 1), false),
];

/// A document like gmond's: five hosts with five metrics each; `damage` gets each tag and its place.
fn document(damage: impl Fn(usize, usize, String) -> String) -> Vec<u8> {
    let mut out =
        String::from("<GANGLIA_XML VERSION=\"3.7.2\" SOURCE=\"gmond\">\n<CLUSTER NAME=\"c\" LOCALTIME=\"5\">\n");
    for host in 0..5 {
        let tag = format!("<HOST ODD=\"\" NAME=\"h{host}\" IP=\"i\" REPORTED=\"5\" TN=\"1\" TMAX=\"20\" DMAX=\"0\">");
        out += &(damage(host, usize::MAX, tag) + "\n");
        for metric in 0..5 {
            let tag =
                format!("<METRIC ODD=\"\" NAME=\"m{metric}\" VAL=\"{metric}\" TYPE=\"int32\" UNITS=\"u\" TN=\"1\">");
            out += &(damage(host, metric, tag) + "\n<EXTRA_DATA>\n<EXTRA_ELEMENT NAME=\"G\" VAL=\"v\"/>\n");
            out += "</EXTRA_DATA>\n</METRIC>\n";
        }
        out += "</HOST>\n";
    }
    (out + "</CLUSTER>\n</GANGLIA_XML>\n").into_bytes()
}

/// Everything about a host or a metric of the five times five; empty for what is not there.
fn part(snapshot: &SourceSnapshot, host: usize, metric: Option<usize>) -> String {
    let host = snapshot.clusters().next().and_then(|c| c.host(&format!("h{host}")));
    match (host, metric) {
        (Some(host), None) => format!("{} {} {} {}", host.ip(), host.tn(START), host.is_up(), host.reported()),
        (Some(host), Some(metric)) => host.metric(&format!("m{metric}")).map_or(String::new(), |metric| {
            format!("{} {:?} {} {}", metric.value(), metric.def(), metric.tn(START), metric.is_fresh())
        }),
        (None, _) => String::new(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_damaged_document_does_no_harm(
        good in any_document().prop_map(|document| document.lines()),
        (other, spelling) in (any_document(), spelling()),
        mutations in vec(mutation(), 1..5),
    ) {
        let mut bad = other.write(spelling);
        mutations.iter().for_each(|mutation| apply(&mut bad, mutation));
        let mut tried = reader(true);
        tried.read_document(&good, START).expect("a whole document");
        let result = tried.read_document(&bad, START + 15);
        if !String::from_utf8_lossy(&bad).contains("</GANGLIA_XML") {
            prop_assert!(result.is_err(), "{}", String::from_utf8_lossy(&bad[2531.min(bad.len())..]));
        }
        if result.is_err() {
            let mut untried = reader(true);
            untried.read_document(&good, START).expect("a whole document");
            let expected = untried.read_document(&good, START + 30).expect("a whole document");
            let after = tried.read_document(&good, START + 30).expect("a whole document");
            prop_assert_eq!(text(&after, START + 30), text(&expected, START + 30));
        }
    }

    #[test]
    fn a_document_without_its_end_fails(document in clusters(), cut: Index) {
        let whole = document.lines();
        let end = whole.windows(14).rposition(|w| w == b"</GANGLIA_XML>").unwrap();
        prop_assert!(reader(true).read_document(&whole[..cut.index(end + 14)], START).is_err());
    }

    #[test]
    fn damage_costs_one_element(host in 0..5usize, metric in 0..6usize, damage in 0..5usize, known: bool) {
        // The sixth metric stands for the host's own tag.
        let metric = if metric == 5 { usize::MAX } else { metric };
        let (what, change, survives) = DAMAGES[damage];
        let good = document(|_, _, tag| tag);
        let bad = document(|h, m, tag| if (h, m) == (host, metric) { change(&tag) } else { tag });
        let mut whole = reader(true);
        let mut hurt = reader(true);
        if known {
            whole.read_document(&good, START).unwrap();
            hurt.read_document(&good, START).unwrap();
        }
        let whole = whole.read_document(&good, START).unwrap();
        let hurt = hurt.read_document(&bad, START).expect(what);
        prop_assert_eq!(hurt.report().skipped + hurt.report().mended > 0, true, "{} is reported", what);
        for h in 0..5 {
            let lost = h == host && metric == usize::MAX && !survives && !known;
            let expected = if lost { String::new() } else { part(&whole, h, None) };
            prop_assert_eq!(part(&hurt, h, None), expected, "{}: host {}", what, h);
            for m in 0..5 {
                let found = part(&hurt, h, Some(m));
                let expected = part(&whole, h, Some(m));
                if survives || h != host || (metric != usize::MAX && m != metric) {
                    prop_assert_eq!(found, expected, "{}: metric {} of host {}", what, m, h);
                } else if known {
                    // Kept from before; its mark of freshness is the host's.
                    let unmarked = |text: &str| text.trim_end_matches("true").trim_end_matches("false").to_owned();
                    prop_assert_eq!(unmarked(&found), unmarked(&expected));
                } else {
                    prop_assert_eq!(found, "");
                }
            }
        }
    }
}
