//! All processes, from /proc/PID/stat: one open, one read each.

use std::fs::{self, File};
use std::io::{self, Read};

/// Most processes that are looked at: each costs some microseconds.
const MOST: usize = 50_000;
/// Ticks a second in /proc, on every machine this is built for (USER_HZ).
pub(super) const HERTZ: f64 = 100.0;

/// What is needed of a process.
#[derive(Debug, PartialEq)]
pub(super) struct Stat<'a> {
    /// The first 15 bytes of its program's name, or what it calls itself.
    pub(super) name: &'a [u8],
    /// `R`, `S`, `D`, `Z`, `T` …
    pub(super) state: u8,
    pub(super) threads: u64,
    /// Processor time, in ticks.
    pub(super) ticks: u64,
    /// Pages of memory it has.
    pub(super) pages: u64,
}

/// Shows each process, with its id.
pub(super) fn each(mut visit: impl FnMut(u32, &Stat<'_>)) -> io::Result<()> {
    let ids = fs::read_dir("/proc")?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let mut buffer = [0; 1024];
    for id in ids.take(MOST) {
        // It may have ended meanwhile.
        let Ok(length) = File::open(format!("/proc/{id}/stat")).and_then(|mut file| file.read(&mut buffer)) else {
            continue;
        };
        if let Some(stat) = parse(&buffer[..length]) {
            visit(id, &stat);
        }
    }
    Ok(())
}

fn parse(line: &[u8]) -> Option<Stat<'_>> {
    // A name may contain anything, parentheses too; after the last one come only numbers.
    let (open, close) = (line.iter().position(|byte| *byte == b'(')?, line.iter().rposition(|byte| *byte == b')')?);
    let name = line.get(open + 1..close)?;
    let rest = std::str::from_utf8(line.get(close + 1..)?).ok()?;
    let words: Vec<&str> = rest.split_ascii_whitespace().take(22).collect();
    let number = |at: usize| words.get(at)?.parse::<u64>().ok();
    Some(Stat {
        name,
        state: *words.first()?.as_bytes().first()?,
        threads: number(17)?,
        ticks: number(11)?.saturating_add(number(12)?),
        pages: number(21)?,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn recorded_and_here() {
        let line =
            b"42 (a) (b) R 1 42 42 0 -1 4194560 100 0 0 0 7 5 0 0 20 0 3 0 100 9999 250 18446744073709551615 1 1\n";
        assert_eq!(parse(line), Some(Stat { name: b"a) (b", state: b'R', threads: 3, ticks: 12, pages: 250 }));
        assert_eq!((parse(b""), parse(b"1 )("), parse(b"1 (x) R 1")), (None, None, None));
        let mut own = None;
        each(|id, stat| {
            if id == std::process::id() {
                own = Some((stat.threads, stat.pages, stat.state));
            }
        })
        .unwrap();
        let (threads, pages, state) = own.unwrap();
        assert!(threads >= 1 && pages > 100 && b"RSD".contains(&state));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(line in proptest::collection::vec(any::<u8>(), 0..80), text in "[0-9]{1,3} \\([a-z()]{0,4}\\)( [0-9RS-]{1,21}){0,24}") {
            let _ = parse(&line);
            let _ = parse(text.as_bytes());
        }
    }
}
