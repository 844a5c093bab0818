//! Compiles the protos without protoc, and makes the table of who may call what of the options of
//! their methods.

use protox::prost_reflect::{DescriptorPool, DynamicMessage, Value};
use std::fmt::Write as _;
use std::path::PathBuf;

const PROTOS: [&str; 19] = [
    "palisade/access/v1/access.proto",
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

/// The option of a method that says who may call it.
const ACCESS: &str = "palisade.access.v1.access";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=palisade");
    let mut compiler = protox::Compiler::new(["."])?;
    compiler.include_imports(true).open_files(PROTOS)?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), compiler.encode_file_descriptor_set())?;
    std::fs::write(out.join("access.rs"), access(&compiler.descriptor_pool())?)?;
    tonic_prost_build::configure().bytes(".").compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}

/// The rows of the table, as the arms of a `match` over a call's path.
fn access(pool: &DescriptorPool) -> Result<String, Box<dyn std::error::Error>> {
    let option = pool.get_extension_by_name(ACCESS).ok_or("no such option")?;
    let mut rows = String::from("match path {\n");
    for service in pool.services() {
        for method in service.methods() {
            let said = method.options();
            let name = method.full_name();
            if !said.has_extension(&option) {
                return Err(
                    format!("{name} does not say who may call it: option ({ACCESS})").into()
                );
            }
            let said = said.get_extension(&option);
            let said = said.as_message().ok_or("not a message")?;
            let role = match number(said, "role") {
                0 => "None".to_owned(),
                role => format!("Some(Role::{})", ["Viewer", "Operator", "Admin"][role - 1]),
            };
            let machines = said.get_field_by_name("machines").ok_or("no such field")?;
            let machines = machines.as_list().ok_or("not a list")?.iter();
            let machines = machines.filter_map(Value::as_enum_number);
            let machines: Vec<String> = machines
                .map(|of| {
                    format!("Machine::{}", ["Coordinator", "Agent", "Router"][of as usize - 1])
                })
                .collect();
            if role == "None" && machines.is_empty() {
                return Err(format!("{name} can be called by nobody").into());
            }
            let audited = said.get_field_by_name("audited").and_then(|said| said.as_bool());
            writeln!(
                rows,
                "    \"/{}/{}\" => Some(Access {{ role: {role}, machines: &[{}], audited: {}, \
                 streams: {} }}),",
                service.full_name(),
                method.name(),
                machines.join(", "),
                audited.unwrap_or_default(),
                method.is_client_streaming(),
            )?;
        }
    }
    rows.push_str("    _ => None,\n}\n");
    Ok(rows)
}

fn number(message: &DynamicMessage, field: &str) -> usize {
    let number = message.get_field_by_name(field).and_then(|value| value.as_enum_number());
    number.map_or(0, |number| number as usize)
}
