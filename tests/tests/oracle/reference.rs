//! What Hugging Face said: `tests/oracle/reference.json` and the numbers beside it. `tests/oracle/reference.py` wrote them.

use std::path::PathBuf;

use serde_json::Value;

/// A folder of `tests/oracle`.
pub fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("oracle").join(name)
}

/// A JSON file of `tests/oracle`.
pub fn document(name: &str) -> Value {
    let text = std::fs::read_to_string(folder(name)).expect("a file of the oracle");
    serde_json::from_str(&text).expect("JSON of the oracle")
}

/// A model as it is asked, and what it must say.
#[derive(Clone, PartialEq, Debug)]
pub struct Case {
    /// For people.
    pub name: String,
    /// Its Hugging Face folder.
    pub model: String,
    /// Of its adapter; empty: without one.
    pub domain: String,
    pub sequences: Vec<Sequence>,
}

/// Some tokens, and what follows them.
#[derive(Clone, PartialEq, Debug)]
pub struct Sequence {
    pub tokens: Vec<u32>,
    /// How many tokens stand before it, and the log-probability of every token there.
    pub positions: Vec<(usize, Vec<f32>)>,
    /// What greedy decoding adds.
    pub greedy: Vec<u32>,
    /// The smallest lead of a winner over the second on the way.
    pub least_margin: f32,
}

/// All cases.
pub fn cases() -> Vec<Case> {
    let document = document("reference.json");
    let vocabulary = document["vocabulary"].as_u64().expect("the size of the vocabulary") as usize;
    let bytes = std::fs::read(folder("reference.f32")).expect("the numbers of the oracle");
    let numbers: Vec<f32> =
        bytes.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().expect("four bytes"))).collect();
    let rows: Vec<&[f32]> = numbers.chunks_exact(vocabulary).collect();
    let sequence = |value: &Value| {
        let first = value["first_row"].as_u64().expect("a row") as usize;
        let positions = numbers_of(&value["positions"]).into_iter().enumerate();
        let margins = value["margins"].as_array().expect("margins").iter().filter_map(Value::as_f64);
        Sequence {
            tokens: numbers_of(&value["tokens"]),
            positions: positions.map(|(index, at)| (at as usize, rows[first + index].to_vec())).collect(),
            greedy: numbers_of(&value["greedy"]),
            least_margin: margins.fold(f64::INFINITY, f64::min) as f32,
        }
    };
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let cases = document["cases"].as_array().expect("cases").iter();
    let case = |case: &Value| Case {
        name: text(&case["name"]),
        model: text(&case["model"]),
        domain: text(&case["domain"]),
        sequences: case["sequences"].as_array().expect("sequences").iter().map(sequence).collect(),
    };
    cases.map(case).collect()
}

/// A list of token numbers.
pub fn numbers_of(value: &Value) -> Vec<u32> {
    let list = value.as_array().unwrap_or_else(|| panic!("{value} is no list"));
    list.iter().map(|number| number.as_u64().and_then(|number| u32::try_from(number).ok()).expect("a token")).collect()
}
