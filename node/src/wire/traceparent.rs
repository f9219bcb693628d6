//! W3C Trace Context, version 00: the word by which a request's spans on several machines become one trace. It comes from
//! clients and members, so that nothing is believed of it but its form.

/// Bytes of its text.
const TEXT_BYTES: usize = 55;

/// A span to hang others under.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TraceParent {
    /// The whole trace, not zero.
    pub trace: [u8; 16],
    /// The span, not zero.
    pub span: [u8; 8],
    /// Whoever began it records it.
    pub sampled: bool,
}

impl TraceParent {
    /// Of a header's text; `None`: it says nothing that can be used, and is left out.
    pub fn parse(text: &str) -> Option<TraceParent> {
        let lower = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-'));
        if text.len() != TEXT_BYTES || !lower {
            return None;
        }
        let mut parts = text.split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        if version != "00" || parts.next().is_some() {
            return None;
        }
        let (trace, span, [flags]) = (bytes::<16>(trace)?, bytes::<8>(span)?, bytes::<1>(flags)?);
        let known = trace != [0; 16] && span != [0; 8];
        known.then_some(TraceParent { trace, span, sampled: flags & 1 == 1 })
    }

    /// As a header has it.
    pub fn to_text(&self) -> String {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        format!("00-{}-{}-{:02x}", hex(&self.trace), hex(&self.span), u8::from(self.sampled))
    }
}

fn bytes<const N: usize>(hex: &str) -> Option<[u8; N]> {
    let digits: Option<Vec<u8>> = hex.chars().map(|digit| Some(digit.to_digit(16)? as u8)).collect();
    let digits = digits.filter(|digits| digits.len() == 2 * N)?;
    let (pairs, _) = digits.as_chunks::<2>();
    pairs.iter().map(|[high, low]| high * 16 + low).collect::<Vec<u8>>().try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn what_was_written_is_read_again() {
        let parent = TraceParent::parse(GOOD).expect("it is one");
        assert_eq!((parent.to_text().as_str(), parent.sampled), (GOOD, true));
        let quiet = TraceParent::parse(&GOOD.replace("-01", "-fe")).expect("flags that nobody knows are let pass");
        assert!(!quiet.sampled);
    }

    #[test]
    fn what_is_no_trace_is_left_out() {
        let zero_trace = format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32));
        let zero_span = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{}-01", "0".repeat(16));
        let shifted = "00-4bf92f3577b34da6a3ce929d0e0e473-600f067aa0ba902b7-01";
        let upper = GOOD.to_uppercase();
        let long = format!("{GOOD}-00");
        let other = GOOD.replacen("00", "ff", 1);
        for bad in ["", "00", &zero_trace, &zero_span, shifted, &upper, &long, &other, &"é".repeat(27), &"-".repeat(55)]
        {
            assert_eq!(TraceParent::parse(bad), None, "{bad}");
        }
    }
}
