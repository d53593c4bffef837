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

/// `ROOT/AGENT`: the directory of a monitoring agent. Agents beginning with a dot are encoded: such names are the monitor's own.
pub fn agent_dir(root: &Path, agent: &str) -> PathBuf {
    root.join(component(agent, NAME_MAX, agent.starts_with('.')).as_ref())
}

/// `ROOT/AGENT/FIELD.rrd`, or `ROOT/AGENT/INSTANCE/FIELD.rrd` for one of several things that an agent measures.
///
/// An instance is also encoded, with all its dots as `%2E`, if its directory could be taken for a file of the agent: if it
/// begins with a dot or with `agent.json`, or ends with `.rrd` or `.old`.
pub fn agent_file(root: &Path, agent: &str, instance: Option<&str>, field: &str) -> PathBuf {
    let mut path = agent_dir(root, agent);
    if let Some(instance) = instance {
        let reserved = instance.starts_with('.') || instance.starts_with("agent.json");
        let reserved = reserved || instance.ends_with(SUFFIX) || instance.ends_with(".old");
        let name =
            if reserved { encoded(instance, NAME_MAX, true).into() } else { component(instance, NAME_MAX, false) };
        path.push(name.as_ref());
    }
    path.push(metric_file(field));
    path
}

/// The name that a directory was made of, by the functions above. `None`: no name gives that, or it had to be cut.
pub fn name_of_dir(component: &str) -> Option<Cow<'_, str>> {
    let Some(encoded) = component.strip_prefix("%%") else { return Some(Cow::Borrowed(component)) };
    let mut parts = encoded.split('%');
    let mut name = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (code, rest) = part.split_at_checked(2)?;
        name.push(match code {
            "2F" => '/',
            "00" => '\0',
            "25" => '%',
            "2E" => '.',
            "5F" => '_',
            _ => return None,
        });
        name.push_str(rest);
    }
    Some(Cow::Owned(name))
}

/// The metric or field that a file was made of: [`name_of_dir`] for what ends with `.rrd`.
pub fn name_of_file(file: &str) -> Option<Cow<'_, str>> {
    name_of_dir(file.strip_suffix(SUFFIX)?)
}

fn component(name: &str, max: usize, reserved: bool) -> Cow<'_, str> {
    let unsafe_name = matches!(name, "" | "." | "..") || name.contains(['/', '\0']) || name.starts_with("%%");
    if !unsafe_name && !reserved && name.len() <= max {
        return Cow::Borrowed(name);
    }
    Cow::Owned(encoded(name, max, false))
}

fn encoded(name: &str, max: usize, all_dots: bool) -> String {
    let mut encoded = String::with_capacity(name.len() + 8);
    encoded.push_str("%%");
    for c in name.chars() {
        match c {
            '/' => encoded.push_str("%2F"),
            '\0' => encoded.push_str("%00"),
            '%' => encoded.push_str("%25"),
            // What makes ".", ".." and the reserved names special is their beginning.
            '.' if all_dots => encoded.push_str("%2E"),
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
    encoded
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

    #[test]
    fn agents_instances_and_fields() {
        let of =
            |agent, instance, field| agent_file(Path::new("/r"), agent, instance, field).to_str().unwrap().to_owned();
        assert_eq!(of("load", None, "one"), "/r/load/one.rrd");
        assert_eq!(of("disks", Some("/"), "used"), "/r/disks/%%%2F/used.rrd");
        assert_eq!(of("disks", Some("C:\\"), "a/b"), "/r/disks/C:\\/%%a%2Fb.rrd");
        assert_eq!(of(".retired", Some(".."), ".."), "/r/%%%2Eretired/%%%2E%2E/%%%2E..rrd");
        assert_eq!(of("a", Some("agent.json"), "x"), "/r/a/%%agent%2Ejson/x.rrd");
        assert_eq!(of("a", Some("x/y.rrd"), "x"), "/r/a/%%x%2Fy%2Errd/x.rrd");
    }

    fn name() -> impl Strategy<Value = String> {
        prop_oneof![
            "(agent\\.json|x|\\.)(\\.rrd|\\.old|\\.new)?",
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
        fn files_of_agents_stay_apart_and_their_names_are_read_back(
            a in (name(), prop::option::of(name()), name()),
            b in (name(), prop::option::of(name()), name()),
        ) {
            let root = Path::new("/srv/stats");
            let of = |(agent, instance, field): &(String, Option<String>, String)| {
                agent_file(root, agent, instance.as_deref(), field)
            };
            prop_assert_eq!(a == b, of(&a) == of(&b));
            for (agent, instance, field) in [&a, &b] {
                let path = agent_file(root, agent, instance.as_deref(), field);
                let parts: Vec<_> = path.strip_prefix(root).unwrap().components().collect();
                prop_assert_eq!(parts.len(), 2 + usize::from(instance.is_some()));
                for part in &parts {
                    let Component::Normal(part) = part else { panic!("{path:?}") };
                    prop_assert!(part.len() <= 255);
                }
                prop_assert!(!parts[0].as_os_str().to_str().unwrap().starts_with('.'));
                let text = |part: &Component<'_>| part.as_os_str().to_str().unwrap().to_owned();
                let fits = |name: &str| name.len() < 80; // a name of characters that are encoded has three times as many
                let (dir, file) = (text(&parts[0]), text(parts.last().unwrap()));
                prop_assert!(!fits(agent) || name_of_dir(&dir).as_deref() == Some(agent));
                prop_assert!(!fits(field) || name_of_file(&file).as_deref() == Some(field));
                if let Some(instance) = instance {
                    let dir = text(&parts[1]);
                    prop_assert!(!fits(instance) || name_of_dir(&dir).as_deref() == Some(instance));
                    let own = [".", "agent.json"].iter().any(|begin| dir.starts_with(begin));
                    prop_assert!(!own && !dir.ends_with(".rrd") && !dir.ends_with(".old"), "{}", dir);
                }
            }
        }

        #[test]
        fn what_is_safe_stays(name in "[A-Za-z0-9 &é][A-Za-z0-9 ._%&é:-]{0,60}") {
            prop_assert_eq!(component(&name, 251, false), name.as_str());
        }
    }
}
