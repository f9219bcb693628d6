//! External engines: another federation's API stands in for a slot of this one. It is marked as unverified, never preferred,
//! never counted, and replaced by the next when it is gone.

use std::time::Duration;

use fednode_tests::{Answer, Client, Federation, NodeSpec, Question, managers, until};
use serde_json::{Value, json};

const PLAN_LIMIT: Duration = Duration::from_secs(60);
/// Three checks of an engine that is gone, one each five seconds, and a busy machine.
const CHECK_LIMIT: Duration = Duration::from_secs(60);
const ASK_LIMIT: Duration = Duration::from_secs(60);

/// The servers: up holds UCM, and door forwards to it.
fn servers() -> Federation {
    let mut servers = Federation::new().expect("a federation");
    servers.create(NodeSpec::full("up").memory("128GB")).expect("up");
    servers.join(NodeSpec::delegate("door"), "up").expect("joined");
    servers.node("up").publish("UCM").expect("published");
    servers.wait_answered("door", "UCM", PLAN_LIMIT).expect("an answer");
    servers
}

/// Those who use them: home has room for managers, laptop has none.
fn users() -> Federation {
    let mut users = Federation::new().expect("a federation");
    users.create(NodeSpec::full("home").memory("128GB")).expect("up");
    users.join(NodeSpec::delegate("laptop"), "home").expect("joined");
    users
}

#[test]
fn another_server_stands_in_for_a_slot_until_a_verified_replica_is_ready() {
    let (mut servers, users) = (servers(), users());
    let door = servers.node("door").client().base().to_owned();
    what_may_not_be_is_refused(&users, &door);

    let added = engine(&users, "home", &["add", &door, "--as", "UCM", "--unverified", "--json"]);
    let expect = json!({"slot": "UCM", "url": door, "model": "UCM", "state": "ready", "reason": "",
                        "precision": "unverified", "has_key": false});
    assert_eq!(added["engines"], json!([expect]));
    it_answers_everywhere_and_counts_nowhere(&users);
    a_verified_replica_is_preferred_and_comes_back(&users);

    let up = servers.node("up").client().base().to_owned();
    engine(&users, "laptop", &["add", &up, "--as", "UCM", "--unverified", "--json"]);
    gone_before_the_first_token_is_not_noticed(&mut servers, &users);
    gone_in_the_middle_ends_the_answer(&mut servers, &users);

    let removed = engine(&users, "home", &["remove", &door, "--json"]);
    assert_eq!((&removed["removed"], &removed["engines"]), (&json!(["UCM"]), &json!([])));
    assert_eq!(users.node("home").cli(&["engine", "remove", "UCM"]).expect("it ran").code, 3, "it is gone already");
}

fn engine(users: &Federation, node: &str, args: &[&str]) -> Value {
    let args: Vec<&str> = ["engine"].iter().chain(args).copied().collect();
    users.node(node).command(&args).expect("done").json()
}

fn what_may_not_be_is_refused(users: &Federation, door: &str) {
    let cases: [(&[&str], i32, &str); 6] = [
        (&[door, "--as", "UCM"], 3, "--unverified"),
        (&["http://8.8.8.8:1", "--as", "UCM", "--unverified"], 3, "use https"),
        (&[door, "--as", "NONE", "--unverified"], 3, "no slot NONE"),
        (&["http://127.0.0.1:1", "--as", "UCM", "--unverified"], 3, "start it, or name its model"),
        (&["127.0.0.1:1", "--as", "UCM"], 2, "neither http:// nor https://"),
        (&[door, "--as", "UCM", "--unverified", "--key-file", "/nonexistent"], 1, "cannot read the key"),
    ];
    for (args, code, why) in cases {
        let args: Vec<&str> = ["engine", "add"].iter().chain(args).copied().collect();
        let output = users.node("home").cli(&args).expect("it ran");
        assert!(output.code == code && output.stderr.contains(why), "{args:?}: {output:?}");
    }
    assert_eq!(engine(users, "home", &["list", "--json"])["engines"], json!([]));
}

/// The answer of UCM through `node`, once `is` holds of it.
fn answer_that(users: &Federation, node: &str, what: &str, is: impl Fn(&Answer) -> bool) -> Answer {
    let known = managers::answers("UCM").expect("known answers");
    let client = Client::with_limit(users.node(node).client().base(), ASK_LIMIT);
    // Each time another conversation: one goes on where it was answered before.
    let mut questions = known.iter().cycle();
    let found = until(what, PLAN_LIMIT, || {
        let known = questions.next().ok_or("no question")?;
        let answer = client.chat("UCM", &known.prompt).map_err(|error| error.to_string())?;
        if answer.is_complete() && is(&answer) { Ok((answer, known)) } else { Err(format!("{answer:?}")) }
    });
    let (found, known) = found.expect("an answer");
    assert_eq!(found.text, known.answer, "word for word");
    found
}

fn precision(answer: &Answer) -> &str {
    answer.precision.as_deref().unwrap_or_default()
}

fn slot(users: &Federation, node: &str) -> Value {
    let state = users.node(node).state().expect("state");
    let slots = state["slots"].as_array().into_iter().flatten();
    slots.filter(|slot| slot["name"] == "UCM").cloned().collect()
}

fn it_answers_everywhere_and_counts_nowhere(users: &Federation) {
    for node in ["home", "laptop"] {
        let answer = answer_that(users, node, "an answer of the server", |_| true);
        assert_eq!(
            (precision(&answer), answer.node.as_deref(), answer.artifact.clone()),
            ("unverified", Some("home"), None)
        );
        assert!(answer.usage["prompt_tokens"].as_u64() > Some(0), "{}", answer.usage);
        assert!(answer.usage["completion_tokens"].as_u64() > Some(0), "{}", answer.usage);
        let slot = &slot(users, node)[0];
        assert_eq!(
            (&slot["state"], &slot["replicas"], &slot["artifact"]),
            (&json!("external"), &json!([]), &json!(""))
        );
        assert_eq!((&slot["externals"][0]["node"], &slot["externals"][0]["state"]), (&json!("home"), &json!("ready")));
    }
    let plan = users.node("home").command(&["plan", "--json"]).expect("a plan").json();
    assert_eq!(plan["replicas"], json!([]), "no plan counts it");
    let status = users.node("laptop").command(&["status"]).expect("status").stdout;
    let words = status.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("external engine on home (unverified)"), "{status}");
}

fn a_verified_replica_is_preferred_and_comes_back(users: &Federation) {
    users.node("home").publish("UCM").expect("published");
    answer_that(users, "laptop", "an answer of the replica", |answer| precision(answer) == "F16");
    // home may have answered with its replica before laptop has heard of one.
    let both = until("both being known", PLAN_LIMIT, || {
        let slot = slot(users, "laptop")[0].clone();
        let states = (&slot["state"], &slot["externals"][0]["state"]);
        if states == (&json!("resident"), &json!("ready")) { Ok(()) } else { Err(slot.to_string()) }
    });
    both.expect("the server is there still");
    users.node("home").command(&["drain"]).expect("drained");
    answer_that(users, "laptop", "an answer of the server", |answer| precision(answer) == "unverified");
}

/// home's server is killed: its questions go on to the one beside laptop, and a client sees nothing of it.
fn gone_before_the_first_token_is_not_noticed(servers: &mut Federation, users: &Federation) {
    answer_that(users, "home", "an answer of home's server", |answer| answer.node.as_deref() == Some("home"));
    servers.node_mut("door").kill9();
    let known = managers::first_answer("UCM").expect("a known answer");
    let answer =
        Client::with_limit(users.node("home").client().base(), ASK_LIMIT).chat("UCM", &known.prompt).expect("a reply");
    assert!(answer.is_complete(), "{}", answer.summary());
    assert_eq!((answer.text.as_str(), answer.node.as_deref()), (known.answer.as_str(), Some("laptop")));
    let away = until("noticing that the server is away", CHECK_LIMIT, || {
        let engines = engine(users, "home", &["list", "--json"])["engines"].clone();
        if engines[0]["state"] == "away" { Ok(engines) } else { Err(engines.to_string()) }
    });
    let away = away.expect("away");
    assert!(away[0]["reason"].as_str().is_some_and(|reason| reason.contains("nothing answers")), "{away}");
    servers.node_mut("door").up().expect("up again");
    let back = until("noticing that the server is back", CHECK_LIMIT, || {
        let engines = engine(users, "home", &["list", "--json"])["engines"].clone();
        if engines[0]["state"] == "ready" { Ok(()) } else { Err(engines.to_string()) }
    });
    back.expect("back");
}

fn gone_in_the_middle_ends_the_answer(servers: &mut Federation, users: &Federation) {
    answer_that(users, "home", "an answer of home's server", |answer| answer.node.as_deref() == Some("home"));
    // This seed gives an answer of about 160 tokens, a tenth of a second.
    let question =
        Question::new("UCM", "Tell me a very long story").with("temperature", json!(2)).with("seed", json!(2));
    let door = servers.node_mut("door");
    let client = Client::with_limit(users.node("home").client().base(), ASK_LIMIT);
    let answer = client.ask_with(&question, |_| door.kill9()).expect("a reply");
    assert!(answer.is_complete() || answer.has_typed_error(), "{}", answer.summary());
}
