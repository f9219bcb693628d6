//! Tables of text, 80 columns wide: cells may hold several lines, the last column wraps, the others are cut.

use std::fmt::Write;

/// What a terminal shows at least.
pub(super) const COLUMNS: usize = 80;
const GAP: usize = 2;
const CELL_CHARS_MAX: usize = 30;
/// A column is not cut further for the sake of others.
const CELL_CHARS_MIN: usize = 6;
const LAST_CHARS_MIN: usize = 10;
/// The first column is a name, which can be told by its beginning: it gives way first, as far as this.
const NAME_CHARS_MIN: usize = 12;

/// Columns of the terminal that standard output is, within reason; `COLUMNS` where it is none.
pub(super) fn columns() -> usize {
    const WIDEST: usize = 200;
    let size = rustix::termios::tcgetwinsize(std::io::stdout());
    size.map_or(COLUMNS, |size| usize::from(size.ws_col).clamp(COLUMNS, WIDEST))
}

/// `headers` and `rows` as lines, each ended. Rows shorter than the headers are filled with nothing.
pub(super) fn table(headers: &[&str], rows: &[Vec<String>]) -> String {
    table_within(headers, rows, COLUMNS)
}

/// The same within so many columns.
pub(super) fn table_within(headers: &[&str], rows: &[Vec<String>], columns: usize) -> String {
    let header: Vec<String> = headers.iter().map(|text| (*text).to_owned()).collect();
    let last = headers.len().saturating_sub(1);
    let all = || std::iter::once(&header).chain(rows);
    let mut widths: Vec<usize> =
        (0..last).map(|column| all().map(|row| cell_width(row, column)).max().unwrap_or(0)).collect();
    let last_needs = all().map(|row| cell_width(row, last)).max().unwrap_or(0).min(LAST_CHARS_MIN);
    shrink(&mut widths, columns.saturating_sub(last_needs));
    let taken: usize = widths.iter().map(|width| width + GAP).sum();
    let last_width = columns.saturating_sub(taken).max(LAST_CHARS_MIN);
    let mut out = String::new();
    all().for_each(|row| push_row(&mut out, row, &widths, last_width));
    out
}

fn cell_width(row: &[String], column: usize) -> usize {
    let lines = row.get(column).map(String::as_str).unwrap_or_default().lines();
    lines.map(|line| line.chars().count().min(CELL_CHARS_MAX)).max().unwrap_or(0)
}

/// Takes from the first column, then from the widest ones, until all fit into `room`.
fn shrink(widths: &mut [usize], room: usize) {
    let taken: usize = widths.iter().map(|width| width + GAP).sum();
    for _ in room..taken {
        let first = widths.first().is_some_and(|width| *width > NAME_CHARS_MIN);
        let one = if first { widths.first_mut() } else { widths.iter_mut().max() };
        if let Some(width) = one.filter(|width| **width > CELL_CHARS_MIN) {
            *width -= 1;
        }
    }
}

fn push_row(out: &mut String, row: &[String], widths: &[usize], last_width: usize) {
    let cut: Vec<Vec<String>> = (0..widths.len())
        .map(|column| {
            row.get(column)
                .map(String::as_str)
                .unwrap_or_default()
                .lines()
                .map(|line| cut(line, widths[column]))
                .collect()
        })
        .collect();
    let wrapped = wrap(row.get(widths.len()).map(String::as_str).unwrap_or_default(), last_width);
    let height = cut.iter().map(Vec::len).chain([wrapped.len(), 1]).max().unwrap_or(1);
    for line in 0..height {
        let mut text = String::new();
        for (cell, width) in cut.iter().zip(widths) {
            let part = cell.get(line).map(String::as_str).unwrap_or_default();
            let _ = write!(text, "{part:<width$}{:GAP$}", "");
        }
        text.push_str(wrapped.get(line).map(String::as_str).unwrap_or_default());
        out.push_str(text.trim_end());
        out.push('\n');
    }
}

fn cut(line: &str, width: usize) -> String {
    match line.char_indices().nth(width) {
        Some(_) => line.chars().take(width.saturating_sub(1)).chain(['…']).collect(),
        None => line.to_owned(),
    }
}

/// Milliseconds as seconds with one decimal.
pub(super) fn seconds(ms: u64) -> String {
    format!("{}.{} s", ms / 1000, ms % 1000 / 100)
}

/// `text` in lines of at most `width` characters, broken at spaces; a longer word is broken where it must be.
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        let mut used = 0;
        for word in paragraph.split_whitespace() {
            let mut word: Vec<char> = word.chars().collect();
            if used > 0 && used + 1 + word.len() > width {
                lines.push(std::mem::take(&mut line));
                used = 0;
            }
            if used > 0 {
                line.push(' ');
                used += 1;
            }
            while word.len() > width {
                let rest = word.split_off(width);
                lines.push(word.into_iter().collect());
                word = rest;
            }
            used += word.len();
            line.extend(word);
        }
        lines.push(line);
    }
    lines
}

/// `sentence` behind `label`, its further lines under its first.
pub(super) fn push_labelled(out: &mut String, label: &str, sentence: &str, columns: usize) {
    let begin = label.chars().count();
    for (index, line) in wrap(sentence, columns.saturating_sub(begin)).iter().enumerate() {
        let label = if index == 0 { label } else { "" };
        let _ = writeln!(out, "{label:<begin$}{line}");
    }
}

/// Sentences for a terminal of so many columns: what is longer is broken at spaces. Indented lines are something to type or to
/// open, and stay whole, as does every word.
pub(super) fn prose(text: &str, columns: usize) -> String {
    let mut out = String::new();
    for line in text.lines() {
        if line.starts_with(' ') || line.chars().count() <= columns {
            out.push_str(line);
        } else {
            let mut used = 0;
            for word in line.split_whitespace() {
                let width = word.chars().count();
                match used {
                    0 => {}
                    _ if used + 1 + width > columns => {
                        out.push('\n');
                        used = 0;
                    }
                    _ => {
                        out.push(' ');
                        used += 1;
                    }
                }
                out.push_str(word);
                used += width;
            }
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_stay_within_80_columns() {
        let row = |cells: &[&str]| cells.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>();
        let rows = [
            row(&["desk", "ram 1.0 GiB/2.0 GiB\ngpu0 0 B/24.0 GiB", "UFM, UCM"]),
            row(&[&"long".repeat(20), "", &"word ".repeat(30)]),
            row(&["x", "y", &"z".repeat(100)]),
        ];
        let text = table(&["NAME", "MEMORY", "RESIDENT"], &rows);
        assert!(text.lines().all(|line| line.chars().count() <= COLUMNS && !line.ends_with(' ')), "{text}");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[1], "desk                            ram 1.0 GiB/2.0 GiB  UFM, UCM");
        assert_eq!(lines[2], "                                gpu0 0 B/24.0 GiB");
        assert_eq!(text.matches('z').count(), 100);
    }

    #[test]
    fn wrapping_keeps_every_word() {
        assert_eq!(wrap("aa bb cc", 5), ["aa bb", "cc"]);
        assert_eq!(wrap("abcdefg", 3), ["abc", "def", "g"]);
        assert_eq!(wrap("", 3), Vec::<String>::new());
    }

    #[test]
    fn sentences_break_at_spaces_and_what_is_typed_stays_whole() {
        let text = format!("one two three\n\n  fednode join {0}\n{0} four\n", "x".repeat(20));
        let expect = format!("one two\nthree\n\n  fednode join {0}\n{0}\nfour\n", "x".repeat(20));
        assert_eq!(prose(&text, 8), expect);
        assert_eq!(prose(&text, 80), text);
    }
}
