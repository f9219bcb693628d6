//! The sizing guide's own rules for hosts of many models: its tiers, its budget, its decision tree, its formula of a model's size.
//! They are rules of thumb beside `sizing`'s footprints: `assess` tells both.

use serde::Serialize;

/// The guide's tiers, by what `free -g` prints: whole GiB.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum GuideTier {
    /// Below 32.
    DevOnly,
    /// From 32.
    Minimal,
    /// From 64.
    Basic,
    /// From 128.
    Standard,
    /// From 256.
    Production,
    /// From 512.
    Full,
}

impl GuideTier {
    /// The tier of so much memory.
    pub fn of(total_bytes: u64) -> GuideTier {
        match total_bytes >> 30 {
            0..32 => GuideTier::DevOnly,
            32..64 => GuideTier::Minimal,
            64..128 => GuideTier::Basic,
            128..256 => GuideTier::Standard,
            256..512 => GuideTier::Production,
            _ => GuideTier::Full,
        }
    }

    /// The word used in JSON and for people.
    pub fn as_str(self) -> &'static str {
        match self {
            GuideTier::DevOnly => "dev-only",
            GuideTier::Minimal => "minimal",
            GuideTier::Basic => "basic",
            GuideTier::Standard => "standard",
            GuideTier::Production => "production",
            GuideTier::Full => "full",
        }
    }

    /// What the guide's decision tree says.
    pub fn advice(self) -> &'static str {
        match self {
            // The guide says "mock mode", which does not exist here.
            GuideTier::DevOnly => "models of 0.5B to 1.5B, or delegate",
            GuideTier::Minimal => "a single 7B model for all roles",
            GuideTier::Basic => "frontdoor and workers only, no architects",
            GuideTier::Standard => "the full HOT tier and one WARM model: ingest or an architect",
            GuideTier::Production => "the full HOT tier, architect_general and ingest",
            GuideTier::Full => "full deployment: all roles populated",
        }
    }
}

/// The guide's budget, in tenths of its gigabytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Budget {
    /// 15 % of all.
    pub safety_tenths: u64,
    /// All, less 16 for the system, less the safety buffer.
    pub available_tenths: u64,
    /// A tenth of that: always resident.
    pub hot_tenths: u64,
    /// The rest: on demand.
    pub warm_tenths: u64,
}

/// The guide's `calculate_model_budget`.
pub fn budget(total_gb: u64) -> Budget {
    let total = total_gb.saturating_mul(10);
    let safety = total_gb.saturating_mul(3).div_ceil(2);
    let available = total.saturating_sub(160).saturating_sub(safety);
    let hot = (available + 5) / 10;
    Budget { safety_tenths: safety, available_tenths: available, hot_tenths: hot, warm_tenths: available - hot }
}

/// The guide's multipliers for 1,000 millionths of parameters: thousandths of a gigabyte for each billion.
pub const MULTIPLIERS: [(&str, u64); 7] =
    [("F16", 2000), ("Q8_0", 1000), ("Q6_K", 750), ("Q5_K_M", 625), ("Q4_K_M", 500), ("Q3_K_M", 375), ("Q2_K", 250)];

/// The guide's size of a model of so many tenths of a billion parameters: × multiplier × 1.1, in thousandths of a gigabyte.
pub fn size_thousandths(tenths_of_billions: u64, precision: &str) -> Option<u64> {
    let (_, multiplier) = MULTIPLIERS.iter().find(|(name, _)| *name == precision)?;
    Some(tenths_of_billions.saturating_mul(*multiplier).saturating_mul(11) / 100)
}
