//! Engines as processes: what they take beside what was predicted, hundreds of loads and unloads, and kill -9 under load. Short
//! by default; CONTRIBUTING.md says how to run the long versions.

#[path = "engines/footprints.rs"]
mod footprints;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fednode_tests::{Answer, Client, Federation, NodeProcess, NodeSpec, engines_of, managers, status_bytes, until};

const LIMIT: Duration = Duration::from_secs(60);
/// The longest pause before a replica comes back, and a load on a busy machine.
const BACK_LIMIT: Duration = Duration::from_secs(100);
/// Clients that ask all the time while engines are killed.
const CLIENTS: usize = 4;
/// What a node may have grown by after its first rounds: its allocator keeps some of what it once needed.
const GROWTH_BYTES_MAX: u64 = 16 << 20;

/// Threads that the runtime lends to tasks which wait for a disk come and go. One for each engine that ever lived would be more.
const THREADS_MORE: usize = 8;

fn number(variable: &str, short: usize) -> usize {
    std::env::var(variable).ok().and_then(|value| value.parse().ok()).unwrap_or(short)
}

/// One node that holds all seven managers, none of which its roster pins.
fn griffith() -> Federation {
    let mut federation = Federation::new().expect("a federation");
    let roster = federation.folder().join("roster.toml");
    let reference = include_str!("../../node/rosters/reference.toml");
    std::fs::write(&roster, reference.replace("policy = \"pinned\"\n", "")).expect("a roster");
    let spec = NodeSpec::full("griffith").memory("128GB").flag("--roster", &roster.to_string_lossy());
    federation.create(spec).expect("up");
    federation.publish_all("griffith").expect("published");
    federation.wait_published(LIMIT, |_| {}).expect("carried out");
    federation
}

fn pid(node: &NodeProcess) -> u32 {
    node.pid().expect("it runs")
}

/// What a process holds: open descriptors, threads, and resident bytes.
fn held(pid: u32) -> (usize, usize, u64) {
    let count = |what: &str| std::fs::read_dir(format!("/proc/{pid}/{what}")).map_or(0, Iterator::count);
    (count("fd"), count("task"), status_bytes(pid, "VmRSS").expect("a running process"))
}

fn resident(node: &NodeProcess) -> BTreeSet<String> {
    let state = node.state().expect("state");
    let slots = state["slots"].as_array().cloned().unwrap_or_default();
    let ready = slots.iter().filter(|slot| slot["state"] == "resident");
    ready.filter_map(|slot| slot["name"].as_str().map(str::to_owned)).collect()
}

fn wait_resident(node: &NodeProcess, limit: Duration) {
    let back = until("all managers resident", limit, || {
        let resident = resident(node);
        if resident.len() == managers::SLOTS.len() { Ok(()) } else { Err(format!("only {resident:?}")) }
    });
    back.unwrap_or_else(|error| panic!("{error}\n{}", node.log_tail()));
}

#[test]
fn hundreds_of_loads_and_unloads_leave_nothing_behind() {
    let cycles = number("FEDNODE_ENGINE_CYCLES", 21);
    let federation = griffith();
    let node = federation.node("griffith");
    let (begin, mut done) = (Instant::now(), 0);
    // The first round may grow what is kept for the next.
    let mut before = None;
    while done < cycles {
        round(node);
        done += managers::SLOTS.len();
        before = before.or_else(|| Some((done, held(pid(node)))));
    }
    let (from, (descriptors, threads, bytes)) = before.expect("there was a round");
    let after = until("descriptors and threads as before", LIMIT, || {
        let now = held(pid(node));
        if now.0 <= descriptors && now.1 <= threads + THREADS_MORE {
            Ok(now)
        } else {
            Err(format!("{now:?} after {descriptors}, {threads}"))
        }
    });
    let after = after.expect("nothing is left open");
    println!(
        "{done} loads and unloads in {:.1?}; after the first {from}: {descriptors} descriptors, {threads} threads, {:.1} MiB; in the \
         end {}, {}, {:.1} MiB",
        begin.elapsed(),
        bytes as f64 / 1048576.0,
        after.0,
        after.1,
        after.2 as f64 / 1048576.0
    );
    assert!(after.2 <= bytes + GROWTH_BYTES_MAX, "{} bytes resident after {bytes}", after.2);
    assert_eq!(engines_of(pid(node)).len(), managers::SLOTS.len());
    assert_eq!(sockets(node), managers::SLOTS.len(), "a folder for each engine that lives");
}

/// Evicts all managers, sees their processes gone, and loads them again.
fn round(node: &NodeProcess) {
    for slot in managers::SLOTS {
        // It stays a second after it was loaded, and says so.
        let done = until(&format!("evicting {slot}"), LIMIT, || {
            let output = node.cli(&["evict", slot]).map_err(|error| error.to_string())?;
            if output.code == 0 { Ok(()) } else { Err(output.stderr) }
        });
        done.expect("evicted");
    }
    let gone = until("no engine left", LIMIT, || {
        let left = engines_of(pid(node));
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
    gone.expect("every engine ended");
    for slot in managers::SLOTS {
        node.command(&["load", slot]).expect("loaded");
    }
    wait_resident(node, LIMIT);
}

/// Folders of engines' sockets in the data directory.
fn sockets(node: &NodeProcess) -> usize {
    let run: PathBuf = node.data_dir().join("run");
    let names = std::fs::read_dir(run).into_iter().flatten().flatten().map(|entry| entry.file_name());
    names.filter(|name| name.to_string_lossy().starts_with("engine-")).count()
}

#[test]
fn engines_killed_under_load_come_back_and_every_request_ends_once() {
    let kills = number("FEDNODE_ENGINE_KILLS", 10);
    let federation = griffith();
    let node = federation.node("griffith");
    let node_pid = pid(node);
    let (stop, answered, refused) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (base, stop, answered, refused) = (node.client().base().to_owned(), &stop, &answered, &refused);
            scope.spawn(move || {
                let client_of = Client::with_limit(&base, BACK_LIMIT);
                let mut turn = client;
                while !stop.load(Ordering::Relaxed) {
                    turn += 1;
                    let slot = managers::SLOTS[turn % managers::SLOTS.len()];
                    let answer = client_of.chat(slot, "Who are you?").expect("a reply comes, whatever it is");
                    let count = if ended_once(&answer) { answered } else { refused };
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        // A panic must not leave the clients asking for ever.
        let killed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| kill_one_by_one(node, kills)));
        stop.store(true, Ordering::Relaxed);
        if let Err(panic) = killed {
            std::panic::resume_unwind(panic);
        }
    });
    let (answered, refused) = (answered.into_inner(), refused.into_inner());
    println!(
        "{kills} engines killed in {:.1?}, all came back; {answered} requests answered, {refused} ended with an error",
        begin.elapsed()
    );
    assert_eq!(pid(node), node_pid, "the node never restarted");
    assert!(answered > kills, "{answered} answers");
    until("no request left open", LIMIT, || {
        let state = node.state().map_err(|error| error.to_string())?;
        let open = state["slots"].as_array().into_iter().flatten().flat_map(|slot| slot["replicas"].as_array());
        let open: u64 = open.flatten().filter_map(|replica| replica["in_flight"].as_u64()).sum();
        if open == 0 { Ok(()) } else { Err(format!("{open} in flight")) }
    })
    .expect("every request has ended");
}

/// A whole answer (true), or one error that a client understands (false); anything else is a fault.
fn ended_once(answer: &Answer) -> bool {
    let (complete, error) = (answer.is_complete(), answer.has_typed_error());
    assert!(complete != error && answer.broken.is_none(), "{}", answer.summary());
    complete
}

/// When a process began, in the kernel's ticks.
fn begun(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The 22nd field; the second may have spaces in its brackets.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

/// Each time the engine that has lived longest, when all are back: no pause of one grows.
fn kill_one_by_one(node: &NodeProcess, kills: usize) {
    for _ in 0..kills {
        wait_resident(node, BACK_LIMIT);
        let victim = engines_of(pid(node)).into_iter().min_by_key(|pid| begun(*pid)).expect("they are all there");
        // SIGKILL, as the system would.
        let target = rustix::process::Pid::from_raw(victim as i32).expect("a process id");
        rustix::process::kill_process(target, rustix::process::Signal::KILL).expect("killed");
        until("the killed engine's end", LIMIT, || match engines_of(pid(node)).contains(&victim) {
            true => Err(format!("{victim} is still there")),
            false => Ok(()),
        })
        .expect("it ended");
    }
    wait_resident(node, BACK_LIMIT);
}
