//! The bounds of placement: work is counted, never timed.

/// Slots with replicas to add up to which placement looks for the best answer of all: a roster of seven and some.
pub const PLACEMENT_EXACT_SLOTS_MAX: usize = 12;
/// Numbers of replicas it tells apart: eight slots of two replicas each, or twelve of one.
pub const PLACEMENT_EXACT_STATES_MAX: usize = 1 << 13;
/// And its steps, some 10 ns each: what is exact takes at most some 50 ms.
pub const PLACEMENT_EXACT_STEPS_MAX: u64 = 1 << 22;
/// Rounds of filling and exchanging after which a plan is taken as it is. Each adds replicas or gives one to a stronger claim,
/// so that two or three settle it; the bound is for the proof.
pub const PLACEMENT_ROUNDS_MAX: usize = 16;
/// Places that one round of exchanges looks at, some 30 ns each.
pub const PLACEMENT_REPAIR_STEPS_MAX: u64 = 1 << 22;
/// Loads for each replica on a machine that left: its own, and one that makes room for it.
pub const LOADS_PER_LOSS_MAX: usize = 2;
/// Refused places that a plan names: of seven slots a thousand each. Some 150 bytes each, beside the rest of a message.
pub const REFUSALS_MAX: usize = 8192;
/// Copies on disks that a plan asks for beside what its replicas need, of all artifacts together, each an equal share: of a
/// roster of 64 one on each of 256 machines.
pub const PLANNED_COPIES_MAX: usize = 16_384;
/// Copies of one artifact beside what its replicas need: every machine of a household, and of an office enough that all can be
/// neither away nor busy at once. A copy on each of a thousand disks would be 13 TB of traffic for one manager.
pub const PLANNED_COPIES_OF_EACH_MAX: usize = 16;
