//! A QR code as text for a terminal: two modules in each character, in colours of its own, so that it can be read on a dark
//! and on a light background. `invite` draws its ticket with it.

use qrcode::{Color, EcLevel, QrCode};

/// Light modules around the code, as its standard asks for.
const QUIET: usize = 4;
/// Pure white on pure black in the fixed part of the 256 colours: themes change what "white" and "black" mean.
const COLOURS: &str = "\x1b[38;5;231;48;5;16m";
const RESET: &str = "\x1b[0m";

/// A drawn code.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Drawing {
    /// Lines, each ended.
    pub text: String,
    /// Columns that it takes.
    pub width: usize,
}

/// Draws `text`; `None` when it is longer than any code holds. Capitals, digits and colons take the least room.
pub(super) fn draw(text: &str) -> Option<Drawing> {
    // Screens are clean: the lowest level of error correction makes the smallest code.
    let code = QrCode::with_error_correction_level(text, EcLevel::L).ok()?;
    let (side, colours) = (code.width(), code.to_colors());
    let light = |row: usize, column: usize| match (row.checked_sub(QUIET), column.checked_sub(QUIET)) {
        (Some(row), Some(column)) if row < side && column < side => colours[row * side + column] == Color::Light,
        _ => true,
    };
    let width = side + 2 * QUIET;
    let mut text = String::new();
    for row in (0..width).step_by(2) {
        text.push_str(COLOURS);
        text.extend((0..width).map(|column| match (light(row, column), light(row + 1, column)) {
            (true, true) => '█',
            (true, false) => '▀',
            (false, true) => '▄',
            (false, false) => ' ',
        }));
        text.push_str(RESET);
        text.push('\n');
    }
    Some(Drawing { text, width })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The drawing as modules, row by row; true is light.
    fn modules(drawing: &Drawing) -> Vec<Vec<bool>> {
        let mut rows = Vec::new();
        for line in drawing.text.lines() {
            let line = line.strip_prefix(COLOURS).and_then(|line| line.strip_suffix(RESET)).expect("colours around it");
            let pairs = line.chars().map(|c| match c {
                '█' => (true, true),
                '▀' => (true, false),
                '▄' => (false, true),
                ' ' => (false, false),
                other => panic!("{other:?} is no half block"),
            });
            let (upper, lower): (Vec<bool>, Vec<bool>) = pairs.unzip();
            rows.extend([upper, lower]);
        }
        rows
    }

    #[test]
    fn every_module_is_drawn_inside_a_quiet_zone() {
        let text = "FEDNODE1:0123456789ABCDEF";
        let drawing = draw(text).expect("it fits");
        let code = QrCode::with_error_correction_level(text, EcLevel::L).expect("it fits");
        let (side, colours, modules) = (code.width(), code.to_colors(), modules(&drawing));
        assert_eq!((drawing.width, modules.len()), (side + 8, side + 9));
        for (row, line) in modules.iter().enumerate() {
            assert_eq!(line.len(), drawing.width);
            for (column, light) in line.iter().enumerate() {
                let inside = (4..4 + side).contains(&row) && (4..4 + side).contains(&column);
                let expect = !inside || colours[(row - 4) * side + column - 4] == Color::Light;
                assert_eq!(*light, expect, "row {row}, column {column}");
            }
        }
    }

    #[test]
    fn capitals_make_it_smaller_and_too_much_is_not_drawn() {
        let digits = "0123456789abcdef".repeat(20);
        let width = |text: &str| draw(text).expect("it fits").width;
        assert!(width(&digits.to_uppercase()) < width(&digits));
        assert_eq!(draw(&"A".repeat(5000)), None);
    }
}
