//! `fednode up` and `fednode join`: what they accept, as plain values, and the one place where the node is started.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::api_args::ApiArgs;
use super::exit::Failure;
use super::{fit, join, parse};
use crate::core::limits;
use crate::core::roster::SlotRoster;
use crate::core::route::local::Policy;
use crate::core::types::Duration;
use crate::driver::bell::BellOptions;
use crate::net::WanConfig;

pub use super::api_args::{ApiOptions, TlsChoice};

pub(super) const ROSTER_BYTES_MAX: u64 = 1 << 20;
const DEFAULT_PORT: u16 = 7718;

/// What a node wants to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum RoleChoice {
    /// Decided by the machine's memory and disk.
    Auto,
    /// Hosts managers.
    Full,
    /// Hosts none and forwards requests.
    Delegate,
}

/// Flags that `up` and `join` share.
#[derive(Args, Debug)]
struct NodeArgs {
    /// What this node wants to be; auto decides by memory and disk
    #[arg(long, value_enum, default_value = "auto")]
    role: RoleChoice,
    /// Address for other members, IP:PORT or a multiaddress; may be given several times; port 7718 of every IPv4 and IPv6
    /// address if not given
    #[arg(long, value_name = "ADDR", value_parser = parse::peer_address)]
    listen: Vec<String>,
    /// Where a member is, HOST:PORT or a multiaddress, when it cannot be found otherwise; may be given several times
    #[arg(long = "peer", value_name = "ADDR", value_parser = parse::member_address)]
    peers: Vec<String>,
    /// Neither look for members on the local network nor be found there
    #[arg(long, env = "FEDNODE_NO_MDNS", value_parser = clap::builder::FalseyValueParser::new())]
    no_mdns: bool,
    /// Be reached from other networks through members that relay, and try to get through routers to them
    #[arg(long, env = "FEDNODE_WAN", value_parser = clap::builder::FalseyValueParser::new())]
    wan: bool,
    /// Relay between members that cannot reach each other; for a machine that all of them reach
    #[arg(long, env = "FEDNODE_RELAY_SERVER", value_parser = clap::builder::FalseyValueParser::new())]
    relay_server: bool,
    /// Ask the router, by UPnP, to let members from other networks in
    #[arg(long, env = "FEDNODE_UPNP", value_parser = clap::builder::FalseyValueParser::new())]
    upnp: bool,
    #[command(flatten)]
    api: ApiArgs,
    /// RAM that fednode may use for managers, such as 20GiB; what is free, less a reserve, if not given
    #[arg(long, value_name = "BYTES", value_parser = parse::bytes)]
    memory: Option<u64>,
    /// What all stored weights may take together, such as 200GiB; as much as the disk has if not given. As on a disk, the plan
    /// leaves 2 GiB of it free
    #[arg(long, value_name = "BYTES", env = "FEDNODE_DISK_BUDGET", value_parser = parse::bytes)]
    disk_budget: Option<u64>,
    /// All stored weights are read and hashed again within so many days; 0: never
    #[arg(long, value_name = "N", env = "FEDNODE_SCRUB_DAYS", default_value_t = limits::SCRUB_DAYS, value_parser = clap::value_parser!(u32).range(..=3650))]
    scrub_days: u32,
    /// While this node coordinates it compares the fingerprint of one replica this often, seconds
    #[arg(long, hide = true, env = "FEDNODE_CHECK_SECONDS", default_value_t = limits::CHECK_PERIOD.as_millis() / 1000, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    check_seconds: u64,
    /// What people call this machine; the host name if not given
    #[arg(long, value_parser = parse::member_name)]
    name: Option<String>,
    /// Compute threads of all managers together; all cores if not given
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=4096))]
    threads: Option<u32>,
    /// Lock the weights of managers that are to stay resident in memory, so that no other program's need makes them slow; the
    /// system must allow it (`ulimit -l`)
    #[arg(long, env = "FEDNODE_LOCK", value_parser = clap::builder::FalseyValueParser::new())]
    lock: bool,
    /// Split models by layers over all GPUs of this machine, which then count as one memory; in builds for GPUs
    #[arg(long, env = "FEDNODE_JOIN_GPUS", value_parser = clap::builder::FalseyValueParser::new())]
    join_gpus: bool,
    /// A small model (GGUF, quantised or not) that this machine keeps for itself, where it hosts no managers
    #[arg(long, value_name = "FILE", env = "FEDNODE_LOCAL_MODEL")]
    local_model: Option<PathBuf>,
    /// When the local model answers: only when it is asked for (never), while no holder of the manager can be reached (offline), then
    /// and for what is short and simple (hybrid), or always
    #[arg(long, value_name = "POLICY", env = "FEDNODE_LOCAL_POLICY", default_value = "offline", value_parser = policy)]
    local_policy: Policy,
    /// Wish for the coordinator's seat; higher first
    #[arg(long, default_value_t = 0)]
    priority: u32,
    /// Weights leave this machine at most this fast, such as 50MB/s; as fast as it goes if not given
    #[arg(long, value_name = "RATE", env = "FEDNODE_LIMIT_UP", value_parser = parse::rate)]
    limit_up: Option<u64>,
    /// Weights come to this machine at most this fast
    #[arg(long, value_name = "RATE", env = "FEDNODE_LIMIT_DOWN", value_parser = parse::rate)]
    limit_down: Option<u64>,
    /// Send traces of requests to this OpenTelemetry collector, such as http://127.0.0.1:4318; they carry no prompts and no answers
    #[arg(long, value_name = "URL", env = "FEDNODE_OTLP")]
    otlp: Option<String>,
}

/// `fednode up`.
#[derive(Args, Debug)]
pub(super) struct UpArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// Roster of slots (TOML), used only when this command creates the federation
    #[arg(long, value_name = "FILE")]
    roster: Option<PathBuf>,
}

/// `fednode join`.
#[derive(Args, Debug)]
pub(super) struct JoinArgs {
    #[command(flatten)]
    ticket: join::TicketArgs,
    #[command(flatten)]
    node: NodeArgs,
}

/// Everything the command line says about the node to run. Defaults are filled in; nothing is looked up again.
#[derive(Clone, PartialEq, Debug)]
pub struct UpOptions {
    /// Absolute; may not exist yet.
    pub data_dir: PathBuf,
    /// What the node wants to be.
    pub role: RoleChoice,
    /// Multiaddresses as text; a malformed one is the network room's to refuse.
    pub listen: Vec<String>,
    /// Multiaddresses of members as text, checked as those above.
    pub peers: Vec<String>,
    /// Find members on the local network.
    pub mdns: bool,
    /// What carries the federation beyond one network.
    pub wan: WanConfig,
    /// Where the API listens, and for whom.
    pub api: ApiOptions,
    /// RAM for managers, bytes.
    pub memory_bytes: Option<u64>,
    /// What all stored weights may take together, bytes.
    pub disk_budget_bytes: Option<u64>,
    /// Days for a full scrub; 0: never.
    pub scrub_days: u32,
    /// Between two comparisons of fingerprints while this node coordinates.
    pub check_period: Duration,
    /// The node's name.
    pub name: String,
    /// Compute threads of all replicas together.
    pub threads: Option<u32>,
    /// Weights of what is to stay resident are locked in memory.
    pub lock: bool,
    /// Models are split by layers over all GPUs.
    pub join_gpus: bool,
    /// The local model of a machine that delegates.
    pub local: Option<BellOptions>,
    /// Wish for the coordinator's seat; higher first.
    pub priority: u32,
    /// Weights sent, bytes per second at most.
    pub limit_up: Option<u64>,
    /// Weights received, bytes per second at most.
    pub limit_down: Option<u64>,
    /// The collector of traces, as text; the driver refuses what is no address.
    pub otlp: Option<String>,
    /// Checked; only for a federation that is created now.
    pub roster: Option<SlotRoster>,
    /// `join`: enrol with this ticket, then run.
    pub ticket: Option<String>,
}

impl UpArgs {
    /// With the roster read and checked.
    pub(super) fn options(self, data_dir: PathBuf) -> Result<UpOptions, Failure> {
        let roster = self.roster.as_deref().map(read_roster).transpose()?;
        Ok(UpOptions { roster, ..self.node.options(data_dir) })
    }
}

impl JoinArgs {
    /// With the ticket read.
    pub(super) fn options(self, data_dir: PathBuf) -> Result<UpOptions, Failure> {
        let ticket = Some(self.ticket.read(std::env::var(join::VARIABLE).ok())?);
        Ok(UpOptions { ticket, ..self.node.options(data_dir) })
    }
}

fn policy(word: &str) -> Result<Policy, String> {
    let words = || Policy::ALL.map(Policy::as_str).join(", ");
    Policy::parse(word).ok_or_else(|| format!("expected one of {}", words()))
}

impl NodeArgs {
    fn options(self, data_dir: PathBuf) -> UpOptions {
        UpOptions {
            data_dir,
            role: self.role,
            listen: if self.listen.is_empty() { default_listen() } else { self.listen },
            peers: self.peers,
            mdns: !self.no_mdns,
            wan: WanConfig { client: self.wan, relays: self.relay_server, upnp: self.upnp },
            api: self.api.options(),
            memory_bytes: self.memory,
            disk_budget_bytes: self.disk_budget,
            scrub_days: self.scrub_days,
            check_period: Duration::from_secs(self.check_seconds),
            name: self.name.unwrap_or_else(host_name),
            threads: self.threads,
            lock: self.lock,
            join_gpus: self.join_gpus,
            local: self.local_model.map(|file| BellOptions { file, policy: self.local_policy }),
            priority: self.priority,
            limit_up: self.limit_up,
            limit_down: self.limit_down,
            otlp: self.otlp,
            roster: None,
            ticket: None,
        }
    }
}

/// Every address of this machine; IPv6 where there is such a thing.
pub(super) fn default_listen() -> Vec<String> {
    let mut listen = vec![format!("/ip4/0.0.0.0/tcp/{DEFAULT_PORT}")];
    if std::net::UdpSocket::bind((std::net::Ipv6Addr::UNSPECIFIED, 0)).is_ok() {
        listen.push(format!("/ip6/::/tcp/{DEFAULT_PORT}"));
    }
    listen
}

fn host_name() -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    // A host may be called anything, or nothing.
    parse::member_name(&host).unwrap_or_else(|_| "node".to_owned())
}

fn read_roster(path: &Path) -> Result<SlotRoster, Failure> {
    let text = read_file(path, ROSTER_BYTES_MAX)?;
    let file = fit::roster::parse(&text);
    Ok(file.map_err(|error| Failure::refused(format!("roster {}: {error}", path.display())))?.roster)
}

/// A text file of at most `bytes_max`, with what to do when it cannot be had.
pub(super) fn read_file(path: &Path, bytes_max: u64) -> Result<String, Failure> {
    let file = std::fs::File::open(path);
    let file = file.map_err(|error| Failure::failed(format!("cannot open {}: {error}", path.display())))?;
    read_text(file, &path.display().to_string(), bytes_max)
}

/// Text from `source` to its end, at most `bytes_max`; `called` is its name in the error.
pub(super) fn read_text(source: impl Read, called: &str, bytes_max: u64) -> Result<String, Failure> {
    let mut text = String::new();
    let read = source.take(bytes_max + 1).read_to_string(&mut text);
    read.map_err(|error| Failure::failed(format!("cannot read {called}: {error}")))?;
    match text.len() as u64 > bytes_max {
        true => Err(Failure::refused(format!("{called} is larger than {bytes_max} bytes; is it the right file?"))),
        false => Ok(text),
    }
}

/// Runs the node until it is told to stop.
pub(super) async fn run_node(options: UpOptions) -> Result<(), Failure> {
    crate::driver::run(options, &join::progress()).await.map_err(|error| match error.is_refusal() {
        true => Failure::refused(error.to_string()),
        false => Failure::failed(error.to_string()),
    })
}
