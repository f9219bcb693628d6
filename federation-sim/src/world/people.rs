//! What people do: they begin, ask, wait, and ask again. Somebody whose machine is off asks nothing.

use fednode::core::types::Time;

use crate::world::World;
use crate::world::event::Event;
use crate::world::serving::{Origin, Question};

impl World {
    pub(super) fn session_begins(&mut self) {
        if self.calm {
            return;
        }
        if let Some((session, begun)) = self.people.begin() {
            let node = begun.node;
            self.at(self.now, Event::Question { node, session });
        }
        let pause = self.people.pause();
        self.after(pause, Event::SessionBegins);
    }

    /// The next question of the recording is asked, and the one after it waits for its time.
    pub(super) fn recorded(&mut self, index: usize) {
        if self.calm {
            return;
        }
        let Some(asked) = self.run.questions.get(index) else { return };
        let (node, session) = (asked.node, self.people.recorded(asked));
        self.at(self.now, Event::Question { node, session });
        self.record_waits(index + 1);
    }

    pub(super) fn record_waits(&mut self, index: usize) {
        if let Some(asked) = self.run.questions.get(index) {
            self.at(Time(asked.at_ms.saturating_mul(1_000_000)), Event::Recorded { index });
        }
    }

    pub(super) fn question(&mut self, node: usize, session: u64) {
        if self.calm || self.nodes[node].process.is_none() {
            return self.people.end(session);
        }
        let Some((known, prompt_tokens, tokens)) = self.people.question(session) else { return };
        // A manager that is an adapter of another one's model is served by that one's replicas.
        let Some(seat) = self.published.roster.seat(&known.slot, known.domain.as_ref()) else { return };
        let question = Question { slot: seat.slot, domain: seat.domain, prompt_tokens, tokens };
        self.stats.asked += 1;
        self.checkers.person_asks(self.now, node, session);
        self.asked_to_generate(node, question, Origin::Person { session });
    }

    pub(super) fn person_answered(&mut self, node: usize, session: u64, failure: Option<&'static str>) {
        self.checkers.person_hears(self.now, node, session);
        match failure {
            None => self.stats.answered += 1,
            Some(code) => *self.stats.failed.entry(code).or_default() += 1,
        }
        if let Some(pause) = self.people.answered(session) {
            self.after(pause, Event::Question { node, session });
        }
    }
}
