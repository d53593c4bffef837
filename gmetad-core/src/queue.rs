//! The one kind of queue: bounded, and never making the one who puts in wait.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// What a queue holds at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bound {
    /// The newest of each key, in the place of the one before, and so many keys.
    Newest(usize),
    /// Entries of so much weight. What is too much goes: the oldest of the same key, or else the oldest of all. One entry
    /// may be heavier.
    Weight(usize),
}

/// A bounded queue.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    inner: Mutex<Inner<T>>,
    ready: Condvar,
    bound: Bound,
}

/// What came of waiting.
pub(crate) enum Next<T> {
    Entry(T),
    Interrupted,
    Closed,
}

#[derive(Debug)]
struct Inner<T> {
    entries: VecDeque<Entry<T>>,
    weight: usize,
    closed: bool,
}

#[derive(Debug)]
struct Entry<T> {
    key: u64,
    weight: usize,
    value: T,
}

impl<T> Queue<T> {
    pub(crate) fn new(bound: Bound) -> Self {
        let inner = Inner { entries: VecDeque::new(), weight: 0, closed: false };
        Self { inner: Mutex::new(inner), ready: Condvar::new(), bound }
    }

    /// Puts an entry in; how many others had to go.
    pub(crate) fn push(&self, key: u64, weight: usize, value: T) -> u64 {
        let mut guard = self.inner.lock();
        let inner = &mut *guard;
        let mut gone = Vec::new();
        if matches!(self.bound, Bound::Newest(_))
            && let Some(old) = inner.entries.iter_mut().find(|entry| entry.key == key)
        {
            gone.push(std::mem::replace(old, Entry { key, weight, value }));
        } else {
            while match self.bound {
                Bound::Newest(most) => inner.entries.len() >= most.max(1),
                Bound::Weight(most) => inner.weight + weight > most && !inner.entries.is_empty(),
            } {
                let oldest = inner.entries.iter().position(|entry| entry.key == key).unwrap_or(0);
                let Some(entry) = inner.entries.remove(oldest) else { break };
                inner.weight -= entry.weight;
                gone.push(entry);
            }
            inner.weight += weight;
            inner.entries.push_back(Entry { key, weight, value });
        }
        drop(guard);
        self.ready.notify_one();
        // What goes is dropped outside the lock: it may be large.
        gone.len() as u64
    }

    /// Waits for the next entry; `None` when the queue is closed and empty.
    pub(crate) fn pop(&self) -> Option<T> {
        loop {
            match self.next(|| false) {
                Next::Entry(entry) => return Some(entry),
                Next::Closed => return None,
                Next::Interrupted => {}
            }
        }
    }

    /// The same, unless there is something else to do; whoever makes `interrupted` true calls [`Queue::wake`].
    pub(crate) fn next(&self, interrupted: impl Fn() -> bool) -> Next<T> {
        let mut inner = self.inner.lock();
        loop {
            if interrupted() {
                return Next::Interrupted;
            }
            if let Some(entry) = inner.entries.pop_front() {
                inner.weight -= entry.weight;
                return Next::Entry(entry.value);
            }
            if inner.closed {
                return Next::Closed;
            }
            self.ready.wait(&mut inner);
        }
    }

    /// Lets whoever waits look whether there is something else to do.
    pub(crate) fn wake(&self) {
        drop(self.inner.lock());
        self.ready.notify_all();
    }

    /// Lets so much time pass, or less if the queue is closed meanwhile.
    pub(crate) fn rest(&self, time: Duration) {
        let until = Instant::now() + time;
        let mut inner = self.inner.lock();
        while !inner.closed && !self.ready.wait_until(&mut inner, until).timed_out() {}
    }

    /// Entries that wait.
    pub(crate) fn len(&self) -> usize {
        self.inner.lock().entries.len()
    }

    /// Lets those who wait go once the queue is empty.
    pub(crate) fn close(&self) {
        self.inner.lock().closed = true;
        self.ready.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rest<T>(queue: &Queue<T>) -> Vec<T> {
        queue.close();
        std::iter::from_fn(|| queue.pop()).collect()
    }

    #[test]
    fn the_newest_takes_the_place_of_the_one_before() {
        let queue = Queue::new(Bound::Newest(2));
        assert_eq!([queue.push(1, 1, "a1"), queue.push(2, 1, "b1"), queue.push(1, 1, "a2")], [0, 0, 1]);
        assert_eq!(queue.push(3, 1, "c1"), 1, "beyond the number of keys the oldest goes");
        assert_eq!(rest(&queue), ["b1", "c1"]);
    }

    #[test]
    fn weight_bounds_what_waits() {
        let queue = Queue::new(Bound::Weight(10));
        assert_eq!([queue.push(1, 4, "a1"), queue.push(2, 4, "b1"), queue.push(2, 2, "b2")], [0, 0, 0]);
        assert_eq!(queue.push(2, 5, "b3"), 2, "the oldest of its own key go first");
        assert_eq!(queue.push(3, 50, "heavy"), 2, "one entry may be heavier than the bound");
        assert_eq!(rest(&queue), ["heavy"]);
    }
}
