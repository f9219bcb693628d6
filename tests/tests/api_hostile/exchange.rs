//! One request, byte by byte as no well-behaved client sends it, and what comes back.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use rustix::net::sockopt;

/// Longer than any answer of these may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longer than a node waits for a body.
const PATIENCE_OF_THE_STALLED: Duration = Duration::from_secs(90);
/// Whoever leaves waits no longer than this for the next byte: many answers are not done by then.
const PATIENCE_OF_THOSE_WHO_LEAVE: Duration = Duration::from_millis(60);

/// How a request is sent and its answer read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// At once, and the whole answer is read.
    Whole,
    /// The same; then the connection is used again, if the answer does not forbid it.
    Again,
    /// So many bytes of the body come one at a time.
    Slowly(usize, Duration),
    /// After so many bytes of the body, or of the head, nothing more is sent; the answer is read.
    HalfClosed(usize),
    /// After so many bytes of the whole request the connection is closed, or reset.
    Halted(usize, bool),
    /// After so many bytes of the body nothing more is sent, and the connection stays open.
    Stalled(usize),
    /// After so many bytes of the answer, or when it takes too long, the connection is closed, or reset.
    Left(usize, bool),
}

/// What is sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    pub method: String,
    /// With its blank line.
    pub head: Vec<u8>,
    pub body: Vec<u8>,
}

/// What came.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Answer {
    pub status: u16,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    /// Without its chunks.
    pub body: Vec<u8>,
    /// The request could be sent to its end. A usual client that cannot do that never looks at the answer.
    pub sent: bool,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Sends it and reads what comes: `None` if the client went away before it could have read everything. An error is a sentence.
pub fn exchange(address: SocketAddr, request: &Request, way: Way) -> Result<Option<Answer>, String> {
    let mut stream = TcpStream::connect(address).map_err(|error| format!("no connection: {error}"))?;
    let limit = |error: std::io::Error| format!("the socket takes no limit: {error}");
    let patience = match way {
        Way::Left(..) => PATIENCE_OF_THOSE_WHO_LEAVE,
        Way::Stalled(_) => PATIENCE_OF_THE_STALLED,
        _ => PATIENCE,
    };
    stream.set_read_timeout(Some(patience)).and_then(|()| stream.set_write_timeout(Some(PATIENCE))).map_err(limit)?;
    stream.set_nodelay(true).map_err(limit)?;
    // The node may answer and close before it has read all; what it answered is looked at all the same.
    let sent = send(&mut stream, request, way);
    let mut reader = Reader { stream, seen: Vec::new() };
    match way {
        Way::Halted(_, reset) => {
            reader.leave(reset);
            Ok(None)
        }
        Way::Left(bytes, reset) => {
            let seen = reader.read_up_to(bytes);
            reader.leave(reset);
            match seen.starts_with(&b"HTTP/1.1 "[..seen.len().min(9)]) {
                true => Ok(None),
                false => Err(format!("no answer of HTTP begins so: {:?}", String::from_utf8_lossy(&seen))),
            }
        }
        _ => {
            let answer = reader.answer(&request.method).map_err(|why| format!("{why}; sending: {sent:?}"))?;
            let answer = Answer { sent: sent.is_ok(), ..answer };
            if way == Way::Again && answer.header("connection") != "close" {
                reader.again()?;
            }
            Ok(Some(answer))
        }
    }
}

fn send(stream: &mut TcpStream, request: &Request, way: Way) -> std::io::Result<()> {
    let whole = [request.head.as_slice(), request.body.as_slice()].concat();
    match way {
        Way::Whole | Way::Again | Way::Left(..) => stream.write_all(&whole),
        Way::Halted(after, _) => stream.write_all(&whole[..after.min(whole.len())]),
        Way::Stalled(after) => stream.write_all(&whole[..request.head.len() + after]),
        Way::HalfClosed(after) => {
            stream.write_all(&whole[..(request.head.len() + after).min(whole.len())])?;
            stream.shutdown(Shutdown::Write)
        }
        Way::Slowly(bytes, pause) => {
            stream.write_all(&request.head)?;
            let (slow, rest) = request.body.split_at(bytes.min(request.body.len()));
            for byte in slow {
                stream.write_all(&[*byte])?;
                std::thread::sleep(pause);
            }
            stream.write_all(rest)
        }
    }
}

struct Reader {
    stream: TcpStream,
    /// Read and not yet taken.
    seen: Vec<u8>,
}

impl Reader {
    fn more(&mut self) -> Result<usize, String> {
        let mut piece = [0; 16 << 10];
        let read = self.stream.read(&mut piece).map_err(|error| self.broken(&error.to_string()))?;
        self.seen.extend_from_slice(&piece[..read]);
        Ok(read)
    }

    fn broken(&self, why: &str) -> String {
        format!("the answer broke off after {:?}: {why}", String::from_utf8_lossy(&self.seen))
    }

    /// The next so many bytes.
    fn take(&mut self, count: usize) -> Result<Vec<u8>, String> {
        while self.seen.len() < count {
            if self.more()? == 0 {
                return Err(self.broken("it is too short"));
            }
        }
        Ok(self.seen.drain(..count).collect())
    }

    /// All up to the next `mark`, which is taken too.
    fn take_until(&mut self, mark: &[u8]) -> Result<String, String> {
        loop {
            if let Some(at) = self.seen.windows(mark.len()).position(|part| part == mark) {
                let taken = self.take(at + mark.len())?;
                return Ok(String::from_utf8_lossy(&taken[..at]).into_owned());
            }
            if self.more()? == 0 {
                return Err(match self.seen.is_empty() {
                    true => "the connection was closed without an answer".to_owned(),
                    false => self.broken("it is too short"),
                });
            }
        }
    }

    fn answer(&mut self, method: &str) -> Result<Answer, String> {
        let head = self.take_until(b"\r\n\r\n")?;
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok());
        let status = status.ok_or_else(|| format!("a head without a status: {head:?}"))?;
        if status == 100 {
            return self.answer(method);
        }
        let header =
            |line: &str| line.split_once(':').map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()));
        let mut answer = Answer { status, headers: lines.filter_map(header).collect(), ..Answer::default() };
        let length = answer.headers.get("content-length").map(|length| length.parse::<usize>());
        if method == "HEAD" {
            return Ok(answer);
        }
        answer.body = match length {
            Some(length) => self.take(length.map_err(|error| format!("content-length: {error}"))?)?,
            None if answer.header("transfer-encoding") == "chunked" => self.chunks()?,
            None => {
                while self.more()? > 0 {}
                std::mem::take(&mut self.seen)
            }
        };
        Ok(answer)
    }

    fn chunks(&mut self) -> Result<Vec<u8>, String> {
        let mut body = Vec::new();
        loop {
            let size = self.take_until(b"\r\n")?;
            let size = usize::from_str_radix(&size, 16).map_err(|error| format!("a chunk of {size:?}: {error}"))?;
            body.extend(self.take(size)?);
            self.take_until(b"\r\n")?;
            if size == 0 {
                return Ok(body);
            }
        }
    }

    /// The connection is good for one more question.
    fn again(&mut self) -> Result<(), String> {
        let next = b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        self.stream.write_all(next).map_err(|error| format!("the connection is not kept: {error}"))?;
        match self.answer("GET").map_err(|why| format!("the connection is not kept: {why}"))? {
            answer if answer.status == 200 => Ok(()),
            answer => Err(format!("the next answer on the connection is {answer:?}")),
        }
    }

    fn read_up_to(&mut self, bytes: usize) -> Vec<u8> {
        while self.seen.len() < bytes && self.more().is_ok_and(|read| read > 0) {}
        std::mem::take(&mut self.seen)
    }

    /// Closes, in order or as a process does that was killed with bytes unread.
    fn leave(self, reset: bool) {
        if reset {
            let _ = sockopt::set_socket_linger(&self.stream, Some(Duration::ZERO));
        }
        drop(self.stream);
    }
}
