//! What `fednode doctor` knows and what it makes of it. Plain data, gathered by the command itself (of this machine) and by the
//! running node (of its network); `judge` turns them into checks.

mod here;
mod judge;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use judge::{all_well, judge};

/// How a check came out.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Looked at, and well.
    Ok,
    /// Could not be looked at.
    Unknown,
    /// Not well, but the federation works.
    Warning,
    /// Something does not work because of it.
    Blocked,
}

/// One check.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Check {
    /// One word for scripts.
    pub name: String,
    /// How it came out.
    pub verdict: Verdict,
    /// What was found, a sentence.
    pub found: String,
    /// What to do about it; empty when there is nothing to do.
    pub remedy: String,
}

/// What the command sees without a node.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct MachineFacts {
    /// Interfaces other than loopback that are up.
    pub interfaces: Vec<InterfaceFacts>,
    /// Free on the file system of the data directory, bytes.
    pub disk_free_bytes: Option<u64>,
    /// Ports that a node would need and that another program holds; only looked at while no node runs.
    pub ports_taken: Vec<String>,
    /// The kind of file system the data directory lies on, where it is one that loses or delays what is written; else empty.
    pub poor_disk: String,
    /// The running node's API did not answer here, in words; empty while it does, or while no node runs.
    pub api_error: String,
    /// Host memory, whatever the node was promised; `None` if it cannot be read.
    pub memory: Option<MemoryFacts>,
    /// Hundredths of a percent of the last minute in which some program waited for memory; `None` where the system does not say.
    pub stalled_of_60_s: Option<u32>,
    /// GPUs whose memory is known, and those of them that this build's engine can load models on.
    pub gpus: u32,
    /// See `gpus`.
    pub gpus_usable: u32,
    /// What stands in the way of those that cannot be used, a sentence each.
    pub gpu_notes: Vec<String>,
    /// The system's clock follows a time server; `None` where it does not say.
    pub clock_synchronised: Option<bool>,
    /// The wall clock, seconds since the Unix epoch.
    pub now_unix_s: u64,
    /// What starts fednode when the machine starts.
    pub service: ServiceFacts,
    /// Files that the node may have open at once; `None` if no node runs or the system does not say.
    pub open_files_max: Option<u64>,
    /// The version of the command that looks.
    pub version: String,
}

/// Host memory as it is now.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct MemoryFacts {
    /// All of it.
    pub total_bytes: u64,
    /// What programs leave, less what is kept for the system. Mapped weights count as free.
    pub free_bytes: u64,
}

/// fednode as a service of this machine.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize)]
pub struct ServiceFacts {
    /// systemd | launchd, or empty where neither runs.
    pub manager: String,
    /// Its file is there.
    pub installed: bool,
    /// It is started with the machine.
    pub enabled: bool,
    /// It runs now.
    pub active: bool,
    /// The manager's own word for its state, such as `failed`.
    pub state: String,
}

/// One interface.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct InterfaceFacts {
    /// Its name.
    pub name: String,
    /// It takes multicast; `None` where the system does not tell.
    pub multicast: Option<bool>,
    /// It has an IPv4 address.
    pub ipv4: bool,
    /// It has an IPv6 address that can be reached from other interfaces than its own link's.
    pub ipv6: bool,
}

/// What the running node knows.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct NodeFacts {
    /// Where it listens.
    pub listen: Vec<String>,
    /// Its other members, and given addresses that nobody answered at.
    pub members: Vec<MemberFacts>,
    /// The local network.
    pub discovery: DiscoveryReport,
}

/// One member.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct MemberFacts {
    /// Its name; empty for an address whose owner is not known yet.
    pub name: String,
    /// How reaching it goes.
    pub reach: MemberReach,
    /// Its clock less ours, milliseconds, if it could be asked.
    pub clock_ahead_ms: Option<i64>,
    /// What it says of dialling this node, by address: nothing, or why not. `None`: it could not be asked.
    pub reaches_us: Option<Vec<DialReport>>,
    /// fednode's version there; empty if it could not be asked, or is too old to say.
    #[serde(default)]
    pub version: String,
}

/// One member, or one address that the user gave, and how reaching it goes.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct MemberReach {
    /// In hex; empty for an address whose owner is not known yet.
    pub node: String,
    /// A connection lives.
    pub connected: bool,
    /// It has connected to this node from another machine: nothing keeps others from reaching this port.
    pub came_in: bool,
    /// Where it was reached last.
    pub last_good: Option<String>,
    /// Where it may be.
    pub addresses: Vec<String>,
    /// What the last dial of each address said.
    pub errors: Vec<DialReport>,
}

/// Why one address could not be reached.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct DialReport {
    /// Which.
    pub address: String,
    /// In words.
    pub why: String,
    /// Nobody answered at all: switched off, or something on the way drops packets.
    pub silent: bool,
}

/// One interface as mDNS sees it.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct InterfaceReport {
    /// Its name.
    pub name: String,
    /// This node's address on it.
    pub ip: String,
    /// Why nothing can be said or heard there.
    pub error: Option<String>,
    /// Announcements sent.
    pub sent: u64,
    /// Of these, how many came back to this machine.
    pub echoed: u64,
}

/// A member that was heard by mDNS.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct HeardMember {
    /// Where it says it is.
    pub ip: String,
    /// Seconds since it was heard.
    pub seconds_ago: u64,
    /// Its clock less ours, milliseconds.
    pub clock_ahead_ms: i64,
}

/// All of it.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct DiscoveryReport {
    /// False with `--no-mdns`.
    pub enabled: bool,
    /// Every address of this machine that others could reach.
    pub interfaces: Vec<InterfaceReport>,
    /// By node, in hex.
    pub heard: BTreeMap<String, HeardMember>,
    /// Announcements of other federations.
    pub strangers: u64,
}
