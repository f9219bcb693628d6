//! The style of the code, measured (DESIGN 3): every Rust file begins with `//!` and stays under 400 lines, every function
//! under 70. Functions are found by their indentation, which rustfmt guarantees; a part of `scripts/test` checks that.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const FILE_LINES_MAX: usize = 400;
const FUNCTION_LINES_MAX: usize = 70;
const PACKAGES: [&str; 4] = ["proto", "node", "federation-sim", "tests"];

#[test]
fn every_file_says_what_it_is() {
    complain(sources().filter_map(|(path, text)| match text.starts_with("//!") {
        true => None,
        false => Some(format!("{} must begin with //!", path.display())),
    }));
}

#[test]
fn no_file_is_too_long() {
    complain(sources().filter_map(|(path, text)| match text.lines().count() {
        0..=FILE_LINES_MAX => None,
        lines => Some(format!("{} has {lines} lines; split it along a seam", path.display())),
    }));
}

#[test]
fn no_function_is_too_long() {
    complain(sources().flat_map(|(path, text)| {
        let long = functions(&text).into_iter().filter(|function| function.lines > FUNCTION_LINES_MAX);
        long.map(|found| format!("{}:{} {} has {} lines", path.display(), found.line, found.name, found.lines))
            .collect::<Vec<_>>()
    }));
}

/// A threat without a test would be a wish: every row of SECURITY.md names tests, and they exist.
#[test]
fn every_threat_has_its_test() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../SECURITY.md");
    let table = std::fs::read_to_string(path).expect("SECURITY.md");
    let named: BTreeSet<String> = sources()
        .flat_map(|(_, text)| functions(&text).into_iter().map(|found| found.name).collect::<Vec<_>>())
        .collect();
    let rows: Vec<&str> =
        table.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| Threat ")).collect();
    assert!(rows.len() > 20, "only {} threats were found", rows.len());
    complain(rows.into_iter().flat_map(|row| {
        let cell = row.trim_end_matches('|').rsplit('|').next().unwrap_or_default();
        let tests: Vec<&str> = cell.split('`').skip(1).step_by(2).collect();
        let none = tests.is_empty().then(|| format!("no test: {row}"));
        let missing = tests.into_iter().filter(|test| !named.contains(*test));
        none.into_iter().chain(missing.map(|test| format!("there is no test {test}"))).collect::<Vec<_>>()
    }));
}

#[test]
fn functions_are_measured_with_their_first_and_last_line() {
    let text = "fn one() {}\nimpl X {\n    pub(crate) async fn two<T>(\n        a: T,\n    ) -> T {\n        a\n    }\n}\n\
                trait T {\n    fn three();\n}\nfn four() {\n    // fn five() {\n}\n";
    let found: Vec<(String, usize, usize)> = functions(text).into_iter().map(|f| (f.name, f.line, f.lines)).collect();
    let expect = [("one", 1, 1), ("two", 3, 5), ("three", 10, 1), ("four", 12, 3)];
    assert_eq!(found, expect.map(|(name, line, lines)| (name.to_owned(), line, lines)));
}

fn complain(faults: impl Iterator<Item = String>) {
    let faults: Vec<String> = faults.collect();
    assert!(faults.is_empty(), "\n  {}\n", faults.join("\n  "));
}

/// Every Rust file of our packages, with its text.
fn sources() -> impl Iterator<Item = (PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files = Vec::new();
    for package in PACKAGES {
        collect(&root.join(package), &mut files);
    }
    assert!(files.len() > 50, "only {} files were found below {}", files.len(), root.display());
    files.sort();
    files.into_iter().map(move |path| {
        let text = std::fs::read_to_string(&path).expect("a source file can be read");
        (path.strip_prefix(&root).map(Path::to_owned).unwrap_or(path), text)
    })
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder of sources can be read") {
        let path = entry.expect("a folder of sources can be read").path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            collect(&path, files);
        } else if name.ends_with(".rs") {
            files.push(path);
        }
    }
}

struct Function {
    name: String,
    /// Of the signature, from 1.
    line: usize,
    lines: usize,
}

/// The functions of a file that rustfmt has formatted: from the line with `fn` to the brace (or, without a body, the
/// semicolon) at the same indentation.
fn functions(text: &str) -> Vec<Function> {
    let lines: Vec<&str> = text.lines().collect();
    let mut functions = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else { continue };
        let indentation = &line[..line.len() - line.trim_start().len()];
        let rest = lines[index..].iter();
        let more = rest.enumerate().position(|(offset, line)| ends(line, indentation, offset == 0)).unwrap_or(0);
        functions.push(Function { name: name.to_owned(), line: index + 1, lines: more + 1 });
    }
    functions
}

fn function_name(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace();
    let qualifiers = ["pub", "const", "async", "unsafe", "extern", "\"C\"", "default"];
    let fits = |word: &&str| !qualifiers.contains(word) && !word.starts_with("pub(");
    let name = words.find(fits).filter(|word| *word == "fn").and_then(|_| words.next())?;
    name.split(['(', '<']).next()
}

fn ends(line: &str, indentation: &str, first: bool) -> bool {
    let Some(rest) = line.strip_prefix(indentation) else { return false };
    match first {
        true => rest.ends_with('}') || rest.ends_with(';'),
        false => rest.starts_with('}') || (rest.starts_with(')') && rest.ends_with(';')),
    }
}
