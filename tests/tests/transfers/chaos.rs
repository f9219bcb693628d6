//! kill -9 of the receiver or the sender at random moments: the file ends bit for bit the same, and no restart costs more
//! than the chunks that were under way. `FEDNODE_CHAOS_KILLS=200 FEDNODE_CHAOS_SEED=7` for the long version.

use std::time::Duration;

use fednode_tests::model::{self, Model};
use fednode_tests::{Federation, Random, until};

use crate::{CHUNK_BYTES, CHUNKS_IN_FLIGHT, LIMIT, federation, file_of, number, pin, shelf, transfer, wait_whole};

/// Kills when nothing else is said: those that CI has time for.
const KILLS: u64 = 10;
/// What was read and not yet written to the wire, of every chunk under way, when it was last counted.
const IN_FLIGHT_BYTES: u64 = CHUNKS_IN_FLIGHT * CHUNK_BYTES;

fn environment(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

struct Chaos {
    federation: Federation,
    model: Model,
    artifact: String,
    random: Random,
    bytes: u64,
}

impl Chaos {
    fn served(&self) -> u64 {
        number(&self.federation.node("seed").state().expect("the seed's state")["traffic"], "served_bytes")
    }

    fn asked(&self) -> u64 {
        number(&self.federation.node("desk").state().unwrap_or_default()["traffic"], "asked_bytes")
    }

    fn is_whole(&self) -> bool {
        file_of(self.federation.node("desk"), &self.artifact).is_file()
    }

    fn rest(&mut self) {
        std::thread::sleep(Duration::from_millis(self.random.below(1200)));
    }

    /// The artifact is gone from the receiver's disk: it comes again.
    fn start_over(&mut self) {
        let desk = self.federation.node_mut("desk");
        desk.kill9();
        for folder in ["artifacts", "partial"] {
            let _ = std::fs::remove_dir_all(desk.data_dir().join(folder).join(&self.artifact));
        }
        desk.up().expect("up again");
    }

    /// What the receiver found on its disk when it went on with the transfer; `None` once it is whole.
    fn resumed(&self) -> Option<u64> {
        until("the transfer going on", LIMIT, || {
            let seen = transfer(self.federation.node("desk"), &self.artifact);
            let begun = matches!(seen["state"].as_str(), Some("fetching" | "finishing" | "done"));
            match (self.is_whole(), begun && number(&seen, "total_bytes") > 0) {
                (true, _) => Ok(None),
                (_, true) => Ok(Some(number(&seen, "done_bytes") - crate::fetched(&seen))),
                _ => Err(seen.to_string()),
            }
        })
        .expect("it goes on")
    }

    /// Kills the receiver until the transfer ends; says how many times. What the sender sent in one life of the receiver
    /// and the receiver did not find again afterwards was lost by that kill.
    fn kill_receiver(&mut self, kills_max: u64) -> u64 {
        self.start_over();
        let (mut kills, mut kept, mut served) = (0, 0, self.served());
        while kills < kills_max {
            self.rest();
            if self.is_whole() {
                break;
            }
            self.federation.node_mut("desk").kill9();
            kills += 1;
            std::thread::sleep(Duration::from_millis(200)); // the sender notices, and counts what it had begun
            let sent = self.served() - served;
            served += sent;
            self.federation.node_mut("desk").up().expect("up again");
            let Some(found) = self.resumed() else { break };
            let lost = (kept + sent).saturating_sub(found);
            assert!(lost <= IN_FLIGHT_BYTES, "kill {kills}: {lost} bytes must come again, {found} were found");
            kept = found;
        }
        wait_whole(&self.federation, "desk", &self.artifact, &self.model);
        kills
    }

    /// Kills the sender until the transfer ends; says how many times. What the receiver asked for beyond the whole was
    /// under way when a sender died.
    fn kill_sender(&mut self, kills_max: u64) -> u64 {
        self.start_over();
        let mut kills = 0;
        while kills < kills_max {
            self.rest();
            if self.is_whole() {
                break;
            }
            self.federation.node_mut("seed").kill9();
            kills += 1;
            self.federation.node_mut("seed").up().expect("up again");
        }
        wait_whole(&self.federation, "desk", &self.artifact, &self.model);
        let again = self.asked().saturating_sub(self.bytes);
        assert!(again <= kills * IN_FLIGHT_BYTES, "{again} bytes were asked for again after {kills} kills");
        kills
    }
}

#[test]
fn whoever_is_killed_whenever_the_file_ends_the_same() {
    let seed = environment("FEDNODE_CHAOS_SEED", 1).max(1);
    let kills_wanted = environment("FEDNODE_CHAOS_KILLS", KILLS);
    println!("FEDNODE_CHAOS_SEED={seed} FEDNODE_CHAOS_KILLS={kills_wanted}");
    let federation = federation(shelf("seed").flag("--limit-up", "12MB/s"), vec![shelf("desk")]);
    let model = crate::model(&federation);
    let bytes = model.bytes().expect("the model").len() as u64;
    let artifact = model::publish(federation.node("seed"), &model.path, "UCM").expect("published");
    pin(&federation, "desk");
    let random = Random::new(seed);
    let mut chaos = Chaos { federation, model, artifact, random, bytes };
    let mut kills = 0;
    for round in 0.. {
        let left = (kills_wanted - kills).min(5);
        if left == 0 {
            break;
        }
        kills += if round % 2 == 0 { chaos.kill_receiver(left) } else { chaos.kill_sender(left) };
        println!("{kills} kills");
    }
}
