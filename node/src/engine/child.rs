//! The child's side: the body of the hidden `fednode engine --socket PATH`. Serves one model over a private Unix socket
//! until the node closes the child's standard input, which also happens when the node dies.
//!
//! Nothing blocking runs on the async thread: loading and computing belong to the worker's thread.

mod service;
mod worker;

use std::io::{Read as _, Write as _};
use std::path::PathBuf;

use fednode_proto::v1::engine_server::EngineServer;
use tokio::net::UnixListener;
use tokio::sync::oneshot;
use tokio_stream::wrappers::UnixListenerStream;
use tracing_subscriber::EnvFilter;

use self::service::Service;
use self::worker::Ended;
use super::{EngineError, READY, std_duration};
use crate::core::limits;

/// Serves until the node goes away or the worker ends. Blocks the calling thread; call it from `main`.
pub fn run_child(socket: PathBuf) -> Result<(), EngineError> {
    log_to_stderr();
    allow_huge_pages();
    end_with_the_node();
    offer_to_the_oom_killer();
    let node_gone = watch_stdin()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(EngineError::Runtime)?;
    let (ended_sender, ended) = worker::ended();
    let outcome = runtime.block_on(serve(socket, node_gone, ended_sender));
    // Ends every stream, which cancels what is being computed, and closes the queue, which ends the worker.
    drop(runtime);
    if !ended.wait_for(std_duration(limits::ENGINE_STOP)) {
        kill_self();
    }
    outcome
}

async fn serve(socket: PathBuf, node_gone: oneshot::Receiver<()>, ended: Ended) -> Result<(), EngineError> {
    let listen_error = |source| EngineError::Listen { socket: socket.clone(), source };
    let listener = UnixListener::bind(&socket).map_err(listen_error)?;
    let (service, worker_gone) = Service::new(ended);
    // Room for the largest request that the HTTP edge lets through, and its framing.
    let service = EngineServer::new(service).max_decoding_message_size(2 * limits::HTTP_BODY_BYTES_MAX);
    let server = tonic::transport::Server::builder().serve_with_incoming(service, UnixListenerStream::new(listener));
    announce().map_err(listen_error)?;
    tokio::select! {
        served = server => served.map_err(|error| EngineError::Serve(error.to_string())),
        _ = node_gone => Ok(()),
        Ok(()) = worker_gone => Err(EngineError::Serve("the computing thread ended".to_owned())),
    }
}

/// The node itself does without huge pages, and its children would inherit that: buffers of gigabytes are what they are for.
fn allow_huge_pages() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(false) {
        tracing::debug!(%error, "huge pages stay off");
    }
}

/// Tells the node that the socket listens.
fn announce() -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{READY}")?;
    out.flush()
}

/// The node passes standard error on to its own log, which adds the time. A subscriber set before stays.
fn log_to_stderr() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if let Err(error) = subscriber.with_ansi(false).without_time().try_init() {
        tracing::debug!(%error, "logging was set up before");
    }
}

/// Linux kills this process when the node's thread that started it ends; that thread lives as long as this process.
fn end_with_the_node() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL)) {
        tracing::warn!(%error, "no death signal from the parent; standard input alone tells");
    }
}

/// When memory runs out, a replica is the right thing to lose: the node can load it again.
fn offer_to_the_oom_killer() {
    #[cfg(target_os = "linux")]
    if let Err(error) = std::fs::write("/proc/self/oom_score_adj", "500") {
        tracing::debug!(%error, "oom_score_adj stays as it is");
    }
}

/// Resolves when standard input ends. Whatever else comes in on it is ignored.
fn watch_stdin() -> Result<oneshot::Receiver<()>, EngineError> {
    let (gone_sender, gone) = oneshot::channel();
    let watch = move || {
        let mut ignored = [0u8; 64];
        let mut stdin = std::io::stdin().lock();
        while stdin.read(&mut ignored).is_ok_and(|len| len > 0) {}
        // Nobody waits any more when the process is ending already.
        let _ = gone_sender.send(());
        std::thread::sleep(std_duration(limits::ENGINE_STOP));
        kill_self();
    };
    std::thread::Builder::new().name("stdin".to_owned()).spawn(watch).map_err(EngineError::Runtime)?;
    Ok(gone)
}

/// The way out when native code does not return: no destructors that could hang.
fn kill_self() {
    if let Err(error) = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL) {
        tracing::error!(%error, "cannot kill this process");
    }
}
