//! What can be seen of this machine without a node.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;

use if_addrs::get_if_addrs;

use crate::core::checkup::{InterfaceFacts, MachineFacts};

/// `IFF_MULTICAST` of Linux's interface flags.
const MULTICAST: u32 = 0x1000;
const DEFAULT_PORTS: [SocketAddr; 2] =
    [SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 7718), SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7717)];

/// Looks. While a node runs, the default ports are its own business.
pub(super) fn machine(data_dir: &Path, node_runs: bool) -> MachineFacts {
    let taken = |socket: &SocketAddr| {
        let error = TcpListener::bind(socket).err()?;
        (error.kind() == std::io::ErrorKind::AddrInUse).then(|| format!("{socket} is"))
    };
    MachineFacts {
        interfaces: interfaces(),
        disk_free_bytes: disk_free(data_dir),
        ports_taken: if node_runs { Vec::new() } else { DEFAULT_PORTS.iter().filter_map(taken).collect() },
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
