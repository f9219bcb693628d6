//! Small durable writes, one after the other, on a thread of their own: the loop never waits for a disk, and what was written
//! later is never overtaken by what was written earlier.

use std::sync::mpsc;

type Job = Box<dyn FnOnce() + Send>;

/// The way to the thread. It ends when the last handle is dropped.
#[derive(Clone)]
pub struct Writer(mpsc::Sender<Job>);

impl Writer {
    /// Starts the thread.
    pub fn start() -> std::io::Result<Writer> {
        let (sender, jobs) = mpsc::channel::<Job>();
        // Not bounded: the loop must not wait here, and what it writes is small and comes seldom.
        std::thread::Builder::new().name("writer".to_owned()).spawn(move || jobs.into_iter().for_each(|job| job()))?;
        Ok(Writer(sender))
    }

    /// Runs `job` after all that were given before.
    pub fn run(&self, job: impl FnOnce() + Send + 'static) {
        if self.0.send(Box::new(job)).is_err() {
            tracing::error!("the writing thread has ended; what it was given is lost");
        }
    }
}
