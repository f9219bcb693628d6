//! Which runs a study is made of. Every one is plain data, as any other run: the same seed, people and sizes, other machines,
//! strategies, lines, disks and losses.

use fednode::core::roster::{RosterSlot, SlotPolicy};
use fednode::core::types::SlotName;

use super::StudyError;
use super::ground::{self, Ground};
use super::labels::{Disk, Labels, Link, Loss, Question, Way};
use crate::scenario::{MachinePattern, Scenario};
use crate::schedule::{Fault, FaultKind, Run};

/// How large a study is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Extent {
    /// Which questions.
    pub questions: Vec<Question>,
    /// Of all runs.
    pub seed: u64,
    /// Simulated seconds of a run.
    pub simulated_s: u64,
    /// A few small runs of each question.
    pub quick: bool,
}

/// One run, and what it is for.
#[derive(Clone, PartialEq, Debug)]
pub struct Case {
    /// What tells it apart.
    pub labels: Labels,
    /// Everything it depends on.
    pub run: Run,
    /// Memory that managers may use on all machines together, bytes.
    pub memory_bytes: u64,
    /// The same over faster lines. If no byte crosses a line in the run, they need not be played: they are the same.
    pub faster: Vec<(Labels, Run)>,
}

/// What is hosted in most runs.
pub const SEVEN: &str = "seven managers";
/// One manager, to see what one costs.
pub const ONE: &str = "one manager";
/// Nothing: questions go to a Griffith.
pub const DELEGATE: &str = "delegate";
/// One manager that lies on the disk of whoever loads it.
pub const LOCAL: &str = "one manager, stored";
/// One manager that must come over the line first.
pub const FETCHED: &str = "one manager, fetched";
/// Seven managers, of which only the first machine has any at first.
pub const FILLING: &str = "seven managers, empty disks";
/// Seven managers and a disk for all of them.
pub const ROOM: &str = "room for seven";
/// Seven managers and a disk for two.
pub const NARROW: &str = "room for two";

/// Sizes of machines that owners ask about, GiB.
pub const SIZES_GIB: [u64; 5] = [8, 16, 20, 24, 32];
/// What most homes have: where runs are not about lines and disks.
pub const REFERENCE: (Link, Disk) = (Link::Gbe1, Disk::Nvme);

/// A machine is lost after this part of a run, and a while is as long.
const LOST_AFTER: u64 = 8;
/// Who has one machine is alone with it: so many sessions an hour, some 28 questions, over so many times the hours.
const SESSIONS_OF_ONE: u64 = 8;
const HOURS_OF_ONE: u64 = 4;
/// Runs of one load take so long, simulated seconds: 13.48 GB come over 1 GbE in two minutes.
const ONE_LOAD_S: u64 = 600;
/// A base that serves all managers has more replicas as they are asked for, where memory is free: up to so many.
const REPLICAS_OF_BASE_MAX: u32 = 4;
/// A disk for two managers of 13.48 GB, 5 % and 2 GiB.
const NARROW_BYTES: u64 = 31_000_000_000;
/// A disk for all seven.
const ROOM_BYTES: u64 = 200_000_000_000;

/// All runs of a study, in the order of the report.
pub fn all(base: &Scenario, extent: &Extent) -> Result<Vec<Case>, StudyError> {
    let mut maker = Maker { base, extent, cases: Vec::new() };
    let mut grounds = ground::all(base)?;
    if extent.quick {
        grounds.retain(|ground| matches!(ground.name.as_str(), "one-griffith" | "four-32gb"));
    }
    for question in &extent.questions {
        match question {
            Question::Strategy => grounds.iter().for_each(|ground| maker.strategy(ground)),
            Question::Loss => grounds.iter().filter(|ground| !ground.is_large()).for_each(|ground| maker.loss(ground)),
            Question::Minimum => maker.minimum()?,
            Question::Storage => maker.storage()?,
            Question::Griffith => maker.griffith()?,
        }
    }
    Ok(maker.cases)
}

struct Maker<'a> {
    base: &'a Scenario,
    extent: &'a Extent,
    cases: Vec<Case>,
}

impl Maker<'_> {
    /// On every line and disk, or with many machines only on the reference.
    fn strategy(&mut self, ground: &Ground) {
        let (links, disks) = match ground.is_large() {
            true => (vec![REFERENCE.0], vec![REFERENCE.1]),
            false => (self.links(), Disk::ALL.to_vec()),
        };
        for way in Way::ALL {
            for &disk in &disks {
                let at = |link| labels(Question::Strategy, &ground.name, SEVEN, way, (link, disk));
                self.push(at(links[0]), ground, |_| {});
                let faster = links[1..].iter().map(|&link| (at(link), self.run(&at(link), ground, |_| {})));
                let faster = faster.collect();
                self.cases.last_mut().expect("one was just pushed").faster = faster;
            }
        }
    }

    /// Slowest first.
    fn links(&self) -> Vec<Link> {
        if self.extent.quick { vec![Link::Gbe1, Link::Gbe10] } else { Link::ALL.to_vec() }
    }

    fn loss(&mut self, ground: &Ground) {
        for way in Way::ALL {
            for loss in [Loss::ForAWhile, Loss::ForGood] {
                let labels = Labels { loss, ..labels(Question::Loss, &ground.name, SEVEN, way, REFERENCE) };
                self.push(labels, ground, |_| {});
            }
        }
    }

    fn minimum(&mut self) -> Result<(), StudyError> {
        for gib in SIZES_GIB.into_iter().filter(|gib| !self.extent.quick || matches!(gib, 16 | 20 | 32)) {
            let name = format!("{gib} GB");
            let machine = ground::sized(self.base, gib)?;
            let griffith = ground::griffiths(self.base, 1)?;
            let sitting = MachinePattern { role: "delegate".to_owned(), ..machine.clone() };
            let beside = Ground { name: name.clone(), machines: vec![griffith.machines[0].clone(), sitting] };
            let single = Ground { name, machines: vec![machine] };
            let of = |task, way, disk| labels(Question::Minimum, &single.name, task, way, (Link::Gbe1, disk));
            self.push(of(DELEGATE, Way::Mixed, Disk::Nvme), &beside, alone);
            self.push(of(ONE, Way::Specialised, Disk::Nvme), &single, one_manager);
            for disk in Disk::ALL {
                self.push(of(SEVEN, Way::Swapping, disk), &single, one_person);
            }
        }
        Ok(())
    }

    fn storage(&mut self) -> Result<(), StudyError> {
        let links = self.links();
        let disks = if self.extent.quick { vec![REFERENCE.1] } else { Disk::ALL.to_vec() };
        for disk in disks {
            for (task, links) in [(LOCAL, &links[..1]), (FETCHED, &links[..])] {
                for &link in links {
                    let ground = self.library(ROOM_BYTES)?;
                    let labels = labels(Question::Storage, &ground.name, task, Way::Mixed, (link, disk));
                    self.push(labels, &ground, |scenario| {
                        one_manager(scenario);
                        scenario.options.stocked = task == LOCAL;
                        scenario.minutes = ONE_LOAD_S / 60;
                    });
                }
            }
            for (task, disk_bytes) in [(ROOM, ROOM_BYTES), (NARROW, NARROW_BYTES)] {
                for &link in &links {
                    let ground = self.library(disk_bytes)?;
                    let labels = labels(Question::Storage, &ground.name, task, Way::Swapping, (link, disk));
                    self.push(labels, &ground, |scenario| {
                        one_person(scenario);
                        scenario.options.stocked = false;
                    });
                }
            }
            for &link in &links {
                let ground = ground::four(self.base)?;
                let labels = labels(Question::Storage, &ground.name, FILLING, Way::Mixed, (link, disk));
                self.push(labels, &ground, |scenario| scenario.options.stocked = false);
            }
        }
        Ok(())
    }

    /// A machine with disk and no memory, which holds every manager, and one with memory for one and so much disk.
    fn library(&self, disk_bytes: u64) -> Result<Ground, StudyError> {
        let library = MachinePattern { name: "library".to_owned(), ..ground::sized(self.base, 8)? };
        let desk = MachinePattern { disk_bytes, ..ground::kind(self.base, "desk")? };
        Ok(Ground { name: "library and desk".to_owned(), machines: vec![library, desk] })
    }

    fn griffith(&mut self) -> Result<(), StudyError> {
        for count in [1, 2] {
            let ground = ground::griffiths(self.base, count)?;
            for way in [Way::Specialised, Way::Mixed] {
                for loss in Loss::ALL {
                    let on = (Link::Gbe10, Disk::Nvme);
                    let labels = Labels { loss, ..labels(Question::Griffith, &ground.name, SEVEN, way, on) };
                    self.push(labels, &ground, |scenario| {
                        // Each manager wants a second replica, where there is a second machine.
                        scenario.slots.iter_mut().for_each(|slot| slot.replicas = slot.replicas.max(count as u32));
                    });
                }
            }
        }
        Ok(())
    }

    /// Adds a run of `ground`, after `change`.
    fn push(&mut self, labels: Labels, ground: &Ground, change: impl FnOnce(&mut Scenario)) {
        let (run, memory_bytes) = (self.run(&labels, ground, change), ground.memory_bytes());
        self.cases.push(Case { labels, run, memory_bytes, faster: Vec::new() });
    }

    fn run(&self, labels: &Labels, ground: &Ground, change: impl FnOnce(&mut Scenario)) -> Run {
        let machines = ground.on(labels.link, labels.disk);
        let mut scenario = Scenario { minutes: self.extent.simulated_s.div_ceil(60), machines, ..self.base.clone() };
        scenario.name = format!("study: {}, {}", labels.machines, labels.task);
        scenario.options.strategy = labels.way.strategy().to_owned();
        // A whole artifact is read again and hashed before it counts as stored.
        scenario.options.hash_bytes_per_s = labels.disk.bytes_per_s();
        if labels.way == Way::SharedBase {
            scenario.slots = shared(&scenario.slots);
        }
        change(&mut scenario);
        let simulated_s = scenario.minutes * 60;
        let nodes = scenario.machines.len();
        let mut run = Run::expand(&scenario, nodes, simulated_s, self.extent.seed, false);
        run.faults.extend(fault(labels.loss, ground.largest(), simulated_s));
        run
    }
}

fn labels(question: Question, machines: &str, task: &str, way: Way, (link, disk): (Link, Disk)) -> Labels {
    Labels { question, machines: machines.to_owned(), task: task.to_owned(), way, link, disk, loss: Loss::None }
}

fn fault(loss: Loss, node: usize, simulated_s: u64) -> Option<Fault> {
    let at_ms = simulated_s * 1000 / LOST_AFTER;
    let lasts_ms = match loss {
        Loss::None => return None,
        Loss::ForAWhile => at_ms,
        Loss::ForGood => simulated_s * 1000 - at_ms,
    };
    Some(Fault { at_ms, lasts_ms, kind: FaultKind::PowerCut(node) })
}

/// The questions of one person.
fn alone(scenario: &mut Scenario) {
    scenario.workload.sessions_per_hour = SESSIONS_OF_ONE;
    scenario.minutes *= HOURS_OF_ONE;
}

/// One person, and seven managers of which none has a right to memory: the first would keep the others out.
fn one_person(scenario: &mut Scenario) {
    alone(scenario);
    for slot in &mut scenario.slots {
        slot.replicas = 1;
        slot.policy = SlotPolicy::Swappable;
    }
}

/// The first manager alone, once, without adapters.
fn one_manager(scenario: &mut Scenario) {
    alone(scenario);
    scenario.slots.truncate(1);
    for slot in &mut scenario.slots {
        slot.replicas = 1;
        slot.domains.clear();
    }
}

/// The same managers as adapters of the first one's model.
fn shared(slots: &[RosterSlot]) -> Vec<RosterSlot> {
    let Some((host, guests)) = slots.split_first() else { return Vec::new() };
    let on = |base: &SlotName, slot: &RosterSlot| RosterSlot {
        base: Some(*base),
        // How many replicas there are is said of the base; that one of them is always resident too.
        replicas: 1,
        policy: SlotPolicy::Swappable,
        ..slot.clone()
    };
    let host = RosterSlot { replicas_max: REPLICAS_OF_BASE_MAX, ..host.clone() };
    let name = host.name;
    std::iter::once(host).chain(guests.iter().map(|slot| on(&name, slot))).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::scenario;

    fn extent(quick: bool) -> Extent {
        Extent { questions: Question::ALL.to_vec(), seed: 1, simulated_s: 3600, quick }
    }

    #[test]
    fn every_run_is_sound_and_no_two_are_called_the_same() {
        let base = scenario::load("study").expect("named");
        for quick in [false, true] {
            let cases = all(&base, &extent(quick)).expect("cases");
            let labels: BTreeSet<&Labels> = cases.iter().map(|case| &case.labels).collect();
            assert_eq!(labels.len(), cases.len());
            for case in &cases {
                assert_eq!(case.run.check(), Ok(()), "{:?}", case.labels);
                assert_eq!(case.run.faults.is_empty(), case.labels.loss == Loss::None, "{:?}", case.labels);
            }
        }
    }

    #[test]
    fn each_question_can_be_asked_alone() {
        let base = scenario::load("study").expect("named");
        for question in Question::ALL {
            let cases = all(&base, &Extent { questions: vec![question], ..extent(true) }).expect("cases");
            assert!(!cases.is_empty() && cases.iter().all(|case| case.labels.question == question));
            assert_eq!(Question::parse(question.as_str()), Some(question));
        }
    }

    #[test]
    fn a_shared_base_is_one_model_and_six_adapters() {
        let base = scenario::load("study").expect("named");
        let slots = shared(&base.slots);
        assert_eq!(slots.len(), base.slots.len());
        let guests: Vec<&RosterSlot> = slots.iter().filter(|slot| slot.base.is_some()).collect();
        assert_eq!(guests.len(), slots.len() - 1);
        let roster =
            fednode::core::roster::SlotRoster { name: "shared".to_owned(), precision_floor: "f16".to_owned(), slots };
        assert_eq!(roster.check(), Ok(()));
        assert_eq!(roster.served().slots.len(), 1);
    }
}
