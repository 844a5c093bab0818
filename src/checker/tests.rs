//! Histories made by hand: each verdict can fail, and what is allowed does not.

use super::*;

const ACKNOWLEDGED: Outcome = Outcome::Ok;

fn operation(what: What, at: (u64, u64), outcome: Outcome) -> Operation {
    Operation { what, key: "k".into(), began_us: at.0, ended_us: at.1, outcome }
}

fn put(value: &str, began: u64, ended: u64) -> Operation {
    operation(What::Put(value.into()), (began, ended), ACKNOWLEDGED)
}

fn delete(began: u64, ended: u64) -> Operation {
    operation(What::Delete, (began, ended), ACKNOWLEDGED)
}

fn get(found: Option<&str>, began: u64, ended: u64) -> Operation {
    operation(What::Get(found.map(Into::into)), (began, ended), ACKNOWLEDGED)
}

fn unknown(mut operation: Operation) -> Operation {
    operation.outcome = Outcome::Unknown;
    operation
}

fn failed(mut operation: Operation) -> Operation {
    operation.outcome = Outcome::Failed;
    operation
}

fn copy(node: &str, time: u64, value: Option<&str>) -> Copy {
    let value = value.map(Into::into);
    Copy { tablet: 7, node: node.into(), key: "k".into(), timestamp: (time, "r".into()), value }
}

/// A history that was looked at to its end: three replicas that agree on their digests.
fn history(operations: Vec<Operation>, copies: Vec<Copy>) -> History {
    let nodes = ["n1", "n2", "n3"].map(str::to_owned);
    let on_each = |line: fn(String) -> Line| nodes.clone().map(line);
    let mut history = History { operations, copies, ..History::default() };
    history.add(Line::Replicas(7, nodes.to_vec()));
    on_each(|node| Line::Read(7, node)).into_iter().for_each(|line| history.add(line));
    let digests = on_each(|node| Line::Digest(7, node, "sum".into()));
    digests.into_iter().for_each(|line| history.add(line));
    on_each(|node| Line::Held(node, vec![7])).into_iter().for_each(|line| history.add(line));
    history
}

/// The same copy on all three.
fn everywhere(time: u64, value: Option<&str>) -> Vec<Copy> {
    ["n1", "n2", "n3"].map(|node| copy(node, time, value)).to_vec()
}

fn keys(count: usize) -> BTreeSet<String> {
    (0..count).map(|_| "k".to_owned()).collect()
}

#[track_caller]
fn holds(operations: Vec<Operation>, copies: Vec<Copy>) {
    let verdict = check(&history(operations, copies));
    assert!(verdict.holds(), "{verdict:#?}");
}

#[test]
fn what_was_acknowledged_last_is_there() {
    holds(vec![put("a", 1, 2), put("b", 3, 4)], everywhere(9, Some("b")));
    holds(vec![put("a", 1, 2), delete(3, 4)], everywhere(9, None));
    // A purged tombstone.
    holds(vec![put("a", 1, 2), delete(3, 4)], Vec::new());
    holds(vec![put("a", 1, 2), delete(3, 4), put("b", 5, 6)], everywhere(9, Some("b")));
}

#[test]
fn writes_that_overlap_may_win_either_way() {
    for value in [Some("a"), Some("b")] {
        holds(vec![put("a", 1, 5), put("b", 2, 4)], everywhere(9, value));
    }
    for value in [Some("a"), None] {
        holds(vec![put("a", 1, 5), delete(2, 4)], everywhere(9, value));
    }
}

#[test]
fn a_lost_write_is_found() {
    let verdict = check(&history(vec![put("a", 1, 2)], Vec::new()));
    assert_eq!(verdict.lost, keys(1));
    assert!(!verdict.holds());
    let verdict = check(&history(vec![put("a", 1, 2), put("b", 3, 4)], everywhere(9, Some("a"))));
    assert_eq!(verdict.lost, keys(1));
    // A delete before it explains nothing.
    let verdict = check(&history(vec![delete(1, 2), put("a", 3, 4)], everywhere(9, None)));
    assert_eq!(verdict.lost, keys(1));
    // One majority has it, another does not.
    let copies = vec![copy("n1", 9, Some("a"))];
    assert_eq!(check(&history(vec![put("a", 1, 2)], copies)).lost, keys(1));
}

#[test]
fn a_write_on_a_bare_majority_is_not_lost() {
    let copies = vec![copy("n1", 9, Some("a")), copy("n3", 9, Some("a"))];
    holds(vec![put("a", 1, 2)], copies);
}

#[test]
fn a_key_that_is_back_is_found() {
    let deleted = vec![put("a", 1, 2), delete(3, 4)];
    let verdict = check(&history(deleted.clone(), everywhere(9, Some("a"))));
    assert_eq!(verdict.resurrected, keys(1));
    assert!(!verdict.holds());
    // On one replica, while nobody remembers the delete.
    let verdict = check(&history(deleted.clone(), vec![copy("n2", 1, Some("a"))]));
    assert_eq!(verdict.resurrected, keys(1));
    // On one replica, while the others remember it: no read finds it.
    let mut copies = everywhere(9, None);
    copies[1] = copy("n2", 1, Some("a"));
    assert_eq!(check(&history(deleted.clone(), copies)).resurrected, keys(0));
    // By a read in between, though it is gone at the end.
    let mut read = deleted;
    read.push(get(Some("a"), 5, 6));
    let verdict = check(&history(read, everywhere(9, None)));
    assert_eq!(verdict.resurrected, keys(1));
    assert!(!verdict.holds());
}

#[test]
fn a_put_of_unknown_outcome_may_show_up_until_a_newer_write() {
    // The lookout that errors are errors all the same.
    let free_of_errors = |operations: Vec<Operation>, copies: Vec<Copy>| {
        let verdict = check(&history(operations, copies));
        assert_eq!(verdict.errors, 1);
        Verdict { errors: 0, ..verdict }
    };
    for end in [everywhere(9, Some("a")), Vec::new()] {
        assert!(free_of_errors(vec![unknown(put("a", 1, 2))], end).holds());
    }
    for end in [everywhere(9, Some("a")), everywhere(9, None)] {
        assert!(free_of_errors(vec![put("a", 1, 2), unknown(delete(3, 4))], end).holds());
    }
    let over = vec![unknown(put("a", 1, 2)), delete(3, 4)];
    assert_eq!(free_of_errors(over, everywhere(9, Some("a"))).resurrected, keys(1));
    let never = vec![failed(put("a", 1, 2))];
    assert_eq!(free_of_errors(never, everywhere(9, Some("a"))).invented, keys(1));
}

#[test]
fn reads_are_never_older_than_what_was_acknowledged_before() {
    let end = || everywhere(9, Some("b"));
    let puts = |read| vec![put("a", 1, 2), put("b", 5, 8), read];
    for good in [get(Some("a"), 3, 4), get(Some("a"), 6, 7), get(Some("b"), 6, 7)] {
        holds(puts(good), end());
    }
    for stale in [get(Some("a"), 9, 10), get(None, 3, 4)] {
        let verdict = check(&history(puts(stale), end()));
        assert_eq!(verdict.stale, keys(1));
        assert!(!verdict.holds());
    }
    holds(vec![get(None, 1, 1), put("a", 2, 3), delete(4, 7), get(None, 5, 6)], Vec::new());
}

#[test]
fn values_that_nobody_wrote_are_found() {
    for read in [get(Some("x"), 3, 4), get(Some("b"), 3, 4)] {
        // The second is written only after it was read.
        let operations = vec![put("a", 1, 2), read, put("b", 5, 6)];
        let verdict = check(&history(operations, everywhere(9, Some("b"))));
        assert_eq!(verdict.invented, keys(1));
        assert!(!verdict.holds());
    }
}

#[test]
fn data_that_lies_elsewhere_is_found() {
    let mut history = history(vec![put("a", 1, 2)], everywhere(9, Some("a")));
    history.add(Line::Held("n4".into(), vec![7]));
    let verdict = check(&history);
    assert_eq!(verdict.orphans, BTreeSet::from([(7, "n4".to_owned())]));
    assert!(!verdict.holds());
    // Of a tablet that there is no more.
    history.add(Line::Held("n4".into(), vec![8]));
    assert_eq!(check(&history).orphans, BTreeSet::from([(8, "n4".to_owned())]));
}

#[test]
fn replicas_that_differ_are_found() {
    for sum in ["another", ""] {
        let mut history = history(Vec::new(), Vec::new());
        history.digests[2].2 = sum.into();
        let verdict = check(&history);
        assert_eq!(verdict.mismatches, BTreeSet::from([7]));
        assert!(!verdict.holds());
    }
    let mut history = history(Vec::new(), Vec::new());
    history.digests.pop();
    assert_eq!(check(&history).mismatches, BTreeSet::from([7]));
}

#[test]
fn an_end_that_was_looked_at_in_part_does_not_hold() {
    let whole = history(vec![put("a", 1, 2)], everywhere(9, Some("a")));
    assert!(check(&whole).holds());
    let mut unread = whole.clone();
    unread.read.clear();
    let mut without_digests = whole.clone();
    without_digests.digests.clear();
    let mut unasked = whole.clone();
    unasked.held.clear();
    for broken in [unread, without_digests, unasked] {
        assert_eq!(check(&broken).end, End::Partly);
        assert!(!check(&broken).holds());
    }
    assert_eq!(check(&History::default()).end, End::Unseen);
}

#[test]
fn a_history_is_the_same_after_a_file() {
    let mut operations = vec![put("a", 1, 2), delete(3, 4), get(None, 5, 6), get(Some("a"), 5, 6)];
    operations.extend([unknown(put("b", 7, 8)), failed(delete(9, 9))]);
    let mut lines: Vec<Line> = operations.into_iter().map(Line::Operation).collect();
    lines.extend([
        Line::Replicas(7, vec!["n1".into(), "n2".into()]),
        Line::Read(7, "n1".into()),
        Line::Copy(copy("n1", u64::MAX, Some("a"))),
        Line::Copy(copy("n2", 1, None)),
        Line::Digest(7, "n1".into(), "ff".into()),
        Line::Held("n1".into(), vec![7, 8]),
    ]);
    let text: String = lines.iter().map(|line| format!("{}\n", line.json())).collect();
    let read = History::read(text.as_bytes()).expect("its own form");
    let mut expected = History::default();
    lines.into_iter().for_each(|line| expected.add(line));
    assert_eq!(read, expected);
    let error = History::read(&b"{\"op\":\"held\",\"node\":\"n1\",\"tablets\":[]}\n{}\n"[..]);
    assert_eq!(error.expect_err("no operation").to_string(), "line 2");
}

#[test]
fn long_values_have_marks_that_differ() {
    let long = vec![b'x'; 100];
    let mut other = long.clone();
    other[99] = b'y';
    assert_ne!(mark(&long), mark(&other));
    assert!(mark(&long).len() < 64);
    assert_eq!(mark(b"short"), "short");
}
