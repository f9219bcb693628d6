//! `fednode doctor`: what keeps this machine from finding members and working with them, and what to do about it. It looks at
//! the machine itself and asks the node, if one runs; `core::checkup` says what that means.

mod local;

use std::path::Path;

use serde_json::json;

use super::admin;
use super::exit::Failure;
use super::run::Out;
use crate::core::checkup::{Check, NodeFacts, Verdict, all_well, judge};
use fednode_proto::v1;

/// Prints every check; fails when something is blocked.
pub(super) async fn run(out: Out, data_dir: &Path) -> Result<(), Failure> {
    let node = match admin::connect(data_dir).await {
        Ok(mut client) => {
            let reply = client.doctor(v1::DoctorRequest {}).await?.into_inner();
            Some(serde_json::from_slice::<NodeFacts>(&reply.json).map_err(admin::unreadable)?)
        }
        Err(failure) if failure.is_no_node() => None,
        Err(failure) => return Err(failure),
    };
    let checks = judge(&local::machine(data_dir, node.is_some()), node.as_ref());
    let well = all_well(&checks);
    out.either(&json!({"ok": well, "checks": checks, "node": node}), || text(&checks));
    let blocked: Vec<&str> =
        checks.iter().filter(|check| check.verdict == Verdict::Blocked).map(|check| check.name.as_str()).collect();
    match well {
        true => Ok(()),
        false => Err(Failure::found(format!("blocked: {}", blocked.join(", ")))),
    }
}

/// A line for each check, and the remedy under it.
fn text(checks: &[Check]) -> String {
    let mut text = String::new();
    for check in checks {
        let word = match check.verdict {
            Verdict::Ok => "ok",
            Verdict::Unknown => "unknown",
            Verdict::Warning => "warning",
            Verdict::Blocked => "BLOCKED",
        };
        text.push_str(&format!("{word:<8} {:<10} {}\n", check.name, check.found));
        if !check.remedy.is_empty() {
            text.push_str(&format!("{:<19} → {}\n", "", check.remedy));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_remedy_stands_under_what_was_found() {
        let check = |verdict, remedy: &str| Check {
            name: "clock".to_owned(),
            verdict,
            found: "31 s behind".to_owned(),
            remedy: remedy.to_owned(),
        };
        let found = text(&[check(Verdict::Blocked, "set it"), check(Verdict::Ok, "")]);
        let expect = "BLOCKED  clock      31 s behind\n                    → set it\nok       clock      31 s behind\n";
        assert_eq!(found, expect);
    }
}
