//! Bugs on purpose, to prove that the simulator's checkers find what they are for. Only the feature `seeded-bugs` compiles
//! them in, only the simulator's own feature of that name turns it on, and only its tests seed one; without it [`has`] is
//! constantly false and nothing of them remains in a program.

/// What can be broken. Most are patched where the core decides; the last three where the driver acts, in the simulator's
/// copy of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bug {
    /// A node takes plans of older epochs.
    IgnoresEpochs,
    /// A seat is taken before its epoch is durable.
    SitsBeforeDurable,
    /// A seated node never renews its lease.
    NeverRenewsLease,
    /// Every plan of a seat has the same revision.
    SameRevision,
    /// A plan does not say what it falls short of.
    SilentShortfall,
    /// Plans count with twice the memory there is.
    OverfillsDomains,
    /// A plan is brought to a member once, whether it came or not.
    DeliversOnce,
    /// The ledger forgets loads in flight, and several begin at once.
    ForgetsLoads,
    /// What the plan wants here is evicted, pinned or not.
    EvictsPinned,
    /// An engine ends under its requests.
    EvictsUnderRequests,
    /// A corrupt chunk counts as stored.
    CountsCorrupt,
    /// A liar is never struck.
    NeverStrikes,
    /// Chunks are asked for without a bound.
    AsksWithoutBound,
    /// The end of a request is said twice.
    EndsTwice,
    /// A request whose replica failed is forgotten.
    ForgetsRequest,
    /// A request is sent on its way twice.
    DispatchesTwice,
    /// What was put off stays due after it was done.
    StaysDue,
    /// The last verified copy may go.
    DropsLastCopy,
    /// The driver: a copy is deleted before anybody promised to hold another.
    DeletesWithoutPromise,
    /// The driver: a promise is said before it is durable.
    ForgetsPromises,
    /// The driver: chunks are written without a look at their hashes.
    SkipsHashes,
}

impl Bug {
    /// All of them.
    pub const ALL: [Bug; 21] = [
        Bug::IgnoresEpochs,
        Bug::SitsBeforeDurable,
        Bug::NeverRenewsLease,
        Bug::SameRevision,
        Bug::SilentShortfall,
        Bug::OverfillsDomains,
        Bug::DeliversOnce,
        Bug::ForgetsLoads,
        Bug::EvictsPinned,
        Bug::EvictsUnderRequests,
        Bug::CountsCorrupt,
        Bug::NeverStrikes,
        Bug::AsksWithoutBound,
        Bug::EndsTwice,
        Bug::ForgetsRequest,
        Bug::DispatchesTwice,
        Bug::StaysDue,
        Bug::DropsLastCopy,
        Bug::DeletesWithoutPromise,
        Bug::ForgetsPromises,
        Bug::SkipsHashes,
    ];
}

/// Was this bug seeded?
#[cfg(not(feature = "seeded-bugs"))]
#[inline(always)]
pub const fn has(_: Bug) -> bool {
    false
}

#[cfg(feature = "seeded-bugs")]
pub use on::{has, seed};

#[cfg(feature = "seeded-bugs")]
mod on {
    use std::cell::Cell;

    use super::Bug;

    thread_local! {
        static SEEDED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Was this bug seeded in this thread?
    pub fn has(bug: Bug) -> bool {
        SEEDED.get() == Some(bug)
    }

    /// Seeds this bug, or none, in this thread from now on.
    pub fn seed(bug: Option<Bug>) {
        SEEDED.set(bug);
    }
}
