//! The weight data plane: chunks asked for and sent on streams of their own, several in flight per member. Bytes are not
//! judged here: the caller hashes what it gets (DESIGN 10), piece by piece while it still lies in the processor's cache.
//! Whoever sends never has a whole chunk in memory, whoever receives has it once, where the caller wants it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use fednode_proto::v1;
use fednode_proto::v1::chunk_reply::Status;
use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use futures::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use prost::Message;
use tokio::sync::{Semaphore, mpsc};

use crate::core::limits;
use crate::core::types::{Digest, NodeId};
use crate::net::frame::{self, FrameError};
use crate::net::{Accepted, NetError, NetHandle, Protocol, Stream, std_duration};
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

/// Is shown each piece of a chunk as it comes.
pub type Seen<'a> = dyn FnMut(&[u8]) + Send + 'a;

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

    /// Fetches chunk number `chunk` of `artifact` into `into`, unverified; says how many bytes came, which is never more
    /// than there is room for. Each piece is shown to `seen` as it comes, in order and once.
    pub async fn fetch(
        &self,
        node: NodeId,
        artifact: Digest,
        chunk: u32,
        into: &mut [u8],
        seen: &mut Seen<'_>,
    ) -> Result<usize, FetchError> {
        let lanes = self.lanes_to(node);
        let request = v1::ChunkRequest { artifact: artifact.0.to_vec(), chunk };
        let _permit = lanes.in_flight.acquire().await.map_err(|_| FetchError::Disconnected)?;
        self.fetch_on(&lanes, node, &request, into, seen).await
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
        into: &mut [u8],
        seen: &mut Seen<'_>,
    ) -> Result<usize, FetchError> {
        loop {
            let idle = lanes.take_idle();
            let was_idle = idle.is_some();
            let mut stream = match idle {
                Some(stream) => stream,
                None => self.net.open_stream(node, Protocol::Weights).await.map_err(open_error)?,
            };
            let length = match in_time(ask(&mut stream, request, into.len())).await {
                Ok(Ok(length)) => length,
                Ok(Err(error)) => {
                    lanes.put_idle(stream);
                    return Err(error);
                }
                // A stream that lay idle may have died with its connection; each try uses one up, and a new one is final.
                Err(FetchError::Disconnected) if was_idle => continue,
                Err(error) => return Err(error),
            };
            receive(&mut stream, &mut into[..length], seen).await?;
            lanes.put_idle(stream);
            return Ok(length);
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

/// One question, and how long the chunk is that follows. The outer error ends the stream; the inner one leaves it usable.
async fn ask<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    request: &v1::ChunkRequest,
    bytes_max: usize,
) -> Result<Result<usize, FetchError>, FetchError> {
    frame::write(stream, request).await.map_err(frame_error)?;
    let reply: v1::ChunkReply = frame::read(stream, limits::CHUNK_HEADER_BYTES_MAX).await.map_err(frame_error)?;
    match Status::try_from(reply.status) {
        Ok(Status::Ok) => {}
        Ok(Status::Missing) => return Ok(Err(FetchError::Missing)),
        Ok(Status::Busy) => return Ok(Err(FetchError::Busy)),
        Ok(Status::Unspecified) | Err(_) => return Err(FetchError::TooLong),
    }
    let length = reply.bytes as usize;
    if length > bytes_max { Err(FetchError::TooLong) } else { Ok(Ok(length)) }
}

/// Fills `into`, showing each piece as it comes.
async fn receive<S: AsyncRead + Unpin>(stream: &mut S, into: &mut [u8], seen: &mut Seen<'_>) -> Result<(), FetchError> {
    let mut end = 0;
    while end < into.len() {
        let stop = into.len().min(end + limits::CHUNK_PIECE_BYTES);
        in_time(receive_piece(stream, &mut into[end..stop], seen)).await?;
        end = stop;
    }
    Ok(())
}

async fn receive_piece<S: AsyncRead + Unpin>(
    stream: &mut S,
    into: &mut [u8],
    seen: &mut Seen<'_>,
) -> Result<(), FetchError> {
    let mut end = 0;
    while end < into.len() {
        match stream.read(&mut into[end..]).await {
            Ok(0) => return Err(FetchError::Disconnected),
            Ok(read) => {
                seen(&into[end..end + read]);
                end += read;
            }
            Err(error) => return Err(frame_error(error.into())),
        }
    }
    Ok(())
}

/// Each step of a chunk has its own limit: a slow line carries many chunks at once, and none of them is late as long as each
/// goes on. How long a source may take in all is the core's to judge.
async fn in_time<T>(step: impl Future<Output = Result<T, FetchError>>) -> Result<T, FetchError> {
    tokio::time::timeout(std_duration(limits::CHUNK_WAIT), step).await.unwrap_or(Err(FetchError::Timeout))
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
    /// Reads a piece of one chunk, from its byte `from` on: fills `piece`, or shortens it to what is left. Says how long the
    /// whole chunk is.
    fn read(&self, artifact: &Digest, chunk: u32, from: u32, piece: &mut Vec<u8>) -> Result<u32, ChunkMissing>;

    /// Waits until `bytes` more may leave this machine.
    fn pass(&self, _bytes: usize) -> BoxFuture<'_, ()> {
        ready(()).boxed()
    }

    /// Chunks that are served at once.
    fn served_max(&self) -> usize {
        limits::CHUNKS_SERVED_MAX
    }
}

/// Serves chunks to members, a bounded number at once whoever asks.
#[derive(Clone)]
pub struct WeightsServer {
    source: Arc<dyn ChunkSource>,
    serving: Arc<Semaphore>,
    /// Chunks being served, by member.
    members: Arc<Mutex<BTreeMap<NodeId, usize>>>,
    streams: Arc<Semaphore>,
}

impl WeightsServer {
    /// Serves what `source` holds.
    pub fn new(source: Arc<dyn ChunkSource>) -> WeightsServer {
        WeightsServer {
            serving: Arc::new(Semaphore::new(source.served_max())),
            members: Arc::default(),
            source,
            streams: Arc::new(Semaphore::new(limits::CHUNK_STREAMS_MAX)),
        }
    }

    /// Serves every stream that comes in, until the network ends.
    pub async fn run(self, mut incoming: mpsc::Receiver<(NodeId, Accepted)>) {
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
            if let Err(error) = self.answer(&mut stream, node, &request).await {
                return tracing::debug!(%node, %error, "chunk not sent");
            }
        }
    }

    async fn answer<S: AsyncWrite + Unpin>(
        &self,
        stream: &mut S,
        node: NodeId,
        request: &v1::ChunkRequest,
    ) -> Result<(), FrameError> {
        let Ok(artifact) = wire::array32("artifact", &request.artifact).map(Digest) else {
            return Err(FrameError::Encoding);
        };
        // Held until the last byte is out: a piece of the chunk is in memory that long.
        let (Some(_share), Ok(_permit)) = (Share::take(&self.members, node), self.serving.try_acquire()) else {
            return frame::write(stream, &header(Status::Busy, 0)).await;
        };
        let Ok((length, mut piece)) = self.read(artifact, request.chunk, 0, Vec::new()).await else {
            return frame::write(stream, &header(Status::Missing, 0)).await;
        };
        if length > limits::CHUNK_BYTES_MAX {
            tracing::error!(bytes = length, "a chunk longer than any chunk may be was not sent");
            return frame::write(stream, &header(Status::Missing, 0)).await;
        }
        stream.write_all(&header(Status::Ok, length).encode_length_delimited_to_vec()).await?;
        let mut sent = 0;
        loop {
            self.source.pass(piece.len()).await;
            let writing = tokio::time::timeout(std_duration(limits::CHUNK_WAIT), stream.write_all(&piece));
            writing.await.map_err(|_| FrameError::TimedOut)??;
            sent += piece.len() as u32; // at most `length`
            if sent >= length || piece.is_empty() {
                return Ok(stream.flush().await?);
            }
            // The peer was promised more: the stream ends when it cannot be had.
            let read = self.read(artifact, request.chunk, sent, piece).await;
            (_, piece) = read.map_err(|ChunkMissing| FrameError::Ended)?;
        }
    }

    /// Reads one piece where blocking is allowed.
    async fn read(
        &self,
        artifact: Digest,
        chunk: u32,
        from: u32,
        mut piece: Vec<u8>,
    ) -> Result<(u32, Vec<u8>), ChunkMissing> {
        let source = Arc::clone(&self.source);
        let read = tokio::task::spawn_blocking(move || {
            piece.resize(limits::CHUNK_PIECE_BYTES, 0);
            source.read(&artifact, chunk, from, &mut piece).map(|length| (length, piece))
        });
        read.await.unwrap_or(Err(ChunkMissing))
    }
}

/// One member's place among the chunks being served: no member can take them all by asking and not reading.
struct Share {
    members: Arc<Mutex<BTreeMap<NodeId, usize>>>,
    node: NodeId,
}

impl Share {
    fn take(members: &Arc<Mutex<BTreeMap<NodeId, usize>>>, node: NodeId) -> Option<Share> {
        let mut counts = members.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(node).or_default();
        if *count >= limits::CHUNKS_SERVED_PER_MEMBER_MAX {
            return None;
        }
        *count += 1;
        Some(Share { members: Arc::clone(members), node })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut counts = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        let left = counts.get(&self.node).map_or(0, |count| count.saturating_sub(1));
        if left == 0 {
            counts.remove(&self.node);
        } else {
            counts.insert(self.node, left);
        }
    }
}

fn header(status: Status, bytes: u32) -> v1::ChunkReply {
    v1::ChunkReply { status: status.into(), bytes }
}
