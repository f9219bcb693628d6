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
/// Choices of one request, those of all its prompts together: each is a request of its own to the replicas.
pub const CHOICES_MAX: usize = 16;
/// Texts to be embedded that a client may send at once: OpenAI's own bound.
pub const EMBED_TEXTS_MAX: usize = 2048;
/// Of these so many are one request to a replica: its reply, at 8,192 numbers each, is a quarter of a message, and others get
/// their turn after it.
pub const EMBED_TEXTS_PER_REQUEST: usize = 32;
/// Tokens that a client may have turned into text at once: more than any context has.
pub const DETOKENIZED_MAX: usize = 1 << 18;
/// Bytes of their text: a message has at most twice as many.
pub const DETOKENIZED_BYTES_MAX: usize = 2 << 20;
/// Bytes of a text whose tokens are asked for: eight times what a context of 16,384 tokens holds. The reply has at most six bytes
/// for each (a token, its length, its piece), and a message has at most 4 MiB.
pub const TOKENIZED_BYTES_MAX: usize = 512 << 10;
/// Tools of one request, as OpenAI's API has it.
pub const TOOLS_MAX: usize = 128;
/// All of them as JSON: a context of 16,384 tokens has no room for more. What must be called travels twice, as tool and as schema.
pub const TOOLS_BYTES_MAX: usize = 256 << 10;
/// A tool's name, as OpenAI's API has it.
pub const TOOL_NAME_BYTES_MAX: usize = 64;
/// Text that may yet turn out to be a call of a tool is held back up to this: more is no call.
pub const TOOL_CALL_BYTES_MAX: usize = 64 << 10;
/// Calls in one answer: a model that repeats itself makes no more of them.
pub const TOOL_CALLS_MAX: usize = 32;
/// Stop strings of one request, as OpenAI's API has it.
pub const STOPS_MAX: usize = 4;
/// Tokens a client may ask for at most.
pub const MAX_TOKENS_MAX: u32 = 1 << 20;
/// Tokens generated when the client states none.
pub const MAX_TOKENS_DEFAULT: u32 = 512;

/// Streams of `/events` at once: every device of a household with the dashboard open, and no crowd.
pub const WATCHERS_MAX: usize = 32;
/// What may wait for one of them before it is let go: some seconds of views.
pub const WATCHER_FRAMES_MAX: usize = 16;
/// Lines of the log of what happened: a day of a household.
pub const WATCHED_LOG_MAX: usize = 200;
/// An owner's session of the dashboard ends after this, seconds: an afternoon at the machine.
pub const OWNER_SESSION_LIFE_S: u64 = 8 * 3600;
/// Such sessions at once; the oldest ends for a new one.
pub const OWNER_SESSIONS_MAX: usize = 8;
