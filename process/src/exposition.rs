//! Metrics as text: OpenMetrics as it is written, Prometheus' older form for those who don't ask
//! for it, and what the rules for names say of either.

use prometheus_client::encoding::text;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::collections::BTreeSet;

/// The content type of OpenMetrics.
pub const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// The content type of Prometheus' own text.
pub const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";
/// What all names begin with.
pub const PREFIX: &str = "palisade_";

/// All metrics of a registry as OpenMetrics text.
pub(crate) fn encode(registry: &Registry) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    text::encode(&mut text, registry)?;
    Ok(text)
}

/// OpenMetrics text in Prometheus' older form: counters bear their `_total` in the head too, and
/// there are no units and no end mark.
pub fn prometheus_text(open: &str) -> String {
    let counters: BTreeSet<&str> = open
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter"))
        .collect();
    let mut text = String::with_capacity(open.len());
    for line in open.lines() {
        if line.starts_with("# UNIT ") || line == "# EOF" {
            continue;
        }
        let head = ["# HELP ", "# TYPE "].into_iter().find(|head| line.starts_with(head));
        let named = head.and_then(|head| Some((head, line[head.len()..].split_once(' ')?)));
        match named {
            Some((head, (name, rest))) if counters.contains(name) => {
                text.extend([head, name, "_total ", rest]);
            }
            _ => text.push_str(line),
        }
        text.push('\n');
    }
    text
}

/// One metric with all its series, as it stands in Prometheus' text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Described {
    /// Its name, `_total` included.
    pub name: String,
    /// `counter`, `gauge` or `histogram`.
    pub kind: String,
    /// What it says of itself.
    pub help: String,
    /// The names of its labels, without `le`.
    pub labels: BTreeSet<String>,
    /// How many samples it has.
    pub samples: usize,
}

/// All metrics in Prometheus' text, in order. What is not text of that kind is said by its line.
///
/// # Errors
///
/// The first line that doesn't belong: a sample without a head, a label or number that is none.
pub fn described(text: &str) -> Result<Vec<Described>, String> {
    let mut all: Vec<Described> = Vec::new();
    for line in text.lines() {
        let wrong = || format!("doesn't belong: {line}");
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').ok_or_else(wrong)?;
            all.push(Described {
                name: name.to_owned(),
                kind: String::new(),
                help: help.to_owned(),
                labels: BTreeSet::new(),
                samples: 0,
            });
            continue;
        }
        let metric = all.last_mut().ok_or_else(wrong)?;
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').ok_or_else(wrong)?;
            if name != metric.name {
                return Err(wrong());
            }
            metric.kind = kind.to_owned();
            continue;
        }
        let (series, value) = line.rsplit_once(' ').ok_or_else(wrong)?;
        value.parse::<f64>().map_err(|_| wrong())?;
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let suffix = name.strip_prefix(metric.name.as_str()).ok_or_else(wrong)?;
        let suffixes: &[&str] = match metric.kind.as_str() {
            "histogram" => &["_bucket", "_sum", "_count"],
            "counter" | "gauge" => &[""],
            _ => &[],
        };
        if !suffixes.contains(&suffix) {
            return Err(wrong());
        }
        let labels = labels.strip_suffix('}').ok_or_else(wrong)?;
        // No value of a label of ours has a comma or a quote in it.
        for label in labels.split(',').filter(|label| !label.is_empty()) {
            let (label, value) = label.split_once("=\"").ok_or_else(wrong)?;
            value.strip_suffix('"').filter(|value| !value.contains('"')).ok_or_else(wrong)?;
            if label != "le" {
                metric.labels.insert(label.to_owned());
            }
        }
        metric.samples += 1;
    }
    all.sort();
    Ok(all)
}

/// What the rules for metrics have against this text: prefix, help, units, `_total`, labels that
/// have no bound, and series that are not there from the start.
pub fn broken_rules(all: &[Described]) -> Vec<String> {
    let mut broken = Vec::new();
    for Described { name, kind, help, labels, samples } in all {
        let mut rule = |is_kept: bool, rule: &str| {
            if !is_kept {
                broken.push(format!("{name}: {rule}"));
            }
        };
        rule(name.starts_with(PREFIX), "has the prefix");
        rule(!help.trim_end_matches('.').is_empty(), "has help");
        rule(
            (kind == "counter") == name.ends_with("_total"),
            "a counter, and only one, has _total",
        );
        let is_known = ["counter", "gauge", "histogram"].contains(&kind.as_str());
        rule(is_known, "has a type");
        let other_units = ["_ms", "_millis", "_milliseconds", "_us", "_minutes", "_kb", "_mb"];
        let base = name.trim_end_matches("_total");
        rule(!other_units.iter().any(|unit| base.ends_with(unit)), "is in base units");
        let has_unit = ["_seconds", "_bytes", "_commands"].iter().any(|unit| base.ends_with(unit));
        rule(kind != "histogram" || has_unit, "a histogram says what it measures");
        let is_lower = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        rule(name.chars().all(is_lower), "is in lower case");
        let unbounded = ["tablet", "session", "migration", "key", "peer", "version"];
        let is_bounded = labels.iter().all(|label| !unbounded.contains(&label.as_str()));
        rule(is_bounded || name == "palisade_build_info", "its labels have a bound");
        rule(*samples > 0, "its series are there from the start");
    }
    broken
}

/// The rows of a table of metrics in a document: name, type and labels, in order.
pub fn documented(document: &str, heading: &str) -> Vec<(String, String, String)> {
    let section = document.split(heading).nth(1).unwrap_or_default();
    let section = section.split("\n#").next().unwrap_or_default();
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let plain = |cell: &str| cell.replace('`', "");
        let name = plain(cells.first()?);
        name.starts_with(PREFIX).then_some(())?;
        Some((name, plain(cells.get(1)?), plain(cells.get(2)?)))
    };
    let mut rows: Vec<_> = section.lines().filter_map(row).collect();
    rows.sort();
    rows
}

/// The same rows of what is served.
pub fn served(all: &[Described]) -> Vec<(String, String, String)> {
    let row = |metric: &Described| {
        let labels: Vec<&str> = metric.labels.iter().map(String::as_str).collect();
        (metric.name.clone(), metric.kind.clone(), labels.join(", "))
    };
    let mut rows: Vec<_> = all.iter().map(row).collect();
    rows.sort();
    rows
}

/// An empty registry for a process: with our prefix, and with what says which build it is.
pub fn registry(version: &'static str) -> Registry {
    let mut registry = Registry::with_prefix(PREFIX.trim_end_matches('_'));
    let build: Family<[(&'static str, &'static str); 1], Gauge> = Family::default();
    build.get_or_create(&[("version", version)]).set(1);
    registry.register("build_info", "Which build this is; always 1", build);
    registry
}
