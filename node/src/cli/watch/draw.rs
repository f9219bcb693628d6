//! A scene and a size become a screen: what stands where, and what is left out when there is no room. Pure; what the parts say is
//! in `rows`.

use ratatui::Frame;
use ratatui::layout::{Alignment, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Clear, Paragraph};

use super::rows;
use super::scene::{Scene, What, span};
use crate::cli::view::{or_unknown, plan_line, short};
use crate::core::types::human_bytes;
use crate::core::view::Band;

/// From here on slots and what moves stand side by side.
const WIDE: u16 = 110;
/// Between two columns.
const GUTTER: u16 = 2;
/// Of a wide screen, what moves has so many hundredths; slots say less.
const MOVES_PERCENT: u16 = 57;

/// Which colours mean what; without colours, bold and dim alone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paint {
    colour: bool,
}

impl Paint {
    pub(super) fn plain(self) -> Style {
        Style::new()
    }

    pub(super) fn dim(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    pub(super) fn strong(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    pub(super) fn good(self) -> Style {
        self.coloured(Color::Green)
    }

    pub(super) fn busy(self) -> Style {
        self.coloured(Color::Cyan)
    }

    pub(super) fn bad(self) -> Style {
        self.coloured(Color::Red).add_modifier(Modifier::BOLD)
    }

    pub(super) fn band(self, band: Band) -> Style {
        match band {
            Band::Safe => self.good(),
            Band::Caution => self.coloured(Color::Yellow),
            Band::Warning => self.coloured(Color::LightRed),
            Band::Critical => self.bad(),
        }
    }

    fn coloured(self, colour: Color) -> Style {
        if self.colour { Style::new().fg(colour) } else { Style::new() }
    }
}

/// A part of the screen: its headline and its rows, however many there is room for.
pub(super) struct Part {
    pub title: &'static str,
    /// Behind the headline, dim.
    pub note: String,
    pub rows: Vec<Line<'static>>,
}

/// Draws all of it.
pub(super) fn draw(scene: &Scene, frame: &mut Frame) {
    let paint = Paint { colour: scene.colour };
    let area = frame.area();
    frame.render_widget(Clear, area);
    let head = head(scene, paint);
    let top = u16::try_from(head.len()).unwrap_or(0).min(area.height);
    frame.render_widget(Paragraph::new(head), Rect { height: top, ..area });
    let keys = Line::styled("q quits", paint.dim()).alignment(Alignment::Right);
    frame.render_widget(keys, Rect { height: area.height.min(1), ..area });
    let body = Rect { y: area.y + top, height: area.height - top, ..area };
    match scene.what {
        What::Transfers => {
            let parts = [rows::moves(scene, paint, body.width), rows::events(scene, paint)];
            column(frame, paint, body, &parts);
        }
        What::Status if body.width < WIDE => {
            let parts = [
                rows::memory(scene, paint, body.width),
                rows::slots(scene, paint),
                rows::moves(scene, paint, body.width),
                rows::events(scene, paint),
            ];
            column(frame, paint, body, &parts);
        }
        What::Status => wide(scene, paint, frame, body),
    }
}

/// Memory over the whole width, slots beside what moves, events below.
fn wide(scene: &Scene, paint: Paint, frame: &mut Frame, body: Rect) {
    let right = (body.width - GUTTER) * MOVES_PERCENT / 100;
    let left = body.width - GUTTER - right;
    let (memory, events) = (rows::memory(scene, paint, body.width), rows::events(scene, paint));
    let (slots, moves) = (rows::slots(scene, paint), rows::moves(scene, paint, right));
    let between = slots.rows.len().max(moves.rows.len());
    let wants = [memory.rows.len(), between, events.rows.len()];
    let given = share(usize::from(body.height), &wants);
    let mut y = body.y;
    let mut next = |rows: usize| {
        let height = height(rows).min(body.y + body.height - y);
        let area = Rect { y, height, ..body };
        y += height;
        area
    };
    part(frame, paint, next(given[0]), &memory);
    let middle = next(given[1]);
    part(frame, paint, Rect { width: left, ..middle }, &slots);
    part(frame, paint, Rect { x: middle.x + left + GUTTER, width: right, ..middle }, &moves);
    part(frame, paint, next(given[2]), &events);
}

fn column(frame: &mut Frame, paint: Paint, body: Rect, parts: &[Part]) {
    let wants: Vec<usize> = parts.iter().map(|part| part.rows.len()).collect();
    let mut y = body.y;
    for (one, rows) in parts.iter().zip(share(usize::from(body.height), &wants)) {
        let height = height(rows).min(body.y + body.height - y);
        part(frame, paint, Rect { y, height, ..body }, one);
        y += height;
    }
}

/// An empty line, the headline, the rows.
fn height(rows: usize) -> u16 {
    u16::try_from(rows + 2).unwrap_or(u16::MAX)
}

/// How many rows each part gets of `height` lines: alike, as long as it wants more.
fn share(height: usize, wants: &[usize]) -> Vec<usize> {
    let mut left = height.saturating_sub(2 * wants.len());
    let mut given = vec![0; wants.len()];
    while left > 0 && given.iter().zip(wants).any(|(given, want)| given < want) {
        for (given, _) in given.iter_mut().zip(wants).filter(|(given, want)| **given < **want).take(left) {
            *given += 1;
            left -= 1;
        }
    }
    given
}

fn part(frame: &mut Frame, paint: Paint, area: Rect, part: &Part) {
    let room = usize::from(area.height.saturating_sub(2));
    let title = Line::from(vec![
        Span::styled(part.title, paint.strong()),
        Span::styled(if part.note.is_empty() { String::new() } else { format!("  {}", part.note) }, paint.dim()),
    ]);
    let mut lines = vec![Line::default(), title];
    let hidden = part.rows.len().saturating_sub(room);
    let shown = if hidden == 0 { part.rows.len() } else { room.saturating_sub(1) };
    lines.extend(part.rows.iter().take(shown).cloned());
    if hidden > 0 && room > 0 {
        lines.push(Line::styled(format!("… and {} more", part.rows.len() - shown), paint.dim()));
    }
    frame.render_widget(Paragraph::new(lines), area);
}

/// Whose node it is, who coordinates, what was asked of it; and that it is silent, if it is.
fn head(scene: &Scene, paint: Paint) -> Vec<Line<'static>> {
    let state = &scene.state;
    let (node, requests, traffic) = (&state.node, &state.requests, &state.traffic);
    let first = format!(
        "{} of federation {}: {}, tier {}",
        or_unknown(&node.name),
        or_unknown(short(&state.federation)),
        or_unknown(&node.role),
        or_unknown(&node.tier)
    );
    let seat = match &state.coordinator {
        Some(seat) => format!("{} coordinates, epoch {}", or_unknown(&seat.name), seat.epoch),
        None => "no coordinator is known".to_owned(),
    };
    let pending = state.plan.iter().flat_map(|plan| &plan.pending).next().cloned().unwrap_or_default();
    let rate = match scene.requests_milli_per_s() {
        Some(milli) => format!("{}.{} requests/s", milli / 1000, milli % 1000 / 100),
        None => "requests".to_owned(),
    };
    let asked = format!("{rate}, {} in flight, {} done, {} failed", requests.in_flight, requests.done, requests.failed);
    let moved = format!("sent {}, fetched {}", human_bytes(traffic.served_bytes), human_bytes(traffic.asked_bytes));
    let mut lines = vec![
        Line::styled(first, paint.strong()),
        Line::from(format!("{seat}; plan {} {pending}", plan_line(state.plan.as_ref()))),
        Line::from(format!("{asked}; {moved}")),
    ];
    if let Some(gone) = &scene.gone {
        let since = span(scene.now_ms.saturating_sub(gone.since_ms) / 1000);
        let style = paint.bad().add_modifier(Modifier::REVERSED);
        lines.push(Line::styled(format!("The node has not answered for {since}; what stands here is old."), style));
        lines.push(Line::styled(gone.why.clone(), paint.dim()));
    } else if !state.node.notice.is_empty() {
        lines.push(Line::styled(state.node.notice.clone(), paint.band(Band::Warning)));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_share_what_room_there_is() {
        let check = |height, wants: &[usize], expect: &[usize]| assert_eq!(share(height, wants), expect, "{height}");
        check(100, &[4, 7, 1, 10], &[4, 7, 1, 10]);
        check(20, &[4, 7, 1, 10], &[4, 4, 1, 3]);
        check(13, &[4, 7, 1, 10], &[2, 1, 1, 1]);
        check(3, &[4, 7], &[0, 0]);
        check(0, &[], &[]);
    }
}
