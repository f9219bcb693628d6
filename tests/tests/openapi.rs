//! The API is what its document says: schemathesis makes requests from `/openapi.json`, good and bad ones, and looks at every answer:
//! no fault of the server, and no status, kind of content or body that the document does not know. `FEDNODE_OPENAPI_EXAMPLES=500`
//! for the long version, `FEDNODE_OPENAPI_SEED` for another one. `tests/conformance/install`, which `scripts/test` calls, installs it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use fednode_tests::{Federation, NodeProcess, NodeSpec, managers};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(60);
const MODEL: &str = "UCM";
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance";
/// Of each operation, beside those that cover its schema: those that CI has time for.
const EXAMPLES: u64 = 15;
/// Fewer would mean that something was left out.
const CASES_MIN: usize = 1_000;

fn environment(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn every_answer_is_one_that_the_document_knows() {
    let mut federation = Federation::new().expect("a federation");
    federation.create(NodeSpec::full("north").memory("64GB")).expect("up");
    let north = federation.node("north");
    north.publish(MODEL).expect("published");
    federation.wait_answered("north", MODEL, LIMIT).expect("answered");
    let document = document(north);
    let operations: usize = document["paths"]
        .as_object()
        .expect("paths")
        .values()
        .map(|path| path.as_object().map_or(0, |is| is.len()))
        .sum();
    let file = federation.folder().join("openapi.json");
    std::fs::write(&file, document.to_string()).expect("written");

    let begin = Instant::now();
    let (passed, said) = run(&file, north, federation.folder());
    println!("{said}\nafter {:?}", begin.elapsed());
    assert!(passed, "schemathesis found what it says above");
    assert!(said.contains(&format!("Selected: {operations}/{operations}")), "all {operations} operations are tried");
    assert!(said.contains(&format!("Tested: {operations}")), "all {operations} operations are tried");
    let cases = said.split_once(" generated, ").and_then(|(before, _)| before.split_whitespace().last()?.parse().ok());
    assert!(cases.is_some_and(|cases: usize| cases >= CASES_MIN), "only {cases:?} requests were made");

    let known = managers::first_answer(MODEL).expect("a known answer");
    let answer = north.client().chat(MODEL, &known.prompt).expect("a reply");
    assert_eq!((answer.is_complete(), &answer.text), (true, &known.answer), "{}", answer.summary());
    let log = std::fs::read_to_string(north.log_path()).expect("a log");
    for word in ["panicked", "replica died"] {
        assert!(!log.contains(word), "{}", log.lines().filter(|line| line.contains(word)).collect::<String>());
    }
}

/// The document, with a manager that is there in the place of any text: else all that is ever tried is that nobody is called so.
/// Without `/events`, whose answer does not end.
fn document(node: &NodeProcess) -> Value {
    let mut document = node.client().get("/openapi.json").expect("the document").json();
    let paths = document["paths"].as_object_mut().expect("paths");
    assert!(paths.remove("/events").is_some(), "it is described");
    for operation in paths.values_mut().flat_map(|path| path.as_object_mut().expect("operations").values_mut()) {
        if let Some(model) = operation.pointer_mut("/requestBody/content/application~1json/schema/properties/model") {
            *model = json!({"enum": [MODEL]});
        }
    }
    document
}

/// Whether everything passed, and all that was said about it.
fn run(document: &Path, node: &NodeProcess, folder: &Path) -> (bool, String) {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| here.join("../target"), PathBuf::from);
    let program = target.join("conformance/python/bin/schemathesis");
    assert!(program.is_file(), "{} is not installed; run tests/conformance/install first", program.display());
    let number = |name: &str, default: u64| environment(name, default).to_string();
    let mut command = Command::new(program);
    command
        .current_dir(folder)
        .arg("--config-file")
        .arg(here.join("conformance/schemathesis.toml"))
        .arg("run")
        .arg(document);
    command.args(["--url", node.client().base(), "--checks", CHECKS, "--phases", "coverage,fuzzing", "--workers", "1"]);
    command.args(["--max-examples", &number("FEDNODE_OPENAPI_EXAMPLES", EXAMPLES)]);
    command.args(["--seed", &number("FEDNODE_OPENAPI_SEED", 1), "--generation-database", "none"]);
    command.args(["--continue-on-failure", "--no-color", "--warnings", "off", "--request-timeout", "30"]);
    let output = command.env("PYTHONDONTWRITEBYTECODE", "1").output().expect("schemathesis runs");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}
