//! `fednode doctor`: what keeps this machine from finding members and working with them, and what to do about it. It looks at
//! the machine itself and asks the node, if one runs; `core::checkup` says what that means.

mod local;

use std::path::Path;

use serde_json::json;

use super::admin;
use super::exit::Failure;
use super::run::Out;
use super::table::{columns, push_labelled};
use crate::core::checkup::{Check, NodeFacts, Verdict, all_well, judge};
use fednode_proto::v1;

/// Prints every check; fails when something is blocked.
pub(super) async fn run(out: Out, data_dir: &Path) -> Result<(), Failure> {
    let seen = match admin::connect(data_dir).await {
        Ok(mut client) => {
            let reply = client.doctor(v1::DoctorRequest {}).await?.into_inner();
            let node = serde_json::from_slice::<NodeFacts>(&reply.json).map_err(admin::unreadable)?;
            Some((node, admin::state(data_dir).await?.1))
        }
        Err(failure) if failure.is_no_node() => None,
        Err(failure) => return Err(failure),
    };
    let (node, state) = seen.unzip();
    // It waits for drivers, for the service manager and for a port.
    let dir = data_dir.to_owned();
    let looked = tokio::task::spawn_blocking(move || (local::machine(&dir, state.as_ref()), state)).await;
    let (machine, state) =
        looked.map_err(|error| Failure::failed(format!("looking at this machine failed: {error}")))?;
    let checks = judge(&machine, node.as_ref(), state.as_ref());
    let well = all_well(&checks);
    out.either(&json!({"ok": well, "checks": checks, "node": node}), || text(&checks, columns()));
    let blocked: Vec<&str> =
        checks.iter().filter(|check| check.verdict == Verdict::Blocked).map(|check| check.name.as_str()).collect();
    match well {
        true => Ok(()),
        false => Err(Failure::found(format!("blocked: {}", blocked.join(", ")))),
    }
}

/// Width of the words at the left.
const LABEL: usize = 20;

/// A line for each check, and the remedy under it.
fn text(checks: &[Check], columns: usize) -> String {
    let mut text = String::new();
    for check in checks {
        let word = match check.verdict {
            Verdict::Ok => "ok",
            Verdict::Unknown => "unknown",
            Verdict::Warning => "warning",
            Verdict::Blocked => "BLOCKED",
        };
        let label = format!("{word:<8} {:<10} ", check.name);
        push_labelled(&mut text, &label, &check.found, columns);
        if !check.remedy.is_empty() {
            push_labelled(&mut text, &format!("{:<LABEL$}→ ", ""), &check.remedy, columns);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::golden;

    #[test]
    fn the_remedy_stands_under_what_was_found() {
        let check = |name: &str, verdict, found: &str, remedy: &str| Check {
            name: name.to_owned(),
            verdict,
            found: found.to_owned(),
            remedy: remedy.to_owned(),
        };
        let checks = [
            check("node", Verdict::Ok, "a node runs here", ""),
            check(
                "isolation",
                Verdict::Unknown,
                "no member was heard by mDNS lately, so it cannot be compared with dialling",
                "",
            ),
            check("clock", Verdict::Blocked, "this machine's clock is 31 s behind all others, such as den", "set it"),
            check(
                "memory",
                Verdict::Warning,
                "managers were promised 28.0 GiB and hold 15.0 GiB, but other programs leave them 7.0 GiB less",
                "end other programs, or start the node with `--memory 21GiB`",
            ),
        ];
        golden::check("doctor", |columns| text(&checks, columns));
    }
}
