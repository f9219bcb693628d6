//! What the parts of the screen say: memory, slots, what moves, what happened. Pure: a scene and a width in, lines out.

use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::draw::{Paint, Part};
use super::scene::{Scene, What, span};
use crate::cli::transfers::origin;
use crate::cli::view::whereabouts;
use crate::core::types::human_bytes;
use crate::core::view::{DomainView, MemberView, ReplicaView, State, TransferView};

const NAME: usize = 14;
const DOMAIN: usize = 7;
const MEMORY_FIGURES: usize = 41;
const SLOT: usize = 12;
const SLOT_STATE: usize = 9;
/// `ULM:personal` and a space.
const MOVING: usize = 13;
const DOING: usize = 18;
const PERCENT: usize = 7;
const PROGRESS_FIGURES: usize = 24;
const AGE: usize = 8;
/// A shorter bar says nothing.
const BAR_MIN: usize = 4;
const BAR_MAX: usize = 60;

/// Every memory domain of every machine as a bar.
pub(super) fn memory(scene: &Scene, paint: Paint, width: u16) -> Part {
    let rows = scene.state.members.iter().flat_map(|member| machine(member, paint, width)).collect();
    let note = "█ managers  ▒ other programs  ░ free for managers".to_owned();
    Part { title: "MEMORY", note, rows }
}

fn machine(member: &MemberView, paint: Paint, width: u16) -> Vec<Line<'static>> {
    let there = member.state == "alive";
    let name = |style| Span::styled(cell(&member.name, NAME), style);
    if !there {
        return vec![Line::from(vec![name(paint.dim()), Span::styled(member.state.clone(), paint.bad())])];
    }
    let mut lines = Vec::new();
    let hosting = member.role != "delegate" && !member.drained;
    for domain in member.domains.iter().filter(|domain| domain.hosts && hosting) {
        let mut spans = vec![if lines.is_empty() { name(paint.plain()) } else { Span::raw(" ".repeat(NAME)) }];
        spans.extend(domain_row(domain, paint, width));
        lines.push(Line::from(spans));
    }
    if lines.is_empty() {
        let why = match (member.drained, member.role.as_str()) {
            (true, _) => "drained: holds no managers",
            (_, "delegate") => "delegate: holds no managers and forwards",
            _ => "has no memory that managers can use",
        };
        lines.push(Line::from(vec![name(paint.plain()), Span::styled(why, paint.dim())]));
    }
    lines
}

fn domain_row(domain: &DomainView, paint: Paint, width: u16) -> Vec<Span<'static>> {
    let (used, usable, band) = (domain.used_bytes(), domain.usable_bytes(), domain.band());
    let ours = domain.ours_bytes.min(used);
    let percent = u128::from(used) * 100 / u128::from(usable.max(1));
    let of = format!("{} of {}", human_bytes(used), human_bytes(usable));
    let figures = format!(" {of:>24}  {percent:>3} % {}", band.as_str());
    let mut spans = vec![Span::raw(cell(&domain.name, DOMAIN))];
    let room = usize::from(width).saturating_sub(NAME + DOMAIN + MEMORY_FIGURES);
    let filled =
        [(ours, '█', paint.band(band)), (used - ours, '▒', paint.band(band)), (usable - used, '░', paint.dim())];
    spans.extend(bar(room, &filled));
    spans.push(Span::styled(figures, paint.band(band)));
    spans
}

/// `parts` in proportion, so many cells together; nothing where that is too few.
fn bar(cells: usize, parts: &[(u64, char, Style)]) -> Vec<Span<'static>> {
    let cells = cells.min(BAR_MAX);
    let all: u128 = parts.iter().map(|(amount, _, _)| u128::from(*amount)).sum();
    if cells < BAR_MIN || all == 0 {
        return Vec::new();
    }
    let (mut sum, mut done) = (0, 0);
    let mut spans = Vec::new();
    for (amount, sign, style) in parts {
        sum += u128::from(*amount);
        let end = usize::try_from((sum * cells as u128 + all / 2) / all).unwrap_or(cells);
        spans.push(Span::styled(sign.to_string().repeat(end - done), *style));
        done = end;
    }
    spans
}

/// What is in each slot, and where.
pub(super) fn slots(scene: &Scene, paint: Paint) -> Part {
    let row = |slot: &crate::core::view::SlotView| {
        let style = match slot.state.as_str() {
            "resident" | "external" => paint.good(),
            "loading" => paint.busy(),
            _ => paint.dim(),
        };
        Line::from(vec![
            Span::raw(cell(&slot.name, SLOT)),
            Span::styled(cell(&slot.state, SLOT_STATE), style),
            Span::raw(whereabouts(slot)),
        ])
    };
    let rows = scene.state.slots.iter().map(row).collect();
    Part { title: "SLOTS", note: String::new(), rows }
}

/// Loads, fetches and departures of managers anywhere, and transfers into this node; for `transfers` those that are done, and who
/// gave what.
pub(super) fn moves(scene: &Scene, paint: Paint, width: u16) -> Part {
    let state = &scene.state;
    let whole = scene.what == What::Transfers;
    let mut rows: Vec<Line<'static>> = Vec::new();
    for transfer in state.transfers.iter().filter(|transfer| whole || transfer.state != "done") {
        rows.push(transfer_row(transfer, paint, width));
        if whole && !transfer.sources.is_empty() {
            let from = format!("{:MOVING$}from {}", "", origin(transfer));
            rows.push(Line::styled(from, paint.dim()));
        }
    }
    for slot in &state.slots {
        let moving = slot.replicas.iter().filter(|replica| moves_here(state, replica));
        rows.extend(moving.map(|replica| replica_row(&slot.name, replica, paint, width)));
    }
    if rows.is_empty() {
        rows.push(Line::styled("nothing moves", paint.dim()));
    }
    Part { title: if whole { "TRANSFERS AND SWAPS" } else { "SWAPS AND TRANSFERS" }, note: String::new(), rows }
}

/// Fetches of this node are among its transfers.
fn moves_here(state: &State, replica: &ReplicaView) -> bool {
    match replica.state.as_str() {
        "loading" | "draining" => true,
        "fetching" => replica.node != state.node.name,
        _ => false,
    }
}

fn transfer_row(transfer: &TransferView, paint: Paint, width: u16) -> Line<'static> {
    let done = if transfer.verified { "done, verified" } else { &transfer.state };
    let figures = match transfer.state.as_str() {
        _ if !transfer.reason.is_empty() => transfer.reason.clone(),
        "done" => human_bytes(transfer.total_bytes),
        _ => speed(transfer.bytes_per_s, transfer.eta_s),
    };
    let progress = (transfer.done_bytes, transfer.total_bytes);
    let bar = transfer.state != "done" && transfer.reason.is_empty();
    progress_row(&transfer.slot, done, progress, figures, bar, paint, width)
}

fn replica_row(slot: &str, replica: &ReplicaView, paint: Paint, width: u16) -> Line<'static> {
    let doing = match replica.state.as_str() {
        "draining" => format!("leaves {}", replica.node),
        state => format!("{state} on {}", replica.node),
    };
    let load = replica.load.unwrap_or_default();
    let left = load.total_bytes.saturating_sub(load.read_bytes);
    let eta_s = (load.bytes_per_s > 0).then(|| left.div_ceil(load.bytes_per_s.max(1)));
    let bar = load.total_bytes > 0;
    let figures = if bar { speed(load.bytes_per_s, eta_s) } else { replica.reason.clone() };
    progress_row(slot, &doing, (load.read_bytes, load.total_bytes), figures, bar, paint, width)
}

fn speed(bytes_per_s: u64, eta_s: Option<u64>) -> String {
    let left = eta_s.map_or(String::new(), |seconds| format!("{} left", span(seconds)));
    let rate = if bytes_per_s == 0 { String::new() } else { format!("{}/s", human_bytes(bytes_per_s)) };
    format!("{rate:<11} {left}").trim_end().to_owned()
}

fn progress_row(
    slot: &str,
    doing: &str,
    (done, all): (u64, u64),
    figures: String,
    with_bar: bool,
    paint: Paint,
    width: u16,
) -> Line<'static> {
    let mut spans = vec![Span::raw(cell(slot, MOVING)), Span::styled(cell(doing, DOING), paint.busy())];
    if with_bar && all > 0 {
        let room = usize::from(width).saturating_sub(MOVING + DOING + PERCENT + PROGRESS_FIGURES).min(30);
        let left = all.saturating_sub(done);
        spans.extend(bar(room, &[(done.min(all), '█', paint.busy()), (left, '░', paint.dim())]));
        let percent = u128::from(done) * 100 / u128::from(all);
        spans.push(Span::raw(format!(" {percent:>3} %  ")));
    }
    spans.push(Span::raw(figures));
    Line::from(spans)
}

/// The last sentences, newest first.
pub(super) fn events(scene: &Scene, paint: Paint) -> Part {
    let mut rows: Vec<Line<'static>> = Vec::new();
    for told in &scene.events {
        let age = age(scene.now_ms.saturating_sub(told.at_ms) / 1000);
        rows.push(Line::from(vec![Span::styled(cell(&age, AGE), paint.dim()), Span::raw(told.text.clone())]));
    }
    if rows.is_empty() {
        rows.push(Line::styled("nothing has happened since you began to look", paint.dim()));
    }
    Part { title: "EVENTS", note: String::new(), rows }
}

/// Coarse, so that the screen stays calm.
fn age(seconds: u64) -> String {
    match seconds {
        0..60 => "now".to_owned(),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// `text` in so many characters, a space behind it.
fn cell(text: &str, width: usize) -> String {
    let cut: String = match text.chars().count() < width {
        true => text.to_owned(),
        false => text.chars().take(width - 2).chain(['…']).collect(),
    };
    format!("{cut:<width$}")
}
