//! The scenario with real processes.

use std::path::Path;
use std::time::{Duration, Instant};

use fednode_tests::disk;
use fednode_tests::lan::{self, Lan, Machine};
use fednode_tests::{Answer, Client, Question, until};
use serde_json::json;

use crate::cache::{self, Cache};
use crate::measured::{self, Measured};
use crate::watch::{Look, Watch};
use crate::{Asked, LIMIT, LINE_BYTES_PER_S, Played, QUESTIONS};

/// Ready before anybody asks: more people want it.
const FIRST: &str = "UCM";

/// Memory of b: one manager fits, two do not.
pub fn memory_bytes(measured: &Measured) -> u64 {
    measured.replica_bytes * 3 / 2
}

/// Three machines of one federation, b and c not started, and nothing published.
fn three(lan: &Lan, roster: &Path) -> [Machine; 3] {
    let mut machines = ["north", "east", "south"].map(|name| lan.machine(name).expect("a machine"));
    let [a, b, c] = &mut machines;
    for (number, machine) in (1..).zip([&*a, b, c]) {
        machine.set_addresses(&[&format!("10.77.0.{number}/24")]).expect("an address");
        lan.shape(machine, LINE_BYTES_PER_S).expect("tc");
    }
    let roster = roster.to_string_lossy();
    a.start(&["up", "--role", "full", "--memory", "1MiB", "--roster", &roster, "--scrub-days", "0"]).expect("up");
    for machine in [b, c] {
        let ticket = machine.data_dir().with_extension("ticket").to_string_lossy().into_owned();
        measured::command(a, &["invite", "--ticket-file", &ticket]);
        machine.start(&["join", "--ticket-file", &ticket, "--role", "full", "--memory", "1MiB"]).expect("joined");
        machine.stop().expect("stopped");
    }
    machines
}

/// Plays it.
pub fn play(lan: &Lan, measured: &Measured, roster: &Path) -> Played {
    let slow = measured::slow_disk(lan, "east");
    let [a, mut b, mut c] = three(lan, roster);
    let watches = [Watch::begin(&b), Watch::begin(&c)];
    let memory = [memory_bytes(measured), 1 << 20].map(|bytes| bytes.to_string());
    for (machine, memory) in [&mut b, &mut c].into_iter().zip(memory) {
        machine.start(&["up", "--role", "full", "--memory", &memory, "--scrub-days", "0"]).expect("up again");
    }
    [&a, &b, &c].into_iter().for_each(sees_two_others);
    let models = [1, 2].map(|seed| measured::model(&a, lan.folder(), seed));
    let artifacts =
        ["UCM", "UIM"].into_iter().zip(&models).map(|(slot, path)| (slot, measured::publish(&a, path, slot)));
    let artifacts: Vec<(&str, String)> = artifacts.collect();
    let cache = Cache::keep(&b, &artifacts);
    let settled = until("all is everywhere, and the first manager ready", LIMIT, || {
        let [b, c] = [watches[0].last(), watches[1].last()];
        match (&b, &c) {
            (Some(at_b), Some(at_c)) if at_b.whole == 2 && at_c.whole == 2 && at_b.is_ready(FIRST) => Ok(()),
            _ => Err(format!("b {b:?}\nc {c:?}")),
        }
    });
    settled.expect("it settles");
    // What came by is still in memory, as if there were nothing else.
    artifacts
        .iter()
        .filter(|(slot, _)| *slot != FIRST)
        .for_each(|(_, artifact)| disk::forget(&cache::folder(&b, artifact)));
    // Only now: the simulator's transfers do not share a disk with loads.
    measured::hold(&b, slow.as_ref());
    measured::rest(4);
    let asked = ask_all(&c);
    let looks = watches.map(|watch| watch.looks());
    drop((cache, a, b, c));
    Played { transfer: transfer(&looks), swaps: swaps(&looks[0]), asked }
}

/// Waits until a machine is connected with the others, so that each can give the others what it has.
fn sees_two_others(machine: &Machine) {
    let seen = until(&format!("two others at {}", machine.name()), LIMIT, || {
        let state = machine.state().map_err(|error| error.to_string())?;
        let alive =
            state["members"].as_array().into_iter().flatten().filter(|member| member["state"] == "alive").count();
        if alive == 3 { Ok(()) } else { Err(state["members"].to_string()) }
    });
    seen.expect("they find each other");
}

/// From the first bytes anywhere until both have all.
fn transfer(looks: &[Vec<Look>; 2]) -> Duration {
    let begun = looks.iter().filter_map(|looks| looks.iter().find(|look| look.fetched > 0)).map(|look| look.at).min();
    let ended = looks.iter().map(|looks| looks.iter().find(|look| look.whole == 2).map(|look| look.at)).max();
    ended.flatten().expect("it ended").duration_since(begun.expect("it began"))
}

/// From the end of one replica until the other is ready, each time.
fn swaps(looks: &[Look]) -> Vec<Duration> {
    let up = |look: &Look| {
        look.here
            .iter()
            .find(|replica| replica.state == "ready" || replica.state == "draining")
            .map(|replica| replica.slot.clone())
    };
    let mut swaps = Vec::new();
    let (mut gone, mut before): (Option<Instant>, Option<String>) = (None, None);
    for look in looks {
        match (up(look), &before) {
            (Some(slot), Some(last)) => {
                if let Some(gone) = gone.take().filter(|_| slot != *last) {
                    swaps.push(look.at.duration_since(gone));
                }
                before = Some(slot);
            }
            (Some(slot), None) => before = Some(slot),
            (None, Some(_)) => gone = gone.or(Some(look.at)),
            (None, None) => {}
        }
    }
    swaps
}

/// Asks every question in its time, each from a thread of its own.
fn ask_all(at: &Machine) -> Vec<Asked> {
    let begun = Instant::now();
    let asking = |&(at_ms, slot, words, tokens): &(u64, &'static str, usize, u64)| {
        let (client, namespace) = (Client::with_limit(at.client().base(), LIMIT), at.namespace());
        std::thread::spawn(move || {
            lan::enter(&namespace).expect("a namespace");
            let prompt = format!("{at_ms} {}", "word ".repeat(words));
            let question = Question::new(slot, &prompt).with("max_tokens", json!(tokens));
            std::thread::sleep((begun + Duration::from_millis(at_ms)).saturating_duration_since(Instant::now()));
            asked(at_ms, slot, &client.ask(&question).expect("an answer"))
        })
    };
    let threads: Vec<_> = QUESTIONS.iter().map(asking).collect();
    threads.into_iter().map(|thread| thread.join().expect("an asking thread")).collect()
}

fn asked(at_ms: u64, slot: &'static str, answer: &Answer) -> Asked {
    assert!(answer.is_complete(), "{}", answer.summary());
    let count = |field: &str| answer.usage[field].as_u64().unwrap_or(0);
    Asked {
        at_ms,
        slot,
        prompt_tokens: count("prompt_tokens"),
        tokens: count("completion_tokens"),
        wait: answer.first_text_after.unwrap_or(answer.took),
    }
}
