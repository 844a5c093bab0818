//! Snapshot files and what a restore has made.

use coordinator::backup::{Contents, Place, Restored};
use migrations::id::TabletId;
use migrations::state::State;
use proto::admin::v1::DropOrphanRequest;
use proto::types::v1 as pb;

fn lines(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    rows.iter().map(|(name, value)| format!("{name:width$}  {value}\n")).collect()
}

fn in_transition(state: &State) -> usize {
    state.tablets.values().filter(|tablet| tablet.transition.is_some()).count()
}

/// What is in a file.
pub(crate) fn contents(contents: &Contents) -> String {
    let state = &contents.state;
    let cluster = state.cluster.map_or_else(|| "none".to_owned(), |id| id.to_string());
    let names = |names: &mut dyn Iterator<Item = &String>| {
        names.map(String::as_str).collect::<Vec<_>>().join(" ")
    };
    lines(&[
        ("cluster", cluster),
        ("era", state.version.era().to_string()),
        ("version", state.version.to_string()),
        ("feature level", state.feature_level.to_string()),
        ("digest", contents.digest.clone()),
        ("size", format!("{} bytes", contents.bytes)),
        ("coordinators", contents.coordinators.join(" ")),
        ("nodes", names(&mut state.nodes.values().map(|node| &node.name))),
        ("tables", names(&mut state.tables.values().map(|table| &table.name))),
        ("tablets", state.tablets.len().to_string()),
        ("migrations", in_transition(state).to_string()),
    ])
}

/// What a restore has made, and what is to be done next.
pub(crate) fn restored(restored: &Restored, place: &Place) -> String {
    let (cluster, version) = (restored.cluster, restored.state.version);
    let saved = restored.from.state.version;
    let mut text = lines(&[
        ("cluster", format!("{cluster}  (new)")),
        ("era", version.era().to_string()),
        ("restored", format!("version {saved}, which is {version} here")),
        ("nodes", format!("{}; none is admitted", restored.state.nodes.len())),
        ("tablets", restored.state.tablets.len().to_string()),
        ("turned back", format!("{} migrations", restored.turned_back)),
    ]);
    let (data, name) = (place.data.display(), &place.name);
    text.push_str(&format!(
        "\nnext:  palisade coordinator --data {data} --name {name}\n\
         then, for each node, while its agent is stopped:\n       \
         palisade replica adopt --cluster {cluster} --data DIR\n"
    ));
    text
}

/// The copy that is named `NODE/TABLET/COPY`, as `orphans` lists it.
pub(crate) fn parse_orphan(text: &str) -> Option<DropOrphanRequest> {
    let mut parts = text.rsplitn(3, '/');
    let (copy, tablet, node) = (parts.next()?, parts.next()?, parts.next()?);
    let id = |tablet: TabletId| tablet.as_u64();
    // As a number of the wire, or as people write it.
    let tablet = tablet.parse().ok().or_else(|| tablet.parse().ok().map(id));
    let tablet = tablet.filter(|tablet| *tablet > 0)?;
    let (era, counter) = copy.split_once('.').unwrap_or(("0", copy));
    let copy = pb::TopologyVersion { era: era.parse().ok()?, counter: counter.parse().ok()? };
    Some(DropOrphanRequest {
        node: node.to_owned(),
        tablet,
        copy: Some(copy),
        ..Default::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_orphan_is_named_as_it_is_listed() {
        let orphan = |tablet| {
            let copy = Some(pb::TopologyVersion { era: 7, counter: 42 });
            Some(DropOrphanRequest { node: "n/1".into(), tablet, copy, ..Default::default() })
        };
        assert_eq!(parse_orphan("n/1/17/7.42"), orphan(17));
        assert_eq!(parse_orphan("n/1/3.17/7.42"), orphan((3 << 32) | 17));
        for wrong in ["", "n1", "n1/17", "n1/x/1", "n1/0/1", "n1/1/1.x"] {
            assert_eq!(parse_orphan(wrong), None, "{wrong}");
        }
    }
}
