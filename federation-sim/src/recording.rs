//! Recorded questions from a file of JSON lines, for `run --workload`: what real people asked, played with any scenario.
//! One question a line, in any order; an empty line says nothing.
//!
//! ```text
//! {"at_ms": 1500, "node": 1, "slot": "UCM", "prompt_tokens": 212, "tokens": 80}
//! {"at_ms": 4210, "node": 2, "slot": "ULM", "domain": "personal", "prompt_tokens": 35, "tokens": 12}
//! ```
//!
//! `at_ms` counts from the beginning of the recording, `node` is the machine's number in the scenario, and the lengths
//! are those of `usage` in the answer. Whoever stands before a node's API can write it: all of it is in a request and its
//! answer. A gateway's access log becomes a recording with a line of `jq`.

use std::path::Path;

use crate::schedule::{QUESTIONS_MAX, Recorded};

/// Why a recording cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// The file could not be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A line is no question.
    #[error("{path}, line {line}: {source}")]
    Parse {
        /// The file.
        path: String,
        /// From 1.
        line: usize,
        /// Why.
        source: serde_json::Error,
    },
    /// Too many.
    #[error("{path} has more than {QUESTIONS_MAX} questions")]
    Long {
        /// The file.
        path: String,
    },
}

/// The questions in a file, in the order of their times.
pub fn read(path: &Path) -> Result<Vec<Recorded>, RecordingError> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path);
    parse(&name, &text.map_err(|source| RecordingError::Read { path: name.clone(), source })?)
}

fn parse(path: &str, text: &str) -> Result<Vec<Recorded>, RecordingError> {
    let mut questions = Vec::new();
    for (line, json) in (1..).zip(text.lines()).filter(|(_, json)| !json.trim().is_empty()) {
        if questions.len() >= QUESTIONS_MAX {
            return Err(RecordingError::Long { path: path.to_owned() });
        }
        let question: Recorded = serde_json::from_str(json).map_err(|source| RecordingError::Parse {
            path: path.to_owned(),
            line,
            source,
        })?;
        questions.push(question);
    }
    questions.sort_by_key(|question| question.at_ms);
    Ok(questions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_questions_in_the_order_of_their_times() {
        let text = "{\"at_ms\": 9, \"node\": 1, \"slot\": \"UCM\", \"prompt_tokens\": 3, \"tokens\": 4}\n\n\
                    {\"at_ms\": 5, \"node\": 0, \"slot\": \"ULM\", \"domain\": \"core\", \"prompt_tokens\": 1, \"tokens\": 2}\n";
        let questions = parse("file", text).expect("questions");
        let seen: Vec<_> = questions.iter().map(|q| (q.at_ms, q.slot.as_str(), q.domain.is_some(), q.tokens)).collect();
        assert_eq!(seen, [(5, "ULM", true, 2), (9, "UCM", false, 4)]);
    }

    #[test]
    fn a_line_that_is_none_is_named() {
        let wrong = ["{}", "{\"at_ms\": 1, \"node\": 0, \"slot\": \"UCM\", \"prompt_tokens\": 1, \"token\": 1}", "[]"];
        for line in wrong {
            let error = parse("file", &format!("\n{line}")).expect_err("no question");
            assert!(error.to_string().starts_with("file, line 2: "), "{error}");
        }
    }
}
