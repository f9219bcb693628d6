//! What will happen, in order: the earliest first, and of one instant what was scheduled first.

use std::cmp::Reverse;
use std::collections::binary_heap::PeekMut;
use std::collections::{BTreeMap, BinaryHeap};

use fednode::core::types::Time;

use crate::world::event::Event;

/// When, of one instant in which order, and where the event lies.
type Due = (Time, u64, u32);

/// What will happen. A heap orders what is due next, and nothing else: it stays small, and in the processor's cache. What is due
/// later waits unordered with what is due at about the same time. Both hold places only, as events are large.
#[derive(Default)]
pub struct Agenda {
    soon: BinaryHeap<Reverse<Due>>,
    /// By span of time, all of them after what is in the heap.
    later: BTreeMap<u64, Vec<Due>>,
    /// The first span that is not in the heap.
    span: u64,
    events: Vec<Option<Event>>,
    free: Vec<u32>,
    sequence: u64,
}

/// The span of time that `at` belongs to: about a millisecond.
fn span_of(at: Time) -> u64 {
    at.0 >> 20
}

impl Agenda {
    /// Adds an event.
    pub fn push(&mut self, at: Time, event: Event) {
        self.sequence += 1;
        let place = match self.free.pop() {
            Some(place) => {
                self.events[place as usize] = Some(event);
                place
            }
            None => {
                self.events.push(Some(event));
                (self.events.len() - 1) as u32
            }
        };
        let due = (at, self.sequence, place);
        match span_of(at) {
            span if span < self.span || self.soon.is_empty() && self.later.is_empty() => {
                self.span = self.span.max(span + 1);
                self.soon.push(Reverse(due));
            }
            span => self.later.entry(span).or_default().push(due),
        }
    }

    /// When the next event happens.
    pub fn next(&self) -> Option<Time> {
        self.soon.peek().map(|Reverse((at, _, _))| *at)
    }

    /// The next event, if it happens by `end`.
    pub fn pop(&mut self, end: Time) -> Option<(Time, Event)> {
        let next = self.soon.peek_mut().filter(|next| next.0.0 <= end)?;
        let Reverse((at, _, place)) = PeekMut::pop(next);
        if self.soon.is_empty()
            && let Some((span, due)) = self.later.pop_first()
        {
            self.span = span + 1;
            self.soon.extend(due.into_iter().map(Reverse));
        }
        self.free.push(place);
        self.events[place as usize].take().map(|event| (at, event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_in_time_and_of_one_instant_in_the_order_of_scheduling() {
        let mut agenda = Agenda::default();
        let mut random = crate::rng::Rng::new(7, "agenda");
        let mut expected = Vec::new();
        let mut now = 0;
        let mut came = Vec::new();
        for node in 0..2_000 {
            // Some kinds of events have one delay each, the rest any.
            let wait = match random.below(4) {
                0 => 30,
                1 => 2,
                2 => 0,
                _ => random.below(40),
            };
            agenda.push(Time(now + wait), Event::Recorded { index: node });
            expected.push((now + wait, node));
            if random.below(2) == 0
                && let Some((at, Event::Recorded { index })) = agenda.pop(Time(now + 1))
            {
                assert!(at.0 >= now);
                now = at.0;
                came.push((at.0, index));
            }
        }
        while let Some((at, Event::Recorded { index })) = agenda.pop(Time(u64::MAX)) {
            came.push((at.0, index));
        }
        expected.sort();
        assert_eq!(came, expected);
        assert_eq!(agenda.next(), None);
    }
}
