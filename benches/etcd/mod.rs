//! An etcd of three members on this machine, for comparison: Debian's `etcd-server`, its defaults.
//! And as much of its API as a comparison needs: a put.

use process::free_ports;
use prost::Message;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};

/// `etcdserverpb.PutRequest`, as far as it is used.
#[derive(Clone, PartialEq, Message)]
struct PutRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `etcdserverpb.PutResponse`; nothing of it is looked at.
#[derive(Clone, PartialEq, Message)]
struct PutResponse {}

/// `etcdserverpb.StatusRequest`.
#[derive(Clone, PartialEq, Message)]
struct StatusRequest {}

/// `etcdserverpb.StatusResponse`, as far as it is used.
#[derive(Clone, PartialEq, Message)]
struct StatusResponse {
    #[prost(uint64, tag = "4")]
    leader: u64,
    #[prost(message, optional, tag = "1")]
    header: Option<Header>,
}

/// `etcdserverpb.ResponseHeader`, as far as it is used.
#[derive(Clone, PartialEq, Message)]
struct Header {
    #[prost(uint64, tag = "2")]
    member: u64,
}

/// Three members; killed when it is dropped.
pub(crate) struct Etcd {
    members: Vec<Child>,
    clients: Vec<String>,
}

impl Drop for Etcd {
    fn drop(&mut self) {
        for member in &mut self.members {
            let _ = member.kill();
            let _ = member.wait();
        }
    }
}

type Failed = Box<dyn std::error::Error + Send + Sync>;

impl Etcd {
    /// Whether the program is on this machine.
    pub(crate) fn is_installed() -> bool {
        let found = Command::new("etcd").arg("--version").stdout(Stdio::null()).status();
        found.is_ok_and(|status| status.success())
    }

    /// Starts three members under a directory.
    pub(crate) fn start(directory: &Path) -> Result<Etcd, Failed> {
        let urls = free_ports(6)?.into_iter().map(|address| format!("http://{address}"));
        let mut peers = urls.collect::<Vec<_>>();
        let clients = peers.split_off(3);
        let named = peers.iter().enumerate().map(|(number, peer)| format!("e{number}={peer}"));
        let cluster = named.collect::<Vec<_>>().join(",");
        let mut etcd = Etcd { members: Vec::new(), clients };
        for (number, peer) in peers.iter().enumerate() {
            let client = &etcd.clients[number];
            let log = std::fs::File::create(directory.join(format!("e{number}.log")))?;
            let member = Command::new("etcd")
                .args(["--name", &format!("e{number}"), "--initial-cluster", &cluster])
                .args(["--initial-cluster-state", "new", "--log-level", "error"])
                .args(["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer])
                .args(["--listen-client-urls", client, "--advertise-client-urls", client])
                .arg("--data-dir")
                .arg(directory.join(format!("e{number}")))
                .stdout(Stdio::null())
                .stderr(log)
                .spawn()?;
            etcd.members.push(member);
        }
        Ok(etcd)
    }

    /// A connection to the leader, once there is one.
    pub(crate) async fn leader(&self) -> Result<Channel, Failed> {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
        loop {
            for client in &self.clients {
                if let Ok(channel) = Endpoint::from_shared(client.clone())?.connect().await
                    && leads(channel.clone()).await.unwrap_or(false)
                {
                    return Ok(channel);
                }
            }
            if tokio::time::Instant::now() > deadline {
                return Err("etcd has no leader after 30 s".into());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

async fn leads(channel: Channel) -> Result<bool, Failed> {
    let mut client = Grpc::new(channel);
    client.ready().await?;
    let path = PathAndQuery::from_static("/etcdserverpb.Maintenance/Status");
    let codec = tonic_prost::ProstCodec::<StatusRequest, StatusResponse>::default();
    let status = client.unary(tonic::Request::new(StatusRequest {}), path, codec).await?;
    let status = status.into_inner();
    Ok(status.leader != 0 && status.header.is_some_and(|header| header.member == status.leader))
}

/// Puts one value, which is synced on a majority before the answer.
pub(crate) async fn put(
    channel: Channel,
    key: Vec<u8>,
    value: Vec<u8>,
) -> Result<(), tonic::Status> {
    let mut client = Grpc::new(channel);
    let not_ready = |error: tonic::transport::Error| tonic::Status::unavailable(error.to_string());
    client.ready().await.map_err(not_ready)?;
    let path = PathAndQuery::from_static("/etcdserverpb.KV/Put");
    let codec = tonic_prost::ProstCodec::<PutRequest, PutResponse>::default();
    client.unary(tonic::Request::new(PutRequest { key, value }), path, codec).await.map(drop)
}
