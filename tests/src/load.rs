//! Many clients at once: each asks one known question after the other, streamed, and looks at every answer to its last byte.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::managers::Known;
use crate::{Answer, Client, Question};

/// A client is a thread that mostly waits.
const STACK_BYTES: usize = 256 << 10;

/// What became of all answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The known answer, to the last byte, and a proper end.
    pub whole: usize,
    /// Some of it, and then an error as clients read it.
    pub cut: usize,
    /// Nothing of it, and an error as clients read it.
    pub refused: usize,
    /// Anything else, in words: another's text, an end that is none, no reply.
    pub wrong: Vec<String>,
}

/// Clients at work; dropping it does not stop them.
pub struct Load {
    stop: Arc<AtomicBool>,
    open: Arc<AtomicUsize>,
    outcome: Arc<Mutex<Outcome>>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts so many clients of `base`; each takes its questions in an order of its own.
    pub fn start(base: &str, clients: usize, known: &[Known], limit: Duration) -> Load {
        let (stop, open, outcome) = (Arc::default(), Arc::default(), Arc::default());
        let known: Arc<[Known]> = known.into();
        let mut load = Load { stop, open, outcome, threads: Vec::new() };
        for number in 0..clients {
            let (stop, open, outcome) = (Arc::clone(&load.stop), Arc::clone(&load.open), Arc::clone(&load.outcome));
            let (client, known) = (Client::with_limit(base, limit), Arc::clone(&known));
            let work = move || {
                for turn in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let known = &known[(number * 31 + turn * 7) % known.len()];
                    open.fetch_add(1, Ordering::Relaxed);
                    let answer = client.ask(&Question::new(&known.model, &known.prompt));
                    open.fetch_sub(1, Ordering::Relaxed);
                    let mut outcome = outcome.lock().unwrap_or_else(PoisonError::into_inner);
                    match answer {
                        Ok(answer) => outcome.count(known, &answer),
                        Err(error) => outcome.wrong.push(error.to_string()),
                    }
                }
            };
            let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(work);
            load.threads.push(thread.expect("a thread"));
        }
        load
    }

    /// Requests that wait for the rest of their answer.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// What has become of answers so far.
    pub fn outcome(&self) -> Outcome {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lets every client end its question, and tells what has become of all.
    pub fn stop(self) -> Outcome {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect("a client does not panic");
        }
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Outcome {
    fn count(&mut self, known: &Known, answer: &Answer) {
        let typed = answer.has_typed_error() && answer.broken.is_none();
        if answer.is_complete() && answer.text == known.answer {
            self.whole += 1;
        } else if typed && answer.text.is_empty() {
            self.refused += 1;
        } else if typed && known.answer.starts_with(&answer.text) {
            self.cut += 1;
        } else {
            self.wrong.push(format!("{:?} to {:?}: {}", answer.text, known.prompt, answer.summary()));
        }
    }
}
