//! Who is served, and who makes room. No I/O.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::guard::network;

/// How long a client may take over its request before it makes room where there is none. Far more than a browser needs
/// over any line; the deadline of a request holds where there is room.
const GRACE: Duration = Duration::from_millis(500);
/// The same for taking an answer.
const ANSWER_GRACE: Duration = Duration::from_secs(5);

/// What a connection is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Its request comes in.
    Request,
    /// Its answer is made.
    Page,
    /// Its answer goes out.
    Answer,
    /// It got its answer and has not closed yet.
    Leaving,
    /// It made room; its thread is about to end.
    Ended,
}

#[derive(Debug)]
struct Held<T> {
    peer: IpAddr,
    phase: Phase,
    since: Instant,
    handle: T,
}

/// The connections that are served.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    held: HashMap<u64, Held<T>>,
    next: u64,
    most: usize,
    reserved: usize,
    per_address: usize,
}

/// Whether a connection is served.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Admission<T> {
    /// It is, under this number.
    Taken(u64),
    /// It is, if this one is cut off.
    Instead(u64, T),
    /// It is not.
    Full,
}

impl<T: Clone> Slots<T> {
    pub(crate) fn new(most: usize, reserved: usize, per_address: usize) -> Self {
        let most = most.max(1);
        let per_address = per_address.max(1);
        Self { held: HashMap::new(), next: 0, most, reserved: reserved.min(most - 1), per_address }
    }

    /// Finds a place for a connection of `peer`.
    pub(crate) fn admit(&mut self, peer: IpAddr, now: Instant, handle: &T) -> Admission<T> {
        let local = peer.to_canonical().is_loopback();
        let peer = network(peer);
        let alive = || self.held.values().filter(|held| held.phase != Phase::Ended);
        let own = !local && alive().filter(|held| held.peer == peer).count() >= self.per_address;
        let most = if local { self.most } else { self.most - self.reserved };
        let full = alive().count() >= most;
        // Threads of those that made room end at once; should they not, they still count.
        if self.held.len() > self.most + self.most / 4 {
            return Admission::Full;
        }
        let mut instead = None;
        if own || full {
            let slowest = self
                .held
                .iter()
                .filter(|(_, held)| (!own || held.peer == peer) && (local || !held.peer.is_loopback()))
                .filter_map(|(id, held)| Some((held.dawdles(now)?, *id)))
                .max();
            let Some(held) = slowest.and_then(|(_, id)| self.held.get_mut(&id)) else { return Admission::Full };
            held.phase = Phase::Ended;
            instead = Some(held.handle.clone());
        }
        self.next += 1;
        self.held.insert(self.next, Held { peer, phase: Phase::Request, since: now, handle: handle.clone() });
        match instead {
            Some(handle) => Admission::Instead(self.next, handle),
            None => Admission::Taken(self.next),
        }
    }

    /// A connection goes on to another phase; false if it has made room.
    pub(crate) fn phase(&mut self, id: u64, phase: Phase, now: Instant) -> bool {
        match self.held.get_mut(&id) {
            Some(held) if held.phase != Phase::Ended => {
                held.phase = phase;
                held.since = now;
                true
            }
            _ => false,
        }
    }

    /// A thread ended.
    pub(crate) fn free(&mut self, id: u64) {
        self.held.remove(&id);
    }

    /// How many threads there are.
    pub(crate) fn len(&self) -> usize {
        self.held.len()
    }

    /// Of all of them.
    pub(crate) fn handles(&self) -> Vec<T> {
        self.held.values().map(|held| held.handle.clone()).collect()
    }
}

impl<T> Held<T> {
    /// How long it has had more than its time; `None` if it has not.
    fn dawdles(&self, now: Instant) -> Option<Duration> {
        let grace = match self.phase {
            Phase::Request => GRACE,
            Phase::Answer => ANSWER_GRACE,
            Phase::Leaving => Duration::ZERO,
            Phase::Page | Phase::Ended => return None,
        };
        now.saturating_duration_since(self.since).checked_sub(grace)
    }
}

#[cfg(test)]
#[allow(clippy::panic)] // in a test it is the report
mod tests {
    use super::*;

    const LOCAL: [u8; 4] = [127, 0, 0, 1];

    fn at(start: Instant, millis: u64) -> Instant {
        start + Duration::from_millis(millis)
    }

    #[test]
    fn loopback_has_places_that_others_cannot_take() {
        let (mut slots, now) = (Slots::new(10, 2, 100), Instant::now());
        for n in 0..8 {
            assert!(matches!(slots.admit([192, 0, 2, n].into(), now, &n), Admission::Taken(_)), "{n}");
        }
        assert_eq!(slots.admit([192, 0, 2, 9].into(), now, &9), Admission::Full);
        assert!(matches!(slots.admit(LOCAL.into(), now, &20), Admission::Taken(_)));
        assert!(matches!(slots.admit("::1".parse().expect("ip"), now, &21), Admission::Taken(_)));
        assert_eq!(slots.admit(LOCAL.into(), now, &22), Admission::Full, "nobody dawdles yet");
    }

    #[test]
    fn an_address_has_a_part_of_the_places() {
        let (mut slots, now) = (Slots::new(10, 0, 3), Instant::now());
        for n in 0..3u16 {
            let peer = IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, n]);
            assert!(matches!(slots.admit(peer, now, &n), Admission::Taken(_)));
        }
        let peer = IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 99]);
        assert_eq!(slots.admit(peer, now, &3), Admission::Full);
        assert!(matches!(slots.admit(IpAddr::from([0x2001, 0xdb8, 0, 1, 0, 0, 0, 0]), now, &4), Admission::Taken(_)));
        for n in 5..9 {
            assert!(matches!(slots.admit(LOCAL.into(), now, &n), Admission::Taken(_)), "a proxy may be there");
        }
    }

    #[test]
    fn who_dawdles_makes_room_and_nobody_else() {
        let (mut slots, start) = (Slots::new(4, 1, 4), Instant::now());
        let id = |admission| match admission {
            Admission::Taken(id) | Admission::Instead(id, _) => id,
            Admission::Full => panic!("full"),
        };
        let a = id(slots.admit([192, 0, 2, 1].into(), start, &'a'));
        let b = id(slots.admit([192, 0, 2, 2].into(), at(start, 100), &'b'));
        let c = id(slots.admit([192, 0, 2, 3].into(), at(start, 200), &'c'));
        assert!(slots.phase(a, Phase::Page, at(start, 10)));
        assert_eq!(slots.admit([192, 0, 2, 4].into(), at(start, 599), &'d'), Admission::Full);
        let d = slots.admit([192, 0, 2, 4].into(), at(start, 800), &'d');
        assert!(
            matches!(d, Admission::Instead(_, 'b')),
            "{d:?}: the oldest that sends, not the one whose page is made"
        );
        assert!(!slots.phase(b, Phase::Page, at(start, 801)), "it is being cut off");
        assert!(slots.phase(c, Phase::Answer, at(start, 801)));
        assert_eq!(slots.admit([192, 0, 2, 5].into(), at(start, 801), &'e'), Admission::Full, "nobody dawdles now");
        slots.free(b);
        let e = slots.admit([192, 0, 2, 5].into(), at(start, 6000), &'e');
        assert!(matches!(e, Admission::Instead(_, 'd')), "{e:?}");
        assert_eq!(slots.len(), 4);
    }

    #[test]
    fn remote_clients_do_not_push_local_ones_out() {
        let (mut slots, start) = (Slots::new(2, 1, 4), Instant::now());
        slots.admit(LOCAL.into(), start, &1);
        slots.admit(LOCAL.into(), start, &2);
        assert_eq!(slots.admit([192, 0, 2, 5].into(), at(start, 9000), &3), Admission::Full);
        assert!(matches!(slots.admit(LOCAL.into(), at(start, 9000), &4), Admission::Instead(..)));
    }
}
