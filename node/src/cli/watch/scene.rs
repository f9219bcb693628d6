//! What is watched, at one moment: the last view of the node, what happened lately, and how long it has been silent. Plain data
//! that grows by looks; `draw` makes a screen of it. Times are milliseconds since watching began.

use std::collections::VecDeque;

use crate::core::view::{State, happened};

/// Sentences kept: as many as are shown.
pub(super) const EVENTS_MAX: usize = 10;
/// Requests per second are counted over so long.
const RATE_WINDOW_MS: u64 = 10_000;
/// Looks within that window, at most.
const SAMPLES_MAX: usize = 64;

/// What somebody wants to see.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::cli) enum What {
    /// Everything.
    Status,
    /// What moves, with its sources.
    Transfers,
}

/// A sentence and when it became true.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Told {
    pub at_ms: u64,
    pub text: String,
}

/// The node does not answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Gone {
    pub since_ms: u64,
    /// In the words of the command that looked.
    pub why: String,
}

/// All that a screen is made of, but its size.
#[derive(Clone, Debug)]
pub(super) struct Scene {
    pub what: What,
    /// May colours be used?
    pub colour: bool,
    /// The last look, also while the node is gone.
    pub state: State,
    pub gone: Option<Gone>,
    /// Newest first.
    pub events: VecDeque<Told>,
    /// Now.
    pub now_ms: u64,
    /// Requests that had ended, by look.
    ended: VecDeque<(u64, u64)>,
}

impl Scene {
    /// At the first look.
    pub(super) fn new(what: What, colour: bool, state: State) -> Scene {
        let ended = VecDeque::from([(0, ended(&state))]);
        Scene { what, colour, state, gone: None, events: VecDeque::new(), now_ms: 0, ended }
    }

    /// The node answered. Returns what that told, oldest first.
    pub(super) fn saw(&mut self, now_ms: u64, state: State) -> Vec<String> {
        self.now_ms = now_ms;
        let mut told = Vec::new();
        if let Some(gone) = self.gone.take() {
            told.push(format!("the node answers again after {}", span((now_ms - gone.since_ms) / 1000)));
        }
        told.extend(happened(&self.state, &state));
        self.count(now_ms, &state);
        self.state = state;
        self.remember(&told);
        told
    }

    /// It did not. Returns what is to be told, the first time.
    pub(super) fn missed(&mut self, now_ms: u64, why: &str) -> Vec<String> {
        self.now_ms = now_ms;
        let told = match &mut self.gone {
            Some(gone) => {
                gone.why = why.to_owned();
                return Vec::new();
            }
            None => vec![format!("the node does not answer: {why}")],
        };
        self.gone = Some(Gone { since_ms: now_ms, why: why.to_owned() });
        self.remember(&told);
        told
    }

    /// Requests through this node that ended, thousandths a second, over the last seconds; `None` before the second look.
    pub(super) fn requests_milli_per_s(&self) -> Option<u64> {
        let ((begin_ms, first), (end_ms, last)) = (*self.ended.front()?, *self.ended.back()?);
        let spent_ms = end_ms.checked_sub(begin_ms).filter(|spent| *spent > 0)?;
        Some((last - first).saturating_mul(1_000_000) / spent_ms)
    }

    fn remember(&mut self, told: &[String]) {
        for text in told {
            self.events.push_front(Told { at_ms: self.now_ms, text: text.clone() });
        }
        self.events.truncate(EVENTS_MAX);
    }

    fn count(&mut self, now_ms: u64, state: &State) {
        let ended = ended(state);
        // A node that was restarted counts from zero.
        if self.ended.back().is_some_and(|(_, before)| *before > ended) {
            self.ended.clear();
        }
        self.ended.push_back((now_ms, ended));
        let old = |at_ms: u64| now_ms.saturating_sub(at_ms) > RATE_WINDOW_MS;
        while self.ended.len() > SAMPLES_MAX
            || (self.ended.len() > 2 && self.ended.front().is_some_and(|(at, _)| old(*at)))
        {
            self.ended.pop_front();
        }
    }
}

fn ended(state: &State) -> u64 {
    state.requests.done.saturating_add(state.requests.failed)
}

/// A span of time in its two largest units.
pub(super) fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min {} s", seconds / 60, seconds % 60),
        7200..172_800 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(pid: u32, done: u64) -> State {
        let mut state = State::default();
        state.node.pid = pid;
        state.requests.done = done;
        state
    }

    #[test]
    fn requests_are_counted_over_the_last_seconds_and_again_after_a_restart() {
        let mut scene = Scene::new(What::Status, false, state(1, 100));
        assert_eq!(scene.requests_milli_per_s(), None);
        for second in 1..=20 {
            scene.saw(second * 1000, state(1, 100 + 5 * second));
        }
        assert_eq!(scene.requests_milli_per_s(), Some(5000));
        for second in 21..=40 {
            scene.saw(second * 1000, state(1, 200));
        }
        assert_eq!(scene.requests_milli_per_s(), Some(0), "what was long ago does not count");
        scene.saw(41_000, state(2, 3));
        assert_eq!(scene.requests_milli_per_s(), None);
        scene.saw(43_000, state(2, 4));
        assert_eq!(scene.requests_milli_per_s(), Some(500));
    }

    #[test]
    fn a_silent_node_is_told_once_and_its_return_too() {
        let mut scene = Scene::new(What::Status, false, state(1, 0));
        assert_eq!(scene.missed(1000, "no node is running"), ["the node does not answer: no node is running"]);
        assert_eq!(scene.missed(2000, "no answer"), [""; 0]);
        assert_eq!(scene.gone, Some(Gone { since_ms: 1000, why: "no answer".to_owned() }));
        let back =
            ["the node answers again after 130 s".replace("130 s", "2 min 10 s"), "the node was restarted".to_owned()];
        assert_eq!(scene.saw(131_000, state(2, 0)), back);
        assert_eq!((scene.gone.clone(), scene.events.len()), (None, 3));
        assert_eq!(scene.events[0].text, "the node was restarted", "the newest comes first");
    }

    #[test]
    fn only_the_last_sentences_are_kept() {
        let mut scene = Scene::new(What::Status, false, state(1, 0));
        for pid in 2..40 {
            scene.saw(u64::from(pid), state(pid, 0));
        }
        assert_eq!((scene.events.len(), scene.events[0].at_ms), (EVENTS_MAX, 39));
    }

    #[test]
    fn spans_have_two_units() {
        for (seconds, expect) in [(7, "7 s"), (200, "3 min 20 s"), (7500, "2 h 5 min"), (200_000, "2 d 7 h")] {
            assert_eq!(span(seconds), expect);
        }
    }
}
