//! One child process seen from the node: starts it, waits for it on a thread of its own, says how it ended, kills it.
//!
//! The thread that starts the child lives exactly as long as the child. Linux delivers the parent's death signal when the
//! *thread* that started a child ends, so a thread of a pool would not do.

use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use tokio::sync::{oneshot, watch};

use super::{EngineError, READY, std_duration};
use crate::core::limits;

/// GPUs are to sum products of F16 numbers in F32. Left to themselves they sum in F16 where that is faster, and are then as far from
/// the model's answers as its Q8_0 copy is (ARCHITECTURE, decision 81).
const FULL_PRECISION: [(&str, &str); 2] = [("GGML_VK_DISABLE_F16", "1"), ("GGML_CUDA_CUBLAS_COMPUTE_TYPE", "f32")];
/// How much of one line of the child's standard error is kept.
const LINE_BYTES_MAX: u64 = 4096;

/// A running or ended child.
#[derive(Clone)]
pub(super) struct ChildProcess {
    pid: u32,
    shared: Arc<Mutex<Shared>>,
    end: watch::Receiver<Option<End>>,
}

/// How a child ended.
#[derive(Clone, PartialEq, Eq, Debug)]
struct End {
    /// In words.
    how: String,
    /// Killed with a signal that cannot be caught, and not by this node.
    killed_by_others: bool,
}

struct Shared {
    /// The child ends when this closes.
    stdin: Option<ChildStdin>,
    /// Once reaped, the process id may belong to someone else.
    reaped: bool,
    /// This node has killed it.
    killed: bool,
}

impl ChildProcess {
    /// Starts `exe engine --socket SOCKET` and returns when it listens. Dropped before that, it kills the child.
    pub(super) async fn start(exe: &Path, socket: &Path) -> Result<ChildProcess, EngineError> {
        let (started_sender, started) = oneshot::channel();
        let (ready_sender, ready) = oneshot::channel();
        let (exe, socket) = (exe.to_owned(), socket.to_owned());
        let body = move || live(&exe, &socket, started_sender, ready_sender);
        std::thread::Builder::new().name("engine".to_owned()).spawn(body).map_err(EngineError::Runtime)?;
        let process = started.await.map_err(|_| ended_early("its thread broke"))??;
        let guard = KillOnDrop::new(process);
        let limit = limits::ENGINE_START;
        match tokio::time::timeout(std_duration(limit), ready).await {
            Ok(Ok(())) => Ok(guard.disarm()),
            Ok(Err(_)) => {
                let notice = std_duration(limits::ENGINE_EXIT_NOTICE);
                let how = tokio::time::timeout(notice, guard.process().exited()).await;
                Err(ended_early(&how.unwrap_or_else(|_| "it does not speak as an engine does".to_owned())))
            }
            Err(_) => Err(EngineError::NotReady { seconds: limit.as_millis() / 1000 }),
        }
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Resolves with how the child ended.
    pub(super) fn exited(&self) -> impl Future<Output = String> + Send + use<> {
        let mut end = self.end.clone();
        async move {
            match end.wait_for(Option::is_some).await {
                Ok(end) => end.as_ref().map(|end| end.how.clone()).unwrap_or_default(),
                Err(_) => "the thread that waited for it broke".to_owned(),
            }
        }
    }

    /// How the child ended, if it has.
    pub(super) fn has_ended(&self) -> bool {
        self.end.borrow().is_some()
    }

    /// Has somebody else killed it, the system itself perhaps?
    pub(super) fn was_killed_by_others(&self) -> bool {
        self.end.borrow().as_ref().is_some_and(|end| end.killed_by_others)
    }

    /// Asks the child to end.
    pub(super) fn close_stdin(&self) {
        self.lock().stdin = None;
    }

    /// Ends the child at once. Never signals a process that is not ours.
    pub(super) fn kill(&self) {
        let mut shared = self.lock();
        if let (false, Some(pid)) = (shared.reaped, pid_of(self.pid)) {
            shared.killed = true;
            // It may have ended meanwhile; then it is a zombie of ours, and the signal does nothing.
            if let Err(error) = rustix::process::kill_process(pid, Signal::KILL) {
                tracing::warn!(pid = self.pid, %error, "cannot kill the engine process");
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Kills the child of a start that failed or was given up.
pub(super) struct KillOnDrop(Option<ChildProcess>);

impl KillOnDrop {
    pub(super) fn new(process: ChildProcess) -> KillOnDrop {
        KillOnDrop(Some(process))
    }

    pub(super) fn process(&self) -> &ChildProcess {
        self.0.as_ref().expect("only disarm empties the guard, and it consumes it")
    }

    /// The start went well: the child lives on.
    pub(super) fn disarm(mut self) -> ChildProcess {
        self.0.take().expect("only disarm empties the guard, and it consumes it")
    }
}

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        if let Some(process) = &self.0 {
            process.kill();
        }
    }
}

fn ended_early(how: &str) -> EngineError {
    EngineError::EndedEarly { how: how.to_owned() }
}

/// The thread's body: starts the child, reports, waits for its end, reports.
fn live(
    exe: &Path,
    socket: &Path,
    started: oneshot::Sender<Result<ChildProcess, EngineError>>,
    ready: oneshot::Sender<()>,
) {
    let mut child = match spawn(exe, socket) {
        Ok(child) => child,
        Err(source) => {
            // Whoever gave up waiting needs no answer.
            let _ = started.send(Err(EngineError::Spawn { exe: PathBuf::from(exe), source }));
            return;
        }
    };
    let pid = child.id();
    let shared = Arc::new(Mutex::new(Shared { stdin: child.stdin.take(), reaped: false, killed: false }));
    let (end_sender, end) = watch::channel(None);
    let words = child.stderr.take().map(|stderr| follow(pid, stderr));
    let stdout = child.stdout.take();
    let process = ChildProcess { pid, shared: shared.clone(), end };
    if let Err(Ok(unwanted)) = started.send(Ok(process)) {
        unwanted.kill();
    }
    if stdout.is_some_and(says_ready) {
        let _ = ready.send(());
    } else {
        drop(ready);
    }
    let status = reap(&mut child, &shared);
    let last_words = words.and_then(|thread| thread.join().ok()).unwrap_or_default();
    let signal = status.as_ref().ok().and_then(ExitStatusExt::signal);
    let ours = shared.lock().unwrap_or_else(PoisonError::into_inner).killed;
    let killed_by_others = signal == Some(Signal::KILL.as_raw()) && !ours;
    end_sender.send_replace(Some(End { how: describe(status, &last_words), killed_by_others }));
}

fn spawn(exe: &Path, socket: &Path) -> std::io::Result<Child> {
    Command::new(exe)
        .args(["engine", "--socket"])
        .arg(socket)
        // When it aborts, ggml would start a debugger to print its stack.
        .env("GGML_NO_BACKTRACE", "1")
        .envs(FULL_PRECISION)
        .env("MIMALLOC_ALLOW_THP", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
}

/// Waits for the child's word that it listens; false when it ended or said something else.
fn says_ready(stdout: ChildStdout) -> bool {
    let mut line = String::new();
    let read = BufReader::new(stdout.take(READY.len() as u64 + 1)).read_line(&mut line);
    read.is_ok() && line.trim_end() == READY
}

/// Passes the child's standard error on, line by line; the thread's result is the last line.
fn follow(pid: u32, stderr: ChildStderr) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut reader = BufReader::new(stderr);
        let mut last = String::new();
        loop {
            let mut line = Vec::new();
            match reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => return last,
                Ok(_) => {
                    let text = String::from_utf8_lossy(&line).trim().to_owned();
                    tracing::info!(target: "fednode::engine::child", pid, text);
                    if !text.is_empty() {
                        last = text;
                    }
                }
            }
        }
    })
}

/// Waits until the child has ended, then removes it. Between the two it is a zombie, so that `kill` never meets a
/// process id that was given to someone else.
fn reap(child: &mut Child, shared: &Mutex<Shared>) -> std::io::Result<ExitStatus> {
    if let Some(pid) = pid_of(child.id()) {
        let wait = || rustix::process::waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
        rustix::io::retry_on_intr(wait)?;
    }
    let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
    shared.reaped = true;
    shared.stdin = None;
    child.wait()
}

fn pid_of(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

/// In words; what the child said last only when it did not end as asked.
fn describe(status: std::io::Result<ExitStatus>, last_words: &str) -> String {
    let how = match status {
        Ok(status) if status.success() => return "ended as asked".to_owned(),
        Ok(status) => match (status.signal(), status.code()) {
            (Some(signal), _) => format!("killed by signal {signal}"),
            (None, code) => format!("ended with exit code {}", code.unwrap_or(-1)),
        },
        Err(error) => format!("ended, but how is unknown: {error}"),
    };
    if last_words.is_empty() { how } else { format!("{how}; its last words: {last_words}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(raw_status: i32, last_words: &str, expect: &str) {
        assert_eq!(describe(Ok(ExitStatus::from_raw(raw_status)), last_words), expect);
    }

    #[test]
    fn an_end_is_told_in_words() {
        check(0, "chatter", "ended as asked");
        check(9, "", "killed by signal 9");
        check(6, "GGML_ASSERT(x) failed", "killed by signal 6; its last words: GGML_ASSERT(x) failed");
        check(2 << 8, "", "ended with exit code 2");
    }

    #[tokio::test]
    async fn an_executable_that_is_not_there_is_an_error() {
        let missing = ChildProcess::start(Path::new("/nonexistent/fednode"), Path::new("/nonexistent/socket")).await;
        assert!(matches!(missing, Err(EngineError::Spawn { .. })));
    }

    #[tokio::test]
    async fn a_program_that_never_listens_is_an_error() {
        let ended = ChildProcess::start(Path::new("/bin/echo"), Path::new("/nonexistent/socket")).await;
        assert!(matches!(ended, Err(EngineError::EndedEarly { .. })));
    }
}
