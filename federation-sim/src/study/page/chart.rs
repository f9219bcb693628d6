//! Bars as SVG: drawn for a phone's width, enlarged on wider screens. Each bar has its name and its figure beside it, so that
//! no colour needs to be told apart, and the whole chart is told in words to who cannot see it.

use std::fmt::Write;

use super::escaped;

/// One bar.
#[derive(Clone, Debug)]
pub struct Bar {
    /// Its name, and which of four colours it has.
    pub name: String,
    /// Colour, 0 to 3.
    pub colour: usize,
    /// Its length, in whatever all bars are measured in.
    pub value: u64,
    /// What stands beside it.
    pub text: String,
}

/// Bars that belong together.
#[derive(Clone, Debug)]
pub struct Group {
    /// Their name.
    pub name: String,
    /// The bars.
    pub bars: Vec<Bar>,
}

/// Width of the drawing; names end and bars begin at `BARS_FROM`, and the longest ends at `BARS_TO`.
const WIDTH: u64 = 360;
const BARS_FROM: u64 = 92;
const BARS_TO: u64 = 284;
const BAR_HEIGHT: u64 = 13;
const ROW: u64 = 18;
const GROUP_ROW: u64 = 22;

/// A figure called `title`; `id` is its own on the page. Empty without bars.
pub fn figure(id: &str, title: &str, groups: &[Group]) -> String {
    let longest = groups.iter().flat_map(|group| &group.bars).map(|bar| bar.value).max();
    let Some(longest) = longest else { return String::new() };
    let rows: u64 = groups.iter().map(|group| GROUP_ROW + ROW * group.bars.len() as u64).sum();
    let height = rows + 6;
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-labelledby=\"{id}-title {id}-words\">\n\
         <title id=\"{id}-title\">{}</title>\n<desc id=\"{id}-words\">{}</desc>\n\
         <line class=\"axis\" x1=\"{BARS_FROM}\" y1=\"4\" x2=\"{BARS_FROM}\" y2=\"{height}\"/>\n",
        escaped(title),
        escaped(&words(groups))
    );
    let mut y = 0;
    for group in groups {
        y += GROUP_ROW;
        let _ = writeln!(svg, "<text class=\"group\" x=\"0\" y=\"{}\">{}</text>", y - 7, escaped(&group.name));
        for bar in &group.bars {
            draw(&mut svg, bar, y, longest);
            y += ROW;
        }
    }
    format!("<figure>\n<figcaption>{}</figcaption>\n{svg}</svg>\n</figure>\n", escaped(title))
}

fn draw(svg: &mut String, bar: &Bar, y: u64, longest: u64) {
    let width = scaled(bar.value, longest);
    let baseline = y + BAR_HEIGHT - 3;
    let (colour, name, text) = (bar.colour % 4, escaped(&bar.name), escaped(&bar.text));
    let _ = writeln!(
        svg,
        "<text class=\"name\" x=\"{}\" y=\"{baseline}\" text-anchor=\"end\">{name}</text>\
         <rect class=\"s{colour}\" x=\"{BARS_FROM}\" y=\"{y}\" width=\"{width}\" height=\"{BAR_HEIGHT}\" rx=\"2\"/>\
         <text x=\"{}\" y=\"{baseline}\">{text}</text>",
        BARS_FROM - 6,
        BARS_FROM + width + 5
    );
}

fn scaled(value: u64, longest: u64) -> u64 {
    let full = u128::from(BARS_TO - BARS_FROM);
    u64::try_from(u128::from(value) * full / u128::from(longest.max(1))).unwrap_or(0).max(1)
}

/// The chart in words.
fn words(groups: &[Group]) -> String {
    let each = groups.iter().map(|group| {
        let bars: Vec<String> = group.bars.iter().map(|bar| format!("{} {}", bar.name, bar.text)).collect();
        format!("{}: {}.", group.name, bars.join(", "))
    });
    each.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(value: u64) -> Bar {
        Bar { name: "a <b>".to_owned(), colour: 0, value, text: format!("{value} \"s\"") }
    }

    #[test]
    fn a_chart_is_drawn_to_scale_and_told_in_words() {
        let groups = [Group { name: "g & h".to_owned(), bars: vec![bar(100), bar(50), bar(0)] }];
        let figure = figure("x", "Title <1>", &groups);
        for expect in ["width=\"192\"", "width=\"96\"", "width=\"1\"", "Title &lt;1&gt;", "g &amp; h: a &lt;b&gt; 100"]
        {
            assert!(figure.contains(expect), "{expect} is not in {figure}");
        }
        assert!(!figure.contains("<b>"));
    }

    #[test]
    fn nothing_is_drawn_of_nothing() {
        assert_eq!(figure("x", "t", &[]), "");
        assert_eq!(figure("x", "t", &[Group { name: "g".to_owned(), bars: Vec::new() }]), "");
    }
}
