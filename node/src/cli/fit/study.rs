//! `fednode fit --matrix`: the storage study done again, in its own layout, and where its figures cannot be right.

use super::text::gib;
use super::{Failure, Out, columns, value};
use crate::cli::table::{table_within, wrap};
use crate::core::fit::Known;
use crate::core::fit::study::{Case, Cell, StudyDocument, again};
use crate::core::sizing::Band;
use crate::wire::fit::study;

pub(super) fn run(out: Out, known: &Known) -> Result<(), Failure> {
    let document = again(&study(), known).map_err(|error| Failure::failed(error.to_string()))?;
    out.either(&value(&document)?, || text(&document, columns()));
    Ok(())
}

/// A table for each model, as the study has them, then the doubts.
pub(super) fn text(document: &StudyDocument, columns: usize) -> String {
    let mut out = String::new();
    let mut labels: Vec<&str> = document.rows.iter().map(|row| row.label.as_str()).collect();
    labels.dedup();
    for label in labels {
        let rows: Vec<&Case> = document.rows.iter().filter(|row| row.label == label).collect();
        let model = rows.first().map(|row| row.model.as_str()).unwrap_or_default();
        out.push_str(&format!("{label} ({model}) at {} tokens, GiB\n\n", document.tokens));
        out.push_str(&model_table(document, &rows, columns));
        out.push('\n');
    }
    let usable = document.gpus.iter().zip(&document.usable_bytes).map(|(gpu, bytes)| format!("{gpu} {}", gib(*bytes)));
    let legend = format!(
        "+ fits, x does not; percent of what models may use ({} GiB); ! above 60 %, !! above 75 %, !!! above 90 %.",
        usable.collect::<Vec<_>>().join(", ")
    );
    out.push_str(&wrap(&legend, columns).join("\n"));
    out.push_str(&format!(
        "\n{} of {} cases fit.\n\nWhere the study cannot be right:\n",
        document.passing, document.cases
    ));
    for doubt in &document.doubts {
        let sentence = format!("\"{}\": {}.", doubt.claim, doubt.why);
        for (index, line) in wrap(&sentence, columns - 4).into_iter().enumerate() {
            out.push_str(&format!("{}{line}\n", if index == 0 { "  - " } else { "    " }));
        }
    }
    out
}

fn model_table(document: &StudyDocument, rows: &[&Case], columns: usize) -> String {
    let mut headers = vec!["QUANT", "WEIGHT", "COMPUTE", "KV", "TOTAL"];
    headers.extend(document.gpus.iter().map(String::as_str));
    let row = |case: &&Case| {
        let sizes = [case.weights_bytes, case.compute_bytes, case.kv_bytes, case.total_bytes].map(hundredths);
        std::iter::once(case.precision.clone()).chain(sizes).chain(case.gpus.iter().map(cell)).collect()
    };
    let rows: Vec<Vec<String>> = rows.iter().map(row).collect();
    table_within(&headers, &rows, columns)
}

/// "+ 58%!".
fn cell(cell: &Cell) -> String {
    let sign = if cell.fits { '+' } else { 'x' };
    let mark = match (cell.fits, cell.band) {
        (false, _) | (_, Band::Safe) => "",
        (_, Band::Caution) => "!",
        (_, Band::Warning) => "!!",
        (_, Band::Critical) => "!!!",
    };
    format!("{sign} {}%{mark}", cell.percent)
}

/// GiB with two decimals, rounded half up.
fn hundredths(bytes: u64) -> String {
    let hundredths = (u128::from(bytes) * 100 + (1 << 29)) >> 30;
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}
