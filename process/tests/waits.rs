//! No wait of a server goes past `process::wait`: else it would have no name, perhaps no bound, and
//! no test that takes its answer away.

use std::fs;
use std::path::{Path, PathBuf};

/// Bounds of our own making.
const WAITS: [&str; 2] = ["timeout(", "timeout_at("];
/// What waits for a disk, for a peer, or for tasks that wait for these: it stands in a function that
/// names the wait, or is one that such a function calls.
const ASKS: [&str; 4] = [".wait().await", ".connect(", ".connected(", "Client::new("];
/// What a wait is named by.
const NAMES: [&str; 4] = ["watched(", "bounded(", "bounded_by(", "found_out("];
/// Functions that are called within a named wait alone: they dial, or hand a client on.
const WITHIN: [&str; 5] = ["fn connected", "fn connect", "fn client", "fn attach", "fn finished"];
/// The crates of servers, and what of them is not theirs: tests (also the simulated runtime), and
/// the fault switches.
const SERVERS: [&str; 2] = ["coordinator", "replica"];
const NOT_MEANT: [&str; 3] = ["/tests", "/simulated/", "faults_api.rs"];

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a crate of the workspace") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The lines of a file that are code of the server, without its unit tests.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).expect("text");
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// Where a call stands that is none of `.name(` (a setting), nor part of a longer name.
fn calls<'a>(code: &'a str, name: &'a str) -> impl Iterator<Item = usize> + 'a {
    code.match_indices(name).map(|(at, _)| at).filter(|at| {
        let before = code[..*at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '.')
    })
}

/// What stands before a place in the same statement.
fn statement(code: &str, at: usize) -> &str {
    let begin = code[..at].rfind([';', '{']).map_or(0, |begin| begin + 1);
    &code[begin..at]
}

/// The function that a place is in.
fn function(code: &str, at: usize) -> &str {
    let begin = code[..at].rfind("fn ").unwrap_or(0);
    let end = code[at..].find("fn ").map_or(code.len(), |end| at + end);
    &code[begin..end]
}

#[test]
fn no_wait_goes_past_the_one_function() {
    let (mut past, mut asking) = (Vec::new(), Vec::new());
    for server in SERVERS {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(server).join("src");
        let mut files = Vec::new();
        sources(&source, &mut files);
        assert!(files.len() > 10, "{}: too few files", source.display());
        for file in files {
            if NOT_MEANT.iter().any(|not| file.to_string_lossy().contains(not)) {
                continue;
            }
            let code = code(&file);
            let waits = WAITS.iter().flat_map(|name| calls(&code, name));
            past.extend(waits.map(|at| format!("{}: {}", file.display(), statement(&code, at))));
            for at in ASKS.iter().flat_map(|asks| code.match_indices(asks)).map(|(at, _)| at) {
                asking.push(file.clone());
                let function = function(&code, at);
                let is_named = NAMES.iter().chain(&WITHIN).any(|name| function.contains(name));
                if !is_named {
                    past.push(format!("{}: {function}", file.display()));
                }
            }
            for (at, _) in code.match_indices(".message()") {
                let before = statement(&code, at);
                // `status.message()` is what a refusal says.
                let is_text = ["status", "refused", ".0"].iter().any(|of| before.ends_with(of));
                let is_named = ["watched(", "bounded("].iter().any(|name| before.contains(name));
                if !is_text && !is_named {
                    past.push(format!("{}: {before}.message()", file.display()));
                }
            }
        }
    }
    // Where an agent dials: it was passed over once, for an attribute above its first wait.
    assert!(asking.iter().any(|file| file.ends_with("replica/src/attach.rs")), "{asking:?}");
    assert!(past.is_empty(), "waits without a name:\n{}", past.join("\n"));
}
