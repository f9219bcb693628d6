//! External engines: an OpenAI-compatible server that the owner runs beside the node, behind the same [`Engine`] as a child of
//! ours. It is a stranger: what it sends is bounded in size and time and read by `wire::openai`; it is never told more than the
//! request; its process is nobody's to end. `connect` opens connections, one for each request: dropping it is how a request is
//! cancelled. `driver/externals` decides when it is asked whether it is there.

mod connect;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fednode_proto::v1;
use fednode_proto::v1::generate_event::Event;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{Method, StatusCode, header};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

pub use self::connect::may_ask;
use self::connect::{CallError, Target};
use super::{CODE_BAD_REQUEST, CODE_ENGINE_FAILED, Engine, EngineError, Footprint, error_event, std_duration};
use crate::core::external::{EngineKey, EngineUrl, UNVERIFIED};
use crate::core::limits;
use crate::wire::openai::{self, AnswerReader, Failed, Said};

/// How long a server may take; tests shorten it.
#[derive(Clone, Copy, Debug)]
struct Patience {
    connect: Duration,
    check: Duration,
    first: Duration,
    silence: Duration,
    answer: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience {
            connect: std_duration(limits::EXTERNAL_CONNECT_WAIT),
            check: std_duration(limits::EXTERNAL_CHECK_WAIT),
            first: std_duration(limits::EXTERNAL_FIRST_WAIT),
            silence: std_duration(limits::EXTERNAL_SILENCE),
            answer: std_duration(limits::EXTERNAL_ANSWER_WAIT),
        }
    }
}

/// A server, and what it calls the model that stands in for a slot.
pub struct ExternalEngine {
    server: Arc<Server>,
    model: String,
    stopped: CancellationToken,
}

/// A server, whatever models it has.
struct Server {
    target: Target,
    patience: Patience,
}

/// Which models the server at `url` has. `Err` is a sentence for people.
pub async fn models_at(url: &EngineUrl, key: Option<EngineKey>) -> Result<Vec<String>, String> {
    let server = Server { target: Target::new(url.clone(), key), patience: Patience::default() };
    server.within_a_check(server.models()).await
}

impl ExternalEngine {
    /// The model `model` of the server at `url`; nothing is sent yet.
    pub fn new(url: EngineUrl, key: Option<EngineKey>, model: String) -> ExternalEngine {
        ExternalEngine::with(url, key, model, Patience::default())
    }

    fn with(url: EngineUrl, key: Option<EngineKey>, model: String, patience: Patience) -> ExternalEngine {
        let server = Arc::new(Server { target: Target::new(url, key), patience });
        ExternalEngine { server, model, stopped: CancellationToken::new() }
    }

    /// Does the server answer, and has it the model? `Err` is a sentence for people.
    pub async fn check(&self) -> Result<(), String> {
        self.server.within_a_check(self.server.check(&self.model)).await
    }
}

impl Engine for ExternalEngine {
    fn generate(&self, request: v1::GenerateRequest) -> mpsc::Receiver<v1::GenerateEvent> {
        let (sender, events) = mpsc::channel(limits::ENGINE_EVENTS_MAX);
        let (server, model, stopped) = (Arc::clone(&self.server), self.model.clone(), self.stopped.clone());
        tokio::spawn(async move {
            // Leaving `answer` drops its connection, which is how the server learns that nobody waits.
            let failed = tokio::select! {
                answered = timeout(server.patience.answer, server.answer(&model, &request, &sender)) => match answered {
                    Ok(Ok(())) => return,
                    Ok(Err(failed)) => failed,
                    Err(_) => broke("its answer takes too long"),
                },
                () = sender.closed() => return,
                () = stopped.cancelled() => broke("it was taken out"),
            };
            // Whoever stopped listening needs no reason.
            let _ = sender.send(error_event(failed.code, failed.message)).await;
        });
        events
    }

    fn score(&self, _: v1::ScoreRequest) -> BoxFuture<'static, Result<v1::ScoreReply, EngineError>> {
        futures::future::ready(Err(EngineError::External("score tokens"))).boxed()
    }

    fn embed(&self, _: v1::EmbedRequest) -> BoxFuture<'static, Result<v1::EmbedReply, EngineError>> {
        futures::future::ready(Err(EngineError::External("embed texts"))).boxed()
    }

    fn tokenize(&self, _: String) -> BoxFuture<'static, Result<Vec<u32>, EngineError>> {
        futures::future::ready(Err(EngineError::External("tell tokens"))).boxed()
    }

    fn pid(&self) -> Option<u32> {
        None
    }

    /// Its process is not ours: it ends for this node when it is stopped.
    fn exited(&self) -> BoxFuture<'static, String> {
        let stopped = self.stopped.clone();
        async move {
            stopped.cancelled().await;
            "taken out".to_owned()
        }
        .boxed()
    }

    /// Cuts off the answers under way; the server runs on.
    fn stop(&self) -> BoxFuture<'_, ()> {
        self.stopped.cancel();
        futures::future::ready(()).boxed()
    }

    /// Its memory is not this node's to count.
    fn footprint(&self) -> Option<Footprint> {
        None
    }
}

impl Server {
    async fn within_a_check<T>(&self, check: impl Future<Output = Result<T, CallError>>) -> Result<T, String> {
        match timeout(self.patience.check, check).await {
            Ok(result) => result.map_err(|error| error.to_string()),
            Err(_) => Err(format!("it did not answer within {} s", self.patience.check.as_secs_f32())),
        }
    }

    /// `/health` where there is one: a server that still loads says so there. Its list of models shows that the key is right.
    async fn check(&self, model: &str) -> Result<(), CallError> {
        let health = self.target.call(Method::GET, "/health", Bytes::new(), self.patience.connect).await?;
        match health.status() {
            status if status.is_success() => {}
            // Ollama has none.
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => {}
            status => return Err(refused(status, &health.body().await?)),
        }
        let models = self.models().await?;
        if models.iter().any(|there| there == model) {
            return Ok(());
        }
        Err(CallError::NoModel { model: model.to_owned(), there: listed(&models) })
    }

    async fn models(&self) -> Result<Vec<String>, CallError> {
        let answer = self.target.call(Method::GET, "/v1/models", Bytes::new(), self.patience.connect).await?;
        let status = answer.status();
        let body = answer.body().await?;
        if status != StatusCode::OK {
            return Err(refused(status, &body));
        }
        openai::models(&body).ok_or(CallError::NoList)
    }

    /// One answer, from the request to its end, passed on to `events`. `Err`: why it has no end that a server stated.
    async fn answer(
        &self,
        model: &str,
        request: &v1::GenerateRequest,
        events: &mpsc::Sender<v1::GenerateEvent>,
    ) -> Result<(), Failed> {
        if let Some(what) = openai::beyond(request) {
            let message = format!(
                "an external engine stands in for {} now, and cannot be asked for {what}; leave it out, or ask again when a \
                 verified replica is ready",
                request.slot
            );
            return Err(Failed { code: CODE_BAD_REQUEST, message });
        }
        let body = Bytes::from(openai::chat_request(request, model));
        let call = self.target.call(Method::POST, "/v1/chat/completions", body, self.patience.connect);
        let called = timeout(self.patience.first, call).await.map_err(|_| broke("it does not begin to answer"))?;
        let mut answer = called.map_err(|error| broke(&error.to_string()))?;
        if answer.status() != StatusCode::OK {
            let status = answer.status().as_u16();
            let body = timeout(self.patience.silence, answer.body()).await.unwrap_or_else(|_| Ok(Bytes::new()));
            return Err(openai::refusal(status, &body.unwrap_or_default()));
        }
        if !answer.header(&header::CONTENT_TYPE).is_some_and(|kind| kind.starts_with("text/event-stream")) {
            return Err(broke("it does not stream"));
        }
        let start = v1::GenerateStart { precision: UNVERIFIED.to_owned(), ..v1::GenerateStart::default() };
        let mut begun = false;
        let mut reader = AnswerReader::new(request.max_tokens);
        if events.send(event(Event::Start(start))).await.is_err() {
            return Ok(());
        }
        while !reader.has_ended() {
            let wait = if begun { self.patience.silence } else { self.patience.first };
            let piece = timeout(wait, answer.next()).await.map_err(|_| broke("it stands still in the middle"))?;
            let said = match piece.map_err(|error| broke(&error.to_string()))? {
                Some(bytes) => reader.push(&bytes),
                None => reader.close().into_iter().collect(),
            };
            for one in said {
                begun = true;
                if events.send(event(kind(one)?)).await.is_err() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

fn kind(said: Said) -> Result<Event, Failed> {
    match said {
        Said::Text(text) => Ok(Event::Text(text)),
        Said::End(end) => Ok(Event::End(v1::GenerateEnd {
            finish_reason: if end.by_length { "length" } else { "stop" }.to_owned(),
            completion_tokens: end.completion_tokens,
            prompt_tokens: end.prompt_tokens,
        })),
        Said::Failed(failed) => Err(failed),
    }
}

fn event(kind: Event) -> v1::GenerateEvent {
    v1::GenerateEvent { event: Some(kind) }
}

fn broke(why: &str) -> Failed {
    Failed { code: CODE_ENGINE_FAILED, message: format!("the external engine failed: {}", openai::plain(why)) }
}

fn refused(status: StatusCode, body: &[u8]) -> CallError {
    CallError::Refused(openai::refusal(status.as_u16(), body).message)
}

/// The first of them, for people.
pub fn listed(models: &[String]) -> String {
    const SHOWN: usize = 8;
    let more = if models.len() > SHOWN { ", …" } else { "" };
    match models {
        [] => "none".to_owned(),
        models => format!("{}{more}", models[..models.len().min(SHOWN)].join(", ")),
    }
}
