//! The form on the wire, byte by byte, of what servers, routers and clients say to each other: every
//! message of a package, with every field, alternative and value of it. Two builds speak to each
//! other while a cluster is upgraded, and clients are older or newer than it: a field that changes
//! its number or its kind is another protocol, whatever the types say.
//!
//! A message that is new, or has a new field, gets its line in the file beside this one by hand, from
//! what the test says was written.
//!
//! Not here: names, and which number is whose (`names`); what is stored (`tests/storage`).

mod names;

use palisade_proto::{FILE_DESCRIPTOR_SET, admin, agent, data, raft, stream};
use prost::Message;
use prost::bytes::Bytes;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value,
};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// `name variant bytes`, a line each.
const GOLDEN: &str = include_str!("golden.txt");

const PACKAGES: [&str; 6] = ["admin", "agent", "data", "raft", "stream", "types"];

/// The packages of [`PACKAGES`], by their whole names.
fn packages() -> [String; 6] {
    PACKAGES.map(|package| format!("palisade.{package}.v1"))
}

fn pool() -> DescriptorPool {
    DescriptorPool::decode(FILE_DESCRIPTOR_SET).expect("what was compiled")
}

/// The alternative that a field is one of; `None` of a field for itself.
fn alternatives(field: &FieldDescriptor) -> Option<Vec<u32>> {
    let oneof = field.containing_oneof().filter(|oneof| !oneof.is_synthetic())?;
    Some(oneof.fields().map(|one| one.number()).collect())
}

/// How many examples it takes to show each alternative and each value of an enumeration.
fn variants(message: &MessageDescriptor) -> usize {
    let of_field = |field: FieldDescriptor| match field.kind() {
        Kind::Enum(of) => of.values().len(),
        _ => alternatives(&field).map_or(1, |all| all.len()),
    };
    message.fields().map(of_field).max().unwrap_or(1)
}

/// A value that tells the field that has it.
fn value(field: &FieldDescriptor, variant: usize) -> Value {
    let number = field.number();
    match field.kind() {
        Kind::Bool => Value::Bool(true),
        Kind::Uint32 => Value::U32(0x100 + number),
        Kind::Uint64 => Value::U64(0x1_0000_0000 + u64::from(number)),
        Kind::Sint64 => Value::I64(-0x1_0000_0000 - i64::from(number)),
        Kind::String => Value::String(field.name().to_owned()),
        Kind::Bytes => Value::Bytes(Bytes::from(number.to_be_bytes().to_vec())),
        Kind::Message(of) => Value::Message(example(&of, 0)),
        Kind::Enum(of) => {
            let value = of.values().nth(variant % of.values().len());
            Value::EnumNumber(value.expect("there is one").number())
        }
        other => panic!("{}: no example of {other:?} yet", field.full_name()),
    }
}

/// A message with all its fields, and with one of the alternatives.
fn example(of: &MessageDescriptor, variant: usize) -> DynamicMessage {
    let mut message = DynamicMessage::new(of.clone());
    for field in of.fields() {
        if let Some(all) = alternatives(&field)
            && all[variant % all.len()] != field.number()
        {
            continue;
        }
        let one = value(&field, variant);
        let is_list = field.is_list();
        message.set_field(&field, if is_list { Value::List(vec![one]) } else { one });
    }
    message
}

/// Each message of the packages in each variant, by its name, as it is written.
fn written() -> BTreeMap<(String, usize), Vec<u8>> {
    let mut written = BTreeMap::new();
    let packages = packages();
    let is_ours = |of: &MessageDescriptor| packages.iter().any(|p| p == of.package_name());
    for of in pool().all_messages().filter(is_ours) {
        for variant in 0..variants(&of) {
            let bytes = example(&of, variant).encode_to_vec();
            written.insert((of.full_name().to_owned(), variant), bytes);
        }
    }
    written
}

fn line((name, variant): &(String, usize), bytes: &[u8]) -> String {
    let mut line = format!("{name} {variant} ");
    for byte in bytes {
        write!(line, "{byte:02x}").expect("a string takes everything");
    }
    line.trim_end().to_owned()
}

#[test]
fn the_bytes_of_each_message_stay_what_they_are() {
    let lines: Vec<String> = written().iter().map(|(key, bytes)| line(key, bytes)).collect();
    let golden: Vec<&str> = GOLDEN.lines().collect();
    let missing: Vec<&String> = lines.iter().filter(|one| !golden.contains(&&***one)).collect();
    let gone: Vec<&&str> = golden.iter().filter(|one| !lines.iter().any(|l| l == **one)).collect();
    assert!(missing.is_empty() && gone.is_empty(), "written: {missing:#?}, golden: {gone:#?}");
    assert_eq!(lines.len(), golden.len(), "a line stands there twice");
}

/// What the generated types make of the bytes of a message, if it is one that is sent.
fn again(name: &str, bytes: &[u8]) -> Option<Vec<u8>> {
    macro_rules! sent {
        ($($package:ident: $($message:ident)+;)+) => {
            match name {
                $($(
                    concat!("palisade.", stringify!($package), ".v1.", stringify!($message)) => {
                        let read = $package::v1::$message::decode(bytes);
                        Some(read.unwrap_or_else(|e| panic!("{name}: {e}")).encode_to_vec())
                    }
                )+)+
                _ => None,
            }
        };
    }
    sent! {
        agent: AttachRequest AttachResponse RenewLeaseRequest RenewLeaseResponse;
        stream: PullRequest PullResponse GetOutcomeRequest GetOutcomeResponse;
        raft: IdentifyRequest IdentifyResponse AppendRequest AppendResponse VoteRequest VoteResponse
            TransferLeaderRequest TransferLeaderResponse InstallSnapshotRequest
            InstallSnapshotResponse ReadIndexRequest ReadIndexResponse AnnounceRequest
            AnnounceResponse;
        data: PutRequest PutResponse DeleteRequest DeleteResponse GetRequest GetResponse ScanRequest
            ScanResponse;
        admin: AcceptDataLossRequest AcceptDataLossResponse AddMemberRequest AddMemberResponse
            AddReplicaRequest AddReplicaResponse CancelMigrationRequest CancelMigrationResponse
            CreateTableRequest CreateTableResponse DisableBalancingRequest DisableBalancingResponse
            DrainNodeRequest DrainNodeResponse DropOrphanRequest DropOrphanResponse
            DropTableRequest DropTableResponse EnableBalancingRequest EnableBalancingResponse
            GetBalanceStatusRequest GetBalanceStatusResponse GetMigrationRequest
            GetMigrationResponse GetNodeRequest GetNodeResponse GetSettingsRequest
            GetSettingsResponse GetStatusRequest GetStatusResponse GetTableRequest GetTableResponse
            GetTabletRequest GetTabletResponse IntroduceRequest IntroduceResponse
            KillConnectionRequest KillConnectionResponse ListBarriersRequest ListBarriersResponse
            ListMigrationsRequest ListMigrationsResponse ListNodesRequest ListNodesResponse
            ListOrphansRequest ListOrphansResponse ListTablesRequest ListTablesResponse
            ListTabletsRequest ListTabletsResponse MigrateRequest MigrateResponse PauseRequest
            PauseResponse PlanBalanceRequest PlanBalanceResponse PurgeTabletRequest
            PurgeTabletResponse RebuildReplicaRequest RebuildReplicaResponse RemoveMemberRequest
            RemoveMemberResponse RemoveNodeRequest RemoveNodeResponse RemoveReplicaRequest
            RemoveReplicaResponse RepairTabletRequest RepairTabletResponse ResumeRequest
            ResumeResponse SaveSnapshotRequest SaveSnapshotResponse SetSettingsRequest
            SetSettingsResponse TransferLeaderRequest TransferLeaderResponse UndrainNodeRequest
            UndrainNodeResponse WatchMigrationsRequest WatchMigrationsResponse WatchTopologyRequest
            WatchTopologyResponse;
    }
}

/// The build's own types read these bytes whole, and write the same; and none that is sent is left
/// out.
#[test]
fn the_types_of_this_build_read_and_write_the_same_bytes() {
    let pool = pool();
    let packages = packages();
    let services = pool.services().filter(|one| packages.iter().any(|p| p == one.package_name()));
    let methods: Vec<_> = services.flat_map(|one| one.methods().collect::<Vec<_>>()).collect();
    let sent: Vec<String> = methods
        .iter()
        .flat_map(|method| [method.input(), method.output()])
        .map(|message| message.full_name().to_owned())
        .collect();
    assert!(sent.len() >= 100, "{sent:?}");
    for ((name, variant), bytes) in written() {
        match again(&name, &bytes) {
            Some(again) => assert_eq!(again, bytes, "{name} {variant}"),
            None => assert!(!sent.contains(&name), "{name} is sent, and not looked at"),
        }
    }
}

/// The look at all of it can fail: another number of one field is another line.
#[test]
fn control_a_field_with_another_number_is_seen() {
    let vote = pool().get_message_by_name("palisade.raft.v1.Vote").expect("it is sent");
    let mut other = example(&vote, 0);
    let (term, candidate) = (vote.get_field(1), vote.get_field(2));
    let (term, candidate) = (term.expect("a term"), candidate.expect("a candidate"));
    let (first, second) =
        (other.get_field(&term).into_owned(), other.get_field(&candidate).into_owned());
    other.set_field(&term, second);
    other.set_field(&candidate, first);
    let key = (vote.full_name().to_owned(), 0);
    let is_golden = |one: &DynamicMessage| {
        let line = line(&key, &one.encode_to_vec());
        GOLDEN.lines().any(|golden| golden == line)
    };
    assert!(is_golden(&example(&vote, 0)));
    assert!(!is_golden(&other));
}
