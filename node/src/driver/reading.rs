//! Reading the fingerprint of what is being published: with an engine of its own that is gone again when it is read. Where that
//! cannot be, the publication goes on without one, and the owner is told why.

use std::sync::Arc;
use std::time::Duration;

use crate::core::artifact::Shape;
use crate::core::catalog::Catalog;
use crate::core::fingerprint::Fingerprint;
use crate::core::limits;
use crate::core::sizing;
use crate::core::types::{Digest, human_bytes};
use crate::driver::fingerprint;
use crate::driver::node::Node;
use crate::driver::replicas::READER_DOMAIN;

/// Between two looks whether memory has been measured.
const LOOK: Duration = Duration::from_millis(100);
/// So many looks at most: measuring takes milliseconds.
const MEASURED_WITHIN: u32 = 50;

/// What is read.
#[derive(Clone, Debug)]
pub struct Published {
    /// The artifact.
    pub artifact: Digest,
    /// What runs: the artifact itself, or the base that an adapter is attached to.
    pub base: Digest,
    /// The shape of `base`.
    pub shape: Shape,
    /// Bytes of the adapter; 0 for a whole model.
    pub adapter_bytes: u64,
}

/// The fingerprint of `published`, or why there is none.
pub async fn read(node: &Node, published: &Published) -> Result<Arc<Fingerprint>, String> {
    let of = published.clone();
    let known = node.read(move |machine| {
        let catalog = &machine.config().catalog;
        (recorded(catalog, &of), fingerprints(catalog))
    });
    let (recorded, fingerprints) = known.await.ok_or("the node is ending")?;
    if let Some(recorded) = recorded {
        return Ok(recorded);
    }
    if fingerprints >= limits::FINGERPRINTS_MAX {
        return Err(format!("{fingerprints} publications have one already, and no more may"));
    }
    let context = limits::FINGERPRINT_CONTEXT.min(published.shape.context_max.max(1));
    let footprint = sizing::footprint(&published.shape, context, 1, published.adapter_bytes);
    may_run(footprint.total_bytes(), free_bytes(node).await)?;
    let adapter = (published.base != published.artifact).then_some(published.artifact);
    let private_bytes = footprint.total_bytes() - footprint.weights_bytes;
    let engine = node.replicas.reader(published.base, adapter, private_bytes).await?;
    let domain = if adapter.is_some() { READER_DOMAIN } else { "" };
    let read = fingerprint::record(&engine, domain, published.base).await;
    engine.stop().await;
    let read = read.map_err(|error| error.to_string())?;
    tracing::info!(
        artifact = %published.artifact.short(),
        positions = read.positions(),
        threshold = read.threshold.text(),
        "fingerprint read"
    );
    Ok(Arc::new(read))
}

/// The most that one memory domain has free; `None`: there is none that an engine of this build can load into. A node that was
/// just started has not measured them yet.
async fn free_bytes(node: &Node) -> Option<u64> {
    for _ in 0..MEASURED_WITHIN {
        let free = node.read(|machine| {
            let domains = machine.own_advert().domains;
            let hosting = domains.iter().filter(|domain| domain.hosts);
            (!domains.is_empty()).then(|| hosting.map(|domain| domain.free_bytes).max())
        });
        if let Some(measured) = free.await? {
            return measured;
        }
        tokio::time::sleep(LOOK).await;
    }
    None
}

/// The same artifact on the same base may be in the catalog already: in another slot, or as the version before.
fn recorded(catalog: &Catalog, published: &Published) -> Option<Arc<Fingerprint>> {
    let same = catalog.publications().filter(|known| known.artifact == published.artifact);
    same.filter_map(|known| known.fingerprint.clone()).find(|known| known.base == published.base)
}

fn fingerprints(catalog: &Catalog) -> usize {
    catalog.publications().filter(|known| known.fingerprint.is_some()).count()
}

/// Is there an engine here, and memory for it beside all that was promised?
fn may_run(needs_bytes: u64, free_bytes: Option<u64>) -> Result<(), String> {
    match free_bytes {
        None => Err("this build of fednode has no engine".to_owned()),
        Some(free) if free < needs_bytes => Err(format!(
            "reading it needs {}, {} are free here; publish again on a machine with more free memory",
            human_bytes(needs_bytes),
            human_bytes(free)
        )),
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_an_engine_or_memory_the_reason_is_said() {
        assert!(may_run(10 << 30, Some(10 << 30)).is_ok());
        assert!(may_run(1, None).is_err_and(|why| why.contains("no engine")));
        let why = may_run(10 << 30, Some(9 << 30)).expect_err("too little");
        assert!(why.contains("needs 10.0 GiB") && why.contains("9.0 GiB are free"), "{why}");
    }
}
