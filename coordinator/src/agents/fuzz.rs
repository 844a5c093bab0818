//! Arbitrary bytes against the greeting of an agent, which comes before anybody knows who it is.

use super::inbound::greeting;
use palisade_fuzz::target;
use prost::Message;
use proto::agent::v1 as pb;
use proto::types::v1::TopologyVersion;

/// What is taken says as much as the message did: no id, token or copy is lost or made up.
fn hello(bytes: &[u8]) {
    let Ok(hello) = pb::Hello::decode(bytes) else { return };
    let said = hello.clone();
    let Ok(greeting) = greeting(hello) else { return };
    assert_eq!(greeting.cluster.is_none(), said.cluster_id.is_empty());
    assert_eq!(greeting.is_living, said.living);
    let admit = greeting.admit;
    assert_eq!(admit.held_tokens.len(), said.held_tokens.len());
    assert_eq!(admit.token.as_uuid().as_bytes().as_slice(), said.token.as_ref());
    assert_eq!(admit.directory.as_uuid().as_bytes().as_slice(), said.directory_id.as_ref());
    assert_eq!(admit.known_incarnation.map(|known| known.0.into()), said.incarnation);
    let lost = admit.lost.iter().map(|(tablet, copy)| (tablet.as_u64(), Some(copy.0.into())));
    assert!(lost.eq(said.lost.iter().map(|lost| (lost.tablet, lost.copy))));
    assert!(admit.fresh.is_empty(), "fresh sessions are the coordinator's");
}

fn hellos() -> Vec<Vec<u8>> {
    let id = |n: u8| bytes::Bytes::from(vec![n; 16]);
    let version = Some(TopologyVersion { era: 1_790_000_000, counter: 4 });
    let fresh = pb::Hello {
        node_name: "n1".into(),
        directory_id: id(1),
        token: id(2),
        boot_id: "b".into(),
        lock_device: 1,
        lock_inode: u64::MAX,
        data_address: "n1:1".into(),
        stream_address: "n1:2".into(),
        rack: "r1".into(),
        feature_level: 1,
        ..pb::Hello::default()
    };
    let known = pb::Hello {
        cluster_id: id(7),
        incarnation: version,
        held_tokens: vec![id(3), id(4)],
        lost: vec![pb::Lost { tablet: 9, copy: version }],
        living: true,
        ..fresh.clone()
    };
    [fresh, known].iter().map(Message::encode_to_vec).collect()
}

target!(a_greeting, hello, hellos);
