//! Where the study's own figures cannot be right, each with the arithmetic. Everything is computed from its table and from real
//! models' shapes; nothing here is a matter of opinion.

use serde::Serialize;

use super::{Study, StudyError, StudyModel};
use crate::core::artifact::Shape;
use crate::core::fit::Known;
use crate::core::sizing::kv_bytes_per_token;

/// Bytes of a thousandth of a GiB.
const MILLI_GIB: u128 = 1 << 30;

/// One thing that cannot be right.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Doubt {
    /// What the study says.
    pub claim: String,
    /// Why it cannot be, with the numbers.
    pub why: String,
}

/// Usable memory, in hundredths of a GiB, for which the most percentages of one GPU's column come out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Usable {
    pub from: u64,
    pub to: u64,
    pub right: usize,
    pub cells: usize,
}

/// All of them.
pub(super) fn doubts(study: &Study, known: &Known) -> Result<Vec<Doubt>, StudyError> {
    let mut shapes = Vec::new();
    for model in &study.models {
        let preset = known.preset(&model.preset).ok_or_else(|| StudyError::Name(model.preset.clone()))?;
        shapes.push((model, preset.model()?.shape));
    }
    let mut found = vec![bytes_of_fp32(study), one_number_twice(study), activations(&shapes), keys(study, &shapes)];
    found.extend(overhead(study));
    found.push(passing(study));
    found.extend(columns(study));
    Ok(found)
}

/// Thousandths as a decimal number.
pub(super) fn milli(number: u64) -> String {
    format!("{}.{:03}", number / 1000, number % 1000)
}

/// Bytes in thousandths of a GiB, rounded half up.
pub(in crate::core::fit) fn milli_gib(bytes: u128) -> u64 {
    u64::try_from((bytes * 1000 + MILLI_GIB / 2) / MILLI_GIB).unwrap_or(u64::MAX)
}

/// What the study's activation and KV columns are: √parameters × 2^18 bytes.
pub(in crate::core::fit) fn root_term(parameters: u64) -> u64 {
    // √p · 2^18 = √(p · 2^36).
    milli_gib((u128::from(parameters) << 36).isqrt())
}

fn bytes_of_fp32(study: &Study) -> Doubt {
    let model = &study.models[study.models.len() / 2];
    let row = &model.rows[0];
    let parameters = u128::from(model.parameters.max(1));
    let tenths = (u128::from(row.weights) * MILLI_GIB / 100 + parameters / 2) / parameters;
    Doubt {
        claim: format!("{}: 1 byte per parameter", row.precision),
        why: format!(
            "its own table has {} GiB for {} parameters, which is {}.{} bytes each",
            milli(row.weights),
            thousands(model.parameters),
            tenths / 10,
            tenths % 10
        ),
    }
}

fn one_number_twice(study: &Study) -> Doubt {
    let rows = || study.models.iter().flat_map(|model| &model.rows);
    let alike = rows().filter(|row| row.activation == row.kv).count();
    Doubt {
        claim: "activations and KV cache are two terms".to_owned(),
        why: format!("in {alike} of {} rows they are the same number, which is added twice", rows().count()),
    }
}

fn activations(shapes: &[(&StudyModel, Shape)]) -> Doubt {
    let term = |(model, shape): &(&StudyModel, Shape)| {
        format!(
            "{}: √{} = {}, × 2^18 bytes = {} GiB (a real one is {} wide)",
            model.label,
            thousands(model.parameters),
            thousands(model.parameters.isqrt()),
            milli(root_term(model.parameters)),
            thousands(u64::from(shape.embedding)),
        )
    };
    let terms: Vec<String> = shapes.iter().map(term).collect();
    Doubt {
        claim: "activation memory is batch × sequence × hidden × 2 bytes, times layers × overhead".to_owned(),
        why: format!(
            "the numbers are those of a hidden size of √parameters, times 128 bytes for each of 2,048 tokens. {}",
            terms.join("; ")
        ),
    }
}

fn keys(study: &Study, shapes: &[(&StudyModel, Shape)]) -> Doubt {
    let tokens = u64::from(study.tokens);
    let term = |(model, shape): &(&StudyModel, Shape)| {
        let bytes = kv_bytes_per_token(shape) * tokens;
        format!(
            "{}: 2 × {} × {} × {} × 2 bytes × {} tokens = {} GiB, not {}",
            model.label,
            shape.layers,
            shape.kv_heads,
            shape.head_dim,
            thousands(tokens),
            milli(milli_gib(u128::from(bytes))),
            milli(model.rows[0].kv)
        )
    };
    let terms: Vec<String> = shapes.iter().map(term).collect();
    Doubt {
        claim: "the KV cache of a sequence is 2 × hidden × batch × sequence".to_owned(),
        why: format!(
            "that is one layer's, of one byte each; a cache has every layer, its KV heads and F16. {}",
            terms.join("; ")
        ),
    }
}

/// "Activation + KV cache (21.8GB overhead)".
fn overhead(study: &Study) -> Option<Doubt> {
    let smallest = study.models.first()?.rows.first()?;
    let sums: Vec<String> = study.models.iter().map(|model| milli(2 * model.rows[0].kv)).collect();
    Some(Doubt {
        claim: "activation and KV cache are 21.8 GB of overhead".to_owned(),
        why: format!(
            "its tables have {} GiB; 21.8 is four times the {} of its smallest model",
            sums.join(", "),
            milli(smallest.kv)
        ),
    })
}

fn passing(study: &Study) -> Doubt {
    let ticks = |model: &StudyModel| model.rows.iter().flat_map(|row| &row.passes).filter(|tick| **tick).count();
    let each: Vec<usize> = study.models.iter().map(ticks).collect();
    let cases: usize = study.models.iter().flat_map(|model| &model.rows).map(|row| row.passes.len()).sum();
    let sum: usize = each.iter().sum();
    let terms: Vec<String> = each.iter().map(usize::to_string).collect();
    let permille = |count: usize| (count * 1000 + cases / 2) / cases.max(1);
    let percent = |count: usize| format!("{}.{} %", permille(count) / 10, permille(count) % 10);
    Doubt {
        claim: format!("{} of {cases} configurations fit ({})", study.stated_passing, percent(study.stated_passing)),
        why: format!("its tables tick {} = {sum} of {cases} ({})", terms.join(" + "), percent(sum)),
    }
}

/// Percentages that no memory explains, and what memory the others were taken of.
fn columns(study: &Study) -> Vec<Doubt> {
    let mut found = Vec::new();
    for (index, gpu) in study.gpus.iter().enumerate() {
        let usable = usable(study, index);
        if usable.right < usable.cells {
            let wrong: Vec<String> = wrong(study, index, usable.from);
            found.push(Doubt {
                claim: format!("the percentages of {} are of one usable memory", gpu.column),
                why: format!(
                    "{} of {} are, of {} to {} GiB; of that much {}",
                    usable.right,
                    usable.cells,
                    hundredths(usable.from),
                    hundredths(usable.to),
                    wrong.join(", ")
                ),
            });
        }
    }
    found
}

fn hundredths(number: u64) -> String {
    format!("{}.{:02}", number / 100, number % 100)
}

/// `total` thousandths of a GiB in percent of `usable` hundredths, rounded half up.
pub(in crate::core::fit) fn percent_of(total: u64, usable: u64) -> u64 {
    (total * 10 + usable / 2) / usable.max(1)
}

fn cells(study: &Study, gpu: usize) -> impl Iterator<Item = (&StudyModel, &super::StudyRow, u32)> + '_ {
    let rows = study.models.iter().flat_map(|model| model.rows.iter().map(move |row| (model, row)));
    rows.filter_map(move |(model, row)| Some((model, row, *row.percent.get(gpu)?)))
}

/// Tries every usable memory from 1 to 200 GiB in hundredths.
pub(super) fn usable(study: &Study, gpu: usize) -> Usable {
    let all = cells(study, gpu).count();
    let mut best = Usable { from: 0, to: 0, right: 0, cells: all };
    for usable in 100..20_000 {
        let right = cells(study, gpu).filter(|(_, row, stated)| percent_of(row.total, usable) == u64::from(*stated));
        match right.count() {
            right if right > best.right => best = Usable { from: usable, to: usable, right, cells: all },
            right if right == best.right && best.to + 1 == usable => best.to = usable,
            _ => {}
        }
    }
    best
}

fn wrong(study: &Study, gpu: usize, usable: u64) -> Vec<String> {
    let wrong = cells(study, gpu).filter_map(|(model, row, stated)| {
        let percent = percent_of(row.total, usable);
        let says = format!("{} {} is {percent} %, not {stated}", model.label, row.precision);
        (percent != u64::from(stated)).then_some(says)
    });
    wrong.collect()
}

/// "6,740,512,768".
pub(super) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
