//! Waiting for something that another process does: with a deadline, and with what was seen last when it passes.

use std::time::{Duration, Instant};

use crate::Error;

/// Short beside anything that is awaited, long beside one look.
const BETWEEN_LOOKS: Duration = Duration::from_millis(40);

/// Looks until `look` finds a value. Its `Err` says what is there instead, for the error after `limit`.
pub fn until<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Result<T, String>) -> Result<T, Error> {
    let begin = Instant::now();
    loop {
        let seen = match look() {
            Ok(value) => return Ok(value),
            Err(seen) => seen,
        };
        if begin.elapsed() >= limit {
            return Err(Error::Late { what: what.to_owned(), limit, seen });
        }
        std::thread::sleep(BETWEEN_LOOKS);
    }
}
