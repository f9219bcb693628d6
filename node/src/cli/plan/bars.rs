//! The memory of every machine as bars of text, one line for each memory domain: `#` is what managers use, `.` what they may
//! still use, `-` what the system and other programs keep.

use crate::cli::table::wrap;
use crate::core::placement::document::MemoryDocument;
use crate::core::types::human_bytes;

/// What the signs mean.
pub(super) const LEGEND: &str = "# managers, . free for managers, - kept for the system and others";

/// Lengths of the parts of a line.
struct Widths {
    label: usize,
    bar: usize,
    figures: usize,
    slots: usize,
}

/// One line for each domain, or more where its managers need them.
pub(super) fn bars(memory: &[MemoryDocument], columns: usize) -> String {
    let wide = columns >= 100;
    let (label_max, bar) = if wide { (30, 40) } else { (20, 20) };
    let longest = |texts: &mut dyn Iterator<Item = String>| texts.map(|text| text.chars().count()).max().unwrap_or(0);
    let label = longest(&mut memory.iter().map(|domain| label(domain, label_max)));
    let figures = longest(&mut memory.iter().map(figures));
    let taken = label + 1 + bar + 2 + 1 + figures + 2;
    let widths = Widths { label, bar, figures, slots: columns.saturating_sub(taken).max(12) };
    memory.iter().map(|domain| line(domain, &widths)).collect()
}

fn line(domain: &MemoryDocument, widths: &Widths) -> String {
    let Widths { label: label_width, bar: bar_width, figures: figures_width, slots } = *widths;
    let head = format!(
        "{:<label_width$} [{}] {:>figures_width$}",
        label(domain, label_width),
        bar(domain, bar_width),
        figures(domain)
    );
    let indent = " ".repeat(head.chars().count() + 2);
    let mut out = String::new();
    for (index, part) in wrap(&domain.slots.join(" "), slots).iter().enumerate() {
        let start = if index == 0 { format!("{head}  ") } else { indent.clone() };
        out.push_str(format!("{start}{part}").trim_end());
        out.push('\n');
    }
    if domain.slots.is_empty() {
        out = format!("{}\n", head.trim_end());
    }
    out
}

/// "griffith ram": of a long name the machine's part is cut.
fn label(domain: &MemoryDocument, max: usize) -> String {
    let whole = format!("{} {}", domain.node, domain.domain);
    let over = whole.chars().count().saturating_sub(max);
    if over == 0 {
        return whole;
    }
    let kept = domain.node.chars().count().saturating_sub(over + 1);
    let node: String = domain.node.chars().take(kept).collect();
    format!("{node}… {}", domain.domain).chars().take(max).collect()
}

/// "107.3 of 112.6 GiB": both in the unit of the second.
fn figures(domain: &MemoryDocument) -> String {
    if domain.budget_bytes == 0 && domain.used_bytes == 0 {
        return "nothing for managers".to_owned();
    }
    let budget = human_bytes(domain.budget_bytes);
    let unit = budget.rsplit(' ').next().unwrap_or_default();
    let scale: u128 = match unit {
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return format!("{} of {budget}", domain.used_bytes),
    };
    let tenths = (u128::from(domain.used_bytes) * 10 + scale / 2) / scale;
    format!("{}.{} of {budget}", tenths / 10, tenths % 10)
}

/// In proportion to all of the domain's memory; what is used shows at least once, and never fills what is free.
fn bar(domain: &MemoryDocument, width: usize) -> String {
    let total = u128::from(domain.total_bytes.max(domain.budget_bytes).max(domain.used_bytes).max(1));
    let cells = |bytes: u64| (u128::from(bytes) * width as u128 / total) as usize;
    let mut used = cells(domain.used_bytes);
    if domain.used_bytes > 0 {
        used = used.max(1);
    }
    let budget = cells(domain.budget_bytes).max(used).min(width);
    format!("{}{}{}", "#".repeat(used), ".".repeat(budget - used), "-".repeat(width - budget))
}
