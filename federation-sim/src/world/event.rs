//! What can happen, and when.

use fednode::core::machine::Input;
use fednode::core::membership::advert::Gossip;
use fednode::core::types::Time;

use crate::flows::FlowId;
use crate::world::calls::{Ask, Reply};
use crate::world::node::CallId;

/// Something that will happen. Those that name a node happen to it, and wait while it sleeps.
pub enum Event {
    /// A process starts.
    Boot { node: usize },
    /// A machine's deadline, unless the timer was set anew.
    Tick { node: usize, life: u64, due: Time },
    /// A node measures its hardware.
    Hardware { node: usize, life: u64 },
    /// A node looks at its store.
    Keep { node: usize, life: u64 },
    /// Gossip arrives at a node that slept when others heard it.
    Gossip { node: usize, gossip: Gossip },
    /// Gossip arrives at the next of those who hear it.
    Spreads { wave: Box<Wave> },
    /// A node that has started dials everybody.
    DialAll { node: usize, life: u64 },
    /// A node dials a member that it is not connected to.
    Dial { node: usize, peer: usize, life: u64 },
    /// A dial failed.
    DialFailed { node: usize, peer: usize, life: u64, refused: bool },
    /// Two processes have shaken hands.
    LinkOpens { a: usize, b: usize, lives: [u64; 2] },
    /// A connection on which nothing passed is given up, unless something passes again.
    LinkSilent { a: usize, b: usize, link: u64 },
    /// One side notices that its connection is gone.
    LinkLost { node: usize, peer: usize, life: u64 },
    /// A question of a member arrives.
    Call { node: usize, from: usize, link: u64, call: CallId, ask: Box<Ask> },
    /// The answer to a question arrives.
    Reply { node: usize, from: usize, link: u64, call: CallId, reply: Box<Reply> },
    /// A question that was not answered in time.
    CallTimeout { node: usize, life: u64, call: CallId },
    /// The oldest questions of a node, unless they were answered.
    CallsTimeOut { node: usize, life: u64 },
    /// A chunk may have arrived.
    FlowDue { flow: FlowId },
    /// A disk or an engine has done what it was asked.
    Done { node: usize, life: u64, input: Box<Input> },
    /// An engine has its first token, or its last.
    Computed { node: usize, life: u64, job: u64, first: bool },
    /// Somebody begins to chat.
    SessionBegins,
    /// A question of the recording is asked.
    Recorded { index: usize },
    /// Somebody asks the next question of a session.
    Question { node: usize, session: u64 },
    /// A fault begins.
    FaultBegins { index: usize },
    /// A fault ends.
    FaultEnds { index: usize },
}

/// Gossip on its way to many.
pub struct Wave {
    /// What is said.
    pub gossip: Gossip,
    /// When it is heard, and by whom: the last of these next.
    pub hearers: Vec<(Time, u32)>,
}

impl Event {
    /// The node whose process must be awake for this.
    pub fn of(&self) -> Option<usize> {
        match self {
            Event::Tick { node, .. }
            | Event::Hardware { node, .. }
            | Event::Keep { node, .. }
            | Event::Gossip { node, .. }
            | Event::DialAll { node, .. }
            | Event::Dial { node, .. }
            | Event::DialFailed { node, .. }
            | Event::LinkLost { node, .. }
            | Event::Call { node, .. }
            | Event::Reply { node, .. }
            | Event::CallTimeout { node, .. }
            | Event::CallsTimeOut { node, .. }
            | Event::Done { node, .. }
            | Event::Computed { node, .. }
            | Event::Question { node, .. } => Some(*node),
            Event::Boot { .. }
            | Event::LinkOpens { .. }
            | Event::LinkSilent { .. }
            | Event::Spreads { .. }
            | Event::FlowDue { .. }
            | Event::SessionBegins
            | Event::Recorded { .. }
            | Event::FaultBegins { .. }
            | Event::FaultEnds { .. } => None,
        }
    }
}
