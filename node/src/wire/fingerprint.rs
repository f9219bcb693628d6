//! Fingerprints, as a part of signed catalog records. Bounded so that a whole catalog of them fits in one message.

use fednode_proto::v1;
use prost::Message as _;

use crate::core::fingerprint::{Fingerprint, MicroNats, Sequence};
use crate::core::limits;
use crate::core::types::Digest;
use crate::wire::{WireError, array32, at_most, field};

/// A fingerprint as it travels.
pub fn to_proto(fingerprint: &Fingerprint) -> v1::Fingerprint {
    let positive = |value: &MicroNats| u32::try_from(value.0.max(MicroNats::LEAST.0).saturating_neg()).unwrap_or(0);
    let text = |sequence: &Sequence| v1::FingerprintText {
        tokens: sequence.tokens.clone(),
        likeliest: sequence.likeliest.clone(),
        improbable_micronats: sequence.logprobs.iter().map(positive).collect(),
    };
    v1::Fingerprint {
        base: fingerprint.base.0.to_vec(),
        each: fingerprint.each,
        texts: fingerprint.sequences.iter().map(text).collect(),
        threshold_micronats: u32::try_from(fingerprint.threshold.0).unwrap_or(0),
    }
}

/// A fingerprint from outside: rectangular, within its bounds, and long enough to tell anything.
pub fn from_proto(proto: &v1::Fingerprint) -> Result<Fingerprint, WireError> {
    let refuse = |why: &str| field("fingerprint", why);
    if proto.encoded_len() > limits::FINGERPRINT_BYTES_MAX {
        return Err(refuse("larger than any that is recorded"));
    }
    at_most("fingerprint texts", &proto.texts, limits::FINGERPRINT_SEQUENCES_MAX)?;
    if proto.each == 0 || proto.each > limits::FINGERPRINT_EACH {
        return Err(refuse("tokens kept for each position out of range"));
    }
    let threshold = i64::from(proto.threshold_micronats);
    if !(1..=limits::FINGERPRINT_THRESHOLD_MAX).contains(&threshold) {
        return Err(refuse("threshold out of range"));
    }
    let sequences = proto.texts.iter().map(|text| text_from_proto(text, proto.each as usize));
    let fingerprint = Fingerprint {
        base: Digest(array32("fingerprint base", &proto.base)?),
        each: proto.each,
        sequences: sequences.collect::<Result<_, _>>()?,
        threshold: MicroNats(threshold),
    };
    match fingerprint.positions() {
        0..limits::FINGERPRINT_POSITIONS_MIN => Err(refuse("too short to tell anything")),
        _ => Ok(fingerprint),
    }
}

fn text_from_proto(proto: &v1::FingerprintText, each: usize) -> Result<Sequence, WireError> {
    at_most("fingerprint tokens", &proto.tokens, limits::FINGERPRINT_TOKENS_MAX)?;
    let expect = proto.tokens.len().saturating_sub(1) * each;
    if expect == 0 || [proto.likeliest.len(), proto.improbable_micronats.len()] != [expect; 2] {
        return Err(field("fingerprint", "not as many values as positions"));
    }
    let value = |&improbable: &u32| MicroNats(-i64::from(improbable)).max(MicroNats::LEAST);
    Ok(Sequence {
        tokens: proto.tokens.clone(),
        likeliest: proto.likeliest.clone(),
        logprobs: proto.improbable_micronats.iter().map(value).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fingerprint(tokens: usize, each: usize) -> Fingerprint {
        let values = (tokens - 1) * each;
        let sequence = Sequence {
            tokens: (0..tokens as u32).map(|n| n * 2999).collect(),
            likeliest: (0..values as u32).map(|n| n * 97 % 32_256).collect(),
            logprobs: (0..values as i64).map(|n| MicroNats(-n * 12_345)).collect(),
        };
        Fingerprint {
            base: Digest([5; 32]),
            each: each as u32,
            sequences: vec![sequence; 4],
            threshold: MicroNats(1300),
        }
    }

    #[test]
    fn it_comes_back_as_it_was_and_is_as_small_as_promised() {
        let whole = fingerprint(11, 20);
        let proto = to_proto(&whole);
        assert_eq!(from_proto(&proto), Ok(whole));
        assert!((3000..6000).contains(&proto.encoded_len()), "{} bytes", proto.encoded_len());
        const { assert!(limits::FINGERPRINTS_MAX * limits::FINGERPRINT_BYTES_MAX <= limits::MESSAGE_BYTES_MAX / 2) };
    }

    #[test]
    fn what_is_bent_is_refused() {
        let good = to_proto(&fingerprint(11, 20));
        let check = |what: &str, bend: &dyn Fn(&mut v1::Fingerprint)| {
            let mut bent = good.clone();
            bend(&mut bent);
            assert!(from_proto(&bent).is_err(), "{what}");
        };
        check("a value is missing", &|bent| bent.texts[1].likeliest.truncate(1));
        check("a value too many", &|bent| bent.texts[1].improbable_micronats.push(1));
        check("no base", &|bent| bent.base.clear());
        check("no threshold", &|bent| bent.threshold_micronats = 0);
        check("a threshold that lets everything pass", &|bent| bent.threshold_micronats = 1_000_000);
        check("too short", &|bent| bent.texts.truncate(3));
        check("too many texts", &|bent| bent.texts.extend((0..2).flat_map(|_| good.texts.clone())));
        check("a text of one token", &|bent| {
            bent.texts.push(v1::FingerprintText { tokens: vec![1], ..Default::default() })
        });
        check("each out of range", &|bent| bent.each = 21);
    }

    #[test]
    fn the_impossible_stays_within_its_bound() {
        let mut whole = fingerprint(11, 20);
        whole.sequences[0].logprobs[0] = MicroNats(i64::MIN);
        let back = from_proto(&to_proto(&whole)).expect("sound");
        assert_eq!(back.sequences[0].logprobs[0], MicroNats::LEAST);
        whole.sequences[0].logprobs[0] = MicroNats(3); // rounding above certainty
        assert_eq!(from_proto(&to_proto(&whole)).expect("sound").sequences[0].logprobs[0], MicroNats(0));
    }
}
