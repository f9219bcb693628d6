//! The questions' own parts of the page.

use super::chart::{Bar, Group, figure};
use super::escaped;
use super::grid::table;
use crate::study::Study;
use crate::study::cases::{DELEGATE, FILLING, NARROW, ONE, REFERENCE, ROOM};
use crate::study::labels::{Disk, Link, Loss, Question, Way};
use crate::study::outcome::Outcome;
use crate::study::words::{gb, hundredths, percent, seconds};

/// What is measured of a run, and how it is said.
type Figure = (fn(&Outcome) -> Option<u64>, fn(u64) -> String);

const WAIT_P95: Figure = (|run| (run.answered > 0).then_some(run.wait_ms.p95), seconds);
const LOAD_WAIT: Figure = (|run| (run.load_wait_ms.p50 > 0).then_some(run.load_wait_ms.p50), seconds);
const ANSWERED: Figure = (|run| Some(run.answered_permille()), percent);
const WAITED: Figure = (|run| Some(run.waited_permille()), percent);
const MEMORY: Figure = (|run| Some(run.memory_used_bytes_max), gb);
const READY: Figure = (|run| run.first_ready_ms, seconds);

const FILLED: Figure = (|run| run.last_stored_ms, seconds);

/// Columns that every table of runs ends with.
const FIGURES: [&str; 12] = [
    "asked",
    "answered",
    "failed",
    "lost",
    "p50",
    "p95",
    "p99",
    "no replica ready",
    "their median wait",
    "swaps an hour",
    "moved",
    "memory, mean / most",
];

/// A chart of one figure: a group for each value of `group`, a bar for each of `bar`, in the order in which they come.
fn bars<'a>(
    id: &str,
    title: &str,
    runs: impl Iterator<Item = &'a Outcome>,
    (value, text): Figure,
    group: impl Fn(&Outcome) -> String,
    bar: impl Fn(&Outcome) -> (String, usize),
) -> String {
    let mut groups: Vec<Group> = Vec::new();
    for run in runs {
        let name = group(run);
        let at = groups.iter().position(|known| known.name == name).unwrap_or_else(|| {
            groups.push(Group { name, bars: Vec::new() });
            groups.len() - 1
        });
        let (name, colour) = bar(run);
        let value = value(run);
        let text = value.map_or_else(|| "never".to_owned(), text);
        groups[at].bars.push(Bar { name, colour, value: value.unwrap_or(0), text });
    }
    figure(id, title, &groups)
}

fn machines(run: &Outcome) -> String {
    run.labels.machines.clone()
}

fn way(run: &Outcome) -> (String, usize) {
    let colour = Way::ALL.iter().position(|way| *way == run.labels.way).unwrap_or(0);
    (run.labels.way.as_str().to_owned(), colour)
}

fn disk(run: &Outcome) -> (String, usize) {
    (run.labels.disk.as_str().to_owned(), usize::from(run.labels.disk == Disk::Sata))
}

fn link(run: &Outcome) -> (String, usize) {
    let colour = Link::ALL.iter().position(|link| *link == run.labels.link).unwrap_or(0);
    (run.labels.link.as_str().to_owned(), colour)
}

fn is_reference(run: &&Outcome) -> bool {
    (run.labels.link, run.labels.disk) == REFERENCE
}

/// Runs as a table: what `names` says of each, then its figures.
fn runs<'a>(
    caption: &str,
    heads: &[&str],
    runs: impl Iterator<Item = &'a Outcome>,
    names: impl Fn(&Outcome) -> Vec<String>,
) -> String {
    let head: Vec<&str> = heads.iter().copied().chain(FIGURES).collect();
    let rows: Vec<Vec<String>> =
        runs.map(|run| names(run).into_iter().chain(figures(run)).collect::<Vec<String>>()).collect();
    table(caption, &head, &rows)
}

fn figures(run: &Outcome) -> [String; 12] {
    [
        run.asked.to_string(),
        percent(run.answered_permille()),
        run.failures().to_string(),
        run.lost.to_string(),
        seconds(run.wait_ms.p50),
        seconds(run.wait_ms.p95),
        seconds(run.wait_ms.p99),
        percent(run.waited_permille()),
        seconds(run.load_wait_ms.p50),
        hundredths(run.swaps_per_100_h()),
        gb(run.bytes_moved),
        format!("{} / {}", gb(run.memory_used_bytes), gb(run.memory_used_bytes_max)),
    ]
}

/// Something long that is not needed at once.
fn folded(summary: &str, html: &str) -> String {
    format!("<details>\n<summary>{}</summary>\n{html}</details>\n", escaped(summary))
}

pub(super) fn strategy(study: &Study) -> String {
    let all = || study.of(Question::Strategy);
    let reference = || all().filter(is_reference);
    let swapping = || all().filter(|run| run.labels.way == Way::Swapping && run.labels.link == REFERENCE.0);
    let names = |run: &Outcome| vec![machines(run), way(run).0];
    let everything = |run: &Outcome| vec![machines(run), way(run).0, link(run).0, disk(run).0];
    [
        "<p>Where no byte crossed a line in a run, the run is the same over every line and was played once.</p>\n".to_owned(),
        "<p>Strategy A keeps what fits and offers nothing else; B loads on demand; mixed keeps what fits and swaps the rest; a \
         shared base serves all seven managers as adapters of one model. Lines of 1 GbE and NVMe, unless said \
         otherwise.</p>\n<div class=\"charts\">\n"
            .to_owned(),
        bars("answered", "Questions answered", reference(), ANSWERED, machines, way),
        bars("p95", "95 of 100 first tokens came within", reference(), WAIT_P95, machines, way),
        bars("waited", "Asked while no replica of the manager was ready", reference(), WAITED, machines, way),
        bars("memory", "Memory that managers took, at most", reference(), MEMORY, machines, way),
        bars("disks", "Swapping: median wait of those who waited for a load", swapping(), LOAD_WAIT, machines, disk),
        "</div>\n".to_owned(),
        runs("Four strategies, 1 GbE and NVMe", &["machines", "strategy"], reference(), names),
        folded(
            "Every line and disk",
            &runs("Every line and disk", &["machines", "strategy", "line", "disk"], all(), everything),
        ),
    ]
    .concat()
}

pub(super) fn loss(study: &Study) -> String {
    let lost = |loss| study.of(Question::Loss).filter(move |run| run.labels.loss == loss);
    let names = |run: &Outcome| vec![machines(run), way(run).0, run.labels.loss.as_str().to_owned()];
    [
        "<p>After an eighth of the run the machine with the most memory loses power, for as long again or for good. Answered \
         counts all questions of the run, before and after.</p>\n<div class=\"charts\">\n"
            .to_owned(),
        bars("away", "Answered, largest machine away for a while", lost(Loss::ForAWhile), ANSWERED, machines, way),
        bars("gone", "Answered, largest machine gone for good", lost(Loss::ForGood), ANSWERED, machines, way),
        "</div>\n".to_owned(),
        runs("When the largest machine dies", &["machines", "strategy", "away"], study.of(Question::Loss), names),
    ]
    .concat()
}

pub(super) fn minimum(study: &Study) -> String {
    let of = |task: &'static str| study.of(Question::Minimum).filter(move |run| run.labels.task == task);
    let swapping = || study.of(Question::Minimum).filter(|run| run.labels.way == Way::Swapping);
    let names = |run: &Outcome| vec![machines(run), run.labels.task.clone(), disk(run).0];
    let rows: Vec<Vec<String>> = study.sizes.iter().map(size).collect();
    let memory: Vec<Group> = study
        .sizes
        .iter()
        .map(|size| {
            let bar = |name: &str, colour, value| Bar { name: name.to_owned(), colour, value, text: gb(value) };
            let bars = vec![bar("for managers", 0, size.budget_bytes), bar("one needs", 1, size.manager_bytes)];
            Group { name: format!("{} GB", size.gib), bars }
        })
        .collect();
    let head = [
        "memory",
        "tier",
        "hosts by itself",
        "kept for the system",
        "for managers",
        "one manager needs",
        "short",
        "longest context",
        "resident",
        "expected swap, NVMe",
        "SATA",
    ];
    [
        "<p>What fednode's own arithmetic says of a machine of each size alone, and what one person with it would live \
         through. Sizes are as they are sold: 16 GB are 16 GiB.</p>\n<div class=\"charts\">\n"
            .to_owned(),
        figure("budget", "Memory for managers, and what one needs", &memory),
        bars("swaps", "Seven managers swapped: 95 of 100 first tokens within", swapping(), WAIT_P95, machines, disk),
        bars("served", "Seven managers swapped: questions answered", swapping(), ANSWERED, machines, disk),
        bars("one", "One manager: questions answered", of(ONE), ANSWERED, machines, |_| ("hosts it".to_owned(), 0)),
        bars("delegates", "Delegate of a Griffith: questions answered", of(DELEGATE), ANSWERED, machines, |_| {
            ("delegates".to_owned(), 2)
        }),
        "</div>\n".to_owned(),
        table("Sizes, by fednode's own arithmetic", &head, &rows),
        runs("Sizes, as one person lives with them", &["memory", "hosts", "disk"], study.of(Question::Minimum), names),
    ]
    .concat()
}

fn size(size: &crate::study::sizes::Size) -> Vec<String> {
    let wait = |ms: Option<u64>| ms.map_or_else(|| "never".to_owned(), seconds);
    vec![
        format!("{} GB", size.gib),
        size.tier.to_owned(),
        if size.hosts { "yes" } else { "no" }.to_owned(),
        gb(size.reserve_bytes),
        gb(size.budget_bytes),
        gb(size.manager_bytes),
        if size.short_bytes == 0 { "fits".to_owned() } else { gb(size.short_bytes) },
        size.context.map_or_else(|| "none".to_owned(), |context| context.to_string()),
        format!("{} of 7", size.resident),
        wait(size.wait_nvme_ms),
        wait(size.wait_sata_ms),
    ]
}

pub(super) fn storage(study: &Study) -> String {
    let is_seven = |run: &&Outcome| run.labels.task == ROOM || run.labels.task == NARROW;
    let is_filling = |run: &&Outcome| run.labels.task == FILLING;
    let one = || study.of(Question::Storage).filter(move |run| !is_seven(run) && !is_filling(run));
    let filling = || study.of(Question::Storage).filter(is_filling);
    let seven = || study.of(Question::Storage).filter(is_seven);
    let group = |run: &Outcome| format!("{}, {}", run.labels.task, run.labels.disk.as_str());
    let names = |run: &Outcome| {
        let stored = run.last_stored_ms.map_or_else(|| "at once".to_owned(), seconds);
        vec![run.labels.task.clone(), link(run).0, disk(run).0, stored]
    };
    [
        "<p>A library holds every manager and has no memory for any; a desk has memory for one. How long until the desk is ready \
         when the 13.48 GB lie on its disk, and when they come over the line first; what it answers with a disk for seven \
         managers, and with one for two. fednode fills disks in the background and deletes nothing that is in the \
         roster, so that a manager is fetched once; what finds no room can never be loaded there. And four new desks of 32 GB, of \
         which only the first has the managers: until all disks are filled, and what people wait in a run that begins so.</p>\n<div class=\"charts\">\n"
            .to_owned(),
        bars("ready", "From power on until the manager is ready", one(), READY, group, link),
        bars("filled", "Four new desks: until all disks were filled", filling(), FILLED, group, link),
        bars("filling", "Meanwhile: 95 of 100 first tokens within", filling(), WAIT_P95, group, link),
        bars("room", "Seven managers swapped: questions answered", seven(), ANSWERED, group, link),
        "</div>\n".to_owned(),
        runs("Disk or line", &["hosts", "line", "disk", "all stored after"], study.of(Question::Storage), names),
    ]
    .concat()
}

pub(super) fn griffith(study: &Study) -> String {
    let all = || study.of(Question::Griffith);
    let group = |run: &Outcome| format!("{}, loss: {}", run.labels.way.as_str(), run.labels.loss.as_str());
    let count = |run: &Outcome| (machines(run), usize::from(run.labels.machines != "one-griffith"));
    let names = |run: &Outcome| vec![machines(run), way(run).0, run.labels.loss.as_str().to_owned()];
    let mut sorted: Vec<&Outcome> = all().collect();
    sorted.sort_by_key(|run| (run.labels.way, run.labels.loss));
    let sorted = || sorted.iter().copied();
    [
        "<p>One server that holds all seven managers, or two that each hold all seven, on 10 GbE; people sit at laptops and at \
         the servers.</p>\n<div class=\"charts\">\n"
            .to_owned(),
        bars("griffith-answered", "Questions answered", sorted(), ANSWERED, group, count),
        bars("griffith-p95", "95 of 100 first tokens came within", sorted(), WAIT_P95, group, count),
        "</div>\n".to_owned(),
        runs("One Griffith or two", &["machines", "strategy", "away"], all(), names),
    ]
    .concat()
}
