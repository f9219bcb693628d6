//! The last minutes of a node in few numbers, for charts: one sample every few seconds, and not more than so many.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::{Spread, State};

/// Samples that are kept: twenty minutes of them, in some 30 KiB of JSON.
pub const SAMPLES_MAX: usize = 240;

/// What went through a node between two looks.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Sample {
    /// When it was taken, seconds since the Unix epoch.
    pub unix_s: u64,
    /// Requests that ended well.
    pub done: u64,
    /// Requests that ended with an error.
    pub failed: u64,
    /// Requests open at that moment.
    pub in_flight: u64,
    /// Tokens of answers.
    pub answer_tokens: u64,
    /// From question to first token, on average, milliseconds; `None`: there was none.
    pub first_token_ms: Option<u64>,
    /// The same to the end of the answer.
    pub duration_ms: Option<u64>,
    /// Managers brought into memory.
    pub loads: u64,
}

/// The last samples, and what the next one is counted from.
#[derive(Debug, Default)]
pub struct History {
    samples: VecDeque<Sample>,
    before: Option<State>,
}

impl History {
    /// One more sample, taken at `unix_s`; the first look has nothing to count from and is none.
    pub fn look(&mut self, unix_s: u64, state: &State) -> Option<&Sample> {
        // What was counted before a restart of the counters is not taken off.
        let slim = State { requests: state.requests.clone(), loads: state.loads, ..State::default() };
        let before = self.before.replace(slim)?;
        let (was, is) = (&before.requests, &state.requests);
        self.samples.push_back(Sample {
            unix_s,
            done: is.done.saturating_sub(was.done),
            failed: is.failed.saturating_sub(was.failed),
            in_flight: is.in_flight,
            answer_tokens: is.answer_tokens.saturating_sub(was.answer_tokens),
            first_token_ms: mean(&was.first_token, &is.first_token),
            duration_ms: mean(&was.duration, &is.duration),
            loads: state.loads.done.saturating_sub(before.loads.done),
        });
        while self.samples.len() > SAMPLES_MAX {
            self.samples.pop_front();
        }
        self.samples.back()
    }

    /// All of them, the oldest first.
    pub fn samples(&self) -> &VecDeque<Sample> {
        &self.samples
    }
}

/// Of those that came between the two.
fn mean(was: &Spread, is: &Spread) -> Option<u64> {
    let count = is.count().checked_sub(was.count()).filter(|count| *count > 0)?;
    Some(is.sum_ms.saturating_sub(was.sum_ms) / count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_says_what_came_since_the_one_before_and_the_oldest_go() {
        let mut state = State::default();
        let mut history = History::default();
        assert_eq!(history.look(1, &state), None, "nothing to count from");
        state.requests.first_token.note(10);
        state.requests.first_token.note(30);
        (state.requests.done, state.requests.in_flight, state.requests.answer_tokens) = (2, 1, 9);
        let expect = Sample {
            unix_s: 2,
            done: 2,
            in_flight: 1,
            answer_tokens: 9,
            first_token_ms: Some(20),
            ..Sample::default()
        };
        assert_eq!(history.look(2, &state), Some(&expect));
        let quiet = Sample { unix_s: 3, in_flight: 1, ..Sample::default() };
        assert_eq!(history.look(3, &state), Some(&quiet));
        for second in 0..2 * SAMPLES_MAX as u64 {
            history.look(10 + second, &state);
        }
        assert_eq!((history.samples().len(), history.samples()[0].unix_s), (SAMPLES_MAX, 10 + SAMPLES_MAX as u64));
    }
}
