//! Compiles the protobuf files; clients and servers only with the `grpc` feature.

use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = Path::new("fednode/v1");
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        files.push(entry?.path());
    }
    files.sort();
    println!("cargo:rerun-if-changed=fednode/v1");
    let grpc = std::env::var_os("CARGO_FEATURE_GRPC").is_some();
    tonic_prost_build::configure()
        .build_client(grpc)
        .build_server(grpc)
        .compile_protos(&files, &[std::path::PathBuf::from(".")])?;
    Ok(())
}
