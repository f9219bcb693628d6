//! The engine room: runs a model in a child process of the node and streams its answers.
//!
//! What it is: the [`Engine`] seam that `driver` talks to, [`ChildEngine`] behind it (one child process per replica, so
//! that a crash stays inside and unloading really returns the memory), and the child's own side (`run_child`, the
//! hidden subcommand `fednode engine`). What it is not: it chooses no replica, verifies no file (the node did) and
//! knows no network but the servers that its owner named (`external`). Files: `supervise`, `child_process` and `oom` are the
//! node's side; `child`, `model` and `reply` the child's; `llama` is the only `unsafe` of this crate; `template` and `text` are pure.

pub mod template;

#[cfg(feature = "llama")]
mod answer;
mod bare_loop;
#[cfg(feature = "llama")]
mod batching;
mod child;
mod child_process;
#[cfg(feature = "llama")]
mod constraint;
mod external;
#[cfg(feature = "llama")]
mod llama;
#[cfg(feature = "llama")]
mod logprobs;
mod memory;
#[cfg_attr(not(feature = "llama"), path = "model_absent.rs")]
mod model;
mod oom;
#[cfg(feature = "llama")]
mod prefetch;
mod reply;
mod supervise;
#[cfg(feature = "llama")]
mod text;
#[cfg(feature = "llama")]
mod turn;

use std::path::PathBuf;

use fednode_proto::v1;
use futures::future::BoxFuture;
use tokio::sync::mpsc;

pub use bare_loop::{BareLoop, bare_loop};
pub use child::run_child;
pub use external::{ExternalEngine, listed, may_ask, models_at};
pub use oom::{Kills, Verdict};
pub use supervise::ChildEngine;

/// `GenerateError.code`: the queue is full, or the deadline passed in it.
pub const CODE_BUSY: &str = "busy";
/// `GenerateError.code`: the request cannot be served by this model as it is put.
pub const CODE_BAD_REQUEST: &str = "bad_request";
/// `GenerateError.code`: the prompt does not fit in the context.
pub const CODE_CONTEXT_LENGTH: &str = "context_length";
/// `GenerateError.code`: the engine broke; another replica may serve the request.
pub const CODE_ENGINE_FAILED: &str = "engine_failed";
/// `GenerateError.code`: the child has no model yet.
pub const CODE_NOT_RESIDENT: &str = "not_resident";

/// Something that runs one replica. The driver knows engines only through this.
pub trait Engine: Send + Sync {
    /// Streams the answer: at most one Start, then text, then exactly one End or Error. Dropping the receiver cancels.
    /// Must be called inside a tokio runtime.
    fn generate(&self, request: v1::GenerateRequest) -> mpsc::Receiver<v1::GenerateEvent>;
    /// How likely the model finds given tokens.
    fn score(&self, request: v1::ScoreRequest) -> BoxFuture<'static, Result<v1::ScoreReply, EngineError>>;
    /// Texts as vectors of length one: the model's last hidden state.
    fn embed(&self, request: v1::EmbedRequest) -> BoxFuture<'static, Result<v1::EmbedReply, EngineError>>;
    /// The tokens of a text, special ones in it recognised, none added.
    fn tokenize(&self, text: String) -> BoxFuture<'static, Result<Vec<u32>, EngineError>>;
    /// Its process on this machine; `None` when it is not one of this node's.
    fn pid(&self) -> Option<u32>;
    /// Resolves when the engine has ended, with how.
    fn exited(&self) -> BoxFuture<'static, String>;
    /// Did somebody else than this node kill it: the system itself, perhaps? Known once it has ended.
    fn was_killed_by_others(&self) -> bool {
        false
    }
    /// Ends the engine and waits until it is gone.
    fn stop(&self) -> BoxFuture<'_, ()>;
    /// The memory it occupies now; `None` when it cannot be measured (not Linux, or already gone).
    fn footprint(&self) -> Option<Footprint>;
}

/// The memory of a running engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    /// Resident now, mapped weights included.
    pub resident_bytes: u64,
    /// The most that was ever resident.
    pub peak_bytes: u64,
    /// Of what is resident, what no file holds too: KV cache, buffers, heap.
    pub private_bytes: u64,
    /// Locked in memory.
    pub locked_bytes: u64,
}

/// What a child is to load.
#[derive(Clone, Debug)]
pub struct LoadSpec {
    /// The model, a GGUF file that the node has verified.
    pub path: PathBuf,
    /// LoRA adapters by domain; all stay attached.
    pub adapters: Vec<(String, PathBuf)>,
    /// Tokens of context of one sequence.
    pub context: u32,
    /// Sequences that the KV cache has room for.
    pub parallel: u32,
    /// Compute threads; the node divides its budget among its children (DESIGN 16).
    pub threads: u32,
    /// The most memory the child may allocate beside the mapped weights: KV cache, buffers, heap. `None`: no cap. Linux
    /// only; a child that needs more fails its load or ends, and the node lives on (DESIGN 6).
    pub private_bytes_max: Option<u64>,
    /// Where the children of this node take turns at computing (see `turn`); `None`: it computes whenever it likes.
    pub turn_folder: Option<PathBuf>,
    /// Keep the weights in memory, whatever else needs it.
    pub lock: bool,
    /// The GPU that holds and computes all of it, as [`devices`] names it, or several, between [`DEVICES_SEPARATOR`]s, over
    /// which its layers are split; `None`: the CPU, in host memory.
    pub device: Option<String>,
}

/// Between the names of GPUs that share a model.
pub const DEVICES_SEPARATOR: &str = ",";

/// A GPU that the engine can compute on.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Device {
    /// The engine's name of it, such as `CUDA0`.
    pub name: String,
    /// As its maker calls it.
    pub model: String,
    /// Its place on the bus, such as `0000:c1:00.0`; empty if nobody knows.
    pub pci: String,
    /// All of its memory, bytes.
    pub total_bytes: u64,
    /// What nobody uses, bytes.
    pub free_bytes: u64,
    /// It has no memory of its own, but computes in the machine's.
    pub integrated: bool,
}

/// The GPUs that this build's engine can compute on. Starts their drivers: for a process that may hang, or end, with them.
pub fn devices() -> Vec<Device> {
    #[cfg(feature = "llama")]
    return llama::devices();
    #[cfg(not(feature = "llama"))]
    Vec::new()
}

/// Is this build's engine made for GPUs at all?
pub const FOR_GPUS: bool = cfg!(any(feature = "cuda", feature = "metal", feature = "vulkan"));

/// What a load has taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// All tensors of the model, without adapters.
    pub weights_bytes: u64,
    /// The KV cache, F16, all sequences.
    pub kv_bytes: u64,
    /// Of the process, after the load; an estimate where the system cannot tell.
    pub resident_bytes: u64,
    /// Buffers of the computation.
    pub compute_bytes: u64,
    /// The most that was resident.
    pub peak_bytes: u64,
    /// From the request to a model that answers.
    pub load_ms: u32,
}

/// How far a load is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoadProgress {
    /// Bytes of its files that are in memory.
    pub read_bytes: u64,
    /// Of so many.
    pub total_bytes: u64,
}

/// Why an engine could not be started or run.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error("cannot make a private folder for the engine's socket in {folder}: {source}")]
    SocketFolder { folder: PathBuf, source: std::io::Error },
    #[error("cannot listen on the engine's socket {socket}: {source}")]
    Listen { socket: PathBuf, source: std::io::Error },
    #[error("cannot start the engine process {exe}: {source}")]
    Spawn { exe: PathBuf, source: std::io::Error },
    #[error("the engine process did not become ready within {seconds} s")]
    NotReady { seconds: u64 },
    #[error("the engine process ended before it was ready: {how}")]
    EndedEarly { how: String },
    #[error("cannot reach the engine process over its socket: {0}")]
    Connect(#[from] tonic::transport::Error),
    #[error("the path {0} is not UTF-8; move the model to a path that is")]
    PathNotUtf8(PathBuf),
    #[error("the engine could not load {path}: {reason}")]
    Load { path: PathBuf, reason: String },
    #[error("the engine did not do it: {0}")]
    Refused(String),
    #[error("an external engine is not asked to {0}: chatting is all that such servers have in common")]
    External(&'static str),
    #[error("the engine's own service failed: {0}")]
    Serve(String),
    #[error("cannot start a thread or runtime for the engine: {0}")]
    Runtime(std::io::Error),
}

/// Why the child did not do what was asked of it.
#[cfg_attr(not(feature = "llama"), allow(dead_code, reason = "without an engine nothing is asked"))]
struct Failure {
    code: &'static str,
    message: String,
}

#[cfg(feature = "llama")]
impl Failure {
    fn new(code: &'static str, message: impl Into<String>) -> Failure {
        Failure { code, message: message.into() }
    }
}

/// This very program, even if an upgrade has put another one in its place since it was started.
pub fn own_program() -> Result<PathBuf, String> {
    let running = PathBuf::from("/proc/self/exe");
    if running.exists() {
        return Ok(running);
    }
    std::env::current_exe().map_err(|error| format!("cannot find this program's file: {error}"))
}

/// What the child writes on its standard output once its socket listens.
const READY: &str = "ready";

fn std_duration(duration: crate::core::types::Duration) -> std::time::Duration {
    std::time::Duration::from_nanos(duration.0)
}

fn error_event(code: &str, message: impl Into<String>) -> v1::GenerateEvent {
    let error = v1::GenerateError { code: code.to_owned(), message: message.into() };
    v1::GenerateEvent { event: Some(v1::generate_event::Event::Error(error)) }
}
