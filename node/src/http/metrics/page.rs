//! A page in Prometheus' text format 0.0.4, family by family. Values are whole numbers, or seconds made of whole milliseconds.

use std::fmt::Write;

/// A page that is being written.
pub(super) struct Page(String);

/// The samples of one family.
pub(super) struct Family<'a> {
    page: &'a mut String,
    name: &'static str,
}

impl Page {
    pub(super) fn new() -> Page {
        Page(String::with_capacity(16 << 10))
    }

    pub(super) fn gauge(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, "gauge", help)
    }

    /// Grows as long as the process lives; its name ends in `_total`.
    pub(super) fn counter(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, "counter", help)
    }

    pub(super) fn histogram(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, "histogram", help)
    }

    fn family(&mut self, name: &'static str, kind: &str, help: &str) -> Family<'_> {
        put(&mut self.0, format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
        Family { page: &mut self.0, name }
    }

    pub(super) fn text(self) -> String {
        self.0
    }
}

impl Family<'_> {
    /// The one sample of a family without labels.
    pub(super) fn is(&mut self, value: u64) {
        self.of(&[], value);
    }

    pub(super) fn of(&mut self, labels: &[(&str, &str)], value: u64) -> &mut Self {
        self.sample("", labels, format_args!("{value}"))
    }

    /// One for each of `all`, 1 for that which `now` names.
    pub(super) fn one_of(&mut self, label: (&str, &str), name: &str, all: &[&str], now: &str) {
        for one in all {
            self.of(&[label, (name, one)], u64::from(*one == now));
        }
    }

    /// A histogram's: the buckets that Prometheus adds up, then sum and count, in seconds.
    pub(super) fn spread(&mut self, spread: &crate::core::view::Spread) {
        let mut below = 0;
        for (bound, count) in spread.bounds_ms.iter().zip(&spread.counts) {
            below += count;
            let bound = seconds(*bound);
            self.sample("_bucket", &[("le", &bound)], format_args!("{below}"));
        }
        let all = spread.count();
        self.sample("_bucket", &[("le", "+Inf")], format_args!("{all}"));
        self.sample("_sum", &[], format_args!("{}", seconds(spread.sum_ms)));
        self.sample("_count", &[], format_args!("{all}"));
    }

    fn sample(&mut self, suffix: &str, labels: &[(&str, &str)], value: std::fmt::Arguments<'_>) -> &mut Self {
        put(self.page, format_args!("{}{suffix}", self.name));
        for (at, (name, text)) in labels.iter().enumerate() {
            let before = if at == 0 { '{' } else { ',' };
            put(self.page, format_args!("{before}{name}=\"{}\"", escaped(text)));
        }
        let end = if labels.is_empty() { "" } else { "}" };
        put(self.page, format_args!("{end} {value}\n"));
        self
    }
}

fn put(page: &mut String, what: std::fmt::Arguments<'_>) {
    page.write_fmt(what).expect("a string takes all that fits into memory");
}

fn seconds(ms: u64) -> String {
    format!("{}.{:03}", ms / 1000, ms % 1000)
}

/// The three characters that would end a label's value.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::view::Spread;

    #[test]
    fn a_family_is_told_as_the_format_has_it() {
        let mut page = Page::new();
        page.gauge("a_bytes", "What it is.").of(&[("domain", "ram"), ("kind", "a\"b\\c\nd")], 7);
        page.counter("b_total", "Another.").is(0);
        let expect = "# HELP a_bytes What it is.\n# TYPE a_bytes gauge\na_bytes{domain=\"ram\",kind=\"a\\\"b\\\\c\\nd\"} 7\n\
                      # HELP b_total Another.\n# TYPE b_total counter\nb_total 0\n";
        assert_eq!(page.text(), expect);
    }

    #[test]
    fn buckets_add_up_to_the_count() {
        let mut spread = Spread::default();
        [3, 7, 130_000].into_iter().for_each(|ms| spread.note(ms));
        let mut page = Page::new();
        page.histogram("c_seconds", "Times.").spread(&spread);
        let text = page.text();
        for line in [
            "c_seconds_bucket{le=\"0.005\"} 1",
            "c_seconds_bucket{le=\"0.010\"} 2",
            "c_seconds_bucket{le=\"120.000\"} 2",
            "c_seconds_bucket{le=\"+Inf\"} 3",
            "c_seconds_sum 130.010",
            "c_seconds_count 3",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    }
}
