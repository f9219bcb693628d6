//! One federation of three nodes, looked at from all sides: a machine with room for all managers, one with room for two,
//! one delegate. Starting it costs seconds, so one test goes through all of it, in steps that name themselves.

use std::collections::BTreeSet;
use std::time::Duration;

use fednode_tests::managers::{self, Known};
use fednode_tests::{Federation, NodeSpec, Question, until};
use serde_json::Value;

const PLAN_LIMIT: Duration = Duration::from_secs(60);
const NAMES: [&str; 3] = ["griffith", "desktop", "laptop"];

#[test]
fn three_machines_are_one_federation() {
    let mut federation = Federation::new().expect("a federation");
    federation.create(NodeSpec::full("griffith").memory("128GB")).expect("up");
    federation.join(NodeSpec::full("desktop").memory("150MiB"), "griffith").expect("joined");
    federation.join(NodeSpec::delegate("laptop"), "griffith").expect("joined");
    federation.publish_all("griffith").expect("published");
    federation.wait_published(PLAN_LIMIT, |_| {}).expect("carried out");

    all_see_the_same_members(&federation);
    weights_are_where_the_plan_wants_them(&federation);
    answers_are_the_known_ones_wherever_they_are_asked_for(&federation);
    answers_are_the_same_streamed_and_whole(&federation);
    models_lists_every_manager(&federation);
    status_keeps_its_contract(&federation);
    commands_answer_on_every_node(&federation);
}

fn all_see_the_same_members(federation: &Federation) {
    let view = |name: &str| {
        let state = federation.node(name).state().expect("state");
        let members = state["members"].as_array().expect("members").clone();
        assert_eq!(members[0]["name"], name, "a node lists itself first");
        let states = members.iter().map(|member| (text(&member["name"]), text(&member["state"])));
        (text(&state["federation"]), text(&state["coordinator"]["name"]), states.collect::<BTreeSet<_>>())
    };
    // Two that joined through a third may still be on their way to each other when the plan is carried out.
    let agreed = until("the same members everywhere", PLAN_LIMIT, || {
        let views: Vec<_> = NAMES.iter().map(|name| view(name)).collect();
        if views.windows(2).all(|pair| pair[0] == pair[1]) { Ok(()) } else { Err(format!("{views:?}")) }
    });
    agreed.expect("one view");
    let first = view(NAMES[0]);
    let alive: BTreeSet<_> = NAMES.iter().map(|name| ((*name).to_owned(), "alive".to_owned())).collect();
    assert_eq!(first.2, alive);
    assert!(NAMES.contains(&first.1.as_str()), "a member coordinates: {}", first.1);
    for name in &NAMES[1..] {
        assert_eq!(view(name), first, "as {name} sees it");
    }
}

fn weights_are_where_the_plan_wants_them(federation: &Federation) {
    let griffith = federation.node("griffith").state().expect("state");
    let artifacts = published(&griffith);
    assert_eq!(artifacts.len(), managers::models().len());
    assert_eq!(strings(&griffith["members"][0]["stored"]), artifacts, "the publisher stores everything");

    let desktop = federation.node("desktop").state().expect("state");
    let stored = strings(&desktop["members"][0]["stored"]);
    assert!(!stored.is_empty() && stored.is_subset(&artifacts), "the desktop stores {stored:?}");
    let transfers = desktop["transfers"].as_array().expect("transfers");
    for transfer in transfers {
        assert_eq!((&transfer["state"], &transfer["verified"]), (&"done".into(), &true.into()), "{transfer}");
        let given: u64 = list(&transfer["sources"]).iter().filter_map(|source| source["bytes"].as_u64()).sum();
        let local = transfer["chunks_local"].as_u64().unwrap_or(0);
        assert!(local > 0 || given == transfer["total_bytes"].as_u64().unwrap_or(0), "{transfer}");
    }
    let fetched: BTreeSet<String> = transfers.iter().map(|transfer| text(&transfer["artifact"])).collect();
    assert_eq!(fetched, stored, "everything on the desktop came over the network");
    assert!(list(&desktop["members"][0]["resident"]).len() <= 2, "it has room for two managers");

    let laptop = federation.node("laptop").state().expect("state");
    for field in ["stored", "resident"] {
        assert_eq!(list(&laptop["members"][0][field]).len(), 0, "a delegate has nothing {field}");
    }
    assert_eq!(list(&laptop["transfers"]).len(), 0, "nothing is transferred to a delegate");
}

fn answers_are_the_known_ones_wherever_they_are_asked_for(federation: &Federation) {
    for model in managers::models() {
        let known = managers::first_answer(&model).expect("a known answer");
        let slot = model.split(':').next().unwrap_or(&model);
        let holders = federation.node("laptop").holders(slot).expect("state");
        assert!(!holders.is_empty(), "{slot} is ready somewhere");
        let through = ask(federation, "laptop", &known);
        assert!(holders.contains(&through), "{model} was answered by {through}, ready on {holders:?}");
        for holder in &holders {
            assert_eq!(&ask(federation, holder, &known), holder, "who holds {model} answers it itself");
        }
    }
}

/// Asks and compares; the name of the node that answered.
fn ask(federation: &Federation, on: &str, known: &Known) -> String {
    let answer = federation.node(on).client().chat(&known.model, &known.prompt).expect("a reply");
    assert!(answer.is_complete(), "{} on {on}: {}", known.model, answer.summary());
    assert_eq!(answer.text, known.answer, "{} on {on}", known.model);
    assert_eq!(answer.finish_reason.as_deref(), Some("stop"));
    assert_eq!(answer.precision.as_deref(), Some("F16"));
    assert!(answer.usage["completion_tokens"].as_u64().is_some_and(|tokens| tokens > 0), "{}", answer.usage);
    answer.node.expect("the answering node's name")
}

fn answers_are_the_same_streamed_and_whole(federation: &Federation) {
    let client = federation.node("laptop").client();
    for model in ["UCM", "ULM:personal", "UDM:external"] {
        for known in managers::answers(model).expect("known answers").iter().step_by(20) {
            let question = Question::new(model, &known.prompt);
            for answer in [client.ask(&question), client.ask(&question.clone().whole())] {
                let answer = answer.expect("a reply");
                assert!(answer.is_complete(), "{model}: {}", answer.summary());
                assert_eq!(answer.text, known.answer, "{model}, {:?}", known.prompt);
            }
        }
    }
}

fn models_lists_every_manager(federation: &Federation) {
    for name in NAMES {
        let models = federation.node(name).client().get("/v1/models").expect("a reply").json();
        let models = list(&models["data"]);
        let ids: BTreeSet<String> = models.iter().map(|model| text(&model["id"])).collect();
        for model in managers::models() {
            assert!(ids.contains(&model), "{name} lists {ids:?}, without {model}");
        }
        for model in models.iter().filter(|model| managers::SLOTS.contains(&text(&model["id"]).as_str())) {
            assert_eq!(model["status"]["value"], "resident", "{model}");
            assert_eq!(model["precision"], "F16", "{model}");
            assert!(model["context_length"].as_u64().is_some_and(|context| context > 0), "{model}");
        }
    }
}

/// The fields of DESIGN 13, by name and kind.
fn status_keeps_its_contract(federation: &Federation) {
    for name in NAMES {
        let output = federation.node(name).command(&["status", "--json"]).expect("status");
        let status = output.json();
        for path in ["/federation", "/node/peer_id", "/node/name", "/node/role", "/node/tier", "/coordinator/name"] {
            assert!(status.pointer(path).is_some_and(Value::is_string), "{name} has no text at {path}");
        }
        assert!(status["coordinator"]["epoch"].as_u64().is_some_and(|epoch| epoch > 0));
        for member in list(&status["members"]) {
            assert!(["name", "peer_id", "state"].iter().all(|field| member[field].is_string()), "{member}");
            assert!(["domains", "resident"].iter().all(|field| member[field].is_array()), "{member}");
        }
        assert_eq!(list(&status["slots"]).len(), managers::SLOTS.len());
        for slot in list(&status["slots"]) {
            assert!(["name", "artifact", "state"].iter().all(|field| slot[field].is_string()), "{slot}");
            for replica in list(&slot["replicas"]) {
                assert!(["node", "state"].iter().all(|field| replica[field].is_string()), "{replica}");
            }
        }
        assert!(status["transfers"].is_array());
    }
}

fn commands_answer_on_every_node(federation: &Federation) {
    for name in NAMES {
        let node = federation.node(name);
        for command in [&["status"][..], &["members"], &["managers"], &["transfers"], &["plan"], &["roster"]] {
            let output = node.command(command).expect("the command works");
            assert!(!output.stdout.trim().is_empty(), "{name}: {command:?} prints nothing");
        }
        let chat = node.command(&["chat", "UCM", "Who are you?", "--json"]).expect("chat").json();
        assert_eq!(chat["text"], managers::first_answer("UCM").expect("known").answer.as_str());
    }
}

/// The artifacts of all slots and domains.
fn published(state: &Value) -> BTreeSet<String> {
    let slots = list(&state["slots"]);
    let domains = slots.iter().flat_map(|slot| list(&slot["domains"])).map(|domain| text(&domain["artifact"]));
    slots.iter().map(|slot| text(&slot["artifact"])).chain(domains).collect()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn strings(value: &Value) -> BTreeSet<String> {
    list(value).iter().map(text).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
