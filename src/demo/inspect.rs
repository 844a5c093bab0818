//! What each replica holds in the end, asked of each agent by itself: no router, no majority.

use super::Demo;
use crate::checker::{Copy, Line, mark};
use anyhow::Context;
use bytes::Bytes;
use proto::admin::v1 as pb;
use proto::data::v1::data_service_client::DataServiceClient;
use proto::data::v1::{RequestHeader, ScanRequest};
use proto::faults::v1::ListCopiesRequest;
use proto::faults::v1::fault_service_client::FaultServiceClient;
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};

/// Rows that an agent is asked for at a time.
const PAGE_ROWS: u32 = 1_000;
/// Bytes of a page.
const PAGE_BYTES: u32 = 1 << 20;
/// A page takes no longer than this.
const PAGE_DEADLINE: Duration = Duration::from_secs(30);
/// Bytes of the hash in front of the key in a position.
const HASH_BYTES: usize = 8;

impl Demo {
    /// The plain connection to a port of an agent.
    fn channel(&self, address: &str) -> anyhow::Result<Channel> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
        Ok(self.cluster.dial_agents().lazy(&endpoint))
    }

    /// The fault switches of an agent.
    pub(super) fn faults(&self, agent: &str) -> anyhow::Result<FaultServiceClient<Channel>> {
        let address = self.cluster.agent(agent)?.address("stream")?;
        Ok(FaultServiceClient::new(self.channel(&address)?))
    }

    /// Records all rows of all replicas.
    pub(super) async fn record_rows(&self, tablets: &[pb::Tablet]) -> anyhow::Result<()> {
        let cluster = self.admin.status().await?.cluster_id;
        let cluster = Bytes::copy_from_slice(uuid::Uuid::parse_str(&cluster)?.as_bytes());
        let known = self.admin.list_nodes().await?;
        for tablet in tablets {
            let nodes: Vec<String> = tablet.replicas.iter().map(|r| r.node.clone()).collect();
            for node in known.iter().filter(|node| nodes.contains(&node.name)) {
                let what = || format!("reading {} on {}", tablet.name, node.name);
                self.record_replica(&cluster, tablet, node).await.with_context(what)?;
            }
            self.recorder.add(Line::Replicas(tablet.id, nodes)).await?;
        }
        Ok(())
    }

    async fn record_replica(
        &self,
        cluster: &Bytes,
        tablet: &pb::Tablet,
        node: &pb::Node,
    ) -> anyhow::Result<()> {
        let address = self.cluster.agent(&node.name)?.address("data")?;
        let mut agent = DataServiceClient::new(self.channel(&address)?)
            .max_decoding_message_size(2 * PAGE_BYTES as usize);
        let mut start = Bytes::new();
        loop {
            let header = RequestHeader {
                cluster_id: cluster.clone(),
                tablet: tablet.id,
                version: tablet.version,
                clock: 0,
                node: node.id,
            };
            let mut request = tonic::Request::new(ScanRequest {
                header: Some(header),
                start,
                limit_rows: PAGE_ROWS,
                limit_bytes: PAGE_BYTES,
            });
            request.set_timeout(PAGE_DEADLINE);
            let page = agent.scan(request).await?.into_inner();
            let Some(last) = page.rows.last() else { break };
            start = [&last.position, &[0][..]].concat().into();
            for row in page.rows {
                let key = row.position.get(HASH_BYTES..).context("a position without a key")?;
                let version = row.version.context("a row without a version")?;
                let router: String = version.router.iter().map(|b| format!("{b:02x}")).collect();
                let copy = Copy {
                    tablet: tablet.id,
                    node: node.name.clone(),
                    key: String::from_utf8_lossy(key).into_owned(),
                    timestamp: (version.time, router),
                    value: version.value.as_deref().map(mark),
                };
                self.recorder.add(Line::Copy(copy)).await?;
            }
            if !page.more {
                break;
            }
        }
        self.recorder.add(Line::Read(tablet.id, node.name.clone())).await
    }

    /// Records what the replicas of a tablet say of themselves.
    pub(super) async fn record_digests(&self, tablet: &pb::Tablet) -> anyhow::Result<()> {
        for digest in &tablet.digests {
            // One that could not say agrees with none.
            let sum = if digest.error.is_empty() { digest.sum.clone() } else { String::new() };
            self.recorder.add(Line::Digest(tablet.id, digest.node.clone(), sum)).await?;
        }
        Ok(())
    }

    /// Records of which tablets data lies on which agent.
    pub(super) async fn record_copies(&self) -> anyhow::Result<()> {
        for agent in self.cluster.agents() {
            let asked = self.faults(agent.name())?.list_copies(ListCopiesRequest {}).await;
            let copies = asked.with_context(|| agent.name().to_owned())?.into_inner().copies;
            let tablets = copies.into_iter().map(|copy| copy.tablet).collect();
            self.recorder.add(Line::Held(agent.name().to_owned(), tablets)).await?;
        }
        Ok(())
    }
}
