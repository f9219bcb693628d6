//! What one stream of a connection has, and how far its windows go.

use std::collections::VecDeque;
use std::task::Waker;

use crate::core::limits;

/// What each side may send on a new stream before it hears more (yamux's specification).
pub(super) const FIRST_WINDOW: u32 = 256 << 10;

/// One stream. Bytes that come while nobody reads wait in `buffer`; all others go straight to the reader.
pub(super) struct Stream {
    /// Came, and nobody took it yet.
    pub(super) buffer: VecDeque<u8>,
    /// Who waits for bytes.
    pub(super) reader: Option<Waker>,
    /// Who waits for credit.
    pub(super) writer: Option<Waker>,
    /// What we may still send.
    pub(super) send_credit: u32,
    /// What the peer may still send.
    pub(super) receive_credit: u32,
    /// What the peer may send at once.
    window: u32,
    /// Taken by the reader since the peer was last given credit.
    taken: u32,
    /// The peer used all it had while the reader waited: the window is too small for this line.
    starved: bool,
    /// To be sent with the next frame: SYN or ACK.
    pub(super) greeting: u16,
    /// We sent our last byte.
    pub(super) closed_here: bool,
    /// The peer sent its last byte.
    pub(super) closed_there: bool,
    /// The peer ended it.
    pub(super) reset: bool,
}

impl Stream {
    pub(super) fn new(greeting: u16) -> Stream {
        Stream {
            buffer: VecDeque::new(),
            reader: None,
            writer: None,
            send_credit: FIRST_WINDOW,
            receive_credit: FIRST_WINDOW,
            window: FIRST_WINDOW,
            taken: 0,
            starved: false,
            greeting,
            closed_here: false,
            closed_there: false,
            reset: false,
        }
    }

    /// The peer announced `bytes`; false if they are more than it may send.
    pub(super) fn announce(&mut self, bytes: u32) -> bool {
        let Some(left) = self.receive_credit.checked_sub(bytes) else { return false };
        self.receive_credit = left;
        self.starved |= left == 0 && self.buffer.is_empty() && self.reader.is_some();
        true
    }

    /// The reader took `bytes`: what the peer is to be given for it now, if it is worth a frame. `spare` is what all windows of
    /// the connection may still grow by.
    pub(super) fn take(&mut self, bytes: usize, spare: &mut u32) -> Option<u32> {
        self.taken += bytes as u32; // at most the window
        if self.closed_there || self.reset || self.taken < self.window / 2 {
            return None;
        }
        let mut credit = std::mem::take(&mut self.taken);
        if std::mem::take(&mut self.starved) {
            let more = self.window.min(limits::STREAM_WINDOW_BYTES_MAX - self.window).min(*spare);
            *spare -= more;
            self.window += more;
            credit += more;
        }
        self.receive_credit += credit;
        Some(credit)
    }

    /// What its window grew by.
    pub(super) fn grown(&self) -> u32 {
        self.window - FIRST_WINDOW
    }

    /// Wakes whoever waits for this stream.
    pub(super) fn wake(&mut self) {
        self.reader.take().into_iter().chain(self.writer.take()).for_each(Waker::wake);
    }

    /// SYN or ACK, once.
    pub(super) fn greet(&mut self) -> u16 {
        std::mem::take(&mut self.greeting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_grows_only_when_the_reader_starved_and_there_is_room() {
        let mut spare = FIRST_WINDOW + 1;
        let mut stream = Stream::new(0);
        assert!(stream.announce(FIRST_WINDOW) && !stream.announce(1));
        assert_eq!(stream.take(FIRST_WINDOW as usize / 2 - 1, &mut spare), None);
        assert_eq!(stream.take(1, &mut spare), Some(FIRST_WINDOW / 2), "nobody waited");
        stream.reader = Some(Waker::noop().clone());
        assert!(stream.announce(FIRST_WINDOW / 2));
        assert_eq!(stream.take(FIRST_WINDOW as usize, &mut spare), Some(2 * FIRST_WINDOW), "the reader starved");
        assert_eq!((stream.grown(), spare), (FIRST_WINDOW, 1));
        assert!(stream.announce(2 * FIRST_WINDOW));
        assert_eq!(stream.take(2 * FIRST_WINDOW as usize, &mut spare), Some(2 * FIRST_WINDOW + 1), "as far as it goes");
        assert_eq!(spare, 0);
    }
}
