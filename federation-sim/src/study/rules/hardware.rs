//! What to buy: the smallest machine for each role, disks or lines, disks for all managers, a second Griffith.

use fednode::core::limits;

use super::{Advice, Rules, Wanted, figures};
use crate::study::cases::{DELEGATE, FETCHED, FILLING, LOCAL, NARROW, ONE, ROOM, SEVEN};
use crate::study::labels::{Disk, Link, Loss, Question, Way};
use crate::study::outcome::Outcome;
use crate::study::sizes::Size;
use crate::study::words::{gb, list, percent, seconds};

/// The machines of the storage question.
const LIBRARY: &str = "library and desk";

impl<'a> Rules<'a> {
    /// The smallest machine for each role.
    pub(super) fn minimum(&self) -> Vec<Advice> {
        let run = |size: &Size, task, way, disk| {
            let machines = format!("{} GB", size.gib);
            let on = (Link::Gbe1, disk);
            self.find(Wanted { question: Question::Minimum, machines: &machines, task, way, on, loss: Loss::None })
        };
        let answers = |run: &Outcome| run.answered_permille() >= self.is.answered_permille_min;
        let in_time = |run: &Outcome| answers(run) && run.wait_ms.p95 <= self.is.patience_ms;
        type Enough<'t> = &'t dyn Fn(&Size, &Outcome) -> bool;
        let roles: [(&str, &str, Way, Disk, Enough<'_>); 4] = [
            ("A delegate", DELEGATE, Way::Mixed, Disk::Nvme, &|_, run| answers(run)),
            ("Hosting one manager", ONE, Way::Specialised, Disk::Nvme, &|size, run| {
                size.short_bytes == 0 && answers(run)
            }),
            ("Swapping all seven from NVMe", SEVEN, Way::Swapping, Disk::Nvme, &|_, run| in_time(run)),
            ("Swapping all seven from SATA", SEVEN, Way::Swapping, Disk::Sata, &|_, run| in_time(run)),
        ];
        let sizes = &self.study.sizes;
        let each = roles.into_iter().filter_map(|(role, task, way, disk, enough)| {
            let runs: Vec<(&Size, &Outcome)> =
                sizes.iter().filter_map(|size| Some((size, run(size, task, way, disk)?))).collect();
            let smallest = runs.iter().find(|(size, run)| enough(size, run)).map(|(size, _)| *size);
            let because: Vec<String> = runs.iter().map(|(size, run)| why(size, run)).collect();
            let says = match smallest {
                Some(size) => format!("{} GB is enough.{}", size.gib, reach(size, task)),
                None => "None of these sizes is enough.".to_owned(),
            };
            let advice = Advice { question: Question::Minimum, topic: role.to_owned(), says, because };
            (!advice.because.is_empty()).then_some(advice)
        });
        each.collect()
    }

    /// A swap from the disk against one that fetches first.
    pub(super) fn storage(&self) -> Option<Advice> {
        let host = self.study.sizes.iter().find(|size| size.short_bytes == 0)?;
        let (mut because, mut slow, mut late) = (Vec::new(), Vec::new(), Vec::new());
        for disk in Disk::ALL {
            let local = match disk {
                Disk::Nvme => host.wait_nvme_ms?,
                Disk::Sata => host.wait_sata_ms?,
            };
            let stored = self.library(LOCAL, Way::Mixed, Link::Gbe1, disk).and_then(|run| run.first_ready_ms);
            for link in Link::ALL {
                let fetched = self.library(FETCHED, Way::Mixed, link, disk).and_then(|run| run.first_ready_ms);
                let (Some(stored), Some(fetched)) = (stored, fetched) else { continue };
                // What both spend on finding each other and agreeing on a plan is the same.
                let whole = local + fetched.saturating_sub(stored);
                let name = format!("{} to {}", link.as_str(), disk.as_str());
                because.push(format!(
                    "{name}: {} from the disk, {} when fetched first",
                    seconds(local),
                    seconds(whole)
                ));
                if whole >= local * self.is.slow_times {
                    slow.push(name.clone());
                }
                if whole > limits::REQUEST_WAIT.as_millis() {
                    late.push(name);
                }
            }
        }
        if because.is_empty() {
            return None;
        }
        let mut says = match (slow.is_empty(), slow.len() == because.len()) {
            (true, _) => "Either will do: fetching costs little more than loading from the disk.".to_owned(),
            (false, true) => {
                "Feed swaps from the disk: over every line fetching takes at least twice as long.".to_owned()
            }
            (false, false) => {
                format!("Feed swaps from the disk; fetching takes at least twice as long over {}.", list(&slow))
            }
        };
        if !late.is_empty() {
            let wait = seconds(limits::REQUEST_WAIT.as_millis());
            says.push_str(&format!(" Over {} it outlasts a request's patience of {wait}.", list(&late)));
        }
        Some(Advice { question: Question::Storage, topic: "A swap of 13.48 GB".to_owned(), says, because })
    }

    /// What people live through while empty disks are filled.
    pub(super) fn filling(&self) -> Option<Advice> {
        let (mut because, mut patient) = (Vec::new(), Vec::new());
        let runs = self.study.of(Question::Storage).filter(|run| run.labels.task == FILLING);
        for run in runs {
            let name = format!("{} to {}", run.labels.link.as_str(), run.labels.disk.as_str());
            let filled = run.last_stored_ms.map_or_else(|| "never".to_owned(), seconds);
            let is_enough = run.answered_permille() >= self.is.answered_permille_min;
            if is_enough && run.wait_ms.p95 <= self.is.patience_ms {
                patient.push(name.clone());
            }
            because.push(figures(&format!("{name}, all disks filled after {filled}"), run));
        }
        if because.is_empty() {
            return None;
        }
        let says = match (patient.is_empty(), patient.len() == because.len()) {
            (true, _) => "Let the disks fill before people rely on it, whatever the line.".to_owned(),
            (false, true) => "People need not wait until disks are filled, whatever the line.".to_owned(),
            (false, false) => format!("People need not wait until disks are filled over {}.", list(&patient)),
        };
        Some(Advice { question: Question::Storage, topic: "Four new desks, managers on one".to_owned(), says, because })
    }

    /// Disk for every manager on a machine that swaps.
    pub(super) fn room(&self) -> Option<Advice> {
        let (mut because, mut worth) = (Vec::new(), false);
        for link in Link::ALL {
            let run = |task| self.library(task, Way::Swapping, link, Disk::Nvme);
            let (Some(wide), Some(narrow)) = (run(ROOM), run(NARROW)) else { continue };
            let (with, without) = (wide.answered_permille(), narrow.answered_permille());
            worth |= with >= without + self.is.gain_permille;
            because.push(format!(
                "{}: {} answered with a disk for seven, {} with a disk for two; {} moved until all seven lay there after {}",
                link.as_str(),
                percent(with),
                percent(without),
                gb(wide.bytes_moved),
                wide.last_stored_ms.map_or_else(|| "never".to_owned(), seconds)
            ));
        }
        if because.is_empty() {
            return None;
        }
        let says = match worth {
            true => "Worth it: a machine that swaps needs disk for every manager it shall answer for.".to_owned(),
            false => "Not needed: as much is answered with a smaller disk.".to_owned(),
        };
        let topic = "Disk for all managers on a machine that swaps".to_owned();
        Some(Advice { question: Question::Storage, topic, says, because })
    }

    /// A second Griffith, by what is answered when one dies, and by waits when none does.
    pub(super) fn second_griffith(&self) -> Option<Advice> {
        let run = |machines, way, loss| {
            let on = (Link::Gbe10, Disk::Nvme);
            self.find(Wanted { question: Question::Griffith, machines, task: SEVEN, way, on, loss })
        };
        let (mut because, mut survives, mut quicker) = (Vec::new(), false, false);
        for way in [Way::Specialised, Way::Mixed] {
            for loss in Loss::ALL {
                let pair = (run("one-griffith", way, loss), run("2 griffiths", way, loss));
                let (Some(one), Some(two)) = pair else { continue };
                let gain = two.answered_permille().saturating_sub(one.answered_permille());
                survives |= loss != Loss::None && gain >= self.is.gain_permille;
                let shorter = one.wait_ms.p95 * (100 - self.is.gain_wait_percent) / 100;
                quicker |= loss == Loss::None && two.wait_ms.p95 <= shorter && one.wait_ms.p95 > 0;
                let name = |count: &str| format!("{count} ({}, loss: {})", way.as_str(), loss.as_str());
                because.push(figures(&name("one"), one));
                because.push(figures(&name("two"), two));
            }
        }
        if because.is_empty() {
            return None;
        }
        let says = match (survives, quicker) {
            (true, true) => {
                "Worth it twice: it answers when the other is gone, and waits are shorter while both are there."
            }
            (true, false) => "Worth it as insurance: it answers when the other is gone. Waits stay what they were.",
            (false, true) => "Worth it for shorter waits only.",
            (false, false) => "Not worth it: as much is answered, as quickly, with one.",
        };
        Some(Advice {
            question: Question::Griffith,
            topic: "A second Griffith".to_owned(),
            says: says.to_owned(),
            because,
        })
    }

    fn library(&self, task: &str, way: Way, link: Link, disk: Disk) -> Option<&'a Outcome> {
        let on = (link, disk);
        self.find(Wanted { question: Question::Storage, machines: LIBRARY, task, way, on, loss: Loss::None })
    }
}

/// What else a size allows.
fn reach(size: &Size, task: &str) -> String {
    match size.context {
        Some(context) if task == ONE => format!(" The longest context that fits there is {context} tokens."),
        _ => String::new(),
    }
}

fn why(size: &Size, run: &Outcome) -> String {
    let short = match size.short_bytes {
        0 => format!("a manager fits into {}", gb(size.budget_bytes)),
        short => format!("a manager lacks {}", gb(short)),
    };
    figures(&format!("{} GB ({}, {short})", size.gib, size.tier), run)
}
