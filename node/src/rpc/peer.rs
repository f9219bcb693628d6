//! The serving side of the `Peer` service. Who calls is known from the stream (the network room authenticated it), never
//! from the message.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use fednode_proto::v1;
use fednode_proto::v1::peer_server::{Peer, PeerServer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::transport::Server;
use tonic::transport::server::Connected;
use tonic::{Request, Response, Status};

use crate::core::artifact::Bitmap;
use crate::core::coordinator::PlanRefusal;
use crate::core::guard::Allowance;
use crate::core::limits;
use crate::core::placement::plan::Plan;
use crate::core::types::{Digest, NodeId, Time};
use crate::wire;

/// What the node does for other members.
pub trait PeerBackend: Send + Sync + 'static {
    /// A member says what it has; answer with what we have.
    fn sync(&self, from: NodeId, request: v1::SyncRequest) -> impl Future<Output = v1::SyncReply> + Send;
    /// A plan arrived; the answer, and the highest epoch seen here.
    fn plan(&self, from: NodeId, plan: Plan) -> impl Future<Output = (Result<(), PlanRefusal>, u64)> + Send;
    /// The signed manifest of an artifact held here, encoded.
    fn manifest(&self, artifact: &Digest) -> Option<Vec<u8>>;
    /// The verified chunks of an artifact held here.
    fn have(&self, artifact: &Digest) -> Option<Bitmap>;
    /// `from` is about to delete its copy: until when this node holds its own for it, durably, or why it does not.
    fn promise_hold(&self, from: NodeId, artifact: Digest) -> impl Future<Output = Result<u64, String>> + Send;
    /// A chunk that this node sent to `from` did not have its hash.
    fn damage_reported(&self, from: NodeId, artifact: Digest, chunk: u32);
    /// `from` wants to know the time here, and whether it can be reached from here.
    fn examine(&self, from: NodeId) -> impl Future<Output = v1::ExamineReply> + Send;
    /// How likely a replica of this node finds given tokens.
    fn score(&self, request: v1::ScoreRequest) -> impl Future<Output = Result<v1::ScoreReply, Status>> + Send;
    /// Reads and hashes what lies here of a slot, and compares what answers here; progress goes to `events`, and so does the end.
    fn verify(
        &self,
        request: v1::VerifyRequest,
        events: mpsc::Sender<Result<v1::VerifyEvent, Status>>,
    ) -> impl Future<Output = ()> + Send;
    /// Answers with a replica of this node, or refuses; never passes the request on.
    fn generate(&self, request: v1::GenerateRequest) -> impl Future<Output = mpsc::Receiver<v1::GenerateEvent>> + Send;
}

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug)]
struct Caller(NodeId);

/// A stream with its caller's name on it.
struct PeerIo<I> {
    io: I,
    caller: NodeId,
}

impl<I> Connected for PeerIo<I> {
    type ConnectInfo = Caller;
    fn connect_info(&self) -> Caller {
        Caller(self.caller)
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for PeerIo<I> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, into)
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for PeerIo<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// Serves members on the streams they open, until `incoming` ends.
pub async fn serve<I, B>(
    incoming: impl Stream<Item = (NodeId, I)>,
    backend: Arc<B>,
) -> Result<(), tonic::transport::Error>
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    B: PeerBackend,
{
    let streams = incoming.map(|(caller, io)| Ok::<_, std::io::Error>(PeerIo { io, caller }));
    let service = PeerServer::new(Service { backend, calls: Calls::new() })
        .max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
        .max_encoding_message_size(limits::MANIFEST_BYTES_MAX);
    let mut server = Server::builder().max_concurrent_streams(limits::RPC_CALLS_AT_ONCE);
    server.add_service(service).serve_with_incoming(streams).await
}

struct Service<B> {
    backend: Arc<B>,
    calls: Calls,
}

impl<B> Service<B> {
    /// Who calls, if it has a call left.
    fn caller<T>(&self, request: &Request<T>) -> Result<NodeId, Status> {
        let caller = request.extensions().get::<Caller>();
        let caller = caller.map(|caller| caller.0).ok_or_else(|| Status::unauthenticated("the stream has no peer"))?;
        match self.calls.take(caller, self.calls.now()) {
            true => Ok(caller),
            false => Err(Status::resource_exhausted("this member calls too often")),
        }
    }
}

/// How often each member called lately.
struct Calls {
    callers: Mutex<BTreeMap<NodeId, Allowance>>,
    start: Instant,
}

impl Calls {
    fn new() -> Calls {
        Calls { callers: Mutex::default(), start: Instant::now() }
    }

    fn now(&self) -> Time {
        Time(u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    fn take(&self, caller: NodeId, now: Time) -> bool {
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        if !callers.contains_key(&caller) {
            callers.retain(|_, allowance| !allowance.is_full(now));
        }
        callers.entry(caller).or_insert_with(|| Allowance::new(limits::RPC_CALLS)).take(now, 1)
    }
}

fn digest(bytes: &[u8]) -> Result<Digest, Status> {
    wire::array32("artifact", bytes).map(Digest).map_err(|error| Status::invalid_argument(error.to_string()))
}

/// Members score fingerprints and nothing larger.
fn is_modest(request: &v1::ScoreRequest) -> bool {
    let each = |text: &v1::ScoreSequence| {
        text.tokens.len() <= limits::FINGERPRINT_TOKENS_MAX
            && text.wanted_each <= limits::FINGERPRINT_EACH
            && text.wanted.len() <= text.tokens.len() * limits::FINGERPRINT_EACH as usize
    };
    request.sequences.len() <= limits::FINGERPRINT_SEQUENCES_MAX && request.sequences.iter().all(each)
}

#[tonic::async_trait]
impl<B: PeerBackend> Peer for Service<B> {
    async fn sync(&self, request: Request<v1::SyncRequest>) -> Result<Response<v1::SyncReply>, Status> {
        let from = self.caller(&request)?;
        Ok(Response::new(self.backend.sync(from, request.into_inner()).await))
    }

    async fn deliver_plan(&self, request: Request<v1::Plan>) -> Result<Response<v1::PlanAck>, Status> {
        let from = self.caller(&request)?;
        let plan = wire::plan::from_proto(request.get_ref());
        let plan = plan.map_err(|error| Status::invalid_argument(error.to_string()))?;
        let (answer, epoch_highest) = self.backend.plan(from, plan).await;
        let reason = answer.err().map(|refusal| refusal.to_string()).unwrap_or_default();
        Ok(Response::new(v1::PlanAck { accepted: answer.is_ok(), reason, epoch_highest }))
    }

    async fn get_manifest(
        &self,
        request: Request<v1::ManifestRequest>,
    ) -> Result<Response<v1::SignedManifest>, Status> {
        self.caller(&request)?;
        let artifact = digest(&request.get_ref().artifact)?;
        let signed = self.backend.manifest(&artifact).ok_or_else(|| Status::not_found("no such artifact here"))?;
        let signed = prost::Message::decode(signed.as_slice()).map_err(|_| Status::internal("damaged manifest"))?;
        Ok(Response::new(signed))
    }

    async fn have(&self, request: Request<v1::HaveRequest>) -> Result<Response<v1::HaveReply>, Status> {
        self.caller(&request)?;
        let artifact = digest(&request.get_ref().artifact)?;
        let have = self.backend.have(&artifact).ok_or_else(|| Status::not_found("no such artifact here"))?;
        Ok(Response::new(v1::HaveReply { bitmap: have.as_bytes().to_vec() }))
    }

    async fn promise_hold(&self, request: Request<v1::HoldRequest>) -> Result<Response<v1::HoldReply>, Status> {
        let from = self.caller(&request)?;
        let artifact = digest(&request.get_ref().artifact)?;
        let reply = match self.backend.promise_hold(from, artifact).await {
            Ok(until_unix_s) => v1::HoldReply { promised: true, reason: String::new(), until_unix_s },
            Err(reason) => v1::HoldReply { promised: false, reason, until_unix_s: 0 },
        };
        Ok(Response::new(reply))
    }

    async fn report_damage(&self, request: Request<v1::DamageReport>) -> Result<Response<v1::DamageAck>, Status> {
        let from = self.caller(&request)?;
        let artifact = digest(&request.get_ref().artifact)?;
        self.backend.damage_reported(from, artifact, request.get_ref().chunk);
        Ok(Response::new(v1::DamageAck {}))
    }

    async fn examine(&self, request: Request<v1::ExamineRequest>) -> Result<Response<v1::ExamineReply>, Status> {
        let from = self.caller(&request)?;
        Ok(Response::new(self.backend.examine(from).await))
    }

    async fn score(&self, request: Request<v1::ScoreRequest>) -> Result<Response<v1::ScoreReply>, Status> {
        self.caller(&request)?;
        let message = request.into_inner();
        if !is_modest(&message) {
            return Err(Status::invalid_argument("more tokens than a fingerprint has"));
        }
        Ok(Response::new(self.backend.score(message).await?))
    }

    type VerifyStream = Pin<Box<dyn Stream<Item = Result<v1::VerifyEvent, Status>> + Send>>;

    async fn verify(&self, request: Request<v1::VerifyRequest>) -> Result<Response<Self::VerifyStream>, Status> {
        self.caller(&request)?;
        let (events, stream) = mpsc::channel(64);
        let backend = Arc::clone(&self.backend);
        tokio::spawn(async move { backend.verify(request.into_inner(), events).await });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    type GenerateStream = Pin<Box<dyn Stream<Item = Result<v1::GenerateEvent, Status>> + Send>>;

    async fn generate(&self, request: Request<v1::GenerateRequest>) -> Result<Response<Self::GenerateStream>, Status> {
        self.caller(&request)?;
        let message = request.into_inner();
        if message.messages.len() > limits::CHAT_MESSAGES_MAX || message.stop.len() > limits::STOPS_MAX {
            return Err(Status::invalid_argument("more messages or stop strings than a request may have"));
        }
        if let Some(v1::task::Task::Embed(embed)) = message.task.as_ref().and_then(|task| task.task.as_ref())
            && embed.texts.len() > limits::EMBED_TEXTS_PER_REQUEST
        {
            return Err(Status::invalid_argument("more texts than a request may have"));
        }
        let events = self.backend.generate(message).await;
        Ok(Response::new(Box::pin(ReceiverStream::new(events).map(Ok))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_score_fingerprints_and_nothing_larger() {
        let text = |tokens: usize, wanted: usize, wanted_each: u32| v1::ScoreSequence {
            tokens: vec![1; tokens],
            wanted: vec![1; wanted],
            wanted_each,
        };
        let check = |sequences: Vec<v1::ScoreSequence>, expect: bool| {
            assert_eq!(is_modest(&v1::ScoreRequest { sequences, ..Default::default() }), expect);
        };
        check(vec![text(11, 200, 20); 4], true);
        check(vec![text(11, 200, 20); limits::FINGERPRINT_SEQUENCES_MAX + 1], false);
        check(vec![text(limits::FINGERPRINT_TOKENS_MAX + 1, 0, 20)], false);
        check(vec![text(11, 0, 32_000)], false);
        check(vec![text(2, 41, 20)], false);
    }

    #[test]
    fn a_member_that_calls_too_often_is_refused_and_no_other() {
        let (calls, [loud, quiet]) = (Calls::new(), [1, 2].map(|n| NodeId([n; 32])));
        let taken = (0..2 * limits::RPC_CALLS.burst).filter(|_| calls.take(loud, Time(1))).count() as u64;
        assert_eq!(taken, limits::RPC_CALLS.burst);
        assert!(calls.take(quiet, Time(1)));
        assert!(calls.take(loud, Time(1_000_000_000)), "a second later");
    }
}
