//! What `fednode assess` makes of what it found: tier, budgets, what becomes of each role of a roster on this machine alone, and how
//! fast it would load and answer. Plain data in, a document out; the measuring is `cli`'s and `hardware`'s.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::core::fit::guide::{Budget, GuideTier, budget};
use crate::core::fit::place::millitokens;
use crate::core::fit::roster::{FullDocument, Meant, Residency, RosterDocument, roster};
use crate::core::membership::advert::{DomainKind, MemoryDomain};
use crate::core::placement::inventory::{DomainEntry, NodeEntry};
use crate::core::placement::problem::RoleWanted;
use crate::core::placement::{Violation, millis};
use crate::core::sizing::{Tier, disk_needed_bytes};

/// What was found and measured.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Facts {
    /// Its name.
    pub name: String,
    /// linux | macos | windows.
    pub os: String,
    /// Such as x86_64.
    pub arch: String,
    /// Its processor, as its maker calls it; empty if the system does not say.
    pub processor: String,
    /// Threads that run at once.
    pub cores: u32,
    /// Cores of the processor; null if the system does not say.
    pub physical_cores: Option<u32>,
    /// Instructions that help to multiply matrices.
    pub vector_extensions: Vec<String>,
    /// Parts of memory that are near to different cores; null if the system does not say.
    pub numa_nodes: Option<u32>,
    /// Runs on its battery now.
    pub on_battery: bool,
    /// GPUs.
    pub gpus: Vec<GpuFacts>,
    /// The disk of the data directory.
    pub disk: DiskFacts,
    /// Interfaces, but for loopback.
    pub network: Vec<NetworkFacts>,
    /// How fast its engine answered, for each memory that can host.
    pub speed: Vec<SpeedFacts>,
    /// What could not be read or measured.
    pub notes: Vec<String>,
}

/// One GPU.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct GpuFacts {
    /// What stays the same when cards are moved or drivers renumber them; where a driver has no such thing, its place on the bus.
    pub id: String,
    /// As its maker calls it.
    pub model: String,
    /// All of its memory, bytes.
    pub total_bytes: u64,
    /// What nobody uses, bytes.
    pub free_bytes: u64,
    /// Can this build's engine compute on it?
    pub usable: bool,
}

/// The disk of the data directory.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct DiskFacts {
    /// Where was looked.
    pub path: String,
    /// Free, bytes.
    pub free_bytes: u64,
    /// All of it, bytes; 0 if the system does not say.
    pub total_bytes: u64,
    /// Measured: a new file read in order, out of the page cache; null where it was not measured.
    pub read_bytes_per_s: Option<u64>,
    /// Measured: the same file written and synced.
    pub write_bytes_per_s: Option<u64>,
}

/// One interface.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct NetworkFacts {
    /// Its name.
    pub name: String,
    /// Its addresses.
    pub addresses: Vec<String>,
    /// What its line carries at most; null if the system does not say.
    pub bits_per_s: Option<u64>,
}

/// How fast the engine answered with a small model of its own making.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct SpeedFacts {
    /// The memory that it lived in.
    pub domain: String,
    /// With so many threads.
    pub threads: u32,
    /// What a token read of its weights, bytes.
    pub bytes_per_token: u64,
    /// Tokens of an answer in a second, thousandths.
    pub millitokens_per_s: u64,
    /// Tokens of a prompt in a second, thousandths.
    pub prompt_millitokens_per_s: u64,
    /// From no process to a model that answers, its file in the page cache, milliseconds.
    pub load_ms: u64,
}

impl SpeedFacts {
    /// Weights that it read in a second: what a larger model is expected to be read at, too.
    pub fn read_bytes_per_s(&self) -> u64 {
        let read = u128::from(self.bytes_per_token) * u128::from(self.millitokens_per_s) / 1000;
        u64::try_from(read).unwrap_or(u64::MAX)
    }
}

/// The answer: what `fednode assess --json` prints.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Assessment {
    /// What was found.
    pub machine: Facts,
    /// The tier, as the federation counts it.
    pub tier: Tier,
    /// Does it host managers, unless its owner says otherwise?
    pub hosts: bool,
    /// Memory: what managers may use, what is kept, and what the roster's roles would use of it.
    pub memory: Vec<MemoryFacts>,
    /// The sizing guide's own words on a host of so much memory.
    pub guide: Guide,
    /// The roster that was asked about.
    pub roster: String,
    /// Its roles, the most needed first.
    pub managers: Vec<ManagerFacts>,
    /// What to give up, first things first, until the rest fits at once.
    pub give_up: Vec<String>,
    /// Free disk that storing all of them needs, bytes, and what lacks.
    pub disk_needed_bytes: u64,
    /// What of that is not free.
    pub disk_short_bytes: u64,
}

/// One memory.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct MemoryFacts {
    /// Its name.
    pub domain: String,
    /// vram | ram | unified.
    pub kind: &'static str,
    /// All of it, bytes.
    pub total_bytes: u64,
    /// What nobody uses now, bytes.
    pub free_bytes: u64,
    /// Kept for the system and other programs, bytes.
    pub reserve_bytes: u64,
    /// What managers may use, bytes; 0: it cannot host.
    pub budget_bytes: u64,
    /// What the roles that would be resident use of it.
    pub planned: Option<FullDocument>,
}

/// The sizing guide's rules.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Guide {
    /// Its tier.
    pub tier: GuideTier,
    /// What its decision tree says.
    pub advice: &'static str,
    /// Its budget.
    pub budget: Budget,
}

/// One role on this machine.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ManagerFacts {
    /// The slot.
    pub slot: String,
    /// The model meant for it.
    pub model: String,
    /// What a replica needs, bytes.
    pub bytes: u64,
    /// resident | swap | none.
    pub state: Residency,
    /// The memory it would be in.
    pub domain: Option<String>,
    /// What lacks in the largest memory, bytes.
    pub bytes_short: u64,
    /// From this disk into memory, milliseconds; null where the disk was not measured.
    pub load_ms: Option<u64>,
    /// Tokens of an answer in a second, thousandths; null where that was not measured.
    pub millitokens_per_s: Option<u64>,
}

/// This machine as an inventory has it.
fn node(facts: &Facts, domains: &[MemoryDomain]) -> NodeEntry {
    let hosting = domains.iter().filter(|domain| domain.hosts);
    let entry = |domain: &MemoryDomain| DomainEntry {
        name: domain.name.clone(),
        kind: domain.kind,
        total_bytes: domain.total_bytes,
        free_bytes: None,
        reserve_bytes: domain.reserve_bytes,
    };
    NodeEntry {
        name: facts.name.clone(),
        id: None,
        role: RoleWanted::Auto,
        disk_free_bytes: None,
        load_bytes_per_s: facts.disk.read_bytes_per_s.unwrap_or(0),
        link_bytes_per_s: 0,
        domains: hosting.map(entry).collect(),
        holds: Vec::new(),
        claimed: Vec::new(),
        recent: false,
    }
}

/// Judges. `meant` is a roster in the order of its priority.
pub fn assess(
    facts: Facts,
    domains: &[MemoryDomain],
    tier: Tier,
    name: &str,
    meant: &[Meant],
) -> Result<Assessment, Violation> {
    let plan = roster(name, meant, &[node(&facts, domains)])?;
    let host = domains.iter().find(|domain| domain.kind != DomainKind::Vram);
    let total = host.map_or(0, |domain| domain.total_bytes);
    let guide = GuideTier::of(total);
    let weights: BTreeMap<&str, u64> =
        meant.iter().map(|meant| (meant.artifact.as_str(), meant.shape.weights_bytes)).collect();
    let weights = weights.values().copied().fold(0, u64::saturating_add);
    let needed = disk_needed_bytes(weights);
    Ok(Assessment {
        tier,
        hosts: tier.hosts(),
        memory: domains.iter().map(|domain| memory(domain, &plan)).collect(),
        guide: Guide { tier: guide, advice: guide.advice(), budget: budget(total >> 30) },
        roster: plan.roster.clone(),
        managers: meant.iter().map(|meant| manager(meant, &facts, domains, &plan)).collect(),
        give_up: plan.give_up,
        disk_needed_bytes: needed,
        disk_short_bytes: needed.saturating_sub(facts.disk.free_bytes),
        machine: facts,
    })
}

fn memory(domain: &MemoryDomain, plan: &RosterDocument) -> MemoryFacts {
    MemoryFacts {
        domain: domain.name.clone(),
        kind: domain.kind.as_str(),
        total_bytes: domain.total_bytes,
        free_bytes: domain.free_bytes,
        reserve_bytes: domain.reserve_bytes,
        budget_bytes: domain.budget_bytes(),
        planned: plan.memory.iter().find(|full| full.memory.domain == domain.name).cloned(),
    }
}

fn manager(meant: &Meant, facts: &Facts, domains: &[MemoryDomain], plan: &RosterDocument) -> ManagerFacts {
    let role = plan.roles.iter().find(|role| role.slot == meant.slot.name.as_str());
    let state = role.map_or(Residency::None, |role| role.state);
    // The name of this machine stands before that of its memory.
    let placed = role.and_then(|role| role.on.first()).and_then(|place| place.rsplit(' ').next()).map(str::to_owned);
    let bytes = role.map_or(0, |role| role.bytes);
    let roomy = || domains.iter().find(|domain| domain.hosts && domain.budget_bytes() >= bytes);
    let domain = match state {
        Residency::None => None,
        _ => placed.or_else(|| roomy().map(|domain| domain.name.clone())),
    };
    let speed = facts.speed.iter().find(|speed| Some(&speed.domain) == domain.as_ref());
    let weights = meant.shape.weights_bytes;
    let read = facts.disk.read_bytes_per_s.filter(|_| domain.is_some());
    ManagerFacts {
        slot: meant.slot.name.to_string(),
        model: meant.model.clone(),
        bytes,
        state,
        bytes_short: role.map_or(0, |role| role.bytes_short),
        load_ms: read.map(|read| millis(weights, read)),
        millitokens_per_s: speed.and_then(|speed| millitokens(speed.read_bytes_per_s(), meant.read_bytes_per_token())),
        domain,
    }
}
