//! From the command line's wishes to a running node: the data directory, the identity, a new federation or an enrolment, the
//! rooms, and the loop. Whatever is refused here leaves the disk as it was.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use libp2p::Multiaddr;
use tokio::sync::watch;

use crate::cli::up::{RoleChoice, UpOptions};
use crate::core::catalog::{Catalog, Entry, Key};
use crate::core::machine::{Config, Machine};
use crate::core::membership::roster::{MemberRoster, Role};
use crate::core::placement::plan::Strategy;
use crate::core::roster::SlotRoster;
use crate::core::sizing::Tier;
use crate::driver::address_book::AddressBook;
use crate::driver::api::Api;
use crate::driver::bell::{Bell, BellError};
use crate::driver::clock::Clock;
use crate::driver::enrol::{self, Identity, Told};
use crate::driver::error::RunError;
use crate::driver::event_loop::{Driver, Events};
use crate::driver::externals::Externals;
use crate::driver::figures::Figures;
use crate::driver::fresh::Fresh;
use crate::driver::keeping::Keeper;
use crate::driver::loading::Loading;
use crate::driver::members::watch_certificates;
use crate::driver::membership::Registry;
use crate::driver::node::Node;
use crate::driver::owner_session::OwnerSessions;
use crate::driver::pins::PinKeeper;
use crate::driver::replicas::{How, Replicas};
use crate::driver::requests::{Requests, Ways};
use crate::driver::scrub::Scrubber;
use crate::driver::services::{
    look_after_the_store, serve_edges, serve_members, stop_on_signal, tell_what_is_stored, watch_hardware,
    watch_invitations,
};
use crate::driver::shunned::Shunned;
use crate::driver::sync::{Admission, others};
use crate::driver::throttle::Throttle;
use crate::driver::traces::{self, Traces};
use crate::driver::view::Facts;
use crate::driver::watching::Watching;
use crate::driver::weights::Weights;
use crate::driver::writer::Writer;
use crate::hardware::{self, Hardware};
use crate::net::weights::WeightsClient;
use crate::net::{self, Duplex, NetConfig, NetHandle, Protocol};
use crate::rpc::admin;
use crate::rpc::peers::{Io, Open, Peers};
use crate::store::Store;
use crate::store::datadir::DataDir;
use crate::store::error::StoreError;
use crate::store::routes::RoutesFile;
use crate::wire::catalog;
use crate::wire::ids::peer_id_text;
use crate::wire::join::Ticket;

/// The reference roster of slots: data, not code.
const REFERENCE_ROSTER: &str = include_str!("../../rosters/reference.toml");
/// After a request to end, connections get this long to finish what they were saying.
const GRACE: Duration = Duration::from_secs(3);

/// Runs a node until it is told to stop.
pub async fn run(options: UpOptions, told: &Told<'_>) -> Result<(), RunError> {
    traces::check(options.otlp.as_deref())?;
    let api = Api::prepare(&options).await?;
    let listen = multiaddresses(&options.listen)?;
    net::static_peers(&options.peers)?;
    let ticket = options.ticket.as_deref().map(Ticket::from_text).transpose().map_err(RunError::Ticket)?;
    // Before anything is written, and before a ticket is used up for nothing.
    net::check_free(&listen)?;
    if let (Ok(known), Some(ticket)) = (DataDir::peek(&options.data_dir), &ticket) {
        enrol::check(&known, ticket)?;
    }
    let mut fresh = Fresh::look(&options.data_dir);
    let dir = Arc::new(DataDir::open(&options.data_dir)?);
    fresh.arm();
    let hardware = hardware::probe(dir.path(), options.memory_bytes, options.join_gpus);
    let role = role(options.role, hardware.tier(options.disk_budget_bytes));
    let identity = enrol::identify(&dir, &options.name, ticket, role, told).await;
    fresh.keep_if(identity.as_ref().map_or_else(RunError::may_be_a_member, |identity| !identity.created));
    let identity = identity?;
    let node = Starting { options, dir, hardware, role, identity };
    node.start(api, listen, fresh).await
}

fn multiaddresses(listen: &[String]) -> Result<Vec<Multiaddr>, RunError> {
    let parse = |text: &String| text.parse::<Multiaddr>().map_err(|_| RunError::BadListen(text.clone()));
    listen.iter().map(parse).collect()
}

/// Where no manager fits a machine delegates, unless its owner says otherwise.
fn role(choice: RoleChoice, tier: Tier) -> Role {
    match choice {
        RoleChoice::Full => Role::Full,
        RoleChoice::Delegate => Role::Delegate,
        RoleChoice::Auto if tier.hosts() => Role::Full,
        RoleChoice::Auto => {
            tracing::info!("less than 20 GB of memory or 120 GB of disk: this node delegates and hosts no manager");
            Role::Delegate
        }
    }
}

/// Everything that is known before the rooms open.
struct Starting {
    options: UpOptions,
    dir: Arc<DataDir>,
    hardware: Hardware,
    role: Role,
    identity: Identity,
}

impl Starting {
    /// Compute threads of all engines together.
    fn threads(&self) -> u32 {
        self.options.threads.unwrap_or(self.hardware.cores).max(1)
    }

    fn replicas(&self, store: Option<Arc<Store>>, loading: Loading) -> Replicas {
        let devices = self.hardware.devices.clone();
        let how = How { threads: self.threads(), lock: self.options.lock, devices };
        Replicas::new(self.dir.path().join("run"), how, store, loading)
    }

    /// Requests on their way, told to the owner's collector if there is one.
    fn requests(&self, ways: Ways, roster: &MemberRoster, events: &Events) -> Result<Requests, RunError> {
        let me = self.identity.me;
        let traces = Traces::start(self.options.otlp.as_deref(), &roster.name_of(&me), &peer_id_text(&me))?;
        Ok(Requests::new(me, ways, traces, events.clone()))
    }

    fn bell(&self, role: Role) -> Result<Bell, RunError> {
        match &self.options.local {
            None => Ok(Bell::default()),
            Some(_) if role == Role::Full => Err(BellError::Hosts.into()),
            Some(options) => Ok(Bell::start(self.identity.me, options, self.threads(), &self.dir.path().join("run"))?),
        }
    }

    async fn start(self, api: Api, listen: Vec<Multiaddr>, mut fresh: Fresh) -> Result<(), RunError> {
        let me = self.identity.me;
        let registry = self.registry()?;
        let roster = registry.roster();
        // What the owner's roster says this machine is outweighs what it asked for.
        let role = roster.member(&me).map_or(self.role, |member| member.role);
        let store = self.store(role)?;
        let others = others(&roster, &me);
        let (net, network, incoming) = net::start(self.net_config(&roster, listen)?, others).await?;
        let admin = admin::listen(&self.dir.path().join("admin.sock"))?;
        fresh.keep();

        let (events, inbox) = Events::channel();
        let peers = Peers::new(opener(&net));
        let (up, down) = (Throttle::new(self.options.limit_up), Throttle::new(self.options.limit_down));
        let client = WeightsClient::new(net.clone());
        let weights = Weights::new(store.clone(), client, peers.clone(), down.clone(), events.clone());
        let loading = Loading::new(me);
        let replicas = self.replicas(store.clone(), loading.clone());
        let bell = self.bell(role)?;
        let externals = Externals::open(self.dir.clone(), events.clone())?;
        let ways = Ways { replicas: replicas.clone(), externals: externals.clone(), peers: peers.clone() };
        let requests = self.requests(ways, &roster, &events)?;
        let writer = writer()?;
        let addresses = self.dial_known(&net, writer.clone()).await;
        let admission = Admission::new(me, registry.clone(), net.clone());
        let node = self.node(&events, &store, &registry, &net, &admission, (&peers, &externals, &replicas, &bell))?;
        let clock = Clock::new();
        let machine = Machine::new(clock.now(), self.config(role, &registry, store.as_deref())?);
        let facts = self.facts(api.url.clone(), &net, &roster, clock, (up.clone(), down), loading);
        announce(&facts, role, &self.hardware);

        let (stopped, stop) = watch::channel(false);
        serve_members(&node, store.clone(), up, incoming);
        stop_on_signal(events.clone());
        let edges = tokio::spawn(serve_edges(node.clone(), api.open(&self.dir)?, admin, stop));
        watch_hardware(self.hardware, store.clone(), events.clone(), role);
        watch_invitations(node.clone());
        watch_certificates(node.clone());
        look_after_the_store(&node);
        let driver = Driver {
            revoked: false,
            shunned: Shunned::new(self.dir.path()),
            machine,
            clock,
            dir: self.dir,
            store: store.clone(),
            registry,
            net,
            peers,
            weights,
            replicas,
            requests,
            bell,
            externals,
            addresses,
            writer,
            admission,
            events: events.clone(),
            plan_answers: VecDeque::new(),
            facts,
            figures: Figures::default(),
            scrubber: node.scrubber.clone(),
            ending: false,
        };
        tell_what_is_stored(store.as_deref(), &events, &node).await;
        let end = driver.run(inbox, network, stopped).await;
        let _ = tokio::time::timeout(GRACE, edges).await;
        end
    }

    /// Where weights are kept, unless this machine delegates.
    fn store(&self, role: Role) -> Result<Option<Arc<Store>>, RunError> {
        Ok(match role {
            Role::Full => Some(Arc::new(Store::open(&self.dir)?.with_budget(self.options.disk_budget_bytes))),
            Role::Delegate => None,
        })
    }

    /// Who belongs to the federation: this machine among them.
    fn registry(&self) -> Result<Registry, RunError> {
        let registry = Registry::open(self.dir.clone(), self.identity.membership.clone())?;
        match registry.is_enrolled() {
            true => Ok(registry),
            false => Err(RunError::Revoked(self.dir.path().to_owned())),
        }
    }

    fn net_config(&self, roster: &MemberRoster, listen: Vec<Multiaddr>) -> Result<NetConfig, RunError> {
        Ok(NetConfig {
            keypair: self.identity.key.clone(),
            federation: roster.federation,
            listen,
            mdns: self.options.mdns,
            peers: net::static_peers(&self.options.peers)?,
            wan: self.options.wan,
        })
    }

    /// The node as its edges see it.
    fn node(
        &self,
        events: &Events,
        store: &Option<Arc<Store>>,
        registry: &Registry,
        net: &NetHandle,
        admission: &Admission,
        (peers, externals, replicas, bell): (&Peers, &Externals, &Replicas, &Bell),
    ) -> Result<Node, RunError> {
        let me = self.identity.me;
        let keeper = |store| Keeper::open(self.dir.clone(), store, peers.clone(), me);
        Ok(Node {
            me,
            key: self.identity.key.clone(),
            events: events.clone(),
            store: store.clone(),
            registry: registry.clone(),
            net: net.clone(),
            admission: admission.clone(),
            peers: peers.clone(),
            pins: PinKeeper::open(self.dir.clone())?,
            externals: externals.clone(),
            bell: bell.clone(),
            routes: Arc::new(RoutesFile::open(self.dir.path())?),
            wishing: Arc::default(),
            keeper: store.clone().map(keeper),
            replicas: replicas.clone(),
            verifying: Arc::default(),
            watching: Watching::default(),
            owner_sessions: OwnerSessions::default(),
            plan_told: Default::default(),
            scrubber: store.clone().map(|store| Scrubber::new(store, self.options.scrub_days)),
        })
    }

    /// Dials where members were last reachable, the inviter among them.
    async fn dial_known(&self, net: &NetHandle, writer: Writer) -> AddressBook {
        let mut addresses = AddressBook::open(self.dir.path(), writer);
        if let Some((inviter, known)) = &self.identity.inviter {
            addresses.learn(*inviter, known);
        }
        for (node, known) in addresses.iter().filter(|(node, _)| *node != self.identity.me) {
            net.dial(node, known).await;
        }
        addresses
    }

    fn facts(
        &self,
        api: String,
        net: &NetHandle,
        roster: &MemberRoster,
        clock: Clock,
        (up, down): (Throttle, Throttle),
        loading: Loading,
    ) -> Facts {
        let listen = net.listen_addresses();
        let tier = self.hardware.tier(self.options.disk_budget_bytes);
        let mut facts = Facts { api, listen, tier, names: Default::default(), clock, up, down, loading };
        facts.members_changed(roster);
        facts
    }

    fn config(&self, role: Role, registry: &Registry, store: Option<&Store>) -> Result<Config, RunError> {
        let roster = registry.roster();
        let mut known = Catalog::default();
        let kept = store.map(|store| store.meta().catalog()).transpose().map_err(StoreError::from)?;
        for (key, signed) in kept.unwrap_or_default() {
            match catalog::open(&signed) {
                Ok(record) => {
                    known.merge(record);
                }
                Err(error) => {
                    tracing::warn!(key, %error, "a kept catalog record is damaged; other members still have it")
                }
            }
        }
        if self.identity.created || (known.roster().is_none() && roster.members.len() == 1) {
            let slots = self.options.roster.clone().map_or_else(reference_roster, Ok)?;
            let record = catalog::seal(Entry::Roster(slots), known.next_sequence(&Key::Roster), &self.identity.key);
            if let Some(store) = store {
                store.meta().put_catalog("Roster", &record.signed).map_err(StoreError::from)?;
            }
            known.merge(record);
        }
        let me = self.identity.me;
        Ok(Config {
            me,
            name: roster.name_of(&me),
            role,
            incarnation: self.dir.next_incarnation()?,
            epoch_highest: self.dir.view().epoch()?,
            priority: self.options.priority,
            members: Arc::new(roster),
            catalog: known,
            strategy: Strategy::Mixed,
            check_period: self.options.check_period,
        })
    }
}

fn writer() -> Result<Writer, RunError> {
    Writer::start().map_err(|error| RunError::Ended { what: "the writing thread", why: error.to_string() })
}

fn reference_roster() -> Result<SlotRoster, RunError> {
    let roster: Result<SlotRoster, _> = toml::from_str(REFERENCE_ROSTER);
    roster.map_err(|error| RunError::Ended { what: "the reference roster", why: error.to_string() })
}

/// Opens streams to members for the rpc room, which knows nothing of libp2p.
fn opener(net: &NetHandle) -> Open {
    let net = net.clone();
    Arc::new(move |node| {
        let net = net.clone();
        Box::pin(async move {
            let stream = net.open_stream(node, Protocol::Rpc).await.map_err(std::io::Error::other)?;
            Ok(Box::new(Duplex::new(node, stream)) as Box<dyn Io>)
        })
    })
}

/// One line for the person at the terminal.
fn announce(facts: &Facts, role: Role, hardware: &Hardware) {
    let peers = facts.listen.first().cloned().unwrap_or_default();
    tracing::info!(version = env!("CARGO_PKG_VERSION"), api = facts.api, peers, role = role.as_str(), "fednode is up");
    for note in &hardware.notes {
        tracing::info!(note, "hardware");
    }
}
