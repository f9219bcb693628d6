//! The node's side of an embedded engine: starts the child, loads, streams answers from it, and ends it.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use fednode_proto::v1;
use fednode_proto::v1::engine_client::EngineClient;
use fednode_proto::v1::generate_event::Event;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use hyper_util::rt::TokioIo;
use tempfile::TempDir;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tonic::transport::{Channel, Endpoint, Uri};

use super::child_process::{ChildProcess, KillOnDrop};
use super::{
    CODE_ENGINE_FAILED, Engine, EngineError, Footprint, LoadProgress, LoadSpec, Loaded, error_event, memory,
    std_duration,
};
use crate::core::limits;

/// A socket's path has at most this many bytes on every Unix: macOS allows 103, Linux 107.
const SOCKET_PATH_BYTES_MAX: usize = 103;

/// A replica in a child process of this node. Dropping it kills the child.
pub struct ChildEngine {
    process: ChildProcess,
    client: EngineClient<Channel>,
    /// Holds the socket; removed with this engine.
    folder: Option<TempDir>,
}

impl ChildEngine {
    /// Starts `EXE engine --socket …` with its socket in a private folder under `run_dir`, and loads. Dropping the future
    /// kills the child. The time a load takes is the disk's and has no limit here; `progress` hears how far it is.
    pub async fn start(
        exe: &Path,
        run_dir: &Path,
        spec: &LoadSpec,
        progress: impl Fn(LoadProgress) + Send,
    ) -> Result<(ChildEngine, Loaded), EngineError> {
        let run_dir = run_dir.to_owned();
        let made = tokio::task::spawn_blocking(move || socket_folder(&run_dir));
        let (folder, socket) = made.await.map_err(|error| EngineError::Runtime(std::io::Error::other(error)))??;
        let request = load_request(spec)?;
        let process = ChildProcess::start(exe, &socket).await?;
        let guard = KillOnDrop::new(process);
        let mut client = EngineClient::new(connect(socket).await?);
        let reply = match load(&mut client, request, progress).await {
            Ok(reply) => reply,
            Err(status) => {
                let path = spec.path.clone();
                return Err(EngineError::Load { path, reason: reason_of(guard.process(), status).await });
            }
        };
        let loaded = Loaded {
            weights_bytes: reply.weights_bytes,
            kv_bytes: reply.kv_bytes,
            resident_bytes: reply.resident_bytes,
            compute_bytes: reply.compute_bytes,
            peak_bytes: reply.peak_bytes,
            load_ms: reply.load_ms,
        };
        Ok((ChildEngine { process: guard.disarm(), client, folder: Some(folder) }, loaded))
    }

    /// Streams the answer; dropping the receiver cancels it in the child within one decoding step. Ends with exactly one
    /// End or Error, also when the child dies. Must be called inside a tokio runtime.
    pub fn generate(&self, request: v1::GenerateRequest) -> mpsc::Receiver<v1::GenerateEvent> {
        let (events_sender, events) = mpsc::channel(limits::ENGINE_EVENTS_MAX);
        tokio::spawn(forward(self.client.clone(), self.process.clone(), request, events_sender));
        events
    }

    /// Resolves when the child has ended, with how, e.g. "killed by signal 9".
    pub fn exited(&self) -> impl Future<Output = String> + Send + 'static + use<> {
        self.process.exited()
    }

    /// The child's process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Asks the child to end, kills it when it does not, and returns when it is gone and its memory free.
    pub async fn stop(&self) {
        self.process.close_stdin();
        if tokio::time::timeout(std_duration(limits::ENGINE_STOP), self.exited()).await.is_err() {
            self.process.kill();
            self.exited().await;
        }
    }
}

impl Engine for ChildEngine {
    fn generate(&self, request: v1::GenerateRequest) -> mpsc::Receiver<v1::GenerateEvent> {
        ChildEngine::generate(self, request)
    }

    fn score(&self, request: v1::ScoreRequest) -> BoxFuture<'static, Result<v1::ScoreReply, EngineError>> {
        let (mut client, process) = (self.client.clone(), self.process.clone());
        async move { told(&process, client.score(request).await).await }.boxed()
    }

    fn embed(&self, request: v1::EmbedRequest) -> BoxFuture<'static, Result<v1::EmbedReply, EngineError>> {
        let (mut client, process) = (self.client.clone(), self.process.clone());
        async move { told(&process, client.embed(request).await).await }.boxed()
    }

    fn tokenize(&self, text: String) -> BoxFuture<'static, Result<Vec<u32>, EngineError>> {
        let (mut client, process) = (self.client.clone(), self.process.clone());
        let request = v1::TokenizeRequest { text };
        async move { Ok(told(&process, client.tokenize(request).await).await?.tokens) }.boxed()
    }

    fn pid(&self) -> Option<u32> {
        Some(ChildEngine::pid(self))
    }

    fn exited(&self) -> BoxFuture<'static, String> {
        ChildEngine::exited(self).boxed()
    }

    fn was_killed_by_others(&self) -> bool {
        self.process.was_killed_by_others()
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        ChildEngine::stop(self).boxed()
    }

    fn footprint(&self) -> Option<Footprint> {
        if self.process.has_ended() { None } else { memory::of_process(self.pid()) }
    }
}

impl Drop for ChildEngine {
    fn drop(&mut self) {
        self.process.kill();
        let folder = self.folder.take();
        // Off the runtime's workers: a disk is asked.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn_blocking(move || drop(folder));
        }
    }
}

/// A private folder (mode 0700) and the socket's path in it. Where the path would be too long
/// for a socket, the folder is among the system's temporary files instead.
fn socket_folder(run_dir: &Path) -> Result<(TempDir, PathBuf), EngineError> {
    let make = |parent: &Path| -> Result<(TempDir, PathBuf), EngineError> {
        let private = Permissions::from_mode(0o700);
        let folder = tempfile::Builder::new().prefix("engine-").permissions(private).tempdir_in(parent);
        let folder = folder.map_err(|source| EngineError::SocketFolder { folder: parent.to_owned(), source })?;
        let socket = folder.path().join("socket");
        Ok((folder, socket))
    };
    std::fs::create_dir_all(run_dir)
        .map_err(|source| EngineError::SocketFolder { folder: run_dir.to_owned(), source })?;
    let (folder, socket) = make(run_dir)?;
    if socket.as_os_str().len() <= SOCKET_PATH_BYTES_MAX { Ok((folder, socket)) } else { make(&std::env::temp_dir()) }
}

fn load_request(spec: &LoadSpec) -> Result<v1::LoadRequest, EngineError> {
    let text = |path: &Path| path.to_str().map(str::to_owned).ok_or_else(|| EngineError::PathNotUtf8(path.to_owned()));
    let adapters =
        spec.adapters.iter().map(|(domain, path)| Ok(v1::EngineAdapter { domain: domain.clone(), path: text(path)? }));
    Ok(v1::LoadRequest {
        path: text(&spec.path)?,
        adapters: adapters.collect::<Result<_, EngineError>>()?,
        context: spec.context,
        parallel: spec.parallel,
        threads: spec.threads,
        private_bytes_max: spec.private_bytes_max.unwrap_or(0),
        turn_folder: spec.turn_folder.as_deref().map(text).transpose()?.unwrap_or_default(),
        lock: spec.lock,
        device: spec.device.clone().unwrap_or_default(),
    })
}

async fn load(
    client: &mut EngineClient<Channel>,
    request: v1::LoadRequest,
    progress: impl Fn(LoadProgress),
) -> Result<v1::LoadReply, tonic::Status> {
    let mut events = client.load(request).await?.into_inner();
    while let Some(event) = events.message().await? {
        progress(LoadProgress { read_bytes: event.read_bytes, total_bytes: event.total_bytes });
        if let Some(loaded) = event.loaded {
            return Ok(loaded);
        }
    }
    Err(tonic::Status::internal("the load broke off"))
}

async fn connect(socket: PathBuf) -> Result<Channel, EngineError> {
    // The address is never looked up: the connector below goes to the socket.
    let endpoint = Endpoint::from_static("http://engine.invalid");
    let connector = tower::service_fn(move |_: Uri| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    Ok(endpoint.connect_with_connector(connector).await?)
}

/// Passes one answer on, and makes sure that it ends with one terminal event. Ends early when nobody listens.
async fn forward(
    mut client: EngineClient<Channel>,
    process: ChildProcess,
    request: v1::GenerateRequest,
    events: mpsc::Sender<v1::GenerateEvent>,
) {
    let answer = async {
        let mut stream = client.generate(request).await?.into_inner();
        while let Some(event) = stream.message().await? {
            let terminal = matches!(event.event, Some(Event::End(_) | Event::Error(_)));
            if events.send(event).await.is_err() || terminal {
                return Ok(());
            }
        }
        Err(tonic::Status::internal("the answer broke off"))
    };
    // Leaving `answer` drops its stream, which the child notices.
    let outcome: Result<(), tonic::Status> = tokio::select! {
        outcome = answer => outcome,
        () = events.closed() => return,
    };
    if let Err(status) = outcome {
        let reason = reason_of(&process, status).await;
        // Whoever stopped listening needs no reason.
        let _ = events.send(error_event(CODE_ENGINE_FAILED, reason)).await;
    }
}

/// The answer to one question.
async fn told<T>(process: &ChildProcess, answer: Result<tonic::Response<T>, tonic::Status>) -> Result<T, EngineError> {
    match answer {
        Ok(answer) => Ok(answer.into_inner()),
        Err(status) => Err(EngineError::Refused(reason_of(process, status).await)),
    }
}

/// Why a call failed: the child's answer, or else how it ended. A broken connection is noticed a little before the end of
/// the process behind it.
async fn reason_of(process: &ChildProcess, status: tonic::Status) -> String {
    // The one code with which the child itself refuses.
    if status.code() == tonic::Code::FailedPrecondition {
        return status.message().to_owned();
    }
    match tokio::time::timeout(std_duration(limits::ENGINE_EXIT_NOTICE), process.exited()).await {
        Ok(how) => format!("the engine process is gone: {how}"),
        Err(_) => status.message().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sockets_folder_is_private_and_removed() {
        let run_dir = tempfile::tempdir().unwrap();
        let (folder, socket) = socket_folder(&run_dir.path().join("run")).unwrap();
        assert_eq!(std::fs::metadata(folder.path()).unwrap().permissions().mode() & 0o777, 0o700);
        assert!(socket.starts_with(run_dir.path()));
        drop(folder);
        assert!(!socket.parent().unwrap().exists());
    }

    #[test]
    fn a_path_too_long_for_a_socket_is_avoided() {
        let run_dir = tempfile::tempdir().unwrap();
        let (_folder, socket) = socket_folder(&run_dir.path().join("x".repeat(120))).unwrap();
        assert!(socket.as_os_str().len() <= SOCKET_PATH_BYTES_MAX);
    }
}
