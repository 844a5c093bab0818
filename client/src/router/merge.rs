//! Putting the answers of a majority together: the newest version of each row wins.

use super::attempt::{Answer, Page};
use migrations::position::Position;
use migrations::row::RowVersion;
use std::collections::BTreeMap;

/// The newest version of a row among the answers, be it a tombstone.
pub(crate) fn newest(answers: Vec<Answer>) -> Option<RowVersion> {
    let rows = answers.into_iter().filter_map(|answer| match answer {
        Answer::Row(row) => row,
        Answer::Written | Answer::Page(_) => None,
    });
    rows.reduce(|newest, row| if row.supersedes(&newest) { row } else { newest })
}

/// Rows that a majority has told of in full, and how far that reaches.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct MergedPage {
    /// Each with its newest version, tombstones too, in order.
    pub(crate) rows: Vec<(Position, RowVersion)>,
    /// Up to and with this position everything is told; `None`: to the end of the tablet.
    pub(crate) upto: Option<Position>,
}

/// Merges pages that all begin at one position. Behind the last row of a page that was cut off,
/// its replica may hold a newer version of what another one shows: so only rows up to the least
/// of these ends are given.
pub(crate) fn merge_pages(answers: Vec<Answer>) -> MergedPage {
    let pages: Vec<Page> = answers
        .into_iter()
        .filter_map(|answer| match answer {
            Answer::Page(page) => Some(page),
            Answer::Written | Answer::Row(_) => None,
        })
        .collect();
    let end = |page: &Page| page.rows.last().map(|(position, _)| position.clone());
    let upto = pages.iter().filter(|page| page.more).filter_map(end).min();
    let mut rows: BTreeMap<Position, RowVersion> = BTreeMap::new();
    for (position, row) in pages.into_iter().flat_map(|page| page.rows) {
        if upto.as_ref().is_some_and(|upto| position > *upto) {
            continue;
        }
        match rows.get(&position) {
            Some(known) if !row.supersedes(known) => {}
            Some(_) | None => {
                rows.insert(position, row);
            }
        }
    }
    MergedPage { rows: rows.into_iter().collect(), upto }
}

#[cfg(test)]
mod tests {
    use super::*;
    use migrations::clock::{HybridTime, Timestamp};
    use migrations::id::RouterId;
    use uuid::Uuid;

    fn row(time: u64, value: Option<&str>) -> RowVersion {
        let router = RouterId::from_uuid(Uuid::from_u128(1)).expect("not nil");
        let timestamp = Timestamp { time: HybridTime(time), router };
        RowVersion { timestamp, value: value.map(|value| value.as_bytes().to_vec()) }
    }

    fn page(more: bool, rows: &[(&str, u64, Option<&str>)]) -> Answer {
        let rows =
            rows.iter().map(|(key, time, value)| (key.as_bytes().to_vec(), row(*time, *value)));
        Answer::Page(Page { rows: rows.collect(), more })
    }

    #[test]
    fn a_tombstone_that_is_newer_hides_a_value() {
        let answers = vec![Answer::Row(Some(row(1, Some("v")))), Answer::Row(Some(row(2, None)))];
        assert_eq!(newest(answers), Some(row(2, None)));
        assert_eq!(newest(vec![Answer::Row(None), Answer::Row(None)]), None);
    }

    #[test]
    fn behind_the_least_end_of_a_page_that_was_cut_off_nothing_is_given() {
        // The first replica's page ends at "b". It may hold a tombstone of "c" behind it.
        let short = page(true, &[("a", 1, Some("1")), ("b", 5, None)]);
        let long = page(true, &[("a", 1, Some("1")), ("b", 2, Some("2")), ("c", 3, Some("3"))]);
        let merged = merge_pages(vec![short, long]);
        assert_eq!(merged.upto, Some(b"b".to_vec()));
        let expected = vec![(b"a".to_vec(), row(1, Some("1"))), (b"b".to_vec(), row(5, None))];
        assert_eq!(merged.rows, expected);
    }

    #[test]
    fn pages_that_reach_the_end_give_everything() {
        let merged = merge_pages(vec![page(false, &[]), page(false, &[("z", 1, Some("1"))])]);
        assert_eq!(merged.upto, None);
        assert_eq!(merged.rows.len(), 1);
    }
}
