//! `scripts/bench-api`: what it costs to ask through a delegate: the same questions to the holder's API and to the delegate's, one
//! after the other in turns, streamed. Prints a line of JSON.

use std::time::Duration;

use fednode_tests::{Error, Federation, NodeSpec, Question, managers, until};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(60);
const TOKENS: u64 = 256;

/// What was seen of one way.
#[derive(Default)]
struct Way {
    /// To the first text.
    first: Vec<Duration>,
    /// Texts per second from the first to the last.
    rates: Vec<f64>,
}

fn main() -> Result<(), Error> {
    let number =
        |at: usize, default: usize| std::env::args().nth(at).and_then(|text| text.parse().ok()).unwrap_or(default);
    let (chats, model) = (number(1, 300), std::env::args().nth(2));
    let mut federation = Federation::new()?;
    federation.create(NodeSpec::full("north").memory("64GB"))?;
    federation.join(NodeSpec::delegate("laptop"), "north")?;
    let north = federation.node("north");
    match &model {
        Some(file) => drop(north.command(&["publish", file, "--as", "UCM"])?),
        None => drop(north.publish("UCM")?),
    }
    until("an answer", LIMIT, || {
        let answer =
            federation.node("laptop").client().chat("UCM", "Who are you?").map_err(|error| error.to_string())?;
        if answer.is_complete() { Ok(()) } else { Err(answer.summary()) }
    })?;
    let known = managers::answers("UCM")?;
    let (mut direct, mut through) = (Way::default(), Way::default());
    for turn in 0..chats {
        let prompt = &known[turn % known.len()].prompt;
        // Each goes first as often as the other: what the second one asks for is in the prompt cache.
        let mut ways = [("north", &mut direct), ("laptop", &mut through)];
        if turn % 2 == 1 {
            ways.reverse();
        }
        for (name, way) in ways {
            way.ask(&federation, name, prompt)?;
        }
    }
    let (first, rate) = (|way: &Way, part| ms(&way.first, part), |way: &Way| median(way.rates.clone()));
    let line = json!({
        "chats": chats,
        "direct": direct.json(), "through": through.json(),
        "first_p95_more_ms": first(&through, 95) - first(&direct, 95),
        "first_p50_more_ms": first(&through, 50) - first(&direct, 50),
        "rate_ratio": rate(&through) / rate(&direct),
    });
    println!("{line}");
    Ok(())
}

impl Way {
    fn ask(&mut self, federation: &Federation, name: &str, prompt: &str) -> Result<(), Error> {
        let question = Question::new("UCM", prompt).with("max_tokens", json!(TOKENS));
        let mut texts = 0u32;
        let answer = federation.node(name).client().ask_with(&question, |_| texts += 1)?;
        let (Some(first), true) = (answer.first_text_after, answer.is_complete()) else {
            return Err(Error::Wrong(format!("{name}: {}", answer.summary())));
        };
        self.first.push(first);
        if texts > 1 {
            self.rates.push(f64::from(texts - 1) / (answer.took - first).as_secs_f64());
        }
        Ok(())
    }

    fn json(&self) -> Value {
        let [p50, p95, p99] = [50, 95, 99].map(|part| ms(&self.first, part));
        json!({"first_ms": {"p50": p50, "p95": p95, "p99": p99}, "texts_per_s": median(self.rates.clone())})
    }
}

fn ms(times: &[Duration], percent: usize) -> f64 {
    let mut times = times.to_vec();
    times.sort_unstable();
    times
        .get((times.len() * percent / 100).min(times.len().saturating_sub(1)))
        .map_or(0.0, |time| time.as_secs_f64() * 1e3)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
