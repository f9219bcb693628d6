//! What engines take at their peak, beside what was predicted before they were loaded.

use std::fmt::Write as _;
use std::path::Path;
use std::thread;
use std::time::Duration;

use fednode_tests::{Client, Federation, NodeProcess, NodeSpec, engines_of, status_bytes, until};

use super::{LIMIT, pid};

/// A prompt as long as the context, on one thread of a busy machine.
const PROMPT_LIMIT: Duration = Duration::from_secs(900);
/// Predictions are good to one part in twenty, beside the program's own pages: a system maps so much more or fewer of them,
/// depending on how its file came into the page cache.
const PROGRAM_BYTES: u64 = 4 << 20;

/// The shape of a model, and of its replica.
struct Case {
    name: &'static str,
    layers: u32,
    hidden: u32,
    heads: u32,
    kv_heads: u32,
    ffn: u32,
    vocab: u32,
    context: u32,
    parallel: u32,
    /// Of the context, what the prompts fill: all of it, or what a large model does in minutes.
    prompt: u32,
}

#[rustfmt::skip]
const SHORT: [Case; 5] = [
    Case { name: "tiny", layers: 4, hidden: 256, heads: 4, kv_heads: 4, ffn: 704, vocab: 512, context: 512, parallel: 1, prompt: 512 },
    Case { name: "long context", layers: 8, hidden: 256, heads: 4, kv_heads: 4, ffn: 704, vocab: 8192, context: 8192, parallel: 1, prompt: 8192 },
    Case { name: "parallel", layers: 8, hidden: 512, heads: 8, kv_heads: 4, ffn: 1408, vocab: 32256, context: 1024, parallel: 4, prompt: 1024 },
    Case { name: "wide", layers: 4, hidden: 1024, heads: 16, kv_heads: 4, ffn: 3584, vocab: 32256, context: 1024, parallel: 2, prompt: 1024 },
    Case { name: "1.3B", layers: 24, hidden: 2048, heads: 16, kv_heads: 16, ffn: 5504, vocab: 32256, context: 2048, parallel: 1, prompt: 512 },
];

#[rustfmt::skip]
const LONG: [Case; 5] = [
    Case { name: "0.17B", layers: 8, hidden: 1024, heads: 16, kv_heads: 16, ffn: 2816, vocab: 32256, context: 2048, parallel: 1, prompt: 2048 },
    Case { name: "0.17B", layers: 8, hidden: 1024, heads: 16, kv_heads: 16, ffn: 2816, vocab: 32256, context: 4096, parallel: 4, prompt: 2048 },
    Case { name: "0.85B", layers: 16, hidden: 2048, heads: 32, kv_heads: 8, ffn: 5632, vocab: 32256, context: 1024, parallel: 2, prompt: 1024 },
    Case { name: "vocabulary", layers: 2, hidden: 768, heads: 12, kv_heads: 12, ffn: 2048, vocab: 64_000, context: 512, parallel: 1, prompt: 512 },
    Case { name: "6.7B", layers: 32, hidden: 4096, heads: 32, kv_heads: 32, ffn: 11008, vocab: 32256, context: 4096, parallel: 1, prompt: 512 },
];

#[test]
fn the_peak_of_an_engine_is_what_was_predicted() {
    let long = std::env::var_os("FEDNODE_FOOTPRINTS_LONG").is_some();
    let cases = SHORT.iter().chain(if long { LONG.iter() } else { [].iter() });
    let mut table = String::new();
    let mut worst = Vec::new();
    for case in cases {
        let (predicted, measured) = measure(case);
        let error = predicted.abs_diff(measured);
        let sign = if predicted < measured { '-' } else { '+' };
        let mib = |bytes: u64| bytes as f64 / 1048576.0;
        let permille = error * 1000 / measured;
        writeln!(
            table,
            "{:13} {:>5} × {}: predicted {:9.1} MiB, measured {:9.1} MiB, {sign}{}.{} %",
            case.name,
            case.context,
            case.parallel,
            mib(predicted),
            mib(measured),
            permille / 10,
            permille % 10
        )
        .expect("a string takes it");
        if error > measured / 20 + PROGRAM_BYTES {
            worst.push(case.name);
        }
    }
    println!("{table}");
    assert!(worst.is_empty(), "predicted wrong: {worst:?}\n{table}");
}

/// Predicted before the model was ever loaded, and the peak of its engine after prompts in all sequences at once.
fn measure(case: &Case) -> (u64, u64) {
    let mut federation = Federation::new().expect("a federation");
    let roster = federation.folder().join("roster.toml");
    let (context, parallel) = (case.context, case.parallel);
    let text = format!("name = \"one\"\n[[slot]]\nname = \"M\"\ncontext = {context}\nparallel = {parallel}\n");
    std::fs::write(&roster, text).expect("a roster");
    let spec = NodeSpec::full("alone").memory("1TB").flag("--roster", &roster.to_string_lossy());
    federation.create(spec).expect("up");
    let node = federation.node("alone");
    let beside = beside();
    let model = make(case, node, beside.path());
    node.command(&["publish", &model, "--as", "M"]).expect("published");
    drop(beside);
    node.command(&["load", "M"]).expect("loaded");
    let engine =
        until("an engine", LIMIT, || engines_of(pid(node)).first().copied().ok_or("none".to_owned())).expect("one");
    // While it loads, a file is mapped twice for a moment and its pages count twice: the peak begins anew (proc(5), clear_refs).
    std::fs::write(format!("/proc/{engine}/clear_refs"), "5").expect("the peak is set back");
    thread::scope(|scope| {
        for _ in 0..case.parallel {
            scope.spawn(|| ask(case, node));
        }
    });
    // Scoring looks at more logits at once than any answer does.
    node.command(&["verify", "M"]).expect("verified");
    (predicted(node), status_bytes(engine, "VmHWM").expect("it runs"))
}

/// Where a model lies until it is published: in memory where a system keeps files there, for the largest is 2.5 GiB, and a
/// disk must hold the store's copy and the store's reserve too.
fn beside() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder")
}

fn make(case: &Case, node: &NodeProcess, folder: &Path) -> String {
    let out = folder.join("model.gguf").to_string_lossy().into_owned();
    let numbers = [
        ("--layers", case.layers),
        ("--hidden", case.hidden),
        ("--heads", case.heads),
        ("--kv-heads", case.kv_heads),
        ("--ffn", case.ffn),
        ("--vocab", case.vocab),
        ("--context", 16_384),
    ];
    let numbers: Vec<String> = numbers.iter().flat_map(|(name, n)| [(*name).to_owned(), n.to_string()]).collect();
    let mut args = vec!["dev", "make-model", "--out", &out];
    args.extend(numbers.iter().map(String::as_str));
    node.command(&args).expect("a model");
    out
}

/// A prompt of one token for each letter, and a short answer.
fn ask(case: &Case, node: &NodeProcess) {
    let client = Client::with_limit(node.client().base(), PROMPT_LIMIT);
    let question = fednode_tests::Question::new("M", &"a".repeat(case.prompt as usize - 40));
    let answer = client.ask(&question.with("max_tokens", 8.into())).expect("a reply");
    assert!(answer.is_complete(), "{}\n{}", answer.summary(), node.log_tail());
}

/// What the node's first load of it was admitted with: nothing of it had been measured yet.
fn predicted(node: &NodeProcess) -> u64 {
    let log = std::fs::read_to_string(node.log_path()).expect("a log");
    let line = log.lines().find(|line| line.contains("loading") && line.contains("memory_domain")).expect("a load");
    let bytes = line.split("bytes=").nth(1).expect("its size");
    let digits: String = bytes.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
    digits.parse().expect("a number")
}
