//! Who may call what, a line for each method. The table is made of the methods' options, and so is
//! every other test of it: a word too many in an option is seen here alone.
//!
//! A method that is new, or is for others, gets its line in the file beside this one by hand.

use palisade_proto::FILE_DESCRIPTOR_SET;
use palisade_proto::access::{Access, FOREIGN_SERVICES, access};
use prost_reflect::DescriptorPool;

/// `path messages role machines`, and `audited`, a line each.
const GOLDEN: &str = include_str!("golden.txt");

fn line(path: &str) -> String {
    let said = access(path).expect("each method says who may call it");
    let Access { role, machines, audited, streams } = said;
    let role = role.map_or("-".to_owned(), |role| format!("{role:?}").to_lowercase());
    let machines: Vec<String> =
        machines.iter().map(|machine| format!("{machine:?}").to_lowercase()).collect();
    let machines = if machines.is_empty() { "-".to_owned() } else { machines.join(",") };
    let messages = if streams { "many" } else { "one" };
    let audited = if audited { " audited" } else { "" };
    format!("{path} {messages} {role} {machines}{audited}")
}

#[test]
fn each_method_is_for_those_for_whom_it_always_was() {
    let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).expect("what was compiled");
    let mut lines: Vec<String> = FOREIGN_SERVICES.map(|name| line(&format!("/{name}/Any"))).into();
    for service in pool.services() {
        let path = |name: &str| format!("/{}/{name}", service.full_name());
        lines.extend(service.methods().map(|method| line(&path(method.name()))));
    }
    lines.sort();
    let written: Vec<&str> = GOLDEN.lines().collect();
    let differ: Vec<&String> = lines.iter().filter(|line| !written.contains(&&***line)).collect();
    assert!(differ.is_empty(), "these are not in the file:\n{differ:#?}");
    let gone: Vec<&&str> =
        written.iter().filter(|line| !lines.iter().any(|one| one == **line)).collect();
    assert!(gone.is_empty(), "these are in the file only:\n{gone:#?}");
}
