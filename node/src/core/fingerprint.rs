//! The logit fingerprint of an artifact: what the unaltered model answers to fixed texts, token by token, as the likeliest
//! tokens and their log-probabilities. Recorded when the artifact is published; compared by whoever loads it, by the coordinator
//! now and then, and by `fednode verify`. A quantised copy, or any other model under the same name, answers differently by far
//! more than machines do. Pure: log-probabilities are whole millionths, so that everybody finds the same distance.
//!
//! Tokens are given (teacher-forced), never chosen: near-ties make generated text differ between honest machines.

use serde::Serialize;

use crate::core::limits;
use crate::core::types::Digest;

/// A log-probability, or a difference between two, in millionths of a nat.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize)]
#[serde(transparent)]
pub struct MicroNats(pub i64);

impl MicroNats {
    /// What is improbable beyond this, or no number at all, counts as this improbable: the smallest single float is e^-104.
    pub const LEAST: MicroNats = MicroNats(-1_000_000_000);

    /// For people: nats with five digits.
    pub fn text(self) -> String {
        let (sign, size) = (if self.0 < 0 { "-" } else { "" }, self.0.unsigned_abs());
        format!("{sign}{}.{:05}", size / 1_000_000, size % 1_000_000 / 10)
    }
}

/// One text, and what came after each of its tokens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sequence {
    /// The text's tokens: at least two. Each but the last is a position.
    pub tokens: Vec<u32>,
    /// For each position as many of the likeliest tokens as [`Fingerprint::each`] says, the likeliest first.
    pub likeliest: Vec<u32>,
    /// Their log-probabilities, in the same order.
    pub logprobs: Vec<MicroNats>,
}

impl Sequence {
    /// Positions.
    pub fn positions(&self) -> usize {
        self.tokens.len().saturating_sub(1)
    }
}

/// What the unaltered artifact answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fingerprint {
    /// The model that answered: the artifact itself, or for an adapter the base it was attached to. On another base an adapter
    /// answers differently and is not compared.
    pub base: Digest,
    /// Tokens kept for each position.
    pub each: u32,
    /// The texts.
    pub sequences: Vec<Sequence>,
    /// How far an honest machine may be from it.
    pub threshold: MicroNats,
}

/// A comparison and what follows from it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Judgement {
    /// How far what answers is from what was recorded.
    pub distance: MicroNats,
    /// How far it may be.
    pub threshold: MicroNats,
}

impl Judgement {
    /// Is it the model that was recorded?
    pub fn matches(&self) -> bool {
        self.distance <= self.threshold
    }
}

impl std::fmt::Display for Judgement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (distance, threshold) = (self.distance.text(), self.threshold.text());
        match self.matches() {
            true => write!(f, "its answers are {distance} nats from those recorded at publication, within {threshold}"),
            false => {
                write!(f, "its answers are {distance} nats from those recorded at publication, more than {threshold}")
            }
        }
    }
}

impl Fingerprint {
    /// Positions of all texts.
    pub fn positions(&self) -> usize {
        self.sequences.iter().map(Sequence::positions).sum()
    }

    /// Compares what answers now: the log-probabilities of the recorded tokens, text by text. `None`: that is not one for each.
    pub fn judge(&self, answers: &[Vec<MicroNats>]) -> Option<Judgement> {
        let distance = self.distance(answers)?;
        Some(Judgement { distance, threshold: self.threshold })
    }

    /// The mean difference over all recorded tokens of all positions, whichever way they differ.
    pub fn distance(&self, answers: &[Vec<MicroNats>]) -> Option<MicroNats> {
        if answers.len() != self.sequences.len() {
            return None;
        }
        let (mut sum, mut count) = (0u64, 0u64);
        for (sequence, answer) in self.sequences.iter().zip(answers) {
            if answer.len() != sequence.logprobs.len() {
                return None;
            }
            let differences = sequence.logprobs.iter().zip(answer);
            sum += differences.map(|(was, is)| was.0.abs_diff(is.0.max(MicroNats::LEAST.0))).sum::<u64>();
            count += answer.len() as u64;
        }
        // A fingerprint has at most some ten thousand numbers of at most 10^9 each.
        (count > 0).then(|| MicroNats((sum / count) as i64))
    }
}

/// How far an honest machine may be from a fingerprint that two ways of computing on one machine put `noise` apart.
pub fn threshold(noise: MicroNats) -> MicroNats {
    let told = noise.0.saturating_mul(limits::FINGERPRINT_NOISE_TIMES);
    MicroNats(told.clamp(limits::FINGERPRINT_THRESHOLD_MIN, limits::FINGERPRINT_THRESHOLD_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence(logprobs: &[i64]) -> Sequence {
        let tokens = (0..=logprobs.len() as u32 / 2).collect();
        Sequence {
            tokens,
            likeliest: (0..logprobs.len() as u32).collect(),
            logprobs: logprobs.iter().map(|&n| MicroNats(n)).collect(),
        }
    }

    fn recorded() -> Fingerprint {
        let sequences = vec![sequence(&[-100, -200, -300, -400]), sequence(&[-10, -20])];
        Fingerprint { base: Digest([1; 32]), each: 2, sequences, threshold: MicroNats(50) }
    }

    fn answers(of: &[&[i64]]) -> Vec<Vec<MicroNats>> {
        of.iter().map(|one| one.iter().map(|&n| MicroNats(n)).collect()).collect()
    }

    #[test]
    fn the_distance_is_the_mean_difference_over_all_texts() {
        let check = |given: &[&[i64]], expect: Option<i64>| {
            assert_eq!(recorded().distance(&answers(given)), expect.map(MicroNats), "{given:?}");
        };
        check(&[&[-100, -200, -300, -400], &[-10, -20]], Some(0));
        check(&[&[-160, -140, -300, -400], &[-10, -20]], Some(20)); // up and down do not cancel
        check(&[&[-100, -200, -300, -400], &[-10, i64::MIN]], Some((1_000_000_000 - 20) / 6)); // impossible, not overflowing
        check(&[&[-100, -200, -300], &[-10, -20]], None); // one is missing
        check(&[&[-100, -200, -300, -400]], None); // a text is missing
        check(&[], None);
    }

    #[test]
    fn a_judgement_names_both_numbers() {
        let judged = recorded().judge(&answers(&[&[-100, -200, -300, -400], &[-10, -340]])).expect("comparable");
        assert_eq!((judged.distance, judged.matches()), (MicroNats(53), false));
        assert!(recorded().judge(&answers(&[&[-100, -200, -300, -400], &[-10, -310]])).is_some_and(|j| j.matches()));
        let far = Judgement { distance: MicroNats(12_345_678), threshold: MicroNats(1_230) };
        assert_eq!(
            far.to_string(),
            "its answers are 12.34567 nats from those recorded at publication, more than 0.00123"
        );
    }

    #[test]
    fn what_may_differ_follows_from_the_noise_within_bounds() {
        assert_eq!(threshold(MicroNats(0)).0, limits::FINGERPRINT_THRESHOLD_MIN);
        assert_eq!(threshold(MicroNats(i64::MAX)).0, limits::FINGERPRINT_THRESHOLD_MAX);
        let noise = limits::FINGERPRINT_THRESHOLD_MIN / limits::FINGERPRINT_NOISE_TIMES + 7;
        assert_eq!(threshold(MicroNats(noise)).0, noise * limits::FINGERPRINT_NOISE_TIMES);
    }
}
