//! The tasks that run beside the loop: serving members, HTTP and the command line, and watching the hardware, the invitations
//! and the signals. Each only turns what it sees into events.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::core::machine::Input;
use crate::core::membership::roster::Role;
use crate::core::residency::Pressure;
use crate::driver::api::ApiListeners;
use crate::driver::event_loop::{Event, Events};
use crate::driver::gc::watch_budget;
use crate::driver::node::Node;
use crate::driver::throttle::Throttle;
use crate::driver::weights::StoreChunks;
use crate::hardware::{self, Hardware};
use crate::http;
use crate::net::join::{ServeJoinError, serve_join};
use crate::net::weights::WeightsServer;
use crate::net::{Duplex, IncomingStreams};
use crate::rpc::{admin, peer};
use crate::store::Store;

/// How often memory, disk and power are looked at.
const HARDWARE_PERIOD: Duration = Duration::from_secs(2);

/// Serves the streams that members open.
pub fn serve_members(node: &Node, store: Option<Arc<Store>>, up: Throttle, incoming: IncomingStreams) {
    let rpc = tokio_stream::wrappers::ReceiverStream::new(incoming.rpc);
    let rpc = tokio_stream::StreamExt::map(rpc, |(caller, stream)| (caller, Duplex::new(caller, stream)));
    let backend = Arc::new(node.clone());
    tokio::spawn(async move {
        if let Err(error) = peer::serve(rpc, backend).await {
            tracing::error!(%error, "the members' service ended");
        }
    });
    if let Some(store) = store {
        tokio::spawn(WeightsServer::new(Arc::new(StoreChunks { store, up })).run(incoming.weights));
    }
    let (node, mut joiners) = (node.clone(), incoming.join);
    tokio::spawn(async move {
        while let Some((joiner, stream)) = joiners.recv().await {
            let node = node.clone();
            tokio::spawn(async move {
                match serve_join(stream, joiner, node.me, &node).await {
                    Ok(member) => tracing::info!(name = member.name, node = %member.node, "a machine joined"),
                    // Any stranger can cause this, as often as it likes.
                    Err(error @ ServeJoinError::Broken { .. }) => tracing::debug!(%error, "nobody joined"),
                    Err(error) => tracing::warn!(%error, "nobody joined"),
                }
            });
        }
    });
}

/// Serves HTTP and the command line until the node ends, and looks at it for those who watch.
pub async fn serve_edges(node: Node, api: ApiListeners, admin: tokio::net::UnixListener, stop: watch::Receiver<bool>) {
    node.watching.start(node.clone(), stop.clone());
    let ended = |mut stop: watch::Receiver<bool>| async move {
        let _ = stop.wait_for(|stopped| *stopped).await;
    };
    let http = http::serve(api.public, node.clone(), ended(stop.clone()));
    let private = http::serve_private(api.private, node.clone(), ended(stop.clone()));
    let admin = admin::serve(admin, Arc::new(node), ended(stop));
    let (http, private, admin) = tokio::join!(http, private, admin);
    if let Err(error) = http.and(private) {
        tracing::error!(%error, "the HTTP API ended");
    }
    if let Err(error) = admin {
        tracing::error!(%error, "the command line's service ended");
    }
}

/// Tells the core what this machine has, and how short of memory its programs are.
pub fn watch_hardware(mut hardware: Hardware, store: Option<Arc<Store>>, events: Events, role: Role) {
    let mut pressure = Pressure::default();
    tokio::spawn(async move {
        loop {
            let disk = store.clone();
            // A disk far away answers when it pleases.
            let looked = tokio::task::spawn_blocking(move || {
                hardware.refresh();
                (disk.map_or(0, |disk| disk.disk_free()), hardware, hardware::pressure::read())
            });
            let Ok((disk_free_bytes, next, stall)) = looked.await else { return };
            hardware = next;
            let mut domains = hardware.domains.clone();
            domains.iter_mut().for_each(|domain| domain.hosts &= role == Role::Full && cfg!(feature = "llama"));
            let input = Input::Hardware { domains, disk_free_bytes, on_battery: hardware.on_battery };
            events.send(Event::Core(input)).await;
            if let Some(stall) = stall {
                if pressure.observe(stall) {
                    let high = pressure.is_high();
                    tracing::warn!(
                        high,
                        of_10_s = stall.of_10_s,
                        of_60_s = stall.of_60_s,
                        "pressure on this machine's memory"
                    );
                }
                events.send(Event::Core(Input::Pressure(stall))).await;
            }
            tokio::time::sleep(HARDWARE_PERIOD).await;
        }
    });
}

/// Strangers may knock only while an invitation is open.
pub fn watch_invitations(node: Node) {
    tokio::spawn(async move {
        loop {
            node.net.set_invitation_open(node.registry.invitation_open()).await;
            tokio::time::sleep(HARDWARE_PERIOD).await;
        }
    });
}

/// Called before the edges answer: whoever saw an answer may send SIGTERM, and must not find the system's own handler.
pub fn stop_on_signal(events: Events) {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return };
    tokio::spawn(async move {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
        events.send(Event::Stop).await;
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
        // Asked twice: nothing is finished any more. Asked three times: now.
        tokio::spawn(async move { events.send(Event::Stop).await });
        let _ = tokio::signal::ctrl_c().await;
        std::process::exit(130);
    });
}

/// The tasks that look after what is stored.
pub fn look_after_the_store(node: &Node) {
    watch_budget(node.clone());
    if let Some(scrubber) = node.scrubber.clone() {
        scrubber.start(node.clone());
    }
}

/// What lies on the disk since before the start.
pub async fn tell_what_is_stored(store: Option<&Store>, events: &Events, node: &Node) {
    events.send(Event::Core(Input::Addresses(node.net.listen_addresses()))).await;
    let Some(store) = store else { return };
    for artifact in store.complete() {
        events.send(Event::Core(Input::Stored(artifact))).await;
    }
    let repaired = store.under_repair();
    for (artifact, have) in store.partial() {
        let input = if repaired.contains(&artifact) { Input::Damaged } else { Input::Partial };
        events.send(Event::Core(input(artifact, have.count()))).await;
    }
    // Last: what is here already must not be asked for.
    events.send(Event::Core(Input::Pins(node.pins.now()))).await;
}
