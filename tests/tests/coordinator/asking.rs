//! People who never stop asking: threads that chat with managers through chosen nodes, one question after the other, and note
//! what came of each.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fednode_tests::managers::{self, Known};
use fednode_tests::{Answer, Client, Federation};

/// Between two questions of one thread: the machine has other things to do as well.
const PAUSE: Duration = Duration::from_millis(10);

/// Where somebody asks.
#[derive(Clone)]
pub struct Door {
    /// The node's name.
    pub name: String,
    /// Its API.
    pub client: Client,
    /// Where the API is, if not here.
    pub namespace: Option<PathBuf>,
}

impl Door {
    /// Of a node on loopback.
    pub fn of(federation: &Federation, name: &str) -> Door {
        Door { name: name.to_owned(), client: federation.node(name).client().clone(), namespace: None }
    }

    fn enter(&self) {
        if let Some(namespace) = &self.namespace {
            fednode_tests::lan::enter(namespace).expect("a namespace");
        }
    }

    /// Asks once, from a thread of its own.
    pub fn ask(&self, model: &str) -> Asked {
        let (door, known) = (self.clone(), managers::first_answer(model).expect("a known answer"));
        let asking = std::thread::spawn(move || {
            door.enter();
            door.ask_here(&known)
        });
        asking.join().expect("the asking thread")
    }

    fn ask_here(&self, known: &Known) -> Asked {
        let begun = Instant::now();
        let answer = self.client.chat(&known.model, &known.prompt).map_err(|error| error.to_string());
        Asked { through: self.name.clone(), known: known.clone(), begun, took: begun.elapsed(), answer }
    }
}

/// One question and what came of it.
#[derive(Debug)]
pub struct Asked {
    /// The node that was asked.
    pub through: String,
    known: Known,
    /// When.
    pub begun: Instant,
    /// Until its end.
    pub took: Duration,
    answer: Result<Answer, String>,
}

impl Asked {
    /// The node that answered, or began to.
    pub fn by(&self) -> Option<&str> {
        self.answer.as_ref().ok().and_then(|answer| answer.node.as_deref())
    }

    /// What was wrong with it; `None` for the whole known answer.
    pub fn fault(&self) -> Option<String> {
        let (model, through) = (&self.known.model, &self.through);
        let fault = match &self.answer {
            Err(error) => error.clone(),
            Ok(answer) if !answer.is_complete() => answer.summary(),
            Ok(answer) if answer.text != self.known.answer => format!("another answer: {:?}", answer.text),
            Ok(_) => return None,
        };
        Some(format!("{model} through {through} by {:?} after {:?}: {fault}", self.by(), self.took))
    }
}

/// Threads that ask until they are told to stop.
pub struct Asking {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Vec<Asked>>>,
}

impl Asking {
    /// Through each door so many threads ask for its models in turn, each beginning with another.
    pub fn begin(doors: &[(Door, Vec<&'static str>)], threads: usize) -> Asking {
        let stop = Arc::new(AtomicBool::new(false));
        let mut asking = Asking { stop: Arc::clone(&stop), threads: Vec::new() };
        for (door, models) in doors {
            assert!(!models.is_empty(), "nothing to ask for through {}", door.name);
            let known: Vec<Known> =
                models.iter().map(|model| managers::first_answer(model).expect("a known answer")).collect();
            for first in 0..threads {
                let (door, known, stop) = (door.clone(), known.clone(), Arc::clone(&stop));
                asking.threads.push(std::thread::spawn(move || {
                    door.enter();
                    let turns = known.iter().cycle().skip(first);
                    let turns = turns.take_while(|_| !stop.load(Ordering::Relaxed));
                    turns.map(|known| door.ask_here(known)).inspect(|_| std::thread::sleep(PAUSE)).collect()
                }));
            }
        }
        asking
    }

    /// Lets the questions under way end; all that was asked.
    pub fn end(mut self) -> Vec<Asked> {
        self.stop.store(true, Ordering::Relaxed);
        let threads = std::mem::take(&mut self.threads);
        threads.into_iter().flat_map(|thread| thread.join().expect("an asking thread")).collect()
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// What was wrong, but for answers that `dead` had begun.
pub fn faults(asked: &[Asked], dead: &str) -> Vec<String> {
    asked.iter().filter(|asked| asked.by() != Some(dead)).filter_map(Asked::fault).collect()
}

/// The longest that anybody waited.
pub fn longest(asked: &[Asked]) -> Duration {
    asked.iter().map(|asked| asked.took).max().unwrap_or_default()
}
