//! What will happen, in order: the earliest first, and of one instant what was scheduled first.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use fednode::core::types::Time;

use crate::world::event::Event;

/// Most events are due a constant time after they are scheduled, so that each kind comes in its order by itself: so many
/// queues hold nearly all, and a heap holds what fits in none.
const QUEUES: usize = 6;

/// When, of one instant in which order, and where the event lies.
type Due = (Time, u64, u32);

/// What will happen. Heap and queues hold places only, as events are large and a heap moves what it holds about.
#[derive(Default)]
pub struct Agenda {
    queues: [VecDeque<Due>; QUEUES],
    heap: BinaryHeap<Reverse<Due>>,
    events: Vec<Option<Event>>,
    free: Vec<u32>,
    sequence: u64,
    /// What is due first, and in which queue; `None`: in the heap.
    first: Option<(Due, Option<usize>)>,
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
        // The queue whose last is the latest that is not later, so that the others stay open for what is due sooner.
        let open = self.queues.iter_mut().enumerate().filter(|(_, queue)| queue.back().is_none_or(|last| last.0 <= at));
        let queue = match open.max_by_key(|(_, queue)| queue.back().map(|last| last.0)) {
            Some((index, queue)) => {
                queue.push_back(due);
                Some(index)
            }
            None => {
                self.heap.push(Reverse(due));
                None
            }
        };
        if self.first.is_none_or(|(first, _)| due < first) {
            self.first = Some((due, queue));
        }
    }

    /// When the next event happens.
    pub fn next(&self) -> Option<Time> {
        self.first.map(|(due, _)| due.0)
    }

    /// The next event, if it happens by `end`.
    pub fn pop(&mut self, end: Time) -> Option<(Time, Event)> {
        let ((at, _, place), queue) = self.first.filter(|(due, _)| due.0 <= end)?;
        match queue {
            Some(queue) => drop(self.queues[queue].pop_front()),
            None => drop(self.heap.pop()),
        }
        self.first = self.find_first();
        self.free.push(place);
        self.events[place as usize].take().map(|event| (at, event))
    }

    fn find_first(&self) -> Option<(Due, Option<usize>)> {
        let queues = self.queues.iter().enumerate();
        let queued = queues.filter_map(|(index, queue)| queue.front().map(|due| (*due, Some(index))));
        queued.chain(self.heap.peek().map(|Reverse(due)| (*due, None))).min_by_key(|(due, _)| *due)
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
