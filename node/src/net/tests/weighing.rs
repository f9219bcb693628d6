//! The weight data plane over a real connection.

use std::sync::Arc;

use super::*;
use crate::core::types::Digest;
use crate::net::weights::{ChunkMissing, ChunkSource, FetchError, WeightsClient, WeightsServer};

const ARTIFACT: Digest = Digest([5; 32]);
const CHUNK: u32 = 2_300_000; // in three pieces

/// Four chunks of one artifact, each filled with its number.
struct Shelf;

impl ChunkSource for Shelf {
    fn read(&self, artifact: &Digest, chunk: u32, from: u32, piece: &mut Vec<u8>) -> Result<u32, ChunkMissing> {
        if *artifact != ARTIFACT || chunk >= 4 {
            return Err(ChunkMissing);
        }
        piece.truncate((CHUNK - from) as usize);
        piece.fill(chunk as u8);
        Ok(CHUNK)
    }
}

/// What came when at most `bytes_max` were expected. All of it must have been shown, in order.
async fn fetch(
    client: &WeightsClient,
    node: NodeId,
    artifact: Digest,
    chunk: u32,
    bytes_max: u32,
) -> Result<Vec<u8>, FetchError> {
    let (mut into, mut shown) = (vec![0xff; bytes_max as usize], Vec::new());
    let length = client.fetch(node, artifact, chunk, &mut into, &mut |piece| shown.extend_from_slice(piece)).await?;
    into.truncate(length);
    assert!(shown == into);
    Ok(into)
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
    let fetches = (0..40u32).map(|n| fetch(&client, two.id, ARTIFACT, n % 4, CHUNK));
    for (n, fetched) in futures::future::join_all(fetches).await.into_iter().enumerate() {
        assert_eq!(fetched, Ok(vec![(n % 4) as u8; CHUNK as usize]), "fetch {n}");
    }
}

#[tokio::test]
async fn what_is_missing_or_too_long_is_told_and_the_next_chunk_still_comes() {
    let (client, _one, two) = shelf().await;
    assert_eq!(fetch(&client, two.id, ARTIFACT, 4, CHUNK).await, Err(FetchError::Missing));
    assert_eq!(fetch(&client, two.id, Digest([6; 32]), 0, CHUNK).await, Err(FetchError::Missing));
    assert_eq!(fetch(&client, two.id, ARTIFACT, 0, CHUNK - 1).await, Err(FetchError::TooLong));
    assert_eq!(fetch(&client, two.id, ARTIFACT, 1, CHUNK).await, Ok(vec![1; CHUNK as usize]));
    assert_eq!(fetch(&client, node(9), ARTIFACT, 0, CHUNK).await, Err(FetchError::Disconnected));
}

#[tokio::test]
async fn streams_that_died_with_their_connection_are_replaced() {
    let (client, mut one, mut two) = shelf().await;
    assert!(fetch(&client, two.id, ARTIFACT, 0, CHUNK).await.is_ok());
    one.net.disconnect(two.id).await;
    one.disconnected(two.id).await;
    two.disconnected(one.id).await;
    assert_eq!(fetch(&client, two.id, ARTIFACT, 0, CHUNK).await, Err(FetchError::Disconnected));
    one.dial(&two).await;
    one.connected(two.id).await;
    assert_eq!(fetch(&client, two.id, ARTIFACT, 2, CHUNK).await, Ok(vec![2; CHUNK as usize]));
}
