//! Artifacts that were just hashed as a whole to no avail: all of it was sound, or the damage cannot be repaired yet. They rest
//! before they are hashed again, whoever suspects them: else a full disk, or a file whose owner keeps touching it, would keep
//! this machine hashing at full speed for ever. Called by `scrub`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::core::types::Digest;

/// Long against the hashing of most artifacts, short against the time in which a person frees some space.
const REST: Duration = Duration::from_secs(60);

/// What rests. At most the artifacts of this store.
#[derive(Debug, Default)]
pub(super) struct Rests(BTreeMap<Digest, Rest>);

#[derive(Debug)]
struct Rest {
    until: Instant,
    /// Suspected again meanwhile.
    suspected: bool,
}

impl Rests {
    /// From now on it rests.
    pub fn begin(&mut self, artifact: Digest, now: Instant) {
        self.0.insert(artifact, Rest { until: now + REST, suspected: false });
    }

    /// It was repaired or is gone: nothing is to be waited for.
    pub fn end(&mut self, artifact: &Digest) {
        self.0.remove(artifact);
    }

    /// True: it rests, and [`Rests::due`] will say that it was suspected meanwhile.
    pub fn defer(&mut self, artifact: &Digest) -> bool {
        let rest = self.0.get_mut(artifact);
        rest.is_some_and(|rest| {
            rest.suspected = true;
            true
        })
    }

    /// One whose rest is over, and whether it was suspected meanwhile.
    pub fn due(&mut self, now: Instant) -> Option<(Digest, bool)> {
        let artifact = self.0.iter().find(|(_, rest)| rest.until <= now).map(|(artifact, _)| *artifact)?;
        self.0.remove(&artifact).map(|rest| (artifact, rest.suspected))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_suspected_while_it_rested_comes_when_the_rest_is_over_and_once() {
        let (a, b, start) = (Digest([1; 32]), Digest([2; 32]), Instant::now());
        let mut rests = Rests::default();
        assert!(!rests.defer(&a), "it does not rest yet");
        rests.begin(a, start);
        rests.begin(b, start);
        assert!(rests.defer(&a) && rests.defer(&a));
        assert_eq!(rests.due(start + REST / 2), None);
        assert_eq!(rests.due(start + REST), Some((a, true)));
        assert_eq!(rests.due(start + REST), Some((b, false)));
        assert_eq!(rests.due(start + 2 * REST), None);
        rests.begin(a, start);
        rests.end(&a);
        assert!(!rests.defer(&a));
    }
}
