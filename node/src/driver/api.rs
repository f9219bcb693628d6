//! What the HTTP API needs of the other rooms before it can listen: keys and certificates from the store, the names of this
//! machine. Whatever can be refused is refused before anything is written.

use std::collections::BTreeSet;
use std::net::{IpAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::net::{TcpListener, UnixListener};

use crate::cli::up::{ApiOptions, TlsChoice, UpOptions};
use crate::driver::error::RunError;
use crate::http::tls::{self, Pem, SelfSigned, Tls, TlsError};
use crate::http::{self, Gate, Hosts, KeySource, Listening};
use crate::rpc::admin;
use crate::store::api_keys::{self, KeyFile};
use crate::store::api_tls;
use crate::store::datadir::DataDir;

/// A second listener in the data directory, for the command line: it needs no key and no certificate.
const PRIVATE_SOCKET: &str = "api.sock";

/// The API's address, bound, with what was checked before.
pub struct Api {
    listener: TcpListener,
    options: ApiOptions,
    /// From the owner's files.
    tls: Option<Tls>,
    /// As `http://IP:PORT`.
    pub url: String,
}

/// All that serves HTTP.
pub struct ApiListeners {
    pub public: Listening,
    pub private: UnixListener,
}

impl Api {
    /// Checks what can be checked without a data directory of one's own, and binds.
    pub async fn prepare(options: &UpOptions) -> Result<Api, RunError> {
        let ApiOptions { address, key_always, .. } = options.api;
        let key_needed = options.api.needs_key();
        let any_key = key_needed && any_key(&options.data_dir)?;
        http::check_listen(address, key_always, any_key)?;
        let tls = match &options.api.tls {
            TlsChoice::Files { certificate, key } => Some(from_files(certificate, key)?),
            TlsChoice::Off | TlsChoice::SelfSigned => None,
        };
        let listener = TcpListener::bind(address).await.map_err(|source| match source.kind() {
            std::io::ErrorKind::AddrInUse => RunError::ApiInUse { addr: address },
            _ => RunError::Api { addr: address, source },
        })?;
        let bound = listener.local_addr().map_err(|source| RunError::Api { addr: address, source })?;
        let scheme = if options.api.tls == TlsChoice::Off { "http" } else { "https" };
        Ok(Api { listener, options: options.api.clone(), tls, url: format!("{scheme}://{bound}") })
    }

    /// With the data directory held: the node's own certificate if asked for, the keys, the private socket.
    pub fn open(self, dir: &DataDir) -> Result<ApiListeners, RunError> {
        let public = !http::is_loopback(self.options.address.ip());
        let names = if public { own_names() } else { Vec::new() };
        let hosts: BTreeSet<String> = names.into_iter().chain(self.options.hosts.clone()).collect();
        let tls = match (self.tls, &self.options.tls) {
            (None, TlsChoice::SelfSigned) => Some(self_signed(dir.path(), &hosts, self.options.address.ip())?),
            (tls, _) => tls,
        };
        match &tls {
            Some(tls) => {
                tracing::info!(fingerprint = tls.fingerprint, "the API speaks TLS; this is its certificate's SHA-256")
            }
            None if public => tracing::warn!(
                api = self.url,
                "whoever is on the way reads keys and prompts: the API listens for other machines without TLS; add --api-tls self-signed"
            ),
            None => {}
        }
        let keys = self.options.needs_key().then(|| keys(dir.path()));
        let gate = Gate::new(Hosts::new(hosts), keys);
        let private = admin::listen(&dir.path().join(PRIVATE_SOCKET))?;
        Ok(ApiListeners { public: Listening { listener: self.listener, tls, gate }, private })
    }
}

/// Does the data directory have a key that is valid now? One that is not there, or not ours, has none.
fn any_key(data_dir: &Path) -> Result<bool, RunError> {
    match DataDir::peek(data_dir) {
        Ok(view) => Ok(api_keys::read(view.path())?.any_valid(now_unix_s())),
        Err(_) => Ok(false),
    }
}

fn keys(folder: &Path) -> KeySource {
    let file = KeyFile::new(folder);
    Arc::new(move || file.now().map_err(|error| error.to_string()))
}

fn from_files(certificate: &Path, key: &Path) -> Result<Tls, RunError> {
    let (certificate_pem, key_pem) = (api_tls::read(certificate)?, api_tls::read(key)?);
    if api_tls::others_may_read(key) {
        tracing::warn!(key = %key.display(), "other users of this machine may read the API's private key; chmod 600 it");
    }
    let (certificate, key) = (certificate.display().to_string(), key.display().to_string());
    let certificate = Pem { called: &certificate, bytes: &certificate_pem };
    Ok(Tls::from_pem(certificate, Pem { called: &key, bytes: &key_pem }, now_unix_s())?)
}

/// The kept certificate, or a new one when there is none, when it is at its end, or when it cannot be used. What clients have
/// pinned is not replaced because a name is new.
fn self_signed(folder: &Path, hosts: &BTreeSet<String>, bound: IpAddr) -> Result<Tls, RunError> {
    let (path, now) = (api_tls::certificate_path(folder), now_unix_s());
    let called = path.display().to_string();
    let load = |certificate: &[u8], key: &[u8]| {
        let certificate = Pem { called: &called, bytes: certificate };
        Tls::from_pem(certificate, Pem { called: "api-tls.key", bytes: key }, now)
    };
    let kept = api_tls::kept(folder)?;
    let usable = kept.certificate.as_ref().filter(|certificate| !tls::is_worn(certificate, now)).zip(kept.key.as_ref());
    let loaded = usable.and_then(|(certificate, key)| load(certificate, key).ok().map(|tls| (tls, certificate)));
    if let Some((tls, certificate)) = loaded {
        let missing = tls::names_missing(certificate, &hosts.iter().cloned().collect::<Vec<_>>());
        if !missing.is_empty() {
            tracing::warn!(
                names = missing.join(", "),
                file = called,
                "the API's certificate lacks these names; remove the file to have it made again"
            );
        }
        return Ok(tls);
    }
    let home = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let reached = if bound.is_unspecified() { own_addresses() } else { vec![bound.to_string()] };
    let names: BTreeSet<String> = hosts.iter().cloned().chain(home).chain(reached).collect();
    let made = SelfSigned::make(&names.into_iter().collect::<Vec<_>>(), kept.key.as_deref(), now)?;
    let tls = load(made.certificate.as_bytes(), made.key.as_bytes())?;
    api_tls::keep(folder, &made.certificate, &made.key)?;
    tracing::info!(file = called, "the API's certificate was made; clients may take a copy of the file as their root");
    Ok(tls)
}

/// What this machine is called, also by mDNS.
fn own_names() -> Vec<String> {
    let name = rustix::system::uname().nodename().to_string_lossy().to_ascii_lowercase();
    let plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.'));
    match plain {
        false => Vec::new(),
        true if name.contains('.') => vec![name],
        true => vec![format!("{name}.local"), name],
    }
}

/// The addresses from which this machine would speak to others. Connecting a UDP socket sends nothing: it only asks the
/// routing table; both targets are reserved for documentation.
fn own_addresses() -> Vec<String> {
    let ask = |bind: &str, target: &str| {
        let socket = UdpSocket::bind(bind).ok()?;
        socket.connect(target).ok()?;
        Some(socket.local_addr().ok()?.ip().to_string())
    };
    let asked = [ask("0.0.0.0:0", "192.0.2.1:9"), ask("[::]:0", "[2001:db8::1]:9")];
    asked.into_iter().flatten().collect()
}

pub(super) fn now_unix_s() -> u64 {
    // A clock set before 1970 makes nothing valid that is not.
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(u64::MAX, |since| since.as_secs())
}

impl From<TlsError> for RunError {
    fn from(error: TlsError) -> RunError {
        RunError::Tls(Box::new(error))
    }
}
