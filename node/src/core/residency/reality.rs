//! The ledger against a machine with memory of its own mind: other programs take it and give it back, engines take more or less
//! than was estimated, and take it late. Whatever comes, no load is ordered that the promises made so far leave no room for; and
//! none is refused that they do leave room for.

use super::*;
use crate::core::membership::advert::{DomainKind, RefusalCode};

const ME: NodeId = NodeId([1; 32]);
const SLOTS: u64 = 8;
const MIB: u64 = 1 << 20;
const STEPS: usize = 10_000;

/// A small generator; the same seed plays the same run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n.max(1)
    }
}

/// An engine as it really is.
#[derive(Clone)]
struct Engine {
    order: PlannedReplica,
    /// What it will take beside its weights in the end.
    needs: u64,
    /// What it has taken of that.
    taken: u64,
    locked: bool,
    ready: bool,
    /// The most that the node was told of.
    told: u64,
}

impl Engine {
    /// What it was promised, or took.
    fn promise(&self) -> u64 {
        self.order.bytes.max(self.told)
    }
}

struct World {
    chance: Chance,
    residency: Residency,
    now: Time,
    engines: BTreeMap<SlotName, Engine>,
    /// Of other programs in host memory, and as it was when the node last looked.
    others: u64,
    others_then: u64,
    /// Domains and promises of replicas that were ending then: what they had given back already, nobody could say.
    ending_then: Vec<(String, u64)>,
    wanted: BTreeSet<SlotName>,
    in_flight: BTreeMap<SlotName, u32>,
    loads: usize,
    refusals: usize,
}

fn name(slot: u64) -> SlotName {
    SlotName::new(&format!("S{slot}")).expect("name")
}

/// Slots 0 and 1 share a base, and so do 2 and 3.
fn order(slot: u64, gpu: bool) -> PlannedReplica {
    let base = if slot < 4 { slot / 2 } else { slot };
    let weights_bytes = (2 + base) * 1024 * MIB;
    PlannedReplica {
        slot: name(slot),
        node: ME,
        memory_domain: if gpu { "gpu0" } else { "ram" }.into(),
        artifact: Digest([base as u8; 32]),
        adapters: Vec::new(),
        context: 512 * (1 + slot as u32),
        parallel: 1,
        bytes: weights_bytes + (300 + 200 * slot) * MIB,
        weights_bytes,
    }
}

fn domain(name: &str, kind: DomainKind, total_bytes: u64, reserve_bytes: u64) -> MemoryDomain {
    MemoryDomain { name: name.into(), kind, total_bytes, reserve_bytes, free_bytes: 0, ours_bytes: 0, hosts: true }
}

fn domains() -> [MemoryDomain; 2] {
    [domain("ram", DomainKind::Ram, 24 << 30, 3 << 30), domain("gpu0", DomainKind::Vram, 12 << 30, 512 * MIB)]
}

impl World {
    fn new(seed: u64) -> World {
        let mut world = World {
            chance: Chance(seed | 1),
            residency: Residency::default(),
            now: Time::default(),
            engines: BTreeMap::new(),
            others: 0,
            others_then: 0,
            ending_then: Vec::new(),
            wanted: BTreeSet::new(),
            in_flight: BTreeMap::new(),
            loads: 0,
            refusals: 0,
        };
        world.look();
        world
    }

    fn on(&self, domain: &str) -> impl Iterator<Item = &Engine> {
        self.engines.values().filter(move |engine| engine.order.memory_domain == domain)
    }

    /// Weights of distinct bases on a domain, of those engines that `which` takes.
    fn bases(&self, domain: &str, which: impl Fn(&Engine) -> bool) -> u64 {
        let bases = self.on(domain).filter(|engine| which(engine));
        let bases = bases.map(|engine| (engine.order.artifact, engine.order.weights_bytes));
        bases.collect::<BTreeMap<_, _>>().into_values().sum()
    }

    /// What all engines of a domain were promised, as far as the node can know.
    fn promised(&self, domain: &str) -> u64 {
        let own = self.on(domain).map(|engine| engine.promise() - engine.order.weights_bytes);
        self.bases(domain, |_| true) + own.sum::<u64>()
    }

    /// What managers may use of a domain, by what the node last saw.
    fn budget(&self, domain: &MemoryDomain) -> u64 {
        let others = if domain.kind == DomainKind::Ram { self.others_then } else { 0 };
        domain.total_bytes - others.max(domain.reserve_bytes)
    }

    /// The node looks at its engines and its memory. The system calls mapped weights free, unless they are locked.
    fn look(&mut self) {
        for (slot, engine) in &mut self.engines {
            let resident_bytes = engine.order.weights_bytes + engine.taken;
            let locked_bytes = if engine.locked { engine.order.weights_bytes } else { 0 };
            engine.told = engine.told.max(resident_bytes);
            self.residency.seen(slot, Seen { resident_bytes, private_bytes: engine.taken, locked_bytes });
        }
        self.others_then = self.others;
        let ending = self.engines.iter().filter(|(slot, _)| self.is_ending(slot));
        self.ending_then = ending.map(|(_, engine)| (engine.order.memory_domain.clone(), engine.promise())).collect();
        let [mut ram, mut gpu] = domains();
        ram.free_bytes = self.left().min(ram.total_bytes - ram.reserve_bytes);
        // A driver counts what is allocated: all of a ready engine, and nothing of one that loads.
        let own: u64 = self.on("gpu0").filter(|e| e.ready).map(|e| e.promise() - e.order.weights_bytes).sum();
        let used = own + self.bases("gpu0", |engine| engine.ready);
        gpu.free_bytes = gpu.total_bytes.saturating_sub(used).min(gpu.total_bytes - gpu.reserve_bytes);
        self.residency.capacity(vec![ram, gpu]);
    }

    fn happens(&mut self) {
        let slot = name(self.chance.below(SLOTS));
        match self.chance.below(20) {
            0 | 1 => self.plan(),
            2 => self.wanted = (0..SLOTS).filter(|_| self.chance.below(4) == 0).map(name).collect(),
            3 | 4 => self.others = (self.chance.below(16) << 30).min(self.others + self.left()),
            5 => {
                let requests = self.chance.below(3) as u32;
                self.in_flight.insert(slot, requests);
            }
            6 => {
                let of = if self.chance.below(8) == 0 { 2_000 } else { 50 };
                self.residency.pressure(Stall { of_10_s: of, of_60_s: of });
            }
            7 => self.died(&slot),
            8..=10 => self.grow(&slot),
            11..=13 => self.loaded(&slot),
            14..=16 => self.unloaded(&slot),
            _ => self.now = self.now.after(Duration::from_millis(self.chance.below(20_000))),
        }
    }

    fn plan(&mut self) {
        let chosen = (0..SLOTS).filter_map(|slot| match self.chance.below(4) {
            0 => None,
            1 => Some(order(slot, true)),
            _ => Some(order(slot, false)),
        });
        let chosen: Vec<PlannedReplica> = chosen.collect();
        self.residency.desire(ME, chosen.into_iter());
    }

    fn grow(&mut self, slot: &SlotName) {
        let left = self.left();
        let Some(engine) = self.engines.get_mut(slot) else { return };
        let left = if engine.order.memory_domain == "ram" { left } else { u64::MAX };
        engine.taken += self.chance.below((engine.needs - engine.taken + 1).min(left));
    }

    /// Host memory in which nothing lies that cannot be dropped.
    fn left(&self) -> u64 {
        let taken: u64 = self.on("ram").map(|engine| engine.taken).sum();
        domains()[0].total_bytes.saturating_sub(self.others + taken + self.bases("ram", |engine| engine.locked))
    }

    fn loaded(&mut self, slot: &SlotName) {
        let left = self.left();
        let Some(engine) = self.engines.get_mut(slot).filter(|engine| !engine.ready) else { return };
        if self.chance.below(5) == 0 {
            self.residency.loaded(self.now, slot, Err("no".to_owned().into()));
            self.engines.remove(slot);
            return;
        }
        (engine.ready, engine.locked) = (true, self.chance.below(3) == 0 && engine.order.weights_bytes < left);
        let resident_bytes = engine.order.weights_bytes + engine.taken;
        let locked_bytes = if engine.locked { engine.order.weights_bytes } else { 0 };
        engine.told = engine.told.max(resident_bytes);
        // As the driver does it: it looks before it says that the load has ended.
        self.residency.seen(slot, Seen { resident_bytes, private_bytes: engine.taken, locked_bytes });
        self.residency.loaded(self.now, slot, Ok(resident_bytes));
    }

    fn unloaded(&mut self, slot: &SlotName) {
        if self.is_ending(slot) {
            self.engines.remove(slot);
            self.residency.unloaded(slot);
        }
    }

    fn is_ending(&self, slot: &SlotName) -> bool {
        self.residency.actual.get(slot).is_some_and(|held| held.state == State::Unloading)
    }

    fn died(&mut self, slot: &SlotName) {
        let Some(engine) = self.engines.get(slot).filter(|engine| engine.ready) else { return };
        let cause = [Cause::Broke, Cause::Exceeded, Cause::OutOfMemory][self.chance.below(3) as usize];
        let taken_bytes = engine.order.weights_bytes + engine.taken;
        self.residency.failed(self.now, slot, Death { why: "it ended".to_owned(), cause, taken_bytes });
        self.engines.remove(slot);
    }

    fn reconcile(&mut self, fresh: bool) {
        let on_disk = (0..SLOTS).map(|slot| order(slot, false).artifact).collect();
        let none = BTreeSet::new();
        let around = Around {
            on_disk: &on_disk,
            in_flight: &self.in_flight,
            wanted: &self.wanted,
            pinned: &none,
            kept: &none,
            coming: &none,
        };
        for action in self.residency.reconcile(self.now, &around) {
            if let Action::Load(order) = action {
                self.begins(order);
            }
        }
        if fresh {
            self.no_refusal_without_reason();
        }
    }

    fn begins(&mut self, order: PlannedReplica) {
        // Whatever is promised to it after it took more once.
        let estimate = (300 + 200 * u64::from(order.context / 512 - 1)) * MIB;
        let needs = estimate * (50 + self.chance.below(120)) / 100;
        let (slot, domain) = (order.slot, order.memory_domain.clone());
        let engine = Engine { order, needs, taken: 0, locked: false, ready: false, told: 0 };
        assert!(self.engines.insert(slot, engine).is_none(), "{slot} was there already");
        let domain = domains().into_iter().find(|it| it.name == domain).expect("a domain of the plan");
        let (promised, budget) = (self.promised(&domain.name), self.budget(&domain));
        assert!(promised <= budget, "{promised} promised of {budget} on {} with {slot}", domain.name);
        self.loads += 1;
    }

    /// Where the node has just looked, what it refuses for want of memory really has no room.
    fn no_refusal_without_reason(&mut self) {
        for status in self.residency.statuses(&BTreeMap::new(), |_| String::new()) {
            if status.refusal != Some(RefusalCode::Memory) || self.residency.pressure.is_high() {
                continue;
            }
            let order = self.residency.desired.iter().find(|order| order.slot == status.slot).expect("it is planned");
            let here = domains().into_iter().find(|it| it.name == order.memory_domain).expect("a domain of the plan");
            let bytes = order.bytes.max(self.residency.measured(footing(order)));
            let shared = self.on(&here.name).any(|engine| engine.order.artifact == order.artifact);
            let needs = if shared { bytes - order.weights_bytes } else { bytes };
            let ending = self.ending_then.iter().filter(|(domain, _)| *domain == here.name);
            let promised = self.promised(&here.name) + ending.map(|(_, bytes)| bytes).sum::<u64>();
            let budget = self.budget(&here);
            assert!(promised + needs > budget, "{} needs {needs}, {promised} of {budget} promised", order.slot);
            self.refusals += 1;
        }
    }
}

#[test]
fn ten_thousand_steps_never_promise_more_than_there_is() {
    let (mut loads, mut refusals) = (0, 0);
    for seed in 1..=4 {
        let mut world = World::new(0x9E37_79B9_7F4A_7C15 >> seed);
        for _ in 0..STEPS {
            world.happens();
            let fresh = world.chance.below(2) == 0;
            if fresh {
                world.look();
            }
            world.reconcile(fresh);
        }
        (loads, refusals) = (loads + world.loads, refusals + world.refusals);
    }
    // Enough happened for the checks to mean something.
    assert!(loads > 1_000 && refusals > 1_000, "{loads} loads, {refusals} refusals");
}
