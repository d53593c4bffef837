//! The one kind of queue: bounded, and never making the one who puts in wait.

use std::collections::VecDeque;

use parking_lot::{Condvar, Mutex};

use crate::stats::Counter;

/// A bounded queue. When it is full, the oldest entry of the same key goes, or else the oldest of all; what went is
/// counted.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    entries: Mutex<(VecDeque<(u64, T)>, bool)>,
    ready: Condvar,
    capacity: usize,
    dropped: Counter,
}

impl<T> Queue<T> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            entries: Mutex::new((VecDeque::new(), false)),
            ready: Condvar::new(),
            capacity,
            dropped: Counter::default(),
        }
    }

    /// Puts an entry in; true if another one had to go.
    pub(crate) fn push(&self, key: u64, entry: T) -> bool {
        let mut guard = self.entries.lock();
        let (entries, _) = &mut *guard;
        let full = entries.len() >= self.capacity;
        let gone = full.then(|| {
            let oldest = entries.iter().position(|(k, _)| *k == key).unwrap_or(0);
            entries.remove(oldest)
        });
        entries.push_back((key, entry));
        drop(guard);
        self.ready.notify_one();
        // What goes is dropped outside the lock: it may be large.
        drop(gone);
        if full {
            self.dropped.add(1);
        }
        full
    }

    /// Waits for the next entry; `None` when the queue is closed and empty.
    pub(crate) fn pop(&self) -> Option<T> {
        let mut guard = self.entries.lock();
        loop {
            if let Some((_, entry)) = guard.0.pop_front() {
                return Some(entry);
            }
            if guard.1 {
                return None;
            }
            self.ready.wait(&mut guard);
        }
    }

    /// Lets those who wait go once the queue is empty.
    pub(crate) fn close(&self) {
        self.entries.lock().1 = true;
        self.ready.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_keeps_the_newest_of_each_key() {
        let queue = Queue::new(2);
        assert!(!queue.push(1, "a1") && !queue.push(2, "b1"));
        assert!(queue.push(1, "a2") && queue.push(3, "c1"));
        queue.close();
        assert_eq!([queue.pop(), queue.pop(), queue.pop()], [Some("a2"), Some("c1"), None]);
        assert_eq!(queue.dropped.get(), 2);
    }
}
