//! `model-sizing-guide`: another roster's host, from 64 GB to 1 TB.

use super::{Number, known, number, rounded, shape, tenths, unfounded, weights_tenths};
use crate::core::fit::guide::{GuideTier, MULTIPLIERS, budget, size_thousandths};

pub(super) fn numbers() -> Vec<Number> {
    let mut all = multipliers();
    all.extend(examples());
    all.extend(budgets());
    all.extend(configurations());
    all.extend(totals());
    all.extend(speeds());
    all
}

fn multipliers() -> Vec<Number> {
    let bits = [("F16", 16, "2.0x"), ("Q8_0", 8, "1.0x"), ("Q6_K", 6, "0.75x"), ("Q5_K_M", 5, "0.625x")];
    let low = [("Q4_K_M", 4, "0.5x"), ("Q3_K_M", 3, "0.375x"), ("Q2_K", 2, "0.25x")];
    let mut all: Vec<Number> = bits
        .into_iter()
        .chain(low)
        .map(|(name, bits, stated)| {
            let thousandths = bits * 1000 / 8;
            let trimmed = format!("{}.{:03}", thousandths / 1000, thousandths % 1000);
            let trimmed = trimmed.trim_end_matches('0').trim_end_matches('.');
            let found = if trimmed.contains('.') { format!("{trimmed}x") } else { format!("{trimmed}.0x") };
            assert!(MULTIPLIERS.contains(&(name, thousandths)));
            number(&format!("multiplier of {name}"), stated, &format!("{bits} bits ÷ 8"), found)
        })
        .collect();
    for (name, bits, _) in bits.into_iter().chain(low) {
        let real = known().precision(name).expect(name).millibits;
        let found = format!("{}.{}", rounded(u64::from(real), 100) / 10, rounded(u64::from(real), 100) % 10);
        let found = found.strip_suffix(".0").unwrap_or(&found).to_owned();
        all.push(number(
            &format!("bits per weight of {name}"),
            bits,
            "with its scales, from the format or measured",
            found,
        ));
    }
    all.push(unfounded("quality of each quantisation", "90–100 %", "measured elsewhere, on other models"));
    all
}

fn examples() -> Vec<Number> {
    let size = |tenths: u64| format!("~{}", rounded(size_thousandths(tenths, "Q4_K_M").expect("a multiplier"), 1000));
    vec![
        number("Qwen2.5-7B Q4_K_M, GB", "~4", "7 × 0.5 × 1.1", size(70)),
        number("Qwen2.5-32B Q4_K_M, GB", "~18", "32 × 0.5 × 1.1", size(320)),
        number("Qwen3-235B Q4_K_M, GB", "~130", "235 × 0.5 × 1.1, rounded to tens", {
            let whole = size_thousandths(2350, "Q4_K_M").expect("a multiplier");
            format!("~{}", rounded(whole, 10_000) * 10)
        }),
        number("Qwen3-480B Q4_K_M, GB", "~265", "480 × 0.5 × 1.1, rounded to fives", {
            let whole = size_thousandths(4800, "Q4_K_M").expect("a multiplier");
            format!("~{}", rounded(whole, 5_000) * 5)
        }),
    ]
}

fn budgets() -> Vec<Number> {
    let mut all = Vec::new();
    let stated = [(64, 38, 4, 34), (128, 93, 9, 84), (256, 202, 20, 182), (512, 420, 42, 378), (1024, 854, 85, 769)];
    for (total, available, hot, warm) in stated {
        let found = budget(total);
        let whole = rounded(found.available_tenths, 10);
        all.push(number(&format!("{total} GB: available"), available, "total − 16 − 15 % of it", whole));
        all.push(number(&format!("{total} GB: HOT"), hot, "a tenth of that", rounded(found.hot_tenths, 10)));
        let how = "available − HOT, both rounded";
        all.push(number(&format!("{total} GB: WARM"), warm, how, whole - rounded(found.hot_tenths, 10)));
    }
    let tier = |gib: u64| GuideTier::of(gib << 30).as_str();
    let edges =
        [(31, "dev-only"), (32, "minimal"), (63, "minimal"), (64, "basic"), (128, "standard"), (256, "production")];
    for (gib, stated) in edges.into_iter().chain([(512, "full")]) {
        all.push(number(&format!("tier of the script at {gib} GB"), stated, "`fit::guide::GuideTier`", tier(gib)));
    }
    // A machine sold with 64 GB shows 62 to `free -g`: then both agree.
    for (gib, stated) in [(64, "minimal"), (128, "basic"), (256, "standard"), (512, "production"), (1024, "full")] {
        let how = "the script's tier: the tables mean machines of so much, of which `free -g` shows one or two less";
        all.push(number(&format!("table headed with {gib} GB"), stated, how, tier(gib)));
        if gib < 1024 {
            all.push(number(
                &format!("the same, of which {} are shown", gib - 2),
                stated,
                "the script's tier",
                tier(gib - 2),
            ));
        }
    }
    all
}

fn configurations() -> Vec<Number> {
    let rows = [
        ("Qwen2.5-7B-Instruct Q4", "qwen2.5-7b", "Q4", "4"),
        ("Qwen3-Coder-30B Q4", "qwen3-coder-30b", "Q4", "18"),
        ("Qwen2.5-Coder-32B Q4", "qwen2.5-32b", "Q4", "20"),
        ("Qwen2.5-Coder-0.5B Q8", "qwen2.5-0.5b", "Q8", "0.5"),
        ("Qwen3-Next-80B Q4", "qwen3-next-80b", "Q4", "46"),
        ("Qwen2.5-VL-7B Q4", "qwen2.5-vl-7b", "Q4", "5"),
        ("Qwen3-235B Q4", "qwen3-235b", "Q4", "133"),
        ("Qwen3-Coder-480B Q4", "qwen3-coder-480b", "Q4", "~271"),
    ];
    let mut all: Vec<Number> = rows
        .into_iter()
        .map(|(what, model, precision, stated)| {
            let tenths_gb = weights_tenths(model, precision);
            let found = if tenths_gb < 10 { tenths(tenths_gb) } else { rounded(tenths_gb, 10).to_string() };
            let found = if stated.starts_with('~') { format!("~{found}") } else { found };
            number(&format!("{what}, GB"), stated, "parameters × bits ÷ 8", found)
        })
        .collect();
    let gib = |model: &str| (shape(model, "Q4").weights_bytes >> 30).to_string();
    all.push(number("Qwen3-235B Q4, GiB", 133, "the same ÷ 1024³, cut", gib("qwen3-235b")));
    all.push(number("Qwen3-Next-80B Q4, GiB", 45, "the same ÷ 1024³, cut", gib("qwen3-next-80b")));
    let both = rounded(weights_tenths("qwen2.5-7b", "F16") + weights_tenths("qwen2.5-0.5b", "Q8"), 10);
    all.push(number("Qwen2.5-7B f16 + 0.5B, GB", 16, "15.2 + 0.5", both));
    all
}

fn totals() -> Vec<Number> {
    vec![
        number("basic: total, GB", "~43", "18 + 20 + 4 + 0.5", format!("~{}", rounded(180 + 200 + 40 + 5, 10))),
        number("basic: remaining, GB", "~50", "93 − 43", format!("~{}", 93 - 43)),
        number(
            "standard: total HOT, GB",
            "~48",
            "18 + 20 + 4 + 5 + 0.5: ingest is not counted, so it is WARM",
            format!("~{}", rounded(180 + 200 + 40 + 50 + 5, 10)),
        ),
        number("standard: WARM available, GB", "~154", "202 − 48", format!("~{}", 202 - 48)),
        number(
            "production: total, GB",
            "~238",
            "18 + 20 + 16 + 5 + 133 + 46",
            format!("~{}", 18 + 20 + 16 + 5 + 133 + 46),
        ),
        number("production: remaining, GB", "~182", "420 − 238", format!("~{}", 420 - 238)),
        unfounded("system, GB", "8–16", "a rule of thumb; `sizing::ram_reserve_bytes` keeps 12, 10 or 8 % by tier"),
        unfounded(
            "llama.cpp overhead of one server, GB",
            "2–4",
            "measured instead: compute buffers and process take 0.1 to 0.6 GiB (`fednode fit`)",
        ),
        unfounded(
            "KV cache of a model, GB",
            "1–8",
            "it follows from layers, KV heads and context: `fednode fit` computes it",
        ),
        unfounded("safety buffer", "10–20 %", "a rule of thumb; the guide's own budget takes 15 %"),
    ]
}

fn speeds() -> Vec<Number> {
    let why = "estimates for hosts that are not described; `fednode assess` measures this one";
    let mut all = vec![unfounded("tokens per second by model size, eight rows", "4–120", why)];
    all.push(unfounded("speedups of four methods", "1.5–12x", "measured elsewhere; fednode has none of them"));
    all.push(unfounded(
        "AVX-512",
        "2–4x faster",
        "measured elsewhere; DESIGN: native instructions gain 65 % in the prompt",
    ));
    all
}
