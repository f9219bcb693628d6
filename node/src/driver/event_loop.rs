//! The one loop that owns the machine. Everything that happens becomes an [`Event`]; everything the machine wants is carried
//! out in `effects`. The loop itself never waits for a disk or a peer.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use fednode_proto::v1;
use tokio::sync::{mpsc, oneshot, watch};

use crate::core::catalog::Record;
use crate::core::coordinator::PlanRefusal;
use crate::core::limits;
use crate::core::machine::{Input, Machine, Output};
use crate::core::placement::plan::Plan;
use crate::core::residency::Refusal;
use crate::core::route::RequestId;
use crate::core::types::{NodeId, SlotName, Time};
use crate::core::view::{NodeView, State};
use crate::driver::address_book::AddressBook;
use crate::driver::bell::{Bell, Decided};
use crate::driver::clock::Clock;
use crate::driver::error::RunError;
use crate::driver::externals::Externals;
use crate::driver::figures::Figures;
use crate::driver::membership::Registry;
use crate::driver::replicas::Replicas;
use crate::driver::requests::{self, Requests, error_event};
use crate::driver::scrub::Scrubber;
use crate::driver::seats;
use crate::driver::shunned::{self, Shunned};
use crate::driver::sync::Admission;
use crate::driver::view;
use crate::driver::weights::Weights;
use crate::driver::writer::Writer;
use crate::net::{NetEvent, NetHandle};
use crate::rpc::peers::Peers;
use crate::store::Store;
use crate::store::datadir::DataDir;

/// Events that may wait for the loop. It only decides, so that a queue this long is a few milliseconds of work.
const EVENTS_MAX: usize = 4096;

/// An answer to a plan that was offered: accepted or not, and the highest epoch seen.
pub type PlanAnswer = (Result<(), PlanRefusal>, u64);

/// Something for the loop.
pub enum Event {
    /// For the core.
    Core(Input),
    /// A plan over a stream; its answer is waited for.
    PlanOffered(NodeId, Arc<Plan>, oneshot::Sender<PlanAnswer>),
    /// A request; its answer goes into the channel. True: it came from another member.
    Request(v1::GenerateRequest, bool, mpsc::Sender<v1::GenerateEvent>),
    /// A record of this node's own; answered once it is durable here, or was no news.
    Write(Box<Record>, oneshot::Sender<Result<(), String>>),
    /// A person wants a slot out of this node's memory; may it go?
    PutAway(SlotName, oneshot::Sender<Result<(), Refusal>>),
    /// Whoever sent a request no longer listens.
    ClientGone(RequestId),
    /// The whole view.
    View(oneshot::Sender<State>),
    /// Anything else a reader wants of the machine.
    Read(Box<dyn FnOnce(&Machine) + Send>),
    /// End the node.
    Stop,
}

/// The way into the loop.
#[derive(Clone)]
pub struct Events(mpsc::Sender<Event>);

impl Events {
    /// The way in and its other end.
    pub fn channel() -> (Events, mpsc::Receiver<Event>) {
        let (sender, receiver) = mpsc::channel(EVENTS_MAX);
        (Events(sender), receiver)
    }

    /// Brings an event to the loop; nothing if the node has ended.
    pub async fn send(&self, event: Event) {
        if self.0.send(event).await.is_err() {
            tracing::debug!("event after the node's end");
        }
    }

    /// Reads something of the machine; `None` if the node has ended.
    pub async fn read<T: Send + 'static>(&self, read: impl FnOnce(&Machine) -> T + Send + 'static) -> Option<T> {
        let (answer, read_out) = oneshot::channel();
        let event = Event::Read(Box::new(move |machine| {
            let _ = answer.send(read(machine));
        }));
        self.send(event).await;
        read_out.await.ok()
    }
}

/// What the loop carries outputs out with.
pub struct Driver {
    /// This machine was turned out while it ran.
    pub(super) revoked: bool,
    pub(super) shunned: Shunned,
    pub(super) machine: Machine,
    pub(super) clock: Clock,
    pub(super) dir: Arc<DataDir>,
    pub(super) store: Option<Arc<Store>>,
    pub(super) registry: Registry,
    pub(super) admission: Admission,
    pub(super) net: NetHandle,
    pub(super) peers: Peers,
    pub(super) weights: Weights,
    pub(super) replicas: Replicas,
    pub(super) requests: Requests,
    pub(super) bell: Bell,
    pub(super) externals: Externals,
    pub(super) addresses: AddressBook,
    pub(super) writer: Writer,
    pub(super) events: Events,
    pub(super) plan_answers: VecDeque<oneshot::Sender<PlanAnswer>>,
    pub(super) facts: view::Facts,
    pub(super) figures: Figures,
    pub(super) scrubber: Option<Scrubber>,
    /// Told to stop.
    pub(super) ending: bool,
}

impl Driver {
    /// Runs until told to stop, or until this machine is turned out.
    pub async fn run(
        mut self,
        mut events: mpsc::Receiver<Event>,
        mut network: mpsc::Receiver<NetEvent>,
        stopped: watch::Sender<bool>,
    ) -> Result<(), RunError> {
        while !self.revoked && self.turn(&mut events, &mut network).await {}
        self.finish_answers(&mut events, &mut network).await;
        let path = self.dir.path().to_owned();
        let end = if self.revoked { Err(RunError::Revoked(path)) } else { Ok(()) };
        self.leave(&stopped).await;
        end
    }

    /// Takes what comes next; false when that is the end.
    async fn turn(&mut self, events: &mut mpsc::Receiver<Event>, network: &mut mpsc::Receiver<NetEvent>) -> bool {
        let deadline = self.machine.next_deadline();
        let deadline = deadline.map(|time| tokio::time::Instant::from_std(self.clock.instant(time)));
        tokio::select! {
            event = events.recv() => match event {
                None | Some(Event::Stop) => return false,
                Some(event) => {
                    self.notice_sleep();
                    self.event(event);
                }
            },
            event = network.recv() => match event {
                None => return false,
                Some(event) => {
                    self.notice_sleep();
                    self.network_event(event);
                }
            },
            () = sleep_until(deadline) => {
                self.notice_sleep();
                self.handle(Input::Tick);
            }
        }
        true
    }

    /// Told to stop: nothing new begins, and what has begun is answered, within reason; a second word ends that too.
    async fn finish_answers(&mut self, events: &mut mpsc::Receiver<Event>, network: &mut mpsc::Receiver<NetEvent>) {
        self.ending = true;
        let limit = tokio::time::Instant::now() + std::time::Duration::from_millis(limits::DRAIN.as_millis());
        let open = self.machine.requests().0;
        if open > 0 && !self.revoked {
            tracing::info!(open, "finishing what is being answered; ask a second time to end at once");
        }
        while !self.revoked && self.machine.requests().0 > 0 {
            match tokio::time::timeout_at(limit, self.turn(events, network)).await {
                Ok(true) => {}
                Ok(false) | Err(_) => return,
            }
        }
    }

    async fn leave(mut self, stopped: &watch::Sender<bool>) {
        tracing::info!("leaving");
        self.handle(Input::Leave);
        self.requests.end_all();
        stopped.send_replace(true);
        self.bell.stop().await;
        self.replicas.stop().await;
        self.requests.end_traces().await;
        self.net.stop().await;
        // What was written last is on its way to the disk.
        let (done, written) = oneshot::channel();
        self.writer.run(move || {
            let _ended = done.send(());
        });
        drop(tokio::time::timeout(std::time::Duration::from_millis(limits::LAST_WRITES.as_millis()), written).await);
    }

    /// Before anything is acted on: a machine that slept may no longer be what it thinks it is.
    fn notice_sleep(&mut self) {
        if self.clock.slept() {
            tracing::info!("this node slept, or stood still: it takes its place anew");
            self.handle(Input::Slept);
        }
    }

    pub(super) fn now(&self) -> Time {
        self.clock.now()
    }

    /// Gives `input` to the machine and carries out what follows.
    pub(super) fn handle(&mut self, input: Input) {
        if !matches!(
            input,
            Input::Tick | Input::RoundTrip(..) | Input::Gossip(_) | Input::Hardware { .. } | Input::Chunk { .. }
        ) {
            tracing::debug!(?input, "input");
        }
        let mut outbox: Vec<Output> = Vec::new();
        let now = self.now();
        self.machine.handle(now, input, &mut outbox);
        for output in outbox {
            self.carry_out(output);
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Core(input) => self.core_input(input),
            Event::PlanOffered(from, plan, answer) => {
                self.plan_answers.push_back(answer);
                self.handle(Input::PlanOffered { from, plan });
            }
            Event::Request(request, from_member, answer) => self.request(request, from_member, answer),
            Event::Write(record, kept) => self.take_record(*record, Some(kept)),
            Event::PutAway(slot, answer) => {
                let may = self.machine.may_put_away(self.now(), &slot);
                if may.is_ok() {
                    self.handle(Input::PutAway(slot));
                }
                let _ = answer.send(may);
            }
            Event::ClientGone(request) => {
                self.requests.close(request);
                self.handle(Input::RequestEnded(request, false));
            }
            Event::View(answer) => {
                let store = self.scrubber.as_ref().map(|scrubber| view::store(&self.machine, scrubber));
                let state = view::state(&self.machine, &self.facts, &self.externals);
                let node = NodeView { notice: self.shunned.notice().to_owned(), ..state.node };
                let mut state = State { store, node, local: self.bell.view(), ..state };
                self.figures.tell(&mut state);
                let _ = answer.send(state);
            }
            Event::Read(read) => read(&self.machine),
            Event::Stop => {}
        }
    }

    fn request(&mut self, request: v1::GenerateRequest, from_member: bool, answer: mpsc::Sender<v1::GenerateEvent>) {
        if self.ending {
            return drop(answer.try_send(error_event(&requests::ending())));
        }
        // A member that passes one on has found out already whose replica it is for.
        let seated = if from_member {
            Ok(request)
        } else {
            match self.bell.decide(&self.machine, request) {
                Decided::Here(answering) => {
                    tokio::spawn(answering.run(answer, self.events.clone()));
                    return;
                }
                Decided::Federation(request) => seats::seated(&self.machine, request),
                Decided::Refused(refusal) => Err(refusal),
            }
        };
        let now = self.now();
        let opened = seated.map(|request| self.requests.open(now, request, from_member, answer.clone()));
        match opened {
            Ok(input) => input.into_iter().for_each(|input| self.handle(input)),
            Err(refusal) => drop(answer.try_send(error_event(&refusal))),
        }
    }

    /// Inputs that the driver itself keeps a note of on their way to the core.
    fn core_input(&mut self, input: Input) {
        let age = request_of(&input).and_then(|request| self.requests.age(request, self.now()));
        self.figures.note(&input, age);
        self.requests.note(&input);
        match &input {
            Input::RequestFailed { request, refusal, .. } => self.requests.failed(*request, refusal.clone()),
            Input::RequestEnded(request, _) | Input::RequestAnswered(request, _) => self.requests.close(*request),
            Input::Record(record) => {
                let record = Record::clone(record);
                return self.take_record(record, None);
            }
            Input::Members(roster) => {
                self.facts.members_changed(roster);
                if roster.member(&self.machine.config().me).is_none() {
                    tracing::error!(
                        version = roster.version,
                        "this machine was revoked from the federation; the node ends"
                    );
                    self.revoked = true;
                }
            }
            _ => {}
        }
        self.handle(input);
    }

    /// A verified record: the core decides whether it is news, and news are kept on disk. `kept` hears when they are.
    pub(super) fn take_record(&mut self, record: Record, kept: Option<oneshot::Sender<Result<(), String>>>) {
        let tell = |kept: Option<oneshot::Sender<_>>, result| drop(kept.map(|kept| kept.send(result)));
        let digests = |machine: &Machine| {
            let catalog = &machine.config().catalog;
            (catalog.digest(), catalog.wishes_digest())
        };
        let before = digests(&self.machine);
        let (key, signed) = (format!("{:?}", record.key()), record.signed.clone());
        self.handle(Input::Record(Box::new(record)));
        let news = digests(&self.machine) != before;
        let Some(store) = self.store.clone().filter(|_| news) else { return tell(kept, Ok(())) };
        self.writer.run(move || {
            let result = store.meta().put_catalog(&key, &signed);
            if let Err(error) = &result {
                tracing::warn!(%error, "a catalog record could not be kept; other members still have it");
            }
            tell(kept, result.map_err(|error| error.to_string()));
        });
    }

    fn say_shunned(&mut self, due: bool) {
        if due {
            tracing::warn!("{}", shunned::NOTICE);
            self.writer.run(self.shunned.note());
        }
    }

    fn network_event(&mut self, event: NetEvent) {
        match event {
            NetEvent::Connected { node, address, dialled } => {
                tracing::info!(%node, address, "member connected");
                if dialled {
                    self.addresses.reached(node, address);
                }
                self.shunned.connected(node, Instant::now());
                self.handle(Input::Connected(node));
            }
            NetEvent::Disconnected { node } => {
                tracing::info!(%node, "member disconnected");
                let due = self.shunned.disconnected(node, Instant::now());
                self.say_shunned(due);
                self.weights.forget(&node);
                self.handle(Input::Disconnected(node));
            }
            NetEvent::TurnedAway { .. } => {
                let due = self.shunned.turned_away();
                self.say_shunned(due);
            }
            NetEvent::RoundTrip(node, span) => self.handle(Input::RoundTrip(node, span)),
            NetEvent::DialFailed { node, refused } => self.handle(Input::DialFailed { node, refused }),
            NetEvent::Gossip { gossip, .. } => {
                if let Some(forget) = self.shunned.received() {
                    self.writer.run(forget);
                }
                self.handle(Input::Gossip(gossip));
            }
            NetEvent::ListenAddresses => {
                let addresses = self.net.listen_addresses();
                self.facts.listen = addresses.clone();
                self.handle(Input::Addresses(addresses));
            }
        }
    }
}

/// The request whose answer `input` speaks of.
fn request_of(input: &Input) -> Option<RequestId> {
    match input {
        Input::RequestStarted(id) | Input::RequestAnswered(id, _) | Input::RequestEnded(id, _) => Some(*id),
        _ => None,
    }
}

/// Waits for `deadline`, for ever if there is none.
async fn sleep_until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
