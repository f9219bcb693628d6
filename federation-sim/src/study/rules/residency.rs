//! What to do with the machines one has: strategy, shared base, disks, lines, and who still answers when one dies.

use std::cmp::Reverse;

use super::{Advice, Rules, Wanted, figures};
use crate::study::cases::{REFERENCE, SEVEN};
use crate::study::labels::{Disk, Link, Loss, Question, Way};
use crate::study::outcome::Outcome;
use crate::study::words::{gb, list, percent, seconds};

/// Ways that serve managers as they are, in the order in which equals are preferred.
const WAYS: [Way; 3] = [Way::Mixed, Way::Specialised, Way::Swapping];

impl<'a> Rules<'a> {
    /// Which way serves these machines best: of those that answer enough the one whose 95th percentile is shortest; of equals
    /// the one that swaps least. If none answers enough, the one that answers most.
    pub(super) fn strategy(&self, machines: &str) -> Option<Advice> {
        let (best, is_enough) = self.best_way(machines)?;
        let way = best.labels.way.as_str();
        let answered = percent(best.answered_permille());
        let says = match is_enough {
            true => format!("Use {way}: 95 of 100 answers begin within {}.", seconds(best.wait_ms.p95)),
            false => format!(
                "None of the three is enough: {way} comes closest with {answered} answered, and {} are wanted.",
                percent(self.is.answered_permille_min)
            ),
        };
        let because = self.ways(machines).into_iter().map(|run| figures(run.labels.way.as_str(), run)).collect();
        Some(Advice { question: Question::Strategy, topic: format!("{machines}: which strategy"), says, because })
    }

    /// A shared base is worth it where it answers as much, much sooner, or no later and from a part of the memory.
    pub(super) fn shared_base(&self, machines: &str) -> Option<Advice> {
        let (best, _) = self.best_way(machines)?;
        let shared = self.run(machines, Way::SharedBase, REFERENCE)?;
        let part = shared.memory_used_bytes_max * 100 / best.memory_used_bytes_max.max(1);
        let is_small = part <= self.is.shared_memory_percent;
        let is_quick = self.is_equal(shared.wait_ms.p95, best.wait_ms.p95);
        let answers = shared.answered_permille() + self.is.gain_permille > best.answered_permille();
        let enough_shorter = best.wait_ms.p95 * (100 - self.is.gain_wait_percent) / 100;
        let (sooner, late) = (seconds(shared.wait_ms.p95), seconds(best.wait_ms.p95));
        let says = match (answers && is_quick, is_small) {
            (true, _) if shared.wait_ms.p95 <= enough_shorter => format!(
                "Worth training for: 95 of 100 answers begin within {sooner} rather than {late}, with {part} % of the memory."
            ),
            (true, true) => format!("Worth training for: as good with {part} % of the memory."),
            (true, false) => format!("As good, and no smaller: it takes {part} % of the memory."),
            (false, true) => format!("Smaller ({part} % of the memory), but slower or less sure than separate models."),
            (false, false) => "Not worth it here: neither smaller nor as good.".to_owned(),
        };
        let memory = |run: &Outcome| format!("{}, at most {}", run.labels.way.as_str(), gb(run.memory_used_bytes_max));
        let because = vec![
            figures(best.labels.way.as_str(), best),
            figures("shared base", shared),
            format!("memory: {}; {}", memory(best), memory(shared)),
        ];
        let topic = format!("{machines}: managers as adapters of one base");
        Some(Advice { question: Question::Strategy, topic, says, because })
    }

    /// NVMe is worth it where swaps wait noticeably longer for SATA.
    pub(super) fn disk(&self) -> Option<Advice> {
        let mut because = Vec::new();
        let mut gain_ms_max = 0;
        for machines in self.study.machines(Question::Strategy) {
            let run = |disk| self.run(machines, Way::Swapping, (REFERENCE.0, disk));
            let (Some(nvme), Some(sata)) = (run(Disk::Nvme), run(Disk::Sata)) else { continue };
            if nvme.waited_for_load == 0 || sata.waited_for_load == 0 {
                continue;
            }
            let (quick, slow) = (nvme.load_wait_ms.p50, sata.load_wait_ms.p50);
            gain_ms_max = gain_ms_max.max(slow.saturating_sub(quick));
            because.push(format!(
                "{machines}, swapping: half of those who waited for a load had their first token after {} from NVMe, {} \
                 from SATA",
                seconds(quick),
                seconds(slow)
            ));
        }
        if because.is_empty() {
            return None;
        }
        let says = match gain_ms_max >= self.is.gain_load_ms {
            true => format!("Put the store on NVMe where managers are swapped: up to {} sooner.", seconds(gain_ms_max)),
            false => format!("A SATA disk will do: NVMe is at most {} sooner.", seconds(gain_ms_max)),
        };
        Some(Advice { question: Question::Strategy, topic: "NVMe or SATA".to_owned(), says, because })
    }

    /// Once disks are filled a faster line is worth it where it shortens the 95th percentile.
    pub(super) fn link(&self) -> Option<Advice> {
        let (mut because, mut slower) = (Vec::new(), Vec::new());
        for machines in self.study.machines(Question::Strategy) {
            let run = |link| self.run(machines, Way::Mixed, (link, REFERENCE.1));
            let (Some(slow), Some(quick)) = (run(Link::Gbe1), run(Link::Gbe10)) else { continue };
            if !self.is_equal(slow.wait_ms.p95, quick.wait_ms.p95) {
                slower.push(machines.to_owned());
            }
            because.push(format!(
                "{machines}, mixed: 95 of 100 first tokens within {} over 1 GbE, {} over 10 GbE; {} moved over 1 GbE",
                seconds(slow.wait_ms.p95),
                seconds(quick.wait_ms.p95),
                gb(slow.bytes_moved)
            ));
        }
        if because.is_empty() {
            return None;
        }
        let says = match slower.is_empty() {
            true => "1 GbE is enough once every disk holds what its machine may load.".to_owned(),
            false => format!("A faster line shortens waits on {} even when disks are filled.", list(&slower)),
        };
        Some(Advice {
            question: Question::Strategy,
            topic: "Which line, once disks are filled".to_owned(),
            says,
            because,
        })
    }

    /// Which ways still answer when the largest machine dies for good.
    pub(super) fn loss(&self, machines: &str) -> Option<Advice> {
        let enough = self.is.answered_after_loss_permille_min;
        let (mut keeps, mut because) = (Vec::new(), Vec::new());
        for way in Way::ALL {
            let run = |loss| {
                let wanted = Wanted { question: Question::Loss, machines, task: SEVEN, way, on: REFERENCE, loss };
                self.find(wanted)
            };
            let (Some(while_away), Some(gone)) = (run(Loss::ForAWhile), run(Loss::ForGood)) else { continue };
            if gone.answered_permille() >= enough {
                keeps.push(way.as_str().to_owned());
            }
            because.push(format!(
                "{}: {} answered with it away for a while, {} with it gone for good (then 95 of 100 within {})",
                way.as_str(),
                percent(while_away.answered_permille()),
                percent(gone.answered_permille()),
                seconds(gone.wait_ms.p95)
            ));
        }
        if because.is_empty() {
            return None;
        }
        let says = match (keeps.is_empty(), keeps.len() == because.len()) {
            (true, _) => {
                "This federation does not survive the loss of its largest machine: add one, or accept it.".to_owned()
            }
            (false, true) => "It goes on whatever the strategy.".to_owned(),
            (false, false) => format!("It goes on with {} only.", list(&keeps)),
        };
        Some(Advice { question: Question::Loss, topic: format!("{machines}: its largest machine dies"), says, because })
    }

    fn run(&self, machines: &str, way: Way, on: (Link, Disk)) -> Option<&'a Outcome> {
        self.find(Wanted { question: Question::Strategy, machines, task: SEVEN, way, on, loss: Loss::None })
    }

    fn ways(&self, machines: &str) -> Vec<&'a Outcome> {
        WAYS.into_iter().filter_map(|way| self.run(machines, way, REFERENCE)).collect()
    }

    /// The best of them, and whether it answers enough.
    fn best_way(&self, machines: &str) -> Option<(&'a Outcome, bool)> {
        let runs = self.ways(machines);
        let enough: Vec<&Outcome> =
            runs.iter().copied().filter(|run| run.answered_permille() >= self.is.answered_permille_min).collect();
        let Some(shortest) = enough.iter().map(|run| run.wait_ms.p95).min() else {
            let most = runs.into_iter().rev().max_by_key(|run| (run.answered_permille(), Reverse(run.wait_ms.p95)));
            return most.map(|run| (run, false));
        };
        let equals = enough.into_iter().filter(|run| self.is_equal(run.wait_ms.p95, shortest));
        equals.min_by_key(|run| run.swaps).map(|run| (run, true))
    }
}
