//! The choice of encryption: TLS first, Noise for peers that offer nothing else. multistream-select does the choosing; what
//! it knows of either is its name.

use std::future::Future;
use std::io;
use std::pin::Pin;

use futures::future::Either;
use futures::{AsyncRead, AsyncWrite};
use futures_rustls::TlsStream;
use libp2p::core::UpgradeInfo;
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade};
use libp2p::identity::Keypair;
use libp2p::{PeerId, noise};
use libp2p_tls::certificate;

use crate::net::NetError;
use crate::net::transport::cipher;
use crate::net::transport::tls::Tls;

const TLS: &str = "/tls/1.0.0";
const NOISE: &str = "/noise";

/// What each side offers, the best first.
#[derive(Clone)]
pub(super) struct Security {
    names: &'static [&'static str],
    tls: Tls,
    noise: noise::Config,
}

/// Why a connection was not encrypted.
#[derive(Debug, thiserror::Error)]
pub(super) enum SecurityError {
    /// The TLS handshake ended, by the peer, by us, or by the network.
    #[error("the TLS handshake failed: {0}")]
    Tls(#[source] io::Error),
    /// Not exactly one certificate.
    #[error("the peer showed no certificate, or several")]
    Certificates,
    /// A certificate that is not what libp2p asks for.
    #[error("the peer's certificate does not prove its identity: {0}")]
    Certificate(#[from] certificate::ParseError),
    /// The Noise handshake.
    #[error("the Noise handshake failed: {0}")]
    Noise(#[from] noise::Error),
}

/// An encrypted connection, either way.
pub(super) type Encrypted<C> = Either<TlsStream<C>, noise::Output<C>>;

impl Security {
    /// Both encryptions of the node whose identity is `keypair`.
    pub(super) fn new(keypair: &Keypair) -> Result<Security, NetError> {
        let noise =
            noise::Config::new(keypair).map_err(|error| NetError::Setup { what: "noise", why: error.to_string() })?;
        Ok(Security { names: &[TLS, NOISE], tls: Tls::new(keypair, cipher::has_aes())?, noise })
    }

    /// One that offers Noise only, as a peer without TLS does.
    #[cfg(test)]
    pub(super) fn noise_only(keypair: &Keypair) -> Result<Security, NetError> {
        Ok(Security { names: &[NOISE], ..Security::new(keypair)? })
    }

    /// One that computes as a processor with or without AES instructions would.
    #[cfg(test)]
    pub(super) fn on_processor(keypair: &Keypair, has_aes: bool) -> Result<Security, NetError> {
        Ok(Security { names: &[TLS], tls: Tls::new(keypair, has_aes)?, ..Security::new(keypair)? })
    }
}

impl UpgradeInfo for Security {
    type Info = &'static str;
    type InfoIter = std::iter::Copied<std::slice::Iter<'static, &'static str>>;

    fn protocol_info(&self) -> Self::InfoIter {
        self.names.iter().copied()
    }
}

type Handshake<C> = Pin<Box<dyn Future<Output = Result<(PeerId, Encrypted<C>), SecurityError>> + Send>>;

impl<C> InboundConnectionUpgrade<C> for Security
where
    C: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    type Output = (PeerId, Encrypted<C>);
    type Error = SecurityError;
    type Future = Handshake<C>;

    fn upgrade_inbound(self, socket: C, name: &'static str) -> Handshake<C> {
        Box::pin(async move {
            if name == TLS {
                let (peer, stream) = self.tls.accept(socket).await?;
                return Ok((peer, Either::Left(stream)));
            }
            let (peer, stream) = self.noise.upgrade_inbound(socket, name).await?;
            Ok((peer, Either::Right(stream)))
        })
    }
}

impl<C> OutboundConnectionUpgrade<C> for Security
where
    C: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    type Output = (PeerId, Encrypted<C>);
    type Error = SecurityError;
    type Future = Handshake<C>;

    fn upgrade_outbound(self, socket: C, name: &'static str) -> Handshake<C> {
        Box::pin(async move {
            if name == TLS {
                let (peer, stream) = self.tls.connect(socket).await?;
                return Ok((peer, Either::Left(stream)));
            }
            let (peer, stream) = self.noise.upgrade_outbound(socket, name).await?;
            Ok((peer, Either::Right(stream)))
        })
    }
}
