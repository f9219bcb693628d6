//! The report for people: one file of HTML that needs nothing else, for light and dark, phones and screen readers. Each
//! question has its charts, the same figures as tables, and what its runs were; recommendations stand at the end.

mod chart;
mod grid;
mod parts;

use std::borrow::Cow;
use std::fmt::Write;

use super::Study;
use super::labels::Question;
use super::rules::{Advice, Thresholds};
use super::words::{percent, seconds};

const STYLE: &str = include_str!("page/style.css");

/// The whole page.
pub fn html(study: &Study) -> String {
    let asked: Vec<Question> =
        Question::ALL.into_iter().filter(|question| study.of(*question).next().is_some()).collect();
    let mut page = head(study, &asked);
    for question in asked {
        let id = question.as_str();
        let _ =
            writeln!(page, "<section aria-labelledby=\"{id}\">\n<h2 id=\"{id}\">{}</h2>", escaped(question.asked()));
        page.push_str(&match question {
            Question::Strategy => parts::strategy(study),
            Question::Loss => parts::loss(study),
            Question::Minimum => parts::minimum(study),
            Question::Storage => parts::storage(study),
            Question::Griffith => parts::griffith(study),
        });
        page.push_str("</section>\n");
    }
    page.push_str(ASSUMED);
    page.push_str(&recommendations(&study.advice()));
    let _ = write!(
        page,
        "</main>\n<footer>Made by <code>federation-sim study</code> from the seed {}. The same seed gives the same file; \
         study.csv and study.json beside it have every figure.</footer>\n</body>\n</html>\n",
        study.seed
    );
    page
}

fn head(study: &Study, asked: &[Question]) -> String {
    let violations: u64 = study.outcomes.iter().map(|outcome| outcome.violations).sum();
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>Before buying hardware</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n<header>\n<h1>Before buying hardware: a study of personal federations</h1>\n\
         <p>{} runs of {} each (four times as long where one person has one machine), seed {}; {violations} violations of what must always hold. Every machine in them runs \
         fednode's own decisions; people, lines, disks and engines are simulated.</p>\n</header>\n<nav aria-label=\"Questions\">\n<ul>\n",
        study.outcomes.len(),
        seconds(study.simulated_s * 1000),
        study.seed
    );
    for question in asked {
        let _ = writeln!(page, "<li><a href=\"#{}\">{}</a></li>", question.as_str(), escaped(question.asked()));
    }
    page.push_str("<li><a href=\"#assumed\">What is assumed</a></li>\n<li><a href=\"#advice\">Recommendations</a></li>\n</ul>\n</nav>\n<main>\n");
    page
}

/// What the runs take for granted: the numbers of `scenarios/study.toml` and `labels`, with where they come from.
const ASSUMED: &str = "<section aria-labelledby=\"assumed\">\n<h2 id=\"assumed\">What is assumed</h2>\n<ul>\n\
<li>A manager is a model of 6.7 billion parameters at F16: 13.48 GB on disk, 4,096 tokens of context. Footprints and reserves \
are fednode's own formulas.</li>\n\
<li>NVMe reads 3.0 GB/s, so that 13.48 GB load in 4.5 s (measured with llama.cpp: 3.8 s; a raw read took 5.0 s). SATA reads \
0.53 GB/s. Bytes that were fetched are read once more and hashed before they count.</li>\n\
<li>Lines carry 94 % of what they are called. A machine receives no faster than its disk writes.</li>\n\
<li>A desk answers 4 tokens a second and reads prompts at 29 (measured on two threads: 3.2 to 4.1, and 29). A Griffith is taken to \
answer 8 and read 120, unified memory 15 and 300, a GPU 40 and 2,000. A machine computes one answer at a time.</li>\n\
<li>120 questions an hour in a whole federation (28 where one person has one machine), up to 300 prompt tokens and 120 tokens of \
answer, managers by Zipf's law, sessions of one to six questions. Everybody sits at some machine; whose machine is \
off asks nothing.</li>\n\
<li>Disks hold what they have room for when a run begins, except where a run is about fetching; nobody asks in the first two \
minutes.</li>\n\
<li>A wait is from the question to the first token, of what was answered. Waiting for a load: no replica of the manager was \
ready when it was asked.</li>\n</ul>\n</section>\n";

fn recommendations(advice: &[Advice]) -> String {
    let is = Thresholds::default();
    let mut html = format!(
        "<section aria-labelledby=\"advice\">\n<h2 id=\"advice\">Recommendations</h2>\n<p>Computed from the figures above. Enough: {} \
         of the questions answered ({} when a machine dies), and where people are patient, 95 of 100 first tokens within {}. \
         Equal: within {} % of each other. Worth buying: {} more answered, or a 95th percentile shorter by {} %; a disk, {} less \
         for a load; a shared base, at most {} % of the memory.</p>\n",
        percent(is.answered_permille_min),
        percent(is.answered_after_loss_permille_min),
        seconds(is.patience_ms),
        is.equal_percent,
        percent(is.gain_permille),
        is.gain_wait_percent,
        seconds(is.gain_load_ms),
        is.shared_memory_percent
    );
    for one in advice {
        let _ = write!(
            html,
            "<div class=\"advice\">\n<h3>{}</h3>\n<p>{}</p>\n<ul>\n",
            escaped(&one.topic),
            escaped(&one.says)
        );
        for figure in &one.because {
            let _ = writeln!(html, "<li>{}</li>", escaped(figure));
        }
        html.push_str("</ul>\n</div>\n");
    }
    html.push_str("</section>\n");
    html
}

/// Safe as text and in a quoted attribute.
fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(['&', '<', '>', '"', '\'']) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    Cow::Owned(safe)
}
