//! Writes the corpus: for each target a few sound inputs to start from. `cargo run -p fednode-fuzz --bin seeds`.
//! What fuzzing finds on top of these is kept by hand, smallest first.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use fednode::core::artifact::{ArtifactFile, ArtifactKind, Chunk, Manifest, Shape};
use fednode::core::catalog::{Entry, Publication, Wishes};
use fednode::core::demand::Rate;
use fednode::core::external::{ExternalReplica, Verification};
use fednode::core::fingerprint::{Fingerprint, MicroNats, Sequence};
use fednode::core::membership::advert::{Advert, DomainKind, Gossip, Holding, Lease, MemoryDomain};
use fednode::core::membership::roster::{Member, MemberRoster, Role};
use fednode::core::placement::plan::{Distrust, Plan, PlannedReplica, PlannedStore, Strategy};
use fednode::core::roster::SlotRoster;
use fednode::core::types::{Digest, SlotName};
use fednode::wire::announcement::{Announcement, AnnouncementKeys};
use fednode::wire::join::Ticket;
use fednode::wire::{catalog, gossip, manifest, members, plan};
use fednode_fuzz::{federation, key, node};
use fednode_proto::v1;
use prost::Message;

const ROSTER: &str = include_str!("../../../node/rosters/reference.toml");

fn main() -> std::io::Result<()> {
    models()?;
    folders()?;
    records()?;
    messages()?;
    texts()
}

fn save(target: &str, name: &str, bytes: &[u8]) -> std::io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    fs::create_dir_all(&folder)?;
    fs::write(folder.join(name), bytes)
}

/// The headers of the tiny managers: all that a parser reads.
fn models() -> std::io::Result<()> {
    for name in ["UCM", "ULM-core"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../managers");
        let bytes = fs::read(folder.join(format!("{name}.gguf")))?;
        let model = fednode::store::gguf::parse(&bytes[..], bytes.len() as u64).map_err(std::io::Error::other)?;
        save("gguf", name, &bytes[..model.files[0].data_start as usize])?;
    }
    Ok(())
}

/// A model's folder: the header of its weights with their bytes, the index, the settings, the tokenizer.
fn folders() -> std::io::Result<()> {
    let header = r#"{"a.weight":{"dtype":"F16","shape":[2,3],"data_offsets":[0,12]},"b":{"dtype":"BF16","shape":[],"data_offsets":[12,14]}}"#;
    save("safetensors", "two", &[&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[0; 14]].concat())?;
    save("safetensors", "index", br#"{"metadata":{"total_size":14},"weight_map":{"a.weight":"m-1.safetensors"}}"#)?;
    let config = r#"{"architectures":["LlamaForCausalLM"],"_name_or_path":"a/b","hidden_size":64,"intermediate_size":96,
        "num_hidden_layers":2,"num_attention_heads":4,"num_key_value_heads":2,"max_position_embeddings":512,"vocab_size":9,
        "rms_norm_eps":1e-6,"rope_theta":100000,"rope_scaling":{"type":"linear","factor":4.0},"eos_token_id":[1,2]}"#;
    save("hugging_face", "config", config.as_bytes())?;
    let tokenizer = r#"{"added_tokens":[{"id":0,"content":"<s>","special":true}],"normalizer":null,
        "pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"ByteLevel","add_prefix_space":false}]},
        "model":{"type":"BPE","vocab":{"a":1,"b":2,"ab":3},"merges":["a b",["a","b"]]}}"#;
    save("hugging_face", "tokenizer", tokenizer.as_bytes())
}

fn slot() -> SlotName {
    SlotName::new("UCM").expect("a name")
}

/// What is signed: the seeds are the bodies, which the targets sign.
fn records() -> std::io::Result<()> {
    let chunk = |offset, bytes| Chunk { offset, bytes, digest: Digest::of(b"chunk") };
    let file = ArtifactFile {
        name: "model.gguf".into(),
        bytes: 5,
        digest: Digest::of(b"file"),
        chunks: vec![chunk(0, 4), chunk(4, 1)],
    };
    let shape = Shape { architecture: "llama".into(), layers: 2, ..Shape::default() };
    let (name, version) = ("tiny".to_owned(), "1".to_owned());
    let artifact = Manifest {
        kind: ArtifactKind::Model,
        name: name.clone(),
        version: version.clone(),
        shape: shape.clone(),
        files: vec![file],
        base_name: String::new(),
    };
    let sealed = manifest::seal(artifact, &key());
    let body = |signed: &[u8]| v1::SignedManifest::decode(signed).map(|envelope| envelope.body).unwrap_or_default();
    save("manifest", "model", &body(&sealed.signed))?;

    let text = Sequence { tokens: vec![1; 17], likeliest: vec![2; 32], logprobs: vec![MicroNats(-3_000_000); 32] };
    let fingerprint = Fingerprint {
        base: sealed.artifact,
        each: 2,
        sequences: vec![text.clone(), text],
        threshold: MicroNats(1_000),
    };
    let publication = Publication {
        slot: slot(),
        domain: None,
        artifact: sealed.artifact,
        artifact_bytes: 5,
        chunks: 2,
        shape,
        name,
        version,
        fingerprint: Some(Arc::new(fingerprint)),
    };
    let roster: SlotRoster = toml::from_str(ROSTER).expect("the reference roster");
    let wishes = Wishes { node: node(), pinned: BTreeSet::from([slot()]), drained: true };
    let entries = [
        ("publication", Entry::Publication(publication)),
        ("roster", Entry::Roster(roster)),
        ("wishes", Entry::Wishes(wishes)),
    ];
    for (name, entry) in entries {
        let record = catalog::seal(entry, 1, &key());
        let envelope = v1::SignedCatalogRecord::decode(&record.signed[..]).unwrap_or_default();
        save("catalog", name, &envelope.body)?;
    }

    let member = Member {
        node: node(),
        name: "desk".into(),
        role: Role::Full,
        admin: true,
        not_before_unix_s: 1,
        expires_unix_s: 2,
        addresses: vec!["/ip4/127.0.0.1/tcp/1".into()],
    };
    let members = members::seal(MemberRoster::new(federation()).admit(member).expect("room"), &key());
    let envelope = v1::SignedMemberRoster::decode(&members.signed[..]).unwrap_or_default();
    save("members", "one", &envelope.body)
}

/// What members say to each other.
fn messages() -> std::io::Result<()> {
    said()?;
    planned()?;
    on_streams()
}

fn said() -> std::io::Result<()> {
    let domain = MemoryDomain {
        name: "ram".into(),
        kind: DomainKind::Ram,
        total_bytes: 3,
        free_bytes: 2,
        reserve_bytes: 1,
        ours_bytes: 0,
        hosts: true,
    };
    let advert = Advert {
        node: node(),
        incarnation: 1,
        sequence: 2,
        ttl_ms: 15_000,
        name: "desk".into(),
        role: Role::Full,
        on_battery: false,
        priority: 0,
        domains: vec![domain],
        disk_free_bytes: 9,
        holdings: vec![Holding { artifact: Digest::of(b"a"), complete: false, chunks: 3 }],
        replicas: Vec::new(),
        member_roster_mark: 1,
        catalog_digest: Digest::of(b"c"),
        plan_epoch: 1,
        plan_revision: 1,
        epoch_highest: 1,
        addresses: vec!["/ip4/127.0.0.1/tcp/1".into()],
        wanted: vec![slot()],
        demand: vec![Rate { slot: slot(), milli_per_hour: 1500 }],
        plan_author: Some(node()),
        wishes_digest: Some(Digest::of(b"w")),
        externals: vec![ExternalReplica {
            slot: slot(),
            ready: true,
            in_flight: 1,
            verification: Verification::Unverified,
        }],
    };
    let lease = Lease { coordinator: node(), epoch: 1, plan_revision: 2, resigns: false };
    save("gossip", "advert", &gossip::encode(&Gossip::Advert(Arc::new(advert))))?;
    save("gossip", "lease", &gossip::encode(&Gossip::Lease(lease)))?;
    let ip = std::net::Ipv4Addr::LOCALHOST.into();
    let said = Announcement { node: node(), ip, port: 7718, asks: true, sent_unix_ms: 1 };
    save("announcement", "one", &AnnouncementKeys::new(federation()).seal(&said, &key(), &[1; 24]))
}

fn planned() -> std::io::Result<()> {
    let replica = PlannedReplica {
        slot: slot(),
        node: node(),
        memory_domain: "ram".into(),
        artifact: Digest::of(b"a"),
        adapters: Vec::new(),
        context: 512,
        parallel: 1,
        bytes: 2,
        weights_bytes: 1,
    };
    let distrust = Distrust { node: node(), slot: slot(), artifact: Digest::of(b"a"), why: "far".into() };
    let sealed = Plan {
        author: node(),
        epoch: 1,
        revision: 1,
        inputs_digest: Digest::of(b"i"),
        strategy: Strategy::Mixed,
        replicas: vec![replica],
        stored: vec![PlannedStore { artifact: Digest::of(b"a"), node: node() }],
        roles: Vec::new(),
        shortfalls: Vec::new(),
        refused: Vec::new(),
        distrusted: vec![distrust],
    };
    save("plan", "one", &plan::to_proto(&sealed).encode_to_vec())
}

fn on_streams() -> std::io::Result<()> {
    let request = v1::JoinRequest { ticket_id: vec![1; 16], nonce: vec![2; 32], name: "desk".into() };
    save("frames", "join", &request.encode_length_delimited_to_vec())?;
    let request = v1::ChunkRequest { artifact: vec![3; 32], chunk: 7 };
    save("frames", "chunk", &request.encode_length_delimited_to_vec())?;

    let ticket = Ticket {
        federation: federation(),
        inviter: node(),
        addresses: vec!["/ip4/127.0.0.1/tcp/1".into()],
        secret: [5; 32],
        expires_unix_s: 1,
        role: Role::Delegate,
    };
    let digits = ticket.to_text().replace("fednode1:", "");
    let bytes: Vec<u8> = digits
        .as_bytes()
        .chunks(2)
        .filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect();
    save("ticket", "one", &bytes[..bytes.len() - 4])
}

/// What people and programs write.
fn texts() -> std::io::Result<()> {
    save("slot_roster", "reference", ROSTER.as_bytes())?;
    for (name, pin) in [("slot", "UCM"), ("domain", "ULM:core"), ("artifact", &"0f".repeat(32))] {
        save("pins", name, pin.as_bytes())?;
    }
    save("traceparent", "one", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")?;
    let chat = serde_json::json!({
        "model": "ULM:core", "messages": [{"role": "system", "content": "brief"}, {"role": "user", "content": "hello"}],
        "stream": true, "max_tokens": 5, "temperature": 0.5, "seed": 1, "stop": ["a", "b"],
    });
    save("chat_request", "whole", chat.to_string().as_bytes())?;
    save("sse", "answer", b"data: {\"a\": 1}\n\n: waiting\n\ndata: [DONE]\n\n")?;
    let answer = "data: {\"choices\":[{\"delta\":{\"content\":\"Hey\"},\"finish_reason\":null}]}\n\n\
                  data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":3,\
                  \"completion_tokens\":1}}\n\ndata: [DONE]\n\n";
    save("external", "answer", answer.as_bytes())?;
    save("external", "models", br#"{"object":"list","data":[{"id":"llama"}]}"#)?;
    save("external", "error", br#"{"error":{"message":"the model is loading","code":503}}"#)?;
    save("stored", "empty", &[1; 9])?;
    // A stream with five bytes, credit for it, a ping, its end, and a stream that is reset.
    let frame = |kind: u8, flags: u8, stream: u8, length: u8| [0, kind, 0, flags, 0, 0, 0, stream, 0, 0, 0, length];
    let (hello, credit, ping) = (frame(0, 1, 1, 5), frame(1, 0, 1, 99), frame(2, 1, 0, 7));
    let ends = [frame(0, 4, 1, 0), frame(0, 1, 3, 0), frame(0, 8, 3, 0), frame(3, 0, 0, 0)].concat();
    save("streams", "one", &[&hello[..], b"hello", &credit, &ping, &ends].concat())?;
    federations()
}

/// Inventories, and a plan for the one that the target has.
fn federations() -> std::io::Result<()> {
    let whole = serde_json::json!({
        "strategy": "swapping",
        "nodes": [{"name": "a", "id": "0f".repeat(32), "role": "auto", "disk_free_bytes": 1u64 << 40, "load_bytes_per_s": 1,
                   "link_bytes_per_s": 2, "holds": ["m"], "claimed": ["n"], "recent": true,
                   "domains": [{"name": "ram", "kind": "ram", "total_bytes": 1u64 << 35, "free_bytes": 1u64 << 34,
                                "reserve_bytes": 1u64 << 31}]}],
        "roster": {"slots": [{"name": "UFM", "artifact": "x", "base": "m", "weights_bytes": 13u64 << 30, "artifact_bytes": 2,
                   "adapter_bytes": 3, "adapters": [{"domain": "d", "artifact": "y", "bytes": 4}],
                   "kv_bytes_per_token": 524_288, "compute_bytes_per_token": 65_536, "context": 4096, "context_max": 16_384,
                   "parallel": 1, "overhead_bytes": 800_000_000, "replicas": 2, "policy": "pinned", "demand_per_hour": 10,
                   "wanted_rank": 0, "last_wanted": 14}]},
        "previous": {"replicas": [{"slot": "UFM", "node": "a", "domain": "ram"}], "roles": {"a": "mixed"}},
    });
    save("inventory", "one", whole.to_string().as_bytes())?;
    save("inventory", "four", include_bytes!("../../../node/inventories/four-32gb.json"))?;
    let claim = serde_json::json!({
        "replicas": [{"slot": "UFM", "node": "workstation", "domain": "gpu0"}, {"slot": "UCM", "node": "workstation", "domain": "ram"}],
        "stored": [{"artifact": "UFM-6.7B", "node": "workstation"}], "shortfalls": [{"slot": "UDM"}],
    });
    save("claim", "one", claim.to_string().as_bytes())
}
