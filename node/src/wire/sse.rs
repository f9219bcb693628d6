//! Server-sent events as OpenAI-compatible servers send them: bytes in, data and comments out. Pure. The command line reads
//! its own node's answers with it, and the node those of external engines.

/// One line that means something.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Line {
    /// After `data:`.
    Data(String),
    /// After `:`; clients that do not know it skip it.
    Comment(String),
}

/// Cuts a stream of bytes, however it is split, into lines.
#[derive(Clone, Debug)]
pub struct Lines {
    rest: Vec<u8>,
    bytes_max: usize,
}

/// The stream is not what such a server sends.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the answer has a line of more than {bytes_max} bytes; is another program listening at this address?")]
pub struct TooLong {
    bytes_max: usize,
}

impl Lines {
    /// Nothing read yet; no line may have more than `bytes_max` bytes.
    pub fn new(bytes_max: usize) -> Lines {
        Lines { rest: Vec::new(), bytes_max }
    }

    /// The lines that `bytes` completes.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<Line>, TooLong> {
        // What is left from before has no line break: only what is new is looked at, however small the pieces are.
        let Some(last) = bytes.iter().rposition(|byte| *byte == b'\n') else {
            self.rest.extend_from_slice(bytes);
            return if self.rest.len() > self.bytes_max { Err(self.too_long()) } else { Ok(Vec::new()) };
        };
        let (completing, rest) = bytes.split_at(last + 1);
        self.rest.extend_from_slice(completing);
        let whole = std::mem::replace(&mut self.rest, rest.to_vec());
        if whole.split(|byte| *byte == b'\n').any(|line| line.len() > self.bytes_max) {
            return Err(self.too_long());
        }
        Ok(String::from_utf8_lossy(&whole).lines().filter_map(line).collect())
    }

    fn too_long(&self) -> TooLong {
        TooLong { bytes_max: self.bytes_max }
    }
}

fn line(text: &str) -> Option<Line> {
    let value = |rest: &str| rest.strip_prefix(' ').unwrap_or(rest).to_owned();
    match text.strip_prefix("data:") {
        Some(rest) => Some(Line::Data(value(rest))),
        None => text.strip_prefix(':').map(|rest| Line::Comment(value(rest))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_survive_any_split_of_the_bytes() {
        let stream = ": waiting\n\ndata: {\"é\":1}\r\n\ndata:[DONE]\n\nevent: other\n";
        let expect =
            [Line::Comment("waiting".to_owned()), Line::Data("{\"é\":1}".to_owned()), Line::Data("[DONE]".to_owned())];
        for size in 1..=stream.len() {
            let mut lines = Lines::new(64);
            let parts = stream.as_bytes().chunks(size);
            let found: Vec<Line> = parts.flat_map(|part| lines.push(part).expect("short lines")).collect();
            assert_eq!(found, expect, "in parts of {size}");
        }
    }

    #[test]
    fn an_endless_line_is_given_up() {
        for piece in [1, 7, 1000] {
            let mut lines = Lines::new(64);
            let mut pushes = (0..).map(|_| lines.push(&vec![b'x'; piece]));
            assert_eq!(pushes.find(Result::is_err), Some(Err(TooLong { bytes_max: 64 })), "in pieces of {piece}");
        }
        let whole = format!("data: {}\n", "x".repeat(64));
        assert!(Lines::new(64).push(whole.as_bytes()).is_err(), "though it ends in the same piece");
    }
}
