//! Bounds of routing: queues, shares, what is remembered of replicas and conversations.

use super::Duration;

/// Requests waiting or running on one node; more answer 429.
pub const REQUESTS_MAX: usize = 1024;
/// Of these from one client: more than the API has connections (`HTTP_CONNECTIONS_MAX`), and so few that no client alone fills
/// the node.
pub const REQUESTS_PER_CLIENT_MAX: usize = 640;
/// Of these waiting for one slot, so that a slot that takes minutes to load leaves room for the others.
pub const WAITING_PER_SLOT_MAX: usize = 768;
/// Requests one replica takes at once before others are preferred or the caller waits.
pub const REQUESTS_PER_REPLICA_MAX: u32 = 64;
/// A node hands a replica so many requests beside those it computes at once: the next is there when one ends, and whose turn
/// it is after that is decided where all clients are seen.
pub const REQUESTS_AHEAD: u32 = 2;
/// How many requests an external engine is taken to compute at once: servers batch dozens, and nobody says how many.
pub const EXTERNAL_PARALLEL: u32 = REQUESTS_PER_REPLICA_MAX;
/// How long a request waits for its manager to become ready when the client states no deadline.
pub const REQUEST_WAIT: Duration = Duration::from_secs(120);
/// A request whose every planned replica could not be loaded waits this long for one of them to heal before it is told why.
pub const FAILED_PATIENCE: Duration = Duration::from_secs(10);
/// Holders tried for one request before its error is final.
pub const ATTEMPTS_MAX: u32 = 4;
/// After it failed a request before the first token a holder is left alone by that request for this long: about what a
/// crashed engine needs to be back.
pub const HOLDER_REST: Duration = Duration::from_secs(1);
/// All members may have requests for one replica that is full: each tries again after so much for every member, and up to 200
/// members after [`HOLDER_REST`].
pub const BUSY_SHARE: Duration = Duration::from_millis(5);

/// Turns between clients are counted in shares: one, and one more for each so many tokens of a request.
pub const SHARE_TOKENS: u32 = 1024;
/// Shares of the longest request: beyond it nobody waits longer for a turn.
pub const SHARES_MAX: u32 = 8;

/// Replicas whose speed is remembered, the last measured: every slot on a few machines.
pub const SPEEDS_MAX: usize = 1024;
/// A measurement counts for a quarter: four make the figure, and one hiccup does not.
pub const SPEED_WEIGHT: u64 = 4;
/// Each time so long without a measurement halves by how much a replica is taken to be slower than the best of its slot: what
/// was slow once (cold, or beside another program) is tried again.
pub const SPEED_HALF_LIFE: Duration = Duration::from_secs(300);
/// Answers shorter than this say nothing of the speed of tokens.
pub const SPEED_TOKENS_MIN: u32 = 4;
/// The first token of an answer, before any was measured for its slot: a short prompt on a small machine.
pub const FIRST_TOKEN_ESTIMATE: Duration = Duration::from_millis(1_000);
/// Each further one: ten a second.
pub const TOKEN_ESTIMATE: Duration = Duration::from_millis(100);
/// Tokens of an answer: a paragraph.
pub const ANSWER_TOKENS_ESTIMATE: u64 = 128;
/// No single measurement counts for more: a machine that slept, a debugger.
pub const SPEED_SAMPLE_MAX: Duration = Duration::from_secs(600);
/// Replicas whose expected waits differ by less than this are equals: below what a line's round trip varies by.
pub const EQUAL_WAIT: Duration = Duration::from_millis(1);
/// And those that differ by less than this part of the shortest wait: figures are no better than that.
pub const EQUAL_PART: u64 = 8;

/// Conversations whose replica is remembered, the last used: every client of a busy node a few.
pub const CONVERSATIONS_MAX: usize = 1024;
/// After this a conversation's prefix has made way for others' in any replica, or its person has gone.
pub const CONVERSATION_LIFE: Duration = Duration::from_secs(30 * 60);
/// A follow-up waits for the replica that answered before at most this much longer than for the best other one, ...
pub const AFFINITY_WAIT_MAX: Duration = Duration::from_secs(10);
/// ... and so long in any case: less nobody notices.
pub const AFFINITY_WAIT_MIN: Duration = Duration::from_millis(20);

/// When to try again while nobody can tell how long a load takes, seconds: a 13 GB manager from a fast disk.
pub const RETRY_UNKNOWN_S: u32 = 5;
/// Sooner makes no sense, ...
pub const RETRY_MIN_S: u32 = 1;
/// ... and later neither: a transfer may find more sources, and another machine may load it.
pub const RETRY_MAX_S: u32 = 60;

/// Tokens of context of a local model: a conversation of some pages, in a laptop's memory.
pub const LOCAL_CONTEXT_MAX: u32 = 8_192;
/// A prompt that a small local model answers under `hybrid`: a question of some paragraphs, 500 tokens.
pub const LOCAL_PROMPT_BYTES: u64 = 2_000;
/// And no more messages than a system's, and three exchanges.
pub const LOCAL_MESSAGES: u32 = 7;
/// And an answer no longer than this, if its length is stated at all: what a laptop writes in half a minute.
pub const LOCAL_ANSWER_TOKENS: u32 = 512;
/// Bytes of text that make a token, as tokenisers have it on average: a prompt that does not fit by this is not tried.
pub const LOCAL_BYTES_PER_TOKEN: u64 = 4;

/// What a client may call a model: artifacts have names like files.
pub const MODEL_NAME_BYTES_MAX: usize = 256;
/// Rules for `auto`: more than a person keeps in mind.
pub const ROUTE_RULES_MAX: usize = 64;
/// Words of one rule.
pub const ROUTE_WORDS_MAX: usize = 256;
/// One word, or the name of a task.
pub const ROUTE_WORD_BYTES_MAX: usize = 64;
/// So much of a message is looked at for words: people say at its beginning what they want.
pub const ROUTE_TEXT_BYTES: usize = 4 << 10;
/// The file of rules: every rule full of words would be 1 MiB, and nobody writes that.
pub const ROUTES_FILE_BYTES_MAX: u64 = 256 << 10;
