//! Where the HTTP edge may listen, and which Host and Origin it accepts there. A web page that makes its own name resolve to
//! this machine (DNS rebinding) still sends that name as Host, and any page sends its Origin; both are refused.

use std::net::{IpAddr, SocketAddr};

use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, Uri, header};

use super::error::{ApiError, echo};

/// Why an API address is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ListenError {
    /// The address can be reached from other machines.
    #[error(
        "the API cannot listen on {0} without a key, because other machines can reach it there; make a key with \
         `fednode keys add NAME`, or use an address such as 127.0.0.1:{port}", port = .0.port()
    )]
    NotLoopback(SocketAddr),
    /// A key is demanded and nobody has one.
    #[error(
        "--api-key-always would let nobody in: there is no key that is valid; make one with `fednode keys add NAME`"
    )]
    NobodyHasAKey,
}

/// May the API listen here? On an address of this machine alone, or if somebody has a key (DESIGN 6).
pub fn check_listen(address: SocketAddr, key_always: bool, any_key: bool) -> Result<(), ListenError> {
    match any_key {
        true => Ok(()),
        false if !is_loopback(address.ip()) => Err(ListenError::NotLoopback(address)),
        false if key_always => Err(ListenError::NobodyHasAKey),
        false => Ok(()),
    }
}

/// Can only this machine reach the address?
pub fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// The names that are this node's, beside those of loopback and the address a connection was made to. The latter is safe:
/// a page that rebinds a name sends the name, not the address.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Hosts(Vec<String>);

impl Hosts {
    /// With these names and addresses, without ports.
    pub fn new(names: impl IntoIterator<Item = String>) -> Hosts {
        Hosts(names.into_iter().collect())
    }

    /// Refuses a request that does not name this machine; it came in at `local`.
    pub(super) fn check(&self, local: IpAddr, uri: &Uri, headers: &HeaderMap) -> Result<(), ApiError> {
        // More than one Host or Origin is refused whole: which one counts would be a guess.
        let mut hosts = headers.get_all(header::HOST).iter();
        let host = hosts.next().and_then(|value| value.to_str().ok()).unwrap_or_default();
        let named = self.authority_is_mine(local, host) && uri.host().is_none_or(|host| self.is_mine(local, host));
        if hosts.next().is_some() || !named {
            return Err(self.refusal("host_not_allowed", "Host", host));
        }
        for origin in headers.get_all(header::ORIGIN) {
            let origin = origin.to_str().unwrap_or_default();
            let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
            if !authority.is_some_and(|authority| self.authority_is_mine(local, authority)) {
                return Err(self.refusal("origin_not_allowed", "Origin", origin));
            }
        }
        Ok(())
    }

    fn refusal(&self, code: &'static str, header: &str, found: &str) -> ApiError {
        let more = match self.0.is_empty() {
            true => String::new(),
            false => format!(", {} and the address it listens on", self.0.join(", ")),
        };
        let message = format!(
            "the {header} header is {:?}, but this API answers only to 127.0.0.1, localhost, [::1]{more}; \
             use one of these names, or start the node with --api-host NAME",
            echo(found)
        );
        ApiError::new(StatusCode::FORBIDDEN, code, message)
    }

    /// `host` or `host:port` of this machine?
    fn authority_is_mine(&self, local: IpAddr, text: &str) -> bool {
        let Ok(authority) = text.parse::<Authority>() else { return false };
        let port = text.strip_prefix(authority.host()).unwrap_or("unparsed");
        let plain = port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
        plain && self.is_mine(local, authority.host())
    }

    fn is_mine(&self, local: IpAddr, host: &str) -> bool {
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        if host.eq_ignore_ascii_case("localhost") || self.0.iter().any(|name| bare.eq_ignore_ascii_case(name)) {
            return true;
        }
        bare.parse::<IpAddr>()
            .is_ok_and(|address| is_loopback(address) || address.to_canonical() == local.to_canonical())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn only_loopback_names_are_this_machine() {
        let hosts = Hosts::default();
        for good in ["127.0.0.1", "127.0.0.1:7717", "localhost", "LocalHost:1", "[::1]", "[::1]:65535", "127.9.8.7"] {
            assert!(hosts.authority_is_mine(HOME, good), "{good}");
        }
        let bad = [
            "",
            "evil.example",
            "evil.example:7717",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "0.0.0.0",
            "192.168.1.2",
            "[fe80::1]",
            "user@127.0.0.1",
            "127.0.0.1:7717:1",
            "localhost:99999",
            "127.0.0.1/",
            "[::1",
            "0x7f000001",
            "2130706433",
            "127.1",
        ];
        for bad in bad {
            assert!(!hosts.authority_is_mine(HOME, bad), "{bad}");
        }
    }

    #[test]
    fn where_others_come_in_its_own_address_and_names_count_too() {
        let hosts = Hosts::new(["desk".to_owned(), "desk.local".to_owned(), "203.0.113.9".to_owned()]);
        let local: IpAddr = "192.168.1.5".parse().expect("an address");
        for good in ["192.168.1.5", "192.168.1.5:7717", "desk", "Desk.local:7717", "203.0.113.9:80", "localhost"] {
            assert!(hosts.authority_is_mine(local, good), "{good}");
        }
        for bad in ["192.168.1.6", "desk.evil.example", "local", "evil.example", "desk.local.", "0.0.0.0"] {
            assert!(!hosts.authority_is_mine(local, bad), "{bad}");
        }
        let local: IpAddr = "2001:db8::5".parse().expect("an address");
        assert!(hosts.authority_is_mine(local, "[2001:db8::5]:7717"));
        assert!(!hosts.authority_is_mine(local, "[2001:db8::6]:7717"));
    }

    #[test]
    fn an_address_other_machines_can_reach_is_refused_without_a_key() {
        for good in ["127.0.0.1:7717", "[::1]:0", "127.4.4.4:1", "[::ffff:127.0.0.1]:9"] {
            let address = good.parse().expect("an address");
            assert_eq!(check_listen(address, false, false), Ok(()), "{good}");
            assert_eq!(check_listen(address, true, false), Err(ListenError::NobodyHasAKey), "{good}");
        }
        for bad in ["0.0.0.0:7717", "[::]:7717", "192.168.0.4:7717", "203.0.113.9:80"] {
            let address = bad.parse().expect("an address");
            let error = check_listen(address, false, false).expect_err(bad);
            assert!(error.to_string().contains("fednode keys add"), "{error}");
            assert_eq!(check_listen(address, false, true), Ok(()));
        }
    }

    #[test]
    fn a_request_naming_another_host_or_page_is_refused() {
        let verdict = |pairs: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.append(*name, value.parse().expect("a header"));
            }
            Hosts::default().check(HOME, &Uri::from_static("/state"), &headers).map_err(|error| error.code)
        };
        assert_eq!(verdict(&[("host", "localhost:7717")]), Ok(()));
        assert_eq!(verdict(&[("host", "localhost"), ("origin", "http://127.0.0.1:3000")]), Ok(()));
        assert_eq!(verdict(&[]), Err("host_not_allowed"));
        assert_eq!(verdict(&[("host", "evil.example")]), Err("host_not_allowed"));
        assert_eq!(verdict(&[("host", "localhost"), ("host", "evil.example")]), Err("host_not_allowed"));
        for origin in ["https://evil.example", "null", "", "file://", "http://localhost.evil.example"] {
            assert_eq!(verdict(&[("host", "localhost"), ("origin", origin)]), Err("origin_not_allowed"), "{origin}");
        }
    }
}
