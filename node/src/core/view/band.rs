//! How full memory is, in the four bands that warn of it (the seeds' study of model weights): the same for `/metrics`, its
//! alerts and the dashboard.

use super::DomainView;
use crate::core::sizing::Band;

impl DomainView {
    /// What managers may use: all but the reserve.
    pub fn usable_bytes(&self) -> u64 {
        self.total_bytes.saturating_sub(self.reserve_bytes)
    }

    /// What of it is used, by managers or by other programs that take more than the reserve.
    pub fn used_bytes(&self) -> u64 {
        self.usable_bytes().saturating_sub(self.free_bytes)
    }

    /// How full it is. A domain that may hold nothing is not full.
    pub fn band(&self) -> Band {
        if self.usable_bytes() == 0 { Band::Safe } else { Band::of(self.used_bytes(), self.usable_bytes()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_reserve_leaves_and_is_not_free_is_used() {
        let domain = DomainView { total_bytes: 32, reserve_bytes: 4, free_bytes: 7, ..DomainView::default() };
        assert_eq!((domain.usable_bytes(), domain.used_bytes(), domain.band()), (28, 21, Band::Caution));
        assert_eq!(DomainView::default().band(), Band::Safe);
    }
}
