//! Arbitrary text against the files that the command line reads: contexts and histories.

use crate::checker::{History, Line, check};
use crate::place::{Contexts, Where};
use client::TlsArgs;
use palisade_fuzz::target;

fn contexts(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(contexts) = Contexts::parse(text) else { return };
    assert_eq!(Contexts::parse(&contexts.text()), Ok(contexts));
}

fn some_contexts() -> Vec<Vec<u8>> {
    let mut contexts = Contexts { current: Some("prod".to_owned()), ..Contexts::default() };
    let mut texts = vec![Contexts::default().text(), contexts.text()];
    for name in ["prod", "a b", "\"", "é.x"] {
        let coordinators = vec![format!("{name}:7400"), "[::1]:7400".to_owned()];
        let tls = TlsArgs { key: Some(name.into()), ..TlsArgs::default() };
        contexts.clusters.insert(name.to_owned(), Where { coordinators, tls, ..Where::default() });
        texts.push(contexts.text());
    }
    texts.into_iter().map(String::into_bytes).collect()
}

target!(contexts_of_a_user, contexts, some_contexts);

fn history(bytes: &[u8]) {
    for line in bytes.split(|byte| *byte == b'\n') {
        let Ok(text) = std::str::from_utf8(line) else { continue };
        let Ok(line) = Line::parse(text) else { continue };
        assert_eq!(Line::parse(&line.json().to_string()).ok(), Some(line));
    }
    if let Ok(history) = History::read(bytes) {
        let _some_verdict = check(&history);
    }
}

fn histories() -> Vec<Vec<u8>> {
    let lines = [
        r#"{"op":"put","key":"k","value":"v1","began_us":5,"ended_us":9,"outcome":"ok"}"#,
        r#"{"op":"delete","key":"k","began_us":10,"ended_us":12,"outcome":"unknown"}"#,
        r#"{"op":"get","key":"k","value":null,"began_us":10,"ended_us":12,"outcome":"failed"}"#,
        r#"{"op":"get","key":"k","value":"v1","began_us":10,"ended_us":12,"outcome":"ok"}"#,
        r#"{"op":"replicas","tablet":7,"nodes":["n1","n2","n4"]}"#,
        r#"{"op":"read","tablet":7,"node":"n1"}"#,
        r#"{"op":"copy","tablet":7,"node":"n1","key":"k","time":"8","router":"0a","value":"v1"}"#,
        r#"{"op":"copy","tablet":7,"node":"n2","key":"k","time":"8","router":"0a","value":null}"#,
        r#"{"op":"digest","tablet":7,"node":"n1","sum":"0f"}"#,
        r#"{"op":"held","node":"n1","tablets":[7]}"#,
    ];
    let one = lines.iter().map(|line| line.as_bytes().to_vec());
    one.chain([lines.join("\n").into_bytes()]).collect()
}

target!(a_history, history, histories);
