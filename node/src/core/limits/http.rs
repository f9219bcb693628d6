//! Bounds of the HTTP API: what a client may send, and how long it is waited for.

use crate::core::types::Duration;

/// One chat request's body.
pub const HTTP_BODY_BYTES_MAX: usize = 4 << 20;
/// API keys of one node: one for each program that a person lets in, and some forgotten ones.
pub const API_KEYS_MAX: usize = 64;
/// Head of an HTTP request: browsers and OpenAI's clients send 1 to 4 KiB.
pub const HTTP_HEAD_BYTES_MAX: usize = 32 << 10;
/// Headers of an HTTP request: browsers send some 20.
pub const HTTP_HEADERS_MAX: usize = 64;
/// Connections of the API: half of the 1,024 files that many systems let a process open.
pub const HTTP_CONNECTIONS_MAX: usize = 512;
/// Of these from one address of another machine (an IPv6 network of 64 bits is one): a busy program opens dozens.
pub const HTTP_CONNECTIONS_PER_ADDRESS_MAX: usize = 128;
/// The API's TLS handshake ends by then: two round trips.
pub const HTTP_HANDSHAKE: Duration = Duration::from_secs(10);
/// A request's head is here by then, counted from the connection or the end of the last answer: also what an idle connection
/// may stay, twice the five seconds that many clients keep one for.
pub const HTTP_HEAD_WAIT: Duration = Duration::from_secs(10);
/// A request's body is here by then: `HTTP_BODY_BYTES_MAX` over half a megabit.
pub const HTTP_BODY_WAIT: Duration = Duration::from_secs(60);
/// Of a refused request's body so much is taken in and dropped, so that its sender reads the refusal: four times a full one.
pub const HTTP_REFUSED_BYTES_MAX: usize = 4 * HTTP_BODY_BYTES_MAX;
/// And for so long: a stranger holds a task and a socket meanwhile, and nothing else.
pub const HTTP_REFUSED_WAIT: Duration = Duration::from_secs(2);
/// A client that takes nothing of its answer for this long is gone, or means harm.
pub const HTTP_WRITE_STALL: Duration = Duration::from_secs(30);
/// Whatever is not a chat is answered within this: it reads what the node knows already.
pub const HTTP_ANSWER_WAIT: Duration = Duration::from_secs(30);
/// A running answer's key is looked at again this often: a removed key ends its streams too.
pub const API_KEY_RECHECK: Duration = Duration::from_secs(1);
/// Requests without a right key that are told so; more from one address within `API_KEY_TRIES_SPAN` only hear 429.
pub const API_KEY_TRIES_MAX: u32 = 20;
/// See `API_KEY_TRIES_MAX`.
pub const API_KEY_TRIES_SPAN: Duration = Duration::from_secs(60);
/// Addresses whose failed tries are counted; beyond it the longest known is forgotten.
pub const API_KEY_TRIERS_MAX: usize = 1024;
/// A PEM file: a chain of certificates has some 10 KiB.
pub const PEM_BYTES_MAX: u64 = 1 << 20;
/// Messages of one chat request.
pub const CHAT_MESSAGES_MAX: usize = 1024;
/// Stop strings of one request, as OpenAI's API has it.
pub const STOPS_MAX: usize = 4;
/// Tokens a client may ask for at most.
pub const MAX_TOKENS_MAX: u32 = 1 << 20;
/// Tokens generated when the client states none.
pub const MAX_TOKENS_DEFAULT: u32 = 512;
