//! `quantization-strategy-roster`: one model for each role on a server of 512 GB.

use super::{Number, number, rounded, unfounded, weights_tenths};

fn gb(model: &str, precision: &str) -> u64 {
    rounded(weights_tenths(model, precision), 10)
}

pub(super) fn numbers() -> Vec<Number> {
    let how = "parameters × bits ÷ 8";
    let judge = [gb("llama-3.1-70b", "Q8_0"), gb("llama-3.1-70b", "F16")];
    let coder = [15u64, 140];
    let rest = 7 + 58;
    vec![
        number("Llama 3.1 70B FP16, GB", "~140", "70 × 2 bytes", format!("~{}", 70 * 2)),
        number("the same, exactly, GB", "~140", "70.55 billion × 2 bytes", format!("~{}", judge[1])),
        number("of them at once in 512 GB", 3, "512 ÷ 141, cut", 512 / judge[1]),
        number("judge, Q8_0, GB", 75, how, judge[0]),
        number("coding specialist, Codestral 22B Q5_K_M, GB", 15, how, gb("codestral-22b", "Q5_K_M")),
        number(
            "coding specialist, DeepSeek-Coder-V2 236B Q4_K_M, GB",
            "~140",
            how,
            format!("~{}", gb("deepseek-coder-v2-236b", "Q4_K_M")),
        ),
        number("decision-makers, Llama 3.1 8B Q6_K, GB", 7, how, gb("llama-3.1-8b", "Q6_K")),
        number("analysts, Llama 3.1 70B Q6_K, GB", 58, how, gb("llama-3.1-70b", "Q6_K")),
        number("the crew at least, GB", "~280", "75 + 140 + 7 + 58", format!("~{}", 75 + coder[1] + rest)),
        number(
            "the crew at most, GB",
            "350",
            "140 + 140 + 7 + 58, rounded up to tens",
            (140 + coder[1] + rest).div_ceil(10) * 10,
        ),
        number(
            "the crew with the smaller of each, GB",
            "~280",
            "75 + 15 + 7 + 58",
            format!("~{}", 75 + coder[0] + rest),
        ),
        number(
            "Llama 3.1 405B quantised, GB",
            "~235",
            "405.85 billion in Q4_K_M",
            format!("~{}", gb("llama-3.1-405b", "Q4_K_M")),
        ),
        number(
            "models loaded at once, at least",
            5,
            "one more than its four roles: both choices of one role beside",
            4 + 1,
        ),
        unfounded("keep-alive", "-1", "a setting: here a pinned slot"),
    ]
}
