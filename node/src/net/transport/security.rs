//! The choice of encryption: TLS first, Noise for peers that offer nothing else. multistream-select does the choosing; what
//! it knows of either is its name.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use futures::future::Either;
use futures::{AsyncRead, AsyncWrite};
use futures_rustls::TlsStream;
use libp2p::core::UpgradeInfo;
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade};
use libp2p::identity::Keypair;
use libp2p::{PeerId, noise};
use libp2p_tls::certificate;

use crate::net::NetError;
use crate::net::admission::{Admission, Standing};
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
    /// Who may go on after its handshake, either way; `None`: whoever it is.
    admission: Option<Arc<Admission>>,
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
    /// It proved who it is, and that is nobody we know. Whoever was dialled closes the socket without a word; whoever dialled
    /// learns that another machine lives at that address.
    #[error("{0} is not a member of this federation")]
    Stranger(PeerId),
}

/// An encrypted connection, either way.
pub(super) type Encrypted<C> = Either<TlsStream<C>, noise::Output<C>>;

impl Security {
    /// Both encryptions of the node whose identity is `keypair`.
    pub(super) fn new(keypair: &Keypair) -> Result<Security, NetError> {
        let noise =
            noise::Config::new(keypair).map_err(|error| NetError::Setup { what: "noise", why: error.to_string() })?;
        let tls = Tls::new(keypair, cipher::has_aes())?;
        Ok(Security { names: &[TLS, NOISE], tls, noise, admission: None })
    }

    /// One that hangs up on whoever is a stranger to `admission`.
    pub(super) fn admitting(self, admission: Arc<Admission>) -> Security {
        Security { admission: Some(admission), ..self }
    }

    /// Who is asked about those who dial.
    pub(super) fn admission(&self) -> Option<Arc<Admission>> {
        self.admission.clone()
    }

    fn admit(&self, peer: &PeerId) -> Result<(), SecurityError> {
        match &self.admission {
            Some(admission) if admission.standing(peer) == Standing::Stranger => Err(SecurityError::Stranger(*peer)),
            _ => Ok(()),
        }
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
            let (peer, stream) = match name == TLS {
                true => {
                    let (peer, stream) = self.tls.clone().accept(socket).await?;
                    (peer, Either::Left(stream))
                }
                false => {
                    let (peer, stream) = self.noise.clone().upgrade_inbound(socket, name).await?;
                    (peer, Either::Right(stream))
                }
            };
            self.admit(&peer)?;
            Ok((peer, stream))
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
            let (peer, stream) = match name == TLS {
                true => {
                    let (peer, stream) = self.tls.clone().connect(socket).await?;
                    (peer, Either::Left(stream))
                }
                false => {
                    let (peer, stream) = self.noise.clone().upgrade_outbound(socket, name).await?;
                    (peer, Either::Right(stream))
                }
            };
            self.admit(&peer)?;
            if let Some(admission) = &self.admission {
                admission.answered(&peer);
            }
            Ok((peer, stream))
        })
    }
}
