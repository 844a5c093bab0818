//! The tablets: majorities, lost copies, missing replicas, copies that nobody needs.

use super::nodes::is_up;
use super::{Finding, Seen, named, page};
use client::api as pb;
use std::collections::BTreeSet;

/// The nodes that are up, by name.
fn up(seen: &Seen) -> BTreeSet<&str> {
    let nodes = seen.status.as_ref().map_or(&[][..], |status| &status.nodes);
    nodes.iter().filter(|node| is_up(node)).map(|node| node.name.as_str()).collect()
}

/// Of the set that a tablet has now: how many replicas can answer, and how many there are.
fn live(tablet: &pb::Tablet, up: &BTreeSet<&str>) -> (usize, usize) {
    let current = || tablet.replicas.iter().filter(|replica| replica.old);
    let live = current().filter(|replica| !replica.lost && up.contains(replica.node.as_str()));
    (live.count(), current().count())
}

/// Both, or why one could not be had.
fn known(seen: &Seen) -> Result<(&pb::GetStatusResponse, &[pb::Tablet]), &str> {
    match (&seen.status, &seen.tablets) {
        (Ok(status), Ok(tablets)) => Ok((status, tablets)),
        (Err(why), _) | (_, Err(why)) => Err(why),
    }
}

pub(super) fn majorities(seen: &Seen) -> Finding {
    let (_, tablets) = match known(seen) {
        Ok(known) => known,
        Err(why) => return Finding::unknown(why),
    };
    let up = up(seen);
    let without = tablets.iter().filter_map(|tablet| {
        let (live, all) = live(tablet, &up);
        let text = || format!("{} ({live} of {all})", tablet.name);
        (all > 0 && live < all / 2 + 1).then(|| (&tablet.name, text()))
    });
    let (names, found): (Vec<&String>, Vec<String>) = without.unzip();
    match names.first() {
        None => Finding::ok(format!("each of {} tablets has a live majority", tablets.len())),
        Some(first) => Finding::fail(
            format!("no reads and no writes of {}", named(&found)),
            format!("palisade tablet explain {first}; {}", page("MajorityDown")),
        ),
    }
}

pub(super) fn copies(seen: &Seen) -> Finding {
    let (_, tablets) = match known(seen) {
        Ok(known) => known,
        Err(why) => return Finding::unknown(why),
    };
    let lost = tablets.iter().flat_map(|tablet| {
        let lost = tablet.replicas.iter().filter(|replica| replica.lost);
        lost.map(|replica| format!("{} on {}", tablet.name, replica.node))
    });
    let found: Vec<String> = lost.collect();
    match found.is_empty() {
        true => Finding::ok("no copy is lost"),
        false => Finding::fail(
            format!("lost: {}", named(&found)),
            format!("palisade replica-set rebuild; {}", page("CopiesLost")),
        ),
    }
}

pub(super) fn replicas(seen: &Seen) -> Finding {
    let (status, tablets) = match known(seen) {
        Ok(known) => known,
        Err(why) => return Finding::unknown(why),
    };
    let up = up(seen);
    let wanted = |name: &str| {
        let table = status.tables.iter().find(|table| table.name == name && !table.dropping);
        table.map_or(0, |table| table.replication_factor as usize)
    };
    let short = tablets.iter().filter_map(|tablet| {
        let (live, wanted) = (live(tablet, &up).0, wanted(&tablet.table));
        (live < wanted).then(|| format!("{} ({live} of {wanted})", tablet.name))
    });
    let found: Vec<String> = short.collect();
    match found.is_empty() {
        true => Finding::ok("each tablet has as many live replicas as its table wants"),
        false => Finding::warn(
            format!("fewer live replicas than wanted: {}", named(&found)),
            "palisade node list     bring back who is away, or: replica-set rebuild, add",
        ),
    }
}

pub(super) fn orphans(seen: &Seen) -> Finding {
    let found = match &seen.orphans {
        Ok(found) => found,
        Err(why) => return Finding::unknown(why),
    };
    let aside = found.orphans.iter().filter(|copy| copy.aside);
    let aside: Vec<String> =
        aside.map(|copy| format!("tablet {} on {}", copy.tablet, copy.node)).collect();
    if !aside.is_empty() {
        let text = format!("set aside after a restore: {}", named(&aside));
        return Finding::warn(text, "palisade node orphans; OPERATIONS.md, Backup and restore");
    }
    let unknown: Vec<String> =
        found.unknown.iter().map(|one| format!("{}: {}", one.node, one.why)).collect();
    if !unknown.is_empty() {
        let text = format!("what they hold is not known: {}", named(&unknown));
        return Finding::warn(text, "palisade node orphans     once they are attached");
    }
    Finding::ok(match found.orphans.len() {
        0 => "no copy is where it does not belong".to_owned(),
        some => format!("{some} copies are about to be dropped"),
    })
}
