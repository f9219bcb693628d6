//! The bounds of fingerprints and of the coordinator's checks.

use super::Duration;

/// Likeliest tokens kept for each position of a fingerprint (DESIGN 16).
pub const FINGERPRINT_EACH: u32 = 20;
/// Positions of a fingerprint at least (DESIGN 16); fewer do not tell a quantised copy apart reliably.
pub const FINGERPRINT_POSITIONS_MIN: usize = 32;
/// Texts of a fingerprint: four are recorded.
pub const FINGERPRINT_SEQUENCES_MAX: usize = 8;
/// Tokens of one text: eleven are recorded, and a decoding step of the engine looks at `ENGINE_OUTPUTS_MAX` outputs.
pub const FINGERPRINT_TOKENS_MAX: usize = 33;
/// An encoded fingerprint: 40 positions of 20 tokens take some 5 KiB.
pub const FINGERPRINT_BYTES_MAX: usize = 8 << 10;
/// Publications of one catalog that are recorded with a fingerprint; those beyond have none. The whole catalog travels in one
/// message, of which they take half: 2 MiB.
pub const FINGERPRINTS_MAX: usize = 256;
/// What an honest machine may be away, in multiples of what two ways of computing on the publisher's own are apart. A GPU that
/// multiplies with activations in F32, where a CPU rounds them to F16, was seen 25 times as far; a Q8_0 copy is 400 times.
pub const FINGERPRINT_NOISE_TIMES: i64 = 100;
/// But so much at least, in micro-nats: where the publisher's two ways agree to the bit, another processor's need not. That GPU
/// was seen 1,350 away, Q8_0 copies at least 12,000.
pub const FINGERPRINT_THRESHOLD_MIN: i64 = 4_000;
/// And so much at most: a model whose two ways are further apart has no fingerprint worth comparing.
pub const FINGERPRINT_THRESHOLD_MAX: i64 = 20_000;
/// Context of the engine that reads a fingerprint when it is published, tokens: one text, with room to spare.
pub const FINGERPRINT_CONTEXT: u32 = 128;

/// The coordinator compares one replica's fingerprint this often, give or take a quarter: with the seven managers of two
/// machines each has its turn within an hour or so, and the engines notice nothing.
pub const CHECK_PERIOD: Duration = Duration::from_secs(300);
/// A replica that is not trusted is looked at again after this: it needs seconds to hash its file, fetch it and load it.
pub const CHECK_AGAIN: Duration = Duration::from_secs(5);
/// A check that has not ended by then is given up: a large model takes seconds for it, a busy one answers its questions first.
pub const CHECK_WAIT: Duration = Duration::from_secs(120);
/// Replicas that a plan says are not trusted: a federation where there are more has other troubles.
pub const DISTRUSTS_MAX: usize = 256;
