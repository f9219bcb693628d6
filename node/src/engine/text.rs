//! From a model's bytes to text that may be shown: pure. Holds back incomplete UTF-8 and whatever may still become a
//! stop string, so that a stop string never shows, not even in part.

/// Gathers one answer's bytes and says what may be sent.
#[derive(Debug)]
pub(super) struct TextGate {
    stops: Vec<String>,
    /// Bytes that are not yet a whole character: at most three.
    partial: Vec<u8>,
    /// Text that may be the beginning of a stop string: shorter than the longest stop string.
    held: String,
    stopped: bool,
}

impl TextGate {
    pub(super) fn new(stops: impl IntoIterator<Item = String>) -> TextGate {
        // An empty stop string would stop everything; it is no stop string.
        let stops = stops.into_iter().filter(|stop| !stop.is_empty()).collect();
        TextGate { stops, partial: Vec::new(), held: String::new(), stopped: false }
    }

    /// Takes more bytes; returns the text that may be shown now. After a stop string it returns nothing more.
    pub(super) fn push(&mut self, bytes: &[u8]) -> String {
        if self.stopped {
            return String::new();
        }
        self.partial.extend_from_slice(bytes);
        let decoded = take_decoded(&mut self.partial);
        self.held.push_str(&decoded);
        self.release()
    }

    /// Whether a stop string has come up.
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// The answer has ended: returns what was held back. Bytes that never became a character show as U+FFFD.
    pub(super) fn finish(&mut self) -> String {
        if self.stopped {
            return String::new();
        }
        let rest = std::mem::take(&mut self.partial);
        self.held.push_str(&String::from_utf8_lossy(&rest));
        let shown = self.release();
        shown + &std::mem::take(&mut self.held)
    }

    fn release(&mut self) -> String {
        let found = self.stops.iter().filter_map(|stop| self.held.find(stop.as_str())).min();
        if let Some(at) = found {
            self.stopped = true;
            self.held.truncate(at);
            return std::mem::take(&mut self.held);
        }
        let keep = self.stops.iter().map(|stop| overlap(&self.held, stop)).max().unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - keep);
        std::mem::replace(&mut self.held, rest)
    }
}

/// The length of the longest end of `text` that is a beginning of `stop`.
fn overlap(text: &str, stop: &str) -> usize {
    let longest = text.len().min(stop.len() - 1);
    (1..=longest).rev().find(|&len| text.as_bytes().ends_with(&stop.as_bytes()[..len])).unwrap_or(0)
}

/// Removes all whole characters from `bytes`; what can never be one becomes U+FFFD, what may still be one stays.
fn take_decoded(bytes: &mut Vec<u8>) -> String {
    let mut decoded = String::new();
    let mut rest = 0;
    for chunk in bytes.utf8_chunks() {
        decoded.push_str(chunk.valid());
        rest += chunk.valid().len();
        let invalid = chunk.invalid();
        let may_become_whole = rest + invalid.len() == bytes.len() && is_unfinished(invalid);
        if !invalid.is_empty() && !may_become_whole {
            decoded.push(char::REPLACEMENT_CHARACTER);
            rest += invalid.len();
        }
    }
    bytes.drain(..rest);
    decoded
}

/// Whether more bytes could make a character of these.
fn is_unfinished(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Pushes the pieces one by one; `expect` are the texts shown after each, and at the end.
    fn check(stops: &[&str], pieces: &[&[u8]], expect: &[&str], stopped: bool) {
        let mut gate = TextGate::new(stops.iter().map(|&s| s.to_owned()));
        let mut shown: Vec<String> = pieces.iter().map(|piece| gate.push(piece)).collect();
        shown.push(gate.finish());
        assert_eq!(shown, expect);
        assert_eq!(gate.is_stopped(), stopped);
    }

    #[test]
    fn a_character_is_shown_when_it_is_whole() {
        let euro = "€".as_bytes();
        check(&[], &[&euro[..1], &euro[1..2], &euro[2..], b"x"], &["", "", "€", "x", ""], false);
    }

    #[test]
    fn what_never_becomes_a_character_shows_as_replacement() {
        check(&[], &[b"a\xffb"], &["a\u{fffd}b", ""], false);
        check(&[], &[b"a\xe2\x82"], &["a", "\u{fffd}"], false);
        check(&[], &[b"\xe2", b"x"], &["", "\u{fffd}x", ""], false);
    }

    #[test]
    fn a_stop_string_over_several_pieces_never_shows() {
        check(&["STOP"], &[b"go S", b"TO", b"P on"], &["go ", "", "", ""], true);
    }

    #[test]
    fn what_only_began_like_a_stop_string_is_shown_later() {
        check(&["STOP"], &[b"go ST", b"ART"], &["go ", "START", ""], false);
        check(&["STOP"], &[b"go STO"], &["go ", "STO"], false);
    }

    #[test]
    fn the_earliest_of_several_stop_strings_wins() {
        check(&["cd", "b"], &[b"abcd"], &["a", ""], true);
    }

    #[test]
    fn an_overlap_that_begins_again_is_not_lost() {
        check(&["aab"], &[b"aa", b"a", b"b"], &["", "a", "", ""], true);
    }

    #[test]
    fn empty_stop_strings_are_none() {
        check(&[""], &[b"text"], &["text", ""], false);
    }

    proptest! {
        /// However the bytes are cut, the whole is the text up to the first stop string.
        #[test]
        fn cutting_does_not_matter(text in "[ab€ ]{0,40}", stop in "[ab€]{1,4}", cuts in prop::collection::vec(1usize..5, 0..60)) {
            let mut gate = TextGate::new([stop.clone()]);
            let mut shown = String::new();
            let mut rest = text.as_bytes();
            let mut cuts = cuts.into_iter();
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(cuts.next().unwrap_or(3).min(rest.len()));
                shown += &gate.push(piece);
                rest = after;
            }
            shown += &gate.finish();
            prop_assert_eq!(shown, text.split(stop.as_str()).next().unwrap());
        }
    }
}
