//! The child's way of sending one answer. The thread that computes never waits for a slow listener: text that finds no
//! room is joined with the text after it, and the last events wait on the async side. Bounded by the answer's length.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use fednode_proto::v1;
use fednode_proto::v1::generate_event::Event;
use futures::Stream;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::{CODE_ENGINE_FAILED, error_event};
use crate::core::limits::ENGINE_EVENTS_MAX;

type Sent = Result<v1::GenerateEvent, tonic::Status>;

/// The sending end of one answer. Dropped without an end, it says that the engine failed.
pub(super) struct Reply {
    events: mpsc::Sender<Sent>,
    pending: String,
    /// Of the tokens of `pending`.
    logprobs: Vec<v1::TokenLogprob>,
    cancel: Arc<AtomicBool>,
    runtime: Handle,
    ended: bool,
    /// Dropped with this: how its owner counts requests under way.
    held: Option<Box<dyn Send>>,
}

/// The receiving end; dropping it cancels the computation.
pub(super) struct ReplyStream {
    events: mpsc::Receiver<Sent>,
    cancel: Arc<AtomicBool>,
}

/// Both ends of one answer; `runtime` carries what must wait for room.
pub(super) fn channel(runtime: Handle) -> (Reply, ReplyStream) {
    let (sender, receiver) = mpsc::channel(ENGINE_EVENTS_MAX);
    let cancel = Arc::new(AtomicBool::new(false));
    let reply = Reply {
        events: sender,
        pending: String::new(),
        logprobs: Vec::new(),
        cancel: cancel.clone(),
        runtime,
        ended: false,
        held: None,
    };
    (reply, ReplyStream { events: receiver, cancel })
}

#[cfg_attr(not(feature = "llama"), allow(dead_code, reason = "without an engine only errors are sent"))]
impl Reply {
    /// True once nobody listens.
    pub(super) fn cancel(&self) -> Arc<AtomicBool> {
        self.cancel.clone()
    }

    /// Keeps something until the answer has ended.
    pub(super) fn hold(&mut self, held: Box<dyn Send>) {
        self.held = Some(held);
    }

    /// The prompt is computed. Call once, first.
    pub(super) fn start(&mut self, prompt_tokens: u32, cached_tokens: u32) {
        let start = v1::GenerateStart { prompt_tokens, cached_tokens, ..v1::GenerateStart::default() };
        // The first event always finds room; a failure means that nobody listens, which `cancel` says, too.
        let _ = self.events.try_send(Ok(event(Event::Start(start))));
    }

    /// More of the answer; empty text is nothing.
    pub(super) fn text(&mut self, text: String) {
        self.pending.push_str(&text);
        if self.pending.is_empty() {
            return;
        }
        let count = if self.logprobs.is_empty() { 1 } else { 2 };
        if let Ok(room) = self.events.try_reserve_many(count) {
            let ready = unsent(&mut self.logprobs, &mut self.pending);
            room.zip(ready).for_each(|(room, event)| room.send(Ok(event)));
        }
    }

    /// How likely the token was whose text comes next.
    pub(super) fn logprob(&mut self, token: v1::TokenLogprob) {
        self.logprobs.push(token);
    }

    /// The answer is complete.
    pub(super) fn end(mut self, end: v1::GenerateEnd) {
        self.finish([event(Event::End(end))]);
    }

    /// A task is done, and this came of it.
    pub(super) fn done(mut self, result: v1::TaskReply) {
        let end = v1::GenerateEnd { finish_reason: "stop".to_owned(), ..v1::GenerateEnd::default() };
        self.finish([event(Event::Reply(result)), event(Event::End(end))]);
    }

    /// There is no answer, or no more of it.
    pub(super) fn error(mut self, code: &str, message: impl Into<String>) {
        self.finish([error_event(code, message)]);
    }

    /// Nobody listens: nothing is to be said.
    pub(super) fn abandon(mut self) {
        self.ended = true;
    }

    fn finish(&mut self, last: impl IntoIterator<Item = v1::GenerateEvent>) {
        self.ended = true;
        let mut rest = unsent(&mut self.logprobs, &mut self.pending);
        rest.extend(last);
        let events = self.events.clone();
        self.runtime.spawn(async move {
            for event in rest {
                // Whoever stopped listening needs no more.
                if events.send(Ok(event)).await.is_err() {
                    return;
                }
            }
        });
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if !self.ended {
            self.finish([error_event(CODE_ENGINE_FAILED, "the engine gave up this request")]);
        }
    }
}

impl Stream for ReplyStream {
    type Item = Sent;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Sent>> {
        self.events.poll_recv(context)
    }
}

impl Drop for ReplyStream {
    fn drop(&mut self) {
        self.cancel.store(true, Ordering::Relaxed);
    }
}

/// What is to be sent, log-probabilities before their text.
fn unsent(logprobs: &mut Vec<v1::TokenLogprob>, text: &mut String) -> Vec<v1::GenerateEvent> {
    let tokens = std::mem::take(logprobs);
    let logprobs = (!tokens.is_empty()).then(|| event(Event::Logprobs(v1::TokenLogprobs { tokens })));
    let text = std::mem::take(text);
    let text = (!text.is_empty()).then(|| event(Event::Text(text)));
    logprobs.into_iter().chain(text).collect()
}

fn event(event: Event) -> v1::GenerateEvent {
    v1::GenerateEvent { event: Some(event) }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;

    use super::*;

    #[tokio::test]
    async fn a_slow_listener_gets_the_whole_text_and_one_end() {
        let (mut reply, stream) = channel(Handle::current());
        reply.start(3, 0);
        for n in 0..ENGINE_EVENTS_MAX * 3 {
            reply.text(format!("{n},"));
        }
        reply.end(v1::GenerateEnd { finish_reason: "stop".to_owned(), completion_tokens: 7, prompt_tokens: 0 });

        let events: Vec<_> = stream.map(|event| event.unwrap().event.unwrap()).collect().await;
        let text: String =
            events.iter().filter_map(|e| if let Event::Text(text) = e { Some(text.as_str()) } else { None }).collect();
        let expect: String = (0..ENGINE_EVENTS_MAX * 3).map(|n| format!("{n},")).collect();
        assert_eq!(text, expect);
        assert!(matches!(events[0], Event::Start(_)));
        assert!(matches!(events.last(), Some(Event::End(_))));
        assert_eq!(events.iter().filter(|e| matches!(e, Event::End(_) | Event::Error(_))).count(), 1);
    }

    #[tokio::test]
    async fn dropping_the_stream_cancels() {
        let (reply, stream) = channel(Handle::current());
        let cancel = reply.cancel();
        assert!(!cancel.load(Ordering::Relaxed));
        drop(stream);
        assert!(cancel.load(Ordering::Relaxed));
    }

    #[tokio::test]
    async fn an_answer_given_up_ends_in_an_error() {
        let (reply, mut stream) = channel(Handle::current());
        drop(reply);
        let last = stream.next().await.unwrap().unwrap().event.unwrap();
        assert!(matches!(last, Event::Error(error) if error.code == CODE_ENGINE_FAILED));
        assert!(stream.next().await.is_none());
    }
}
