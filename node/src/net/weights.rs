//! The weight data plane: chunks asked for and sent on streams of their own, several in flight per member. Bytes are not
//! judged here: the caller hashes what it gets (DESIGN 10).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use fednode_proto::v1;
use fednode_proto::v1::chunk_reply::Status;
use futures::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use prost::Message;
use tokio::sync::{Semaphore, mpsc};

use crate::core::limits;
use crate::core::types::{Digest, NodeId};
use crate::net::frame::{self, FrameError};
use crate::net::{NetError, NetHandle, Protocol, Stream, std_duration};
use crate::wire;

/// Why a chunk did not come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FetchError {
    /// The peer does not have it.
    #[error("the peer does not hold this chunk")]
    Missing,
    /// The peer serves as many as it can.
    #[error("the peer is busy; ask again soon, or ask another")]
    Busy,
    /// The connection broke or there was none.
    #[error("not connected to the peer")]
    Disconnected,
    /// The peer wants to send more than the chunk has, or does not keep to the protocol.
    #[error("the peer answered with something other than this chunk")]
    TooLong,
    /// It took too long.
    #[error("the chunk did not come in time")]
    Timeout,
}

/// Asks members for chunks. Cheap to clone; clones share their streams.
#[derive(Clone)]
pub struct WeightsClient {
    net: NetHandle,
    lanes: Arc<Mutex<BTreeMap<NodeId, Arc<Lanes>>>>,
}

/// The streams to one member.
struct Lanes {
    in_flight: Semaphore,
    idle: Mutex<Vec<Stream>>,
}

impl WeightsClient {
    /// A client that opens its streams on `net`.
    pub fn new(net: NetHandle) -> WeightsClient {
        WeightsClient { net, lanes: Arc::default() }
    }

    /// Fetches chunk number `chunk` of `artifact`: at most `expected_bytes` bytes, unverified.
    pub async fn fetch(
        &self,
        node: NodeId,
        artifact: Digest,
        chunk: u32,
        expected_bytes: u32,
    ) -> Result<Vec<u8>, FetchError> {
        let lanes = self.lanes_to(node);
        let request = v1::ChunkRequest { artifact: artifact.0.to_vec(), chunk };
        let fetching = self.fetch_on(&lanes, node, &request, expected_bytes);
        tokio::time::timeout(std_duration(limits::CHUNK_WAIT), fetching).await.unwrap_or(Err(FetchError::Timeout))
    }

    /// Forgets the streams to a member that is no longer connected.
    pub fn forget(&self, node: &NodeId) {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner).remove(node);
    }

    fn lanes_to(&self, node: NodeId) -> Arc<Lanes> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Lanes { in_flight: Semaphore::new(limits::CHUNKS_IN_FLIGHT_PER_SOURCE), idle: Mutex::default() };
        Arc::clone(lanes.entry(node).or_insert_with(|| Arc::new(new())))
    }

    async fn fetch_on(
        &self,
        lanes: &Lanes,
        node: NodeId,
        request: &v1::ChunkRequest,
        bytes_max: u32,
    ) -> Result<Vec<u8>, FetchError> {
        let _permit = lanes.in_flight.acquire().await.map_err(|_| FetchError::Disconnected)?;
        loop {
            let idle = lanes.take_idle();
            let was_idle = idle.is_some();
            let mut stream = match idle {
                Some(stream) => stream,
                None => self.net.open_stream(node, Protocol::Weights).await.map_err(open_error)?,
            };
            match exchange(&mut stream, request, bytes_max).await {
                Ok(outcome) => {
                    lanes.put_idle(stream);
                    return outcome;
                }
                // A stream that lay idle may have died with its connection; each try uses one up, and a new one is final.
                Err(FetchError::Disconnected) if was_idle => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Lanes {
    fn take_idle(&self) -> Option<Stream> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    /// Never more than are in flight at once: each fetch takes one before it opens another.
    fn put_idle(&self, stream: Stream) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(stream);
    }
}

fn open_error(error: NetError) -> FetchError {
    match error {
        NetError::Busy { .. } => FetchError::Busy,
        NetError::TimedOut { .. } => FetchError::Timeout,
        _ => FetchError::Disconnected,
    }
}

/// One question and its answer. The outer error ends the stream; the inner one leaves it usable.
async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    request: &v1::ChunkRequest,
    bytes_max: u32,
) -> Result<Result<Vec<u8>, FetchError>, FetchError> {
    frame::write(stream, request).await.map_err(frame_error)?;
    let reply: v1::ChunkReply = frame::read(stream, limits::CHUNK_HEADER_BYTES_MAX).await.map_err(frame_error)?;
    match Status::try_from(reply.status) {
        Ok(Status::Ok) => {}
        Ok(Status::Missing) => return Ok(Err(FetchError::Missing)),
        Ok(Status::Busy) => return Ok(Err(FetchError::Busy)),
        Ok(Status::Unspecified) | Err(_) => return Err(FetchError::TooLong),
    }
    if reply.bytes > bytes_max.min(limits::CHUNK_BYTES_MAX) {
        return Err(FetchError::TooLong);
    }
    let mut bytes = vec![0; reply.bytes as usize];
    stream.read_exact(&mut bytes).await.map_err(|error| frame_error(error.into()))?;
    Ok(Ok(bytes))
}

fn frame_error(error: FrameError) -> FetchError {
    match error {
        FrameError::Ended | FrameError::Broken(_) => FetchError::Disconnected,
        FrameError::TooLong { .. } | FrameError::Encoding => FetchError::TooLong,
        FrameError::TimedOut => FetchError::Timeout,
    }
}

/// The chunk is not here, or could not be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("this chunk is not on disk")]
pub struct ChunkMissing;

/// Whoever has weights on disk. Called where blocking is allowed.
pub trait ChunkSource: Send + Sync + 'static {
    /// Reads one chunk: at most `limits::CHUNK_BYTES_MAX` bytes.
    fn read(&self, artifact: &Digest, chunk: u32) -> Result<Vec<u8>, ChunkMissing>;
}

/// Serves chunks to members, a bounded number at once whoever asks.
#[derive(Clone)]
pub struct WeightsServer {
    source: Arc<dyn ChunkSource>,
    serving: Arc<Semaphore>,
    streams: Arc<Semaphore>,
}

impl WeightsServer {
    /// Serves what `source` holds.
    pub fn new(source: Arc<dyn ChunkSource>) -> WeightsServer {
        WeightsServer {
            source,
            serving: Arc::new(Semaphore::new(limits::CHUNKS_SERVED_MAX)),
            streams: Arc::new(Semaphore::new(limits::CHUNK_STREAMS_MAX)),
        }
    }

    /// Serves every stream that comes in, until the network ends.
    pub async fn run(self, mut incoming: mpsc::Receiver<(NodeId, Stream)>) {
        while let Some((node, stream)) = incoming.recv().await {
            let Ok(permit) = Arc::clone(&self.streams).try_acquire_owned() else {
                tracing::debug!(%node, "weight stream closed: too many are open");
                continue;
            };
            let server = self.clone();
            tokio::spawn(async move {
                server.serve_weights(stream, node).await;
                drop(permit);
            });
        }
    }

    /// Answers requests on one stream until it ends.
    pub async fn serve_weights<S: AsyncRead + AsyncWrite + Unpin>(&self, mut stream: S, node: NodeId) {
        loop {
            let asking = frame::read(&mut stream, limits::CHUNK_HEADER_BYTES_MAX);
            let request: v1::ChunkRequest =
                match tokio::time::timeout(std_duration(limits::CHUNK_STREAM_IDLE), asking).await {
                    Ok(Ok(request)) => request,
                    Ok(Err(FrameError::Ended)) | Err(_) => return,
                    Ok(Err(error)) => return tracing::debug!(%node, %error, "weight stream ended"),
                };
            let answering = tokio::time::timeout(std_duration(limits::CHUNK_WAIT), self.answer(&mut stream, &request));
            match answering.await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return tracing::debug!(%node, %error, "chunk not sent"),
                Err(_) => return tracing::debug!(%node, "chunk not sent: the peer reads too slowly"),
            }
        }
    }

    async fn answer<S: AsyncWrite + Unpin>(
        &self,
        stream: &mut S,
        request: &v1::ChunkRequest,
    ) -> Result<(), FrameError> {
        let Ok(artifact) = wire::array32("artifact", &request.artifact).map(Digest) else {
            return Err(FrameError::Encoding);
        };
        // Held until the last byte is out: the chunk is in memory that long.
        let Ok(_permit) = self.serving.try_acquire() else {
            return frame::write(stream, &header(Status::Busy, 0)).await;
        };
        let (source, chunk) = (Arc::clone(&self.source), request.chunk);
        let read = tokio::task::spawn_blocking(move || source.read(&artifact, chunk)).await;
        let Ok(Ok(bytes)) = read else {
            return frame::write(stream, &header(Status::Missing, 0)).await;
        };
        let length = u32::try_from(bytes.len()).ok().filter(|&length| length <= limits::CHUNK_BYTES_MAX);
        let Some(length) = length else {
            tracing::error!(bytes = bytes.len(), "a chunk longer than any chunk may be was not sent");
            return frame::write(stream, &header(Status::Missing, 0)).await;
        };
        stream.write_all(&header(Status::Ok, length).encode_length_delimited_to_vec()).await?;
        stream.write_all(&bytes).await?;
        Ok(stream.flush().await?)
    }
}

fn header(status: Status, bytes: u32) -> v1::ChunkReply {
    v1::ChunkReply { status: status.into(), bytes }
}
