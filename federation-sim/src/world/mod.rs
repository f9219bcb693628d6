//! The world of one run: a heap of (time, sequence) events, the nodes, and what lies between them. Whatever happens to a
//! node becomes an input of its machine, whatever the machine wants becomes later events; after every input the checkers
//! look. Nothing here decides anything that a node decides.

mod agenda;
mod calls;
mod clock;
mod costs;
mod effects;
mod event;
mod faults;
mod gossip;
mod keeping;
mod links;
mod liveness;
mod node;
mod people;
mod serving;
mod setup;
mod storage;
mod strain;
mod trace;

use std::collections::{BTreeMap, BTreeSet};

use fednode::core::machine::{Input, Output};
use fednode::core::types::{Duration, NodeId, Time};

use crate::checkers::Checkers;
use crate::codec::Codec;
use crate::flows::{FlowId, Flows};
use crate::report::{Report, Stats};
use crate::rng::Rng;
use crate::schedule::Run;
use crate::workload::Workload;
use agenda::Agenda;
use event::Event;
use links::Links;
use node::CallId;
pub use node::{Engine, SimNode};
use setup::Published;
use storage::Carried;
use strain::SlowLinks;
use trace::Trace;

/// Ticks at one instant after which a machine counts as spinning: its deadline stays in the past whatever it does, and a
/// real node would burn a core.
const SPINS_MAX: u32 = 100;

/// Everything.
pub struct World {
    run: Run,
    now: Time,
    /// The end of what is being played.
    until: Time,
    agenda: Agenda,
    nodes: Vec<SimNode>,
    by_id: BTreeMap<NodeId, usize>,
    links: Links,
    flows: Flows,
    flow_of: BTreeMap<FlowId, Carried>,
    flow_by_call: BTreeMap<(usize, CallId), FlowId>,
    flow_next: FlowId,
    codec: Codec,
    published: Published,
    people: Workload,
    faults_open: BTreeSet<usize>,
    slow_links: SlowLinks,
    link_rng: Rng,
    fault_rng: Rng,
    checkers: Checkers,
    stats: Stats,
    trace: Trace,
    /// Healing: no more questions, no more faults.
    calm: bool,
    /// Nothing is played after the first violation.
    hasty: bool,
}

impl World {
    /// The world at time zero.
    pub fn new(run: Run) -> World {
        let federation = setup::Federation::new(&run);
        let capacities = run.machines.iter().map(|m| (m.what.up_bytes_per_s, m.what.down_bytes_per_s));
        let mut world = World {
            now: Time::default(),
            until: Time::default(),
            agenda: Agenda::default(),
            links: Links::new(run.machines.iter().map(|machine| machine.what.site).collect()),
            flows: Flows::new(capacities),
            flow_of: BTreeMap::new(),
            flow_by_call: BTreeMap::new(),
            flow_next: 0,
            codec: Codec::default(),
            people: Workload::new(&run),
            faults_open: BTreeSet::new(),
            slow_links: SlowLinks::default(),
            link_rng: Rng::new(run.seed, "links"),
            fault_rng: Rng::new(run.seed, "faults"),
            checkers: Checkers::new(&run),
            stats: Stats::default(),
            trace: Trace::default(),
            calm: false,
            hasty: false,
            by_id: federation.nodes.iter().enumerate().map(|(index, node)| (node.id, index)).collect(),
            nodes: federation.nodes,
            published: federation.published,
            run,
        };
        world.set_the_scene();
        world
    }

    /// What is known to happen from the beginning.
    fn set_the_scene(&mut self) {
        for node in 0..self.nodes.len() {
            self.at(Time(self.run.machines[node].starts_at_ms * 1_000_000), Event::Boot { node });
        }
        for index in 0..self.run.faults.len() {
            self.at(Time(self.run.faults[index].at_ms * 1_000_000), Event::FaultBegins { index });
        }
        let first = self.people.pause().0 + Duration::from_secs(self.run.workload.first_after_s).0;
        self.after(Duration(first), Event::SessionBegins);
        self.record_waits(0);
    }

    /// Plays the whole run, heals, and checks for liveness.
    pub fn play(self) -> Report {
        self.play_watched(|_| {})
    }

    /// The same; `watch` is told after each hundredth of the simulated time how many have passed.
    pub fn play_watched(mut self, mut watch: impl FnMut(u64)) -> Report {
        self.until = Time::default().after(Duration::from_secs(self.run.simulated_s));
        for percent in 1..=100 {
            self.play_events(Time(self.until.0 / 100 * percent));
            watch(percent);
        }
        self.play_until(self.until);
        if !self.is_over() {
            self.calm_down();
            self.check_liveness();
        }
        let trace_hash = self.trace.finish();
        Report::new(&self.run, &self.stats, &self.checkers, trace_hash)
    }

    /// The same, but only until something is violated.
    pub fn play_hastily(mut self) -> Report {
        self.hasty = true;
        self.play()
    }

    fn is_over(&self) -> bool {
        self.hasty && self.checkers.count > 0
    }

    fn play_until(&mut self, end: Time) {
        self.until = end;
        self.play_events(end);
        self.now = end;
    }

    fn play_events(&mut self, end: Time) {
        while !self.is_over()
            && let Some((at, event)) = self.agenda.pop(end)
        {
            self.now = at;
            self.happen(event);
        }
    }

    fn at(&mut self, at: Time, event: Event) {
        self.agenda.push(at.max(self.now), event);
    }

    fn after(&mut self, pause: Duration, event: Event) {
        self.at(self.now.after(pause), event);
    }

    fn happen(&mut self, event: Event) {
        if let Some(node) = event.of()
            && self.nodes[node].asleep_until.is_some()
        {
            return self.nodes[node].missed.push(event);
        }
        match event {
            Event::Boot { node } => self.boot(node),
            Event::Tick { node, life, due } => self.tick(node, life, due),
            Event::Hardware { node, life } => self.measure(node, life),
            Event::Keep { node, life } => self.kept(node, life),
            Event::Gossip { node, gossip } => self.tell(node, Input::Gossip(gossip)),
            Event::Spreads { wave } => self.spreads(wave),
            Event::DialAll { node, life } => self.dial_all(node, life),
            Event::Dial { node, peer, life } => self.dial(node, peer, life),
            Event::DialFailed { node, peer, life, refused } => self.dial_failed(node, peer, life, refused),
            Event::LinkOpens { a, b, lives } => self.link_opens(a, b, lives),
            Event::LinkSilent { a, b, link } => self.link_silent(a, b, link),
            Event::LinkLost { node, peer, life } => self.link_lost(node, peer, life),
            Event::Call { node, from, link, call, ask } => self.called(node, from, link, call, *ask),
            Event::Reply { node, from, link, call, reply } => self.replied(node, from, link, call, *reply),
            Event::CallsTimeOut { node, life } => self.calls_time_out(node, life),
            Event::CallTimeout { node, life, call } => self.call_timed_out(node, life, call),
            Event::FlowDue { flow } => self.flow_due(flow),
            Event::Done { node, life, input } => self.done(node, life, *input),
            Event::Computed { node, life, job, first } => self.computed(node, life, job, first),
            Event::SessionBegins => self.session_begins(),
            Event::Recorded { index } => self.recorded(index),
            Event::Question { node, session } => self.question(node, session),
            Event::FaultBegins { index } => self.fault_begins(index),
            Event::FaultEnds { index } => self.fault_ends(index),
        }
    }

    /// Gives `input` to a node's machine, carries out what follows, and lets the checkers look.
    fn tell(&mut self, node: usize, input: Input) {
        if !self.takes_lightly(node, &input) {
            self.heed(node, input);
        }
    }

    /// Most of what a large federation hears is nothing new to nearly everybody: it changes nothing that checkers look at, leads
    /// to nothing, and moves no deadline forward.
    fn takes_lightly(&mut self, node: usize, input: &Input) -> bool {
        let Some(process) = self.nodes[node].process.as_mut() else { return true };
        self.stats.events += 1;
        self.trace.input(self.now, node, input);
        let local = process.clock.local(self.now);
        process.machine.take_lightly(local, input)
    }

    /// The rest of [`World::tell`], where that was not so.
    fn heed(&mut self, node: usize, input: Input) {
        let Some(process) = self.nodes[node].process.as_mut() else { return };
        self.checkers.input(node, process.life, &input);
        let local = process.clock.local(self.now);
        let mut outbox: Vec<Output> = Vec::new();
        process.machine.heed(local, input, &mut outbox);
        self.checkers.outbox(self.now, node, outbox.len());
        for output in outbox {
            self.carry_out(node, output);
        }
        self.checkers.after_event(self.now, node, &self.nodes[node]);
        self.wind(node);
    }

    /// Sets a node's timer to its machine's next deadline, if that is earlier than what it is set to.
    fn wind(&mut self, node: usize) {
        let Some(process) = self.nodes[node].process.as_mut() else { return };
        let Some(deadline) = process.machine.next_deadline() else { return };
        let due = process.clock.world(deadline).max(self.now);
        if due < process.tick_due {
            process.tick_due = due;
            let life = process.life;
            self.at(due, Event::Tick { node, life, due });
        }
    }

    fn tick(&mut self, node: usize, life: u64, due: Time) {
        let Some(process) = self.nodes[node].process.as_mut().filter(|p| p.life == life && p.tick_due == due) else {
            return;
        };
        process.tick_due = Time(u64::MAX);
        let local = process.clock.local(self.now);
        match process.machine.next_deadline() {
            Some(deadline) if deadline <= local => {}
            _ => return self.wind(node),
        }
        self.tell(node, Input::Tick);
        self.wind(node);
        self.notice_spinning(node);
    }

    /// A machine that was ticked and wants the same instant again and again makes no progress.
    fn notice_spinning(&mut self, node: usize) {
        let now = self.now;
        let Some(process) = self.nodes[node].process.as_mut() else { return };
        if process.tick_due > now {
            process.spins = 0;
            return;
        }
        process.spins += 1;
        if process.spins < SPINS_MAX {
            return;
        }
        process.spins = 0;
        // Let the world go on, or nothing else could be found in this run.
        process.tick_due = now.after(Duration::from_millis(50));
        let (life, due) = (process.life, process.tick_due);
        self.checkers.spins(now, node, &self.nodes[node]);
        self.at(due, Event::Tick { node, life, due });
    }
}

#[cfg(test)]
mod tests;
