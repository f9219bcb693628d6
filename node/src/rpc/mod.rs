//! gRPC, and nothing else: the `Peer` service between members over streams that the network room opened, and the `Admin`
//! service between the command line and its own node over a private socket. Messages are parsed here, through `wire`, into
//! core types; what they lead to is the backends' business, which the driver implements.

pub mod admin;
pub mod peer;
pub mod peers;
