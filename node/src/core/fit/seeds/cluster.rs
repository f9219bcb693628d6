//! `cluster-model-selection-guide`: two machines of 512 and 256 GB as one, models in 4 bits.

use super::{Number, known, number, rounded, shape, tenths, unfounded, weights_tenths};
use crate::core::fit::place::millitokens;

const TOTAL: u64 = 768;

pub(super) fn numbers() -> Vec<Number> {
    let mut all = sizes();
    all.extend(memory());
    all.extend(speeds());
    all.extend(rest());
    all
}

/// Whole gigabytes from ten upwards, tenths below.
fn size(model: &str, precision: &str) -> String {
    let tenths_gb = weights_tenths(model, precision);
    if tenths_gb < 100 { tenths(tenths_gb) } else { rounded(tenths_gb, 10).to_string() }
}

fn sizes() -> Vec<Number> {
    let four = "parameters × 4.5 bits ÷ 8: groups of 64 with scale and bias in F16";
    vec![
        number("DeepSeek V3 4-bit, GB", 378, four, size("deepseek-v3", "MLX-4BIT")),
        number("DeepSeek V3 8-bit, GB", 712, "parameters × 8.5 bits ÷ 8", size("deepseek-v3", "MLX-8BIT")),
        number("Llama 3.1 70B 4-bit, GB", 38, four, size("llama-3.1-70b", "MLX-4BIT")),
        number("Llama 3.1 8B 4-bit, GB", "4.5", four, size("llama-3.1-8b", "MLX-4BIT")),
        number(
            "Llama 3.2 1B 4-bit, GB",
            "1.24",
            "parameters × 4.5 bits ÷ 8; 1.24 is its billions of parameters",
            size("llama-3.2-1b", "MLX-4BIT"),
        ),
        number("parameters of Llama 3.2 1B, billions", "1.24", "counted from its settings", {
            let hundredths = rounded(shape("llama-3.2-1b", "F16").parameters, 10_000_000);
            format!("{}.{:02}", hundredths / 100, hundredths % 100)
        }),
        number(
            "DeepSeek V3, billions of parameters",
            671,
            "counted from its settings",
            rounded(shape("deepseek-v3", "F16").parameters, 1_000_000_000),
        ),
        number("Qwen2.5-Coder-32B, GB", 18, four, size("qwen2.5-32b", "MLX-4BIT")),
        number("Mistral Large, GB", 67, four, size("mistral-large", "MLX-4BIT")),
        number("Mixtral 8x22B, GB", 87, four, size("mixtral-8x22b", "MLX-4BIT")),
    ]
}

/// Of the cluster's memory, in tenths of gigabytes.
fn share(tenths_gb: u64) -> String {
    format!("{} %", rounded(tenths_gb * 10, TOTAL))
}

fn memory() -> Vec<Number> {
    let sums = [3780, 4160, 4205, 4217];
    let mut all = vec![
        number("total memory, GB", 768, "512 + 256", 512 + 256),
        number("DeepSeek V3 4-bit alone, remaining, GB", 390, "768 − 378", TOTAL - 378),
        number("DeepSeek V3 beside Llama 70B, GB", 416, "378 + 38", 378 + 38),
        number("all four, GB", 422, "378 + 38 + 4.5 + 1.2", rounded(sums[3], 10)),
        number("safe zone, GB", 537, "70 % of 768, cut", TOTAL * 70 / 100),
        number("700 GB", "92 %", "700 ÷ 768", share(7000)),
        number("DeepSeek V3 8-bit", "93 %", "712 ÷ 768", share(7120)),
        number("DeepSeek V3 8-bit, remaining, GB", 56, "768 − 712", TOTAL - 712),
        number("overhead", "7 %", "50 ÷ 768", share(500)),
        number("free buffer, GB", 296, "768 − 378 − 38 − 4.5 − 1.2 − 50", rounded(TOTAL * 10 - sums[3] - 500, 10)),
        number("free buffer", "39 %", "296 ÷ 768", share(2960)),
        number("Llama 70B", "5 %", "38 ÷ 768", share(380)),
    ];
    let stated = [("49 %", 390), ("54 %", 352), ("55 %", 347), ("55 %", 346)];
    for ((percent, left), (sum, row)) in stated.into_iter().zip(sums.into_iter().zip(1..)) {
        let how = format!("{} ÷ 768", tenths(sum));
        all.push(number(&format!("row {row}: utilisation"), percent, &how, share(sum)));
        let how = format!("768 − {}, cut", tenths(sum));
        all.push(number(&format!("row {row}: remaining, GB"), left, &how, (TOTAL * 10 - sum) / 10));
    }
    all
}

/// Tokens per second at most where each reads all that it is computed with once.
fn bound(model: &str, bytes_per_s: u64) -> String {
    let known = known();
    let model = known.preset(model).expect(model).model().expect(model);
    let read = known.precision("MLX-4BIT").expect("known").weights_bytes(model.active_parameters);
    format!("≤ {}", rounded(millitokens(bytes_per_s, read).expect("both are known"), 1000))
}

fn speeds() -> Vec<Number> {
    let machine = 819_000_000_000;
    let how = "819 GB/s of an M3 Ultra ÷ what a token reads in 4.5 bits";
    vec![
        number(
            "DeepSeek V3, tokens/s on two",
            "161.5",
            "2 × 819 GB/s ÷ the 37.6 billion parameters of a token in 4.5 bits",
            bound("deepseek-v3", 2 * machine),
        ),
        number("Llama 70B, tokens/s", "~1500", how, bound("llama-3.1-70b", machine)),
        number("Llama 8B, tokens/s", "~3000", how, bound("llama-3.1-8b", machine)),
        number("Llama 1B, tokens/s", "~5000", how, bound("llama-3.2-1b", machine)),
        number(
            "500 tokens of DeepSeek V3, s",
            "~6",
            "500 ÷ 161.5 + 2 to 3 for the first",
            format!("~{}", rounded(500 * 100, 1615) / 10 + 3),
        ),
        number("70B faster than DeepSeek V3, times", "~10", "1500 ÷ 161.5", format!("~{}", rounded(15_000, 1615))),
        number("latency, times better", "7x", "0.7 ms ÷ 100 µs", format!("{}x", 700 / 100)),
        number("bandwidth, times better", "8x", "80 ÷ 10 Gbit/s", format!("{}x", 80 / 10)),
        unfounded(
            "speedup by RDMA",
            "2–3x",
            "special hardware; its own overheads, 30–40 % and 10–15 %, make at most 1.3x of compute",
        ),
    ]
}

fn rest() -> Vec<Number> {
    vec![
        number(
            "saved a year, 100M tokens, $",
            "1000-1500",
            "100 × $10 to 100 × $15",
            format!("{}-{}", 100 * 10, 100 * 15),
        ),
        number(
            "context of DeepSeek V3, tokens",
            "64k",
            "a choice: its settings allow more",
            format!("{}k", 65_536 / 1024),
        ),
        unfounded("download times", "1–60 min", "of a line that is not stated"),
        unfounded("electricity, $ an hour", "~0.50", "neither watts nor price are stated"),
    ]
}
