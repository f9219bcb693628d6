//! What can go wrong in the harness, in sentences that name the node and the way on. A test prints them with `expect`.

use std::time::Duration;

/// Something that a test or the demo needed did not happen.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing to run.
    #[error("no fednode binary in {looked}; run `cargo build -p fednode` or set FEDNODE_BIN")]
    NoBinary {
        /// Where it was looked for.
        looked: String,
    },
    /// The system refused.
    #[error("cannot {attempt}: {source}")]
    Io {
        /// What was tried, as an infinitive.
        attempt: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A node process ended although it should run.
    #[error("{node} ended with {status}; its log ends:\n{log}")]
    Ended {
        /// The node's name.
        node: String,
        /// As the system words it.
        status: String,
        /// The last lines of its log.
        log: String,
    },
    /// A deadline passed.
    #[error("{what} did not happen within {limit:?}: {seen}")]
    Late {
        /// What was awaited.
        what: String,
        /// For how long.
        limit: Duration,
        /// What was there instead.
        seen: String,
    },
    /// A command line that should have worked did not.
    #[error("`fednode {command}` on {node} exited with {code}: {stderr}")]
    Command {
        /// The node's name.
        node: String,
        /// The arguments.
        command: String,
        /// Its exit code, or -1 for a signal.
        code: i32,
        /// What it said.
        stderr: String,
    },
    /// The HTTP API could not be spoken to.
    #[error("{request}: {why}")]
    Http {
        /// Method and URL.
        request: String,
        /// Why it failed.
        why: String,
    },
    /// An answer is not what it must be.
    #[error("{0}")]
    Wrong(String),
}

impl Error {
    /// For `map_err`: the system refused `attempt`.
    pub fn io(attempt: impl Into<String>) -> impl FnOnce(std::io::Error) -> Error {
        let attempt = attempt.into();
        move |source| Error::Io { attempt, source }
    }
}
