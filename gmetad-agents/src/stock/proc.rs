//! Reading /proc and /sys. The parsers are pure functions beside the agents that use them. They are our own, and the crate
//! procfs (0.18) judges them in tests: it leaves the spaces of mount points escaped, loses a whole file for one odd line,
//! insists on lines that containers do not have, and allocates for each line.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use gmetad_core::agent::Message;
use gmetad_core::message;

use super::net::problem;

/// Longest file of /proc that is read: /proc/stat of 1,000 processors and 10,000 interrupts has 120 kB, /proc/self/mounts of a host
/// with thousands of containers 1 MB.
pub(super) const LONGEST: u64 = 4 << 20;

/// As [`bytes`], with a reason that does not name the file.
pub(super) fn content(path: &Path) -> Result<Vec<u8>, Message> {
    let mut bytes = Vec::with_capacity(4096);
    let read = File::open(path).and_then(|file| file.take(LONGEST).read_to_end(&mut bytes));
    read.map(|_| bytes).map_err(|error| problem(&error))
}

/// The bytes of a file, at most [`LONGEST`].
pub(super) fn bytes(path: impl AsRef<Path>) -> Result<Vec<u8>, Message> {
    let path = path.as_ref();
    content(path).map_err(|error| message!("{}: {}", path.display().to_string(), error))
}

/// The text of a file; bytes that are no UTF-8 are replaced.
pub(super) fn text(path: impl AsRef<Path>) -> Result<String, Message> {
    bytes(path).map(|bytes| {
        String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
    })
}

/// A file that consists of one number.
pub(super) fn number(path: impl AsRef<Path>) -> Option<f64> {
    text(path).ok()?.trim().parse().ok().filter(|number: &f64| number.is_finite())
}

/// That a file is not what it should be.
pub(super) fn strange(path: &str) -> Message {
    message!("{} is not as expected: is this a Linux with /proc mounted?", path)
}

/// The numbers of a line, as far as they are.
pub(super) fn numbers(words: &str) -> impl Iterator<Item = u64> {
    words.split_ascii_whitespace().map_while(|word| word.parse().ok())
}

/// Processors that are online.
pub(super) fn processors() -> usize {
    let online = text("/sys/devices/system/cpu/online").ok().and_then(|list| listed(&list));
    online.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// How many a list as `0-3,8` names.
fn listed(list: &str) -> Option<usize> {
    let mut sum = 0_usize;
    for part in list.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        sum = sum.checked_add(last.checked_sub(first)?.checked_add(1)?)?;
    }
    Some(sum)
}

/// Whether a name fits one of the patterns, where `*` stands for anything.
pub(super) fn fits(patterns: &[String], name: &str) -> bool {
    patterns.iter().any(|pattern| {
        let mut parts = pattern.split('*');
        let Some(mut rest) = name.strip_prefix(parts.next().unwrap_or_default()) else { return false };
        let Some(last) = parts.next_back() else { return rest.is_empty() };
        for part in parts {
            match rest.find(part) {
                Some(at) => rest = &rest[at + part.len()..],
                None => return false,
            }
        }
        rest.ends_with(last)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn processors_of_this_machine() {
        assert_eq!(["0", "0-3", "0-3,8", "0,2-3\n"].map(listed), [Some(1), Some(4), Some(5), Some(3)]);
        assert_eq!(["", "a", "3-1", "0-18446744073709551615"].map(listed), [None; 4]);
        let lines = text("/proc/stat").unwrap().lines().filter(|line| line.starts_with("cpu")).count();
        assert_eq!(processors(), lines - 1);
    }

    #[test]
    fn files_that_are_missing_are_named() {
        assert!(text("/proc/no such file").unwrap_err().to_string().starts_with("/proc/no such file: "));
        assert_eq!(number("/proc/version"), None);
    }

    #[test]
    fn patterns() {
        let fits = |pattern: &str, name| fits(&[pattern.to_owned()], name);
        for (pattern, name) in [
            ("eth0", "eth0"),
            ("eth*", "eth0"),
            ("*", ""),
            ("*0", "eth0"),
            ("/mnt/*/x*y", "/mnt/a/b/xay"),
            ("a*b*b", "abb"),
        ] {
            assert!(fits(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("eth0", "eth01"), ("eth*", "xeth0"), ("a*a", "a"), ("a*b*b", "ab"), ("", "a")] {
            assert!(!fits(pattern, name), "{pattern} {name}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC*", pattern in "[a*é]{0,6}", name in "[aé]{0,6}") {
            let _ = listed(&text);
            let _ = numbers(&text).count();
            let _ = fits(&[pattern], &name);
        }
    }
}
