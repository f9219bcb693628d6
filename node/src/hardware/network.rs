//! Interfaces of this machine, but for loopback, and what their lines carry. Called by `fednode assess`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use if_addrs::get_if_addrs;

/// One interface.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// What its line carries at most, bits per second; `None` where the system does not say, as of Wi-Fi.
    pub bits_per_s: Option<u64>,
}

/// Reads them, by name.
pub fn read() -> Vec<Interface> {
    let mut found: BTreeMap<String, Vec<IpAddr>> = BTreeMap::new();
    for one in get_if_addrs().unwrap_or_default() {
        if !one.is_loopback() {
            found.entry(one.name.clone()).or_default().push(one.ip());
        }
    }
    let interface = |(name, mut addresses): (String, Vec<IpAddr>)| {
        addresses.sort();
        addresses.dedup();
        Interface { bits_per_s: speed(Path::new("/sys/class/net"), &name), name, addresses }
    };
    found.into_iter().map(interface).collect()
}

/// Linux states millions of bits per second, or nothing, or -1.
fn speed(folder: &Path, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(folder.join(name).join("speed")).ok()?;
    text.trim().parse::<u64>().ok()?.checked_mul(1_000_000).filter(|speed| *speed > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_down_has_no_speed() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [("eth0", "10000\n"), ("eth1", "-1\n"), ("eth2", "")] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
            std::fs::write(folder.path().join(name).join("speed"), text).unwrap();
        }
        let speeds = ["eth0", "eth1", "eth2", "eth3"].map(|name| speed(folder.path(), name));
        assert_eq!(speeds, [Some(10_000_000_000), None, None, None]);
    }
}
