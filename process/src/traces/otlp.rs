//! Steps sent to a collector, by OTLP over gRPC.

use super::{Span, Step};
use clap::Args;
use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{
    BatchSpanProcessor, SpanData, SpanEvents, SpanLinks, SpanProcessor as _,
};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tonic::codegen::http::Uri;

/// How long the end of a process waits for its last steps to be sent.
const LAST_STEPS: Duration = Duration::from_secs(3);

/// Where steps go. As global as where the logs go.
static SENDER: OnceLock<Arc<BatchSpanProcessor>> = OnceLock::new();

/// Where traces go.
#[derive(Debug, Clone, Args)]
pub struct TraceArgs {
    /// Send traces to this collector, by OTLP over gRPC; for example http://127.0.0.1:4317.
    #[arg(
        long,
        env = "OTEL_EXPORTER_OTLP_ENDPOINT",
        value_name = "URL",
        value_parser = endpoint
    )]
    otlp_endpoint: Option<String>,
}

fn endpoint(url: &str) -> Result<String, String> {
    match url.parse::<Uri>() {
        Ok(uri) if uri.scheme().is_some() && uri.host().is_some() => Ok(url.to_owned()),
        Ok(_) => Err("it needs a scheme and a host, such as http://127.0.0.1:4317".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// The sending of this process' steps; to be ended before the process is.
#[derive(Debug)]
pub struct Traces(Option<Arc<BatchSpanProcessor>>);

impl TraceArgs {
    /// From here on steps are sent, as `service` on `node`, if there is an endpoint. A collector
    /// that isn't there loses them, and holds nothing up. Needs the runtime.
    pub fn begin(&self, service: &'static str, node: &str) -> Traces {
        let Some(endpoint) = &self.otlp_endpoint else { return Traces(None) };
        let exporter = SpanExporter::builder().with_tonic().with_endpoint(endpoint).build();
        let exporter = match exporter {
            Ok(exporter) => exporter,
            Err(error) => {
                tracing::error!(%endpoint, %error, "no traces are sent");
                return Traces(None);
            }
        };
        let mut sender = BatchSpanProcessor::builder(exporter).build();
        let instance = KeyValue::new("service.instance.id", node.to_owned());
        let resource = Resource::builder().with_service_name(service).with_attribute(instance);
        sender.set_resource(&resource.build());
        Traces(Some(Arc::clone(SENDER.get_or_init(|| Arc::new(sender)))))
    }
}

impl Traces {
    /// Sends what is left, for at most three seconds.
    pub async fn end(self) {
        let Some(sender) = self.0 else { return };
        let ending = move || sender.shutdown_with_timeout(LAST_STEPS);
        if let Ok(Err(error)) = tokio::task::spawn_blocking(ending).await {
            tracing::warn!(%error, "the last steps of traces were not sent");
        }
    }
}

/// Tells of a step. It is made only if somebody hears it.
pub fn tell(span: impl FnOnce() -> Span) {
    if let Some(sender) = SENDER.get() {
        sender.on_end(data(span()));
    }
}

fn data(span: Span) -> SpanData {
    let Step { migration, parent, id } = span.step;
    let context = SpanContext::new(
        TraceId::from_bytes(migration),
        SpanId::from_bytes(id.to_be_bytes()),
        TraceFlags::SAMPLED,
        false,
        TraceState::NONE,
    );
    let parent = parent.map_or(SpanId::INVALID, |id| SpanId::from_bytes(id.to_be_bytes()));
    let facts = span.facts.into_iter().map(|(key, value)| KeyValue::new(key, value));
    SpanData {
        span_context: context,
        parent_span_id: parent,
        parent_span_is_remote: true,
        span_kind: SpanKind::Internal,
        name: span.name.into(),
        start_time: span.began,
        end_time: span.ended.max(span.began),
        attributes: facts.collect(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: span.failure.map_or(Status::Unset, Status::error),
        instrumentation_scope: InstrumentationScope::builder("palisade").build(),
    }
}
