//! Tinker Bell: a delegate's own small model. It answers what the rules leave to it, says so in every answer, is nobody else's, and
//! is what remains when the federation cannot be reached.

use std::time::Duration;

use fednode_tests::managers::{self, Known};
use fednode_tests::quantise::quantised;
use fednode_tests::{Federation, NodeSpec, Reply, engines_of, until};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn a_laptops_own_model_answers_what_the_rules_leave_to_it() {
    let mut federation = Federation::new().expect("a federation");
    let file = federation.folder().join("small.gguf");
    let small = quantised(&std::fs::read(managers::file("UFM")).expect("a model"));
    std::fs::write(&file, small).expect("written");
    let file = file.to_string_lossy().into_owned();
    federation.create(NodeSpec::full("den").memory("128GB")).expect("up");
    let laptop = NodeSpec::delegate("laptop").flag("--local-model", &file).flag("--local-policy", "hybrid");
    federation.join(laptop, "den").expect("joined");
    federation.node("den").publish("UCM").expect("published");
    let federal = managers::first_answer("UCM").expect("a known answer");
    let local = managers::first_answer("UFM").expect("a known answer");
    until("both can answer", LIMIT, || {
        let asked = [ask(&federation, "laptop", "UCM", &federal.prompt, Some("federation"))];
        let local = ask(&federation, "laptop", "local", &local.prompt, None);
        if asked.iter().chain([&local]).all(|reply| reply.status == 200) { Ok(()) } else { Err(local.text()) }
    })
    .expect("both answer");

    it_is_listed_here_and_nowhere_else(&federation);
    // Short and simple stays; code goes; whoever insists is obeyed.
    here(&federation, "UCM", &local, None, "local; simple");
    let code = format!("```\n{}\n```", federal.prompt);
    let reply = ask(&federation, "laptop", "UCM", &code, None);
    assert_eq!((reply.status, header(&reply, "x-fednode-route")), (200, "federation; code".to_owned()));
    assert_eq!(header(&reply, "x-fednode-node"), "den");
    let reply = ask(&federation, "laptop", "UCM", &federal.prompt, Some("federation"));
    assert_eq!(
        (text(&reply), header(&reply, "x-fednode-route")),
        (federal.answer.clone(), "federation; forced".into())
    );
    here(&federation, "UCM", &local, Some("local"), "local; forced");
    here(&federation, "local", &local, None, "local; forced");
    let reply = ask(&federation, "den", "UCM", &federal.prompt, Some("local"));
    assert_eq!((reply.status, reply.json()["error"]["code"].as_str()), (503, Some("not_resident")), "{}", reply.text());

    vectors_are_the_managers_own(&federation);
    it_comes_back_after_a_kill(&federation, &local);
    federation.node_mut("den").kill9();
    until("the laptop sees that it is alone", LIMIT, || {
        let reply = ask(&federation, "laptop", "UCM", &code, None);
        match header(&reply, "x-fednode-route").as_str() {
            "local; offline" if reply.status == 200 => Ok(()),
            other => Err(format!("{other}: {}", reply.text())),
        }
    })
    .expect("its own model answers");
    // Started away from everybody, it knows no manager's name, and answers all the same.
    let mut alone = federation;
    alone.node_mut("laptop").kill9();
    alone.node_mut("laptop").up().expect("up");
    until("its own model", LIMIT, || {
        let reply = ask(&alone, "laptop", "UCM", &local.prompt, None);
        if reply.status == 200 && text(&reply) == local.answer { Ok(()) } else { Err(reply.text()) }
    })
    .expect("an answer");
}

#[test]
fn a_machine_that_hosts_managers_has_no_local_model() {
    let mut federation = Federation::new().expect("a federation");
    let file = managers::file("UFM").to_string_lossy().into_owned();
    let refused = federation.create(NodeSpec::full("den").memory("128GB").flag("--local-model", &file));
    let why = refused.map(|_| ()).expect_err("it is refused").to_string();
    assert!(why.contains("for machines that delegate"), "{why}");
}

fn it_is_listed_here_and_nowhere_else(federation: &Federation) {
    let model = |name: &str| {
        let list = federation.node(name).client().get("/v1/models").expect("a list").json();
        list["data"].as_array().expect("models").iter().find(|model| model["id"] == "local").cloned()
    };
    let own = model("laptop").expect("its own model");
    assert_eq!((own["precision"].as_str(), own["status"]["value"].as_str()), (Some("Q8_0"), Some("resident")), "{own}");
    assert_eq!(model("den"), None);
    let state = federation.node("den").state().expect("state");
    let replicas = state["slots"].as_array().into_iter().flatten().flat_map(|slot| slot["replicas"].as_array());
    let nodes: Vec<&Value> = replicas.flatten().map(|replica| &replica["node"]).collect();
    assert!(nodes.iter().all(|node| *node == "den"), "nobody counts with it: {nodes:?}");
}

fn here(federation: &Federation, model: &str, known: &Known, forced: Option<&str>, route: &str) {
    let reply = ask(federation, "laptop", model, &known.prompt, forced);
    assert_eq!((reply.status, header(&reply, "x-fednode-route").as_str()), (200, route), "{}", reply.text());
    assert_eq!((text(&reply), header(&reply, "x-fednode-node")), (known.answer.clone(), "laptop".to_owned()));
    assert_eq!(header(&reply, "x-fednode-precision"), "Q8_0", "what it computes with is said");
    assert_eq!(header(&reply, "x-fednode-artifact"), "", "it is no artifact of the federation");
}

/// However short the text is: another model's vectors are of another space.
fn vectors_are_the_managers_own(federation: &Federation) {
    let body = json!({"model": "UCM", "input": "short"}).to_string();
    let headers = [("content-type", "application/json")];
    let client = federation.node("laptop").client();
    let reply = client.send("POST", "/v1/embeddings", &headers, body.as_bytes()).expect("a reply");
    assert_eq!((reply.status, header(&reply, "x-fednode-route")), (200, "federation; task".into()), "{}", reply.text());
    assert_eq!((header(&reply, "x-fednode-node"), header(&reply, "x-fednode-precision")), ("den".into(), "F16".into()));
}

fn it_comes_back_after_a_kill(federation: &Federation, known: &Known) {
    let engines = || engines_of(federation.node("laptop").pid().expect("it runs"));
    let killed = engines();
    assert_eq!(killed.len(), 1, "one engine process: the local model's");
    std::process::Command::new("kill").args(["-9", &killed[0].to_string()]).status().expect("kill ran");
    until("another engine", LIMIT, || {
        let reply = ask(federation, "laptop", "local", &known.prompt, None);
        if reply.status == 200 && engines() != killed { Ok(()) } else { Err(reply.text()) }
    })
    .expect("it is back");
}

fn ask(federation: &Federation, node: &str, model: &str, prompt: &str, forced: Option<&str>) -> Reply {
    let body = json!({"model": model, "temperature": 0, "messages": [{"role": "user", "content": prompt}]}).to_string();
    let mut headers = vec![("content-type", "application/json")];
    headers.extend(forced.map(|forced| ("x-fednode-route", forced)));
    federation.node(node).client().send("POST", "/v1/chat/completions", &headers, body.as_bytes()).expect("a reply")
}

fn header(reply: &Reply, name: &str) -> String {
    reply.headers.get(name).cloned().unwrap_or_default()
}

fn text(reply: &Reply) -> String {
    reply.json()["choices"][0]["message"]["content"].as_str().unwrap_or_default().to_owned()
}
