//! The API as the official clients use it: OpenAI's for Python and Node, Ollama's for Python. The same suites run against the node
//! that holds the managers, and through a delegate that holds nothing. The clients are installed by `tests/conformance/install`,
//! which `scripts/test` calls.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use fednode_tests::model::{publish, with_template};
use fednode_tests::{Federation, NodeProcess, NodeSpec, managers, until};
use serde_json::{Map, Value, json};

const LIMIT: Duration = Duration::from_secs(60);
/// A manager as it was trained: its chat template has no place for tools.
const PLAIN: &str = "UCM";
/// One whose chat template has.
const WITH_TOOLS: &str = "UIM";
const WITH_DOMAIN: &str = "ULM";
const DOMAIN: &str = "ULM:personal";
/// Nothing is published there.
const MISSING: &str = "UAM";
/// All suites have at least so many cases together.
const CASES_MIN: usize = 60;

/// The tiny managers' own template, with tools before the messages and calls among them.
const TEMPLATE: &str = "{{ bos_token }}{% if tools %}{{ '<|system|>' + (tools | tojson) }}{% endif %}\
{% for message in messages %}\
{% if message['role'] == 'system' %}{{ '<|system|>' + message['content'] }}\
{% elif message['role'] == 'assistant' %}{{ '<|assistant|>' + message['content'] }}\
{% if message['tool_calls'] %}{{ message['tool_calls'] | tojson }}{% endif %}{{ eos_token }}\
{% else %}{{ '<|user|>' + message['content'] }}{% endif %}\
{% endfor %}\
{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}";

#[test]
fn the_official_clients_are_served_directly_and_through_a_delegate() {
    let clients = clients();
    let mut federation = Federation::new().expect("a federation");
    federation.create(NodeSpec::full("griffith")).expect("up");
    federation.join(NodeSpec::delegate("laptop"), "griffith").expect("joined");
    let artifact = publish_all(federation.node("griffith"), federation.folder());
    for name in ["griffith", "laptop"] {
        for slot in [PLAIN, WITH_TOOLS, DOMAIN] {
            federation.wait_answered(name, slot, LIMIT).expect("answered");
        }
        wait_listed(federation.node(name));
    }
    let mut failures = Vec::new();
    for name in ["griffith", "laptop"] {
        println!("--- through {name}");
        let told = told(federation.node(name), &artifact).to_string();
        let passed: usize = clients.suites().into_iter().map(|suite| suite.run(&told, name, &mut failures)).sum();
        println!("--- through {name}: {passed} cases passed");
        assert!(passed + failures.len() >= CASES_MIN, "only {passed} cases were run through {name}");
    }
    assert!(failures.is_empty(), "{} cases failed:\n{}", failures.len(), failures.join("\n"));
    // Whatever the clients left in the middle has ended too.
    for name in ["griffith", "laptop"] {
        let ended = until(&format!("{name} having no request left"), LIMIT, || match federation.node(name).state() {
            Ok(state) if state["requests"]["in_flight"] == 0 => Ok(()),
            Ok(state) => Err(state["requests"].to_string()),
            Err(error) => Err(error.to_string()),
        });
        ended.expect("ended");
    }
}

/// Publishes what the suites ask for; the artifact of `PLAIN`.
fn publish_all(node: &NodeProcess, folder: &Path) -> String {
    let artifact = publish(node, &managers::file(PLAIN), PLAIN).expect("published");
    let model = std::fs::read(managers::file(WITH_TOOLS)).expect("the manager's file");
    let path = folder.join("with-tools.gguf");
    std::fs::write(&path, with_template(&model, TEMPLATE).expect("a template")).expect("written");
    publish(node, &path, WITH_TOOLS).expect("published");
    node.publish(WITH_DOMAIN).expect("published");
    node.publish(DOMAIN).expect("published");
    artifact
}

/// The context of `PLAIN` must be known where it is asked for.
fn wait_listed(node: &NodeProcess) {
    let listed = until("all managers being resident", LIMIT, || {
        let state = node.state().map_err(|error| error.to_string())?;
        let resident = |slot: &str| {
            let slots = state["slots"].as_array().into_iter().flatten();
            slots.filter(|view| view["name"] == slot && view["state"] == "resident").count() == 1
        };
        if [PLAIN, WITH_TOOLS, WITH_DOMAIN].into_iter().all(resident) {
            Ok(())
        } else {
            Err(state["slots"].to_string())
        }
    });
    listed.expect("listed");
}

/// What the suites are told of the federation, as JSON.
fn told(node: &NodeProcess, artifact: &str) -> Value {
    let answers = |model: &str| -> Map<String, Value> {
        let known = managers::answers(model).expect("known answers");
        // A domain's first answers are its own, as those of a base.
        known.into_iter().take(12).map(|known| (known.prompt, json!(known.answer))).collect()
    };
    let state = node.state().expect("a state");
    let slots = state["slots"].as_array().into_iter().flatten();
    let context = slots.filter(|view| view["name"] == PLAIN).map(|view| view["context"].clone()).next();
    json!({
        "base": format!("http://{}", node.api_address()), "model": PLAIN, "answers": answers(PLAIN), "tools_model": WITH_TOOLS, "domain_model": DOMAIN,
        "domain_answers": answers(DOMAIN), "missing_model": MISSING, "node": "griffith", "artifact": artifact,
        "context": context,
    })
}

/// Where the clients lie.
struct Clients {
    folder: PathBuf,
}

struct Suite {
    program: PathBuf,
    script: PathBuf,
}

fn scripts() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("conformance")
}

fn clients() -> Clients {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let target = target.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target"));
    let clients = Clients { folder: target.join("conformance") };
    for suite in clients.suites() {
        let there = suite.script.is_file() && (!suite.program.is_absolute() || suite.program.exists());
        assert!(there, "{} is not installed; run tests/conformance/install first", suite.script.display());
    }
    clients
}

impl Clients {
    fn suites(&self) -> [Suite; 3] {
        let python = self.folder.join("python/bin/python");
        [
            Suite { program: python.clone(), script: scripts().join("openai_python.py") },
            Suite { program: PathBuf::from("node"), script: self.folder.join("node/openai_node.mjs") },
            Suite { program: python, script: scripts().join("ollama_python.py") },
        ]
    }
}

impl Suite {
    /// Runs all its cases and prints their lines; how many passed. Those that failed go to `failures`.
    fn run(&self, told: &str, through: &str, failures: &mut Vec<String>) -> usize {
        let mut command = Command::new(&self.program);
        command.arg(&self.script).env("FEDNODE_TOLD", told).env("PYTHONDONTWRITEBYTECODE", "1");
        let output = command.output().unwrap_or_else(|error| panic!("run {}: {error}", self.program.display()));
        let lines = String::from_utf8_lossy(&output.stdout).into_owned();
        print!("{lines}");
        let failed: Vec<String> = lines
            .lines()
            .filter(|line| line.starts_with("FAIL"))
            .map(|line| format!("through {through}: {line}"))
            .collect();
        if !output.status.success() && failed.is_empty() {
            let errors = String::from_utf8_lossy(&output.stderr);
            failures.push(format!("through {through}: {} broke: {errors}", self.script.display()));
        }
        failures.extend(failed);
        lines.lines().filter(|line| line.starts_with("ok ")).count()
    }
}
