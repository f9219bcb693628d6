//! Faults, as the schedule has them: how each begins and how it ends. A chunk that was on its way when its link fell silent
//! keeps its share of the bandwidth until the cut is noticed.

use fednode::core::machine::Input;
use fednode::core::types::{Duration, Time};

use crate::schedule::FaultKind;
use crate::world::World;
use crate::world::event::Event;
use crate::world::serving::Origin;

impl World {
    pub(super) fn fault_begins(&mut self, index: usize) {
        if self.calm {
            return;
        }
        let fault = self.run.faults[index].clone();
        self.stats.faults += 1;
        self.faults_open.insert(index);
        self.trace.bytes(b"fault");
        self.trace.bytes(&(index as u64).to_le_bytes());
        let ends_at = self.now.after(Duration::from_millis(fault.lasts_ms));
        match fault.kind {
            FaultKind::Crash(node) => self.crash(node),
            FaultKind::PowerCut(node) => self.power_off(node),
            FaultKind::Blackout(nodes) => nodes.into_iter().for_each(|node| self.power_off(node)),
            FaultKind::Sleep(node) => self.fall_asleep(node, ends_at),
            FaultKind::EnginesDie(node) => {
                if self.nodes[node].is_up() {
                    self.engines_die(node);
                }
            }
            FaultKind::Partition(side) => self.cut_between(&side, true),
            FaultKind::OneWay(from, to) => self.cut_one_way(from, to, true),
            FaultKind::BitRot(node, draw) => self.rot(node, draw),
            kind => kind.nodes().into_iter().for_each(|node| self.strain(node)),
        }
        self.at(ends_at, Event::FaultEnds { index });
    }

    pub(super) fn fault_ends(&mut self, index: usize) {
        if !self.faults_open.remove(&index) {
            return;
        }
        match self.run.faults[index].kind.clone() {
            FaultKind::Crash(node) => self.boot(node),
            FaultKind::PowerCut(node) => self.power_returns(node),
            FaultKind::Blackout(nodes) => nodes.into_iter().for_each(|node| self.power_returns(node)),
            FaultKind::Sleep(node) => self.wake_up(node),
            FaultKind::EnginesDie(_) => {}
            FaultKind::Partition(side) => self.cut_between(&side, false),
            FaultKind::OneWay(from, to) => self.cut_one_way(from, to, false),
            FaultKind::BitRot(node, _) => self.scrub(node),
            kind => kind.nodes().into_iter().for_each(|node| self.strain(node)),
        }
    }

    /// Ends every fault that is open; none begins any more.
    pub(super) fn calm_down(&mut self) {
        self.calm = true;
        for index in self.faults_open.clone() {
            self.fault_ends(index);
        }
        self.links.mend();
        for node in 0..self.nodes.len() {
            if self.nodes[node].asleep_until.is_some() {
                self.wake_up(node);
            }
            self.boot(node);
        }
    }

    /// A process is killed: its machine closes its connections at once.
    fn crash(&mut self, node: usize) {
        if self.nodes[node].process.is_none() {
            return;
        }
        self.nodes[node].asleep_until = None;
        self.end_process(node);
        for peer in self.links.peers(node) {
            let notice = if self.links.carries(node, peer) { self.latency(node, peer) } else { self.silence() };
            self.break_link(node, peer, notice);
        }
    }

    /// A machine is gone without a word.
    fn power_off(&mut self, node: usize) {
        self.strain(node);
        self.end_process(node);
        for peer in self.links.peers(node) {
            let notice = self.silence();
            self.break_link(node, peer, notice);
        }
    }

    /// It starts again, unless another cut lasts longer.
    fn power_returns(&mut self, node: usize) {
        self.strain(node);
        self.boot(node);
    }

    /// What was in memory is lost, and with it whatever was not yet durable.
    fn end_process(&mut self, node: usize) {
        let sim = &mut self.nodes[node];
        let Some(process) = sim.process.take() else { return };
        sim.asleep_until = None;
        sim.lives += 1;
        for partial in sim.disk.partial.values_mut() {
            partial.have = partial.durable.clone();
            partial.since = 0;
            partial.resumed = true;
        }
        for open in process.requests.values() {
            if let Origin::Person { session } = open.origin {
                self.stats.lost += 1;
                self.checkers.person_hears(self.now, node, session);
                self.people.end(session);
            }
        }
        self.end_flows(|from, to| from == node || to == node);
        self.forget_links_of(node);
        self.catch_up(node);
    }

    /// What came in while a machine slept comes now.
    fn catch_up(&mut self, node: usize) {
        for event in std::mem::take(&mut self.nodes[node].missed) {
            self.at(self.now, event);
        }
    }

    fn fall_asleep(&mut self, node: usize, until: Time) {
        let sim = &mut self.nodes[node];
        if sim.process.is_none() {
            return;
        }
        if let Some(process) = sim.process.as_mut().filter(|_| sim.asleep_until.is_none()) {
            process.clock.stop(self.now);
        }
        sim.asleep_until = Some(sim.asleep_until.map_or(until, |other| other.max(until)));
        for peer in self.links.peers(node) {
            self.falls_silent(node, peer);
        }
    }

    fn wake_up(&mut self, node: usize) {
        let (now, calm) = (self.now, self.calm);
        let sim = &mut self.nodes[node];
        if sim.asleep_until.is_none_or(|until| until > now && !calm) {
            return;
        }
        sim.asleep_until = None;
        self.catch_up(node);
        let Some(process) = self.nodes[node].process.as_mut() else { return };
        process.clock.go_on(now);
        process.tick_due = Time(u64::MAX);
        self.tell(node, Input::Slept);
    }

    fn cut_between(&mut self, side: &[usize], begins: bool) {
        let others: Vec<usize> = (0..self.nodes.len()).filter(|node| !side.contains(node)).collect();
        for &here in side {
            for &there in &others {
                self.links.cut(here, there, begins);
                self.links.cut(there, here, begins);
                if begins {
                    self.falls_silent(here, there);
                }
            }
        }
    }

    fn cut_one_way(&mut self, from: usize, to: usize, begins: bool) {
        if from == to {
            return;
        }
        self.links.cut(from, to, begins);
        if begins {
            self.falls_silent(from, to);
        }
    }
}
