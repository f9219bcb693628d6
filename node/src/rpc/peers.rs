//! The calling side of the `Peer` service: one HTTP/2 connection per member, over a stream that somebody else opens.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fednode_proto::v1;
use fednode_proto::v1::peer_client::PeerClient;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Status, Streaming};

use crate::core::artifact::Bitmap;
use crate::core::coordinator::PlanRefusal;
use crate::core::limits;
use crate::core::placement::plan::Plan;
use crate::core::types::{Digest, NodeId};
use crate::wire::manifest::{self, VerifiedManifest};
use crate::wire::{self, WireError};

/// A stream to a member, whatever carries it.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Io for T {}

type Opened = Pin<Box<dyn Future<Output = io::Result<Box<dyn Io>>> + Send>>;

/// Opens a stream to a member.
pub type Open = Arc<dyn Fn(NodeId) -> Opened + Send + Sync>;

/// A control message is answered within this; a manifest of a large model takes longer than a plan.
const CALL_WAIT: Duration = Duration::from_secs(20);

/// Why a member did not answer as asked.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// The member said no, or could not be reached.
    #[error("{0}")]
    Status(#[from] Status),
    /// It answered something that cannot be.
    #[error("its answer is not usable: {0}")]
    Wire(#[from] WireError),
    /// It answered for another artifact.
    #[error("it answered with the manifest of another artifact")]
    OtherArtifact,
    /// Nobody waits for the answer any more.
    #[error("the node is ending")]
    Ending,
}

/// Clients of all members.
#[derive(Clone)]
pub struct Peers {
    open: Open,
    channels: Arc<Mutex<BTreeMap<NodeId, Channel>>>,
}

impl Peers {
    /// Calls members over streams that `open` opens.
    pub fn new(open: Open) -> Peers {
        Peers { open, channels: Arc::default() }
    }

    /// Its connection ended; the next call opens a new stream.
    pub fn forget(&self, node: &NodeId) {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner).remove(node);
    }

    fn client(&self, node: NodeId) -> PeerClient<Channel> {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        let channel = channels.entry(node).or_insert_with(|| {
            let open = Arc::clone(&self.open);
            let connector = tower::service_fn(move |_: Uri| {
                let opened = open(node);
                async move { opened.await.map(TokioIo::new) }
            });
            Endpoint::from_static("http://member.fednode").connect_with_connector_lazy(connector)
        });
        PeerClient::new(channel.clone())
            .max_decoding_message_size(limits::MANIFEST_BYTES_MAX)
            .max_encoding_message_size(limits::MANIFEST_BYTES_MAX)
    }

    /// Tells `node` what we have and hears what it has.
    pub async fn sync(&self, node: NodeId, request: v1::SyncRequest) -> Result<v1::SyncReply, PeerError> {
        Ok(in_time(self.client(node).sync(timed(request))).await?.into_inner())
    }

    /// Brings `plan` to `node`; its answer, and the highest epoch it has seen.
    pub async fn deliver_plan(&self, node: NodeId, plan: &Plan) -> Result<(Result<(), PlanRefusal>, u64), PeerError> {
        let ack = self.client(node).deliver_plan(timed(wire::plan::to_proto(plan))).await?.into_inner();
        let answer = match (ack.accepted, ack.reason.as_str()) {
            (true, _) => Ok(()),
            (false, "not_coordinator") => Err(PlanRefusal::NotCoordinator),
            (false, _) => Err(PlanRefusal::Stale),
        };
        Ok((answer, ack.epoch_highest))
    }

    /// The manifest named `artifact`, verified.
    pub async fn manifest(&self, node: NodeId, artifact: Digest) -> Result<VerifiedManifest, PeerError> {
        let request = v1::ManifestRequest { artifact: artifact.0.to_vec() };
        let signed = in_time(self.client(node).get_manifest(timed(request))).await?.into_inner();
        let opening = move || manifest::open(&prost::Message::encode_to_vec(&signed));
        let verified = tokio::task::spawn_blocking(opening).await.map_err(|_| PeerError::Ending)??;
        if verified.artifact == artifact { Ok(verified) } else { Err(PeerError::OtherArtifact) }
    }

    /// Which of the `chunks` chunks of `artifact` the member has.
    pub async fn have(&self, node: NodeId, artifact: Digest, chunks: u32) -> Result<Option<Bitmap>, PeerError> {
        let request = v1::HaveRequest { artifact: artifact.0.to_vec() };
        let reply = in_time(self.client(node).have(timed(request))).await?.into_inner();
        Ok(Bitmap::from_bytes(&reply.bitmap, chunks))
    }

    /// Asks `node` to hold its copy while this node deletes its own: until when, by its clock, or why it does not.
    pub async fn promise_hold(&self, node: NodeId, artifact: Digest) -> Result<Result<u64, String>, PeerError> {
        let request = v1::HoldRequest { artifact: artifact.0.to_vec() };
        let reply = self.client(node).promise_hold(timed(request)).await?.into_inner();
        Ok(if reply.promised { Ok(reply.until_unix_s) } else { Err(reply.reason) })
    }

    /// Tells `node` that a chunk it sent was corrupt, so that it looks at its disk.
    pub async fn report_damage(&self, node: NodeId, artifact: Digest, chunk: u32) -> Result<(), PeerError> {
        let request = v1::DamageReport { artifact: artifact.0.to_vec(), chunk };
        self.client(node).report_damage(timed(request)).await?;
        Ok(())
    }

    /// Asks `node` for its time, and whether it can reach this node.
    pub async fn examine(&self, node: NodeId) -> Result<v1::ExamineReply, PeerError> {
        Ok(in_time(self.client(node).examine(timed(v1::ExamineRequest {}))).await?.into_inner())
    }

    /// How likely the replica of `node` finds given tokens. It may have to answer others first.
    pub async fn score(&self, node: NodeId, request: v1::ScoreRequest) -> Result<v1::ScoreReply, PeerError> {
        let wait = Duration::from_millis(limits::CHECK_WAIT.as_millis());
        let late = |_| Status::deadline_exceeded("the member did not answer in time");
        let mut client = self.client(node);
        Ok(tokio::time::timeout(wait, client.score(request)).await.map_err(late)??.into_inner())
    }

    /// Has `node` read and hash what it has of a slot, and compare what answers.
    pub async fn verify(&self, node: NodeId, slot: String) -> Result<Streaming<v1::VerifyEvent>, PeerError> {
        Ok(self.client(node).verify(v1::VerifyRequest { slot }).await?.into_inner())
    }

    /// Has `node` answer `request` with its own replica.
    pub async fn generate(
        &self,
        node: NodeId,
        request: v1::GenerateRequest,
    ) -> Result<Streaming<v1::GenerateEvent>, PeerError> {
        Ok(self.client(node).generate(request).await?.into_inner())
    }
}

/// The answer's body included, which tonic's own limit leaves out.
async fn in_time<T>(call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    let late = || Status::deadline_exceeded("the member did not answer in time");
    tokio::time::timeout(CALL_WAIT, call).await.unwrap_or_else(|_| Err(late()))
}

fn timed<T>(message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(CALL_WAIT);
    request
}
