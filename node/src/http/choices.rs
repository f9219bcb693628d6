//! The choices of one request, each a request of its own to the backend, with their events in the order in which they come.
//! Dropping them cancels all.

use std::collections::VecDeque;

use fednode_proto::v1;
use fednode_proto::v1::generate_event::Event as Generated;
use futures::stream::{BoxStream, SelectAll, StreamExt};

use super::{ApiError, Backend, StartInfo};

/// What the fields are called that an engine may find fault with.
#[derive(Clone, Copy)]
pub(super) struct Names {
    pub prompt: &'static str,
    pub schema: &'static str,
}

impl Names {
    fn of(self, error: ApiError) -> ApiError {
        let name = match error.code {
            "context_length_exceeded" => self.prompt,
            "invalid_schema" => self.schema,
            _ => return error,
        };
        ApiError { param: Some(name.to_owned()), ..error }
    }
}

/// Some text, and how likely its tokens were if that was asked for.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Piece {
    pub text: String,
    pub logprobs: Vec<v1::TokenLogprob>,
}

/// What happens to one choice, in this order.
#[derive(Debug)]
pub(super) enum Step {
    Started(Box<StartInfo>),
    Piece(Piece),
    /// Of a task, before its end.
    Reply(v1::TaskReply),
    Ended(v1::GenerateEnd),
}

type Steps = BoxStream<'static, (usize, Result<Step, ApiError>)>;

/// All choices that have not ended.
pub(super) struct Choices {
    steps: SelectAll<Steps>,
    /// Looked at and not yet taken.
    seen: VecDeque<(usize, Result<Step, ApiError>)>,
}

impl Choices {
    /// Asks the backend for all of them.
    pub(super) fn ask<B: Backend>(backend: &B, requests: Vec<v1::GenerateRequest>, names: Names) -> Choices {
        let one = |(index, request): (usize, v1::GenerateRequest)| {
            let steps = steps(backend.clone(), request);
            steps.map(move |step| (index, step.map_err(|error| names.of(error)))).boxed()
        };
        let steps = futures::stream::select_all(requests.into_iter().enumerate().map(one));
        Choices { steps, seen: VecDeque::new() }
    }

    /// The next step of any of them; `None` when all have ended. After an error nothing of the others is of use.
    pub(super) async fn next(&mut self) -> Option<(usize, Result<Step, ApiError>)> {
        match self.seen.pop_front() {
            Some(step) => Some(step),
            None => self.steps.next().await,
        }
    }

    /// Waits until the first of them has begun: who answers it, or why nobody does.
    pub(super) async fn started(&mut self) -> Result<StartInfo, ApiError> {
        if self.seen.is_empty()
            && let Some(step) = self.steps.next().await
        {
            self.seen.push_back(step);
        }
        match self.seen.front() {
            Some((_, Ok(Step::Started(start)))) => Ok((**start).clone()),
            Some((_, Err(error))) => Err(error.clone()),
            _ => Err(ApiError::from_code("engine_failed", "the answer did not begin as answers do")),
        }
    }

    /// All of them to their end.
    pub(super) async fn gather(mut self) -> Result<Vec<Gathered>, ApiError> {
        let mut all: Vec<Gathered> = Vec::new();
        while let Some((index, step)) = self.next().await {
            if all.len() <= index {
                all.resize_with(index + 1, Gathered::default);
            }
            let choice = &mut all[index];
            match step? {
                Step::Started(start) => choice.start = *start,
                Step::Piece(piece) => {
                    choice.text.push_str(&piece.text);
                    choice.logprobs.extend(piece.logprobs);
                }
                Step::Reply(reply) => choice.reply = reply.reply,
                Step::Ended(end) => choice.end = end,
            }
        }
        Ok(all)
    }
}

/// A choice as a whole.
#[derive(Default)]
pub(super) struct Gathered {
    pub start: StartInfo,
    pub text: String,
    pub logprobs: Vec<v1::TokenLogprob>,
    pub reply: Option<v1::task_reply::Reply>,
    pub end: v1::GenerateEnd,
}

fn steps<B: Backend>(
    backend: B,
    request: v1::GenerateRequest,
) -> impl futures::Stream<Item = Result<Step, ApiError>> + Send + 'static {
    async_stream::try_stream! {
        let generation = backend.generate(request).await?;
        yield Step::Started(Box::new(generation.start));
        let mut events = generation.events;
        let mut logprobs = Vec::new();
        loop {
            match events.recv().await.map(|event| event.event) {
                Some(Some(Generated::Text(text))) => {
                    yield Step::Piece(Piece { text, logprobs: std::mem::take(&mut logprobs) });
                }
                // They come before their text.
                Some(Some(Generated::Logprobs(more))) => logprobs.extend(more.tokens),
                Some(Some(Generated::Reply(reply))) => yield Step::Reply(reply),
                Some(Some(Generated::Error(error))) => Err(ApiError::from(error))?,
                Some(Some(Generated::End(end))) => {
                    if !logprobs.is_empty() {
                        yield Step::Piece(Piece { text: String::new(), logprobs: std::mem::take(&mut logprobs) });
                    }
                    yield Step::Ended(end);
                    break;
                }
                // The backend has read the start; an event of a later version says nothing to this one.
                Some(Some(Generated::Start(_)) | None) => {}
                None => {
                    let message =
                        "the answer broke off: its replica or the connection to it ended; send the request again";
                    Err(ApiError::from_code("engine_failed", message))?;
                }
            }
        }
    }
}

/// Tokens that were read and written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tokens {
    pub prompt: u32,
    /// Of the prompt, not computed again.
    pub cached: u32,
    pub completion: u32,
}

/// Counts what a request has cost, when each prompt has `per_prompt` choices: a prompt counts once.
#[derive(Clone, Debug)]
pub(super) struct Count {
    per_prompt: usize,
    prompts: Vec<Tokens>,
}

impl Count {
    pub(super) fn new(per_prompt: usize) -> Count {
        Count { per_prompt, prompts: Vec::new() }
    }

    pub(super) fn started(&mut self, choice: usize, start: &StartInfo) {
        let of = self.of(choice);
        // The first choice computes the prompt for all.
        if of.prompt == 0 {
            (of.prompt, of.cached) = (start.prompt_tokens, start.cached_tokens);
        }
    }

    /// Some engines say only at the end how long the prompt was.
    pub(super) fn ended(&mut self, choice: usize, end: &v1::GenerateEnd) {
        let of = self.of(choice);
        of.prompt = of.prompt.max(end.prompt_tokens);
        of.completion = of.completion.saturating_add(end.completion_tokens);
    }

    fn of(&mut self, choice: usize) -> &mut Tokens {
        let index = choice / self.per_prompt.max(1);
        if self.prompts.len() <= index {
            self.prompts.resize(index + 1, Tokens::default());
        }
        &mut self.prompts[index]
    }

    /// Of gathered choices.
    pub(super) fn of_all(choices: &[Gathered], per_prompt: usize) -> Tokens {
        let mut count = Count::new(per_prompt);
        for (index, choice) in choices.iter().enumerate() {
            count.started(index, &choice.start);
            count.ended(index, &choice.end);
        }
        count.total()
    }

    pub(super) fn total(&self) -> Tokens {
        self.prompts.iter().fold(Tokens::default(), |sum, one| Tokens {
            prompt: sum.prompt.saturating_add(one.prompt),
            cached: sum.cached.saturating_add(one.cached),
            completion: sum.completion.saturating_add(one.completion),
        })
    }
}
