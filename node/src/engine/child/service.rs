//! The child's gRPC service: one load, then answers through a bounded queue to the worker's thread.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use fednode_proto::v1;
use fednode_proto::v1::engine_server::Engine;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt as _};
use tokio::runtime::Handle;
use tokio::sync::{Mutex, oneshot, watch};
use tonic::{Request, Response, Status};

use super::worker::{Back, Ended, Job, Queue, Refused};
use crate::core::limits;
use crate::engine::reply::{self, ReplyStream};
use crate::engine::{CODE_BUSY, CODE_ENGINE_FAILED, CODE_NOT_RESIDENT, Failure, memory, std_duration};

/// The service's state: no model, then one, never another.
pub(super) struct Service {
    load_begun: AtomicBool,
    queue: Arc<OnceLock<Queue>>,
    /// Handed to the worker when it starts.
    ended: Mutex<Option<(Ended, oneshot::Sender<()>)>>,
}

impl Service {
    /// `ended` goes to the worker's thread; the receiver gets a message when the worker ends after a load that went well.
    pub(super) fn new(ended: Ended) -> (Service, oneshot::Receiver<()>) {
        let (gone_sender, gone) = oneshot::channel();
        let ended = Mutex::new(Some((ended, gone_sender)));
        (Service { load_begun: AtomicBool::new(false), queue: Arc::default(), ended }, gone)
    }
}

impl Service {
    /// Has the worker do something with one result.
    async fn ask<T>(&self, job: impl FnOnce(Back<T>) -> Job) -> Result<Response<T>, Status> {
        let queue = self.queue.get().ok_or_else(|| Status::failed_precondition("no model is loaded yet"))?;
        let (back, result) = oneshot::channel();
        if queue.push(job(back), Duration::ZERO).is_err() {
            return Err(Status::failed_precondition("too many requests wait for this replica"));
        }
        match result.await {
            Ok(Ok(result)) => Ok(Response::new(result)),
            Ok(Err(Failure { message, .. })) => Err(Status::failed_precondition(message)),
            Err(_) => Err(Status::internal("the worker has ended")),
        }
    }
}

/// How far a load is, now and then, and its end.
fn progress_until(
    progressed: watch::Receiver<(u64, u64)>,
    loaded: impl Future<Output = Result<v1::LoadEvent, Status>> + Send + 'static,
) -> impl Stream<Item = Result<v1::LoadEvent, Status>> + Send + 'static {
    let progress = futures::stream::unfold(progressed, async |mut progressed| {
        progressed.changed().await.ok()?;
        let (read_bytes, total_bytes) = *progressed.borrow_and_update();
        tokio::time::sleep(std_duration(limits::LOAD_PROGRESS_EVERY)).await;
        Some((Ok(v1::LoadEvent { read_bytes, total_bytes, loaded: None }), progressed))
    });
    let loaded = futures::stream::once(loaded);
    // The load's end ends the stream, whatever progress there still was to tell.
    let ends = |event: &Result<v1::LoadEvent, Status>| event.as_ref().map_or(true, |event| event.loaded.is_some());
    futures::stream::select(progress, loaded).scan(false, move |ended, event| {
        let before = std::mem::replace(ended, ends(&event));
        futures::future::ready((!before).then_some(event))
    })
}

#[tonic::async_trait]
impl Engine for Service {
    type LoadStream = BoxStream<'static, Result<v1::LoadEvent, Status>>;

    async fn load(&self, request: Request<v1::LoadRequest>) -> Result<Response<Self::LoadStream>, Status> {
        if self.load_begun.swap(true, Ordering::SeqCst) {
            return Err(Status::failed_precondition("this process has its model already; start another"));
        }
        let request = request.into_inner();
        cap_memory(request.private_bytes_max);
        let ended = self.ended.lock().await.take().ok_or_else(|| Status::internal("the worker has been started"))?;
        let (progress, progressed) = watch::channel((0, 0));
        let (place, started) = (Arc::clone(&self.queue), Queue::start(request, ended, progress));
        let loaded = async move {
            let (queue, reply) = started.await.map_err(Status::failed_precondition)?;
            // Only the first load comes this far.
            let _ = place.set(queue);
            Ok(v1::LoadEvent { loaded: Some(reply), ..v1::LoadEvent::default() })
        };
        Ok(Response::new(progress_until(progressed, loaded).boxed()))
    }

    type GenerateStream = ReplyStream;

    async fn generate(&self, request: Request<v1::GenerateRequest>) -> Result<Response<ReplyStream>, Status> {
        let (reply, stream) = reply::channel(Handle::current());
        match self.queue.get() {
            None => reply.error(CODE_NOT_RESIDENT, "no model is loaded yet"),
            Some(queue) => {
                let request = request.into_inner();
                let wait = Duration::from_millis(request.deadline_ms);
                let job = Job::Generate(Box::new((request, reply)));
                if let Err(refused) = queue.push(job, wait)
                    && let Refused { job: Job::Generate(generate), worker_gone } = *refused
                {
                    match worker_gone {
                        true => generate.1.error(CODE_ENGINE_FAILED, "the worker has ended"),
                        false => generate.1.error(CODE_BUSY, "too many requests wait for this replica"),
                    }
                }
            }
        }
        Ok(Response::new(stream))
    }

    async fn score(&self, request: Request<v1::ScoreRequest>) -> Result<Response<v1::ScoreReply>, Status> {
        self.ask(|back| Job::Score(request.into_inner(), back)).await
    }

    async fn embed(&self, request: Request<v1::EmbedRequest>) -> Result<Response<v1::EmbedReply>, Status> {
        self.ask(|back| Job::Embed(request.into_inner(), back)).await
    }

    async fn tokenize(&self, request: Request<v1::TokenizeRequest>) -> Result<Response<v1::TokenizeReply>, Status> {
        let tokens = self.ask(|back| Job::Tokenize(request.into_inner().text, back)).await?;
        Ok(Response::new(v1::TokenizeReply { tokens: tokens.into_inner(), pieces: Vec::new() }))
    }

    async fn status(&self, _: Request<v1::EngineStatusRequest>) -> Result<Response<v1::EngineStatus>, Status> {
        let footprint = memory::of_process(std::process::id()).unwrap_or_default();
        let queue = self.queue.get();
        Ok(Response::new(v1::EngineStatus {
            loaded: queue.is_some(),
            resident_bytes: footprint.resident_bytes,
            in_flight: queue.map_or(0, Queue::in_flight),
        }))
    }
}

/// Private writable memory this process has mapped, touched or not: what the kernel counts against `RLIMIT_DATA`.
#[cfg(target_os = "linux")]
fn mapped_data_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmData:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// The kernel refuses this process more than `private_bytes_max` of memory of its own; 0 is no cap. Mapped files do not
/// count, so the weights do not.
fn cap_memory(private_bytes_max: u64) {
    #[cfg(target_os = "linux")]
    if private_bytes_max > 0 {
        use rustix::process::{Resource, Rlimit, setrlimit};
        // What the process has mapped already (the allocator reserves much more than it uses) is not the model's doing.
        let bytes = private_bytes_max.saturating_add(mapped_data_bytes());
        let cap = Rlimit { current: Some(bytes), maximum: Some(bytes) };
        if let Err(error) = setrlimit(Resource::Data, cap) {
            tracing::warn!(%error, private_bytes_max, "no memory cap");
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = private_bytes_max;
}
