//! From figures to recommendations. Every rule is a comparison with a stated threshold, every recommendation names the
//! figures that led to it, and none is made where a figure is missing. Nothing here knows what the runs were about beyond
//! their labels.

mod hardware;
mod residency;

#[cfg(test)]
mod tests;

use serde::Serialize;

use super::Study;
use super::labels::{Disk, Labels, Link, Loss, Question, Way};
use super::outcome::Outcome;
use super::words::{hundredths, percent, seconds};

/// What counts as enough, as equal, as a gain.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Thresholds {
    /// Of a thousand questions so many must be answered.
    pub answered_permille_min: u64,
    /// And so many where a machine died.
    pub answered_after_loss_permille_min: u64,
    /// Waits that differ by no more than this are equal, percent.
    pub equal_percent: u64,
    /// A person waits this long for the first word of 95 of 100 answers, milliseconds.
    pub patience_ms: u64,
    /// More questions answered, of a thousand, that are worth buying for.
    pub gain_permille: u64,
    /// A 95th percentile shorter by this is worth buying for, percent.
    pub gain_wait_percent: u64,
    /// A load shorter by this is worth a faster disk, milliseconds.
    pub gain_load_ms: u64,
    /// A shared base is worth training for if it needs at most this part of the memory, percent.
    pub shared_memory_percent: u64,
    /// Fetching is called slow when a swap takes so many times as long as from the disk.
    pub slow_times: u64,
}

impl Default for Thresholds {
    fn default() -> Thresholds {
        Thresholds {
            answered_permille_min: 990,
            answered_after_loss_permille_min: 950,
            equal_percent: 10,
            patience_ms: 60_000,
            gain_permille: 20,
            gain_wait_percent: 25,
            gain_load_ms: 10_000,
            shared_memory_percent: 50,
            slow_times: 2,
        }
    }
}

/// One recommendation.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Advice {
    /// Whose question it answers.
    pub question: Question,
    /// About what.
    pub topic: String,
    /// What to do.
    pub says: String,
    /// The figures that led to it.
    pub because: Vec<String>,
}

/// The rules, over the figures of one study.
struct Rules<'a> {
    study: &'a Study,
    is: Thresholds,
}

impl Study {
    /// What its figures recommend, in the order of the questions.
    pub fn advice(&self) -> Vec<Advice> {
        let rules = Rules { study: self, is: Thresholds::default() };
        let mut advice = Vec::new();
        for machines in self.machines(Question::Strategy) {
            advice.extend(rules.strategy(machines));
            advice.extend(rules.shared_base(machines));
        }
        advice.extend(rules.disk());
        advice.extend(rules.link());
        advice.extend(self.machines(Question::Loss).into_iter().filter_map(|machines| rules.loss(machines)));
        advice.extend(rules.minimum());
        advice.extend(rules.storage());
        advice.extend(rules.filling());
        advice.extend(rules.room());
        advice.extend(rules.second_griffith());
        advice
    }

    /// The federations that a question was asked of, in order.
    pub fn machines(&self, question: Question) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for outcome in self.of(question) {
            if !names.contains(&outcome.labels.machines.as_str()) {
                names.push(&outcome.labels.machines);
            }
        }
        names
    }

    /// The runs of a question.
    pub fn of(&self, question: Question) -> impl Iterator<Item = &Outcome> {
        self.outcomes.iter().filter(move |outcome| outcome.labels.question == question)
    }
}

/// Which run is wanted.
#[derive(Clone, Copy)]
struct Wanted<'a> {
    question: Question,
    machines: &'a str,
    task: &'a str,
    way: Way,
    on: (Link, Disk),
    loss: Loss,
}

impl<'a> Rules<'a> {
    fn find(&self, wanted: Wanted<'_>) -> Option<&'a Outcome> {
        let is = |labels: &Labels| {
            (labels.question, labels.way, labels.loss) == (wanted.question, wanted.way, wanted.loss)
                && (labels.link, labels.disk) == wanted.on
                && labels.machines == wanted.machines
                && labels.task == wanted.task
        };
        self.study.outcomes.iter().find(|outcome| is(&outcome.labels))
    }

    /// Is `longer` no more than a little longer?
    fn is_equal(&self, longer: u64, shorter: u64) -> bool {
        longer.saturating_mul(100) <= shorter.saturating_mul(100 + self.is.equal_percent)
    }
}

/// `mixed: 98.3 % answered, first token within 12.3 s for 95 of 100, 3.25 swaps an hour`.
fn figures(name: &str, outcome: &Outcome) -> String {
    let (answered, wait) = (percent(outcome.answered_permille()), seconds(outcome.wait_ms.p95));
    let swaps = hundredths(outcome.swaps_per_100_h());
    format!("{name}: {answered} answered, first token within {wait} for 95 of 100, {swaps} swaps an hour")
}
