//! Headroom: how full a memory is, in the four bands that alerts, bars and verdicts speak of.

use serde::{Deserialize, Serialize};

/// How full a memory is, of what models may use of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Band {
    /// Up to 60 %: normal operation.
    Safe,
    /// Above 60, up to 75 %: watch it.
    Caution,
    /// Above 75, up to 90 %: take load away.
    Warning,
    /// Above 90 %: the next long prompt may be the one that does not fit.
    Critical,
}

impl Band {
    /// The band of `used_bytes` of `usable_bytes`. Nothing usable is critical.
    pub fn of(used_bytes: u64, usable_bytes: u64) -> Band {
        let within = |percent: u128| u128::from(used_bytes) * 100 <= u128::from(usable_bytes) * percent;
        match usable_bytes {
            0 => Band::Critical,
            _ if within(60) => Band::Safe,
            _ if within(75) => Band::Caution,
            _ if within(90) => Band::Warning,
            _ => Band::Critical,
        }
    }

    /// The word used in JSON and for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Band::Safe => "safe",
            Band::Caution => "caution",
            Band::Warning => "warning",
            Band::Critical => "critical",
        }
    }
}

/// `used_bytes` of `usable_bytes` in percent, rounded half up; `u32::MAX` of nothing.
pub fn percent(used_bytes: u64, usable_bytes: u64) -> u32 {
    let hundredfold = u128::from(used_bytes) * 100 + u128::from(usable_bytes / 2);
    hundredfold
        .checked_div(u128::from(usable_bytes))
        .and_then(|percent| u32::try_from(percent).ok())
        .unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bands_begin_just_above_60_75_and_90_percent() {
        let check = |used, expect| assert_eq!(Band::of(used, 1000), expect, "{used}");
        check(0, Band::Safe);
        check(600, Band::Safe);
        check(601, Band::Caution);
        check(750, Band::Caution);
        check(751, Band::Warning);
        check(900, Band::Warning);
        check(901, Band::Critical);
        check(5000, Band::Critical);
        assert_eq!(Band::of(0, 0), Band::Critical);
        assert_eq!(Band::of(u64::MAX, u64::MAX), Band::Critical);
    }

    #[test]
    fn percents_are_rounded() {
        assert_eq!((percent(1, 3), percent(2, 3), percent(5, 1000), percent(1, 0)), (33, 67, 1, u32::MAX));
    }
}
