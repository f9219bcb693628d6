//! The federation at time zero: keys from the seed, a roster of members, and managers that the first machine has
//! published and stored. And the start of a process, the first as any later one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use fednode::core::catalog::{Catalog, Entry, Publication, Record};
use fednode::core::keeping::holds::Holds;
use fednode::core::limits;
use fednode::core::machine::{Config, Input, Machine};
use fednode::core::membership::roster::{Member, MemberRoster, Role};
use fednode::core::placement::plan::Strategy;
use fednode::core::residency::Stall;
use fednode::core::roster::{Seat, SlotRoster};
use fednode::core::sizing;
use fednode::core::types::{Digest, Duration, FederationId, Time};
use fednode::wire;
use libp2p_identity::ed25519;

use crate::schedule::Run;
use crate::world::clock::LocalClock;
use crate::world::event::Event;
use crate::world::keeping::Collection;
use crate::world::node::{Disk, Process, SimNode};
use crate::world::strain::Strain;
use crate::world::{World, liveness};

/// As the driver has it: memory and disk are measured this often.
const HARDWARE_PERIOD: Duration = Duration::from_secs(2);

/// Hundredths of a percent of the time that programs wait while memory is short.
const STALLED: u32 = 3_000;

/// What the world knows of the artifacts that were published.
pub struct Published {
    /// All members.
    pub members: Arc<MemberRoster>,
    /// The managers.
    pub roster: SlotRoster,
    /// Lengths of each artifact's chunks.
    pub chunks: BTreeMap<Digest, Vec<u32>>,
}

/// Nodes that have not started yet, and what is published.
pub struct Federation {
    /// By index, as in the run.
    pub nodes: Vec<SimNode>,
    /// What is published.
    pub published: Published,
}

impl Federation {
    /// Makes everything from `run`.
    pub fn new(run: &Run) -> Federation {
        let owner = keypair(run.seed, "owner");
        let federation = FederationId(owner.public().to_bytes());
        let keys: Vec<ed25519::Keypair> =
            run.machines.iter().map(|machine| keypair(run.seed, &machine.what.name)).collect();
        let mut members = MemberRoster::new(federation);
        members.version = 1;
        members.members = run.machines.iter().zip(&keys).map(|(machine, key)| member(machine, key)).collect();
        members.members.sort_by_key(|member| member.node);
        let roster =
            SlotRoster { name: run.scenario.clone(), precision_floor: "f16".to_owned(), slots: run.slots.clone() };
        let records = records(run, &roster, &keys[0]);
        let publications: Vec<Publication> = records.iter().filter_map(publication_of).collect();
        let mut nodes: Vec<SimNode> = run
            .machines
            .iter()
            .zip(&keys)
            .map(|(machine, key)| SimNode {
                spec: machine.clone(),
                id: wire::ids::node_of_key(&key.public()),
                disk: Disk::default(),
                process: None,
                lives: 0,
                asleep_until: None,
                missed: Vec::new(),
                said: None,
                strain: Strain::default(),
                answer: None,
            })
            .collect();
        let mut catalog = Catalog::default();
        records.into_iter().for_each(|record| {
            catalog.merge(record);
        });
        nodes[0].disk.catalog = catalog;
        nodes[0].disk.complete = publications.iter().map(|publication| publication.artifact).collect();
        if run.options.stocked {
            nodes.iter_mut().skip(1).filter(|node| node.is_full()).for_each(|node| stock(node, &publications));
        }
        let old: Vec<Publication> = publications.iter().filter(|p| p.domain.is_none()).map(before).collect();
        for node in nodes.iter_mut().take(run.options.superseded).filter(|node| node.is_full()) {
            node.disk.complete.extend(old.iter().map(|old| old.artifact));
        }
        let known = publications.iter().chain(&old);
        let chunks = known.map(|p| (p.artifact, lengths(p.artifact_bytes, run.options.chunk_bytes)));
        Federation { nodes, published: Published { members: Arc::new(members), roster, chunks: chunks.collect() } }
    }
}

fn keypair(seed: u64, name: &str) -> ed25519::Keypair {
    let mut bytes = *blake3::keyed_hash(blake3::hash(&seed.to_le_bytes()).as_bytes(), name.as_bytes()).as_bytes();
    let secret = ed25519::SecretKey::try_from_bytes(&mut bytes).expect("any 32 bytes are an Ed25519 secret key");
    ed25519::Keypair::from(secret)
}

fn member(machine: &crate::schedule::Machine, key: &ed25519::Keypair) -> Member {
    Member::new(wire::ids::node_of_key(&key.public()), machine.what.name.clone(), role_of(&machine.what.role))
}

fn role_of(role: &str) -> Role {
    if role == "delegate" { Role::Delegate } else { Role::Full }
}

fn lengths(bytes: u64, chunk_bytes: u32) -> Vec<u32> {
    let chunk = u64::from(chunk_bytes);
    (0..bytes.div_ceil(chunk)).map(|index| (bytes - index * chunk).min(chunk) as u32).collect()
}

/// Puts on a disk what it has room for, in order.
fn stock(node: &mut SimNode, publications: &[Publication]) {
    let mut free = node.spec.what.disk_bytes;
    for publication in publications {
        if free >= sizing::disk_needed_bytes(publication.artifact_bytes) {
            free -= publication.artifact_bytes;
            node.disk.complete.insert(publication.artifact);
        }
    }
}

/// The roster of slots, and one publication for each slot and each of its domains, where it is served.
fn records(run: &Run, roster: &SlotRoster, author: &ed25519::Keypair) -> Vec<Record> {
    let mut entries = vec![Entry::Roster(roster.clone())];
    for slot in &roster.slots {
        let own = std::iter::once(None).chain(slot.domains.iter().map(Some));
        let seats = own.filter_map(|domain| roster.seat(&slot.name, domain));
        entries.extend(seats.map(|seat| Entry::Publication(publication(run, seat))));
    }
    entries.into_iter().map(|entry| wire::catalog::seal(entry, 1, author)).collect()
}

fn publication(run: &Run, Seat { slot, domain }: Seat) -> Publication {
    let name = domain.as_ref().map_or_else(|| slot.to_string(), |domain| format!("{slot}:{domain}"));
    let bytes = if domain.is_none() { run.model.weights_bytes } else { run.options.adapter_bytes };
    let shape = run.model.shape(bytes);
    Publication {
        slot,
        domain,
        artifact: Digest::of(name.as_bytes()),
        artifact_bytes: bytes,
        chunks: bytes.div_ceil(u64::from(run.options.chunk_bytes)) as u32,
        shape,
        name,
        version: "1".to_owned(),
        fingerprint: None,
    }
}

/// What was published in the same slot before.
fn before(publication: &Publication) -> Publication {
    let name = format!("{} before", publication.name);
    Publication { artifact: Digest::of(name.as_bytes()), name, ..publication.clone() }
}

fn publication_of(record: &Record) -> Option<Publication> {
    match &record.entry {
        Entry::Publication(publication) => Some(publication.clone()),
        Entry::Roster(_) | Entry::Wishes(_) => None,
    }
}

impl World {
    /// A process starts, on a disk that holds what earlier processes made durable.
    pub(super) fn boot(&mut self, node: usize) {
        let strategy = Strategy::parse(&self.run.options.strategy).unwrap_or_default();
        let unix_s = self.unix_s();
        let sim = &mut self.nodes[node];
        if sim.process.is_some() || sim.strain.dark {
            return;
        }
        sim.disk.incarnation += 1;
        sim.lives += 1;
        sim.said = None;
        let config = Config {
            me: sim.id,
            name: sim.spec.what.name.clone(),
            role: role_of(&sim.spec.what.role),
            incarnation: sim.disk.incarnation,
            epoch_highest: sim.disk.epoch,
            priority: sim.spec.what.priority,
            members: Arc::clone(&self.published.members),
            catalog: sim.disk.catalog.clone(),
            strategy,
            check_period: limits::CHECK_PERIOD,
        };
        let clock = LocalClock::new(self.now, sim.spec.clock_drift_ppm + sim.strain.drift_ppm);
        let holds = Holds::new(sim.id, sim.disk.promises.iter().copied(), unix_s);
        let life = sim.lives;
        sim.process = Some(Process {
            life,
            machine: Machine::new(clock.local(self.now), config),
            clock,
            tick_due: Time(u64::MAX),
            spins: 0,
            engines: BTreeMap::new(),
            pending: BTreeMap::new(),
            call_next: 0,
            timeouts: VecDeque::new(),
            timeout_set: false,
            requests: BTreeMap::new(),
            request_next: 1,
            jobs: BTreeMap::new(),
            job_next: 0,
            holds,
            collection: Collection::default(),
            taken_seen: 0,
            staged: None,
        });
        let complete: BTreeSet<Digest> = sim.disk.complete.clone();
        let partial: Vec<(Digest, u32)> =
            sim.disk.partial.iter().map(|(artifact, partial)| (*artifact, partial.durable.count())).collect();
        complete.into_iter().for_each(|artifact| self.tell(node, Input::Stored(artifact)));
        partial.into_iter().for_each(|(artifact, chunks)| self.tell(node, Input::Partial(artifact, chunks)));
        self.measure(node, life);
        self.keep_house(node);
        self.after(Duration::from_millis(10), Event::DialAll { node, life });
    }

    /// Tells a node what memory and disk it has, now and from now on.
    pub(super) fn measure(&mut self, node: usize, life: u64) {
        if self.nodes[node].life() != Some(life) {
            return;
        }
        let (domains, disk_free_bytes) = (self.nodes[node].domains(), self.disk_free(node));
        let (taken, on_battery) = (self.nodes[node].taken(), self.nodes[node].spec.what.on_battery);
        let Some(process) = self.nodes[node].process.as_mut() else { return };
        let before = std::mem::replace(&mut process.taken_seen, taken);
        self.tell(node, Input::Hardware { domains, disk_free_bytes, on_battery });
        if before > 0 || taken > 0 {
            self.press(node, taken);
        }
        if !self.calm {
            let used: u64 = self.nodes[node].engines_bytes();
            self.stats.memory_byte_s += u128::from(used) * u128::from(HARDWARE_PERIOD.as_millis() / 1000);
        }
        self.after(HARDWARE_PERIOD, Event::Hardware { node, life });
    }

    /// The kernel's word: programs wait for memory while other programs and engines, with their mapped weights, want more
    /// than there is.
    fn press(&mut self, node: usize, taken: u64) {
        let sim = &self.nodes[node];
        let engines: u64 = sim.engines("ram").map(|engine| engine.order.bytes).sum();
        let of = if taken + engines > sim.spec.what.ram_bytes { STALLED } else { 0 };
        self.tell(node, Input::Pressure(Stall { of_10_s: of, of_60_s: of }));
    }

    /// How much all engines occupy, after a load has begun.
    pub(super) fn count_memory(&mut self) {
        let used: u64 = self.nodes.iter().map(SimNode::engines_bytes).sum();
        self.stats.memory_used_bytes_max = self.stats.memory_used_bytes_max.max(used);
    }

    /// How long the federation may take to settle after everything was healed.
    pub(super) fn settling(&self) -> Duration {
        liveness::settling(self.nodes.len())
    }
}
