//! The bounds of what the coordinator decides from, and of a node's own residency.

use super::Duration;

/// A request counts half after this: what was asked this evening outweighs yesterday's, and an hour of talking is enough to
/// move the figures.
pub const DEMAND_HALF_LIFE: Duration = Duration::from_secs(3600);
/// The roster's figures weigh as much as so many observed requests: one long conversation. Beyond it what people do outweighs
/// what the roster expects.
pub const DEMAND_PRIOR_REQUESTS: u64 = 32;
/// A demand in use is replaced only when the fresh one is twice or half of it, and differs by this many requests an hour: chance
/// alone makes a handful of requests, and must move nothing.
pub const DEMAND_CHANGE_MIN: u32 = 4;
/// Requests an hour that one replica is expected to carry: one a minute, for an answer of 200 tokens takes most of one on a CPU.
pub const DEMAND_PER_REPLICA: u32 = 60;
/// Requests an hour that a node may claim for one slot: nobody types so fast, and a liar must not outweigh everybody for ever.
pub const DEMAND_PER_HOUR_MAX: u64 = 1_000_000;
/// Slots whose demand one node tells, those most asked for: with names of 32 bytes they take 1.4 KiB of a gossip message.
pub const DEMANDS_PER_ADVERT_MAX: usize = 32;
/// Slots that one node says are waited for; the others have their turn when these are loaded.
pub const WANTED_PER_ADVERT_MAX: usize = 32;

/// While somebody waits for a slot that needs the memory of a replica which is to go, that replica answers at most so many new
/// requests, then it takes no more: a conversation's next turns, not a stream without end.
pub const OVERTAKES_MAX: u32 = 8;
/// A replica that was just loaded is not evicted while those who waited for it are on their way to it, for so long at most:
/// they hear of it within one advertisement, and one that is out of reach must not hold up the others.
pub const FIRST_TURN: Duration = Duration::from_secs(5);
/// Measured footprints a node remembers: every slot of a roster in a few versions.
pub const FOOTPRINTS_KEPT_MAX: usize = 1024;
/// `fednode load` waits this long for its manager: 13 GB come over a slow Wi-Fi in half of it.
pub const LOAD_WISH_LIFE: Duration = Duration::from_secs(3600);

/// A machine that has been there for so long without a break is counted on: managers move to its GPUs. A nap or a game are
/// longer apart, mostly, so that they cost few loads.
pub const STEADY_AFTER: Duration = Duration::from_secs(600);

/// After a replica died, or could not be loaded, it is tried again so long after; twice as long after each time more in a row.
pub const LOAD_BACKOFF: Duration = Duration::from_secs(1);
/// The longest of these pauses: who has repaired what was wrong sees it within a minute.
pub const LOAD_BACKOFF_MAX: Duration = Duration::from_secs(60);
/// The same after the system killed a replica because memory ran out: what took the memory needs longer to go than a process
/// to come back, and each try takes the machine to its edge again.
pub const OUT_OF_MEMORY_BACKOFF: Duration = Duration::from_secs(30);
/// The longest of these.
pub const OUT_OF_MEMORY_BACKOFF_MAX: Duration = Duration::from_secs(600);
/// A replica that ran so long before it died did not die of being loaded: its pauses begin with the first again.
pub const REPLICA_LASTED: Duration = Duration::from_secs(10);
/// A replica may take more memory of its own than it was promised, up to this part of all its bytes: estimates are good to one
/// part in twenty, and a queue of long prompts takes some more for a moment.
pub const PROMISE_SLACK_DIVISOR: u64 = 10;
/// And at least so much: allocators of small processes keep more than they need.
pub const PROMISE_SLACK_BYTES_MIN: u64 = 256 << 20;
/// How often the memory of replicas is looked at: reading a file of the kernel takes microseconds, and 3 s of a process that
/// takes a gigabyte a second are what the reserve has room for.
pub const FOOTPRINT_PERIOD: Duration = Duration::from_secs(3);
/// Programs waited for memory in this part of the last ten seconds and of the last minute, hundredths of a percent: a machine at
/// work shows below one percent, one that swaps or reads its programs in again shows tens.
pub const PRESSURE_BEGINS: u32 = 1_000;
/// Pressure has ended when of the last ten seconds no more than this was waited for.
pub const PRESSURE_ENDS: u32 = 100;
/// Under pressure the next replica is let go so long after the one before: the kernel's average over ten seconds has seen what
/// that brought.
pub const PRESSURE_REST: Duration = Duration::from_secs(20);
/// Under pressure a replica is let go that had nothing to do for this long.
pub const PRESSURE_IDLE: Duration = Duration::from_secs(30);
/// The kernel's file on pressure has two lines of some 60 bytes.
pub const PRESSURE_FILE_BYTES_MAX: u64 = 1024;

/// Machines about which the owner has said something (`pin --on`, `drain`): more than a person has.
pub const WISHES_MAX: usize = 1024;
/// Slots pinned on one machine.
pub const PINNED_PER_NODE_MAX: usize = 64;
/// A node that is told to stop finishes the answers that have begun, at most so long: most answers are shorter, and service
/// managers wait longer before they kill (`TimeoutStopSec` in `cli/service`).
pub const DRAIN: Duration = Duration::from_secs(30);
/// Files that a node should be allowed to have open: a socket for each client and member, and every file of every model.
pub const OPEN_FILES_WANTED: u64 = 4096;
