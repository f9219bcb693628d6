//! Every bound, by name, with the reason for its number. A bound that is not here does not exist.

mod external;
mod http;
mod inventory;
mod managing;
mod placement;
mod routing;
mod trusting;

pub use external::*;
pub use http::*;
pub use inventory::*;
pub use managing::*;
pub use placement::*;
pub use routing::*;
pub use trusting::*;

use super::guard::Rate;
use super::types::Duration;

/// Largest chunk. 1 to 16 MiB measured alike (DESIGN 16); 4 MiB keeps what a crash or a liar costs small.
pub const CHUNK_BYTES_MAX: u32 = 4 << 20;
/// Chunks of one artifact: 1 TiB of full chunks, or a model with very many tensors.
pub const CHUNKS_PER_ARTIFACT_MAX: u32 = 1 << 18;
/// Files of one artifact: split GGUF files of the largest models known have fewer than 200.
pub const FILES_PER_ARTIFACT_MAX: usize = 1024;
/// Tensors in one file's table: the largest mixture-of-experts models have some 100,000.
pub const TENSORS_PER_FILE_MAX: u64 = 1 << 18;
/// Metadata entries of one GGUF file: real ones have under 100.
pub const METADATA_ENTRIES_MAX: u64 = 4096;
/// One metadata string: chat templates reach tens of KiB.
pub const METADATA_STRING_BYTES_MAX: u64 = 1 << 20;
/// One metadata array: vocabularies and merges reach some 300,000.
pub const METADATA_ARRAY_MAX: u64 = 1 << 21;
/// A metadata string this long is kept; of longer ones (chat templates) only the length: bounds a parsed header to 16 MiB.
pub const METADATA_TEXT_KEPT_BYTES_MAX: u64 = 4096;
/// A metadata key or a tensor's name: llama.cpp refuses tensor names of 64 bytes; real keys have under 80.
pub const METADATA_KEY_BYTES_MAX: u64 = 256;
/// Alignment of tensor data in a GGUF file: 32 by default; a larger page than this is not known.
pub const TENSOR_ALIGNMENT_MAX: u64 = 1 << 20;
/// The header of a safetensors file, or the index of several: the largest models have some 100,000 tensors of some 120 bytes.
pub const SAFETENSORS_HEADER_BYTES_MAX: u64 = 32 << 20;
/// A Hugging Face `tokenizer.json`: those of 260,000 tokens have 33 MB.
pub const TOKENIZER_BYTES_MAX: u64 = 64 << 20;
/// The other JSON files of a Hugging Face folder: a tokenizer's settings with every special token written out reach 1 MB.
pub const SETTINGS_BYTES_MAX: u64 = 4 << 20;
/// Free disk kept beside an artifact and 5 % of its size (DESIGN 10).
pub const DISK_MARGIN_BYTES: u64 = 2 << 30;
/// An artifact below this size needs only `DISK_MARGIN_SMALL_BYTES` beside itself: adapters fit on nearly full disks.
pub const ARTIFACT_SMALL_BYTES: u64 = 64 << 20;
/// The margin of small artifacts.
pub const DISK_MARGIN_SMALL_BYTES: u64 = 64 << 20;
/// Invitations of one node, open or burnt and not yet expired: more than a person hands out in their 15 minutes.
pub const TICKETS_MAX: usize = 256;
/// An encoded manifest: `CHUNKS_PER_ARTIFACT_MAX` chunks of at most 52 bytes each.
pub const MANIFEST_BYTES_MAX: usize = 16 << 20;

/// A gossip message as it travels (DESIGN 6): with its topic, author, signature and frame.
pub const GOSSIP_FRAME_BYTES_MAX: usize = 16 << 10;
/// What a gossip message says: one advertisement of a node with dozens of replicas fits in a quarter of it.
pub const GOSSIP_BYTES_MAX: usize = GOSSIP_FRAME_BYTES_MAX - 512;
/// A control message on a stream, other than a manifest.
pub const MESSAGE_BYTES_MAX: usize = 4 << 20;
/// A joining message but the last, which brings the roster of members: a few hashes and a name.
pub const JOIN_MESSAGE_BYTES_MAX: usize = 256 << 10;
/// Members of a personal federation; the simulator goes beyond a person's means.
pub const MEMBERS_MAX: usize = 16_384;
/// A member's certificate lives so long, seconds: a machine that has not met a signer for a season no longer speaks for the
/// federation, and a roster that somebody kept from hearing of a revocation dies with it.
pub const MEMBER_LIFE_S: u64 = 90 * 24 * 3600;
/// The owner's word for its admins lives so long: they must carry a federation whose owner is away for a year.
pub const CHARTER_LIFE_S: u64 = 400 * 24 * 3600;
/// Certificates begin and end this much beside what they say: a clock that was set to another zone's time is off by up to 14 h.
pub const EXPIRY_GRACE_S: u64 = 24 * 3600;
/// Signers renew in turns, the next one this long after the one before: one roster, and not one of each.
pub const RENEW_TURN_S: u64 = 600;
/// Machines in a charter: a person trusts a handful.
pub const SIGNERS_MAX: usize = 32;
/// Revocations that the roster of members remembers: they matter until all signers have met, and nobody revokes more before.
pub const TURNED_OUT_MAX: usize = 64;
/// A machine's own changes of the roster that it remembers, to make them again should another signer's roster win: nobody makes
/// more before all signers have met.
pub const CHANGES_KEPT_MAX: usize = 64;
/// Versions of a roster: beyond it lies an overflow that a false admin might want.
pub const ROSTER_VERSION_MAX: u64 = 1 << 62;
/// A node that ends waits so long for its last small writes; a disk that takes longer has them at the next start from others.
pub const LAST_WRITES: Duration = Duration::from_secs(2);
/// Saying goodbye on a connection takes at most this long: it must end, also towards a peer that reads nothing.
pub const CLOSE_WAIT: Duration = Duration::from_secs(1);
/// Members that one node tells of a new roster by itself; the others hear that there is one and ask.
pub const ROSTER_PUSHES_MAX: usize = 64;
/// A revoked machine has so long to hear that it was before its connections end.
pub const FAREWELL: Duration = Duration::from_millis(400);
/// Slots of a roster.
pub const SLOTS_MAX: usize = 256;
/// Adapters of one slot.
pub const DOMAINS_PER_SLOT_MAX: usize = 32;
/// Records of one catalog: the roster and every slot with every domain, were they all full.
pub const CATALOG_RECORDS_MAX: usize = 1 + SLOTS_MAX * (1 + DOMAINS_PER_SLOT_MAX);
/// Writes to one key of the catalog: nobody publishes this often; beyond it lies an overflow that a liar might want.
pub const CATALOG_SEQUENCE_MAX: u64 = 1 << 62;
/// Memory domains of one node: GPUs of the largest server and its RAM.
pub const MEMORY_DOMAINS_MAX: usize = 32;
/// Artifacts one node says it holds; what does not fit in an advertisement is asked for.
pub const HOLDINGS_PER_ADVERT_MAX: usize = 128;
/// Replicas one node says it has.
pub const REPLICAS_PER_ADVERT_MAX: usize = 64;
/// Pins of one node: every slot with every domain is beyond what anybody types.
pub const PINS_MAX: usize = 1024;
/// Addresses of one member.
pub const ADDRESSES_MAX: usize = 16;

/// Strangers connected at once while an invitation is open: one joins, a few may knock. A newer one takes an older one's place.
pub const GUESTS_MAX: usize = 16;
/// Of these from one address, so that one that knocks often does not keep out one that knocks once.
pub const GUESTS_PER_SOURCE_MAX: usize = 4;
/// Streams of one stranger's connection: joining takes one; a member that others do not know yet tries all its protocols.
pub const STREAMS_PER_GUEST_MAX: usize = 16;
/// A stranger's connection ends after this, whatever it does: joining takes a second, and each step has its own limit.
pub const GUEST_LIFE: Duration = Duration::from_secs(60);
/// Connections of one peer: both sides may dial at once, and those of a process that died linger until found silent.
pub const CONNECTIONS_PER_PEER_MAX: u32 = 8;
/// Connections in all: a few for each member of any federation a person owns.
pub const CONNECTIONS_MAX: u32 = 4096;
/// Dials under way: every member at a few addresses each, a few members at a time.
pub const DIALS_PENDING_MAX: u32 = 256;
/// A dial, with encryption and multiplexing, ends by then.
pub const HANDSHAKE: Duration = Duration::from_secs(10);
/// Who dialled us has proved who it is by then: three round trips and some milliseconds of arithmetic.
pub const HANDSHAKE_IN: Duration = Duration::from_secs(5);
/// Connections from unknown addresses that have not yet proved who they are. Each costs a socket and, once it spoke, some 50 KiB.
pub const HALF_OPEN_STRANGERS_MAX: usize = 128;
/// Of these from one address: a joiner dials each address of its ticket at once, and all may be one machine.
pub const HALF_OPEN_PER_STRANGER_MAX: usize = ADDRESSES_MAX;
/// The same from addresses where members are known to be.
pub const HALF_OPEN_KNOWN_MAX: usize = 256;
/// Of these from one address: several members may be behind it, or on this very machine.
pub const HALF_OPEN_PER_KNOWN_MAX: usize = 64;
/// Handshakes begun with all strangers: each costs a millisecond, so that a flood takes a few hundredths of a core. A flood comes in
/// waves, and what begins at once is what a member's request waits for: a few, then evenly. Measured: with 128 at once a
/// thousand hostile connections made the 99th percentile of chats 2.7 times as long.
pub const HANDSHAKES_OF_STRANGERS: Rate = Rate { per_second: 64, burst: 8 };
/// Handshakes begun with one unknown address: twice all the addresses of a ticket, and one after the other from then on.
pub const HANDSHAKES_OF_STRANGER: Rate = Rate { per_second: 8, burst: 32 };
/// Handshakes begun with one address of members: a machine that runs many nodes, all of them restarted.
pub const HANDSHAKES_OF_KNOWN: Rate = Rate { per_second: 64, burst: 256 };
/// Addresses whose handshakes are counted: each costs some 100 bytes.
pub const SOURCES_MAX: usize = 4096;
/// Addresses of one member as they were seen from here.
pub const SEEN_ADDRESSES_MAX: usize = 8;
/// A connection is pinged this often.
pub const PING_PERIOD: Duration = Duration::from_secs(5);
/// A pong not here by then, and the peer counts as silent.
pub const PONG_WAIT: Duration = Duration::from_secs(10);
/// A lost member is dialled again at once, then after this, doubling up to `REDIAL_LONGEST`.
pub const REDIAL_FIRST: Duration = Duration::from_secs(1);
/// The longest pause between two dials of a member that is away.
pub const REDIAL_LONGEST: Duration = Duration::from_secs(15);
/// A connection that ended sooner was refused by the other side: dialling again at once would spin.
pub const CONNECTION_LIVED: Duration = Duration::from_secs(1);
/// Streams of one connection, both ways: a dozen are in use, and the peer is not trusted to keep to that.
pub const STREAMS_PER_CONNECTION_MAX: usize = 256;
/// Streams of one member that are served at once, over all its connections, for gRPC: one is used, and one more while the
/// connection under it changes.
pub const RPC_STREAMS_PER_MEMBER_MAX: usize = 8;
/// The same for weights: what a member asks for at once, and what it gave up that may still be on its way.
pub const CHUNK_STREAMS_PER_MEMBER_MAX: usize = 4 * CHUNKS_IN_FLIGHT_PER_SOURCE;
/// The same for joining: the one that waits for its answer and the one that tries again.
pub const JOIN_STREAMS_PER_PEER_MAX: usize = 2;
/// gRPC bytes that one member may send us in requests; what comes faster is read later. Prompts and catalogs have kilobytes,
/// the largest message has 4 MiB.
pub const RPC_BYTES: Rate = Rate { per_second: 8 << 20, burst: 16 << 20 };
/// gRPC calls of one member; more are refused. A busy delegate forwards some tens of questions a second.
pub const RPC_CALLS: Rate = Rate { per_second: 500, burst: 2000 };
/// gRPC calls at once on one stream; more wait at the caller.
pub const RPC_CALLS_AT_ONCE: u32 = 256;
/// Gossip messages heard from one member, its own and those it passes on; more are dropped. Each member says one a second,
/// and more only while much changes.
pub const GOSSIP_MESSAGES: Rate = Rate { per_second: 200, burst: 2000 };
/// Their bytes: a tenth of a slow Wi-Fi.
pub const GOSSIP_BYTES: Rate = Rate { per_second: 512 << 10, burst: 4 << 20 };
/// Messages announced at once to a member that may have missed them: some 60 bytes each.
pub const GOSSIP_ANNOUNCED_MAX: usize = 200;
/// Messages waiting to be sent to one member.
pub const GOSSIP_WAITING_MAX: usize = 512;
/// Subscriptions in one message of a member: there is one topic.
pub const SUBSCRIPTIONS_PER_MESSAGE_MAX: usize = 8;
/// What the receive windows of one connection may grow beyond their first 256 KiB each, in all: twice what is under way on a
/// gigabit line of 60 ms. A peer may make us hold this much.
pub const CONNECTION_WINDOW_BYTES: usize = 16 << 20;
/// What one stream's receive window may grow to: a whole chunk.
pub const STREAM_WINDOW_BYTES_MAX: u32 = 4 << 20;
/// Frames that a connection's own task takes before others run.
pub const FRAMES_PER_TURN: usize = 64;
/// Largest frame we send (DESIGN 16): large ones cost less, and nothing urgent waits longer behind one than 2 ms at a gigabit.
pub const FRAME_BYTES: usize = 256 << 10;
/// What TLS encrypts before it writes: a whole frame and its records' headers, so that the socket takes it in one call and the
/// other side wakes once for it; with rustls' own 64 KiB it was four times.
pub const TLS_BUFFER_BYTES: usize = FRAME_BYTES + (16 << 10);
/// Read from a busy socket at once (DESIGN 16).
pub const SOCKET_READ_BYTES: usize = 256 << 10;
/// Accepted streams of one protocol that wait to be served; more are reset.
pub const STREAMS_WAITING_MAX: usize = 256;
/// Streams being opened on one connection; more answer Busy.
pub const STREAMS_OPENING_MAX: usize = 64;
/// Commands waiting for the network task; senders wait beyond it.
pub const NET_COMMANDS_MAX: usize = 256;
/// Network events waiting for the driver.
pub const NET_EVENTS_MAX: usize = 256;
/// Connection events held back for a slow driver; beyond it the network itself waits, for none may be lost.
pub const NET_EVENTS_HELD_MAX: usize = 4096;
/// Each step of joining.
pub const JOIN_STEP: Duration = Duration::from_secs(10);
/// Tries of a joiner whose proof was not answered, after 1, 2 and 4 s: an inviter that was killed is back by then, or away.
pub const JOIN_TRIES_MAX: u32 = 4;
/// Each step of a chunk (the answer to its request, every `CHUNK_PIECE_BYTES` of it): 1 MiB over a third of a megabit.
pub const CHUNK_WAIT: Duration = Duration::from_secs(30);
/// Read from the disk and handed to the connection at once: the processor's cache still holds it when it is encrypted.
pub const CHUNK_PIECE_BYTES: usize = 1 << 20;
/// The lowest rate limit that may be set: a whole chunk still comes in half of `CHUNK_WAIT`.
pub const RATE_LIMIT_MIN: u64 = 256 << 10;
/// Chunks read and sent at once: bounds a sender's memory to 32 × 1 MiB beside the windows; more answer Busy.
pub const CHUNKS_SERVED_MAX: usize = 32;
/// Of these to one member: twice what it asks for at once, for what it gave up may still be on its way.
pub const CHUNKS_SERVED_PER_MEMBER_MAX: usize = 2 * CHUNKS_IN_FLIGHT_PER_SOURCE;
/// Open streams of the weight data plane that are served: the full depth for 128 members; more are closed.
pub const CHUNK_STREAMS_MAX: usize = 1024;
/// A weight stream on which nothing was asked for this long is closed; the asker opens another.
pub const CHUNK_STREAM_IDLE: Duration = Duration::from_secs(60);
/// A chunk request or the header of its reply: a digest and two numbers.
pub const CHUNK_HEADER_BYTES_MAX: usize = 64;
/// A node's last messages, said again to a peer that begins to listen: an advertisement and a lease.
pub const LAST_WORDS_MAX: usize = 2;
/// The system says within this whether a port can be listened on.
pub const LISTEN_WAIT: Duration = Duration::from_secs(5);

/// While a member is missing, the local network is asked at once, then after this, doubling up to `ASK_LONGEST`.
pub const ASK_FIRST: Duration = Duration::from_secs(1);
/// A member that is away is asked for once a minute: a packet that nobody notices.
pub const ASK_LONGEST: Duration = Duration::from_secs(60);
/// Between two announcements: mDNS itself says nothing more often (RFC 6762, 6), however often it is asked.
pub const ANNOUNCE_REST: Duration = Duration::from_secs(1);
/// How often this machine's addresses are looked at.
pub const INTERFACES_PERIOD: Duration = Duration::from_secs(2);
/// Addresses of this machine that are announced: hosts of many containers have more and need no more.
pub const INTERFACES_MAX: usize = 32;
/// Addresses of one member that it announced on the local network: what is repeated to us must not push out those it told.
pub const FOUND_MAX: usize = 4;
/// After this machine's addresses changed, a connection must bring a pong of the next ping within so much beyond it.
pub const DOUBT: Duration = Duration::from_secs(2);
/// A member that was heard on the local network so long ago, seconds, may have left it.
pub const HEARD_FRESH_S: u64 = 120;
/// Two clocks further apart than this are not both right, milliseconds: network time keeps them within a fraction of a second.
pub const CLOCK_OFF_MS: u64 = 30_000;
/// `fednode doctor` asks so many members.
pub const EXAMINED_MAX: usize = 32;
/// A member that examines another dials so long.
pub const EXAMINE_DIAL: Duration = Duration::from_secs(3);
/// Examinations of others that a node does at once: each opens a few connections.
pub const EXAMINATIONS_MAX: usize = 4;
/// Members that one relay keeps reachable: more than anybody has behind routers.
pub const RELAYED_MEMBERS_MAX: usize = 256;
/// Circuits through one relay: each pair of a dozen members behind routers, both ways.
pub const RELAY_CIRCUITS_MAX: usize = 256;
/// Circuits from one member.
pub const RELAY_CIRCUITS_PER_MEMBER_MAX: usize = 32;
/// A circuit is made anew after this: a limit that nobody meets but one that was forgotten.
pub const RELAY_CIRCUIT_LIFE: Duration = Duration::from_secs(7 * 24 * 3600);
/// Relays that one member uses: a second one for when the first is away.
pub const RELAYS_USED_MAX: usize = 3;
/// Between two tries to replace a relayed connection by a direct one.
pub const DIRECT_RETRY: Duration = Duration::from_secs(60);
/// Addresses given with `--peer`.
pub const STATIC_PEERS_MAX: usize = 64;

/// Between two syncs with one member: many records that are published in a row travel in a few.
pub const SYNC_REST: Duration = Duration::from_millis(600);
/// A sync with a connected member that failed is tried again after this: longer than a busy moment, far shorter than a person
/// waits for what was published elsewhere.
pub const SYNC_RETRY: Duration = Duration::from_secs(1);
/// A node says what it has at least this often; a change is said at once.
pub const ADVERT_PERIOD: Duration = Duration::from_secs(2);
/// An advertisement not renewed is void: seven periods, so that a few lost ones do not matter.
pub const ADVERT_LIFE: Duration = Duration::from_secs(15);
/// The same in periods, where those are longer.
pub const ADVERT_LIFE_PERIODS: u64 = 7;
/// Nobody is believed for longer than in the largest federation there may be.
pub const ADVERT_LIFE_MAX: Duration = Duration(ADVERT_SHARE.0 * MEMBERS_MAX as u64 * ADVERT_LIFE_PERIODS);
/// Who was not heard from for this part of an advertisement's life has missed one (2.5 s of 15). Until pings tell what became of
/// it, it is asked only for what nobody else answers.
pub const QUIET_OF_LIFE: u64 = 6;
/// A federation in which everybody spoke every 2 s would spend a machine on listening: from 11 members on, each speaks so much
/// less often that all together say five advertisements a second. What is news is still said at once.
pub const ADVERT_SHARE: Duration = Duration::from_millis(200);
/// What people wait for changes with every question. Whoever has just spoken says that anew after so much for each member, a
/// tenth of its period; up to 7 members after [`SETTLE`], as all other news.
pub const WANTED_SHARE: Duration = Duration::from_millis(20);
/// Changes are gathered this long before they are advertised or planned for.
pub const SETTLE: Duration = Duration::from_millis(150);

/// A plan for a thousand machines takes some ten milliseconds, and something changes on one of them all the time: changes are
/// gathered so much longer for each member, two fifths of a second for a hundred.
pub const PLAN_SHARE: Duration = Duration::from_millis(4);

/// The coordinator renews its lease this often (DESIGN 7).
pub const LEASE_PERIOD: Duration = Duration::from_secs(2);
/// A lease not renewed for this long is void (DESIGN 7).
pub const LEASE_LIFE: Duration = Duration::from_secs(15);
/// A coordinator that could not renew for this long stops issuing (DESIGN 7).
pub const LEASE_SELF_LIFE: Duration = Duration::from_secs(10);
/// After a silent coordinator's lease ended: this plus rank × `TAKEOVER_STEP` (DESIGN 7).
pub const TAKEOVER_SILENT: Duration = Duration::from_secs(3);
/// After a coordinator known to be gone: this plus rank × `TAKEOVER_STEP` (DESIGN 7).
pub const TAKEOVER_GONE: Duration = Duration::from_secs(2);
/// Between two candidates in rank (DESIGN 7).
pub const TAKEOVER_STEP: Duration = Duration::from_secs(2);

/// Chunk requests in flight to one source (DESIGN 16: depth 8 measured best).
pub const CHUNKS_IN_FLIGHT_PER_SOURCE: usize = 8;
/// Chunk requests in flight in all: bounds a receiver's memory to 24 × 4 MiB.
pub const CHUNKS_IN_FLIGHT_MAX: usize = 24;
/// Chunk requests in flight to a source of which nothing is known yet: few, so that the first chunks of a seed that many ask
/// at once are whole soon and can be passed on.
pub const CHUNKS_IN_FLIGHT_FIRST: usize = 2;
/// So much of a source's speed is kept in flight: more than any round trip, and little enough that slow ones owe little.
pub const IN_FLIGHT_SPAN: Duration = Duration::from_millis(300);
/// A source whose chunks take longer has one request in flight: the round trip no longer matters.
pub const CHUNK_SLOW: Duration = Duration::from_secs(2);
/// Speeds are measured over at least this: chunks that were sent together arrive together.
pub const RATE_SPAN: Duration = Duration::from_millis(200);
/// A source of unknown speed is expected to be at least this fast before it counts as stalled: a slow mobile line.
pub const RATE_UNKNOWN_BYTES_PER_S: u64 = 2 << 20;
/// A source is not called stalled sooner: disks spin up, machines swap, Wi-Fi roams.
pub const STALL_MIN: Duration = Duration::from_secs(3);
/// When all that is missing is asked for, this often a late chunk is compared with what others would need for it.
pub const END_GAME_PERIOD: Duration = Duration::from_millis(250);
/// Partial holders of one artifact that a node asks: enough that their uplinks fill its line, few enough to know their maps.
pub const PARTIAL_SOURCES_MAX: usize = 8;
/// Members among whom the first requests for the chunks of one artifact are shared out; more do not make the shares better.
pub const SHARERS_MAX: usize = 64;
/// Corrupt chunks after which a source is no longer asked (DESIGN 10).
pub const STRIKES_MAX: u32 = 3;
/// After a failed request (not a corrupt one) a source rests this long.
pub const SOURCE_REST: Duration = Duration::from_millis(500);
/// The map of a partial holder is asked for again after this at the soonest, four holders at a time: at 100 MB/s a holder has
/// gained six chunks by then.
pub const HAVE_REST_MIN: Duration = Duration::from_millis(250);
/// And after this at the latest, of a holder that gains nothing.
pub const HAVE_REST: Duration = Duration::from_secs(5);
/// Verified chunks between two durable writes of the bitmap: what a crash may cost, in chunks.
pub const CHUNKS_PER_CHECKPOINT: u32 = 8;

/// Bytes that are hashed at a start because they were written and not promised: eight times what a crash leaves so. Where
/// preallocated blocks cannot be told from written ones it would be the whole file, and fetching is as good.
pub const RESUME_BYTES_MAX: u64 = 1 << 30;

/// A loaded replica is not evicted for another before this, nor before the time its load took has passed once more: a
/// just-loaded manager serves those who waited for it, and loading never takes more than half of a domain's time.
pub const DWELL_MIN: Duration = Duration::from_secs(1);

/// Most tokens of one decoding step: llama.cpp's own micro-batch; larger gains nothing on a CPU and costs memory.
pub const ENGINE_BATCH_TOKENS_MAX: u32 = 512;
/// Tokens of one decoding step whose logits are looked at, beside one for each sequence: what scoring a text takes at once. Each
/// costs the vocabulary times four bytes, 128 KiB for the reference models.
pub const ENGINE_OUTPUTS_MAX: u32 = 32;
/// Tokens of prompts in one step while answers are under way: on two cores a 6.7B model takes some three seconds for them, and
/// so much longer the next token of each answer takes.
pub const ENGINE_PROMPT_TOKENS_SHARED: usize = 64;
/// OpenAI's own bound on `top_logprobs`.
pub const TOP_LOGPROBS_MAX: u32 = 20;
/// Log-probabilities asked for at each position of a scored text: the largest vocabularies have a quarter of a million tokens.
pub const SCORED_EACH_MAX: u32 = 1 << 18;
/// Less is not staged before a load: a disk reads it in a moment.
pub const STAGED_BYTES_MIN: u64 = 64 << 20;
/// Events of one answer under way between engine and node; text that finds no room is joined with the text after it.
pub const ENGINE_EVENTS_MAX: usize = 64;
/// A child tells at most so often how far its load is.
pub const LOAD_PROGRESS_EVERY: Duration = Duration::from_millis(200);
/// A child process listens within this, or its start has failed: milliseconds are normal, a machine under load is slow.
pub const ENGINE_START: Duration = Duration::from_secs(30);
/// After a child's connection broke, its end is waited for this long, to say how it ended.
pub const ENGINE_EXIT_NOTICE: Duration = Duration::from_millis(500);
/// A child that was asked to end is killed after this: ending takes tens of milliseconds (DESIGN 16).
pub const ENGINE_STOP: Duration = Duration::from_secs(3);

/// A hold promise lasts this long, seconds: asking, answering and deleting take milliseconds, a busy disk a minute.
pub const HOLD_LIFE_S: u64 = 600;
/// A promise is not relied on in the last part of its life: clocks of two machines drift, and a deletion takes time.
pub const HOLD_MARGIN_S: u64 = 300;
/// Promises given and not expired: every artifact of a full roster to a few members.
pub const HOLD_PROMISES_MAX: usize = 4096;
/// Artifacts that wait to be looked at because something was wrong with them; more are found by the scrub itself.
pub const SUSPECTS_MAX: usize = 256;
/// A full scrub takes at most this many days unless the owner says otherwise (DESIGN 10).
pub const SCRUB_DAYS: u32 = 30;
/// The slowest scrub, bytes per second: a small store is done in minutes rather than spread over a month, and no disk notices.
pub const SCRUB_RATE_MIN: u64 = 1 << 20;
