//! One connection, one request: resolves the server's name, checks that plain HTTP stays on private networks (for the very
//! address that is dialled), connects, encrypts, and reads the answer piece by piece. No redirect is followed.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_rustls::TlsConnector;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderName, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::compat::{FuturesAsyncReadCompatExt as _, TokioAsyncReadCompatExt as _};
use tokio_util::task::AbortOnDropHandle;

use crate::core::external::{EngineKey, EngineUrl, NotAUrl};
use crate::core::limits;

/// Tells another fednode that an external engine is asked: it must not pass the question on to one of its own, or two nodes
/// that have each other as engines would ask each other for ever.
const HOP: &str = "x-fednode-external";

/// Why a server could not be asked, or not understood. A sentence goes to its owner.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("the name {0} cannot be resolved: {1}")]
    Resolve(String, std::io::Error),
    #[error(transparent)]
    NotAllowed(#[from] NotAUrl),
    #[error("nothing answers at {0}: {1}")]
    Connect(SocketAddr, std::io::Error),
    #[error(
        "{0} cannot be reached over TLS: {1} (certificates are checked against this system's; SSL_CERT_FILE names others)"
    )]
    Tls(String, std::io::Error),
    #[error("this system has no certificates to check a server against; SSL_CERT_FILE names some")]
    NoRoots,
    #[error("the connection to it broke, or it does not speak HTTP: {0}")]
    Http(#[from] hyper::Error),
    #[error("it cannot be asked: {0}")]
    Request(#[from] http::Error),
    #[error("its answer has more than {0} bytes")]
    TooLong(usize),
    #[error("{0}")]
    Refused(String),
    #[error("it has no list of models; is it an OpenAI-compatible server?")]
    NoList,
    #[error("it has no model {model}; it has: {there}")]
    NoModel { model: String, there: String },
}

/// Whom to ask.
pub(super) struct Target {
    url: EngineUrl,
    key: Option<EngineKey>,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Target {
    pub(super) fn new(url: EngineUrl, key: Option<EngineKey>) -> Target {
        Target { url, key }
    }

    /// Sends a request on a connection of its own, which stands within `wait`; returns when the answer's head is there.
    pub(super) async fn call(
        &self,
        method: Method,
        resource: &str,
        body: Bytes,
        wait: Duration,
    ) -> Result<Answering, CallError> {
        let late = || {
            let why = std::io::Error::new(std::io::ErrorKind::TimedOut, "no connection in time");
            CallError::Tls(self.url.authority(), why)
        };
        let stream = timeout(wait, self.connect()).await.map_err(|_| late())??;
        let mut builder = http1::Builder::new();
        builder.max_buf_size(limits::EXTERNAL_HEAD_BYTES_MAX).max_headers(limits::HTTP_HEADERS_MAX);
        let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
        // Aborted with the answer, which closes the socket.
        let moving = AbortOnDropHandle::new(tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to an external engine ended");
            }
        }));
        let answer = sender.send_request(self.request(method, resource, body)?).await?;
        Ok(Answering { answer, _sender: sender, _moving: moving })
    }

    fn request(&self, method: Method, resource: &str, body: Bytes) -> Result<Request<Full<Bytes>>, http::Error> {
        let mut request = Request::builder()
            .method(method)
            .uri(self.url.path_to(resource))
            .header(HOST, self.url.authority())
            .header(USER_AGENT, concat!("fednode/", env!("CARGO_PKG_VERSION")))
            .header(ACCEPT, "text/event-stream, application/json")
            .header(HOP, "1");
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Some(key) = &self.key {
            request = request.header(AUTHORIZATION, format!("Bearer {}", key.secret()));
        }
        request.body(Full::new(body))
    }

    async fn connect(&self) -> Result<Box<dyn Stream>, CallError> {
        let stream = self.dial().await?;
        if !self.url.is_tls() {
            return Ok(Box::new(stream));
        }
        let host = self.url.host().to_owned();
        let failed = |source| CallError::Tls(self.url.authority(), source);
        let name = ServerName::try_from(host).map_err(|error| failed(std::io::Error::other(error)))?;
        let connector = TlsConnector::from(tls()?);
        let stream = connector.connect(name, stream.compat()).await.map_err(failed)?;
        Ok(Box::new(stream.compat()))
    }

    async fn dial(&self) -> Result<TcpStream, CallError> {
        let mut last = CallError::Resolve(self.url.host().to_owned(), std::io::Error::other("it has no address"));
        for address in resolve(&self.url).await? {
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    // One small write after the other: waiting for more would only delay.
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Err(error) => last = CallError::Connect(address, error),
            }
        }
        Err(last)
    }
}

/// The addresses of the server that may be dialled.
async fn resolve(url: &EngineUrl) -> Result<Vec<SocketAddr>, CallError> {
    if let Ok(address) = url.host().parse::<IpAddr>() {
        url.may_connect(address)?;
        return Ok(vec![SocketAddr::new(address, url.port())]);
    }
    let found = tokio::net::lookup_host((url.host(), url.port())).await;
    let found = found.map_err(|error| CallError::Resolve(url.host().to_owned(), error))?;
    let found: Vec<SocketAddr> = found.take(limits::EXTERNAL_ADDRESSES_MAX).collect();
    let may = |address: &SocketAddr| url.may_connect(address.ip()).is_ok();
    let (allowed, mut refused): (Vec<SocketAddr>, Vec<SocketAddr>) = found.into_iter().partition(may);
    match (allowed.is_empty(), refused.pop()) {
        (true, Some(address)) => Err(CallError::NotAllowed(NotAUrl::Public(address.ip()))),
        _ => Ok(allowed),
    }
}

/// May this node ask the server at `url`, as its name resolves now? A name that does not resolve may be tried later.
pub async fn may_ask(url: &EngineUrl) -> Result<(), NotAUrl> {
    match resolve(url).await {
        Err(CallError::NotAllowed(why)) => Err(why),
        _ => Ok(()),
    }
}

/// TLS 1.3 against the system's certificates, read once.
fn tls() -> Result<Arc<ClientConfig>, CallError> {
    static CONFIG: OnceLock<Option<Arc<ClientConfig>>> = OnceLock::new();
    let made = CONFIG.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13]);
        let mut config = config.ok()?.with_root_certificates(roots.clone()).with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        (!roots.is_empty()).then(|| Arc::new(config))
    });
    made.clone().ok_or(CallError::NoRoots)
}

/// An answer whose head is here. Dropping it closes the connection.
pub(super) struct Answering {
    answer: Response<Incoming>,
    _sender: http1::SendRequest<Full<Bytes>>,
    _moving: AbortOnDropHandle<()>,
}

impl Answering {
    pub(super) fn status(&self) -> StatusCode {
        self.answer.status()
    }

    pub(super) fn header(&self, name: &HeaderName) -> Option<&str> {
        self.answer.headers().get(name)?.to_str().ok()
    }

    /// The next piece of the body; `None` at its end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, CallError> {
        while let Some(frame) = self.answer.body_mut().frame().await {
            if let Ok(bytes) = frame?.into_data() {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }

    /// The whole body, if it is a short one.
    pub(super) async fn body(mut self) -> Result<Bytes, CallError> {
        let mut whole = BytesMut::new();
        while let Some(piece) = self.next().await? {
            whole.extend_from_slice(&piece);
            if whole.len() > limits::EXTERNAL_BODY_BYTES_MAX {
                return Err(CallError::TooLong(limits::EXTERNAL_BODY_BYTES_MAX));
            }
        }
        Ok(whole.freeze())
    }
}
