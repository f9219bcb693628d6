//! `full-fp16-federation`: the governing document. Seven managers at FP16.

use super::{Number, number, rounded, shape, tenths, unfounded, weights_tenths};
use crate::core::sizing::{Tier, footprint, ram_reserve_bytes};

const GIB: u64 = 1 << 30;
const GB: u64 = 1_000_000_000;

pub(super) fn numbers() -> Vec<Number> {
    let mut all = weights();
    all.extend(machines());
    all
}

fn weights() -> Vec<Number> {
    let manager = shape("manager", "F16");
    let at = |context: u32| rounded(footprint(&manager, context, 1, 0).total_bytes() * 10, GIB);
    vec![
        number("parameters of one manager, GB", "~13.4", "6.7 × 2 bytes", format!("~{}", tenths(67 * 2))),
        number(
            "the same, exactly",
            "~13.4",
            "6,740,512,768 × 2 bytes and norms in F32",
            format!("~{}", tenths(weights_tenths("manager", "F16"))),
        ),
        number(
            "one manager with overhead, GB",
            "16–18",
            "13.4 + 2 to 13.4 + 4, rounded",
            format!("{}–{}", rounded(134 + 20, 10), rounded(134 + 40, 10)),
        ),
        number(
            "the same as engines need it, GiB",
            "16–18",
            "weights + KV + compute + overhead at 4,096 to 16,384 tokens",
            format!("{}–{}", tenths(at(4096)), tenths(at(16_384))),
        ),
        number("seven managers, GB", "~119", "7 × 17", format!("~{}", 7 * 17)),
        number(
            "the same as engines need them at 4,096 tokens, GiB",
            "~119",
            "7 × footprint",
            format!("~{}", tenths(rounded(7 * footprint(&manager, 4096, 1, 0).total_bytes() * 10, GIB))),
        ),
        number("the earlier plan's seven managers, GB", 35, "7 × 5", 7 * 5),
        number("storage for seven managers, GB", 112, "7 × 16", 7 * 16),
        number(
            "the same on disk: weights alone, GB",
            112,
            "7 × 13.48",
            tenths(rounded(7 * manager.weights_bytes * 10, GB)),
        ),
        number("larger than quantised, times", 4, "16 GB ÷ 4 GB", 16 / 4),
        unfounded(
            "loading time, s",
            "20–60",
            "an estimate: it is measured by `fednode bench load`, and `assess` says what to expect here",
        ),
        unfounded("loading time of quantised models, s", "5–30", "an estimate"),
        unfounded("training, h a week", "58", "a budget of cloud hours, no figure about models"),
    ]
}

/// How many managers fit beside the reserve.
fn managers(total_bytes: u64) -> u64 {
    let manager = footprint(&shape("manager", "F16"), 4096, 1, 0).total_bytes();
    total_bytes.saturating_sub(ram_reserve_bytes(total_bytes)) / manager
}

fn machines() -> Vec<Number> {
    let tier = |gb: u64| Tier::of(gb * GB).as_str();
    let fits = "(memory − reserve) ÷ footprint at 4,096 tokens";
    vec![
        number("minimum full node: managers in 20 GB", 1, fits, managers(20 * GB)),
        number("standard full node: managers in 32 GB", "1-2", fits, managers(32 * GB)),
        number("high-end full node: managers in 64 GB", "3-4", fits, managers(64 * GB)),
        number("high-end full node: managers in 64 GiB", "3-4", fits, managers(64 * GIB)),
        number("Griffith: managers in 128 GB", 7, fits, managers(128 * GB)),
        number("two specialists of 16–18 GB on a node of 32 GB, GB together", 32, "2 × 17", 2 * 17),
        number("tier of 20 GB", "minimum", "`sizing::Tier`", tier(20)),
        number("tier of 32 GB", "standard", "`sizing::Tier`", tier(32)),
        number("tier of 64 GB", "high-end", "`sizing::Tier`", tier(64)),
        number("tier of 128 GB", "griffith", "`sizing::Tier`", tier(128)),
        number("managers that fit in a MacBook of 16 GB", 0, fits, managers(16 * GB)),
        number(
            "weights of one manager fit in a P100 or V100 of 16 GB",
            "yes",
            "13.48 GB < 16 GiB, for training without its optimiser",
            if shape("manager", "F16").weights_bytes < 16 * GIB { "yes" } else { "no" },
        ),
    ]
}
