//! What can be seen of this machine without a node.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use if_addrs::get_if_addrs;

use crate::cli::members::now_unix_s;
use crate::cli::service;
use crate::core::checkup::{InterfaceFacts, MachineFacts, MemoryFacts};
use crate::core::membership::advert::DomainKind;
use crate::core::view::State;
use crate::hardware::{self, Hardware, pressure};

/// `IFF_MULTICAST` of Linux's interface flags.
const MULTICAST: u32 = 0x1000;
const DEFAULT_PORTS: [SocketAddr; 2] =
    [SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 7718), SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7717)];

/// The API of a node on this machine answers within this, or not at all.
const API_WAIT: Duration = Duration::from_secs(2);
/// PCI's numbers of NVIDIA and AMD, whose GPUs computing is done on.
const GPU_MAKERS: [&str; 2] = ["0x10de", "0x1002"];
/// The class of display controllers on PCI.
const DISPLAY_CLASS: &str = "0x03";

/// Looks. `state`: the view of the node that runs here, if one does; then the default ports are its own business.
pub(super) fn machine(data_dir: &Path, state: Option<&State>) -> MachineFacts {
    let taken = |socket: &SocketAddr| {
        let error = TcpListener::bind(socket).err()?;
        (error.kind() == std::io::ErrorKind::AddrInUse).then(|| format!("{socket} is"))
    };
    let hardware = hardware::probe(data_dir, None, false);
    let gpus = || hardware.domains.iter().filter(|domain| domain.kind == DomainKind::Vram);
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    MachineFacts {
        interfaces: interfaces(),
        disk_free_bytes: disk_free(data_dir),
        ports_taken: if state.is_some() { Vec::new() } else { DEFAULT_PORTS.iter().filter_map(taken).collect() },
        poor_disk: poor_disk(data_dir).unwrap_or_default().to_owned(),
        api_error: state.and_then(|state| api_error(&state.node.api)).unwrap_or_default(),
        memory: memory(&hardware),
        stalled_of_60_s: pressure::read().map(|stall| stall.of_60_s),
        gpus: count(gpus().count()),
        gpus_usable: count(gpus().filter(|domain| domain.hosts).count()),
        gpu_notes: gpu_notes(&hardware),
        clock_synchronised: clock_synchronised(Path::new("/run/systemd/timesync")),
        now_unix_s: now_unix_s(),
        service: service::look(),
        open_files_max: state
            .and_then(|state| open_files(&std::fs::read_to_string(format!("/proc/{}/limits", state.node.pid)).ok()?)),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

fn memory(hardware: &Hardware) -> Option<MemoryFacts> {
    let host = hardware.host()?;
    Some(MemoryFacts { total_bytes: host.total_bytes, free_bytes: host.free_bytes })
}

/// What the probe said of GPUs, and cards that have no driver at all.
fn gpu_notes(hardware: &Hardware) -> Vec<String> {
    let told = hardware.notes.iter().filter(|note| !note.starts_with("host memory")).cloned();
    told.chain(cards_without_driver(Path::new("/sys/bus/pci/devices"))).collect()
}

fn cards_without_driver(devices: &Path) -> Vec<String> {
    let mut cards: Vec<String> = std::fs::read_dir(devices)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|device| {
            let word = |name: &str| std::fs::read_to_string(device.path().join(name)).unwrap_or_default();
            let of_maker = GPU_MAKERS.contains(&word("vendor").trim());
            of_maker && word("class").starts_with(DISPLAY_CLASS) && !device.path().join("driver").exists()
        })
        .map(|device| format!("the GPU at {} has no driver", device.file_name().to_string_lossy()))
        .collect();
    cards.sort();
    cards
}

/// systemd-timesyncd leaves a file once it has met a time server; other programs for that say nothing that can be read simply.
fn clock_synchronised(folder: &Path) -> Option<bool> {
    folder.is_dir().then(|| folder.join("synchronized").exists())
}

/// Why nothing can be reached at `http://ADDR`, or `None`.
fn api_error(url: &str) -> Option<String> {
    let address = url.split_once("://").map_or(url, |(_, rest)| rest);
    let socket: SocketAddr = address.parse().ok()?;
    // What listens on all addresses is asked for on this machine.
    let socket = match socket.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), socket.port()),
        IpAddr::V6(ip) if ip.is_unspecified() => SocketAddr::new(std::net::Ipv6Addr::LOCALHOST.into(), socket.port()),
        _ => socket,
    };
    TcpStream::connect_timeout(&socket, API_WAIT).err().map(|error| error.to_string())
}

/// The soft limit in `/proc/PID/limits`.
fn open_files(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

/// A file system that is no local disk, by its number in statfs(2).
#[cfg(target_os = "linux")]
fn poor_disk(data_dir: &Path) -> Option<&'static str> {
    let folder = data_dir.ancestors().find(|folder| folder.is_dir())?;
    kind_of(u64::try_from(rustix::fs::statfs(folder).ok()?.f_type).ok()?)
}

#[cfg(not(target_os = "linux"))]
fn poor_disk(_: &Path) -> Option<&'static str> {
    None
}

#[cfg(target_os = "linux")]
fn kind_of(number: u64) -> Option<&'static str> {
    match number {
        0x6969 => Some("a network share (NFS)"),
        0xff53_4d42 | 0xfe53_4d42 | 0x517b => Some("a network share (SMB)"),
        0x0102_1994 => Some("memory (tmpfs)"),
        0x6573_5546 => Some("a file system in a program of its own (FUSE)"),
        _ => None,
    }
}

fn interfaces() -> Vec<InterfaceFacts> {
    let mut found: BTreeMap<String, InterfaceFacts> = BTreeMap::new();
    for one in get_if_addrs().unwrap_or_default() {
        if one.is_loopback() {
            continue;
        }
        let name = one.name.clone();
        let multicast = multicast(&name);
        let facts = found.entry(name.clone()).or_insert(InterfaceFacts { name, multicast, ipv4: false, ipv6: false });
        match one.ip() {
            IpAddr::V4(_) => facts.ipv4 = true,
            IpAddr::V6(ip) => facts.ipv6 |= !ip.is_unicast_link_local(),
        }
    }
    found.into_values().collect()
}

/// Linux tells; `None` elsewhere.
fn multicast(interface: &str) -> Option<bool> {
    let text = std::fs::read_to_string(Path::new("/sys/class/net").join(interface).join("flags")).ok()?;
    let flags = u32::from_str_radix(text.trim().trim_start_matches("0x"), 16).ok()?;
    Some(flags & MULTICAST != 0)
}

/// Free where the data directory is, or will be.
fn disk_free(data_dir: &Path) -> Option<u64> {
    let folder = data_dir.ancestors().find(|folder| folder.is_dir())?;
    let stat = rustix::fs::statvfs(folder).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_open_files_is_read_from_the_kernels_table() {
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
                    Max processes             100                  100                  processes \n\
                    Max open files            1024                 524288               files     \n";
        assert_eq!(open_files(text), Some(1024));
        assert_eq!(open_files("Max open files            unlimited unlimited files\n"), Some(u64::MAX));
        assert_eq!(open_files("Max open files\n"), None);
        assert_eq!(open_files(""), None);
    }

    #[test]
    fn the_api_is_tried_where_it_says_it_listens() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        assert_eq!(api_error(&format!("http://127.0.0.1:{port}")), None);
        assert_eq!(api_error(&format!("https://0.0.0.0:{port}")), None, "all addresses");
        drop(listener);
        assert!(api_error(&format!("http://127.0.0.1:{port}")).is_some());
        assert_eq!(api_error("unknown"), None, "nothing can be said");
    }

    #[test]
    fn cards_without_a_driver_are_found_on_the_bus() {
        let bus = tempfile::tempdir().expect("a folder");
        let card = |name: &str, vendor: &str, class: &str| {
            let folder = bus.path().join(name);
            std::fs::create_dir(&folder).expect("a card");
            std::fs::write(folder.join("vendor"), vendor).expect("written");
            std::fs::write(folder.join("class"), class).expect("written");
            folder
        };
        card("0000:01:00.0", "0x10de\n", "0x030200\n");
        card("0000:01:00.1", "0x10de\n", "0x040300\n");
        card("0000:00:02.0", "0x1234\n", "0x030000\n");
        std::fs::create_dir(card("0000:02:00.0", "0x1002\n", "0x038000\n").join("driver")).expect("a driver");
        assert_eq!(cards_without_driver(bus.path()), ["the GPU at 0000:01:00.0 has no driver"]);
        assert_eq!(cards_without_driver(&bus.path().join("none")), [""; 0]);
    }

    #[test]
    fn a_time_server_was_met_or_not_or_nobody_says() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(clock_synchronised(&folder.path().join("none")), None);
        assert_eq!(clock_synchronised(folder.path()), Some(false));
        std::fs::write(folder.path().join("synchronized"), "").expect("written");
        assert_eq!(clock_synchronised(folder.path()), Some(true));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn shares_and_memory_are_no_disks() {
        assert_eq!(kind_of(0x6969), Some("a network share (NFS)"));
        assert_eq!(kind_of(0xef53), None, "ext4");
    }
}
