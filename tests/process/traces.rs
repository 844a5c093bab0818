//! One trace a migration, as a collector sees it. Only with the feature `otlp`.

use crate::harness::steps::step;
use crate::harness::{Cluster, Shape, soon};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use proto::admin::v1 as pb;
use proto::faults::v1::Step;
use std::collections::BTreeSet;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};
use uuid::Uuid;

/// Most requests that wait to be looked at.
const REQUESTS: usize = 1_024;

struct Collector(mpsc::Sender<ExportTraceServiceRequest>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.send(request.into_inner()).await.map_err(|_| Status::unavailable("it is over"))?;
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

/// A collector, where it is reached, and what it gets.
async fn collector() -> (&'static str, mpsc::Receiver<ExportTraceServiceRequest>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("it is bound");
    let (sender, requests) = mpsc::channel(REQUESTS);
    let service = TraceServiceServer::new(Collector(sender));
    let serving = Server::builder().add_service(service);
    tokio::spawn(serving.serve_with_incoming(TcpListenerStream::new(listener)));
    (Box::leak(format!("http://{address}").into_boxed_str()), requests)
}

fn of(resource: &Resource, key: &str) -> String {
    let value = resource.attributes.iter().find(|attribute| attribute.key == key);
    match value.and_then(|attribute| attribute.value.as_ref()?.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        other => panic!("{key}: {other:?}"),
    }
}

/// Everything of this trace up to and with its root: of which service each step is told.
async fn trace(
    requests: &mut mpsc::Receiver<ExportTraceServiceRequest>,
    id: &[u8],
) -> Vec<(String, Span)> {
    let mut told: Vec<(String, Span)> = Vec::new();
    let is_whole = |told: &[(String, Span)]| {
        let has = |service: &str| told.iter().any(|(told, _)| told == service);
        told.iter().any(|(_, span)| span.parent_span_id.is_empty()) && has("palisade-replica")
    };
    while !is_whole(&told) {
        let request = requests.recv().await.expect("the collector serves");
        for all in request.resource_spans {
            let service = of(all.resource.as_ref().expect("who tells"), "service.name");
            let spans = all.scope_spans.into_iter().flat_map(|scope| scope.spans);
            let spans = spans.filter(|span| span.trace_id == id);
            told.extend(spans.map(|span| (service.clone(), span)));
        }
    }
    told
}

/// The leader is killed in the midst of a move: another one ends the move, and it is one trace
/// with every stage, and the stream below the stage that ordered it.
#[tokio::test(flavor = "multi_thread")]
async fn a_migration_is_one_trace_also_when_its_leader_goes() {
    let (url, mut requests) = collector().await;
    let flags: &'static [&'static str] = Box::leak(Box::new(["--otlp-endpoint", url]));
    let shape = Shape { coordinators: 3, profile: "standard", flags, ..Shape::default() };
    let mut cluster = Cluster::start_as(shape).await;
    let tablets = cluster.create_table("orders", 1).await;
    let has: Vec<String> = tablets[0].replicas.iter().map(|one| one.node.clone()).collect();
    let free = (1..=4).map(|n| format!("n{n}")).find(|n| !has.contains(n)).expect("one is free");
    let at = step(&free, tablets[0].id, Step::Pull);
    cluster.hold(&at).await;
    let id = cluster.migrate(&tablets[0], &has[0], &free).await;
    cluster.held(&at).await;
    let names = cluster.coordinators();
    let leader = cluster.leader(&names).await;
    cluster.kill(&leader);
    cluster.let_go(&at).await;
    let ended = cluster.ended(&id).await;
    assert_eq!(ended.state(), pb::MigrationState::Done, "{ended:#?}");

    let trace_id = id.parse::<Uuid>().expect("a UUID").into_bytes();
    let told = soon("the trace", trace(&mut requests, &trace_id)).await;
    let roots = told.iter().filter(|(_, span)| span.parent_span_id.is_empty());
    let [(_, root)] = roots.collect::<Vec<_>>()[..] else { panic!("one root: {told:#?}") };
    assert_eq!(root.name, "migrate");
    let stages = told.iter().filter(|(_, span)| span.parent_span_id == root.span_id);
    let stages: Vec<&Span> = stages.map(|(_, span)| span).collect();
    let names: Vec<String> = stages.iter().map(|span| span.name.clone()).collect();
    let recorded = ended.stages.iter().map(|stage| stage.stage().as_str_name().to_lowercase());
    let recorded: Vec<String> =
        recorded.map(|name| name.trim_start_matches("stage_").to_owned()).collect();
    assert_eq!(names, recorded, "each once, in order");
    let ids: BTreeSet<&[u8]> = told.iter().map(|(_, span)| span.span_id.as_slice()).collect();
    assert_eq!(ids.len(), told.len(), "{told:#?}");
    let streams = told.iter().filter(|(service, _)| service == "palisade-replica");
    for (_, stream) in streams {
        let stage = stages.iter().find(|stage| stage.span_id == stream.parent_span_id);
        assert_eq!(stage.map(|stage| stage.name.as_str()), Some("streaming"), "{stream:#?}");
    }
}
