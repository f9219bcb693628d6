//! The `Admin` service on the private Unix socket in the data directory. The socket's file mode is the only key: whoever may
//! open it may command the node.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;

use fednode_proto::v1;
use fednode_proto::v1::admin_server::{Admin, AdminServer};
use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tonic::transport::Server;
use tonic::{Request, Response, Status};

/// What the command line can ask of its node. Errors are statuses: `FailedPrecondition` and `InvalidArgument` are refusals.
pub trait AdminBackend: Send + Sync + 'static {
    /// The whole view, as JSON.
    fn state(&self) -> impl Future<Output = Result<Vec<u8>, Status>> + Send;
    /// Opens an invitation.
    fn invite(&self, request: v1::InviteRequest) -> impl Future<Output = Result<v1::InviteReply, Status>> + Send;
    /// What became of an invitation.
    fn invitation(
        &self,
        request: v1::InvitationRequest,
    ) -> impl Future<Output = Result<v1::InvitationReply, Status>> + Send;
    /// Takes open invitations back.
    fn withdraw(&self, request: v1::WithdrawRequest) -> impl Future<Output = Result<v1::WithdrawReply, Status>> + Send;
    /// Imports a file and publishes it; progress goes to `events`, and so does the end.
    fn publish(
        &self,
        request: v1::PublishRequest,
        events: mpsc::Sender<Result<v1::PublishEvent, Status>>,
    ) -> impl Future<Output = ()> + Send;
    /// The current plan, as JSON.
    fn plan(&self) -> impl Future<Output = Result<Vec<u8>, Status>> + Send;
    /// What the plan is made from, as an inventory in JSON.
    fn inventory(&self) -> impl Future<Output = Result<Vec<u8>, Status>> + Send;
    /// The roster of slots as JSON, after applying `toml` if it is not empty.
    fn roster(&self, toml: String) -> impl Future<Output = Result<Vec<u8>, Status>> + Send;
    /// Changes the roster of members: what was done, as JSON.
    fn members(&self, request: v1::MembersRequest) -> impl Future<Output = Result<Vec<u8>, Status>> + Send;
    /// Takes the owner's key of a recovery file: what was done, as JSON.
    fn import_owner(&self, recovery: String) -> impl Future<Output = Result<Vec<u8>, Status>> + Send;
    /// Adds or removes a pin, or only lists them: the pins as JSON.
    fn pin(&self, request: v1::PinRequest) -> impl Future<Output = Result<Vec<u8>, Status>> + Send;
    /// Makes a slot resident somewhere and waits until it is: where, as JSON.
    fn load(&self, slot: String) -> impl Future<Output = Result<Vec<u8>, Status>> + Send;
    /// Puts this node's replica of a slot out of its memory until somebody asks for it: what becomes of it, as JSON.
    fn evict(&self, slot: String) -> impl Future<Output = Result<Vec<u8>, Status>> + Send;
    /// Lets a machine hold no replicas, or again: what it holds, as JSON.
    fn drain(&self, request: v1::DrainRequest) -> impl Future<Output = Result<Vec<u8>, Status>> + Send;
    /// Adds or takes out an external engine, or only lists them: the engines as JSON.
    fn external(&self, request: v1::ExternalRequest) -> impl Future<Output = Result<Vec<u8>, Status>> + Send;
    /// Explains, or carries out, a garbage collection: its report as JSON.
    fn gc(&self, request: v1::GcRequest) -> impl Future<Output = Result<Vec<u8>, Status>> + Send;
    /// Scrubs now; progress goes to `events`, and so does the report.
    fn scrub(
        &self,
        request: v1::ScrubRequest,
        events: mpsc::Sender<Result<v1::ScrubEvent, Status>>,
    ) -> impl Future<Output = ()> + Send;
    /// Has every holder of a slot verify what it has; progress goes to `events`, and so does the report.
    fn verify_slot(
        &self,
        request: v1::VerifySlotRequest,
        events: mpsc::Sender<Result<v1::VerifySlotEvent, Status>>,
    ) -> impl Future<Output = ()> + Send;
    /// What the node knows of its network, as JSON.
    fn doctor(&self) -> impl Future<Output = Result<Vec<u8>, Status>> + Send;
    /// Opens a session of the owner in the dashboard.
    fn dashboard(&self) -> impl Future<Output = v1::DashboardReply> + Send;
    /// Ends the node.
    fn shutdown(&self) -> impl Future<Output = ()> + Send;
}

/// Why the socket could not be had.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The system's refusal.
    #[error("cannot listen on {path}: {source}; a shorter --data-dir helps if the path is too long")]
    Listen {
        /// The socket's path.
        path: String,
        /// The system's reason.
        source: std::io::Error,
    },
}

/// Listens on `path`, replacing a socket that a dead process left behind (the data directory's lock is held already).
pub fn listen(path: &Path) -> Result<UnixListener, AdminError> {
    use std::os::unix::fs::PermissionsExt;
    let failed = |source| AdminError::Listen { path: path.display().to_string(), source };
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(listener)
}

/// Serves the command line until `shutdown`.
pub async fn serve<B: AdminBackend>(
    listener: UnixListener,
    backend: Arc<B>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    let service = AdminServer::new(Service { backend }).max_encoding_message_size(usize::MAX);
    let incoming = UnixListenerStream::new(listener);
    Server::builder().add_service(service).serve_with_incoming_shutdown(incoming, shutdown).await
}

struct Service<B> {
    backend: Arc<B>,
}

#[tonic::async_trait]
impl<B: AdminBackend> Admin for Service<B> {
    async fn state(&self, _: Request<v1::StateRequest>) -> Result<Response<v1::StateReply>, Status> {
        Ok(Response::new(v1::StateReply { json: self.backend.state().await? }))
    }

    async fn invite(&self, request: Request<v1::InviteRequest>) -> Result<Response<v1::InviteReply>, Status> {
        Ok(Response::new(self.backend.invite(request.into_inner()).await?))
    }

    async fn invitation(
        &self,
        request: Request<v1::InvitationRequest>,
    ) -> Result<Response<v1::InvitationReply>, Status> {
        Ok(Response::new(self.backend.invitation(request.into_inner()).await?))
    }

    async fn withdraw(&self, request: Request<v1::WithdrawRequest>) -> Result<Response<v1::WithdrawReply>, Status> {
        Ok(Response::new(self.backend.withdraw(request.into_inner()).await?))
    }

    type PublishStream = ReceiverStream<Result<v1::PublishEvent, Status>>;

    async fn publish(&self, request: Request<v1::PublishRequest>) -> Result<Response<Self::PublishStream>, Status> {
        let (events, stream) = mpsc::channel(64);
        let backend = Arc::clone(&self.backend);
        // A task of its own: an impatient command line does not leave a half-published manager behind.
        tokio::spawn(async move { backend.publish(request.into_inner(), events).await });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn plan(&self, _: Request<v1::PlanRequest>) -> Result<Response<v1::PlanReply>, Status> {
        Ok(Response::new(v1::PlanReply { json: self.backend.plan().await? }))
    }

    async fn inventory(&self, _: Request<v1::InventoryRequest>) -> Result<Response<v1::InventoryReply>, Status> {
        Ok(Response::new(v1::InventoryReply { json: self.backend.inventory().await? }))
    }

    async fn roster(&self, request: Request<v1::RosterRequest>) -> Result<Response<v1::RosterReply>, Status> {
        Ok(Response::new(v1::RosterReply { json: self.backend.roster(request.into_inner().apply_toml).await? }))
    }

    async fn members(&self, request: Request<v1::MembersRequest>) -> Result<Response<v1::MembersReply>, Status> {
        Ok(Response::new(v1::MembersReply { json: self.backend.members(request.into_inner()).await? }))
    }

    async fn import_owner(
        &self,
        request: Request<v1::ImportOwnerRequest>,
    ) -> Result<Response<v1::ImportOwnerReply>, Status> {
        Ok(Response::new(v1::ImportOwnerReply {
            json: self.backend.import_owner(request.into_inner().recovery).await?,
        }))
    }

    async fn pin(&self, request: Request<v1::PinRequest>) -> Result<Response<v1::PinReply>, Status> {
        Ok(Response::new(v1::PinReply { json: self.backend.pin(request.into_inner()).await? }))
    }

    async fn load_slot(&self, request: Request<v1::LoadSlotRequest>) -> Result<Response<v1::LoadSlotReply>, Status> {
        Ok(Response::new(v1::LoadSlotReply { json: self.backend.load(request.into_inner().slot).await? }))
    }

    async fn evict_slot(&self, request: Request<v1::EvictSlotRequest>) -> Result<Response<v1::EvictSlotReply>, Status> {
        Ok(Response::new(v1::EvictSlotReply { json: self.backend.evict(request.into_inner().slot).await? }))
    }

    async fn drain(&self, request: Request<v1::DrainRequest>) -> Result<Response<v1::DrainReply>, Status> {
        Ok(Response::new(v1::DrainReply { json: self.backend.drain(request.into_inner()).await? }))
    }

    async fn external(&self, request: Request<v1::ExternalRequest>) -> Result<Response<v1::ExternalReply>, Status> {
        Ok(Response::new(v1::ExternalReply { json: self.backend.external(request.into_inner()).await? }))
    }

    async fn gc(&self, request: Request<v1::GcRequest>) -> Result<Response<v1::GcReply>, Status> {
        Ok(Response::new(v1::GcReply { json: self.backend.gc(request.into_inner()).await? }))
    }

    type ScrubStream = ReceiverStream<Result<v1::ScrubEvent, Status>>;

    async fn scrub(&self, request: Request<v1::ScrubRequest>) -> Result<Response<Self::ScrubStream>, Status> {
        let (events, stream) = mpsc::channel(64);
        let backend = Arc::clone(&self.backend);
        // A task of its own: what was found is repaired also if nobody waits for the report.
        tokio::spawn(async move { backend.scrub(request.into_inner(), events).await });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    type VerifySlotStream = ReceiverStream<Result<v1::VerifySlotEvent, Status>>;

    async fn verify_slot(
        &self,
        request: Request<v1::VerifySlotRequest>,
    ) -> Result<Response<Self::VerifySlotStream>, Status> {
        let (events, stream) = mpsc::channel(64);
        let backend = Arc::clone(&self.backend);
        tokio::spawn(async move { backend.verify_slot(request.into_inner(), events).await });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn doctor(&self, _: Request<v1::DoctorRequest>) -> Result<Response<v1::DoctorReply>, Status> {
        Ok(Response::new(v1::DoctorReply { json: self.backend.doctor().await? }))
    }

    async fn dashboard(&self, _: Request<v1::DashboardRequest>) -> Result<Response<v1::DashboardReply>, Status> {
        Ok(Response::new(self.backend.dashboard().await))
    }

    async fn shutdown(&self, _: Request<v1::ShutdownRequest>) -> Result<Response<v1::ShutdownReply>, Status> {
        self.backend.shutdown().await;
        Ok(Response::new(v1::ShutdownReply {}))
    }
}
