//! Requests on their way: from whoever asked (HTTP or another member), through the core's choice of replica, to an engine
//! here or a member's replica, and the tokens back. Tokens pass beside the core, which hears only of beginnings and ends.

use std::collections::BTreeMap;

use fednode_proto::v1;
use fednode_proto::v1::generate_event::Event as Kind;
use tokio::sync::mpsc;

use crate::core::external::{UNVERIFIED, Verification};
use crate::core::limits;
use crate::core::machine::Input;
use crate::core::route::{Ask, Place, Refusal, RequestId, Tokens};
use crate::core::types::{Duration, NodeId, SlotName, Time};
use crate::driver::event_loop::{Event, Events};
use crate::driver::externals::Externals;
use crate::driver::replicas::Replicas;
use crate::driver::traces::{Span, Traces};
use crate::rpc::peers::Peers;
use crate::wire::asking;
use crate::wire::ids::peer_id_text;

/// Answers wait here for slow readers, so that a slow reader never holds an engine: a whole answer of this many tokens fits.
const ANSWER_EVENTS_MAX: usize = 16_384;

/// One request being answered.
struct Waiter {
    request: v1::GenerateRequest,
    answer: mpsc::Sender<v1::GenerateEvent>,
    failure: Option<Refusal>,
    relay: Option<tokio::task::AbortHandle>,
    /// When a client asked it; `None`: a member passed it on.
    asked: Option<Time>,
    span: Span,
    attempt: Option<Span>,
}

/// All by which a request can be answered.
pub struct Ways {
    /// Replicas of this node.
    pub replicas: Replicas,
    /// Servers beside it.
    pub externals: Externals,
    /// Other members.
    pub peers: Peers,
}

/// All requests of this node.
pub struct Requests {
    me: NodeId,
    next: RequestId,
    waiters: BTreeMap<RequestId, Waiter>,
    ways: Ways,
    traces: Traces,
    events: Events,
}

/// A channel for one answer.
pub fn answer_channel(max_tokens: u32) -> (mpsc::Sender<v1::GenerateEvent>, mpsc::Receiver<v1::GenerateEvent>) {
    mpsc::channel((max_tokens as usize).clamp(1, ANSWER_EVENTS_MAX) + 4)
}

/// The event that ends a request with `refusal`.
pub fn error_event(refusal: &Refusal) -> v1::GenerateEvent {
    let error = v1::GenerateError { code: refusal.code.to_owned(), message: refusal.message.clone() };
    v1::GenerateEvent { event: Some(Kind::Error(error)) }
}

impl Requests {
    /// None yet.
    pub fn new(me: NodeId, ways: Ways, traces: Traces, events: Events) -> Requests {
        Requests { me, next: 1, waiters: BTreeMap::new(), ways, traces, events }
    }

    /// Takes a request and says what to tell the core; `None` if its slot's name cannot be one (answered already).
    pub fn open(
        &mut self,
        now: Time,
        request: v1::GenerateRequest,
        local_only: bool,
        answer: mpsc::Sender<v1::GenerateEvent>,
    ) -> Option<Input> {
        let ask = match ask_of(now, &request, local_only) {
            Ok(ask) => ask,
            Err(refusal) => {
                let _ = answer.try_send(error_event(&refusal));
                return None;
            }
        };
        let id = self.next;
        self.next += 1;
        let (gone, events) = (answer.clone(), self.events.clone());
        tokio::spawn(async move {
            gone.closed().await;
            events.send(Event::ClientGone(id)).await;
        });
        let span = self.traces.request(&request.traceparent, local_only, &request.slot, &request.domain);
        let asked = (!local_only).then_some(now);
        self.waiters.insert(id, Waiter { request, answer, failure: None, relay: None, asked, span, attempt: None });
        Some(Input::Request(id, ask))
    }

    /// What is told of a request on its way to the core, for its trace.
    pub fn note(&mut self, input: &Input) {
        match input {
            Input::RequestStarted(id) => {
                if let Some(waiter) = self.waiters.get_mut(id) {
                    waiter.span.event("first token");
                }
            }
            Input::RequestAnswered(id, tokens) => {
                if let Some(waiter) = self.waiters.get_mut(id) {
                    let spans = waiter.attempt.iter_mut().chain([&mut waiter.span]);
                    spans.for_each(|span| span.answered(tokens.prompt, tokens.answer));
                }
            }
            _ => {}
        }
    }

    /// Sends what is left of traces.
    pub async fn end_traces(&self) {
        self.traces.stop().await;
    }

    /// How long ago a client of this node asked; `None` of what a member passed on.
    pub fn age(&self, id: RequestId, now: Time) -> Option<Duration> {
        Some(now.since(self.waiters.get(&id)?.asked?))
    }

    /// Whoever asked has gone, or has its whole answer: nothing of the request may remain.
    pub fn close(&mut self, id: RequestId) {
        if let Some(relay) = self.waiters.remove(&id).and_then(|waiter| waiter.relay) {
            relay.abort();
        }
    }

    /// Ends a request with an error.
    pub fn reject(&mut self, id: RequestId, refusal: &Refusal) {
        if let Some(mut waiter) = self.waiters.remove(&id) {
            tracing::info!(request = id, code = refusal.code, "request refused");
            waiter.span.failed(refusal.code);
            let _ = waiter.answer.try_send(error_event(refusal));
            if let Some(relay) = waiter.relay {
                relay.abort();
            }
        }
    }

    /// The node ends: whoever still waits is told.
    pub fn end_all(&mut self) {
        let refusal = ending();
        for id in self.waiters.keys().copied().collect::<Vec<_>>() {
            self.reject(id, &refusal);
        }
    }

    /// Remembers why an attempt failed, in case it was the last.
    pub fn failed(&mut self, id: RequestId, refusal: Refusal) {
        if let Some(waiter) = self.waiters.get_mut(&id) {
            if let Some(mut attempt) = waiter.attempt.take() {
                attempt.failed(refusal.code);
            }
            waiter.failure = Some(refusal);
        }
    }

    /// The last failure is final.
    pub fn give_up(&mut self, id: RequestId) {
        let failure = self.waiters.get_mut(&id).and_then(|waiter| waiter.failure.take());
        if let Some(refusal) = failure {
            self.reject(id, &refusal);
        }
    }

    /// Sends a request to `to`, which may be at this node.
    pub fn dispatch(&mut self, id: RequestId, to: Place) {
        let Some(waiter) = self.waiters.get_mut(&id) else { return };
        let route = waiter.request.route.clone();
        let unverified = to.verification == Verification::Unverified;
        let attempt = self.traces.attempt(&waiter.span, &peer_id_text(&to.node), to.node == self.me, !unverified);
        let traceparent = attempt.traceparent();
        waiter.attempt = Some(attempt);
        let relay = Relay { id, route, answer: waiter.answer.clone(), events: self.events.clone() };
        // Whoever gets it may pass it to an external engine only if that is what was chosen. Its deadline was that of waiting for a replica. The rest is the replica's own patience.
        let deadline_ms = limits::REQUEST_WAIT.as_millis();
        let asked = v1::GenerateRequest { unverified, deadline_ms, traceparent, ..waiter.request.clone() };
        let request = v1::GenerateRequest { client: 0, route: String::new(), ..asked };
        let task = if to.node != self.me {
            tokio::spawn(relay.remote(to.node, request, self.ways.peers.clone()))
        } else if unverified {
            tokio::spawn(relay.external(self.me, request, self.ways.externals.clone()))
        } else {
            tokio::spawn(relay.local(self.me, request, self.ways.replicas.clone()))
        };
        waiter.relay = Some(task.abort_handle());
    }
}

fn ask_of(now: Time, request: &v1::GenerateRequest, local_only: bool) -> Result<Ask, Refusal> {
    let unknown = |error: crate::core::types::BadName| Refusal { code: "model_not_found", message: error.to_string() };
    let slot = SlotName::new(&request.slot).map_err(unknown)?;
    let domain = match request.domain.as_str() {
        "" => None,
        name => Some(SlotName::new(name).map_err(unknown)?),
    };
    let wait = match request.deadline_ms {
        0 => limits::REQUEST_WAIT,
        millis => Duration::from_millis(millis.min(limits::REQUEST_WAIT.as_millis())),
    };
    let (unverified, client, tokens) = (request.unverified, request.client, asking::tokens(request));
    // What another member sent has been routed by its conversation there.
    let conversation = if local_only { None } else { asking::conversation(request) };
    Ok(Ask { slot, domain, local_only, unverified, client, conversation, tokens, deadline: now.after(wait) })
}

/// Carries one attempt's events to whoever asked.
struct Relay {
    id: RequestId,
    /// Why it is not answered by the local model; empty where there is none.
    route: String,
    answer: mpsc::Sender<v1::GenerateEvent>,
    events: Events,
}

impl Relay {
    async fn local(self, me: NodeId, request: v1::GenerateRequest, replicas: Replicas) {
        let replica = SlotName::new(&request.slot).ok().and_then(|slot| replicas.of(&slot));
        let Some(replica) = replica else {
            let message = format!("{} has just left this node's memory", request.slot);
            return self.fail(Refusal { code: "not_resident", message }, true).await;
        };
        let mut events = replica.engine.generate(request);
        let mut progress = Progress::default();
        while let Some(event) = events.recv().await {
            let event = stamp(event, me, &replica.artifact.0, &replica.precision);
            if self.pass(&mut progress, event).await.is_break() {
                return;
            }
        }
        self.cut_off(&progress).await;
    }

    /// From a server beside this node, which computes with threads of its own.
    async fn external(self, me: NodeId, request: v1::GenerateRequest, externals: Externals) {
        let Some(engine) = SlotName::new(&request.slot).ok().and_then(|slot| externals.of(&slot)) else {
            let message = format!("the external engine of {} has just been taken out", request.slot);
            return self.fail(Refusal { code: "not_resident", message }, true).await;
        };
        let mut events = engine.generate(request);
        let mut progress = Progress::default();
        while let Some(event) = events.recv().await {
            // Of no artifact: nobody knows what it computes with.
            if self.pass(&mut progress, stamp(event, me, &[], UNVERIFIED)).await.is_break() {
                return;
            }
        }
        self.cut_off(&progress).await;
    }

    async fn remote(self, to: NodeId, request: v1::GenerateRequest, peers: Peers) {
        let mut events = match peers.generate(to, request).await {
            Ok(events) => events,
            Err(error) => {
                tracing::info!(request = self.id, %to, %error, "member did not take the request");
                let message = "the machine that held it could not be reached".to_owned();
                return self.fail(Refusal { code: "not_resident", message }, true).await;
            }
        };
        let mut progress = Progress::default();
        while let Ok(Some(event)) = events.message().await {
            if self.pass(&mut progress, event).await.is_break() {
                return;
            }
        }
        self.cut_off(&progress).await;
    }

    /// Passes one event on. Its Start is held back until the first token: until then another replica may take over.
    async fn pass(&self, progress: &mut Progress, event: v1::GenerateEvent) -> std::ops::ControlFlow<()> {
        use std::ops::ControlFlow::{Break, Continue};
        let mut answered = None;
        match &event.event {
            Some(Kind::Start(start)) => {
                progress.prompt_tokens = start.prompt_tokens;
                let start = v1::GenerateStart { route: self.route.clone(), ..start.clone() };
                progress.start = Some(v1::GenerateEvent { event: Some(Kind::Start(start)) });
                return Continue(());
            }
            Some(Kind::Error(error)) => {
                let retryable = matches!(error.code.as_str(), "not_resident" | "busy" | "engine_failed");
                let refusal = Refusal { code: known_code(&error.code), message: error.message.clone() };
                self.fail(refusal, retryable).await;
                return Break(());
            }
            Some(Kind::Text(_) | Kind::Logprobs(_) | Kind::Reply(_)) => {}
            Some(Kind::End(end)) => {
                let prompt = progress.prompt_tokens.max(end.prompt_tokens);
                answered = Some(Tokens { prompt, answer: end.completion_tokens });
            }
            None => return Continue(()),
        }
        if let Some(start) = progress.start.take() {
            progress.started = true;
            self.tell(Input::RequestStarted(self.id)).await;
            if self.answer.send(start).await.is_err() {
                return Break(());
            }
        }
        if self.answer.send(event).await.is_err() {
            return Break(());
        }
        if let Some(tokens) = answered {
            self.tell(Input::RequestAnswered(self.id, tokens)).await;
            return Break(());
        }
        Continue(())
    }

    /// The stream ended without an end.
    async fn cut_off(&self, progress: &Progress) {
        let message = match progress.started {
            true => "the machine that was answering is gone; what came so far is all there is of this answer",
            false => "the machine that held it is gone",
        };
        self.fail(Refusal { code: "engine_failed", message: message.to_owned() }, true).await;
    }

    async fn fail(&self, refusal: Refusal, retryable: bool) {
        self.tell(Input::RequestFailed { request: self.id, refusal, retryable }).await;
    }

    async fn tell(&self, input: Input) {
        self.events.send(Event::Core(input)).await;
    }
}

#[derive(Default)]
struct Progress {
    start: Option<v1::GenerateEvent>,
    started: bool,
    prompt_tokens: u32,
}

/// Says who computes, and with what.
fn stamp(event: v1::GenerateEvent, me: NodeId, artifact: &[u8], precision: &str) -> v1::GenerateEvent {
    let event = event.event.map(|kind| match kind {
        Kind::Start(start) => Kind::Start(v1::GenerateStart {
            node: me.0.to_vec(),
            artifact: artifact.to_vec(),
            precision: precision.to_owned(),
            ..start
        }),
        other => other,
    });
    v1::GenerateEvent { event }
}

/// Codes are a closed set: what a member says beyond it counts as a failure of its engine.
fn known_code(code: &str) -> &'static str {
    const CODES: [&str; 9] = [
        "not_resident",
        "busy",
        "context_length",
        "bad_request",
        "bad_schema",
        "no_tools",
        "model_not_found",
        "no_room",
        "deadline",
    ];
    CODES.into_iter().find(|known| *known == code).unwrap_or("engine_failed")
}

/// What a node that ends says to whoever asks.
pub(super) fn ending() -> Refusal {
    let message = "this node is ending; ask again, or ask another one".to_owned();
    Refusal { code: "not_resident", message }
}
