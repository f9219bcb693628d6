//! What one node alone does with this disk and this processor, measured before: the simulator is told these figures and
//! no other.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fednode_tests::disk::{self, SlowDisk};
use fednode_tests::lan::{self, Lan, Machine};
use fednode_tests::{Question, until};
use serde_json::{Value, json};

use crate::cache::Cache;
use crate::watch::Watch;
use crate::{DISK_BYTES_PER_S, LIMIT};

/// The least of so many counts: whatever else the machine does makes it slower, never faster.
const ROUNDS: usize = 2;

/// Figures of one node alone.
#[derive(Debug)]
pub struct Measured {
    /// Bytes of the large model's file.
    pub model_bytes: u64,
    /// What its replica promises to take.
    pub replica_bytes: u64,
    /// From disk into memory.
    pub load_bytes_per_s: u64,
    /// What a load takes beside reading.
    pub engine_start_ms: u64,
    /// Reads prompts at this speed.
    pub prompt_tokens_per_s: u64,
    /// Answers at this speed.
    pub tokens_per_s: u64,
    /// What a question takes beside its tokens.
    pub question_ms: u64,
}

/// Makes a model of random weights; its file. Most of it is its embedding and its output, which cost a disk as much as
/// layers do and a processor little.
pub fn model(machine: &Machine, folder: &Path, seed: u64) -> PathBuf {
    let path = folder.join(format!("model{seed}.gguf"));
    let numbers = [("--layers", 1), ("--hidden", 1024), ("--heads", 8), ("--ffn", 1408), ("--context", 2048)];
    let numbers = numbers.into_iter().chain([("--vocab", 32_768), ("--seed", seed)]);
    let mut line = format!("dev make-model --out {}", path.display());
    numbers.for_each(|(name, number)| line.push_str(&format!(" {name} {number}")));
    command(machine, &line.split(' ').collect::<Vec<_>>());
    path
}

/// Runs a command that must succeed.
pub fn command(machine: &Machine, args: &[&str]) -> Value {
    let done = machine.cli(args).expect("it runs");
    assert_eq!(done.code, 0, "{args:?}: {}", done.stderr);
    done.json()
}

/// Publishes a model; its artifact.
pub fn publish(machine: &Machine, path: &Path, slot: &str) -> String {
    let done = command(machine, &["publish", &path.to_string_lossy(), "--as", slot, "--json"]);
    done["artifact"].as_str().expect("an artifact").to_owned()
}

/// Starts a node of its own, measures, and ends it.
pub fn alone(lan: &Lan, roster: &Path) -> Measured {
    let slow = slow_disk(lan, "alone");
    let mut alone = lan.machine("alone").expect("a machine");
    alone.set_addresses(&["10.77.0.9/24"]).expect("an address");
    // Without memory, as where it is published later: no fingerprint is read, and none is checked after a load.
    alone.start(&["up", "--role", "full", "--memory", "1MiB", "--roster", &roster.to_string_lossy()]).expect("up");
    let path = model(&alone, lan.folder(), 1);
    let artifacts = [("UCM", publish(&alone, &path, "UCM"))];
    let model_bytes = path.metadata().expect("a model").len();
    rest(1);
    alone.stop().expect("stopped");
    alone.start(&["up", "--role", "full", "--memory", "2GB", "--scrub-days", "0"]).expect("up again");
    hold(&alone, slow.as_ref());
    let load_bytes_per_s = slow.as_ref().map_or_else(|| read_bytes_per_s(&path), |_| DISK_BYTES_PER_S);
    let (watch, cache) = (Watch::begin(&alone), Cache::keep(&alone, &artifacts));
    let replica_bytes = ready(&watch, "UCM");
    let load_s = least((0..ROUNDS).map(|_| load_s(&alone, &watch, "UCM")));
    let engine_start_s = (load_s - model_bytes as f64 / load_bytes_per_s as f64).max(0.0);
    let (prompt_tokens_per_s, tokens_per_s, question_s) = speeds(&alone);
    drop((watch, cache));
    alone.stop().expect("stopped");
    Measured {
        model_bytes,
        replica_bytes,
        load_bytes_per_s,
        engine_start_ms: (engine_start_s * 1000.0) as u64,
        prompt_tokens_per_s: prompt_tokens_per_s as u64,
        tokens_per_s: tokens_per_s as u64,
        question_ms: (question_s * 1000.0) as u64,
    }
}

/// Waits until a slot is ready there; its bytes.
fn ready(watch: &Watch, slot: &str) -> u64 {
    until(&format!("{slot} ready"), LIMIT, || match watch.last() {
        Some(look) if look.is_ready(slot) => Ok(look.bytes_of(slot)),
        other => Err(format!("{other:?}")),
    })
    .expect("it loads")
}

/// A disk of known speed for a machine, where the system has such a thing.
pub fn slow_disk(lan: &Lan, machine: &str) -> Option<SlowDisk> {
    let slow = SlowDisk::new(machine, lan.folder(), DISK_BYTES_PER_S);
    slow.inspect_err(|why| println!("the disk is as it is: {why}")).ok()
}

/// Holds a machine's node to it.
pub fn hold(machine: &Machine, slow: Option<&SlowDisk>) {
    slow.into_iter().for_each(|slow| slow.hold(machine.pid().expect("it runs")).expect("a slow disk"));
}

/// The speed of a disk that is as it is.
fn read_bytes_per_s(path: &Path) -> u64 {
    disk::forget(path.parent().expect("a folder"));
    let begun = Instant::now();
    let bytes = std::fs::read(path).expect("a model").len();
    (bytes as f64 / begun.elapsed().as_secs_f64()) as u64
}

/// Seconds of one load from the disk, from order to ready.
fn load_s(alone: &Machine, watch: &Watch, slot: &str) -> f64 {
    // What was just loaded stays a while.
    until("evicted", LIMIT, || match (alone.cli(&["evict", slot]), watch.last()) {
        (_, Some(look)) if look.state_of(slot).is_none() => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .expect("it goes");
    disk::forget(alone.data_dir());
    let asked = Instant::now();
    ask(alone, &Question::new(slot, "Hello").with("max_tokens", json!(1)));
    let looks = watch.looks();
    let since = |wanted: &str| {
        let seen = looks.iter().filter(|look| look.at >= asked).find(|look| look.state_of(slot) == Some(wanted));
        seen.unwrap_or_else(|| panic!("{slot} was never {wanted}")).at
    };
    since("ready").duration_since(since("loading")).as_secs_f64()
}

/// Asks on the machine; what came, how long until the first token, and until the end.
pub fn ask(machine: &Machine, question: &Question) -> fednode_tests::Answer {
    let (client, namespace, question) = (machine.client(), machine.namespace(), question.clone());
    let asking = std::thread::spawn(move || {
        lan::enter(&namespace).expect("a namespace");
        client.ask(&question).expect("an answer")
    });
    let answer = asking.join().expect("the asking thread");
    assert!(answer.is_complete(), "{}", answer.summary());
    answer
}

/// Prompt tokens and answer tokens a second, and the seconds of a question beside them.
fn speeds(alone: &Machine) -> (f64, f64, f64) {
    let timed = |words: usize, tokens: u64| {
        let tries = (0..ROUNDS).map(|round| {
            // Each begins with another word, so that no part of it is known from the last.
            let prompt = format!("{round} {}", "word ".repeat(words));
            let answer = ask(alone, &Question::new("UCM", &prompt).with("max_tokens", json!(tokens)));
            let count = |field: &str| answer.usage[field].as_u64().unwrap_or(0) as f64;
            (answer.took.as_secs_f64(), count("prompt_tokens"), count("completion_tokens"))
        });
        let tries: Vec<_> = tries.collect();
        let seconds = least(tries.iter().map(|one| one.0));
        (seconds, tries[0].1, tries[0].2)
    };
    let (short, long, talks) = (timed(4, 1), timed(40, 1), timed(4, 17));
    let prompt_tokens_per_s = (long.1 - short.1) / (long.0 - short.0);
    let tokens_per_s = (talks.2 - short.2) / (talks.0 - short.0);
    (prompt_tokens_per_s, tokens_per_s, (short.0 - short.1 / prompt_tokens_per_s).max(0.0))
}

fn least(values: impl IntoIterator<Item = f64>) -> f64 {
    values.into_iter().fold(f64::MAX, f64::min)
}

/// A pause in which nothing is asked.
pub fn rest(seconds: u64) {
    std::thread::sleep(Duration::from_secs(seconds));
}
