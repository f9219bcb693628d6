//! Server-sent events as the API sends them: bytes in, data and comments out. Pure.

/// One line that means something.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Line {
    /// After `data:`.
    Data(String),
    /// After `:`; clients that do not know it skip it.
    Comment(String),
}

/// A line longer than this is no answer of ours.
const LINE_BYTES_MAX: usize = 8 << 20;

/// Cuts a stream of bytes, however it is split, into lines.
#[derive(Default)]
pub(super) struct Lines {
    rest: Vec<u8>,
}

/// The stream is not what the API sends.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the answer has a line of more than {LINE_BYTES_MAX} bytes; is another program listening at this address?")]
pub(super) struct TooLong;

impl Lines {
    /// The lines that `bytes` completes.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<Vec<Line>, TooLong> {
        self.rest.extend_from_slice(bytes);
        let Some(last) = self.rest.iter().rposition(|byte| *byte == b'\n') else {
            return if self.rest.len() > LINE_BYTES_MAX { Err(TooLong) } else { Ok(Vec::new()) };
        };
        let whole: Vec<u8> = self.rest.drain(..=last).collect();
        Ok(String::from_utf8_lossy(&whole).lines().filter_map(line).collect())
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
            let mut lines = Lines::default();
            let parts = stream.as_bytes().chunks(size);
            let found: Vec<Line> = parts.flat_map(|part| lines.push(part).expect("short lines")).collect();
            assert_eq!(found, expect, "in parts of {size}");
        }
    }

    #[test]
    fn an_endless_line_is_given_up() {
        let mut lines = Lines::default();
        let mut pushes = (0..).map(|_| lines.push(&[b'x'; 1 << 20]));
        assert_eq!(pushes.find(Result::is_err), Some(Err(TooLong)));
    }
}
