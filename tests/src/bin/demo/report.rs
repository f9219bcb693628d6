//! What the demo says while it runs: one line per event, with the seconds since the start.

use std::time::{Duration, Instant};

use serde_json::Value;

/// What fits beside who said it and how fast.
const QUOTE_CHARS_MAX: usize = 44;

pub(crate) struct Report {
    begin: Instant,
    json: bool,
}

impl Report {
    /// Starts the clock. With `json`, standard output is kept for the result alone.
    pub(crate) fn new(json: bool) -> Report {
        Report { begin: Instant::now(), json }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.begin.elapsed()
    }

    /// A new part of the demo.
    pub(crate) fn heading(&self, text: &str) {
        self.text(&format!("\n{text}"));
    }

    /// Something happened to `who`.
    pub(crate) fn event(&self, who: &str, what: &str) {
        self.text(&format!("{:>6.1} s  {who:<14}{what}", self.elapsed().as_secs_f64()));
    }

    /// Lines as they are.
    pub(crate) fn text(&self, text: &str) {
        match self.json {
            true => eprintln!("{text}"),
            false => println!("{text}"),
        }
    }

    /// The result, if it was asked for as JSON.
    pub(crate) fn json(&self, value: impl FnOnce() -> Value) {
        if self.json {
            println!("{:#}", value());
        }
    }
}

/// Milliseconds, as people read them.
pub(crate) fn ms(time: Duration) -> String {
    match time.as_millis() {
        0..=9 => format!("{:.1} ms", time.as_secs_f64() * 1000.0),
        10..=999 => format!("{} ms", time.as_millis()),
        _ => format!("{:.1} s", time.as_secs_f64()),
    }
}

/// Binary units, as memory is sold.
pub(crate) fn bytes(bytes: u64) -> String {
    let mib = bytes as f64 / f64::from(1 << 20);
    match bytes {
        0 => "0".to_owned(),
        1..=1_048_575 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        _ => format!("{mib:.1} MiB"),
    }
}

/// The beginning of an answer.
pub(crate) fn quoted(text: &str) -> String {
    let shown: String = text.chars().take(QUOTE_CHARS_MAX).collect();
    let more = if shown.len() < text.len() { "…" } else { "" };
    format!("“{shown}{more}”")
}
