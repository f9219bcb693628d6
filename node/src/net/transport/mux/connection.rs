//! One connection: frames in and out. Whoever polls does the work: the stream that reads takes its bytes straight from the
//! encryption layer, the stream that writes hands them straight to it. What comes for others on the way is kept for them, or
//! they are woken to take it themselves.

mod reading;

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use futures::{AsyncRead, AsyncWrite};

use super::Multiplex;
use super::frame::{FIN, HEADER_BYTES, Header, Kind, RST, SYN};
use super::state::Stream;
use super::wakes::{ReadWake, Wakes, WriteWake};
use crate::core::limits;

/// Answers that wait for the socket. A peer that makes us answer more without reading is not read either.
const ANSWERS_MAX: usize = 1024;
/// For bytes that nobody waits for.
const SCRATCH_BYTES: usize = 16 << 10;

/// Which side dialled: its streams have odd numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role {
    Dialer,
    Listener,
}

/// How a connection ended: kept, for every stream is told.
#[derive(Clone, Debug)]
struct Ended {
    kind: io::ErrorKind,
    why: String,
}

impl Ended {
    fn error(&self) -> io::Error {
        io::Error::new(self.kind, self.why.clone())
    }
}

/// Where in the incoming bytes we are.
enum Reading {
    /// Within a header: so many bytes of it are here.
    Header([u8; HEADER_BYTES], usize),
    /// Within the bytes of a stream: so many are to come, and FIN stood in the header.
    Body { stream: u32, left: u32, last: bool },
}

const BETWEEN: Reading = Reading::Header([0; HEADER_BYTES], 0);

/// See the top of this file.
pub(super) struct Connection<C> {
    io: C,
    role: Role,
    pub(super) streams: BTreeMap<u32, Stream>,
    next: u32,
    /// Opened by the peer and not yet taken.
    pub(super) accepted: VecDeque<u32>,
    reading: Reading,
    /// Frames of ours, or the rest of one, that the socket did not take yet.
    pending: Vec<u8>,
    sent: usize,
    /// Frames among them that answer the peer's.
    answers: usize,
    /// Reading was put off until these are gone.
    held: bool,
    /// Steps of reading in all, and when the connection's own task last looked after it.
    steps: u64,
    steps_seen: u64,
    scratch: Box<[u8]>,
    ended: Option<Ended>,
    streams_max: usize,
    /// What all windows may still grow by.
    spare: u32,
    pub(super) wakes: Arc<Wakes>,
    read_waker: Waker,
    write_waker: Waker,
}

impl<C: AsyncRead + AsyncWrite + Unpin> Connection<C> {
    pub(super) fn new(io: C, role: Role, bounds: Multiplex) -> Connection<C> {
        let wakes = Arc::<Wakes>::default();
        Connection {
            io,
            role,
            streams: BTreeMap::new(),
            next: if role == Role::Dialer { 1 } else { 2 },
            accepted: VecDeque::new(),
            reading: BETWEEN,
            pending: Vec::new(),
            sent: 0,
            answers: 0,
            held: false,
            steps: 0,
            steps_seen: 0,
            scratch: vec![0; SCRATCH_BYTES].into_boxed_slice(),
            ended: None,
            streams_max: bounds.streams_max,
            spare: bounds.window_bytes,
            read_waker: Arc::new(ReadWake(Arc::clone(&wakes))).into(),
            write_waker: Arc::new(WriteWake(Arc::clone(&wakes))).into(),
            wakes,
        }
    }

    /// Why the connection ended, if it did.
    pub(super) fn check(&self) -> io::Result<()> {
        self.ended.as_ref().map_or(Ok(()), |ended| Err(ended.error()))
    }

    /// Ends the connection for everybody.
    fn end(&mut self, error: &io::Error) {
        if self.ended.is_none() {
            self.ended = Some(Ended { kind: error.kind(), why: error.to_string() });
            self.streams.values_mut().for_each(Stream::wake);
            self.wakes.writers();
            self.wakes.wake_driver();
        }
    }

    /// A new stream of ours; `None` while there are as many as there may be.
    pub(super) fn open(&mut self) -> Option<u32> {
        if self.streams.len() >= self.streams_max {
            return None;
        }
        let id = self.next;
        self.next = self.next.checked_add(2)?;
        self.streams.insert(id, Stream::new(SYN));
        Some(id)
    }

    /// Nobody holds stream `id` any more.
    pub(super) fn drop_stream(&mut self, id: u32) {
        let Some(mut stream) = self.streams.remove(&id) else { return };
        self.spare += stream.grown();
        let known_there = stream.greet() & SYN == 0;
        if known_there && self.ended.is_none() && !stream.reset && !stream.closed_here {
            self.say(Header::new(Kind::Data, if stream.closed_there { FIN } else { RST }, id, 0));
            let _ = self.poll_drain();
        }
        self.wakes.forget(id);
    }

    fn say(&mut self, header: Header) {
        self.pending.extend_from_slice(&header.encode());
    }

    fn answer(&mut self, header: Header) {
        self.answers += 1;
        self.say(header);
    }

    /// Everything that was said is with the system.
    pub(super) fn poll_drain(&mut self) -> Poll<io::Result<()>> {
        self.check()?;
        let drained = self.poll_drain_io();
        if let Poll::Ready(Err(error)) = &drained {
            self.end(error);
        }
        drained
    }

    fn poll_drain_io(&mut self) -> Poll<io::Result<()>> {
        let waker = self.write_waker.clone();
        let cx = &mut Context::from_waker(&waker);
        while self.sent < self.pending.len() {
            match ready!(Pin::new(&mut self.io).poll_write(cx, &self.pending[self.sent..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => self.sent += sent,
            }
        }
        self.pending.clear();
        (self.sent, self.answers) = (0, 0);
        if std::mem::take(&mut self.held) {
            self.wakes.readable();
        }
        Pin::new(&mut self.io).poll_flush(cx)
    }

    /// Sends some of `bytes` on stream `id`.
    pub(super) fn poll_write(&mut self, id: u32, cx: &Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check()?;
        let Some(stream) = self.streams.get_mut(&id) else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        if stream.reset || stream.closed_here {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if stream.send_credit == 0 {
            stream.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        if self.poll_drain()?.is_pending() {
            self.wakes.add_writer(id, cx.waker());
            return Poll::Pending;
        }
        let Some(stream) = self.streams.get_mut(&id) else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        let length = bytes.len().min(limits::FRAME_BYTES).min(stream.send_credit as usize);
        let header = Header::new(Kind::Data, stream.greet(), id, length as u32).encode(); // at most FRAME_BYTES
        stream.send_credit -= length as u32;
        let written = self.write_frame(&header, &bytes[..length]);
        written.inspect_err(|error| self.end(error))?;
        // What is left, here or below, goes out by itself from now on.
        let _ = self.poll_drain()?;
        if self.wakes.has_writers() {
            self.wakes.writable();
        }
        Poll::Ready(Ok(length))
    }

    /// One frame, from where it lies. What the encryption layer does not take at once is kept.
    fn write_frame(&mut self, header: &[u8], body: &[u8]) -> io::Result<()> {
        let waker = self.write_waker.clone();
        let slices = [IoSlice::new(header), IoSlice::new(body)];
        let written = match Pin::new(&mut self.io).poll_write_vectored(&mut Context::from_waker(&waker), &slices) {
            Poll::Ready(written) => written?,
            Poll::Pending => 0,
        };
        self.pending.extend_from_slice(&header[written.min(header.len())..]);
        self.pending.extend_from_slice(&body[written.saturating_sub(header.len())..]);
        Ok(())
    }

    /// Says that nothing more will be sent on stream `id`.
    pub(super) fn close(&mut self, id: u32) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        if !std::mem::replace(&mut stream.closed_here, true) && !stream.reset {
            let flags = FIN | stream.greet();
            self.say(Header::new(Kind::Data, flags, id, 0));
        }
    }

    /// Ends the whole connection in peace.
    pub(super) fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.ended.is_none() {
            self.say(Header::new(Kind::GoAway, 0, 0, 0));
            let _ = self.poll_drain();
            self.end(&io::ErrorKind::NotConnected.into());
        }
        Pin::new(&mut self.io).poll_close(cx)
    }
}
