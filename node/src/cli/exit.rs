//! How a command ends: 0 done, 1 failed, 2 wrong use, 3 refused (DESIGN 13), each failure with one sentence for people and
//! one word for scripts.

use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;
use serde_json::{Value, json};

use crate::core::placement::Violation;

/// A command that did not do what was asked. `code` is a word for scripts, `message` says what, why and what to do.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    exit: Exit,
    code: &'static str,
    message: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Exit {
    Failed = 1,
    WrongUse = 2,
    Refused = 3,
    /// By Ctrl-C, as shells count it.
    Interrupted = 130,
}

/// An answer as scripts read it.
pub(super) fn value(document: &impl Serialize) -> Result<Value, Failure> {
    serde_json::to_value(document).map_err(|error| Failure::failed(format!("the answer cannot be written: {error}")))
}

impl From<Violation> for Failure {
    fn from(bug: Violation) -> Failure {
        Failure::failed(format!("the plan does not keep its own rules, which is a bug of fednode: {bug}"))
    }
}

impl Failure {
    /// It was tried and did not work: exit 1.
    pub fn failed(message: impl Into<String>) -> Failure {
        Failure { exit: Exit::Failed, code: "failed", message: message.into() }
    }

    /// The command line asks for something that cannot be meant: exit 2, as clap does for what it finds itself.
    pub fn wrong_use(message: impl Into<String>) -> Failure {
        Failure { exit: Exit::WrongUse, code: "wrong_use", message: message.into() }
    }

    /// The federation, or its rules, said no: exit 3.
    pub fn refused(message: impl Into<String>) -> Failure {
        Failure { exit: Exit::Refused, code: "refused", message: message.into() }
    }

    /// The person at the keyboard stopped it: exit 130.
    pub(super) fn interrupted(message: impl Into<String>) -> Failure {
        Failure { exit: Exit::Interrupted, code: "interrupted", message: message.into() }
    }

    /// The same failure with a word of its own for scripts.
    pub(super) fn code(self, code: &'static str) -> Failure {
        Failure { code, ..self }
    }

    /// Nobody listens on the admin socket.
    pub(super) fn no_node(data_dir: &Path) -> Failure {
        let message =
            format!("no node is running with data directory {}; start one with `fednode up`", data_dir.display());
        Failure { code: "no_node", ..Failure::failed(message) }
    }

    /// Did it fail because no node runs?
    pub(super) fn is_no_node(&self) -> bool {
        self.code == "no_node"
    }

    /// Does the command's own output say it already?
    pub(super) fn is_told(&self) -> bool {
        self.code == "found"
    }

    /// A check found something wrong and has said so: exit 1.
    pub(super) fn found(message: impl Into<String>) -> Failure {
        Failure { code: "found", ..Failure::failed(message) }
    }

    /// For people, on stderr.
    pub(super) fn sentence(&self) -> String {
        match self.exit {
            Exit::Refused => format!("refused: {}", self.message),
            Exit::Interrupted => self.message.clone(),
            Exit::Failed | Exit::WrongUse => format!("error: {}", self.message),
        }
    }

    /// For scripts, on stdout.
    pub(super) fn json(&self) -> Value {
        json!({"error": {"code": self.code, "message": self.message}})
    }

    pub(super) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.exit as u8)
    }
}

/// What the node answered over the admin socket. InvalidArgument is content that was refused (a quantised model, an unknown
/// slot): wrong use of the command line itself never reaches the node.
impl From<tonic::Status> for Failure {
    fn from(status: tonic::Status) -> Failure {
        use tonic::Code;
        match status.code() {
            Code::FailedPrecondition | Code::PermissionDenied | Code::InvalidArgument => {
                Failure::refused(status.message())
            }
            Code::Unavailable | Code::Cancelled | Code::Unknown => {
                let why = status.message();
                Failure::failed(format!("the node did not finish its answer ({why}); look at its log and try again"))
            }
            _ => Failure::failed(status.message()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_by_the_node_exit_with_3_and_failures_with_1() {
        let cases = [
            (tonic::Status::failed_precondition("not the owner"), Exit::Refused, "refused: not the owner"),
            (tonic::Status::permission_denied("no"), Exit::Refused, "refused: no"),
            (tonic::Status::invalid_argument("Q8_0"), Exit::Refused, "refused: Q8_0"),
            (tonic::Status::internal("disk"), Exit::Failed, "error: disk"),
        ];
        for (status, exit, sentence) in cases {
            let failure = Failure::from(status);
            assert_eq!((failure.exit, failure.sentence().as_str()), (exit, sentence));
        }
    }

    #[test]
    fn the_missing_node_is_named_with_what_to_do() {
        let failure = Failure::no_node(Path::new("/data"));
        let expect = "no node is running with data directory /data; start one with `fednode up`";
        assert_eq!(failure.json(), json!({"error": {"code": "no_node", "message": expect}}));
        assert_eq!(failure.exit, Exit::Failed);
    }
}
