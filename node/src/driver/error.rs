//! Why a node did not start or ended: one enum, so that the command line tells refusals from failures without reading text.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::driver::bell::BellError;
use crate::driver::membership::MembershipError;
use crate::driver::traces::TracesError;
use crate::http;
use crate::http::tls::TlsError;
use crate::net::NetError;
use crate::net::join::JoinError;
use crate::rpc::admin::AdminError;
use crate::store::api_keys::KeysError;
use crate::store::api_tls::PemFileError;
use crate::store::datadir::DataDirError;
use crate::store::error::StoreError;
use crate::store::externals::ExternalsError;
use crate::store::identity::IdentityError;
use crate::store::pins::PinsError;
use crate::store::routes::RoutesFileError;
use crate::wire::WireError;

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The API's address may not be used.
    #[error(transparent)]
    Listen(#[from] http::ListenError),
    /// The API's keys.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The API's certificate.
    #[error(transparent)]
    Tls(Box<TlsError>),
    /// A file of the API's certificate.
    #[error(transparent)]
    PemFile(#[from] PemFileError),
    /// Another program listens on the API's address.
    #[error("{addr} is in use by another program; stop it, or choose another port with --api")]
    ApiInUse {
        /// The address.
        addr: SocketAddr,
    },
    /// The API's address cannot be had.
    #[error("cannot listen on {addr}: {source}; choose another address with --api")]
    Api {
        /// The address.
        addr: SocketAddr,
        /// The system's reason.
        source: std::io::Error,
    },
    /// An address for members that is none.
    #[error("{0} is not an address to listen on; give IP:PORT or a multiaddress such as /ip4/0.0.0.0/tcp/7718")]
    BadListen(String),
    /// The data directory.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// A file in it.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The roster of members.
    #[error(transparent)]
    Membership(#[from] MembershipError),
    /// The ticket's text.
    #[error("{0}; copy the whole line that `fednode invite` printed")]
    Ticket(WireError),
    /// What is kept here whatever the plan says.
    #[error(transparent)]
    Pins(#[from] PinsError),
    /// The local model.
    #[error(transparent)]
    Bell(#[from] BellError),
    /// Where traces go.
    #[error(transparent)]
    Traces(#[from] TracesError),
    /// The rules for the model `auto`.
    #[error(transparent)]
    Routes(#[from] RoutesFileError),
    /// The servers that stand in for slots.
    #[error(transparent)]
    Externals(#[from] ExternalsError),
    /// Joining.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// Joining with a data directory that belongs somewhere already.
    #[error(
        "{} belongs to another federation than this ticket; choose another --data-dir, or move it away to join this one",
        .0.display()
    )]
    AlreadyEnrolled(PathBuf),
    /// Turned out by the owner or an admin.
    #[error(
        "this machine was revoked from its federation and takes no part in it any more. Its files stay in {}. To let it in again, run `fednode invite` on the owner's machine or an admin's, and `fednode join` with that ticket here",
        .0.display()
    )]
    Revoked(PathBuf),
    /// Admitted, but that could not be written down.
    #[error(
        "this machine was admitted, but that could not be kept: {0}; put that right and run the same command again"
    )]
    NotKept(IdentityError),
    /// The network.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The admin socket.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// A part of the node ended when it should not have.
    #[error("{what} ended: {why}")]
    Ended {
        /// Which part.
        what: &'static str,
        /// Why.
        why: String,
    },
}

impl RunError {
    /// Was it a refusal (exit code 3), rather than a failure (1)?
    pub fn is_refusal(&self) -> bool {
        !matches!(
            self,
            RunError::Api { .. }
                | RunError::Keys(KeysError::Io { .. })
                | RunError::PemFile(_)
                | RunError::Ended { .. }
                | RunError::Store(_)
                | RunError::Identity(_)
                | RunError::NotKept(_)
                | RunError::Join(
                    JoinError::Unreachable { .. }
                        | JoinError::Unanswered { .. }
                        | JoinError::Setup { .. }
                        | JoinError::BadReply { .. }
                )
        )
    }

    /// May another machine know this one's key by now? Then its data directory must stay.
    pub fn may_be_a_member(&self) -> bool {
        matches!(self, RunError::NotKept(_) | RunError::Join(JoinError::Unanswered { .. }))
    }
}
