//! Which name has which number: each field, value and method of the packages, with its kind. Clients
//! that go by reflection, and scripts over what they print, go by names; and of two fields of one
//! kind whose numbers are swapped the bytes are the same.
//!
//! What is new gets its line in the file beside this one by hand, from what the test says there is.

use super::{packages, pool};
use palisade_proto::FILE_DESCRIPTOR_SET;
use prost::Message as _;
use prost_reflect::{DescriptorPool, FieldDescriptor, Kind, MethodDescriptor};
use prost_types::field_descriptor_proto::Type;
use prost_types::{FieldDescriptorProto, FileDescriptorSet};

/// `name number kind` of a field, `name number` of a value, `name input output` of a method.
const NAMES: &str = include_str!("names.txt");

fn field(field: &FieldDescriptor) -> String {
    let kind = match field.kind() {
        Kind::Message(of) => of.full_name().to_owned(),
        Kind::Enum(of) => of.full_name().to_owned(),
        scalar => format!("{scalar:?}"),
    };
    let oneof = field.containing_oneof().map(|oneof| format!(" one of {}", oneof.name()));
    let (list, oneof) = (if field.is_list() { " list" } else { "" }, oneof.unwrap_or_default());
    format!("{} {} {kind}{list}{oneof}", field.full_name(), field.number())
}

fn method(method: &MethodDescriptor) -> String {
    let streams = |on| if on { "stream " } else { "" };
    let (asks, says) = (method.is_client_streaming(), method.is_server_streaming());
    let (input, output) = (method.input(), method.output());
    let (input, output) = (input.full_name(), output.full_name());
    format!("{} {}{input} {}{output}", method.full_name(), streams(asks), streams(says))
}

/// A line for each name, in order.
fn lines(pool: &DescriptorPool) -> Vec<String> {
    let packages = packages();
    let is_ours = |package: &str| packages.iter().any(|one| one == package);
    let messages = pool.all_messages().filter(|of| is_ours(of.package_name()));
    let mut lines: Vec<String> =
        messages.flat_map(|of| of.fields().map(|one| field(&one)).collect::<Vec<_>>()).collect();
    for of in pool.all_enums().filter(|of| is_ours(of.package_name())) {
        lines.extend(of.values().map(|one| format!("{} {}", one.full_name(), one.number())));
    }
    for of in pool.services().filter(|of| is_ours(of.package_name())) {
        lines.extend(of.methods().map(|one| method(&one)));
    }
    lines.sort();
    lines
}

#[test]
fn each_name_keeps_its_number_and_its_kind() {
    let (lines, known) = (lines(&pool()), NAMES.lines().collect::<Vec<_>>());
    let is_new: Vec<&String> = lines.iter().filter(|one| !known.contains(&&***one)).collect();
    let gone: Vec<&&str> = known.iter().filter(|one| !lines.iter().any(|l| l == **one)).collect();
    assert!(is_new.is_empty() && gone.is_empty(), "there is: {is_new:#?}, known: {gone:#?}");
    assert_eq!(lines.len(), known.len(), "a line stands there twice");
}

/// Two fields of one kind that have each other's number, or one that has another kind, are seen.
#[test]
fn control_numbers_that_are_swapped_and_another_kind_are_seen() {
    let bent = |bend: &dyn Fn(&mut [FieldDescriptorProto])| {
        let mut set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).expect("what was compiled");
        let admin = set.file.iter_mut().filter(|file| file.package() == "palisade.admin.v1");
        let mut messages = admin.flat_map(|file| file.message_type.iter_mut());
        let request = messages.find(|of| of.name() == "MigrateRequest").expect("a request");
        bend(&mut request.field);
        lines(&DescriptorPool::from_file_descriptor_set(set).expect("they go together"))
    };
    let named = |fields: &[FieldDescriptorProto], name: &str| {
        fields.iter().position(|field| field.name() == name).expect("a field")
    };
    let swapped = bent(&|fields| {
        let (from, to) = (named(fields, "from"), named(fields, "to"));
        let number = fields[from].number;
        fields[from].number = fields[to].number;
        fields[to].number = number;
    });
    let retyped = bent(&|fields| {
        let from = named(fields, "from");
        fields[from].set_type(Type::Bytes);
    });
    let known = lines(&pool());
    assert_eq!(bent(&|_| {}), known);
    assert_ne!(swapped, known);
    assert_ne!(retyped, known);
}
