//! Where an external engine listens: `http://` or `https://`, a host, perhaps a port and a path. Nothing else that a URL may
//! have is understood, so that nothing is misunderstood: no user, no query, no percent signs.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::core::limits;

/// The address of an OpenAI-compatible server, without the `/v1` that all of them have.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct EngineUrl {
    tls: bool,
    /// A name in lower case, or an IP address without brackets.
    host: String,
    port: u16,
    /// Empty, or `/` and more, without a `/` at its end.
    path: String,
}

/// What was wrong with an address.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotAUrl {
    /// Of another form.
    #[error("expected an address such as http://127.0.0.1:8080 or https://den.example/llm; {0}")]
    Form(&'static str),
    /// Everybody on the way could read prompts and keys, and answer instead of it.
    #[error(
        "http is only for this machine and private networks, and {0} is neither; use https, or a tunnel such as \
         `ssh -L 8080:127.0.0.1:8080 HOST` and http://127.0.0.1:8080"
    )]
    Public(IpAddr),
}

impl EngineUrl {
    /// Encrypted?
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// A name, or an IP address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The TCP port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The host and, unless it is the scheme's own, the port, as HTTP's `Host` has it.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let own = if self.tls { 443 } else { 80 };
        if self.port == own { host } else { format!("{host}:{}", self.port) }
    }

    /// The path of one of its resources, which begins with `/`.
    pub fn path_to(&self, resource: &str) -> String {
        format!("{}{resource}", self.path)
    }

    /// May this node speak to it at `address`, which is what its name resolved to? Asked for each connection: names change.
    pub fn may_connect(&self, address: IpAddr) -> Result<(), NotAUrl> {
        if self.tls || is_private(address) { Ok(()) } else { Err(NotAUrl::Public(address)) }
    }
}

/// This machine, or a network that no stranger is on: RFC 1918 and 4193, and RFC 6598, which overlay networks such as Tailscale
/// use (and carriers, towards their own customers).
fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || is_shared(v4),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local(),
    }
}

fn is_shared(address: Ipv4Addr) -> bool {
    let [a, b, ..] = address.octets();
    a == 100 && (64..128).contains(&b)
}

impl fmt::Display for EngineUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.path)
    }
}

impl FromStr for EngineUrl {
    type Err = NotAUrl;

    fn from_str(text: &str) -> Result<EngineUrl, NotAUrl> {
        if text.len() > limits::EXTERNAL_URL_BYTES_MAX {
            return Err(NotAUrl::Form("this one is too long"));
        }
        let (tls, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            (None, None) => return Err(NotAUrl::Form("this one begins with neither http:// nor https://")),
        };
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let (host, port) = host_and_port(authority, if tls { 443 } else { 80 })?;
        let url = EngineUrl { tls, host, port, path: base_path(path)? };
        // What is an address already is judged at once; a name is when it is resolved.
        if let Ok(address) = url.host.parse() {
            url.may_connect(address)?;
        }
        Ok(url)
    }
}

fn host_and_port(authority: &str, own: u16) -> Result<(String, u16), NotAUrl> {
    let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, port)) => {
            let _: Ipv6Addr = host.parse().map_err(|_| NotAUrl::Form("what is in its brackets is no IPv6 address"))?;
            (
                host,
                port.strip_prefix(':')
                    .or(Some("").filter(|_| port.is_empty()))
                    .ok_or(NotAUrl::Form("its port is none"))?,
            )
        }
        None => authority.split_once(':').unwrap_or((authority, "")),
    };
    let name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let bracketed = authority.starts_with('[');
    if host.is_empty() || (!bracketed && !host.bytes().all(name)) {
        return Err(NotAUrl::Form("its host is neither a name nor an IP address"));
    }
    let bad_port = NotAUrl::Form("its port is no number from 1 to 65535");
    let port = match port {
        "" => own,
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().map_err(|_| bad_port.clone())?,
        _ => return Err(bad_port),
    };
    if port == 0 {
        return Err(bad_port);
    }
    Ok((host.to_ascii_lowercase(), port))
}

/// The path before `/v1`, which people paste or leave out.
fn base_path(path: &str) -> Result<String, NotAUrl> {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'.' | b'-' | b'_' | b'~');
    if !path.bytes().all(fine) {
        return Err(NotAUrl::Form("its path has characters that are not letters, digits or one of / . - _ ~"));
    }
    let path = path.trim_end_matches('/');
    Ok(path.strip_suffix("/v1").unwrap_or(path).trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_one_form_however_they_were_typed() {
        let cases = [
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("http://127.0.0.1:8080/v1/", "http://127.0.0.1:8080"),
            ("http://LocalHost:80", "http://localhost"),
            ("https://Den.example:443/llm/v1", "https://den.example/llm"),
            ("http://[::1]:11434/", "http://[::1]:11434"),
            ("https://[2001:db8::1]", "https://[2001:db8::1]"),
            ("http://100.100.1.2:8000", "http://100.100.1.2:8000"),
        ];
        for (typed, expect) in cases {
            let url: EngineUrl = typed.parse().expect(typed);
            assert_eq!(url.to_string(), expect);
            assert_eq!(url.to_string().parse(), Ok(url), "{typed}");
        }
    }

    #[test]
    fn what_is_not_plainly_an_address_is_refused() {
        let bad = [
            "",
            "127.0.0.1:8080",
            "ftp://den",
            "http://",
            "http://:80",
            "http://den:0",
            "http://den:65536",
            "http://den:8a",
            "http://user:pass@den",
            "http://den/?q=1",
            "http://den/#x",
            "http://den/%2e",
            "http://den\n.example",
            "http://[::1",
            "http://[::g]",
            "http://[::1]x",
            "http://::1",
            "http://den:80:80",
            "HTTP://den",
        ];
        for text in bad {
            assert!(matches!(text.parse::<EngineUrl>(), Err(NotAUrl::Form(_))), "{text}");
        }
        assert!(format!("http://{}", "a".repeat(limits::EXTERNAL_URL_BYTES_MAX)).parse::<EngineUrl>().is_err());
    }

    #[test]
    fn plain_http_stays_on_private_networks() {
        let http: EngineUrl = "http://den:8080".parse().expect("an address");
        for private in
            ["127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1", "::1", "fd00::1", "::ffff:10.0.0.1"]
        {
            assert_eq!(http.may_connect(private.parse().expect(private)), Ok(()), "{private}");
        }
        let public = [
            "8.8.8.8",
            "172.32.0.1",
            "100.128.0.1",
            "169.254.169.254",
            "0.0.0.0",
            "2001:db8::1",
            "fe80::1",
            "::",
            "::ffff:8.8.8.8",
        ];
        for public in public {
            let address: IpAddr = public.parse().expect(public);
            assert_eq!(http.may_connect(address), Err(NotAUrl::Public(address)), "{public}");
        }
        assert!(matches!("http://8.8.8.8".parse::<EngineUrl>(), Err(NotAUrl::Public(_))));
        let https: EngineUrl = "https://8.8.8.8".parse().expect("an address");
        assert_eq!(https.may_connect(IpAddr::V4(Ipv4Addr::new(8, 8, 8, 8))), Ok(()));
    }
}
