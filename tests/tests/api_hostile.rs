//! Whatever is sent to the API of a node and of a delegate is answered as it should be, and nothing of it stays: no request in
//! flight, no open file, no memory. `FEDNODE_HOSTILE_REQUESTS=10000` for the long version, `FEDNODE_HOSTILE_SEED` for another one.

#[path = "api_hostile/exchange.rs"]
mod exchange;
#[path = "api_hostile/good.rs"]
mod good;
#[path = "api_hostile/judge.rs"]
mod judge;
#[path = "api_hostile/kinds.rs"]
mod kinds;
#[path = "api_hostile/odd.rs"]
mod odd;
#[path = "api_hostile/schema.rs"]
mod schema;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fednode_tests::{Federation, NodeProcess, NodeSpec, Random, engines_of, managers, status_bytes, until};

use exchange::{Answer, exchange};
use kinds::Case;
use schema::Operation;

const LIMIT: Duration = Duration::from_secs(60);
/// Those that CI has time for.
const REQUESTS: u64 = 1_000;
/// Memory is looked at after so many, or half: by then every cache and every pool has been used.
const WARM_REQUESTS: u64 = 1_000;
/// Clients at once.
const CLIENTS: u64 = 6;
/// One more in so many stalls, all of them at once.
const STALLED_EACH: u64 = 2_000;
const FILES_MORE_MAX: usize = 8;
const BYTES_MORE_MAX: u64 = 20 << 20;
const FAULTS_SHOWN: usize = 20;
const NODES: [&str; 2] = ["north", "laptop"];

fn environment(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// A node as it is attacked.
struct Target {
    name: &'static str,
    address: SocketAddr,
    operations: Vec<Operation>,
}

/// What became of all requests.
#[derive(Default)]
struct Report {
    /// How many, and how long they took together and at most.
    kinds: BTreeMap<&'static str, (u64, Duration, Duration)>,
    statuses: BTreeMap<String, u64>,
    faults: Vec<String>,
}

impl Report {
    fn count(&mut self, kind: &'static str, outcome: &Result<Option<Answer>, String>, took: Duration) {
        let (count, all, most) = self.kinds.entry(kind).or_default();
        (*count, *all, *most) = (*count + 1, *all + took, took.max(*most));
        let status = match outcome {
            Ok(Some(answer)) => answer.status.to_string(),
            Ok(None) => "left".to_owned(),
            Err(_) => "none".to_owned(),
        };
        *self.statuses.entry(status).or_default() += 1;
    }

    fn print(&self) {
        for (kind, (count, all, most)) in &self.kinds {
            println!(
                "{count:6} {kind:24} {:8.1} ms on average, {most:?} at most",
                all.as_secs_f64() * 1e3 / *count as f64
            );
        }
    }
}

/// As much of a long text as a person reads.
fn cut(text: &str) -> String {
    text.chars().take(600).collect()
}

/// The requests from `first` to `last`, each of which is the same whenever its number and the seed are.
fn attack(targets: &[Target], seed: u64, (first, last): (u64, u64), report: &Mutex<Report>) {
    let next = AtomicU64::new(first);
    let client = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= last {
                return;
            }
            one(targets, seed, number, kinds::case, report);
        }
    };
    std::thread::scope(|scope| {
        (0..CLIENTS).for_each(|_| drop(scope.spawn(client)));
        // They wait for a minute, so that only the long version has any.
        for number in (first..last).filter(|number| number % STALLED_EACH == STALLED_EACH - 1) {
            scope.spawn(move || one(targets, seed, number, kinds::stalled, report));
        }
    });
}

fn one(
    targets: &[Target],
    seed: u64,
    number: u64,
    make: fn(&[Operation], &mut Random) -> Case,
    report: &Mutex<Report>,
) {
    let target = &targets[number as usize % targets.len()];
    let case = make(&target.operations, &mut Random::new(seed << 32 | (number + 1)));
    let begin = Instant::now();
    let outcome = exchange(target.address, &case.request, case.way);
    let verdict = outcome.as_ref().map_err(Clone::clone).and_then(|answer| judge::check(&case, answer.as_ref()));
    let mut report = report.lock().expect("no client panics");
    let took = begin.elapsed();
    report.count(case.kind, &outcome, took);
    if let Err(why) = verdict {
        let why = format!("request {number} of seed {seed} to {}, after {took:?}: {}", target.name, cut(&why));
        report.faults.push(format!("{why}\n  {}", case.summary()));
    }
}

#[test]
fn whatever_is_sent_is_answered_as_it_should_be_and_nothing_of_it_stays() {
    let mut federation = Federation::new().expect("a federation");
    federation.create(NodeSpec::full("north").memory("64GB")).expect("up");
    federation.join(NodeSpec::delegate("laptop"), "north").expect("joined");
    federation.node("north").publish(good::MODEL).expect("published");
    NODES.iter().for_each(|name| federation.wait_answered(name, good::MODEL, LIMIT).expect("answered"));
    let targets = NODES.map(|name| {
        let node = federation.node(name);
        let document = node.client().get("/openapi.json").expect("the document").json();
        Target { name, address: node.api_address(), operations: schema::operations(&document) }
    });
    let (requests, seed) = (environment("FEDNODE_HOSTILE_REQUESTS", REQUESTS), environment("FEDNODE_HOSTILE_SEED", 1));
    let (begin, report) = (Instant::now(), Mutex::new(Report::default()));
    let files = NODES.map(|name| open_files(federation.node(name)));
    let warm = WARM_REQUESTS.min(requests / 2);
    attack(&targets, seed, (0, warm), &report);
    NODES.iter().for_each(|name| federation.node(name).wait_idle(LIMIT).expect("nothing in flight"));
    let memory = NODES.map(|name| memory(federation.node(name)));
    attack(&targets, seed, (warm, requests), &report);
    let report = report.into_inner().expect("no client panics");
    println!("{requests} requests of seed {seed} in {:?}: {:?}", begin.elapsed(), report.statuses);
    report.print();
    let faults = report.faults.len();
    assert_eq!(faults, 0, "{}", report.faults[..faults.min(FAULTS_SHOWN)].join("\n"));
    for ((name, files), before) in NODES.into_iter().zip(files).zip(memory) {
        settled(federation.node(name), files, before);
    }
}

/// Nothing is left of what was asked, and a question is answered as before.
fn settled(node: &NodeProcess, files: usize, before: Memory) {
    let name = node.name();
    node.wait_idle(LIMIT).expect("nothing in flight");
    let closed = until("files being closed", LIMIT, || match open_files(node) {
        now if now <= files + FILES_MORE_MAX => Ok(now),
        now => Err(format!("{now} open files, {files} before")),
    });
    let open = closed.unwrap_or_else(|why| panic!("{name}: {why}"));
    // What was freed is given back a while later, by threads that have something to do.
    let given_back = until("memory being given back", LIMIT, || match memory(node) {
        now if now.node <= before.node + BYTES_MORE_MAX => Ok(now),
        now => {
            let asked = node.state().map_or_else(|error| error.to_string(), |_| String::new());
            Err(format!("{now:?}, {before:?} before {asked}"))
        }
    });
    let now = given_back.unwrap_or_else(|why| panic!("{name}: {why}"));
    println!("{name}: {open} open files, {files} before; {now:?}, {before:?} before");
    let log = std::fs::read_to_string(node.log_path()).expect("a log");
    assert!(
        !log.contains("panicked"),
        "{name}: {}",
        log.lines().filter(|l| l.contains("panicked")).collect::<String>()
    );
    for known in managers::answers(good::MODEL).expect("known answers").into_iter().take(3) {
        let answer = node.client().chat(good::MODEL, &known.prompt).expect("a reply");
        assert!(answer.is_complete(), "{}", answer.summary());
        assert_eq!((answer.text.as_str(), answer.node.as_deref()), (known.answer.as_str(), Some("north")));
    }
}

fn open_files(node: &NodeProcess) -> usize {
    let pid = node.pid().expect("it runs");
    std::fs::read_dir(format!("/proc/{pid}/fd")).expect("Linux lists open files").count()
}

/// Resident bytes.
#[derive(Clone, Copy, Debug)]
struct Memory {
    node: u64,
    /// Of its engine: it keeps what it needs for the longest prompt it has seen.
    #[allow(dead_code, reason = "it is printed")]
    engines: u64,
}

fn memory(node: &NodeProcess) -> Memory {
    let pid = node.pid().expect("it runs");
    Memory { node: resident_bytes(pid), engines: engines_of(pid).into_iter().map(resident_bytes).sum() }
}

fn resident_bytes(pid: u32) -> u64 {
    status_bytes(pid, "VmRSS").expect("it runs")
}
