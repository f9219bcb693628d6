//! What is counted of requests and loads on their way through the loop, for the view and `/metrics`. The core's own counters stay
//! the core's; here is what only a clock beside it can tell.

use crate::core::machine::Input;
use crate::core::route::Tokens;
use crate::core::types::Duration;
use crate::core::view::{LoadsView, Spread, State};

/// All of it, since the node started.
#[derive(Debug, Default)]
pub struct Figures {
    first_token: Spread,
    duration: Spread,
    prompt_tokens: u64,
    answer_tokens: u64,
    loads: LoadsView,
}

impl Figures {
    /// An input on its way to the core. `age` is that of the request it speaks of; `None` for a member's, which counts where it
    /// came in.
    pub fn note(&mut self, input: &Input, age: Option<Duration>) {
        match (input, age) {
            (Input::RequestStarted(_), Some(age)) => self.first_token.note(age.as_millis()),
            (Input::RequestAnswered(_, tokens), Some(age)) => self.answered(age, *tokens),
            (Input::RequestEnded(_, true), Some(age)) => self.duration.note(age.as_millis()),
            (Input::Loaded(_, Ok(_)), _) => self.loads.done += 1,
            (Input::Loaded(_, Err(_)), _) => self.loads.failed += 1,
            (Input::Unloaded(_), _) => self.loads.unloaded += 1,
            (Input::ReplicaDied(..), _) => self.loads.died += 1,
            _ => {}
        }
    }

    fn answered(&mut self, age: Duration, tokens: Tokens) {
        self.duration.note(age.as_millis());
        self.prompt_tokens += u64::from(tokens.prompt);
        self.answer_tokens += u64::from(tokens.answer);
    }

    /// Says it in the view.
    pub fn tell(&self, state: &mut State) {
        let requests = &mut state.requests;
        (requests.first_token, requests.duration) = (self.first_token.clone(), self.duration.clone());
        (requests.prompt_tokens, requests.answer_tokens) = (self.prompt_tokens, self.answer_tokens);
        state.loads = self.loads;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::residency::{Cause, Death};
    use crate::core::types::SlotName;

    #[test]
    fn only_requests_that_came_in_here_are_timed() {
        let mut figures = Figures::default();
        let tokens = Tokens { prompt: 11, answer: 3 };
        figures.note(&Input::RequestStarted(1), None);
        figures.note(&Input::RequestAnswered(1, tokens), None);
        figures.note(&Input::RequestStarted(2), Some(Duration::from_millis(7)));
        figures.note(&Input::RequestAnswered(2, tokens), Some(Duration::from_millis(400)));
        figures.note(&Input::RequestEnded(3, false), Some(Duration::from_millis(400)));
        let mut state = State::default();
        figures.tell(&mut state);
        let requests = &state.requests;
        assert_eq!((requests.first_token.count(), requests.first_token.sum_ms), (1, 7));
        assert_eq!((requests.duration.count(), requests.duration.sum_ms), (1, 400));
        assert_eq!((requests.prompt_tokens, requests.answer_tokens), (11, 3));
    }

    #[test]
    fn loads_are_told_apart_by_how_they_ended() {
        let mut figures = Figures::default();
        let slot = || SlotName::new("UCM").expect("a name");
        let death = || Death { why: String::new(), cause: Cause::Broke, taken_bytes: 0 };
        figures.note(&Input::Loaded(slot(), Ok(7)), None);
        figures.note(&Input::Loaded(slot(), Err(death())), None);
        figures.note(&Input::Unloaded(slot()), None);
        figures.note(&Input::ReplicaDied(slot(), death()), None);
        let mut state = State::default();
        figures.tell(&mut state);
        assert_eq!(state.loads, LoadsView { done: 1, failed: 1, unloaded: 1, died: 1 });
    }
}
