//! The one function from names to paths: whatever a name from the network contains, its file is below the RRD root.
//!
//! Names are used unchanged wherever that is safe, as the C gmetad does, so that existing trees and ganglia-web go on
//! working: blanks, `&`, `%`, a leading dot, any Unicode. A name is *encoded* only if it
//!
//! - is empty, `.` or `..`, or contains `/` or NUL: it could leave its directory, or not be a file name;
//! - is `__SummaryInfo__` as a source or host: that directory belongs to summaries;
//! - begins with `.gmetad` as a source: kept for the daemon's own files in the root;
//! - is too long for a file name (255 bytes, with `.rrd` for metrics);
//! - begins with `%%`: so do all encoded names, and only they.
//!
//! The encoded name is `%%` and the name with `/`, NUL and `%` as `%2F`, `%00` and `%25`, and a `.` or `_` at its beginning as
//! `%2E` or `%5F`; so the empty name is `%%` alone. If that is too long, it is cut and `%~` and 32 hexadecimal digits, a
//! hash of the whole name, are put in place of the rest. So two names never share a path: unchanged ones differ from each
//! other and never begin with `%%`; encoded ones can be decoded; cut ones hold `%~`, which encoding never makes, and
//! differ by a hash of 128 bits. (The hash, FNV-1a, is no cryptographic one: who forges two names of over 250 bytes to
//! collide makes two of his own metrics share a file, and harms nobody else.)

use std::borrow::Cow;
use std::path::{Path, PathBuf};

/// The directory of summaries, in the root and in each source.
pub const SUMMARY_DIR: &str = "__SummaryInfo__";

/// How names of the daemon's own files in the RRD root must begin; no source's directory does.
pub const OWN_PREFIX: &str = ".gmetad";

const SUFFIX: &str = ".rrd";
/// Bytes of a file name on Linux.
const NAME_MAX: usize = 255;

/// `ROOT/SOURCE/HOST/METRIC.rrd`. `lower_case_host`: ASCII letters of the host are made small (`case_sensitive_hostnames 0`).
pub fn host_file(root: &Path, source: &str, host: &str, metric: &str, lower_case_host: bool) -> PathBuf {
    host_dir(root, source, host, lower_case_host).join(metric_file(metric))
}

/// `ROOT/SOURCE/HOST`.
pub fn host_dir(root: &Path, source: &str, host: &str, lower_case_host: bool) -> PathBuf {
    let host = if lower_case_host { Cow::Owned(host.to_ascii_lowercase()) } else { Cow::Borrowed(host) };
    let mut path = source_dir(root, source);
    path.push(component(&host, NAME_MAX, host == SUMMARY_DIR).as_ref());
    path
}

/// `ROOT/SOURCE/__SummaryInfo__/METRIC.rrd`.
pub fn summary_file(root: &Path, source: &str, metric: &str) -> PathBuf {
    summary_dir(root, source).join(metric_file(metric))
}

/// `ROOT/SOURCE/__SummaryInfo__`.
pub fn summary_dir(root: &Path, source: &str) -> PathBuf {
    source_dir(root, source).join(SUMMARY_DIR)
}

/// `ROOT/__SummaryInfo__/METRIC.rrd`.
pub fn root_summary_file(root: &Path, metric: &str) -> PathBuf {
    root_summary_dir(root).join(metric_file(metric))
}

/// `ROOT/__SummaryInfo__`.
pub fn root_summary_dir(root: &Path) -> PathBuf {
    root.join(SUMMARY_DIR)
}

/// `ROOT/SOURCE`.
pub fn source_dir(root: &Path, source: &str) -> PathBuf {
    root.join(component(source, NAME_MAX, source == SUMMARY_DIR || source.starts_with(OWN_PREFIX)).as_ref())
}

/// `METRIC.rrd`.
pub fn metric_file(metric: &str) -> String {
    let mut name = component(metric, NAME_MAX - SUFFIX.len(), false).into_owned();
    name.push_str(SUFFIX);
    name
}

fn component(name: &str, max: usize, reserved: bool) -> Cow<'_, str> {
    let unsafe_name = matches!(name, "" | "." | "..") || name.contains(['/', '\0']) || name.starts_with("%%");
    if !unsafe_name && !reserved && name.len() <= max {
        return Cow::Borrowed(name);
    }
    let mut encoded = String::with_capacity(name.len() + 8);
    encoded.push_str("%%");
    for c in name.chars() {
        match c {
            '/' => encoded.push_str("%2F"),
            '\0' => encoded.push_str("%00"),
            '%' => encoded.push_str("%25"),
            // What makes ".", ".." and the reserved names special is their beginning.
            '.' | '_' if encoded.len() == 2 => encoded.push_str(if c == '.' { "%2E" } else { "%5F" }),
            _ => encoded.push(c),
        }
    }
    if encoded.len() > max {
        let mut end = max - 34;
        while !encoded.is_char_boundary(end) {
            end -= 1;
        }
        encoded.truncate(end);
        encoded.push_str(&format!("%~{:032x}", hash(name.as_bytes())));
    }
    Cow::Owned(encoded)
}

/// What stands for chance in a new file at that path, see [`crate::Layout::image`].
pub(crate) fn seed(path: &Path) -> u64 {
    hash(path.as_os_str().as_encoded_bytes()) as u64
}

/// FNV-1a of 128 bits: the same on every machine and in every version, as file names must be.
fn hash(bytes: &[u8]) -> u128 {
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    bytes.iter().fold(OFFSET, |hash, &byte| (hash ^ u128::from(byte)).wrapping_mul(PRIME))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::path::Component;

    fn of(source: &str, host: &str, metric: &str) -> String {
        host_file(Path::new("/r"), source, host, metric, false).to_str().unwrap().to_owned()
    }

    #[test]
    fn ordinary_names_stay_as_they_are() {
        assert_eq!(
            of("Test Cluster", "Node1.example.org", "load_one"),
            "/r/Test Cluster/Node1.example.org/load_one.rrd"
        );
        assert_eq!(of("A & B <é>", ".hidden", "50% used"), "/r/A & B <é>/.hidden/50% used.rrd");
        assert_eq!(of("%s", "%2F", "100%"), "/r/%s/%2F/100%.rrd");
        let lower = host_file(Path::new("/r"), "C", "Node.ÉX", "M", true);
        assert_eq!(lower, Path::new("/r/C/node.Éx/M.rrd"));
        assert_eq!(summary_file(Path::new("/r"), "C", "m"), Path::new("/r/C/__SummaryInfo__/m.rrd"));
        assert_eq!(root_summary_file(Path::new("/r"), "m"), Path::new("/r/__SummaryInfo__/m.rrd"));
    }

    #[test]
    fn unsafe_names_are_encoded() {
        assert_eq!(of("..", ".", "../../etc/passwd"), "/r/%%%2E./%%%2E/%%%2E.%2F..%2Fetc%2Fpasswd.rrd");
        assert_eq!(of("", "a/b", "disk_free_/"), "/r/%%/%%a%2Fb/%%disk_free_%2F.rrd");
        assert_eq!(
            of("__SummaryInfo__", "__SummaryInfo__", "__SummaryInfo__"),
            "/r/%%%5F_SummaryInfo__/%%%5F_SummaryInfo__/__SummaryInfo__.rrd"
        );
        assert_eq!(of(".gmetad", "%%x", "a\0b"), "/r/%%%2Egmetad/%%%25%25x/%%a%00b.rrd");
        let long = "é".repeat(200);
        let path = of("C", &long, &long);
        assert!(path.split('/').all(|part| part.len() <= 255), "{path}");
    }

    fn name() -> impl Strategy<Value = String> {
        prop_oneof![
            "[%./a\\x00_~]{0,6}",
            "(%%|%2F|%25|%%%2E|/|\\.|__SummaryInfo__|\\.gmetad|a){0,4}",
            "\\PC{0,90}",
            "[a%/]{240,260}",
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn nothing_leaves_the_root(source in name(), host in name(), metric in name(), lower: bool) {
            let root = Path::new("/srv/rrds");
            let host_path = host_file(root, &source, &host, &metric, lower);
            let summary = summary_file(root, &source, &metric);
            let root_summary = root_summary_file(root, &metric);
            for (path, depth) in [(&host_path, 3), (&summary, 3), (&root_summary, 2)] {
                let parts: Vec<_> = path.strip_prefix(root).unwrap().components().collect();
                prop_assert_eq!(parts.len(), depth, "{:?}", path);
                for part in parts {
                    let Component::Normal(part) = part else { panic!("{path:?}") };
                    prop_assert!(part.len() <= 255 && !part.as_encoded_bytes().contains(&0));
                }
                prop_assert!(path.to_str().unwrap().ends_with(".rrd"));
            }
            prop_assert!(host_path != summary && summary != root_summary && host_path != root_summary);
        }

        #[test]
        fn two_names_never_share_a_path(a in name(), b in name(), max in prop_oneof![Just(251usize), Just(255)]) {
            for reserved in [false, true] {
                // "Reserved" is a property of the name, so for different names it may differ.
                let reserved = |name: &str| reserved && (name == SUMMARY_DIR || name.starts_with(OWN_PREFIX));
                let paths = (component(&a, max, reserved(&a)), component(&b, max, reserved(&b)));
                prop_assert_eq!(a == b, paths.0 == paths.1, "{:?} {:?}", a, b);
            }
        }

        #[test]
        fn what_is_safe_stays(name in "[A-Za-z0-9 &é][A-Za-z0-9 ._%&é:-]{0,60}") {
            prop_assert_eq!(component(&name, 251, false), name.as_str());
        }
    }
}
