//! `fednode bench engine`: prompts and answers through an engine process, beside a bare loop over the same library with the same
//! threads, in one run; and several answers at once beside one.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use fednode_proto::v1;
use fednode_proto::v1::generate_event::Event as Kind;
use serde_json::{Value, json};

use crate::cli::engine_tools::{median, spec, start};
use crate::cli::exit::Failure;
use crate::cli::run::Out;
use crate::cli::table::table;
use crate::engine::{BareLoop, ChildEngine, Engine as _, bare_loop};

/// `fednode bench engine`.
#[derive(Args, Debug)]
pub(super) struct EngineArgs {
    /// A GGUF file
    #[arg(value_name = "GGUF")]
    model: PathBuf,
    /// Compute threads
    #[arg(long, default_value_t = 1)]
    threads: u32,
    /// Tokens of the prompt
    #[arg(long, default_value_t = 128)]
    prompt: u32,
    /// Tokens of the answer
    #[arg(long, default_value_t = 64)]
    tokens: u32,
    /// Answers at once
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    parallel: u32,
    /// Repetitions; the medians count
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,
}

/// The bare loop, in a process of its own.
#[derive(Args, Debug)]
pub(super) struct BareArgs {
    model: PathBuf,
    context: u32,
    threads: u32,
    prompt: u32,
    tokens: u32,
}

/// Prints the two times in seconds.
pub(super) fn bare(args: &BareArgs) -> Result<(), Failure> {
    let what = BareLoop {
        context: args.context,
        threads: args.threads,
        prompt_tokens: args.prompt,
        tokens: args.tokens,
        runs: 1,
    };
    let times = bare_loop(&args.model, what).map_err(Failure::failed)?;
    let (prompt, decode) = times.first().copied().unwrap_or_default();
    println!("{} {}", prompt.as_secs_f64(), decode.as_secs_f64());
    Ok(())
}

#[derive(Default)]
struct Times {
    bare_prompt: Vec<Duration>,
    bare_decode: Vec<Duration>,
    prompt: Vec<Duration>,
    decode: Vec<Duration>,
    alone: Vec<Duration>,
    together: Vec<Duration>,
}

/// Measures, and prints.
pub(super) async fn run(out: Out, args: &EngineArgs) -> Result<(), Failure> {
    let mut times = Times::default();
    let context = args.prompt + args.tokens + 64;
    let (engine, _) = start(&spec(&args.model, context, args.parallel, args.threads)).await?;
    let prompts = Prompts::of(&engine, args.prompt).await?;
    let mut different = 0;
    // The first warms up.
    ask(&engine, prompts.next(&mut different), args.tokens).await?;
    for run in 1..=args.runs {
        eprintln!("run {run} of {}", args.runs);
        let (prompt, decode) = bare_times(args, context).await?;
        times.bare_prompt.push(prompt);
        times.bare_decode.push(decode);
        let one = ask(&engine, prompts.next(&mut different), args.tokens).await?;
        times.prompt.push(one.prompt);
        times.decode.push(one.decode);
        times.alone.push(answers(&engine, &prompts, &mut different, args.tokens, 1).await?);
        times.together.push(answers(&engine, &prompts, &mut different, args.tokens, args.parallel).await?);
    }
    engine.stop().await;
    let report = Report::new(args, times);
    out.either(&report.json(), || report.text());
    Ok(())
}

async fn bare_times(args: &EngineArgs, context: u32) -> Result<(Duration, Duration), Failure> {
    let failed = |why: String| Failure::failed(format!("the bare loop failed: {why}"));
    let exe = std::env::current_exe().map_err(|error| failed(error.to_string()))?;
    let numbers = [context, args.threads, args.prompt, args.tokens].map(|number| number.to_string());
    let run = tokio::process::Command::new(exe).args(["bench", "bare-loop"]).arg(&args.model).args(numbers).output();
    let output = run.await.map_err(|error| failed(error.to_string()))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut numbers = text.split_whitespace().filter_map(|number| number.parse::<f64>().ok());
    match (numbers.next(), numbers.next()) {
        (Some(prompt), Some(decode)) => Ok((Duration::from_secs_f64(prompt), Duration::from_secs_f64(decode))),
        _ => Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
    }
}

/// Prompts of one length that share no beginning, so that no cache helps.
struct Prompts {
    tokens: u32,
    /// A text of about one token.
    word: &'static str,
}

impl Prompts {
    async fn of(engine: &ChildEngine, tokens: u32) -> Result<Prompts, Failure> {
        for word in [" the", "a"] {
            let counted = engine.tokenize(word.repeat(64)).await.map_err(|error| Failure::failed(error.to_string()))?;
            if counted.len() == 64 {
                return Ok(Prompts { tokens, word });
            }
        }
        Err(Failure::failed("this vocabulary has no token for \" the\" nor for \"a\"".to_owned()))
    }

    fn next(&self, different: &mut u32) -> String {
        *different += 1;
        // A letter at the start makes it another prompt; the token count may be off by one, which is told below.
        let first = char::from(b'b' + u8::try_from(*different % 24).unwrap_or(0));
        format!("{first}{}", self.word.repeat(self.tokens.saturating_sub(1) as usize))
    }
}

/// How long one answer took.
pub(in crate::cli) struct One {
    /// Until its first token.
    pub(in crate::cli) prompt: Duration,
    /// From there on, for as many tokens as were asked for.
    pub(in crate::cli) decode: Duration,
}

/// One answer of so many tokens; whoever ends earlier is asked for more by the sampler's seed, so the rate per token counts.
pub(in crate::cli) async fn ask(engine: &ChildEngine, prompt: String, tokens: u32) -> Result<One, Failure> {
    let request = v1::GenerateRequest { prompt, max_tokens: tokens, ..v1::GenerateRequest::default() };
    let (begun, mut events) = (Instant::now(), engine.generate(request));
    let mut started = None;
    while let Some(event) = events.recv().await {
        match event.event {
            Some(Kind::Start(_)) => started = Some(begun.elapsed()),
            Some(Kind::Error(error)) => return Err(Failure::failed(error.message)),
            Some(Kind::End(end)) => {
                let prompt = started.unwrap_or_default();
                let each = (begun.elapsed() - prompt) / end.completion_tokens.max(1);
                return Ok(One { prompt, decode: each * tokens });
            }
            _ => {}
        }
    }
    Err(Failure::failed("the answer broke off".to_owned()))
}

/// Several answers at once, to the end of the last; divided by how many, so that it compares with one.
async fn answers(
    engine: &ChildEngine,
    prompts: &Prompts,
    different: &mut u32,
    tokens: u32,
    count: u32,
) -> Result<Duration, Failure> {
    let asked: Vec<_> = (0..count).map(|_| ask(engine, short(prompts, different), tokens)).collect();
    let begun = Instant::now();
    for one in futures::future::join_all(asked).await {
        one?;
    }
    Ok(begun.elapsed() / count)
}

fn short(prompts: &Prompts, different: &mut u32) -> String {
    Prompts { tokens: 8, word: prompts.word }.next(different)
}

struct Report {
    prompt_tokens: u32,
    tokens: u32,
    parallel: u32,
    bare_prompt: f64,
    bare_decode: f64,
    prompt: f64,
    decode: f64,
    alone: f64,
    together: f64,
}

impl Report {
    fn new(args: &EngineArgs, times: Times) -> Report {
        let rate = |tokens: u32, times: Vec<Duration>| f64::from(tokens) / median(times).as_secs_f64().max(1e-9);
        Report {
            prompt_tokens: args.prompt,
            tokens: args.tokens,
            parallel: args.parallel,
            bare_prompt: rate(args.prompt, times.bare_prompt),
            bare_decode: rate(args.tokens, times.bare_decode),
            prompt: rate(args.prompt, times.prompt),
            decode: rate(args.tokens, times.decode),
            alone: rate(args.tokens, times.alone),
            together: rate(args.tokens, times.together),
        }
    }

    fn json(&self) -> Value {
        json!({
            "prompt_tokens": self.prompt_tokens, "tokens": self.tokens, "parallel": self.parallel,
            "bare": {"prompt_tokens_per_s": self.bare_prompt, "decode_tokens_per_s": self.bare_decode},
            "engine": {"prompt_tokens_per_s": self.prompt, "decode_tokens_per_s": self.decode},
            "ratio": {"prompt": self.prompt / self.bare_prompt, "decode": self.decode / self.bare_decode},
            "one_tokens_per_s": self.alone, "parallel_tokens_per_s": self.together,
            "parallel_ratio": self.together / self.alone,
        })
    }

    fn text(&self) -> String {
        let rate = |rate: f64| format!("{rate:.1} tokens/s");
        let row = |what: String, ours: f64, other: f64| {
            vec![what, rate(ours), rate(other), format!("{:.2}", ours / other.max(f64::MIN_POSITIVE))]
        };
        let rows = vec![
            row(format!("prompt of {}", self.prompt_tokens), self.prompt, self.bare_prompt),
            row(format!("answer of {}", self.tokens), self.decode, self.bare_decode),
            row(format!("{} at once, one", self.parallel), self.together, self.alone),
        ];
        table(&["", "engine", "compared with", "ratio"], &rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::golden;

    #[test]
    fn rates_stand_beside_what_they_are_compared_with() {
        let report = Report {
            prompt_tokens: 512,
            tokens: 64,
            parallel: 4,
            bare_prompt: 101.0,
            bare_decode: 10.0,
            prompt: 100.0,
            decode: 9.9,
            alone: 9.8,
            together: 23.5,
        };
        golden::check("bench-engine", |_| report.text());
    }
}
