//! What this machine has: memory domains, cores, power, disk, name. Reads the system and changes nothing; what the
//! numbers mean for models is decided in `core/sizing`. Called by `driver` at start and every two seconds, and by
//! `fednode assess`.

mod cpu;
mod gpu;
mod memory;
pub mod network;
mod power;
pub mod pressure;

use std::collections::BTreeMap;
use std::num::NonZero;
use std::path::{Path, PathBuf};

use crate::core::limits;
use crate::core::membership::advert::{DomainKind, MemoryDomain};
use crate::core::sizing::{Tier, VRAM_RESERVE_BYTES, ram_reserve_bytes};
use crate::engine::{DEVICES_SEPARATOR, FOR_GPUS};
pub use cpu::{Cpu, read as read_cpu};
pub use gpu::Gpu;

use crate::hardware::gpu::Gpus;
use crate::hardware::memory::HostMemory;

/// Of a GPU's memory where a model is split over several: each has buffers of its own for what it computes, and a split goes
/// between layers, so that the last one of a GPU may not fit.
const JOINED_RESERVE_BYTES: u64 = 1 << 30;
/// The name of the memory of GPUs that are one domain.
const JOINED: &str = "gpus";
/// A machine's name in the roster of members.
const NAME_BYTES_MAX: usize = 63;

/// What this machine has, at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hardware {
    /// Its name.
    pub hostname: String,
    /// Threads that run at once.
    pub cores: u32,
    /// Runs on its battery now.
    pub on_battery: bool,
    /// Free disk where the store lies, bytes.
    pub disk_free_bytes: u64,
    /// All of that disk, bytes; 0 if the system does not say.
    pub disk_total_bytes: u64,
    /// Host memory first (`ram`, on Apple silicon `unified`), then GPUs (`gpu0`, …). `ours_bytes` is zero: what the
    /// node's own replicas hold is the ledger's knowledge, and `free_bytes` still counts mapped weights as free.
    pub domains: Vec<MemoryDomain>,
    /// For people: what could not be read, and what bounds the rest.
    pub notes: Vec<String>,
    /// GPUs that replicas can be loaded on, by their domain: what the engine calls them. In unified memory, too, it is a GPU
    /// that computes.
    pub devices: BTreeMap<String, String>,
    gpus: Vec<Gpu>,
    /// Its owner wants models split over its GPUs.
    joined: bool,
    disk_path: PathBuf,
    memory_override: Option<u64>,
}

/// Reads everything. `memory_override`: the owner's word on host memory, taken as it is. `join_gpus`: those that the engine can
/// use are one domain, and models are split over them by layers. Takes up to three seconds where a GPU's driver hangs, and in
/// builds for GPUs half a minute.
pub fn probe(dir_for_disk: &Path, memory_override: Option<u64>, join_gpus: bool) -> Hardware {
    let mut hardware = Hardware {
        hostname: hostname(),
        cores: std::thread::available_parallelism().map_or(1, |cores| u32::try_from(NonZero::get(cores)).unwrap_or(1)),
        on_battery: false,
        disk_free_bytes: 0,
        disk_total_bytes: 0,
        domains: Vec::new(),
        notes: Vec::new(),
        devices: BTreeMap::new(),
        gpus: Vec::new(),
        joined: join_gpus,
        disk_path: dir_for_disk.to_owned(),
        memory_override,
    };
    let host = memory::read();
    match (host, memory_override) {
        (_, Some(_)) => hardware.notes.push("host memory is what --memory says".to_owned()),
        (None, None) => hardware.notes.push("host memory could not be read; state it with --memory".to_owned()),
        (Some(host), None) if host.limited => {
            hardware.notes.push("host memory is bounded by this container's limit".to_owned());
        }
        (Some(_), None) => {}
    }
    hardware.domains.extend(host_domain(host, memory_override));
    hardware.add_gpus(gpu::read());
    hardware.refresh_host();
    hardware
}

impl Hardware {
    fn add_gpus(&mut self, gpus: Gpus) {
        let unified =
            self.domains.iter().find(|domain| domain.kind == DomainKind::Unified).map(|host| host.name.clone());
        let room = limits::MEMORY_DOMAINS_MAX - self.domains.len();
        for gpu in gpus.found {
            match (&unified, &gpu.device) {
                (Some(host), Some(device)) => drop(self.devices.insert(host.clone(), device.clone())),
                _ if gpu.integrated => {
                    self.notes.push(format!("{} is not used: it has no memory of its own", gpu.model))
                }
                _ if self.gpus.len() < room => self.gpus.push(gpu),
                _ => {}
            }
        }
        for (domain, of) in gpu_domains(&self.gpus, self.joined) {
            let devices: Option<Vec<&str>> = of.iter().map(|gpu| gpu.device.as_deref()).collect();
            match devices {
                Some(devices) => drop(self.devices.insert(domain.name.clone(), devices.join(DEVICES_SEPARATOR))),
                None => self.notes.push(format!("{} ({}) is not used: {}", domain.name, of[0].model, unused())),
            }
            self.domains.push(domain);
        }
        self.notes.extend(gpus.notes);
    }

    /// Reads again what changes and is cheap to read: memory, disk, power. GPUs that nobody computes on keep their first
    /// answer.
    pub fn refresh(&mut self) {
        self.refresh_host();
        gpu::refresh(&mut self.gpus);
        self.domains.retain(|domain| domain.kind != DomainKind::Vram);
        self.domains.extend(gpu_domains(&self.gpus, self.joined).into_iter().map(|(domain, _)| domain));
    }

    fn refresh_host(&mut self) {
        self.on_battery = power::on_battery();
        (self.disk_free_bytes, self.disk_total_bytes) = disk_bytes(&self.disk_path);
        let fresh = host_domain(memory::read(), self.memory_override);
        let known = self.domains.iter_mut().find(|domain| domain.kind != DomainKind::Vram);
        if let (Some(known), Some(fresh)) = (known, fresh) {
            *known = fresh;
        }
    }

    /// What this machine is good for, with a store of at most `disk_budget_bytes` if its owner says so.
    pub fn tier(&self, disk_budget_bytes: Option<u64>) -> Tier {
        let hosting = self.domains.iter().filter(|domain| domain.hosts).map(|domain| domain.total_bytes);
        let disk_bytes = match (disk_budget_bytes, self.disk_total_bytes) {
            (Some(budget), 0) => budget,
            (Some(budget), total) => budget.min(total),
            (None, total) => total,
        };
        Tier::with_disk(hosting.max().unwrap_or(0), disk_bytes)
    }

    /// Its GPUs, those that the engine cannot use among them.
    pub fn gpus(&self) -> &[Gpu] {
        &self.gpus
    }

    /// The machine's own memory.
    pub fn host(&self) -> Option<&MemoryDomain> {
        self.domains.iter().find(|domain| domain.kind != DomainKind::Vram)
    }

    /// The memory domain of this name.
    pub fn domain(&self, name: &str) -> Option<&MemoryDomain> {
        self.domains.iter().find(|domain| domain.name == name)
    }
}

/// Host memory as a domain. With an override nothing is held back: the owner has said what fednode may use.
fn host_domain(host: Option<HostMemory>, memory_override: Option<u64>) -> Option<MemoryDomain> {
    let (total_bytes, available_bytes, reserve_bytes) = match (host, memory_override) {
        (_, Some(stated)) => (stated, stated, 0),
        (Some(host), None) => (host.total_bytes, host.available_bytes, ram_reserve_bytes(host.total_bytes)),
        (None, None) => return None,
    };
    let unified = cfg!(all(target_os = "macos", target_arch = "aarch64"));
    let (name, kind) = if unified { ("unified", DomainKind::Unified) } else { ("ram", DomainKind::Ram) };
    Some(MemoryDomain {
        name: name.to_owned(),
        kind,
        total_bytes,
        free_bytes: available_bytes.min(total_bytes.saturating_sub(reserve_bytes)),
        reserve_bytes,
        ours_bytes: 0,
        hosts: true,
    })
}

/// The domains that a machine's GPUs are, each with those that it is made of: one at least.
fn gpu_domains(gpus: &[Gpu], joined: bool) -> Vec<(MemoryDomain, &[Gpu])> {
    if joined && gpus.len() > 1 && gpus.iter().all(|gpu| gpu.device.is_some()) {
        return vec![(joined_domain(gpus), gpus)];
    }
    let domain = |(index, gpu)| (gpu_domain(format!("gpu{index}"), gpu, 0), std::slice::from_ref(gpu));
    gpus.iter().enumerate().map(domain).collect()
}

fn gpu_domain(name: String, gpu: &Gpu, more_reserve_bytes: u64) -> MemoryDomain {
    let reserve_bytes = VRAM_RESERVE_BYTES + more_reserve_bytes;
    MemoryDomain {
        name,
        kind: DomainKind::Vram,
        total_bytes: gpu.total_bytes,
        free_bytes: gpu.free_bytes.min(gpu.total_bytes.saturating_sub(reserve_bytes)),
        reserve_bytes,
        ours_bytes: 0,
        hosts: gpu.device.is_some(),
    }
}

fn joined_domain(gpus: &[Gpu]) -> MemoryDomain {
    let each: Vec<MemoryDomain> =
        gpus.iter().map(|gpu| gpu_domain(JOINED.to_owned(), gpu, JOINED_RESERVE_BYTES)).collect();
    let sum = |of: fn(&MemoryDomain) -> u64| each.iter().map(of).fold(0, u64::saturating_add);
    MemoryDomain {
        name: JOINED.to_owned(),
        kind: DomainKind::Vram,
        total_bytes: sum(|domain| domain.total_bytes),
        free_bytes: sum(|domain| domain.free_bytes),
        reserve_bytes: sum(|domain| domain.reserve_bytes),
        ours_bytes: 0,
        hosts: true,
    }
}

fn unused() -> &'static str {
    if FOR_GPUS { "the engine cannot compute on it" } else { "this build computes on the CPU" }
}

/// Free and whole disk under `path`, or under the nearest folder above it that exists: the store may not be there yet.
fn disk_bytes(path: &Path) -> (u64, u64) {
    let disk = path.ancestors().find_map(|folder| {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        rustix::fs::statvfs(folder).ok()
    });
    let bytes = |blocks: u64, size: u64| blocks.saturating_mul(size);
    disk.map_or((0, 0), |disk| (bytes(disk.f_bavail, disk.f_frsize), bytes(disk.f_blocks, disk.f_frsize)))
}

/// The machine's name, fit for a roster of members.
fn hostname() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let mut fit = String::new();
    for c in name.trim().chars().filter(|c| !c.is_control()) {
        if fit.len() + c.len_utf8() > NAME_BYTES_MAX {
            break;
        }
        fit.push(c);
    }
    if fit.is_empty() { "node".to_owned() } else { fit }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_grows_with_the_machine_and_never_below_two_gibibytes() {
        for total in [8u64, 16, 20, 64, 128] {
            let host = HostMemory { total_bytes: total << 30, available_bytes: total << 30, limited: false };
            let domain = host_domain(Some(host), None).unwrap();
            assert_eq!(domain.reserve_bytes, ram_reserve_bytes(total << 30), "{total}");
            assert!(domain.reserve_bytes >= 2 << 30 && domain.free_bytes == domain.total_bytes - domain.reserve_bytes);
        }
        // A tiny machine has no room at all, rather than a negative one.
        let tiny = HostMemory { total_bytes: 1 << 30, available_bytes: 1 << 29, limited: false };
        assert_eq!(host_domain(Some(tiny), None).unwrap().free_bytes, 0);
    }

    #[test]
    fn the_owners_word_on_memory_is_taken_as_it_is() {
        let host = HostMemory { total_bytes: 1 << 30, available_bytes: 1 << 29, limited: false };
        let domain = host_domain(Some(host), Some(7)).unwrap();
        assert_eq!((domain.total_bytes, domain.free_bytes, domain.reserve_bytes, domain.hosts), (7, 7, 0, true));
        assert_eq!(host_domain(None, None), None);
    }

    #[test]
    fn free_is_bounded_by_both_the_reserve_and_what_is_available() {
        let check = |available: u64, expected: u64| {
            let host = HostMemory { total_bytes: 10 << 30, available_bytes: available << 30, limited: false };
            assert_eq!(host_domain(Some(host), None).unwrap().free_bytes, expected << 30);
        };
        check(10, 8);
        check(5, 5);
    }

    #[test]
    fn gpus_are_hosted_on_where_the_engine_can_use_them_and_seen_where_not() {
        let folder = tempfile::tempdir().unwrap();
        let without = || {
            let mut hardware = Hardware { domains: Vec::new(), ..probe(folder.path(), Some(1), false) };
            (hardware.gpus, hardware.devices) = (Vec::new(), BTreeMap::new());
            hardware
        };
        let mut hardware = without();
        let gpu = |device: Option<&str>, integrated| Gpu {
            id: String::new(),
            model: "X".into(),
            total_bytes: 24 << 30,
            free_bytes: 24 << 30,
            pci: String::new(),
            device: device.map(str::to_owned),
            integrated,
        };
        let found = vec![gpu(Some("CUDA0"), false), gpu(Some("Vulkan0"), true), gpu(None, false)];
        hardware.add_gpus(Gpus { found, notes: Vec::new() });
        let budget = (24 << 30) - VRAM_RESERVE_BYTES;
        let domains: Vec<_> = hardware.domains.iter().map(|d| (d.name.as_str(), d.kind, d.budget_bytes())).collect();
        assert_eq!(domains, [("gpu0", DomainKind::Vram, budget), ("gpu1", DomainKind::Vram, 0)]);
        assert_eq!(hardware.devices, BTreeMap::from([("gpu0".to_owned(), "CUDA0".to_owned())]));
        assert_eq!(hardware.domains[1].free_bytes, budget);

        let two = || vec![gpu(Some("CUDA0"), false), gpu(Some("CUDA1"), false)];
        let mut joined = Hardware { joined: true, ..without() };
        joined.add_gpus(Gpus { found: two(), notes: Vec::new() });
        let budget = 2 * (budget - JOINED_RESERVE_BYTES);
        let domains: Vec<_> =
            joined.domains.iter().map(|d| (d.name.as_str(), d.free_bytes, d.budget_bytes())).collect();
        assert_eq!(domains, [("gpus", budget, budget)]);
        assert_eq!(joined.devices, BTreeMap::from([("gpus".to_owned(), "CUDA0,CUDA1".to_owned())]));
    }

    #[test]
    fn this_machine_can_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let hardware = probe(&folder.path().join("not/there/yet"), Some(3 << 30), false);
        assert!(hardware.cores > 0 && hardware.disk_free_bytes > 0 && !hardware.hostname.is_empty());
        assert!(hardware.disk_total_bytes >= hardware.disk_free_bytes);
        assert_eq!(hardware.tier(Some(1 << 40)), Tier::Delegate, "3 GiB are too little");
        let host = &hardware.domains[0];
        assert_eq!((host.total_bytes, host.budget_bytes()), (3 << 30, 3 << 30));
        let mut read = probe(folder.path(), None, false);
        read.refresh();
        assert!(read.domains[0].total_bytes > 0, "{:?}", read.notes);
    }
}
