//! Streams over yamux, opened by whoever is let in so far, and every byte that comes back on them.

use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};

use futures::AsyncWriteExt;
use libp2p::identity::Keypair;
use multistream_select::{Version, dialer_select_proto};
use yamux::{Connection, Mode};

use crate::Security;
use crate::encrypted::{Wire, encrypt, read_all};

/// What a node said when it was asked for a protocol.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Answer {
    /// The encryption was agreed on.
    pub encrypted: bool,
    /// So was yamux: there are streams.
    pub multiplexed: bool,
    /// The node agreed to speak the protocol.
    pub agreed: bool,
    /// What it said that is not the negotiation of a protocol.
    pub bytes: Vec<u8>,
    /// Streams that the node opened towards us.
    pub opened: usize,
}

impl Answer {
    /// Was nothing answered that an application wrote?
    pub fn is_silent(&self) -> bool {
        self.bytes.is_empty() && self.opened == 0
    }
}

/// A yamux connection to the node, with one stream open.
pub(crate) async fn multiplex(wire: Box<dyn Wire>) -> Option<(Connection<impl Wire>, yamux::Stream)> {
    let (_, wire) = dialer_select_proto(wire, ["/yamux/1.0.0"], Version::V1).await.ok()?;
    let mut connection = Connection::new(wire, yamux::Config::default(), Mode::Client);
    let stream = poll_fn(|cx| connection.poll_new_outbound(cx)).await.ok()?;
    Some((connection, stream))
}

pub(crate) async fn speak(
    keypair: &Keypair,
    at: SocketAddr,
    from: Option<IpAddr>,
    security: Security,
    protocol: &str,
    words: &[u8],
) -> Answer {
    let mut answer = Answer::default();
    let Ok((_, wire)) = encrypt(keypair, at, from, security).await else { return answer };
    answer.encrypted = true;
    let Some((mut connection, mut stream)) = multiplex(wire).await else { return answer };
    answer.multiplexed = true;
    let talk = async {
        let mut said = line("/multistream/1.0.0");
        said.extend(line(protocol));
        said.extend_from_slice(words);
        // Before anything is agreed on: a careless node would take the words for what they claim to be.
        if stream.write_all(&said).await.is_ok() {
            let _ = stream.flush().await;
        }
        read_all(&mut stream).await.0
    };
    let mut opened = 0;
    // The connection makes progress only while somebody asks it for streams.
    let progress = async {
        while let Some(Ok(_)) = poll_fn(|cx| connection.poll_next_inbound(cx)).await {
            opened += 1;
        }
        std::future::pending::<()>().await
    };
    let heard = tokio::select! {
        heard = talk => heard,
        () = progress => Vec::new(),
    };
    answer.opened = opened;
    (answer.agreed, answer.bytes) = without_negotiation(&heard, protocol);
    answer
}

/// One line of multistream-select.
fn line(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len() + 1).expect("names of protocols are short");
    assert!(length < 128, "{text} needs a longer length");
    [&[length], text.as_bytes(), b"\n"].concat()
}

/// Was the protocol agreed on, and what was said besides?
fn without_negotiation(mut heard: &[u8], protocol: &str) -> (bool, Vec<u8>) {
    let mut agreed = false;
    for expected in ["/multistream/1.0.0", "na", protocol] {
        if let Some(rest) = heard.strip_prefix(line(expected).as_slice()) {
            agreed |= expected == protocol;
            heard = rest;
        }
    }
    (agreed, heard.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_negotiation_is_left_out() {
        let check = |heard: &[Vec<u8>], agreed: bool, bytes: &[u8]| {
            assert_eq!(without_negotiation(&heard.concat(), "/x/1"), (agreed, bytes.to_vec()), "{heard:?}");
        };
        let header = line("/multistream/1.0.0");
        check(&[], false, b"");
        check(&[header.clone(), line("na")], false, b"");
        check(&[header.clone(), line("/x/1"), b"secret".to_vec()], true, b"secret");
        check(&[header, line("na"), b"secret".to_vec()], false, b"secret");
        check(&[b"secret".to_vec()], false, b"secret");
    }
}
