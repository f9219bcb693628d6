//! The incoming half of a connection: headers are taken as they come, bytes go to whoever they belong to.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::{AsyncRead, AsyncWrite};

use super::super::frame::{ACK, FIN, HEADER_BYTES, Header, Kind, Malformed, RST, SYN};
use super::super::state::Stream;
use super::{ANSWERS_MAX, BETWEEN, Connection, Reading, Role, SCRATCH_BYTES};
use crate::core::limits;

/// What a step of reading came to.
enum Step {
    /// A header, or bytes for another stream.
    Went,
    /// So many bytes for the stream that reads.
    Read(usize),
    /// The bytes belong to a stream that waits for them, and was woken.
    Handed,
}

impl<C: AsyncRead + AsyncWrite + Unpin> Connection<C> {
    /// Bytes of stream `id`; none: there will be no more.
    pub(in super::super) fn poll_read(
        &mut self,
        id: u32,
        cx: &Context<'_>,
        into: &mut [u8],
    ) -> Poll<io::Result<usize>> {
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
        if !handed && !dry {
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
    pub(in super::super) fn poll_drive(&mut self, rescue: bool) -> Poll<io::Result<()>> {
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
        let taken = self.streams.len() < self.streams_max && self.accepted.len() < limits::STREAMS_WAITING_MAX;
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
