//! The one thread that computes: it loads the model, answers several requests at once, step by step, and drops the model. The
//! native handles never leave it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc as std_mpsc;
use std::time::{Duration, Instant};

use fednode_proto::v1;
use tokio::sync::{mpsc, oneshot, watch};

use crate::core::limits::REQUESTS_PER_REPLICA_MAX;
use crate::engine::model::Model;
use crate::engine::reply::Reply;
use crate::engine::{CODE_BUSY, Failure};

/// Dropped by the worker's thread as its last act.
pub(super) struct Ended(#[allow(dead_code, reason = "its being dropped is the message")] std_mpsc::Sender<()>);

/// Waits for the worker's end.
pub(super) struct AwaitEnded(std_mpsc::Receiver<()>);

/// The two ends of "the worker has ended"; also true when it never started.
pub(super) fn ended() -> (Ended, AwaitEnded) {
    let (sender, receiver) = std_mpsc::channel();
    (Ended(sender), AwaitEnded(receiver))
}

impl AwaitEnded {
    /// Whether the worker ended in time.
    pub(super) fn wait_for(&self, time: Duration) -> bool {
        self.0.recv_timeout(time) == Err(std_mpsc::RecvTimeoutError::Disconnected)
    }
}

/// The way to the worker.
pub(super) struct Queue {
    jobs: mpsc::Sender<Queued>,
    in_flight: Arc<AtomicU32>,
}

/// What found no place in the queue.
pub(super) struct Refused {
    pub job: Job,
    /// Otherwise the queue is full.
    pub worker_gone: bool,
}

/// What the worker can do; each has its own way back.
pub(super) enum Job {
    /// An answer, step by step.
    Generate(Box<(v1::GenerateRequest, Reply)>),
    Score(v1::ScoreRequest, Back<v1::ScoreReply>),
    Embed(v1::EmbedRequest, Back<v1::EmbedReply>),
    Tokenize(String, Back<Vec<u32>>),
}

/// Where one result goes.
pub(super) type Back<T> = oneshot::Sender<Result<T, Failure>>;

struct Queued {
    job: Job,
    deadline: Option<Instant>,
    counted: Counted,
}

/// Counts a job from its arrival to its end.
struct Counted(Arc<AtomicU32>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Queue {
    /// Starts the thread and loads the model on it; returns when the model answers, or why it does not.
    pub(super) async fn start(
        load: v1::LoadRequest,
        ended: (Ended, oneshot::Sender<()>),
        progress: watch::Sender<(u64, u64)>,
    ) -> Result<(Queue, v1::LoadReply), String> {
        let (jobs_sender, jobs) = mpsc::channel(REQUESTS_PER_REPLICA_MAX as usize);
        let (loaded_sender, loaded) = oneshot::channel();
        let body = move || work(&load, loaded_sender, jobs, ended, &progress);
        let thread = std::thread::Builder::new().name("compute".to_owned()).spawn(body);
        thread.map_err(|error| format!("cannot start the computing thread: {error}"))?;
        let reply = loaded.await.map_err(|_| "the computing thread broke while it loaded".to_owned())??;
        Ok((Queue { jobs: jobs_sender, in_flight: Arc::new(AtomicU32::new(0)) }, reply))
    }

    /// Queues a job, unless there is no room. `wait`: it is not begun later than this; zero: whenever its turn comes.
    pub(super) fn push(&self, job: Job, wait: Duration) -> Result<(), Box<Refused>> {
        // A deadline too far to express is none.
        let deadline = (!wait.is_zero()).then(|| Instant::now().checked_add(wait)).flatten();
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        let queued = Queued { job, deadline, counted: Counted(self.in_flight.clone()) };
        self.jobs.try_send(queued).map_err(|refused| {
            let worker_gone = matches!(refused, mpsc::error::TrySendError::Closed(_));
            Box::new(Refused { job: refused.into_inner().job, worker_gone })
        })
    }

    /// Requests that wait or run.
    pub(super) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }
}

/// Tells the service that the worker has ended, by a panic too: without it the process is of no use.
struct TellGone(Option<oneshot::Sender<()>>);

impl Drop for TellGone {
    fn drop(&mut self) {
        // Whoever does not listen any more is ending already.
        let _ = self.0.take().map(|gone| gone.send(()));
    }
}

/// The thread's body. `ended` is dropped last, after the model.
fn work(
    load: &v1::LoadRequest,
    loaded: oneshot::Sender<Result<v1::LoadReply, String>>,
    mut jobs: mpsc::Receiver<Queued>,
    (_ended, gone): (Ended, oneshot::Sender<()>),
    progress: &watch::Sender<(u64, u64)>,
) {
    let mut model = match Model::open(load, &mut |done, total| {
        progress.send_replace((done, total));
    }) {
        Ok((model, reply)) => {
            // The node may have given up waiting; then it closes this process.
            let _ = loaded.send(Ok(reply));
            model
        }
        Err(reason) => {
            // The service goes on, so that the node hears why; `gone` stays unsent.
            let _ = loaded.send(Err(reason));
            return;
        }
    };
    let _gone = TellGone(Some(gone));
    loop {
        if model.is_idle() {
            let Some(queued) = jobs.blocking_recv() else { return };
            begin(&mut model, queued);
        }
        // Whoever comes joins the step after this one, as far as there are places.
        while model.has_room() {
            match jobs.try_recv() {
                Ok(queued) => begin(&mut model, queued),
                Err(mpsc::error::TryRecvError::Empty) => break,
                // Nobody listens any more, which the answers under way see by themselves.
                Err(mpsc::error::TryRecvError::Disconnected) if model.is_idle() => return,
                Err(mpsc::error::TryRecvError::Disconnected) => break,
            }
        }
        model.step();
    }
}

/// Begins an answer, or does at once what is not one.
fn begin(model: &mut Model, Queued { job, deadline, counted }: Queued) {
    match job {
        Job::Generate(generate) => {
            let (request, mut reply) = *generate;
            reply.hold(Box::new(counted));
            if reply.cancel().load(Ordering::Relaxed) {
                reply.abandon();
            } else if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                reply.error(CODE_BUSY, "the deadline passed while the request waited for this replica");
            } else {
                model.start(&request, reply);
            }
        }
        // Whoever has stopped waiting for a result needs none.
        Job::Score(request, back) => drop(back.send(model.score(&request))),
        Job::Embed(request, back) => drop(back.send(model.embed(&request))),
        Job::Tokenize(text, back) => drop(back.send(model.tokenize(&text))),
    }
}
