//! Hardware tiers (DESIGN 1), and what follows from them unless the owner says otherwise: whether a machine hosts managers at
//! all, and how much of its memory stays with the system and his other programs. ARCHITECTURE.md has the table.

use serde::Serialize;

const GB: u64 = 1_000_000_000;
/// Disk that a full node needs: the seven managers of the reference roster take 94.4 GB, and their exchange some room more.
const DISK_BYTES_MIN: u64 = 120 * GB;
/// Of host memory at least: the system itself.
const RESERVE_BYTES_MIN: u64 = 2 << 30;
/// Of a GPU's memory: display and driver.
pub const VRAM_RESERVE_BYTES: u64 = 512 << 20;

/// What a machine is good for, by the largest memory domain that can host, in decimal gigabytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tier {
    /// Below 20 GB, or with less than 120 GB of disk: no manager fits.
    Delegate,
    /// From 20 GB: one manager at the default context.
    Minimum,
    /// From 32 GB: one manager at 16,384 tokens.
    Standard,
    /// From 64 GB: three.
    HighEnd,
    /// From 128 GB: all seven resident.
    Griffith,
}

impl Tier {
    /// The tier of a machine whose largest memory domain has `total_bytes`.
    pub fn of(total_bytes: u64) -> Tier {
        match total_bytes / GB {
            0..20 => Tier::Delegate,
            20..32 => Tier::Minimum,
            32..64 => Tier::Standard,
            64..128 => Tier::HighEnd,
            _ => Tier::Griffith,
        }
    }

    /// The same with the disk under its store, or what of it the owner allows; 0: not known, and not held against it. The size
    /// counts and not what is free, so that a store which fills up does not change what a machine is.
    pub fn with_disk(total_bytes: u64, disk_bytes: u64) -> Tier {
        if disk_bytes != 0 && disk_bytes < DISK_BYTES_MIN { Tier::Delegate } else { Tier::of(total_bytes) }
    }

    /// Does such a machine host managers, unless its owner says otherwise?
    pub fn hosts(self) -> bool {
        self != Tier::Delegate
    }

    /// Of host memory what stays with the system and other programs. A desktop's browser and editor grow with its memory; on
    /// larger machines they do not grow as fast, and a Griffith does little else.
    fn reserve_percent(self) -> u64 {
        match self {
            Tier::Delegate | Tier::Minimum | Tier::Standard => 12,
            Tier::HighEnd => 10,
            Tier::Griffith => 8,
        }
    }

    /// The word used in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Tier::Delegate => "delegate",
            Tier::Minimum => "minimum",
            Tier::Standard => "standard",
            Tier::HighEnd => "high-end",
            Tier::Griffith => "griffith",
        }
    }
}

/// What of host memory of `total_bytes` is kept for the system and other programs: its tier's part, at least 2 GiB.
pub fn ram_reserve_bytes(total_bytes: u64) -> u64 {
    let part = (u128::from(total_bytes) * u128::from(Tier::of(total_bytes).reserve_percent())).div_ceil(100);
    u64::try_from(part).unwrap_or(u64::MAX).max(RESERVE_BYTES_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::sizing::footprint;
    use crate::core::sizing::tests::reference;

    /// What a manager of the reference roster takes at its default context.
    fn manager_bytes() -> u64 {
        footprint(&reference(), 4096, 1, 0).total_bytes()
    }

    /// Managers that fit beside the reserve.
    fn managers(total_bytes: u64) -> u64 {
        (total_bytes - ram_reserve_bytes(total_bytes)) / manager_bytes()
    }

    #[test]
    fn tiers_begin_where_the_design_says() {
        for (from, tier, below) in [
            (20, Tier::Minimum, Tier::Delegate),
            (32, Tier::Standard, Tier::Minimum),
            (64, Tier::HighEnd, Tier::Standard),
            (128, Tier::Griffith, Tier::HighEnd),
        ] {
            assert_eq!((Tier::of(from * GB), Tier::of(from * GB - 1)), (tier, below));
        }
    }

    #[test]
    fn a_machine_with_a_small_disk_delegates_and_one_whose_disk_is_not_known_does_not() {
        let check = |memory_gb: u64, disk_bytes: u64, tier: Tier| {
            assert_eq!(Tier::with_disk(memory_gb * GB, disk_bytes), tier);
            assert_eq!(tier.hosts(), tier != Tier::Delegate);
        };
        check(20, 120 * GB, Tier::Minimum);
        check(20, 120 * GB - 1, Tier::Delegate);
        check(128, 119 * GB, Tier::Delegate);
        check(128, 1000 * GB, Tier::Griffith);
        check(32, 0, Tier::Standard);
        check(16, 1000 * GB, Tier::Delegate);
    }

    #[test]
    fn at_the_lower_end_of_each_tier_fits_what_it_promises() {
        for (from, count) in [(20, 1), (32, 1), (64, 3), (128, 7)] {
            assert_eq!(managers(from * GB), count, "{from} GB");
        }
        // Two managers of 15.3 GiB and a desktop do not fit into 32 GB (nor into 32 GiB).
        assert_eq!(managers(32 << 30), 1);
    }

    #[test]
    fn the_reserve_of_each_tier() {
        let tenths = |total: u64| (ram_reserve_bytes(total) * 10 + (1 << 29)) >> 30;
        for (total, expect) in [
            (8 << 30, 20),
            (16 << 30, 20),
            (20 * GB, 22),
            (32 * GB, 36),
            (64 * GB, 60),
            (128 * GB, 95),
            (256 * GB, 191),
        ] {
            assert_eq!(tenths(total), expect, "{total}");
        }
    }

    #[test]
    fn more_memory_never_leaves_less_for_managers() {
        let room = |gb: u64| (gb * GB).saturating_sub(ram_reserve_bytes(gb * GB));
        assert!((1..2_000).all(|gb| room(gb + 1) >= room(gb)));
        let edge = |gb: u64| (gb * GB - 1) - ram_reserve_bytes(gb * GB - 1) <= room(gb);
        assert!([20, 32, 64, 128].into_iter().all(edge));
    }
}
