//! The middle of the demo: every manager and every adapter is asked through the delegate, and the same question is put to
//! each machine that holds the manager itself. All answers must be the known one, byte for byte.

use std::collections::BTreeMap;

use fednode_tests::managers::{self, Known};
use fednode_tests::{Answer, Error, Federation};

use crate::report::{Report, ms, quoted};
use crate::setup::LAPTOP;

/// The answers that came through the delegate, by model.
pub(crate) type Asked = BTreeMap<String, Answer>;

/// Asks for everything there is.
pub(crate) fn all(federation: &Federation, report: &Report) -> Result<Asked, Error> {
    report.heading("Asking through the laptop; each answer is compared with the known one and with the holder's own:");
    let mut asked = Asked::new();
    for model in managers::models() {
        let known = managers::first_answer(&model)?;
        let answer = ask(federation, LAPTOP, &known)?;
        let holders = holders(federation, &model)?;
        for holder in &holders {
            let own = ask(federation, holder, &known)?;
            let by = own.node.as_deref();
            if by != Some(holder.as_str()) {
                return Err(Error::Wrong(format!("{model} asked on {holder} was answered by {by:?}, not by itself")));
            }
        }
        let node = answer.node.as_deref().unwrap_or("nobody");
        let first = answer.first_text_after.map(ms).unwrap_or_default();
        let same = holders.join(" and ");
        report.event(&model, &format!("{}  {node}, {first}; the same on {same}", quoted(&answer.text)));
        asked.insert(model, answer);
    }
    Ok(asked)
}

/// One answer, which must be complete, at full precision and the known one.
fn ask(federation: &Federation, on: &str, known: &Known) -> Result<Answer, Error> {
    let answer = federation.node(on).client().chat(&known.model, &known.prompt)?;
    let wrong = |why: String| Err(Error::Wrong(format!("{} asked on {on}: {why}", known.model)));
    if !answer.is_complete() {
        return wrong(answer.summary());
    }
    if answer.text != known.answer {
        return wrong(format!("answered {:?}; known is {:?}", answer.text, known.answer));
    }
    match answer.precision.as_deref() {
        Some("F16") => Ok(answer),
        other => wrong(format!("answered at precision {other:?}")),
    }
}

/// The nodes with a ready replica of the model's slot.
fn holders(federation: &Federation, model: &str) -> Result<Vec<String>, Error> {
    let slot = model.split(':').next().unwrap_or(model);
    let holders = federation.node(LAPTOP).holders(slot)?;
    match holders.is_empty() {
        true => Err(Error::Wrong(format!("nobody has {slot} ready"))),
        false => Ok(holders),
    }
}
