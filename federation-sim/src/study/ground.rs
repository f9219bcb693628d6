//! The machines of a study: the example inventories that fednode ships, the households and offices of the simulator's own
//! scenarios, and a few put together for one question. An inventory says how much memory and disk there is; speeds come
//! from the kinds of machines in `scenarios/study.toml`.

use fednode::core::membership::advert::DomainKind;
use fednode::core::placement::inventory::{Inventory, NodeEntry};
use fednode::core::placement::problem::RoleWanted;
use fednode::core::sizing::{self, Tier};
use fednode::wire;

use super::StudyError;
use super::labels::{Disk, Link};
use crate::scenario::{self, MachinePattern, Scenario};

/// The example inventories.
const INVENTORIES: [(&str, &str); 5] = [
    ("one-griffith", include_str!("../../../node/inventories/one-griffith.json")),
    ("four-32gb", include_str!("../../../node/inventories/four-32gb.json")),
    ("five-20gb", include_str!("../../../node/inventories/five-20gb.json")),
    ("two-gpus-and-a-laptop", include_str!("../../../node/inventories/two-gpus-and-a-laptop.json")),
    ("forty-mixed", include_str!("../../../node/inventories/forty-mixed.json")),
];
/// Scenarios whose machines are studied too.
const SCENARIOS: [&str; 2] = ["household", "office"];
/// Machines beyond which a federation is played at one link and disk only.
const LARGE: usize = 12;
/// Laptops where people sit, in inventories that have none.
const LAPTOPS: usize = 2;

/// Some machines.
#[derive(Clone, Debug)]
pub struct Ground {
    /// What they are called together.
    pub name: String,
    /// The machines.
    pub machines: Vec<MachinePattern>,
}

impl Ground {
    /// Too many machines to play at every link and disk?
    pub fn is_large(&self) -> bool {
        self.machines.len() > LARGE
    }

    /// Memory that managers may use on all machines together, bytes.
    pub fn memory_bytes(&self) -> u64 {
        self.machines.iter().filter(|machine| machine.role == "full").map(budget_bytes).sum()
    }

    /// The full machine with the most memory for managers, the first of equals: who is lost where something is lost.
    pub fn largest(&self) -> usize {
        let full = (0..self.machines.len()).filter(|&index| self.machines[index].role == "full");
        full.max_by_key(|&index| (budget_bytes(&self.machines[index]), std::cmp::Reverse(index))).unwrap_or(0)
    }

    /// The same machines on these lines and disks. Where people only sit the Wi-Fi stays what it is.
    pub fn on(&self, link: Link, disk: Disk) -> Vec<MachinePattern> {
        let mut machines = self.machines.clone();
        for machine in machines.iter_mut().filter(|machine| machine.role == "full") {
            // What comes over a line goes to the disk, and comes from one.
            let line = link.bytes_per_s().min(disk.bytes_per_s());
            machine.load_bytes_per_s = disk.bytes_per_s();
            (machine.up_bytes_per_s, machine.down_bytes_per_s) = (line, line);
        }
        machines
    }
}

fn budget_bytes(machine: &MachinePattern) -> u64 {
    machine.ram_bytes.saturating_sub(machine.reserve_bytes) + machine.vram_bytes.iter().sum::<u64>()
}

/// The machine of this kind.
pub fn kind(base: &Scenario, name: &str) -> Result<MachinePattern, StudyError> {
    let known = base.machines.iter().find(|machine| machine.name == name);
    known.cloned().ok_or_else(|| StudyError::Kind(name.to_owned()))
}

/// All that are compared, in the order of the report.
pub fn all(base: &Scenario) -> Result<Vec<Ground>, StudyError> {
    let mut grounds = Vec::new();
    for (name, text) in INVENTORIES {
        grounds.push(of_inventory(base, name, text)?);
    }
    for name in SCENARIOS {
        let scenario = scenario::load(name).map_err(StudyError::Scenario)?;
        let each = scenario.machines.iter().flat_map(|machine| vec![machine; machine.count]);
        let machines = each.map(|machine| calibrated(base, machine)).collect::<Result<Vec<_>, _>>()?;
        grounds.push(Ground { name: name.to_owned(), machines });
    }
    Ok(grounds)
}

/// Four desks of 32 GB.
pub fn four(base: &Scenario) -> Result<Ground, StudyError> {
    let (name, text) = INVENTORIES[1];
    of_inventory(base, name, text)
}

/// One Griffith with the laptops of its people, or as many as are wanted.
pub fn griffiths(base: &Scenario, count: usize) -> Result<Ground, StudyError> {
    let (_, text) = INVENTORIES[0];
    let one = of_inventory(base, "one-griffith", text)?;
    let (first, others) = one.machines.split_first().ok_or_else(|| StudyError::Kind("griffith".to_owned()))?;
    let mut machines = vec![first.clone(); count];
    machines.extend(others.iter().cloned());
    let name = if count == 1 { one.name } else { format!("{count} griffiths") };
    Ok(Ground { name, machines })
}

/// One machine of so many GiB, of the kind of a desk.
pub fn sized(base: &Scenario, gib: u64) -> Result<MachinePattern, StudyError> {
    let ram_bytes = gib << 30;
    let desk = kind(base, "desk")?;
    Ok(MachinePattern {
        name: format!("machine-{gib}"),
        ram_bytes,
        reserve_bytes: sizing::ram_reserve_bytes(ram_bytes),
        ..desk
    })
}

/// The roster that the inventories share.
pub fn reference() -> Result<Inventory, StudyError> {
    read(INVENTORIES[1].1)
}

fn read(text: &str) -> Result<Inventory, StudyError> {
    wire::inventory::parse(text).map_err(|error| StudyError::Inventory(error.to_string()))
}

fn of_inventory(base: &Scenario, name: &str, text: &str) -> Result<Ground, StudyError> {
    let inventory = read(text)?;
    let mut machines = inventory.nodes.iter().map(|node| machine(base, node)).collect::<Result<Vec<_>, _>>()?;
    if machines.iter().all(|machine| machine.role == "full") {
        machines.extend(vec![kind(base, "laptop")?; LAPTOPS]);
    }
    // The first machine publishes, so it must be one that hosts.
    machines.sort_by_key(|machine| machine.role != "full");
    Ok(Ground { name: name.to_owned(), machines })
}

fn machine(base: &Scenario, node: &NodeEntry) -> Result<MachinePattern, StudyError> {
    let of = |wanted: fn(DomainKind) -> bool| node.domains.iter().filter(move |domain| wanted(domain.kind));
    let host = of(|kind| kind != DomainKind::Vram).next();
    let (ram_bytes, reserve_bytes) = host.map_or((0, 0), |domain| (domain.total_bytes, domain.reserve_bytes));
    let gpus = of(|kind| kind == DomainKind::Vram);
    let vram_bytes: Vec<u64> = gpus.map(|domain| domain.total_bytes.saturating_sub(domain.reserve_bytes)).collect();
    let largest = node.domains.iter().map(|domain| domain.total_bytes).max().unwrap_or(0);
    let hosts = node.role != RoleWanted::Delegate && Tier::of(largest).hosts();
    let named = match (vram_bytes.is_empty(), host.map(|domain| domain.kind), Tier::of(ram_bytes)) {
        (false, ..) => "gpu-box",
        (true, Some(DomainKind::Unified), _) => "mac",
        (true, _, Tier::Griffith) => "griffith",
        (true, ..) if hosts => "desk",
        (true, ..) => "laptop",
    };
    let known = kind(base, named)?;
    Ok(MachinePattern {
        name: node.name.clone(),
        role: if hosts { "full" } else { "delegate" }.to_owned(),
        ram_bytes,
        reserve_bytes,
        vram_bytes,
        disk_bytes: node.disk_free_bytes.unwrap_or(known.disk_bytes),
        ..known
    })
}

/// A scenario's machine, with the speeds of this study's kinds.
fn calibrated(base: &Scenario, machine: &MachinePattern) -> Result<MachinePattern, StudyError> {
    let known = kind(base, &machine.name)?;
    Ok(MachinePattern {
        tokens_per_s: known.tokens_per_s,
        prompt_tokens_per_s: known.prompt_tokens_per_s,
        gpu_tokens_per_s: known.gpu_tokens_per_s,
        gpu_prompt_tokens_per_s: known.gpu_prompt_tokens_per_s,
        count: 1,
        ..machine.clone()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_inventory_becomes_machines_that_host_first_and_people_that_sit_somewhere() {
        let base = scenario::load("study").expect("named");
        let grounds = all(&base).expect("machines");
        assert_eq!(grounds.len(), INVENTORIES.len() + SCENARIOS.len());
        for ground in &grounds {
            assert_eq!(ground.machines[0].role, "full", "{}", ground.name);
            assert!(ground.machines.iter().any(|machine| machine.role == "delegate"), "{}", ground.name);
            assert!(ground.memory_bytes() > 0);
            assert_eq!(ground.machines[ground.largest()].role, "full");
        }
        let named = |name: &str| grounds.iter().find(|ground| ground.name == name).expect(name);
        assert_eq!(named("one-griffith").machines.len(), 1 + LAPTOPS);
        assert_eq!(named("four-32gb").memory_bytes(), 4 * 30_236_569_772);
        assert!(named("forty-mixed").is_large() && !named("five-20gb").is_large());
        let gpus = named("two-gpus-and-a-laptop");
        assert!(gpus.machines.iter().any(|machine| !machine.vram_bytes.is_empty() && machine.gpu_tokens_per_s > 0));
    }

    #[test]
    fn lines_and_disks_change_who_hosts_and_nobody_else() {
        let base = scenario::load("study").expect("named");
        let ground = griffiths(&base, 2).expect("machines");
        let machines = ground.on(Link::Gbe10, Disk::Sata);
        assert_eq!(machines.len(), 2 + LAPTOPS);
        // The disk cannot take what the line brings.
        assert_eq!(machines[0].down_bytes_per_s, Disk::Sata.bytes_per_s());
        assert_eq!(machines[0].load_bytes_per_s, Disk::Sata.bytes_per_s());
        assert_eq!(machines[3], ground.machines[3]);
    }
}
