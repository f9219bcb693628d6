//! Why a node does not do, or not yet, what its plan says. The coordinator proposes, the node disposes (DESIGN 7), and says why.

use std::fmt;

use crate::core::limits;
use crate::core::membership::advert::RefusalCode;
use crate::core::residency::Stall;
use crate::core::types::human_bytes;

/// A refusal with what people need to know of it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// It does not fit now.
    Memory {
        /// What it needs beside what is resident, bytes.
        needs_bytes: u64,
        /// What there is, bytes.
        free_bytes: u64,
    },
    /// Programs on this machine wait for memory, whatever the ledger says.
    Pressure {
        /// How much of the time, as the kernel says.
        stall: Stall,
    },
    /// The owner said that it must be resident here.
    Pinned,
    /// It was loaded just now, and stays for as long as that took.
    Dwell,
    /// The plan, or whoever asks, speaks of what is not so here.
    Stale(String),
    /// Something else must end first.
    Busy(&'static str),
}

impl Refusal {
    /// Its kind.
    pub fn code(&self) -> RefusalCode {
        match self {
            Refusal::Memory { .. } | Refusal::Pressure { .. } => RefusalCode::Memory,
            Refusal::Pinned => RefusalCode::Pinned,
            Refusal::Dwell => RefusalCode::Dwell,
            Refusal::Stale(_) => RefusalCode::Stale,
            Refusal::Busy(_) => RefusalCode::Busy,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Memory { needs_bytes, free_bytes } => write!(
                f,
                "needs {}, {} free after reserve, short {}",
                human_bytes(*needs_bytes),
                human_bytes(*free_bytes),
                human_bytes(needs_bytes.saturating_sub(*free_bytes))
            ),
            Refusal::Pressure { stall } => write!(
                f,
                "memory is short on this machine: programs waited for it {} of the last 10 s and {} of the last minute; \
                 nothing more is loaded until that is at most {}",
                percent(stall.of_10_s),
                percent(stall.of_60_s),
                percent(limits::PRESSURE_ENDS)
            ),
            Refusal::Pinned => f.write_str("it is pinned on this node"),
            Refusal::Dwell => f.write_str("it was loaded just now, and stays for as long as that took"),
            Refusal::Stale(what) => f.write_str(what),
            Refusal::Busy(with) => f.write_str(with),
        }
    }
}

/// Hundredths of a percent, for people.
fn percent(hundredths: u32) -> String {
    format!("{}.{} %", hundredths / 100, hundredths % 100 / 10)
}
