//! A roster whose managers are adapters of one base: one replica serves them all, each under its own name.

use std::collections::BTreeSet;
use std::time::Duration;

use fednode_tests::{Federation, NodeSpec, Question, engines_of, managers, until};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(60);
const ROSTER: &str = r#"
name = "one base"

[[slot]]
name = "UFM"
context = 512

[[slot]]
name = "UCM"
base = "UFM"
policy = "pinned"

[[slot]]
name = "URM"
base = "UFM"

[[slot]]
name = "ULM"
base = "UFM"
domains = ["personal"]
"#;
/// What is published under which name, slot and domain.
const MANAGERS: [(&str, &str, &str); 4] =
    [("UFM", "", "ULM"), ("UCM", "", "ULM:core"), ("URM", "", "ULM:external"), ("ULM", "personal", "ULM:personal")];

#[test]
fn one_replica_serves_a_whole_roster_of_adapters() {
    let mut federation = Federation::new().expect("a federation");
    federation.create(NodeSpec::full("den").memory("150MiB")).expect("up");
    federation.join(NodeSpec::delegate("laptop"), "den").expect("joined");
    let file = federation.folder().join("roster.toml");
    std::fs::write(&file, ROSTER).expect("written");
    let den = federation.node("den");
    den.command(&["roster", "apply", &file.to_string_lossy()]).expect("applied");

    let early = publish(&federation, "UCM", "", "ULM:core");
    assert!(early.is_err_and(|why| why.contains("UFM holds no model yet")), "an adapter needs its base");
    for (slot, domain, model) in MANAGERS {
        publish(&federation, slot, domain, model).expect("published");
    }
    let whole = publish(&federation, "URM", "", "URM");
    assert!(whole.is_err_and(|why| why.contains("whole model")), "a model is no adapter");

    every_manager_answers_as_itself(&federation);
    let engines = engines_of(den.pid().expect("it runs"));
    assert_eq!(engines.len(), 1, "one replica serves them all");
    they_are_listed_under_their_own_names(&federation);
    a_guest_is_no_domain_of_its_host(&federation);

    den.command(&["verify", "UCM"]).expect("base and adapters are sound");
    let evicted = den.cli(&["evict", "URM"]).expect("it ran");
    assert!(evicted.code != 0 && evicted.stderr.contains("pinned"), "UCM keeps it there: {}", evicted.stderr);
}

fn publish(federation: &Federation, slot: &str, domain: &str, model: &str) -> Result<Value, String> {
    let path = managers::file(model);
    let path = path.to_string_lossy();
    let mut args = vec!["publish", &path, "--json", "--as", slot];
    if !domain.is_empty() {
        args.extend(["--domain", domain]);
    }
    federation.node("den").command(&args).map(|output| output.json()).map_err(|error| error.to_string())
}

fn name(slot: &str, domain: &str) -> String {
    if domain.is_empty() { slot.to_owned() } else { format!("{slot}:{domain}") }
}

fn every_manager_answers_as_itself(federation: &Federation) {
    for (slot, domain, model) in MANAGERS {
        let known = managers::first_answer(model).expect("a known answer");
        for node in ["den", "laptop"] {
            let question = Question::new(&name(slot, domain), &known.prompt);
            let answered = until("the known answer", LIMIT, || {
                let answer = federation.node(node).client().ask(&question).map_err(|error| error.to_string())?;
                if answer.text == known.answer { Ok(()) } else { Err(answer.summary()) }
            });
            answered.unwrap_or_else(|why| panic!("{slot} asked on {node}: {why}"));
        }
    }
}

fn they_are_listed_under_their_own_names(federation: &Federation) {
    let list = federation.node("laptop").client().get("/v1/models").expect("a list").json();
    let ids: BTreeSet<&str> =
        list["data"].as_array().expect("models").iter().filter_map(|m| m["id"].as_str()).collect();
    assert_eq!(ids, BTreeSet::from(["UFM", "UCM", "URM", "ULM:personal"]));
    let state = federation.node("den").state().expect("state");
    for slot in state["slots"].as_array().expect("slots") {
        let base = if slot["name"] == "UFM" { "" } else { "UFM" };
        assert_eq!((slot["base"].as_str(), slot["state"].as_str()), (Some(base), Some("resident")), "{slot}");
    }
    let managers = federation.node("den").command(&["managers"]).expect("a table").stdout;
    assert!(managers.contains("(on UFM)"), "{managers}");
}

/// Whoever may use UFM only must not have the others through it.
fn a_guest_is_no_domain_of_its_host(federation: &Federation) {
    for model in ["UFM:UCM", "UFM:ULM-personal", "UCM:personal", "ULM"] {
        let answer =
            federation.node("laptop").client().ask(&Question::new(model, "Who are you?").whole()).expect("an answer");
        assert_eq!(answer.status, 404, "{model}: {}", answer.summary());
        assert_eq!(answer.error_code(), Some("model_not_found"), "{model}");
    }
}
