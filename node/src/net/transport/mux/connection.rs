//! One connection: frames in and out. Whoever polls does the work: the stream that reads takes its bytes straight from the
//! encryption layer, the stream that writes hands them straight to it. What comes for others on the way is kept for them, or
//! they are woken to take it themselves.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use futures::{AsyncRead, AsyncWrite};

use super::frame::{ACK, FIN, HEADER_BYTES, Header, Kind, Malformed, RST, SYN};
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

/// What a step of reading came to.
enum Step {
    /// A header, or bytes for another stream.
    Went,
    /// So many bytes for the stream that reads.
    Read(usize),
    /// The bytes belong to a stream that waits for them, and was woken.
    Handed,
}

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
    /// What all windows may still grow by.
    spare: u32,
    pub(super) wakes: Arc<Wakes>,
    read_waker: Waker,
    write_waker: Waker,
}

impl<C: AsyncRead + AsyncWrite + Unpin> Connection<C> {
    pub(super) fn new(io: C, role: Role) -> Connection<C> {
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
            spare: limits::CONNECTION_WINDOW_BYTES as u32,
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

    /// Passes a result on, and ends the connection if it is an error.
    fn end_on_error<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        result.inspect_err(|error| self.end(error))
    }

    /// A new stream of ours; `None` while there are as many as there may be.
    pub(super) fn open(&mut self) -> Option<u32> {
        if self.streams.len() >= limits::STREAMS_PER_CONNECTION_MAX {
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
        self.end_on_error(written)?;
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

    /// Bytes of stream `id`; none: there will be no more.
    pub(super) fn poll_read(&mut self, id: u32, cx: &Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        let Some(stream) = self.streams.get_mut(&id) else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        stream.reader = None;
        let mut end = drain(&mut stream.buffer, into);
        let (mut handed, mut dry) = (false, false);
        while end < into.len() && self.is_open(id) {
            match self.poll_step(Some((id, &mut into[end..]))) {
                Poll::Ready(Ok(Step::Read(read))) => end += read,
                Poll::Ready(Ok(Step::Went)) => {}
                Poll::Ready(Ok(Step::Handed)) => {
                    handed = true;
                    break;
                }
                Poll::Ready(Err(_)) | Poll::Pending => {
                    dry = true;
                    break;
                }
            }
        }
        if end > 0 && !handed && !dry {
            // There may be more below, for others; the socket will not say so again.
            self.wakes.wake_driver();
        }
        let ended = self.check();
        let Some(stream) = self.streams.get_mut(&id) else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        if end > 0 {
            if let Some(credit) = stream.take(end, &mut self.spare) {
                let flags = stream.greet();
                self.say(Header::new(Kind::WindowUpdate, flags, id, credit));
                let _ = self.poll_drain();
            }
            return Poll::Ready(Ok(end));
        }
        match (stream.closed_there, stream.reset, ended) {
            _ if into.is_empty() => Poll::Ready(Ok(0)),
            (true, _, _) => Poll::Ready(Ok(0)),
            (_, true, _) => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            (_, _, Err(error)) => Poll::Ready(Err(error)),
            (_, _, Ok(())) => {
                stream.reader = Some(cx.waker().clone());
                if !handed {
                    self.wakes.set_reader(id, cx.waker());
                }
                Poll::Pending
            }
        }
    }

    fn is_open(&self, id: u32) -> bool {
        self.streams.get(&id).is_some_and(|stream| !stream.closed_there && !stream.reset)
    }

    /// What the connection's own task does: everything that no stream does for itself. `Ready` when it went as far as one turn
    /// may go and there is more.
    pub(super) fn poll_drive(&mut self, rescue: bool) -> Poll<io::Result<()>> {
        if self.poll_drain().is_ready() && self.wakes.has_writers() {
            // One of them may have begun to wait after the socket said that it takes more.
            self.wakes.writable();
        }
        if rescue {
            self.rescue();
        }
        for _ in 0..limits::FRAMES_PER_TURN {
            match self.poll_step(None) {
                Poll::Ready(Ok(Step::Handed)) | Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Goes on without whoever was woken and did not come.
    fn rescue(&mut self) {
        self.wakes.writers();
        let stuck = std::mem::replace(&mut self.steps_seen, self.steps) == self.steps;
        if let Reading::Body { stream, .. } = self.reading
            && let Some(reader) =
                self.streams.get_mut(&stream).filter(|_| stuck).and_then(|stream| stream.reader.take())
        {
            reader.wake();
        }
    }

    /// One step of reading, on behalf of the stream that `reader` names or of the connection's own task.
    fn poll_step(&mut self, reader: Option<(u32, &mut [u8])>) -> Poll<io::Result<Step>> {
        self.check()?;
        if self.answers > ANSWERS_MAX && self.poll_drain()?.is_pending() {
            self.held = true;
            return Poll::Pending;
        }
        let step = self.poll_step_io(reader);
        match &step {
            Poll::Ready(Err(error)) => self.end(error),
            Poll::Ready(Ok(Step::Went | Step::Read(_))) => self.steps += 1,
            Poll::Ready(Ok(Step::Handed)) | Poll::Pending => {}
        }
        step
    }

    fn poll_step_io(&mut self, reader: Option<(u32, &mut [u8])>) -> Poll<io::Result<Step>> {
        let waker = self.read_waker.clone();
        let cx = &mut Context::from_waker(&waker);
        let (id, left) = match &mut self.reading {
            Reading::Header(bytes, have) => {
                match ready!(Pin::new(&mut self.io).poll_read(cx, &mut bytes[*have..]))? {
                    0 => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                    read => *have += read,
                }
                if *have == HEADER_BYTES {
                    let header = Header::decode(*bytes).map_err(invalid)?;
                    self.take_header(header)?;
                }
                return Poll::Ready(Ok(Step::Went));
            }
            Reading::Body { stream, left, .. } => (*stream, *left as usize),
        };
        if let Some((_, into)) = reader.filter(|(reader, _)| *reader == id) {
            let most = into.len().min(left);
            let read = ready!(Pin::new(&mut self.io).poll_read(cx, &mut into[..most]))?;
            self.took(read)?;
            return Poll::Ready(Ok(Step::Read(read)));
        }
        if let Some(waker) = self.streams.get_mut(&id).and_then(|stream| stream.reader.as_ref()) {
            self.wakes.set_reader(id, waker);
            self.wakes.readable();
            return Poll::Ready(Ok(Step::Handed));
        }
        let most = left.min(SCRATCH_BYTES);
        let read = ready!(Pin::new(&mut self.io).poll_read(cx, &mut self.scratch[..most]))?;
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.buffer.extend(&self.scratch[..read]);
        }
        self.took(read)?;
        Poll::Ready(Ok(Step::Went))
    }

    /// So many bytes of the body went where they belong.
    fn took(&mut self, bytes: usize) -> io::Result<()> {
        let Reading::Body { stream, left, last } = &mut self.reading else { return Ok(()) };
        if bytes == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        *left = left.saturating_sub(bytes as u32); // at most `left` were asked for
        if *left == 0 {
            let (id, last) = (*stream, *last);
            self.reading = BETWEEN;
            self.body_ended(id, last);
        }
        Ok(())
    }

    fn body_ended(&mut self, id: u32, last: bool) {
        if let Some(stream) = self.streams.get_mut(&id).filter(|_| last) {
            stream.closed_there = true;
            stream.wake();
        }
    }

    fn take_header(&mut self, header: Header) -> io::Result<()> {
        self.reading = BETWEEN;
        match header.kind {
            Kind::Ping if header.has(SYN) => self.answer(Header::new(Kind::Ping, ACK, 0, header.length)),
            Kind::Ping => {}
            Kind::GoAway => return Err(io::ErrorKind::UnexpectedEof.into()),
            Kind::Data | Kind::WindowUpdate => self.take_stream_header(header)?,
        }
        if !self.pending.is_empty() {
            let _ = self.poll_drain();
        }
        Ok(())
    }

    fn take_stream_header(&mut self, header: Header) -> io::Result<()> {
        let id = header.stream;
        if header.has(SYN) && !self.accept(id)? {
            self.answer(Header::new(Kind::Data, RST, id, 0));
        }
        if let Some(stream) = self.streams.get_mut(&id) {
            if header.has(RST) {
                stream.reset = true;
                stream.wake();
            }
            if header.kind == Kind::WindowUpdate {
                stream.send_credit = stream.send_credit.checked_add(header.length).ok_or_else(|| invalid(Malformed))?;
                if let Some(writer) = stream.writer.take() {
                    writer.wake();
                }
            } else if !stream.announce(header.length) || stream.closed_there && header.length > 0 {
                return Err(invalid(Malformed));
            }
        }
        if header.kind == Kind::Data && header.length > 0 {
            self.reading = Reading::Body { stream: id, left: header.length, last: header.has(FIN) };
        } else {
            self.body_ended(id, header.has(FIN));
        }
        Ok(())
    }

    /// The peer opens a stream; false if there are too many.
    fn accept(&mut self, id: u32) -> io::Result<bool> {
        let odd = id % 2 == 1;
        if odd == (self.role == Role::Dialer) || self.streams.contains_key(&id) {
            return Err(invalid(Malformed));
        }
        let taken = self.streams.len() < limits::STREAMS_PER_CONNECTION_MAX
            && self.accepted.len() < limits::STREAMS_WAITING_MAX;
        if taken {
            self.streams.insert(id, Stream::new(ACK));
            self.accepted.push_back(id);
            self.wakes.wake_driver();
        }
        Ok(taken)
    }
}

fn invalid(error: Malformed) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Moves what fits from `buffer` to `into`, and gives its memory back when it is empty.
fn drain(buffer: &mut VecDeque<u8>, into: &mut [u8]) -> usize {
    let (front, back) = buffer.as_slices();
    let first = front.len().min(into.len());
    into[..first].copy_from_slice(&front[..first]);
    let second = back.len().min(into.len() - first);
    into[first..first + second].copy_from_slice(&back[..second]);
    buffer.drain(..first + second);
    if buffer.is_empty() {
        *buffer = VecDeque::new();
    }
    first + second
}
