//! Ports of 127.0.0.1 for test nodes, below those that the system gives to outgoing connections, so that a node that
//! restarts finds its port free.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::Error;

/// Linux gives out ports from 32768 on.
const FIRST: u32 = 20_000;
const COUNT: u32 = 10_000;

/// A port that nobody listens on now and that this process has not given out recently.
pub fn free() -> Result<u16, Error> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Test programs may run side by side: each begins elsewhere.
    let begin = std::process::id().wrapping_mul(37);
    let candidates = (0..COUNT).map(|_| FIRST + begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT);
    let mut ports = candidates.filter_map(|port| u16::try_from(port).ok());
    let free = ports.find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok());
    free.ok_or_else(|| Error::Wrong(format!("all ports from {FIRST} on are taken on 127.0.0.1")))
}
