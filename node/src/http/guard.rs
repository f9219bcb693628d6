//! Who may speak to the HTTP edge: which address it may listen on, and which Host and Origin it accepts there. A web page
//! that makes its own name resolve to 127.0.0.1 (DNS rebinding) still sends that name as Host, and any page sends its
//! Origin; both are refused.

use std::net::{IpAddr, SocketAddr};

use axum::extract::Request;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::error::{ApiError, echo};

/// Why an API address is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ListenError {
    /// The address can be reached from other machines.
    #[error(
        "the API cannot listen on {0}: this version serves the API on loopback only, because it has no API keys yet; \
         use an address such as 127.0.0.1:{port}", port = .0.port()
    )]
    NotLoopback(SocketAddr),
}

/// May the API listen here? Without keys, on loopback only (DESIGN 6).
pub fn check_listen(address: SocketAddr) -> Result<(), ListenError> {
    match is_loopback(address.ip()) {
        true => Ok(()),
        false => Err(ListenError::NotLoopback(address)),
    }
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// Middleware: refuses what does not name this machine, before anything else looks at the request.
pub(super) async fn loopback_only(request: Request, next: Next) -> Response {
    match check(request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

fn check(uri: &Uri, headers: &HeaderMap) -> Result<(), ApiError> {
    // More than one Host or Origin is refused whole: which one counts would be a guess.
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next().and_then(|value| value.to_str().ok()).unwrap_or_default();
    if hosts.next().is_some() || !names_this_machine(host) || !uri.host().is_none_or(host_is_loopback) {
        return Err(refusal("host_not_allowed", "Host", host));
    }
    for origin in headers.get_all(header::ORIGIN) {
        let origin = origin.to_str().unwrap_or_default();
        let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        if !authority.is_some_and(names_this_machine) {
            return Err(refusal("origin_not_allowed", "Origin", origin));
        }
    }
    Ok(())
}

fn refusal(code: &'static str, header: &str, found: &str) -> ApiError {
    let message = format!(
        "the {header} header is {:?}, but this API answers only to 127.0.0.1, localhost and [::1]; \
         use one of these names",
        echo(found)
    );
    ApiError::new(StatusCode::FORBIDDEN, code, message)
}

/// `host` or `host:port` of this machine's loopback?
fn names_this_machine(text: &str) -> bool {
    let Ok(authority) = text.parse::<Authority>() else { return false };
    let port = text.strip_prefix(authority.host()).unwrap_or("unparsed");
    let plain = port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
    plain && host_is_loopback(authority.host())
}

fn host_is_loopback(host: &str) -> bool {
    if host.eq_ignore_ascii_case("localhost") {
        return true;
    }
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    bare.parse::<IpAddr>().is_ok_and(is_loopback)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_names_are_this_machine() {
        for good in ["127.0.0.1", "127.0.0.1:7717", "localhost", "LocalHost:1", "[::1]", "[::1]:65535", "127.9.8.7"] {
            assert!(names_this_machine(good), "{good}");
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
            assert!(!names_this_machine(bad), "{bad}");
        }
    }

    #[test]
    fn an_address_other_machines_can_reach_is_refused_with_what_to_do() {
        for good in ["127.0.0.1:7717", "[::1]:0", "127.4.4.4:1", "[::ffff:127.0.0.1]:9"] {
            assert_eq!(check_listen(good.parse().expect("an address")), Ok(()), "{good}");
        }
        for bad in ["0.0.0.0:7717", "[::]:7717", "192.168.0.4:7717", "203.0.113.9:80"] {
            let error = check_listen(bad.parse().expect("an address")).expect_err(bad);
            assert!(error.to_string().contains("loopback only"), "{error}");
        }
    }

    #[test]
    fn a_request_naming_another_host_or_page_is_refused() {
        let verdict = |pairs: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.append(*name, value.parse().expect("a header"));
            }
            check(&Uri::from_static("/state"), &headers).map_err(|error| error.code)
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
