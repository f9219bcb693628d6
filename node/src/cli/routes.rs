//! `fednode routes`: the rules by which the model `auto` chooses a manager. Works whether the node runs or not.

use std::path::Path;

use serde_json::json;

use super::exit::Failure;
use super::run::Out;
use super::table::{columns, table_within};
use crate::core::route::auto::{Routes, Rule};
use crate::driver::routes;

pub(super) fn run(out: Out, data_dir: &Path) -> Result<(), Failure> {
    let (routes, from) = routes::read(data_dir).map_err(|error| Failure::refused(error.to_string()))?;
    let from = from.map(|path| path.display().to_string());
    out.either(&json!({"file": from, "routes": routes}), || show(&routes, from.as_deref(), columns()));
    Ok(())
}

fn show(routes: &Routes, from: Option<&str>, columns: usize) -> String {
    let from = from.unwrap_or("fednode (put a routes.toml into the data directory to change them)");
    let default = routes.default.as_ref().map_or_else(|| "the first published slot".to_owned(), ToString::to_string);
    let rows: Vec<Vec<String>> = routes.rules.iter().map(row).collect();
    let rules =
        if rows.is_empty() { String::new() } else { table_within(&["TASK", "MANAGER", "WHEN"], &rows, columns) };
    format!("rules for the model auto, from {from}\n\n{rules}else {default}\n")
}

fn row(rule: &Rule) -> Vec<String> {
    let words = (!rule.words.is_empty()).then(|| format!("it says {}", rule.words.join(", ")));
    let fence =
        rule.code_fence.map(|fence| if fence { "it has a code fence" } else { "it has no code fence" }.to_owned());
    let at_least = rule.bytes_min.map(|bytes| format!("at least {bytes} bytes"));
    let at_most = rule.bytes_max.map(|bytes| format!("at most {bytes} bytes"));
    let when: Vec<String> = [words, fence, at_least, at_most].into_iter().flatten().collect();
    vec![rule.task.clone(), rule.slot.to_string(), when.join("; ")]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::golden;

    #[test]
    fn rules_read_as_sentences() {
        let rule = json!({"task": "code", "slot": "UDM:internal", "words": ["git", "bug"], "code_fence": true, "bytes_max": 9});
        let routes: Routes = serde_json::from_value(json!({"default": "UFM", "rule": [rule]})).unwrap();
        golden::check("routes", |columns| show(&routes, Some("/data/routes.toml"), columns));
        let none: Routes = serde_json::from_value(json!({})).unwrap();
        assert!(show(&none, None, 80).ends_with("else the first published slot\n"));
    }
}
