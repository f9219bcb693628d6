//! Bounds of external engines: servers that the owner runs beside a node. Nothing that comes from one is trusted.

use super::Duration;

/// External engines of one node, one for each slot: a person runs a few servers. Also what one advertisement says of them.
pub const EXTERNAL_ENGINES_MAX: usize = 16;
/// The address of an external engine: a name, a port and a short path.
pub const EXTERNAL_URL_BYTES_MAX: usize = 256;
/// What such a server calls its model: Hugging Face names and paths of files.
pub const EXTERNAL_MODEL_BYTES_MAX: usize = 256;
/// A key for such a server: OpenAI's have some 160 characters.
pub const EXTERNAL_KEY_BYTES_MAX: usize = 1024;
/// How often an external engine is asked whether it still answers.
pub const EXTERNAL_CHECK_PERIOD: Duration = Duration::from_secs(5);
/// One such question is answered by then: it takes milliseconds, and a machine that computes with all its cores takes longer.
pub const EXTERNAL_CHECK_WAIT: Duration = Duration::from_secs(3);
/// So many unanswered in a row, and the engine counts as away: one is a hiccup, three are 10 to 20 s.
pub const EXTERNAL_FAILURES_MAX: u32 = 3;
/// A connection to an external engine stands by then, encryption included.
pub const EXTERNAL_CONNECT_WAIT: Duration = Duration::from_secs(3);
/// The head of a server's answer: proxies in between send some 2 KiB.
pub const EXTERNAL_HEAD_BYTES_MAX: usize = 32 << 10;
/// The first sign of an answer is here by then: a prompt of 8,000 tokens takes this long on two cores.
pub const EXTERNAL_FIRST_WAIT: Duration = Duration::from_secs(600);
/// Once it has begun, an answer stands still for this long at most: a token takes a second on the slowest machine.
pub const EXTERNAL_SILENCE: Duration = Duration::from_secs(120);
/// A whole answer: 8,000 tokens at three a second take three quarters of it.
pub const EXTERNAL_ANSWER_WAIT: Duration = Duration::from_secs(3600);
/// One line of a streamed answer: servers send some 300 bytes for each token, and log probabilities some KiB.
pub const EXTERNAL_LINE_BYTES_MAX: usize = 1 << 20;
/// What a server may send for each token that was asked for, framing and comments included.
pub const EXTERNAL_BYTES_PER_TOKEN_MAX: u64 = 4 << 10;
/// And beside that, for the whole answer: its first and last events, and comments while it waits.
pub const EXTERNAL_BYTES_BESIDE_MAX: u64 = 1 << 20;
/// The body of an answer that is no stream: an error, a list of models.
pub const EXTERNAL_BODY_BYTES_MAX: usize = 1 << 20;
/// Models of one server that are looked at.
pub const EXTERNAL_MODELS_MAX: usize = 1024;
/// What a server says of its error is repeated so far.
pub const EXTERNAL_REASON_CHARS_MAX: usize = 200;
/// Addresses of one name that are tried.
pub const EXTERNAL_ADDRESSES_MAX: usize = 4;
