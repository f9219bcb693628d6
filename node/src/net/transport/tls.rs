//! TLS 1.3 as libp2p has it (specs/tls): both sides show one self-signed certificate that carries the node's public key and
//! its signature, and the peer is whoever that key names. The library's own configuration prefers ChaCha20; ours differs in
//! the order of ciphers only, so that any libp2p peer can talk to it.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use futures::{AsyncRead, AsyncWrite};
use futures_rustls::{TlsAcceptor, TlsConnector, TlsStream};
use libp2p::PeerId;
use libp2p::identity::Keypair;
use libp2p_tls::certificate;
use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{
    ClientConfig, CommonState, DigitallySignedStruct, DistinguishedName, PeerIncompatible, ServerConfig,
    SignatureScheme, version,
};

use crate::core::limits;
use crate::net::NetError;
use crate::net::transport::cipher;
use crate::net::transport::security::SecurityError;

/// The name of the application protocol that libp2p's TLS negotiates.
const ALPN: &[u8] = b"libp2p";

/// Both roles of one node.
#[derive(Clone)]
pub(super) struct Tls {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl Tls {
    /// Makes the certificate of the node whose identity is `keypair`.
    pub(super) fn new(keypair: &Keypair, has_aes: bool) -> Result<Tls, NetError> {
        let setup = |why: String| NetError::Setup { what: "TLS", why };
        let provider = Arc::new(cipher::provider(has_aes));
        let (certificate, key) = certificate::generate(keypair).map_err(|error| setup(error.to_string()))?;
        let key = provider.key_provider.load_private_key(key).map_err(|error| setup(error.to_string()))?;
        let shown = Arc::new(OneCertificate(Arc::new(CertifiedKey::new(vec![certificate], key))));
        let judge = Arc::new(Libp2pCertificates(Arc::clone(&provider)));

        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&version::TLS13])
            .map_err(|error| setup(error.to_string()))?;
        let mut server = server.with_client_cert_verifier(judge.clone()).with_cert_resolver(shown.clone());
        server.alpn_protocols = vec![ALPN.to_vec()];
        server.send_tls13_tickets = 0; // nobody resumes; and a stranger is told nothing after its handshake
        // The side without AES instructions decides: for the other one ChaCha20 is slower, for this one AES would be a crawl.
        server.ignore_client_order = !has_aes;

        let client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&version::TLS13])
            .map_err(|error| setup(error.to_string()))?;
        let client = client.dangerous().with_custom_certificate_verifier(judge);
        let mut client = client.with_client_cert_resolver(shown);
        client.alpn_protocols = vec![ALPN.to_vec()];
        client.enable_sni = false; // the specification forbids a server's name: there is none
        Ok(Tls { server: Arc::new(server), client: Arc::new(client) })
    }

    /// What rustls needs for each role: dialled, dialling.
    pub(super) fn configs(self) -> (Arc<ServerConfig>, Arc<ClientConfig>) {
        (self.server, self.client)
    }

    /// The handshake of the side that was dialled.
    pub(super) async fn accept<C>(self, socket: C) -> Result<(PeerId, TlsStream<C>), SecurityError>
    where
        C: AsyncRead + AsyncWrite + Unpin,
    {
        let mut stream = TlsAcceptor::from(self.server).accept(socket).await.map_err(SecurityError::Tls)?;
        stream.get_mut().1.set_buffer_limit(Some(limits::TLS_BUFFER_BYTES));
        Ok((peer_of(stream.get_ref().1)?, stream.into()))
    }

    /// The handshake of the side that dialled. Whether the peer is the one that was meant, libp2p checks for every transport.
    pub(super) async fn connect<C>(self, socket: C) -> Result<(PeerId, TlsStream<C>), SecurityError>
    where
        C: AsyncRead + AsyncWrite + Unpin,
    {
        let nobody = ServerName::IpAddress(IpAddr::V4(Ipv4Addr::UNSPECIFIED).into());
        let mut stream = TlsConnector::from(self.client).connect(nobody, socket).await.map_err(SecurityError::Tls)?;
        stream.get_mut().1.set_buffer_limit(Some(limits::TLS_BUFFER_BYTES));
        Ok((peer_of(stream.get_ref().1)?, stream.into()))
    }
}

/// Whose certificate the peer showed. The verifier saw it before; it is parsed again because rustls keeps bytes only.
fn peer_of(state: &CommonState) -> Result<PeerId, SecurityError> {
    match state.peer_certificates() {
        Some([certificate]) => Ok(certificate::parse(certificate)?.peer_id()),
        _ => Err(SecurityError::Certificates),
    }
}

/// Shows the one certificate there is. (rustls' own way to do so refuses certificates with extensions it does not know.)
#[derive(Debug)]
struct OneCertificate(Arc<CertifiedKey>);

impl ResolvesServerCert for OneCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

impl ResolvesClientCert for OneCertificate {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Accepts any certificate that proves whose it is; who is let in is decided behind the transport.
#[derive(Debug)]
struct Libp2pCertificates(Arc<CryptoProvider>);

impl Libp2pCertificates {
    fn check(end: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>]) -> Result<(), rustls::Error> {
        if !intermediates.is_empty() {
            return Err(rustls::Error::General("more than one certificate was shown".to_owned()));
        }
        certificate::parse(end)?;
        Ok(())
    }

    fn check_signature(
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        certificate::parse(certificate)?.verify_signature(signature.scheme, message, signature.signature())?;
        Ok(HandshakeSignatureValid::assertion())
    }

    fn schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

impl ServerCertVerifier for Libp2pCertificates {
    fn verify_server_cert(
        &self,
        end: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Libp2pCertificates::check(end, intermediates).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(PeerIncompatible::Tls12NotOfferedOrEnabled.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Libp2pCertificates::check_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}

impl ClientCertVerifier for Libp2pCertificates {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Libp2pCertificates::check(end, intermediates).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(PeerIncompatible::Tls12NotOfferedOrEnabled.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Libp2pCertificates::check_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}
