//! Fingerprints and engines: how one is read when an artifact is published, and what an engine's answers are compared with.
//! What follows from a comparison is the core's to say.

use std::sync::Arc;
use std::time::Duration;

use fednode_proto::v1;

use crate::core::catalog::Catalog;
use crate::core::fingerprint::{Fingerprint, Judgement, MicroNats, Sequence, threshold};
use crate::core::limits;
use crate::core::placement::plan::PlannedReplica;
use crate::core::types::{Digest, DomainName, SlotName};
use crate::driver::event_loop::Events;
use crate::engine::{Engine, EngineError};

/// What every model is asked to read. Prose, code, numbers and dialogue: what a quantised copy gets wrong differs from one to
/// the other. Never changed: recorded fingerprints carry their tokens, but those of two versions would not compare.
const TEXTS: [&str; 4] = [
    "The old lighthouse keeper climbed the stairs every evening, lit the lamp, and wrote in his book what the sea had brought.",
    "def merge(left, right):\n    result = []\n    while left and right:\n        result.append(min(left, right).pop(0))",
    "In 1969 two people walked on the moon; 238,855 miles away, 650 million others watched them on their television sets.",
    "Question: Which planet of the solar system is the largest? Answer: Jupiter, whose mass is 318 times that of the Earth.",
];

/// Between two looks whether the catalog has what the plan was made from.
const LOOK: Duration = Duration::from_millis(100);
/// So many looks at most: a sync that failed is tried again after a second.
const LOOKS_MAX: u32 = 50;

/// Tokens taken of each text: 40 positions in all.
const TOKENS_EACH: usize = 11;

/// Why a fingerprint could not be read or compared.
#[derive(Debug, thiserror::Error)]
pub enum FingerprintError {
    /// The engine did not answer.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// It answered something else.
    #[error("its answers are not as many as were asked for")]
    Shape,
    /// The model has too small a vocabulary, or too coarse a tokenizer.
    #[error(
        "its tokenizer makes only {positions} positions of the texts, {} are needed",
        limits::FINGERPRINT_POSITIONS_MIN
    )]
    Short {
        /// As many as it made.
        positions: usize,
    },
    /// Two ways of computing the same differ as if it were two models.
    #[error("two ways of computing the same are {} nats apart", .noise.text())]
    Noisy {
        /// How far.
        noise: MicroNats,
    },
}

/// A fingerprint that is to be compared, and what it is of.
#[derive(Clone, Debug)]
pub struct Known {
    /// The adapter's domain; `None`: the base alone.
    pub domain: Option<DomainName>,
    /// The artifact.
    pub artifact: Digest,
    /// What it answers.
    pub fingerprint: Arc<Fingerprint>,
}

/// The fingerprints of what a replica is made of, as far as they are known: those that were recorded on this very base.
fn known(catalog: &Catalog, order: &PlannedReplica) -> Vec<Known> {
    let of = |domain: Option<&DomainName>, expect: Digest| {
        let (artifact, fingerprint) = catalog.fingerprint(&order.slot, domain)?;
        let same = artifact == expect && fingerprint.base == order.artifact;
        same.then(|| Known { domain: domain.cloned(), artifact, fingerprint })
    };
    let adapters = order.adapters.iter().filter_map(|adapter| of(Some(&adapter.domain), adapter.artifact));
    of(None, order.artifact).into_iter().chain(adapters).collect()
}

/// The same of this node's catalog, as soon as it says of the slot what `order` does: a plan may arrive before the records it was
/// made from. If they do not come in time it is of another version, and what is known of that is not compared.
pub async fn known_soon(events: &Events, order: &PlannedReplica) -> Vec<Known> {
    let mut known = Vec::new();
    for _ in 0..LOOKS_MAX {
        let of = order.clone();
        let read = events.read(move |machine| {
            let catalog = &machine.config().catalog;
            (agrees(catalog, &of), self::known(catalog, &of))
        });
        let Some((agrees, found)) = read.await else { return Vec::new() };
        known = found;
        if agrees {
            break;
        }
        tokio::time::sleep(LOOK).await;
    }
    known
}

/// Is what `order` is made of what is published?
fn agrees(catalog: &Catalog, order: &PlannedReplica) -> bool {
    let is = |domain: Option<&DomainName>, artifact: Digest| {
        catalog.publication(&order.slot, domain).is_some_and(|published| published.artifact == artifact)
    };
    let adapters = &order.adapters;
    is(None, order.artifact) && adapters.iter().all(|adapter| is(Some(&adapter.domain), adapter.artifact))
}

/// What an engine is asked, to compare it with `fingerprint`.
pub fn request(fingerprint: &Fingerprint, slot: &SlotName, domain: Option<&DomainName>) -> v1::ScoreRequest {
    let text = |sequence: &Sequence| v1::ScoreSequence {
        tokens: sequence.tokens.clone(),
        wanted: sequence.likeliest.clone(),
        wanted_each: fingerprint.each,
    };
    v1::ScoreRequest {
        slot: slot.to_string(),
        domain: domain.map(DomainName::to_string).unwrap_or_default(),
        sequences: fingerprint.sequences.iter().map(text).collect(),
    }
}

/// What it answered, compared.
pub fn judge(fingerprint: &Fingerprint, reply: &v1::ScoreReply) -> Result<Judgement, FingerprintError> {
    let same = |(score, text): (&v1::SequenceScore, &Sequence)| score.tokens == text.likeliest;
    if !reply.sequences.iter().zip(&fingerprint.sequences).all(same) {
        return Err(FingerprintError::Shape);
    }
    let answers: Vec<Vec<MicroNats>> = reply.sequences.iter().map(|score| micro_nats(&score.logprobs)).collect();
    fingerprint.judge(&answers).ok_or(FingerprintError::Shape)
}

/// Asks an engine and compares.
pub async fn compare(engine: &dyn Engine, slot: &SlotName, known: &Known) -> Result<Judgement, FingerprintError> {
    let reply = engine.score(request(&known.fingerprint, slot, known.domain.as_ref())).await?;
    judge(&known.fingerprint, &reply)
}

/// Reads the fingerprint of what `engine` runs, with its adapter of `domain` if that is not empty. It is read twice, in two ways
/// that give the same but for rounding; how far they are apart says what honest machines may differ by.
pub async fn record(engine: &dyn Engine, domain: &str, base: Digest) -> Result<Fingerprint, FingerprintError> {
    let mut texts = Vec::new();
    for text in TEXTS {
        let mut tokens = engine.tokenize(text.to_owned()).await?;
        tokens.truncate(TOKENS_EACH);
        texts.push(tokens);
    }
    let positions = texts.iter().map(|tokens| tokens.len().saturating_sub(1)).sum();
    if positions < limits::FINGERPRINT_POSITIONS_MIN || texts.iter().any(|tokens| tokens.len() < 2) {
        return Err(FingerprintError::Short { positions });
    }
    let ask = |tokens: &Vec<u32>| v1::ScoreSequence {
        tokens: tokens.clone(),
        wanted: Vec::new(),
        wanted_each: limits::FINGERPRINT_EACH,
    };
    let request =
        v1::ScoreRequest { slot: String::new(), domain: domain.to_owned(), sequences: texts.iter().map(ask).collect() };
    let reply = engine.score(request).await?;
    if reply.sequences.len() != texts.len() {
        return Err(FingerprintError::Shape);
    }
    // A tiny vocabulary has fewer tokens than are asked for.
    let each = reply.sequences.first().map_or(0, |score| score.tokens.len()) / (texts[0].len() - 1);
    let sequences: Vec<Sequence> = std::iter::zip(texts, &reply.sequences)
        .map(|(tokens, score)| Sequence {
            tokens,
            likeliest: score.tokens.clone(),
            logprobs: micro_nats(&score.logprobs),
        })
        .collect();
    if each == 0 || sequences.iter().any(|text| text.logprobs.len() != text.positions() * each) {
        return Err(FingerprintError::Shape);
    }
    let mut fingerprint = Fingerprint { base, each: each as u32, sequences, threshold: MicroNats::default() };
    let noise = noise(engine, domain, &fingerprint).await?;
    fingerprint.threshold = threshold(noise);
    match noise > fingerprint.threshold {
        true => Err(FingerprintError::Noisy { noise }),
        false => Ok(fingerprint),
    }
}

/// How far the same answers are when each position is computed with nothing after it: other batches, other order of sums.
pub async fn noise(
    engine: &dyn Engine,
    domain: &str,
    fingerprint: &Fingerprint,
) -> Result<MicroNats, FingerprintError> {
    let each = fingerprint.each as usize;
    let mut answers = Vec::new();
    for text in &fingerprint.sequences {
        let upto = |position: usize| v1::ScoreSequence {
            tokens: text.tokens[..=position].to_vec(),
            wanted: text.likeliest[..position * each].to_vec(),
            wanted_each: fingerprint.each,
        };
        let sequences = (1..=text.positions()).map(upto).collect();
        let request = v1::ScoreRequest { slot: String::new(), domain: domain.to_owned(), sequences };
        let reply = engine.score(request).await?;
        let last = |score: &v1::SequenceScore| {
            let from = score.logprobs.len().checked_sub(each)?;
            Some(micro_nats(&score.logprobs[from..]))
        };
        let values: Option<Vec<Vec<MicroNats>>> = reply.sequences.iter().map(last).collect();
        answers.push(values.ok_or(FingerprintError::Shape)?.concat());
    }
    fingerprint.distance(&answers).ok_or(FingerprintError::Shape)
}

/// What is no number is as improbable as can be.
fn micro_nats(logprobs: &[f32]) -> Vec<MicroNats> {
    let value = |&logprob: &f32| match logprob.is_nan() {
        true => MicroNats::LEAST,
        false => MicroNats((f64::from(logprob) * 1e6).round() as i64).clamp(MicroNats::LEAST, MicroNats(0)),
    };
    logprobs.iter().map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_number_is_impossible_and_certainty_is_the_most() {
        let values = [-0.25, 0.0, 1e-7, f32::NEG_INFINITY, f32::NAN, -1e9];
        let expect = [-250_000, 0, 0, -1_000_000_000, -1_000_000_000, -1_000_000_000].map(MicroNats);
        assert_eq!(micro_nats(&values), expect);
    }

    #[test]
    fn answers_for_other_tokens_are_not_compared() {
        let sequence =
            Sequence { tokens: vec![1, 2], likeliest: vec![7, 8], logprobs: vec![MicroNats(-1), MicroNats(-2)] };
        let fingerprint =
            Fingerprint { base: Digest::default(), each: 2, sequences: vec![sequence], threshold: MicroNats(1000) };
        let reply = |tokens: Vec<u32>, logprobs: Vec<f32>| v1::ScoreReply {
            sequences: vec![v1::SequenceScore { tokens, logprobs }],
        };
        assert!(judge(&fingerprint, &reply(vec![7, 8], vec![0.0, 0.0])).is_ok_and(|judged| judged.matches()));
        assert!(judge(&fingerprint, &reply(vec![8, 7], vec![0.0, 0.0])).is_err());
        assert!(judge(&fingerprint, &reply(vec![7, 8], vec![0.0])).is_err());
        assert!(judge(&fingerprint, &v1::ScoreReply::default()).is_err());
    }
}
