//! The flags of the HTTP API: where it listens, who may come, by which names, and whether it speaks TLS.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// The longest name DNS knows.
const HOST_CHARS_MAX: usize = 253;

/// What `up` and `join` take.
#[derive(Args, Debug)]
pub(super) struct ApiArgs {
    /// Address of the OpenAI-compatible API; any but loopback needs a key (`fednode keys add`) with every request
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:7717")]
    api: SocketAddr,
    /// Demand a key on loopback too
    #[arg(long)]
    api_key_always: bool,
    /// One more name or address by which the API may be called, such as that of a proxy; may be given several times
    #[arg(long, value_name = "NAME", value_parser = host)]
    api_host: Vec<String>,
    /// Speak TLS with a certificate that this node makes and keeps
    #[arg(long, value_enum, value_name = "HOW", conflicts_with_all = ["api_tls_cert", "api_tls_key"])]
    api_tls: Option<OwnCertificate>,
    /// Speak TLS with this certificate (PEM, its chain after it)
    #[arg(long, value_name = "PEM", requires = "api_tls_key")]
    api_tls_cert: Option<PathBuf>,
    /// The certificate's private key (PEM, without a password)
    #[arg(long, value_name = "PEM", requires = "api_tls_cert")]
    api_tls_key: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum OwnCertificate {
    SelfSigned,
}

/// What the command line says about the API.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ApiOptions {
    /// `http::check_listen` says whether it may be used.
    pub address: SocketAddr,
    /// A key is needed on loopback too.
    pub key_always: bool,
    /// More names and addresses of this node, without ports.
    pub hosts: Vec<String>,
    /// Encrypted?
    pub tls: TlsChoice,
}

/// Whether the API speaks TLS, and with which certificate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TlsChoice {
    /// Plain HTTP.
    Off,
    /// The node's own.
    SelfSigned,
    /// The owner's.
    Files {
        /// PEM, its chain after it.
        certificate: PathBuf,
        /// PEM.
        key: PathBuf,
    },
}

impl ApiArgs {
    pub(super) fn options(self) -> ApiOptions {
        let tls = match (self.api_tls, self.api_tls_cert, self.api_tls_key) {
            (_, Some(certificate), Some(key)) => TlsChoice::Files { certificate, key },
            (Some(OwnCertificate::SelfSigned), _, _) => TlsChoice::SelfSigned,
            (None, _, _) => TlsChoice::Off,
        };
        ApiOptions { address: self.api, key_always: self.api_key_always, hosts: self.api_host, tls }
    }
}

impl ApiOptions {
    /// Must every request show a key?
    pub fn needs_key(&self) -> bool {
        self.key_always || !self.address.ip().to_canonical().is_loopback()
    }
}

/// A name or an address as it stands in a Host header, without its port.
fn host(text: &str) -> Result<String, String> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok(address.to_string());
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    match (1..=HOST_CHARS_MAX).contains(&text.len()) && text.chars().all(allowed) {
        true => Ok(text.to_ascii_lowercase()),
        false => Err("expected a name or an address without a port, such as desk.example.org".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_or_addresses_without_ports() {
        let good = [("Desk.Example", "desk.example"), ("[::1]", "::1"), ("192.168.1.5", "192.168.1.5"), ("a_b", "a_b")];
        for (text, expect) in good {
            assert_eq!(host(text).as_deref(), Ok(expect));
        }
        for bad in ["", "desk:7717", "http://desk", "a b", "*", &"a".repeat(300)] {
            assert!(host(bad).is_err(), "{bad}");
        }
    }
}
