//! Traces of requests for OpenTelemetry, where the owner named a collector (`--otlp`): one trace over all machines that a request
//! touched, because the word that joins them travels with it. Spans carry slots, codes and counts, never a prompt or an answer.
//! Without a collector every call here is nothing. The exporter has a thread and bounded queues of its own; what does not go out
//! in time is dropped.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::trace::{
    Span as _, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId, Tracer, TracerProvider,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};

use crate::wire::traceparent::TraceParent;

/// The collector is waited for so long; it is on this machine or near it.
const EXPORT_WAIT: Duration = Duration::from_secs(5);
/// What is left at the node's end may still go out within this.
const LAST_SPANS: Duration = Duration::from_secs(1);
/// More than a collector ever answers.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Why there are no traces.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    /// TLS is the business of a collector beside the node.
    #[error(
        "--otlp {0} must be the address of a collector as http://HOST:PORT; run one on this machine for anything else"
    )]
    Address(String),
    /// The exporter could not be made.
    #[error("traces cannot be sent to {address}: {why}")]
    Exporter {
        /// The collector.
        address: String,
        /// Why.
        why: String,
    },
}

/// Where spans go, if anywhere. Cheap to clone.
#[derive(Clone, Default)]
pub struct Traces(Option<Arc<Sending>>);

struct Sending {
    tracer: SdkTracer,
    provider: SdkTracerProvider,
}

/// One step of a request. It ends when it is dropped.
#[derive(Default)]
pub struct Span {
    open: Option<opentelemetry_sdk::trace::Span>,
    /// What came with the request, for whoever is next, where nothing is recorded here.
    passed_on: String,
}

/// Can `address` be that of a collector? Asked before anything is written or opened.
pub fn check(address: Option<&str>) -> Result<(), TracesError> {
    let Some(address) = address else { return Ok(()) };
    let host = address.trim_end_matches('/').strip_prefix("http://");
    match host.is_some_and(|host| !host.is_empty() && !host.contains(['/', '@', '?', '#'])) {
        true => Ok(()),
        false => Err(TracesError::Address(address.to_owned())),
    }
}

impl Traces {
    /// To the collector at `address`, which was checked, in the name of this node. Needs tokio's runtime.
    pub fn start(address: Option<&str>, name: &str, peer_id: &str) -> Result<Traces, TracesError> {
        let Some(address) = address else { return Ok(Traces::default()) };
        let base = address.trim_end_matches('/');
        let failed = |why: String| TracesError::Exporter { address: address.to_owned(), why };
        let client = reqwest::Client::builder().timeout(EXPORT_WAIT).no_proxy();
        let client = client.redirect(reqwest::redirect::Policy::none()).build();
        let client = client.map_err(|error| failed(error.to_string()))?;
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Collector { client, runtime: tokio::runtime::Handle::current() })
            .with_protocol(Protocol::HttpJson)
            .with_endpoint(format!("{base}/v1/traces"))
            .with_timeout(EXPORT_WAIT)
            .build()
            .map_err(|error| failed(error.to_string()))?;
        let about = [
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", peer_id.to_owned()),
            KeyValue::new("host.name", name.to_owned()),
        ];
        let resource = Resource::builder_empty().with_service_name("fednode").with_attributes(about).build();
        let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build();
        let tracer = provider.tracer("fednode");
        Ok(Traces(Some(Arc::new(Sending { tracer, provider }))))
    }

    /// A request that came here, under whatever its sender named.
    pub fn request(&self, traceparent: &str, from_member: bool, slot: &str, domain: &str) -> Span {
        let name = if from_member { "answer for a member" } else { "request" };
        let about =
            [KeyValue::new("fednode.slot", slot.to_owned()), KeyValue::new("fednode.domain", domain.to_owned())];
        self.begin(name, SpanKind::Server, traceparent, about.into())
    }

    /// One attempt at it, at a replica of `node` or at a server that stands in for one.
    pub fn attempt(&self, request: &Span, node: &str, here: bool, verified: bool) -> Span {
        let kind = if here { SpanKind::Internal } else { SpanKind::Client };
        let about = [KeyValue::new("fednode.node", node.to_owned()), KeyValue::new("fednode.verified", verified)];
        self.begin("attempt", kind, &request.traceparent(), about.into())
    }

    fn begin(&self, name: &'static str, kind: SpanKind, traceparent: &str, about: Vec<KeyValue>) -> Span {
        let parent = TraceParent::parse(traceparent);
        let Some(sending) = &self.0 else {
            return Span { open: None, passed_on: parent.map(|parent| parent.to_text()).unwrap_or_default() };
        };
        let context = parent.map_or_else(Context::new, |parent| Context::new().with_remote_span_context(known(parent)));
        let builder = sending.tracer.span_builder(name).with_kind(kind).with_attributes(about);
        Span { open: Some(sending.tracer.build_with_context(builder, &context)), passed_on: String::new() }
    }

    /// Sends what is left. It may take [`LAST_SPANS`].
    pub async fn stop(&self) {
        let Some(sending) = self.0.clone() else { return };
        let stopping = tokio::task::spawn_blocking(move || sending.provider.shutdown_with_timeout(LAST_SPANS));
        if let Ok(Err(error)) = stopping.await {
            tracing::debug!(%error, "the last spans were not sent");
        }
    }
}

fn known(parent: TraceParent) -> SpanContext {
    let flags = if parent.sampled { TraceFlags::SAMPLED } else { TraceFlags::default() };
    let (trace, span) = (TraceId::from_bytes(parent.trace), SpanId::from_bytes(parent.span));
    SpanContext::new(trace, span, flags, true, Default::default())
}

impl Span {
    /// What whoever goes on with the request hangs its spans under; empty: nothing.
    pub fn traceparent(&self) -> String {
        let Some(open) = &self.open else { return self.passed_on.clone() };
        let context = open.span_context();
        let (trace, span) = (context.trace_id().to_bytes(), context.span_id().to_bytes());
        TraceParent { trace, span, sampled: context.is_sampled() }.to_text()
    }

    /// Something happened on the way.
    pub fn event(&mut self, what: &'static str) {
        if let Some(open) = &mut self.open {
            open.add_event(what, Vec::new());
        }
    }

    /// It went well, with so many tokens.
    pub fn answered(&mut self, prompt_tokens: u32, answer_tokens: u32) {
        if let Some(open) = &mut self.open {
            open.set_attribute(KeyValue::new("gen_ai.usage.input_tokens", i64::from(prompt_tokens)));
            open.set_attribute(KeyValue::new("gen_ai.usage.output_tokens", i64::from(answer_tokens)));
            open.set_status(Status::Ok);
        }
    }

    /// It did not, for this reason of a closed set.
    pub fn failed(&mut self, code: &'static str) {
        if let Some(open) = &mut self.open {
            open.set_attribute(KeyValue::new("error.type", code));
            open.set_status(Status::error(code));
        }
    }
}

/// Sends for the exporter, whose thread has no runtime.
#[derive(Debug)]
struct Collector {
    client: reqwest::Client,
    runtime: tokio::runtime::Handle,
}

#[tonic::async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        let sending = self.runtime.spawn(async move {
            let mut response = client.execute(request.try_into()?).await?;
            let (mut body, status) = (Vec::new(), response.status());
            while let Some(piece) = response.chunk().await? {
                if body.len() + piece.len() > ANSWER_BYTES_MAX {
                    break;
                }
                body.extend_from_slice(&piece);
            }
            Ok::<_, reqwest::Error>((status, body))
        });
        let (status, body) = sending.await??;
        Ok(Response::builder().status(status).body(body.into())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_collector_the_clients_word_is_passed_on_and_nothing_else() {
        let word = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let traces = Traces::start(None, "desk", "12D3KooW").expect("nothing to do");
        let request = traces.request(word, false, "UCM", "");
        assert_eq!(traces.attempt(&request, "den", false, true).traceparent(), word);
        assert_eq!(traces.request("not one", false, "UCM", "").traceparent(), "");
    }

    #[test]
    fn only_a_plain_address_is_a_collector() {
        assert!(check(None).is_ok() && check(Some("http://127.0.0.1:4318/")).is_ok());
        for bad in ["", "collector", "https://collector:4318", "http://", "http://a/b", "http://user@host:1"] {
            assert!(matches!(check(Some(bad)), Err(TracesError::Address(_))), "{bad}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn spans_of_one_request_are_one_trace() {
        let traces = Traces::start(Some("http://127.0.0.1:9"), "desk", "12D3KooW").expect("a collector may be away");
        let request = traces.request("", false, "UCM", "");
        let attempt = traces.attempt(&request, "den", false, true);
        let there = traces.request(&attempt.traceparent(), true, "UCM", "");
        let ids = [&request, &attempt, &there].map(|span| TraceParent::parse(&span.traceparent()).expect("sampled"));
        assert!(ids.iter().all(|id| id.trace == ids[0].trace && id.sampled));
        assert!(ids[0].span != ids[1].span && ids[1].span != ids[2].span);
        drop((request, attempt, there));
        traces.stop().await;
    }
}
