//! Compiles the protos without protoc.

use std::path::PathBuf;

const PROTOS: [&str; 18] = [
    "palisade/types/v1/types.proto",
    "palisade/agent/v1/agent.proto",
    "palisade/stream/v1/stream.proto",
    "palisade/data/v1/data.proto",
    "palisade/admin/v1/balance.proto",
    "palisade/admin/v1/barrier.proto",
    "palisade/admin/v1/cluster.proto",
    "palisade/admin/v1/member.proto",
    "palisade/admin/v1/migration.proto",
    "palisade/admin/v1/node.proto",
    "palisade/admin/v1/snapshot.proto",
    "palisade/admin/v1/table.proto",
    "palisade/admin/v1/tablet.proto",
    "palisade/admin/v1/topology.proto",
    "palisade/raft/v1/raft.proto",
    "palisade/storage/v1/storage.proto",
    "palisade/storage/v1/snapshot.proto",
    "palisade/faults/v1/faults.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=palisade");
    let descriptors = protox::compile(PROTOS, ["."])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let mut bytes = Vec::new();
    prost::Message::encode(&descriptors, &mut bytes)?;
    std::fs::write(out.join("descriptors.bin"), bytes)?;
    tonic_prost_build::configure().bytes(".").compile_fds(descriptors)?;
    Ok(())
}
