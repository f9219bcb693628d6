//! How full memory is, in the four bands that warn of it (the seeds' study of model weights): the same for `/metrics`, its
//! alerts and the dashboard.

use super::DomainView;

/// How full a memory domain is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Band {
    /// Less than 60 %.
    Safe,
    /// From 60 %.
    Caution,
    /// From 75 %.
    Warning,
    /// From 90 %.
    Critical,
}

impl Band {
    /// Of `used` bytes out of `usable`.
    pub fn of(used: u64, usable: u64) -> Band {
        let percent = |share: u128| u128::from(used) * 100 >= u128::from(usable) * share;
        match usable {
            0 => Band::Safe,
            _ if percent(90) => Band::Critical,
            _ if percent(75) => Band::Warning,
            _ if percent(60) => Band::Caution,
            _ => Band::Safe,
        }
    }

    /// Its word: safe | caution | warning | critical.
    pub fn as_str(self) -> &'static str {
        match self {
            Band::Safe => "safe",
            Band::Caution => "caution",
            Band::Warning => "warning",
            Band::Critical => "critical",
        }
    }
}

impl DomainView {
    /// What managers may use: all but the reserve.
    pub fn usable_bytes(&self) -> u64 {
        self.total_bytes.saturating_sub(self.reserve_bytes)
    }

    /// What of it is used, by managers or by other programs that take more than the reserve.
    pub fn used_bytes(&self) -> u64 {
        self.usable_bytes().saturating_sub(self.free_bytes)
    }

    /// How full it is.
    pub fn band(&self) -> Band {
        Band::of(self.used_bytes(), self.usable_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bands_begin_at_60_75_and_90_percent() {
        let check = |used: u64, expect: &str| assert_eq!(Band::of(used, 1_000).as_str(), expect, "{used}");
        for (used, expect) in [(0, "safe"), (599, "safe"), (600, "caution"), (749, "caution"), (750, "warning")] {
            check(used, expect);
        }
        for (used, expect) in [(899, "warning"), (900, "critical"), (1_000, "critical"), (u64::MAX, "critical")] {
            check(used, expect);
        }
        assert_eq!(Band::of(0, 0), Band::Safe, "a domain that may hold nothing is not full");
    }

    #[test]
    fn what_the_reserve_leaves_and_is_not_free_is_used() {
        let domain = DomainView { total_bytes: 32, reserve_bytes: 4, free_bytes: 7, ..DomainView::default() };
        assert_eq!((domain.usable_bytes(), domain.used_bytes(), domain.band()), (28, 21, Band::Warning));
    }
}
