//! Answers of `fit` in words, within a terminal's columns.

use crate::cli::table::{table_within, wrap};
use crate::core::fit::place::{Place, PlaceVerdict};
use crate::core::fit::{FitDocument, GridRow, Known};
use crate::core::types::human_bytes;

/// From here on there is room for what places are in words.
const WIDE: usize = 100;

/// What a model needs, and where it fits.
pub(super) fn fit(document: &FitDocument, columns: usize) -> String {
    let mut out = head(document, columns);
    let sequences = if document.parallel == 1 { "" } else { "s" };
    out.push_str(&format!(
        "\nIn {}, {} tokens of context, {} sequence{sequences}:\n",
        document.precision, document.context, document.parallel
    ));
    let terms = [
        ("weights", document.weights_bytes),
        ("KV cache", document.kv_bytes),
        ("compute", document.compute_bytes),
        ("overhead", document.overhead_bytes),
        ("together", document.total_bytes),
    ];
    for (what, bytes) in terms {
        out.push_str(&format!("  {what:<9} {:>10}\n", human_bytes(bytes)));
    }
    if !document.grid.is_empty() {
        out.push_str(&format!("\nTogether in other precisions and contexts, GiB:\n{}", grid(&document.grid, columns)));
    }
    if !document.places.is_empty() {
        out.push('\n');
        out.push_str(&places(&document.places, columns));
    }
    notes(&mut out, &document.notes, columns);
    out
}

fn head(document: &FitDocument, columns: usize) -> String {
    let active = match document.active_parameters == document.parameters {
        true => String::new(),
        false => format!(", {} of them for each token", billions(document.active_parameters)),
    };
    let floor = match document.meets_f16_floor {
        true => "",
        false => "; below F16, so it is no manager where a roster's floor is f16",
    };
    let text = format!(
        "{}: {}; {} parameters{active}; made for {} tokens; keys and values take {} a token{floor}",
        document.title,
        document.architecture,
        billions(document.parameters),
        document.context_max,
        human_bytes(document.kv_bytes_per_token)
    );
    wrap(&text, columns).join("\n") + "\n"
}

/// "6.74 billion", rounded half up.
pub(super) fn billions(parameters: u64) -> String {
    let hundredths = (u128::from(parameters) + 5_000_000) / 10_000_000;
    match hundredths {
        0 => format!("{} thousand", (parameters + 500) / 1000),
        _ => format!("{}.{:02} billion", hundredths / 100, hundredths % 100),
    }
}

/// GiB with one decimal, rounded half up.
pub(super) fn gib(bytes: u64) -> String {
    let tenths = (u128::from(bytes) * 10 + (1 << 29)) >> 30;
    format!("{}.{}", tenths / 10, tenths % 10)
}

fn grid(rows: &[GridRow], columns: usize) -> String {
    let contexts: Vec<String> =
        rows.first().map(|row| row.totals.iter().map(|cell| cell.context.to_string()).collect()).unwrap_or_default();
    let mut headers = vec!["PRECISION", "WEIGHTS"];
    headers.extend(contexts.iter().map(String::as_str));
    let row = |row: &GridRow| {
        let totals = row.totals.iter().map(|cell| gib(cell.total_bytes));
        [row.precision.clone(), gib(row.weights_bytes)].into_iter().chain(totals).collect()
    };
    let rows: Vec<Vec<String>> = rows.iter().map(row).collect();
    table_within(&headers, &rows, columns)
}

fn places(places: &[PlaceVerdict], columns: usize) -> String {
    let wide = columns >= WIDE;
    let mut headers = vec!["PLACE", "USABLE", "USED", "VERDICT", "CONTEXT TO", "TOKENS/S TO"];
    if wide {
        headers.push("WHAT IT IS");
    }
    let row = |place: &PlaceVerdict| {
        let verdict = match place.fits {
            true => place.band.as_str().to_owned(),
            false => format!("short {}", human_bytes(place.bytes_short)),
        };
        let context = place.context_max.map_or_else(|| "-".to_owned(), |context| context.to_string());
        let speed = place.millitokens_per_s_max.map_or_else(|| "-".to_owned(), speed);
        let mut row = vec![
            place.name.clone(),
            human_bytes(place.usable_bytes),
            format!("{} %", place.percent),
            verdict,
            context,
            speed,
        ];
        if wide {
            row.push(place.title.clone());
        }
        row
    };
    let rows: Vec<Vec<String>> = places.iter().map(row).collect();
    let mut out = table_within(&headers, &rows, columns);
    if places.iter().any(|place| place.spans > 1) {
        let names: Vec<&str> = places.iter().filter(|place| place.spans > 1).map(|place| place.name.as_str()).collect();
        let note = format!(
            "{} is the memory of several machines, which only an engine of your own makes one (`fednode engine add`): a federation \
             never adds memories up.",
            names.join(", ")
        );
        out.push_str(&format!("\n{}\n", wrap(&note, columns).join("\n")));
    }
    out
}

/// Thousandths of tokens per second: whole ones from ten upwards, hundredths below one.
pub(in crate::cli) fn speed(millitokens: u64) -> String {
    match millitokens {
        0..1000 => format!("0.{:02}", millitokens / 10),
        1000..10_000 => format!("{}.{}", millitokens / 1000, millitokens % 1000 / 100),
        _ => ((millitokens + 500) / 1000).to_string(),
    }
}

pub(in crate::cli) fn notes(out: &mut String, notes: &[String], columns: usize) {
    for (index, note) in notes.iter().enumerate() {
        if index == 0 {
            out.push('\n');
        }
        out.push_str(&wrap(&format!("Note: {note}."), columns).join("\n"));
        out.push('\n');
    }
}

/// All that is known by name.
pub(super) fn list(known: &Known, columns: usize) -> String {
    let models = known.presets.iter().map(|preset| {
        let parameters = preset.model().map(|model| billions(model.shape.parameters)).unwrap_or_default();
        let aliases =
            if preset.aliases.is_empty() { String::new() } else { format!(" ({})", preset.aliases.join(", ")) };
        vec![preset.name.clone(), parameters, format!("{}{aliases}", preset.title)]
    });
    let models: Vec<Vec<String>> = models.collect();
    let precisions = known.precisions.iter().map(|stored| {
        let names = std::iter::once(&stored.name).chain(&stored.aliases).cloned().collect::<Vec<_>>().join(", ");
        vec![names, format!("{}.{:03}", stored.millibits / 1000, stored.millibits % 1000), stored.note.clone()]
    });
    let precisions: Vec<Vec<String>> = precisions.collect();
    let place = |place: &Place| {
        vec![place.name.clone(), place.kind.as_str().to_owned(), human_bytes(place.usable_bytes()), place.title.clone()]
    };
    let places: Vec<Vec<String>> = known.machines.places().iter().map(place).collect();
    format!(
        "{}\n{}\n{}",
        table_within(&["MODEL", "PARAMETERS", "WHAT IT IS"], &models, columns),
        table_within(&["PRECISION", "BITS", "WHERE THAT IS FROM"], &precisions, columns),
        table_within(&["PLACE", "KIND", "USABLE", "WHAT IT IS"], &places, columns)
    )
}
