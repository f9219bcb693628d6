//! Manifests: encoded canonically (prost writes fields in order and leaves out defaults), named by the BLAKE3 of that
//! encoding, signed by their publisher.

use fednode_proto::v1;
use libp2p_identity::ed25519;
use prost::Message;

use crate::core::artifact::{ArtifactFile, ArtifactKind, Chunk, Manifest, Precision, Shape};
use crate::core::limits;
use crate::core::types::{Digest, NodeId};
use crate::wire::sign::{self, Context};
use crate::wire::{WireError, array32, at_most, decode, field, ids, text};

/// A manifest whose signature, hash and bounds hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerifiedManifest {
    /// The BLAKE3 of its encoding: the artifact's name.
    pub artifact: Digest,
    /// Who published it.
    pub publisher: NodeId,
    /// What it says.
    pub manifest: Manifest,
    /// The encoded `SignedManifest`, to store and to pass on.
    pub signed: Vec<u8>,
}

/// Encodes and signs `manifest`.
pub fn seal(manifest: Manifest, publisher: &ed25519::Keypair) -> VerifiedManifest {
    let body = to_proto(&manifest).encode_to_vec();
    let artifact = Digest::of(&body);
    let signature = sign::sign(publisher, Context::Manifest, &body);
    let node = ids::node_of_key(&publisher.public());
    let signed = v1::SignedManifest { body, publisher: node.0.to_vec(), signature }.encode_to_vec();
    VerifiedManifest { artifact, publisher: node, manifest, signed }
}

/// Reads an encoded `SignedManifest` and checks everything about it but who may publish.
pub fn open(signed: &[u8]) -> Result<VerifiedManifest, WireError> {
    let envelope: v1::SignedManifest = decode("signed manifest", signed, limits::MANIFEST_BYTES_MAX)?;
    let publisher = ids::node("manifest publisher", &envelope.publisher)?;
    sign::verify(&publisher, Context::Manifest, &envelope.body, &envelope.signature)?;
    let artifact = Digest::of(&envelope.body);
    let proto: v1::Manifest = decode("manifest", &envelope.body, limits::MANIFEST_BYTES_MAX)?;
    let manifest = from_proto(&proto)?;
    Ok(VerifiedManifest { artifact, publisher, manifest, signed: signed.to_vec() })
}

/// Is `name` a plain file name: letters, digits, `.`, `-`, `_`, not starting with a dot, at most 128 bytes?
pub fn is_plain_file_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    !name.is_empty() && name.len() <= 128 && !name.starts_with('.') && name.chars().all(allowed)
}

fn to_proto(manifest: &Manifest) -> v1::Manifest {
    let kind = match manifest.kind {
        ArtifactKind::Model => v1::ArtifactKind::Model,
        ArtifactKind::Adapter => v1::ArtifactKind::Adapter,
    };
    v1::Manifest {
        kind: kind.into(),
        name: manifest.name.clone(),
        version: manifest.version.clone(),
        shape: Some(shape_to_proto(&manifest.shape)),
        files: manifest.files.iter().map(file_to_proto).collect(),
        base_name: manifest.base_name.clone(),
    }
}

fn file_to_proto(file: &ArtifactFile) -> v1::ArtifactFile {
    let chunk = |chunk: &Chunk| v1::Chunk { offset: chunk.offset, bytes: chunk.bytes, digest: chunk.digest.0.to_vec() };
    v1::ArtifactFile {
        name: file.name.clone(),
        bytes: file.bytes,
        digest: file.digest.0.to_vec(),
        chunks: file.chunks.iter().map(chunk).collect(),
    }
}

/// A shape as it travels.
pub fn shape_to_proto(shape: &Shape) -> v1::Shape {
    v1::Shape {
        architecture: shape.architecture.clone(),
        layers: shape.layers,
        embedding: shape.embedding,
        heads: shape.heads,
        kv_heads: shape.kv_heads,
        head_dim: shape.head_dim,
        context_max: shape.context_max,
        vocabulary: shape.vocabulary,
        feed_forward: shape.feed_forward,
        weights_bytes: shape.weights_bytes,
        parameters: shape.parameters,
        precision: shape.precision.name().to_owned(),
    }
}

/// A shape from outside. Sizes are bounded so that no footprint can overflow.
pub fn shape_from_proto(proto: &v1::Shape) -> Result<Shape, WireError> {
    let bounded = |what: &'static str, value: u32, max: u32| {
        if value <= max { Ok(value) } else { Err(field(what, format!("{value} exceeds {max}"))) }
    };
    if proto.weights_bytes > 1 << 50 || proto.parameters > 1 << 50 {
        return Err(field("shape", "sizes beyond a pebibyte"));
    }
    Ok(Shape {
        architecture: text("architecture", &proto.architecture, 64)?,
        layers: bounded("layers", proto.layers, 1 << 16)?,
        embedding: bounded("embedding", proto.embedding, 1 << 20)?,
        heads: bounded("heads", proto.heads, 1 << 16)?,
        kv_heads: bounded("kv_heads", proto.kv_heads, 1 << 16)?,
        head_dim: bounded("head_dim", proto.head_dim, 1 << 16)?,
        context_max: bounded("context_max", proto.context_max, 1 << 30)?,
        vocabulary: bounded("vocabulary", proto.vocabulary, 1 << 26)?,
        feed_forward: bounded("feed_forward", proto.feed_forward, 1 << 24)?,
        weights_bytes: proto.weights_bytes,
        parameters: proto.parameters,
        precision: Precision::from_name(&text("precision", &proto.precision, 16)?),
    })
}

fn from_proto(proto: &v1::Manifest) -> Result<Manifest, WireError> {
    let kind = match v1::ArtifactKind::try_from(proto.kind) {
        Ok(v1::ArtifactKind::Model) => ArtifactKind::Model,
        Ok(v1::ArtifactKind::Adapter) => ArtifactKind::Adapter,
        _ => return Err(field("manifest", "neither a model nor an adapter")),
    };
    at_most("manifest files", &proto.files, limits::FILES_PER_ARTIFACT_MAX)?;
    if proto.files.is_empty() {
        return Err(field("manifest", "no files"));
    }
    let mut names = std::collections::BTreeSet::new();
    let mut files = Vec::with_capacity(proto.files.len());
    let mut chunks = 0usize;
    for file in &proto.files {
        if !names.insert(file.name.as_str()) {
            return Err(field("manifest", "two files of one name"));
        }
        chunks += file.chunks.len();
        if chunks > limits::CHUNKS_PER_ARTIFACT_MAX as usize {
            return Err(field("manifest", "too many chunks"));
        }
        files.push(file_from_proto(file)?);
    }
    let shape = proto.shape.as_ref().ok_or_else(|| field("manifest", "no shape"))?;
    Ok(Manifest {
        kind,
        name: text("manifest name", &proto.name, 128)?,
        version: text("manifest version", &proto.version, 64)?,
        shape: shape_from_proto(shape)?,
        files,
        base_name: text("manifest base", &proto.base_name, 128)?,
    })
}

fn file_from_proto(proto: &v1::ArtifactFile) -> Result<ArtifactFile, WireError> {
    if !is_plain_file_name(&proto.name) {
        return Err(field("manifest file", "its name is not a plain file name"));
    }
    let mut chunks = Vec::with_capacity(proto.chunks.len());
    let mut end = 0u64;
    for chunk in &proto.chunks {
        if chunk.offset != end || chunk.bytes == 0 || chunk.bytes > limits::CHUNK_BYTES_MAX {
            return Err(field("manifest chunk", "chunks must cover the file in order, 1 byte to 4 MiB each"));
        }
        end += u64::from(chunk.bytes); // at most 2^18 × 2^22
        let digest = Digest(array32("chunk digest", &chunk.digest)?);
        chunks.push(Chunk { offset: chunk.offset, bytes: chunk.bytes, digest });
    }
    if end != proto.bytes {
        return Err(field("manifest file", "its chunks do not add up to its length"));
    }
    let digest = Digest(array32("file digest", &proto.digest)?);
    Ok(ArtifactFile { name: proto.name.clone(), bytes: proto.bytes, digest, chunks })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Manifest {
        let chunk = Chunk { offset: 0, bytes: 3, digest: Digest::of(b"abc") };
        let file = ArtifactFile { name: "m.gguf".into(), bytes: 3, digest: Digest::of(b"abc"), chunks: vec![chunk] };
        Manifest {
            kind: ArtifactKind::Model,
            name: "m".into(),
            version: "1".into(),
            shape: Shape::default(),
            files: vec![file],
            base_name: String::new(),
        }
    }

    fn keypair() -> ed25519::Keypair {
        ed25519::SecretKey::try_from_bytes([5u8; 32]).expect("any 32 bytes").into()
    }

    fn check(change: impl FnOnce(&mut Manifest), accepted: bool) {
        let mut manifest = sample();
        change(&mut manifest);
        assert_eq!(open(&seal(manifest, &keypair()).signed).is_ok(), accepted);
    }

    #[test]
    fn a_sealed_manifest_opens_to_the_same() {
        let sealed = seal(sample(), &keypair());
        assert_eq!(open(&sealed.signed), Ok(sealed));
    }

    #[test]
    fn impossible_manifests_are_refused() {
        check(|_| {}, true);
        check(|m| m.files.clear(), false);
        check(|m| m.files[0].bytes = 4, false);
        check(|m| m.files[0].chunks[0].offset = 1, false);
        check(|m| m.files[0].chunks[0].bytes = 0, false);
        check(|m| m.files[0].chunks[0].bytes = limits::CHUNK_BYTES_MAX + 1, false);
        check(|m| m.files.push(m.files[0].clone()), false);
        for name in ["../m", "/m", "a/b", ".m", "", "a\\b", "a\0"] {
            check(|m| m.files[0].name = name.into(), false);
        }
    }

    #[test]
    fn one_flipped_bit_anywhere_is_refused() {
        let sealed = seal(sample(), &keypair());
        for index in 0..sealed.signed.len() {
            let mut bytes = sealed.signed.clone();
            bytes[index] ^= 1;
            if let Ok(opened) = open(&bytes) {
                panic!("byte {index} flipped, still accepted as {:?}", opened.artifact);
            }
        }
    }
}
