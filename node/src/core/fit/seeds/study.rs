//! `model-weight-storage-analysis`: three models, five GPUs, four precisions. What cannot be right in it is told by `--matrix` too.

use super::{Number, known, number, rounded, shape, tenths, unfounded};
use crate::core::fit::study::{Study, StudyRow, milli_gib, percent_of, root_term};
use crate::core::sizing::{Band, kv_bytes_per_token};
use crate::wire::fit::study;

pub(super) fn numbers() -> Vec<Number> {
    let study = study();
    let mut all = table(&study);
    all.extend(claims(&study));
    all.extend(shares(&study));
    all.extend(rest());
    all
}

fn rows(study: &Study) -> impl Iterator<Item = (u64, &StudyRow)> {
    study.models.iter().flat_map(|model| model.rows.iter().map(|row| (model.parameters, row)))
}

fn table(study: &Study) -> Vec<Number> {
    let weights = rows(study).filter(|(parameters, row)| {
        let stored = known().precision(&row.precision).cloned().expect("known");
        milli_gib(u128::from(stored.weights_bytes(*parameters))) == row.weights
    });
    let roots = rows(study).filter(|(parameters, row)| {
        let term = root_term(*parameters);
        (row.activation, row.kv) == (term, term)
    });
    let sums = rows(study).filter(|(_, row)| row.total.abs_diff(row.weights + row.activation + row.kv) <= 1);
    let usable = [22, 37, 75, 22, 45];
    let percents =
        rows(study).flat_map(|(_, row)| usable.into_iter().zip(&row.percent).map(move |cell| (row.total, cell)));
    let right = percents.filter(|(total, (gib, percent))| percent_of(*total, gib * 100) == u64::from(**percent));
    let ticks = rows(study).flat_map(|(_, row)| usable.into_iter().zip(&row.passes).map(move |cell| (row.total, cell)));
    let ticked = ticks.filter(|(total, (gib, passes))| (*total <= gib * 1000) == **passes);
    vec![
        number("12 weights, GiB", "12", "parameters × bits ÷ 8 ÷ 1024³", weights.count()),
        number(
            "24 activation and KV terms, GiB",
            "12 × 2",
            "√parameters × 2^18 ÷ 1024³: one number twice, of neither",
            format!("{} × 2", roots.count()),
        ),
        number("12 totals, GiB", "12", "their sum, rounded after adding", sums.count()),
        number(
            "60 percentages",
            "60",
            "total ÷ 22, 37, 75, 22, 45 GiB; A100 at 0.5B FP32 is 35 %, not 34",
            right.count(),
        ),
        number("60 ticks and crosses", "60", "total ≤ that memory", ticked.count()),
    ]
}

fn claims(study: &Study) -> Vec<Number> {
    let ticks: usize = rows(study).map(|(_, row)| row.passes.iter().filter(|tick| **tick).count()).sum();
    let saved = |row: usize| study.models[1].rows[0].weights - study.models[1].rows[row].weights;
    let overhead = study.models[0].rows[0].activation + study.models[0].rows[0].kv;
    vec![
        number("cases", 60, "3 × 5 × 4", 3 * 5 * 4),
        number("configurations that fit", 29, "the ticks of its tables, 20 + 5 + 2", ticks),
        number("success rate", "48.3 %", "27 ÷ 60", format!("{}.{} %", ticks * 1000 / 60 / 10, ticks * 1000 / 60 % 10)),
        number(
            "FP32, bytes per parameter",
            1,
            "26.077 GiB ÷ 7,000,000,000",
            rounded(26_077 * 1_073_742, 7_000_000_000),
        ),
        number(
            "FP16, bytes per parameter",
            2,
            "13.039 GiB ÷ 7,000,000,000",
            rounded(13_039 * 1_073_742, 7_000_000_000),
        ),
        number(
            "INT4 saves for 7B, GB",
            "22.8",
            "26.077 − 3.260",
            format!("{}.{}", rounded(saved(3), 100) / 10, rounded(saved(3), 100) % 10),
        ),
        number(
            "reduction FP32 → INT4",
            "87.5 %",
            "1 − 4 ÷ 32",
            format!("{}.{} %", (32 - 4) * 1000 / 32 / 10, (32 - 4) * 1000 / 32 % 10),
        ),
        number("reduction FP32 → INT8", "75 %", "1 − 8 ÷ 32", format!("{} %", (32 - 8) * 100 / 32)),
        number("reduction FP32 → FP16", "50 %", "1 − 16 ÷ 32", format!("{} %", (32 - 16) * 100 / 32)),
        number(
            "fixed overhead of 0.5B, GB",
            "~10.9",
            "5.459 + 5.459",
            format!("~{}.{}", overhead / 1000, overhead % 1000 / 100),
        ),
        number(
            "activation + KV overhead, GB",
            "21.8",
            "5.459 × 2, 20.426 × 2, 27.836 × 2: none is 21.8, which is 5.459 × 4",
            overheads(study),
        ),
        number(
            "KV cache of a 7B with 32 KV heads at 2,048 tokens, GB",
            "20.43",
            "2 × 32 × 32 × 128 × 2 bytes × 2,048",
            keys("llama-2-7b"),
        ),
        number(
            "KV cache of a 13B with 40 KV heads, GB",
            "27.84",
            "2 × 40 × 40 × 128 × 2 bytes × 2,048",
            keys("llama-2-13b"),
        ),
        number("KV cache of Qwen2.5-0.5B, GB", "5.46", "2 × 24 × 2 × 64 × 2 bytes × 2,048", keys("qwen2.5-0.5b")),
        number("KV cache of Qwen2.5-7B, GB", "20.43", "2 × 28 × 4 × 128 × 2 bytes × 2,048", keys("qwen2.5-7b")),
    ]
}

/// Keys and values of 2,048 tokens, hundredths of a GiB.
fn keys(model: &str) -> String {
    let hundredths = rounded(kv_bytes_per_token(&shape(model, "FP16")) * 2048 * 100, 1 << 30);
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

/// Twice the term of each model, tenths.
fn overheads(study: &Study) -> String {
    let twice = study.models.iter().map(|model| tenths(rounded(2 * model.rows[0].kv, 100)));
    twice.collect::<Vec<_>>().join(", ")
}

/// Percentages that the text says of its own tables.
fn shares(study: &Study) -> Vec<Number> {
    let row = |model: usize, precision: usize| &study.models[model].rows[precision];
    let rate = |model: usize, gpu: usize| {
        let passing = study.models[model].rows.iter().filter(|row| row.passes[gpu]).count();
        format!("{} %", passing * 100 / 4)
    };
    let range = |gpu: usize| {
        let of: Vec<u32> = study.models[0].rows.iter().map(|row| row.percent[gpu]).collect();
        format!("{}-{} %", of.iter().min().expect("rows"), of.iter().max().expect("rows"))
    };
    let from = "least and most of its table";
    let table = "its own table";
    vec![
        number("0.5B on RTX 3090", "50-58 %", from, range(0)),
        number("0.5B on RTX 4090", "50-58 %", from, range(3)),
        number("0.5B on A100", "30-35 %", from, range(1)),
        number("0.5B on L40", "24-28 %", from, range(4)),
        number("0.5B on H100", "14-17 %", from, range(2)),
        number("0.5B INT4 on RTX 3090", "50 %", table, format!("{} %", row(0, 3).percent[0])),
        number("7B: success on RTX 3090, RTX 4090, A100", "0 %", "ticks ÷ 4", rate(1, 1)),
        number("7B: success on L40", "20 %", "1 tick ÷ 4", rate(1, 4)),
        number("7B: success on H100", "100 %", "ticks ÷ 4", rate(1, 2)),
        number("13B: success on H100", "50 %", "ticks ÷ 4", rate(2, 2)),
        number(
            "7B FP32 and INT4 on H100",
            "89 % and 59 %",
            table,
            format!("{} % and {} %", row(1, 0).percent[2], row(1, 3).percent[2]),
        ),
        number("7B FP16 on A100", "145 %", table, format!("{} %", row(1, 1).percent[1])),
        number("7B FP16 on H100", "72 %", table, format!("{} %", row(1, 1).percent[2])),
        number(
            "7B INT4 on L40 and A100",
            "98 % and 119 %",
            table,
            format!("{} % and {} %", row(1, 3).percent[4], row(1, 3).percent[1]),
        ),
        number(
            "13B INT4 and INT8 on H100",
            "82 % and 90 %",
            table,
            format!("{} % and {} %", row(2, 3).percent[2], row(2, 2).percent[2]),
        ),
    ]
}

fn rest() -> Vec<Number> {
    let year = |cents: u64| cents * 24 * 365 / 100;
    let bands = [60, 75, 90, 91].map(|percent| Band::of(percent, 100).as_str()).join(", ");
    vec![
        number("thresholds at 60, 75, 90 and 91 %", "safe, caution, warning, critical", "`sizing::Band`", bands),
        number("H100 a year, $", 43_636, "4.98 × 24 × 365", year(498)),
        number("A100 a year, $", 12_781, "1.46 × 24 × 365", year(146)),
        number("RTX 3090 a year, $", 4380, "0.50 × 24 × 365", year(50)),
        unfounded(
            "memory for each sequence more, GB",
            "~5.5",
            "its KV term, which is none; a sequence of 2,048 tokens takes 24 MiB with Qwen2.5-0.5B",
        ),
        unfounded("inference speed gain of INT4", "2.5–4x", "not measured in it, and no formula is stated"),
        unfounded("accuracy lost by INT4", "5–10 %", "not measured in it; managers are never quantised"),
        unfounded("calibration samples", "100–200", "a rule of thumb"),
    ]
}
