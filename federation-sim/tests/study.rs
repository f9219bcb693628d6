//! A small study, played for real: the same seed gives the same files byte for byte, each of them well-formed whatever
//! machines are called, and the figures of one can be found in the others.

use federation_sim::scenario;
use federation_sim::study::cases::{self, Case, Extent};
use federation_sim::study::labels::{Loss, Question, Way};
use federation_sim::study::{Study, page, play, table};
use federation_sim::world::World;

fn small(questions: &[Question], seed: u64, simulated_s: u64, threads: usize) -> Study {
    let extent = Extent { questions: questions.to_vec(), seed, simulated_s, quick: true };
    play(&extent, threads, &|_, _, _: &Case| {}).expect("a study")
}

fn files(study: &Study) -> [String; 3] {
    [page::html(study), table::csv(study), table::json(study)]
}

/// Tags that are never closed.
const VOID: [&str; 2] = ["meta", "!doctype"];

/// Every tag that is opened is closed in its turn; what an attribute holds is quoted.
fn well_formed(html: &str) -> Result<(), String> {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        let end = rest[at..].find('>').ok_or("a tag without an end")? + at;
        let tag = &rest[at + 1..end];
        rest = &rest[end + 1..];
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap_or_default();
        if !tag.matches('"').count().is_multiple_of(2) {
            return Err(format!("<{tag}> has an open quote"));
        }
        match (tag.starts_with('/'), tag.ends_with('/') || VOID.contains(&name)) {
            (true, _) if open.pop() != Some(name) => return Err(format!("</{name}> closes what is not open")),
            (true, _) | (false, true) => {}
            (false, false) => open.push(name),
        }
        if name == "style" && !tag.starts_with('/') {
            rest = &rest[rest.find("</style>").ok_or("a style without an end")?..];
        }
    }
    if open.is_empty() { Ok(()) } else { Err(format!("never closed: {open:?}")) }
}

/// The records of a file of CSV, as RFC 4180 has it.
fn records(csv: &str) -> Vec<Vec<String>> {
    let (mut records, mut record, mut field, mut quoted) = (Vec::new(), Vec::new(), String::new(), false);
    let mut letters = csv.chars().peekable();
    while let Some(letter) = letters.next() {
        match (quoted, letter) {
            (true, '"') if letters.next_if_eq(&'"').is_some() => field.push('"'),
            (_, '"') => quoted = !quoted,
            (false, ',') => record.push(std::mem::take(&mut field)),
            (false, '\r') => {}
            (false, '\n') => {
                record.push(std::mem::take(&mut field));
                records.push(std::mem::take(&mut record));
            }
            (_, other) => field.push(other),
        }
    }
    assert!(record.is_empty() && field.is_empty() && !quoted, "the last record has no end");
    records
}

#[test]
fn the_same_seed_gives_the_same_files_however_many_threads_play() {
    let of = |seed, threads| files(&small(&[Question::Griffith], seed, 480, threads));
    let one = of(7, 1);
    assert_eq!(of(7, 3), one);
    assert_ne!(of(8, 3), one);
}

#[test]
fn a_run_in_which_no_byte_crosses_a_line_is_the_same_over_every_line() {
    let base = scenario::load("study").expect("named");
    let extent = Extent { questions: vec![Question::Strategy], seed: 3, simulated_s: 600, quick: true };
    let cases = cases::all(&base, &extent).expect("cases");
    let case = cases.iter().find(|case| case.labels.way == Way::Swapping && !case.faster.is_empty()).expect("one");
    let slow = World::new(case.run.clone()).play();
    assert!(slow.bytes_moved == 0 && slow.loads > 0);
    for (labels, run) in &case.faster {
        assert_ne!(run.machines, case.run.machines);
        assert_eq!(World::new(run.clone()).play().trace_hash, slow.trace_hash, "{labels:?}");
    }
}

#[test]
fn a_small_study_finds_what_is_known() {
    let study = small(&[Question::Storage, Question::Griffith], 1, 1440, 2);
    let violated: Vec<_> = study.outcomes.iter().filter(|run| run.violations > 0).map(|run| &run.labels).collect();
    assert!(violated.is_empty(), "{violated:?}");
    let of = |machines: &str, way, loss| {
        let is = |labels: &federation_sim::study::labels::Labels| {
            (labels.machines.as_str(), labels.way, labels.loss) == (machines, way, loss)
        };
        study.outcomes.iter().find(|run| is(&run.labels)).expect("played")
    };
    let alone = of("one-griffith", Way::Specialised, Loss::ForGood);
    let pair = of("2 griffiths", Way::Specialised, Loss::ForGood);
    assert!(alone.asked > 0 && alone.answered == 0, "who loses it before anybody asks has nothing: {alone:?}");
    assert!(pair.answered_permille() >= 950, "{pair:?}");
    let both = of("2 griffiths", Way::Specialised, Loss::None);
    assert_eq!((both.waited_for_load, both.swaps), (0, 0), "everything is resident: {both:?}");
    assert!(both.memory_used_bytes_max > 2 * 7 * 15_000_000_000 && both.memory_used_bytes_max <= both.memory_bytes);
    let advice = study.advice();
    assert!(
        advice.iter().any(|one| one.topic == "A second Griffith" && one.says.starts_with("Worth it")),
        "{advice:?}"
    );
    assert!(advice.iter().any(|one| one.says.starts_with("Feed swaps from the disk")), "{advice:?}");
}

#[test]
fn files_are_well_formed_whatever_machines_are_called() {
    let mut study = small(&[Question::Griffith], 1, 480, 2);
    let hostile = "<b>\"my\", 'dog' & co\r\n</table>";
    for outcome in &mut study.outcomes {
        outcome.labels.machines = hostile.to_owned();
    }
    let [html, csv, json] = files(&study);
    assert_eq!(well_formed(&html), Ok(()));
    assert!(html.contains("&lt;b&gt;&quot;my&quot;, &#39;dog&#39; &amp; co") && !html.contains("<b>"));
    for absent in ["<script", "<link", "http://", "https://", "url(", "@import", " src="] {
        assert!(!html.contains(absent), "the page is to need nothing else, and has {absent}");
    }
    let records = records(&csv);
    assert_eq!(records.len(), 1 + study.outcomes.len());
    assert!(records.iter().all(|record| record.len() == records[0].len()));
    let column = |name: &str| records[0].iter().position(|head| head == name).expect(name);
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    for ((record, outcome), entry) in
        records[1..].iter().zip(&study.outcomes).zip(json["outcomes"].as_array().expect("a list"))
    {
        assert_eq!(record[column("machines")], hostile);
        assert_eq!(record[column("answered")], outcome.answered.to_string());
        assert_eq!(record[column("wait_p95_ms")], entry["wait_ms"]["p95"].to_string());
        assert_eq!(entry["machines"], hostile);
    }
    assert_eq!(json["advice"].as_array().map(Vec::len), Some(study.advice().len()));
}

#[test]
fn the_check_of_html_finds_what_is_wrong() {
    for wrong in ["<p>", "<p></b>", "<p", "<p class=\"a></p>", "</p>"] {
        assert!(well_formed(wrong).is_err(), "{wrong}");
    }
    assert_eq!(well_formed("<!doctype html><p><meta a=\"b\">x<rect x=\"1\"/></p>"), Ok(()));
}
