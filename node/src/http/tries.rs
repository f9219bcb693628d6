//! Requests without a right key, counted by address: who fails often hears 429 and makes no more noise in the log. A right
//! key is looked at before the count, so that nobody is locked out by a neighbour behind the same address.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::connections::network;
use crate::core::limits;

/// The count of each address, bounded.
#[derive(Default)]
pub(super) struct FailedTries {
    counts: BTreeMap<IpAddr, Count>,
}

struct Count {
    since: Instant,
    tries: u32,
}

/// What a failed try is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// What was wrong.
    Explain,
    /// The same, and it is the last one that is explained: worth a line in the log.
    Last,
    /// Nothing but that it is too many.
    TooMany,
}

impl FailedTries {
    /// Notes a failed try from `address`.
    pub(super) fn failed(&mut self, address: IpAddr, now: Instant) -> Verdict {
        let span = Duration::from_millis(limits::API_KEY_TRIES_SPAN.as_millis());
        let address = network(address);
        let is_over = |count: &Count| now.saturating_duration_since(count.since) >= span;
        if !self.counts.contains_key(&address) && self.counts.len() >= limits::API_KEY_TRIERS_MAX {
            self.counts.retain(|_, count| !is_over(count));
            self.forget_one();
        }
        let count = self.counts.entry(address).or_insert(Count { since: now, tries: 0 });
        if is_over(count) {
            *count = Count { since: now, tries: 0 };
        }
        count.tries = count.tries.saturating_add(1);
        match count.tries {
            tries if tries < limits::API_KEY_TRIES_MAX => Verdict::Explain,
            limits::API_KEY_TRIES_MAX => Verdict::Last,
            _ => Verdict::TooMany,
        }
    }

    fn forget_one(&mut self) {
        if self.counts.len() < limits::API_KEY_TRIERS_MAX {
            return;
        }
        let oldest = self.counts.iter().min_by_key(|(_, count)| count.since).map(|(address, _)| *address);
        oldest.map(|address| self.counts.remove(&address));
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn many_failures_are_told_so_until_the_span_is_over_and_others_are_not() {
        let mut tries = FailedTries::default();
        let begin = Instant::now();
        let bad: IpAddr = "192.168.1.66".parse().unwrap();
        for number in 1..limits::API_KEY_TRIES_MAX {
            assert_eq!(tries.failed(bad, begin), Verdict::Explain, "{number}");
        }
        assert_eq!((tries.failed(bad, begin), tries.failed(bad, begin)), (Verdict::Last, Verdict::TooMany));
        assert_eq!(tries.failed("192.168.1.67".parse().unwrap(), begin), Verdict::Explain);
        let span = Duration::from_millis(limits::API_KEY_TRIES_SPAN.as_millis());
        assert_eq!(tries.failed(bad, begin + span), Verdict::Explain);
    }

    #[test]
    fn the_table_is_bounded_and_forgets_the_longest_known() {
        let mut tries = FailedTries::default();
        let begin = Instant::now();
        let address = |number: usize| IpAddr::V4(Ipv4Addr::from_bits(number as u32));
        for number in 0..=limits::API_KEY_TRIERS_MAX {
            tries.failed(address(number), begin + Duration::from_micros(number as u64));
        }
        assert_eq!(tries.counts.len(), limits::API_KEY_TRIERS_MAX);
        assert!(!tries.counts.contains_key(&address(0)));
    }
}
