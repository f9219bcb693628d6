//! The child's gRPC service: one load, then answers through a bounded queue to the worker's thread.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use fednode_proto::v1;
use fednode_proto::v1::engine_server::Engine;
use tokio::runtime::Handle;
use tokio::sync::{Mutex, oneshot};
use tonic::{Request, Response, Status};

use super::worker::{Ended, Queue};
use crate::engine::reply::{self, ReplyStream};
use crate::engine::{CODE_BUSY, CODE_ENGINE_FAILED, CODE_NOT_RESIDENT, memory};

/// The service's state: no model, then one, never another.
pub(super) struct Service {
    load_begun: AtomicBool,
    queue: OnceLock<Queue>,
    /// Handed to the worker when it starts.
    ended: Mutex<Option<(Ended, oneshot::Sender<()>)>>,
}

impl Service {
    /// `ended` goes to the worker's thread; the receiver gets a message when the worker ends after a load that went well.
    pub(super) fn new(ended: Ended) -> (Service, oneshot::Receiver<()>) {
        let (gone_sender, gone) = oneshot::channel();
        let ended = Mutex::new(Some((ended, gone_sender)));
        (Service { load_begun: AtomicBool::new(false), queue: OnceLock::new(), ended }, gone)
    }
}

#[tonic::async_trait]
impl Engine for Service {
    async fn load(&self, request: Request<v1::LoadRequest>) -> Result<Response<v1::LoadReply>, Status> {
        if self.load_begun.swap(true, Ordering::SeqCst) {
            return Err(Status::failed_precondition("this process has its model already; start another"));
        }
        let request = request.into_inner();
        cap_memory(request.private_bytes_max);
        let ended = self.ended.lock().await.take().ok_or_else(|| Status::internal("the worker has been started"))?;
        let (queue, reply) = Queue::start(request, ended).await.map_err(Status::failed_precondition)?;
        // Only the first load comes this far.
        let _ = self.queue.set(queue);
        Ok(Response::new(reply))
    }

    type GenerateStream = ReplyStream;

    async fn generate(&self, request: Request<v1::GenerateRequest>) -> Result<Response<ReplyStream>, Status> {
        let (reply, stream) = reply::channel(Handle::current());
        match self.queue.get() {
            None => reply.error(CODE_NOT_RESIDENT, "no model is loaded yet"),
            Some(queue) => match queue.push(request.into_inner(), reply) {
                Ok(()) => {}
                Err(refused) if refused.worker_gone => refused.reply.error(CODE_ENGINE_FAILED, "the worker has ended"),
                Err(refused) => refused.reply.error(CODE_BUSY, "too many requests wait for this replica"),
            },
        }
        Ok(Response::new(stream))
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
