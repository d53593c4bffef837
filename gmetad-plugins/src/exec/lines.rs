//! Lines out of bytes that come in pieces.

/// Cuts bytes into lines.
#[derive(Debug, Default)]
pub(super) struct Lines {
    bytes: Vec<u8>,
    /// Where the line begins that comes next, and how far no line feed has been found.
    start: usize,
    searched: usize,
}

impl Lines {
    pub(super) fn put(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.bytes.drain(..self.start);
            self.searched -= self.start;
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Bytes that are kept.
    pub(super) fn waiting(&self) -> usize {
        self.bytes.len() - self.start
    }

    pub(super) fn next(&mut self) -> Option<Vec<u8>> {
        let Some(found) = memchr::memchr(b'\n', &self.bytes[self.searched..]) else {
            self.searched = self.bytes.len();
            return None;
        };
        let end = self.searched + found;
        let line = if self.start == 0 && end + 1 == self.bytes.len() {
            let mut line = std::mem::take(&mut self.bytes);
            line.pop();
            (self.start, self.searched) = (0, 0);
            line
        } else {
            let line = self.bytes[self.start..end].to_vec();
            (self.start, self.searched) = (end + 1, end + 1);
            line
        };
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn lines_are_those_of_the_text(text in "[ab\n]{0,60}", cuts in proptest::collection::vec(0usize..9, 0..20), eager: bool) {
            let mut lines = Lines::default();
            let (mut rest, mut found) = (text.as_bytes(), Vec::new());
            for cut in cuts.into_iter().chain([text.len()]) {
                let (now, later) = rest.split_at(cut.min(rest.len()));
                lines.put(now);
                rest = later;
                while let Some(line) = lines.next() {
                    found.push(line);
                    if !eager { break }
                }
            }
            while let Some(line) = lines.next() {
                found.push(line);
            }
            let whole = text.rsplit_once('\n').map_or(Vec::new(), |(whole, _)| whole.split('\n').map(|l| l.as_bytes().to_vec()).collect());
            prop_assert_eq!(found, whole);
        }
    }
}
