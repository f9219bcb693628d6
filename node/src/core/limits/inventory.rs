//! Bounds of inventories: federations written down, which people, scripts and generators make.

use super::MEMBERS_MAX;

/// Machines of an inventory: as many as a federation has members, so that every federation can be written down.
pub const INVENTORY_NODES_MAX: usize = MEMBERS_MAX;
/// The text of an inventory: 5,000 machines that each name 64 artifacts by digest have 25 MB, and the plan before with all its
/// refusals may have 60.
pub const INVENTORY_BYTES_MAX: usize = 128 << 20;
/// Artifacts that one machine of an inventory holds: every slot's base and adapters twice over, in two versions.
pub const INVENTORY_ARTIFACTS_MAX: usize = 16_384;
/// The name of a machine or of a memory domain: a member's name has at most 63 bytes, a PeerId as text 52.
pub const INVENTORY_NAME_CHARS_MAX: usize = 64;
/// The name of an artifact: a digest has 64 digits, names on model hubs stay under 100.
pub const INVENTORY_ARTIFACT_CHARS_MAX: usize = 256;
/// Any size in an inventory, 1 PiB: beyond any machine, and far from where sums over a federation overflow.
pub const INVENTORY_SIZE_BYTES_MAX: u64 = 1 << 50;
/// Memory of one token, 1 GiB: the largest models known need some 5 MB.
pub const INVENTORY_TOKEN_BYTES_MAX: u64 = 1 << 30;
/// Tokens of context of one sequence; the longest known are of this size.
pub const CONTEXT_MAX: u32 = 1 << 20;
/// The least context that is proposed as a remedy, tokens: below it a conversation has no room.
pub const CONTEXT_PROPOSED_MIN: u32 = 512;
/// Proposed contexts are multiples of this, tokens: engines pad to it, and people remember them.
pub const CONTEXT_STEP: u32 = 256;
/// Sequences at once in one replica.
pub const PARALLEL_MAX: u32 = 256;
/// Replicas of one slot.
pub const REPLICAS_MAX: u32 = 1024;
/// Memory domains times slots up to which whole plans are made only to see at which context everything would fit: a dozen
/// plans of this size take some milliseconds.
pub const TRIAL_PLACES_MAX: usize = 4096;
/// Violations that are told of one plan; the rest is counted.
pub const VIOLATIONS_TOLD_MAX: usize = 100;
/// Changes of one question "what if": nobody types more.
pub const CHANGES_MAX: usize = 64;
/// Machines on which one slot of an inventory is pinned: nobody names more by hand.
pub const INVENTORY_PINS_MAX: usize = 1024;
