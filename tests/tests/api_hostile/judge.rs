//! What an answer must be.

use serde_json::Value;

use crate::exchange::Answer;
use crate::good;
use crate::kinds::{Case, Expect};

/// Of 503: nobody is there who could answer, which is said with these codes.
const NOT_NOW: [&str; 3] = ["not_resident", "no_room", "no_coordinator"];

/// Is it? An error is a sentence.
pub fn check(case: &Case, outcome: Option<&Answer>) -> Result<(), String> {
    let Some(answer) = outcome else {
        return match case.expect {
            Expect::Nothing => Ok(()),
            _ => Err("no answer was read".to_owned()),
        };
    };
    match &case.expect {
        Expect::Nothing => Ok(()),
        // Said by the HTTP library, before anything of ours has seen the request.
        Expect::Bare(statuses) if statuses.contains(&answer.status) && answer.body.is_empty() => Ok(()),
        Expect::Bare(statuses) => refused(case, answer, statuses),
        _ if !answer.sent => Err(format!("HTTP {}, and the connection was closed on who still sent", answer.status)),
        Expect::Good => good::check(&case.operation, answer),
        Expect::Either if answer.status == 200 && good::is_late_refusal(answer) => Ok(()),
        Expect::Either if answer.status == 200 => good::check(&case.operation, answer),
        Expect::Either => refused(case, answer, &[400, 404]),
        Expect::Refused(statuses) => refused(case, answer, statuses),
    }
}

fn refused(case: &Case, answer: &Answer, statuses: &[u16]) -> Result<(), String> {
    let status = answer.status;
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let ollama = case.target.starts_with("/api/");
    let error = if ollama { &body } else { &body["error"] };
    let text = |field: &str| error[field].as_str().is_some_and(|text| !text.is_empty());
    let nullable = |field: &str| error.get(field).is_some_and(|value| value.is_null() || value.is_string());
    let shaped = match ollama {
        true => text("error") && nullable("param") && nullable("code"),
        false => text("message") && text("type") && nullable("param") && nullable("code"),
    };
    let not_now = status == 503 && NOT_NOW.iter().any(|code| error["code"] == *code);
    // The document knows what its own operations may answer.
    let told = case.operation.statuses.contains(&status) || !case.known;
    if !statuses.contains(&status) && !not_now {
        return Err(format!("HTTP {status} instead of one of {statuses:?}: {}", answer.text()));
    }
    if !told {
        return Err(format!("HTTP {status} is not documented here: {}", answer.text()));
    }
    if case.operation.method == "HEAD" {
        return Ok(());
    }
    if !shaped || answer.header("content-type") != "application/json" {
        let kind = answer.header("content-type");
        return Err(format!("HTTP {status} with an error that clients cannot read, as {kind:?}: {:?}", answer.text()));
    }
    if status == 405 && answer.header("allow").is_empty() {
        return Err("HTTP 405 without a header that says what is allowed".to_owned());
    }
    Ok(())
}
