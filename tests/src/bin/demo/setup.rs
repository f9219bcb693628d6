//! The first half of the demo: start the machines, publish the managers, wait until the plan is carried out.

use std::time::{Duration, Instant};

use fednode_tests::{Error, Federation, NodeSpec, managers};
use serde_json::{Value, json};

use crate::report::{Report, ms};

/// A whole roster of tiny managers takes a few seconds; a busy machine of two cores some more.
const PLAN_LIMIT: Duration = Duration::from_secs(40);
/// From then on the demo says what it waits for.
const PATIENCE: Duration = Duration::from_secs(3);
/// Two tiny managers (55 MiB resident each) fit, three do not.
const DESKTOP_MEMORY: &str = "150MiB";

pub(crate) const GRIFFITH: &str = "griffith";
pub(crate) const DESKTOP: &str = "desktop";
pub(crate) const LAPTOP: &str = "laptop";

/// How long each node took from the start of its process to its first answer.
pub(crate) struct Started {
    ready: Vec<(String, Duration)>,
}

impl Started {
    pub(crate) fn json(&self) -> Value {
        let one = |(name, time): &(String, Duration)| json!({"name": name, "ready_s": time.as_secs_f64()});
        self.ready.iter().map(one).collect()
    }

    /// Such as "griffith 64 ms, desktop 70 ms".
    pub(crate) fn sentence(&self) -> String {
        let one = |(name, time): &(String, Duration)| format!("{name} {}", ms(*time));
        self.ready.iter().map(one).collect::<Vec<_>>().join(", ")
    }
}

/// Three machines, of which the second and the third join with tickets.
pub(crate) fn start(federation: &mut Federation, detached: bool, report: &Report) -> Result<Started, Error> {
    report.heading("Three machines of one person, all of them on this one:");
    let griffith = NodeSpec::full(GRIFFITH).memory("128GB").detached(detached);
    federation.create(griffith)?;
    report.event(GRIFFITH, "is up and has created the federation; it may use 128 GB");
    let desktop = NodeSpec::full(DESKTOP).memory(DESKTOP_MEMORY).detached(detached);
    federation.join(desktop, GRIFFITH)?;
    report.event(DESKTOP, "has joined with a ticket; it may use 150 MiB: two managers at a time");
    federation.join(NodeSpec::delegate(LAPTOP).detached(detached), GRIFFITH)?;
    report.event(LAPTOP, "has joined with a ticket, as a delegate: it holds nothing and forwards");
    let ready = federation.nodes().iter().map(|node| (node.name().to_owned(), node.ready_after().unwrap_or_default()));
    Ok(Started { ready: ready.collect() })
}

/// All managers and adapters, into their slots.
pub(crate) fn publish(federation: &Federation, report: &Report) -> Result<(), Error> {
    report.heading("Publishing seven managers and five adapters on griffith:");
    let begin = Instant::now();
    let node = federation.node(GRIFFITH);
    for model in managers::models() {
        let published = node.publish(&model)?;
        if published["artifact"].as_str().is_none_or(str::is_empty) {
            return Err(Error::Wrong(format!("publishing {model} named no artifact: {published}")));
        }
    }
    report.event("published", &format!("{} in {}", managers::models().join(" "), ms(begin.elapsed())));
    Ok(())
}

/// Every node sees the plan carried out; the desktop stores what the plan gives it; the delegate stores nothing.
pub(crate) fn carry_out(federation: &Federation, report: &Report) -> Result<(), Error> {
    report.heading("The federation decides who holds what, and moves the weights:");
    let (begin, mut said) = (Instant::now(), Vec::new());
    federation.wait_published(PLAN_LIMIT, |missing| {
        if begin.elapsed() < PATIENCE || missing == said {
            return;
        }
        let more = missing.len().saturating_sub(1);
        if let Some(first) = missing.first() {
            let others = if more > 0 { format!(" (and {more} more)") } else { String::new() };
            report.event("waiting", &format!("{first}{others}"));
        }
        said = missing.to_vec();
    })?;
    let state = federation.node(LAPTOP).state()?;
    let plan = &state["plan"];
    let (epoch, revision) = (plan["epoch"].as_u64().unwrap_or(0), plan["revision"].as_u64().unwrap_or(0));
    let coordinator = state["coordinator"]["name"].as_str().unwrap_or("nobody");
    let by = format!("plan {epoch}.{revision} of {coordinator} is carried out, as all three see it");
    report.event("plan", &format!("{by}, {} after the last publication", ms(begin.elapsed())));
    nothing_stored(&state)
}

/// The delegate's own view of itself.
fn nothing_stored(state: &Value) -> Result<(), Error> {
    let own = &state["members"][0];
    let lists = [&own["stored"], &own["resident"], &state["transfers"]];
    match lists.iter().all(|list| list.as_array().is_some_and(Vec::is_empty)) {
        true => Ok(()),
        false => Err(Error::Wrong(format!("the delegate must hold nothing: {own}"))),
    }
}
