//! Every protocol a node could speak: our own, read from the node's source so that a new one cannot be forgotten, and what
//! libp2p brings along.

use std::collections::BTreeSet;
use std::path::Path;

/// gossip, identification, pings, and what reachability over the Internet uses.
const OF_LIBP2P: [&str; 14] = [
    "/meshsub/1.2.0",
    "/meshsub/1.1.0",
    "/meshsub/1.0.0",
    "/floodsub/1.0.0",
    "/ipfs/id/1.0.0",
    "/ipfs/id/push/1.0.0",
    "/ipfs/ping/1.0.0",
    "/ipfs/kad/1.0.0",
    "/libp2p/circuit/relay/0.2.0/hop",
    "/libp2p/circuit/relay/0.2.0/stop",
    "/libp2p/dcutr",
    "/libp2p/autonat/1.0.0",
    "/libp2p/autonat/2/dial-request",
    "/libp2p/autonat/2/dial-back",
];

/// All of them.
pub fn all() -> BTreeSet<String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../node/src");
    let mut ours = BTreeSet::new();
    collect(&source, &mut ours);
    for expected in ["/fednode/join/1", "/fednode/rpc/1", "/fednode/weights/1"] {
        assert!(ours.contains(expected), "{expected} was not found below {}", source.display());
    }
    ours.into_iter().chain(OF_LIBP2P.map(str::to_owned)).collect()
}

fn collect(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).expect("a folder of sources can be read") {
        let path = entry.expect("a folder of sources can be read").path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).expect("a source file can be read");
            // Between two quotes: a name with a slash in front.
            let quoted = text.split('"').filter(|piece| piece.starts_with("/fednode/"));
            found.extend(
                quoted.filter(|name| name.len() < 100 && !name.contains(char::is_whitespace)).map(str::to_owned),
            );
        }
    }
}
