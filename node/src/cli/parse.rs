//! Values of the command line: sizes, spans of time, addresses, names, the data directory. Text in, types out; each error is
//! what clap shows beside the flag.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::core::limits;
use crate::core::placement::inventory::Change;
use crate::core::types::{SlotName, human_bytes};

/// The longest name of a host (RFC 1035).
const HOST_CHARS_MAX: usize = 253;
const MEMBER_NAME_CHARS_MAX: usize = 64;

/// `20GiB`, `64MB`, `512m`, `1.5g` or plain bytes. A bare letter is binary, as memory is sold.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    let units: [(&str, u64); 14] = [
        ("kib", 1 << 10),
        ("mib", 1 << 20),
        ("gib", 1 << 30),
        ("tib", 1 << 40),
        ("kb", 1_000),
        ("mb", 1_000_000),
        ("gb", 1_000_000_000),
        ("tb", 1_000_000_000_000),
        ("k", 1 << 10),
        ("m", 1 << 20),
        ("g", 1 << 30),
        ("t", 1 << 40),
        ("b", 1),
        ("", 1),
    ];
    let lower = text.trim().to_ascii_lowercase();
    let split = lower.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(lower.len());
    let (number, unit) = (lower[..split].trim_end(), &lower[split..]);
    let scale = units.iter().find(|(name, _)| *name == unit).map(|(_, scale)| *scale);
    scale
        .and_then(|scale| scaled(number, scale))
        .ok_or_else(|| "expected a size such as 20GiB, 64MB or 1.5g".to_owned())
}

/// `50MB/s`, `50MB` or bytes per second; enough for a chunk to come before it counts as lost.
pub(super) fn rate(text: &str) -> Result<u64, String> {
    let lower = text.trim().to_ascii_lowercase();
    let size = lower.strip_suffix("/s").unwrap_or(&lower);
    let rate = bytes(size).map_err(|_| "expected a rate such as 50MB/s or 2MiB/s".to_owned())?;
    match rate >= limits::RATE_LIMIT_MIN {
        true => Ok(rate),
        false => Err(format!("a rate is at least {}/s", human_bytes(limits::RATE_LIMIT_MIN))),
    }
}

/// `number` (digits, perhaps with a fraction) times `scale`, without rounding errors of floating point.
fn scaled(number: &str, scale: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.len() <= 20 && text.chars().all(|c| c.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || fraction.len() > 9 || !digits(fraction) || number.ends_with('.') {
        return None;
    }
    let parts = 10u128.pow(fraction.len() as u32);
    let number: u128 = format!("{whole}{fraction}").parse().ok()?;
    u64::try_from(number.checked_mul(u128::from(scale))? / parts).ok()
}

/// `90`, `90s`, `15m`, `2h`, `1d`, in seconds; not zero.
pub(super) fn seconds(text: &str) -> Result<u64, String> {
    let (number, unit) = match text.strip_suffix(['s', 'm', 'h', 'd']) {
        Some(number) => (number, &text[number.len()..]),
        None => (text, "s"),
    };
    let scale = match unit {
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => 1,
    };
    let seconds = scaled(number, scale).filter(|seconds| *seconds > 0);
    seconds.ok_or_else(|| "expected a span of time such as 90s, 15m, 2h or 1d".to_owned())
}

/// A multiaddress, or `IP:PORT` which means TCP there. Multiaddresses are checked where they are used, by the network room.
pub(super) fn peer_address(text: &str) -> Result<String, String> {
    if text.starts_with('/') {
        return Ok(text.to_owned());
    }
    let address: SocketAddr = text.parse().map_err(|_| {
        "expected IP:PORT such as 0.0.0.0:7718, or a multiaddress such as /ip4/0.0.0.0/tcp/7718".to_owned()
    })?;
    let family = if address.is_ipv4() { "ip4" } else { "ip6" };
    Ok(format!("/{family}/{}/tcp/{}", address.ip(), address.port()))
}

/// A multiaddress, or `HOST:PORT` of a member.
pub(super) fn member_address(text: &str) -> Result<String, String> {
    let expected = || "expected HOST:PORT such as den.local:7718, or a multiaddress".to_owned();
    if let Ok(address) = peer_address(text) {
        return Ok(address);
    }
    let (host, port) = text.rsplit_once(':').ok_or_else(expected)?;
    let port: u16 = port.parse().ok().filter(|port| *port != 0).ok_or_else(expected)?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    match !host.is_empty() && host.len() <= HOST_CHARS_MAX && host.chars().all(plain) {
        true => Ok(format!("/dns/{host}/tcp/{port}")),
        false => Err(expected()),
    }
}

/// `add:64GB`, `add:NAME=64GB`, `remove:NODE`, `ctx:16384` or `ctx:SLOT=16384`.
pub(super) fn change(text: &str) -> Result<Change, String> {
    let expected = || "expected add:64GB, add:NAME=64GB, remove:NODE, ctx:16384 or ctx:SLOT=16384".to_owned();
    let (verb, rest) = text.split_once(':').ok_or_else(expected)?;
    let (name, amount) = rest.rsplit_once('=').map_or((None, rest), |(name, amount)| (Some(name), amount));
    match verb {
        "add" => {
            let name = name.map(member_name).transpose()?;
            Ok(Change::Add { name, memory_bytes: bytes(amount)? })
        }
        "remove" if !rest.is_empty() => Ok(Change::Remove { node: rest.to_owned() }),
        "ctx" => {
            let tokens = amount.parse().ok().filter(|tokens| (1..=limits::CONTEXT_MAX).contains(tokens));
            let tokens = tokens.ok_or_else(|| format!("a context is 1 to {} tokens", limits::CONTEXT_MAX))?;
            Ok(Change::Context { slot: name.map(slot_name).transpose()?, tokens })
        }
        _ => Err(expected()),
    }
}

/// A slot's or a domain's name.
pub(super) fn slot_name(text: &str) -> Result<SlotName, String> {
    SlotName::new(text).map_err(|error| error.to_string())
}

/// A node's name: what people call the machine.
pub(super) fn member_name(text: &str) -> Result<String, String> {
    let chars = text.chars().count();
    let plain = !text.chars().any(char::is_control) && text.trim() == text;
    match (1..=MEMBER_NAME_CHARS_MAX).contains(&chars) && plain {
        true => Ok(text.to_owned()),
        false => Err(format!("a name is 1 to {MEMBER_NAME_CHARS_MAX} characters on one line")),
    }
}

/// The platform's place for data, from the environment as `lookup` reads it. `None` when the environment names no home.
pub(super) fn default_data_dir(lookup: impl Fn(&str) -> Option<OsString>, macos: bool) -> Option<PathBuf> {
    // The XDG specification ignores relative paths.
    let absolute = |name: &str| lookup(name).map(PathBuf::from).filter(|path| path.is_absolute());
    if macos {
        return absolute("HOME").map(|home| home.join("Library/Application Support/fednode"));
    }
    let shared = absolute("XDG_DATA_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/share")));
    shared.map(|data| data.join("fednode"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_in_both_kinds_of_unit() {
        let cases = [
            ("20GiB", 20 << 30),
            ("64MB", 64_000_000),
            ("512m", 512 << 20),
            ("1.5g", 3 << 29),
            ("7", 7),
            ("7 b", 7),
            ("0.5KiB", 512),
            ("16777216t", u64::MAX),
        ];
        for (text, expect) in cases {
            let expect = if expect == u64::MAX { None } else { Some(expect) };
            assert_eq!(bytes(text).ok(), expect, "{text}");
        }
        for bad in ["", "GiB", "-1g", "1.g", ".5g", "1..5g", "20 gigs", "1e9", "é", "99999999999999999999999"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn spans_of_time_are_read_in_seconds() {
        for (text, expect) in [("90", 90), ("90s", 90), ("15m", 900), ("2h", 7200), ("1d", 86400), ("1.5h", 5400)] {
            assert_eq!(seconds(text), Ok(expect), "{text}");
        }
        for bad in ["", "m", "0", "15 minutes", "-1s", "1w"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn peer_addresses_become_multiaddresses() {
        assert_eq!(peer_address("0.0.0.0:7718").as_deref(), Ok("/ip4/0.0.0.0/tcp/7718"));
        assert_eq!(peer_address("[::1]:1").as_deref(), Ok("/ip6/::1/tcp/1"));
        assert_eq!(peer_address("/dns/desk/tcp/7718").as_deref(), Ok("/dns/desk/tcp/7718"));
        assert!(peer_address("desk:7718").is_err());
    }

    #[test]
    fn data_lives_where_the_platform_says() {
        type Environment = &'static [(&'static str, &'static str)];
        let lookup = |pairs: Environment| {
            move |name: &str| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
        };
        let both = &[("HOME", "/h"), ("XDG_DATA_HOME", "/x")];
        let cases: [(Environment, bool, Option<&str>); 5] = [
            (both, false, Some("/x/fednode")),
            (&[("HOME", "/h"), ("XDG_DATA_HOME", "relative")], false, Some("/h/.local/share/fednode")),
            (&[("HOME", "/h")], false, Some("/h/.local/share/fednode")),
            (both, true, Some("/h/Library/Application Support/fednode")),
            (&[], false, None),
        ];
        for (environment, macos, expect) in cases {
            assert_eq!(default_data_dir(lookup(environment), macos), expect.map(PathBuf::from));
        }
    }

    #[test]
    fn changes_are_read_with_sizes_and_names() {
        let add = |name: Option<&str>, memory_bytes| Change::Add { name: name.map(str::to_owned), memory_bytes };
        let context =
            |slot: Option<&str>, tokens| Change::Context { slot: slot.and_then(|it| SlotName::new(it).ok()), tokens };
        let cases = [
            ("add:64GB", add(None, 64_000_000_000)),
            ("add:the den=32GiB", add(Some("the den"), 32 << 30)),
            ("remove:a:b=c", Change::Remove { node: "a:b=c".to_owned() }),
            ("ctx:16384", context(None, 16_384)),
            ("ctx:UFM=512", context(Some("UFM"), 512)),
        ];
        for (text, expect) in cases {
            assert_eq!(change(text), Ok(expect), "{text}");
        }
        for bad in ["", "add", "add:", "add:=5", "remove:", "ctx:", "ctx:-1", "ctx:1048577", "ctx:../x=5", "drop:x"] {
            assert!(change(bad).is_err(), "{bad}");
        }
    }
}
