//! A whole libp2p node that behaves as a member would: it subscribes and publishes, identifies itself, pings. What it hears
//! from a node that is not its friend should be nothing.

use std::net::SocketAddr;
use std::time::Duration;

use futures::StreamExt;
use libp2p::identity::Keypair;
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, Swarm, SwarmBuilder, gossipsub, identify, noise, ping, tcp};

/// Two heartbeats of gossip, and more than any answer needs.
const PATIENCE: Duration = Duration::from_secs(3);

#[derive(NetworkBehaviour)]
struct Everything {
    gossip: gossipsub::Behaviour,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
}

pub(crate) async fn listen_in(keypair: &Keypair, at: SocketAddr, topic: &str) -> Vec<String> {
    let topic = gossipsub::Sha256Topic::new(topic);
    let mut swarm = build(keypair, &topic);
    let address: Multiaddr = format!("/ip4/{}/tcp/{}", at.ip(), at.port()).parse().expect("an address");
    swarm.dial(address).expect("an address that nobody else has");
    let mut heard = Vec::new();
    let listening = async {
        loop {
            // Refused while nobody is known to listen; then it is said again.
            let _ = swarm.behaviour_mut().gossip.publish(topic.clone(), b"a lie".to_vec());
            if let Some(words) = words(swarm.select_next_some().await) {
                heard.push(words);
            }
        }
    };
    let _: Result<(), _> = tokio::time::timeout(PATIENCE, listening).await;
    heard
}

fn build(keypair: &Keypair, topic: &gossipsub::Sha256Topic) -> Swarm<Everything> {
    let behaviour = |keypair: &Keypair| {
        let signed = gossipsub::MessageAuthenticity::Signed(keypair.clone());
        let config = gossipsub::ConfigBuilder::default().flood_publish(true).build().expect("settings of the library");
        let mut gossip: gossipsub::Behaviour = gossipsub::Behaviour::new(signed, config).expect("settings that fit");
        gossip.subscribe(topic).expect("any topic");
        Everything {
            gossip,
            identify: identify::Behaviour::new(identify::Config::new("/fednode/1".to_owned(), keypair.public())),
            ping: ping::Behaviour::new(ping::Config::new().with_interval(Duration::from_millis(200))),
        }
    };
    let builder = SwarmBuilder::with_existing_identity(keypair.clone()).with_tokio();
    let builder =
        builder.with_tcp(tcp::Config::default(), noise::Config::new, libp2p_yamux::Config::default).expect("any key");
    let builder = builder.with_behaviour(behaviour).expect("it cannot fail");
    builder.with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(60))).build()
}

/// What an event says that only a node which answers can have caused.
fn words(event: SwarmEvent<EverythingEvent>) -> Option<String> {
    match event {
        SwarmEvent::Behaviour(EverythingEvent::Gossip(event)) => match event {
            gossipsub::Event::GossipsubNotSupported { .. } => None,
            event => Some(format!("{event:?}")),
        },
        SwarmEvent::Behaviour(EverythingEvent::Identify(event)) => match event {
            identify::Event::Received { .. } | identify::Event::Pushed { .. } => Some(format!("{event:?}")),
            _ => None,
        },
        SwarmEvent::Behaviour(EverythingEvent::Ping(event)) => event.result.is_ok().then(|| format!("{event:?}")),
        _ => None,
    }
}
