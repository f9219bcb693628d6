//! The engine of the release binary, asked without a node around it: `fednode dev score` and `fednode dev tokenize`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use fednode_tests::binary;
use serde_json::{Value, json};

use super::reference::{Sequence, numbers_of};

/// Of one sequence: what the models were made for.
const CONTEXT: &str = "512";

/// A base and its adapters, as the files that a node has made of the folders it was given.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Files {
    pub model: PathBuf,
    /// Each with its domain.
    pub adapters: Vec<(String, PathBuf)>,
}

/// What the engine said of one sequence.
#[derive(Clone, PartialEq, Debug)]
pub struct Scored {
    /// Row p: the log-probability of every token after the first p + 1.
    pub rows: Vec<Vec<f32>>,
    pub greedy: Vec<u32>,
}

/// Scores sequences, each in its domain, all in one process, and goes on with `greedy` tokens after each.
pub fn score(files: &Files, asked: &[(&str, &Sequence)], greedy: usize) -> Vec<Scored> {
    let sequence =
        |(domain, sequence): &(&str, &Sequence)| json!({"domain": domain, "tokens": sequence.tokens, "wanted": "all"});
    let question = json!({"sequences": asked.iter().map(sequence).collect::<Vec<_>>(), "greedy": greedy});
    let mut command = Command::new(binary::fednode().expect("a binary"));
    command
        .args(["dev", "score", "--context", CONTEXT, "--parallel", "2", "--threads", "1", "--model"])
        .arg(&files.model);
    for (domain, path) in &files.adapters {
        command.arg("--adapter").arg(format!("{domain}={}", path.display()));
    }
    let answer = run(command, &question);
    let scored = answer["sequences"].as_array().expect("sequences").iter().map(|answer| Scored {
        rows: answer["logprobs"].as_array().expect("log-probabilities").iter().map(row).collect(),
        greedy: numbers_of(&answer["greedy"]),
    });
    let scored: Vec<Scored> = scored.collect();
    assert_eq!(scored.len(), asked.len(), "an answer for every sequence");
    for (scored, (_, sequence)) in scored.iter().zip(asked) {
        assert_eq!(scored.rows.len(), sequence.tokens.len() - 1, "a row for every token but the first");
    }
    scored
}

/// The tokens of each text.
pub fn tokenize(model: &Path, texts: &Value) -> Vec<Vec<u32>> {
    let mut command = Command::new(binary::fednode().expect("a binary"));
    command.args(["dev", "tokenize", "--model"]).arg(model);
    run(command, texts).as_array().expect("a list for each text").iter().map(numbers_of).collect()
}

fn row(value: &Value) -> Vec<f32> {
    let numbers = value.as_array().expect("a row of numbers").iter();
    numbers.map(|number| number.as_f64().expect("a number") as f32).collect()
}

fn run(mut command: Command, question: &Value) -> Value {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("fednode");
    let mut input = child.stdin.take().expect("its input is piped");
    input.write_all(question.to_string().as_bytes()).expect("it reads its question");
    drop(input);
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{command:?}: {}", output.status);
    serde_json::from_slice(&output.stdout).expect("JSON")
}
