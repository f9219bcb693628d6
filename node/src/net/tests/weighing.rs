//! The weight data plane over a real connection.

use std::sync::Arc;

use super::*;
use crate::core::types::Digest;
use crate::net::weights::{ChunkMissing, ChunkSource, FetchError, WeightsClient, WeightsServer};

const ARTIFACT: Digest = Digest([5; 32]);
const CHUNK: u32 = 300_000;

/// Four chunks of one artifact, each filled with its number.
struct Shelf;

impl ChunkSource for Shelf {
    fn read(&self, artifact: &Digest, chunk: u32) -> Result<Vec<u8>, ChunkMissing> {
        if *artifact != ARTIFACT || chunk >= 4 {
            return Err(ChunkMissing);
        }
        Ok(vec![chunk as u8; CHUNK as usize])
    }
}

async fn shelf() -> (WeightsClient, Running, Running) {
    let (one, mut two) = pair().await;
    let (_, unused) = mpsc::channel(1);
    let incoming = std::mem::replace(&mut two.incoming.weights, unused);
    tokio::spawn(WeightsServer::new(Arc::new(Shelf)).run(incoming));
    (WeightsClient::new(one.net.clone()), one, two)
}

#[tokio::test]
async fn chunks_come_whole_and_many_at_once() {
    let (client, _one, two) = shelf().await;
    let fetches = (0..40u32).map(|n| client.fetch(two.id, ARTIFACT, n % 4, CHUNK));
    for (n, fetched) in futures::future::join_all(fetches).await.into_iter().enumerate() {
        assert_eq!(fetched, Ok(vec![(n % 4) as u8; CHUNK as usize]), "fetch {n}");
    }
}

#[tokio::test]
async fn what_is_missing_or_too_long_is_told_and_the_next_chunk_still_comes() {
    let (client, _one, two) = shelf().await;
    assert_eq!(client.fetch(two.id, ARTIFACT, 4, CHUNK).await, Err(FetchError::Missing));
    assert_eq!(client.fetch(two.id, Digest([6; 32]), 0, CHUNK).await, Err(FetchError::Missing));
    assert_eq!(client.fetch(two.id, ARTIFACT, 0, CHUNK - 1).await, Err(FetchError::TooLong));
    assert_eq!(client.fetch(two.id, ARTIFACT, 1, CHUNK).await, Ok(vec![1; CHUNK as usize]));
    assert_eq!(client.fetch(node(9), ARTIFACT, 0, CHUNK).await, Err(FetchError::Disconnected));
}

#[tokio::test]
async fn streams_that_died_with_their_connection_are_replaced() {
    let (client, mut one, mut two) = shelf().await;
    assert!(client.fetch(two.id, ARTIFACT, 0, CHUNK).await.is_ok());
    one.net.disconnect(two.id).await;
    one.disconnected(two.id).await;
    two.disconnected(one.id).await;
    assert_eq!(client.fetch(two.id, ARTIFACT, 0, CHUNK).await, Err(FetchError::Disconnected));
    one.dial(&two).await;
    one.connected(two.id).await;
    assert_eq!(client.fetch(two.id, ARTIFACT, 2, CHUNK).await, Ok(vec![2; CHUNK as usize]));
}
