//! Continuous batching: requests come and go while the model computes one step after the other for all of them. Knows no model:
//! a [`Decoder`] computes, an [`Answer`] chooses tokens and tells whoever asked.
//!
//! Each request has a *place*, a sequence of the model's KV cache. A place keeps what it computed when its request has ended: a
//! follow-up of the same conversation goes on from there. A place belongs to one adapter at a time, because keys and values
//! depend on it; a step computes for one adapter, and adapters take turns.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::core::limits::ENGINE_PROMPT_TOKENS_SHARED;

/// A token of the model's vocabulary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Token(pub u32);

/// A token to compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub token: Token,
    /// Tokens before it in its sequence.
    pub position: u32,
    pub sequence: u32,
    /// Is what comes after it asked for?
    pub output: bool,
}

/// What computes.
pub(super) trait Decoder {
    type Error;
    /// Most tokens of one step.
    fn batch_max(&self) -> usize;
    /// Computes one step with an adapter, or the base alone. Ends early when all `cancels` are set.
    fn decode(
        &mut self,
        adapter: Option<usize>,
        entries: &[Entry],
        cancels: Vec<Arc<AtomicBool>>,
    ) -> Result<(), Self::Error>;
    /// Forgets what was computed of a sequence, from a position on.
    fn forget(&mut self, sequence: u32, from: u32);
    /// Did the step end because nobody wanted it?
    fn is_cancelled(error: &Self::Error) -> bool;
}

/// What is done with a request's tokens. It tells whoever asked; here only its end matters.
pub(super) trait Answer<D: Decoder> {
    /// Set when nobody listens any more.
    fn cancel(&self) -> Arc<AtomicBool>;
    /// The prompt is computed; `cached_tokens` of it were before.
    fn begin(&mut self, prompt_tokens: u32, cached_tokens: u32);
    /// Chooses the token after the step's entry at `output`; `None` when the answer is complete, and told.
    fn next(&mut self, decoder: &mut D, output: usize) -> Option<Token>;
    /// There will be no more of it.
    fn fail(self, error: &D::Error);
    /// Nobody listens.
    fn abandon(self);
}

/// See the top of this file.
pub(super) struct Batching<A> {
    places: Vec<Place<A>>,
    /// The adapter of the last step.
    last: Option<usize>,
    /// Counts requests.
    clock: u64,
}

struct Place<A> {
    /// What the KV cache holds of this sequence.
    kept: Vec<Token>,
    adapter: Option<usize>,
    /// When its last request came.
    used: u64,
    running: Option<Running<A>>,
}

struct Running<A> {
    answer: A,
    prompt: Vec<Token>,
    cached: u32,
    /// The token that was chosen last and is not computed yet; `None` while the prompt is being computed.
    chosen: Option<Token>,
}

/// What one place has in a step.
struct Part {
    place: usize,
    tokens: Vec<Token>,
    /// Index of the entry whose output is looked at.
    output: Option<usize>,
}

impl<A> Batching<A> {
    /// As many places as the KV cache has sequences.
    pub(super) fn new(sequences: u32) -> Batching<A> {
        let place = || Place { kept: Vec::new(), adapter: None, used: 0, running: None };
        Batching { places: (0..sequences.max(1)).map(|_| place()).collect(), last: None, clock: 0 }
    }

    /// Is there a place for one more request?
    pub(super) fn has_room(&self) -> bool {
        self.places.iter().any(|place| place.running.is_none())
    }

    /// Does nobody wait for a step?
    pub(super) fn is_idle(&self) -> bool {
        self.places.iter().all(|place| place.running.is_none())
    }

    /// Starts a request; its prompt has at least one token. Call only when there is room.
    pub(super) fn start<D>(&mut self, decoder: &mut D, adapter: Option<usize>, prompt: Vec<Token>, answer: A)
    where
        D: Decoder,
        A: Answer<D>,
    {
        self.clock += 1;
        let Some((at, shared)) = self.choose(adapter, &prompt) else { return answer.abandon() };
        decoder.forget(at as u32, shared as u32);
        let place = &mut self.places[at];
        place.kept.truncate(shared);
        (place.adapter, place.used) = (adapter, self.clock);
        place.running = Some(Running { answer, prompt, cached: shared as u32, chosen: None });
    }

    /// A free sequence, with nothing in it, for something else than an answer.
    pub(super) fn borrow<D: Decoder>(&mut self, decoder: &mut D) -> Option<u32> {
        let free = self.places.iter().enumerate().filter(|(_, place)| place.running.is_none());
        let (at, _) = free.min_by_key(|(_, place)| place.used)?;
        self.places[at].kept.clear();
        decoder.forget(at as u32, 0);
        Some(at as u32)
    }

    /// The free place that goes on with most of what it holds, and how much; else the one that was idle longest. A place that
    /// would lose most of what it holds is left to its own conversation.
    fn choose(&self, adapter: Option<usize>, prompt: &[Token]) -> Option<(usize, usize)> {
        let shared = |place: &Place<A>| {
            // The last token is computed in any case: the first of the answer comes out of it.
            let same = place.kept.iter().zip(&prompt[..prompt.len() - 1]).take_while(|(a, b)| a == b).count();
            if place.adapter == adapter && same * 2 >= place.kept.len() { same } else { 0 }
        };
        let free = self.places.iter().enumerate().filter(|(_, place)| place.running.is_none());
        let free = free.map(|(at, place)| (at, shared(place), place.used));
        let best = free.max_by_key(|&(at, shared, used)| (shared, std::cmp::Reverse((used, at))));
        best.map(|(at, shared, _)| (at, shared))
    }

    /// Computes one step.
    pub(super) fn step<D>(&mut self, decoder: &mut D)
    where
        D: Decoder,
        A: Answer<D>,
    {
        self.drop_cancelled();
        let Some(adapter) = self.next_adapter() else { return };
        self.last = adapter;
        let (entries, parts) = self.entries(adapter, decoder.batch_max());
        let cancels = parts.iter().filter_map(|part| self.places[part.place].running.as_ref());
        let cancels = cancels.map(|running| running.answer.cancel()).collect();
        match decoder.decode(adapter, &entries, cancels) {
            Ok(()) => {
                for part in parts {
                    self.advance(decoder, part);
                }
            }
            // What a step that failed has left is not known.
            Err(error) => parts.iter().for_each(|part| self.fail(decoder, part.place, &error)),
        }
    }

    fn drop_cancelled<D>(&mut self)
    where
        D: Decoder,
        A: Answer<D>,
    {
        for place in &mut self.places {
            let gone = place.running.as_ref().is_some_and(|running| running.answer.cancel().load(Ordering::Relaxed));
            if let Some(running) = place.running.take_if(|_| gone) {
                running.answer.abandon();
            }
        }
    }

    /// The one after the last, of those that have something to compute.
    fn next_adapter(&self) -> Option<Option<usize>> {
        let running = self.places.iter().filter(|place| place.running.is_some());
        let wanted: BTreeSet<Option<usize>> = running.map(|place| place.adapter).collect();
        wanted.iter().find(|&&adapter| adapter > self.last).or_else(|| wanted.first()).copied()
    }

    /// The tokens of one step: the next of each answer, and as much of the prompts as there is room for, the oldest first. While
    /// answers are under way prompts come in small parts: nobody's answer stands still for as long as a long prompt takes.
    fn entries(&self, adapter: Option<usize>, batch_max: usize) -> (Vec<Entry>, Vec<Part>) {
        let (mut entries, mut parts) = (Vec::new(), Vec::new());
        let mut add = |at: usize, tokens: &[Token], ends: bool| {
            let before = self.places[at].kept.len();
            for (n, &token) in tokens.iter().enumerate() {
                let output = ends && n + 1 == tokens.len();
                entries.push(Entry { token, position: (before + n) as u32, sequence: at as u32, output });
            }
            let output = ends.then(|| entries.len() - 1);
            parts.push(Part { place: at, tokens: tokens.to_vec(), output });
            entries.len()
        };
        let running = |at: usize| self.places[at].running.as_ref().filter(|_| self.places[at].adapter == adapter);
        let mut used = 0;
        for at in 0..self.places.len() {
            let chosen = running(at).and_then(|running| running.chosen).filter(|_| used < batch_max);
            if let Some(token) = chosen {
                used = add(at, &[token], true);
            }
        }
        let answers = self.places.iter().filter_map(|place| place.running.as_ref()).any(|r| r.chosen.is_some());
        let share = if answers { ENGINE_PROMPT_TOKENS_SHARED } else { batch_max };
        let room_end = batch_max.min(used + share);
        let mut prompts: Vec<usize> =
            (0..self.places.len()).filter(|&at| running(at).is_some_and(|r| r.chosen.is_none())).collect();
        prompts.sort_by_key(|&at| self.places[at].used);
        for at in prompts {
            let (Some(running), room) = (running(at), room_end.saturating_sub(used)) else { continue };
            let rest = &running.prompt[self.places[at].kept.len()..];
            let part = &rest[..rest.len().min(room)];
            if !part.is_empty() {
                used = add(at, part, part.len() == rest.len());
            }
        }
        (entries, parts)
    }

    /// A step of this place is done.
    fn advance<D>(&mut self, decoder: &mut D, part: Part)
    where
        D: Decoder,
        A: Answer<D>,
    {
        let place = &mut self.places[part.place];
        place.kept.extend(part.tokens);
        let (Some(output), Some(running)) = (part.output, &mut place.running) else { return };
        if running.chosen.is_none() {
            running.answer.begin(running.prompt.len() as u32, running.cached);
        }
        running.chosen = running.answer.next(decoder, output);
        if running.chosen.is_none() {
            place.running = None;
        }
    }

    fn fail<D>(&mut self, decoder: &mut D, at: usize, error: &D::Error)
    where
        D: Decoder,
        A: Answer<D>,
    {
        decoder.forget(at as u32, 0);
        let place = &mut self.places[at];
        place.kept.clear();
        if let Some(running) = place.running.take() {
            match D::is_cancelled(error) {
                true => running.answer.abandon(),
                false => running.answer.fail(error),
            }
        }
    }
}

#[cfg(test)]
mod tests;
