//! `--chaos`: griffith, which holds all managers and coordinates, is killed while it answers. The answer in flight must end
//! soon, and every manager must then be answered by the desktop, or refused with an error that says why.

use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fednode_tests::{Answer, Client, Error, Federation, Question, managers, until};
use serde_json::{Value, json};

use crate::report::{Report, ms, quoted};
use crate::setup::{DESKTOP, GRIFFITH, LAPTOP};

/// No answer may hang for longer.
const STREAM_LIMIT: Duration = Duration::from_secs(30);
/// For one manager afterwards: a takeover and a swap are in it.
const ASK_LIMIT: Duration = Duration::from_secs(45);
/// A hot answer of UCM with this seed has about 160 tokens: time enough to be killed in.
const LONG_SEED: u64 = 2;

/// What became of everything.
pub(crate) struct Outcome {
    cut: Answer,
    kill_to_end: Duration,
    /// From the kill until the desktop coordinated.
    takeover: Duration,
    asked: Vec<(String, Result<Answer, String>, Duration)>,
}

impl Outcome {
    pub(crate) fn json(&self) -> Value {
        let one = |(slot, result, took): &(String, Result<Answer, String>, Duration)| match result {
            Ok(answer) => json!({
                "slot": slot, "took_s": took.as_secs_f64(), "node": answer.node, "complete": answer.is_complete(),
                "error": answer.error,
            }),
            Err(error) => json!({"slot": slot, "took_s": took.as_secs_f64(), "error": {"message": error}}),
        };
        json!({
            "stream": {"complete": self.cut.is_complete(), "error": self.cut.error, "text_bytes": self.cut.text.len(),
                       "kill_to_end_s": self.kill_to_end.as_secs_f64()},
            "takeover_s": self.takeover.as_secs_f64(),
            "asked": self.asked.iter().map(one).collect::<Vec<_>>(),
        })
    }
}

/// Kills griffith and looks at what happens.
pub(crate) fn run(federation: &mut Federation, report: &Report) -> Result<Outcome, Error> {
    report.heading("Chaos: kill -9 of griffith in the middle of an answer to the laptop:");
    let (cut, kill_to_end) = cut_an_answer(federation, report)?;
    let watch = watch_takeover(federation);
    let asked = ask_everything(federation, report);
    let takeover = watch.join().map_err(|_| Error::Wrong("the thread that watches the takeover died".to_owned()))??;
    report.event(DESKTOP, &format!("coordinated from {} after the kill on, as the laptop saw it", ms(takeover)));
    let outcome = Outcome { cut, kill_to_end, takeover, asked };
    judge(&outcome)?;
    Ok(outcome)
}

/// Streams a long answer of griffith through the laptop and kills griffith at the first text.
fn cut_an_answer(federation: &mut Federation, report: &Report) -> Result<(Answer, Duration), Error> {
    let slot = only_on_griffith(federation)?;
    let client = Client::with_limit(federation.node(LAPTOP).client().base(), STREAM_LIMIT);
    let question = Question::new(&slot, "Tell me a very long story");
    let question = question.with("temperature", json!(2)).with("seed", json!(LONG_SEED));
    let (first_text, on_first_text) = mpsc::channel();
    let stream = std::thread::spawn(move || {
        client.ask_with(&question, |_| {
            // Only the first text is waited for.
            first_text.send(()).ok();
        })
    });
    if on_first_text.recv_timeout(STREAM_LIMIT).is_err() {
        return Err(Error::Wrong(format!("{slot} on griffith began no answer within {STREAM_LIMIT:?}")));
    }
    let killed = Instant::now();
    federation.node_mut(GRIFFITH).kill9();
    report.event(GRIFFITH, &format!("killed at the first text of {slot}"));
    let answer = stream.join().map_err(|_| Error::Wrong("the thread that reads the stream died".to_owned()))??;
    let kill_to_end = killed.elapsed();
    let how = match answer.is_complete() {
        true => "had left completely before the kill".to_owned(),
        false => format!("ended after {} bytes of text: {}", answer.text.len(), answer.summary()),
    };
    report.event("the answer", &format!("{how} ({} after the kill)", ms(kill_to_end)));
    Ok((answer, kill_to_end))
}

/// A slot that nobody else can answer for now; UCM if it is one, since its long answer is known.
fn only_on_griffith(federation: &Federation) -> Result<String, Error> {
    let mut found = None;
    for slot in managers::SLOTS {
        if federation.node(LAPTOP).holders(slot)? == [GRIFFITH] && (found.is_none() || slot == "UCM") {
            found = Some(slot.to_owned());
        }
    }
    found.ok_or_else(|| Error::Wrong("no manager is on griffith alone".to_owned()))
}

/// Looks at the laptop's view, beside everything else, until the desktop coordinates; how long that took from now.
fn watch_takeover(federation: &Federation) -> JoinHandle<Result<Duration, Error>> {
    let client = federation.node(LAPTOP).client().clone();
    let begin = Instant::now();
    std::thread::spawn(move || {
        until("the desktop coordinating", ASK_LIMIT, || {
            let state = client.get("/state").map_err(|error| error.to_string())?.json();
            match state["coordinator"]["name"].as_str() {
                Some(DESKTOP) => Ok(begin.elapsed()),
                other => Err(format!("the laptop knows {other:?} as coordinator")),
            }
        })
    })
}

/// Each manager once, through the laptop.
fn ask_everything(federation: &Federation, report: &Report) -> Vec<(String, Result<Answer, String>, Duration)> {
    let client = Client::with_limit(federation.node(LAPTOP).client().base(), ASK_LIMIT);
    let ask = |slot: &str| {
        let begin = Instant::now();
        let known = managers::first_answer(slot).map_err(|error| error.to_string());
        let result = known.and_then(|known| {
            let answer = client.chat(slot, &known.prompt).map_err(|error| error.to_string())?;
            match answer.is_complete() && answer.text != known.answer {
                true => Err(format!("answered {:?}; known is {:?}", answer.text, known.answer)),
                false => Ok(answer),
            }
        });
        let took = begin.elapsed();
        let node = result.as_ref().ok().and_then(|answer| answer.node.clone()).unwrap_or("nobody".to_owned());
        let what = match &result {
            Ok(answer) if answer.is_complete() => quoted(&answer.text),
            Ok(answer) => answer.summary(),
            Err(error) => error.clone(),
        };
        report.event(slot, &format!("{what}  {node}, {}", ms(took)));
        (slot.to_owned(), result, took)
    };
    managers::SLOTS.iter().map(|slot| ask(slot)).collect()
}

fn judge(outcome: &Outcome) -> Result<(), Error> {
    let mut faults = Vec::new();
    if !outcome.cut.is_complete() && !outcome.cut.has_typed_error() {
        faults.push(format!("the answer that was cut must end with a typed error: {}", outcome.cut.summary()));
    }
    for (slot, result, _) in &outcome.asked {
        match result {
            Ok(answer) if answer.is_complete() && answer.node.as_deref() == Some(DESKTOP) => {}
            Ok(answer) if answer.has_typed_error() => {}
            Ok(answer) => {
                faults.push(format!("{slot}: neither the desktop's answer nor an error: {}", answer.summary()))
            }
            Err(error) => faults.push(format!("{slot}: {error}")),
        }
    }
    match faults.is_empty() {
        true => Ok(()),
        false => Err(Error::Wrong(faults.join("; "))),
    }
}
