//! Each command line that the documentation gives is one that is meant: people copy them at the
//! worst of times.
//!
//! Not here: the examples in the help (`args.rs`).

use super::Cli;
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use std::path::{Path, PathBuf};

/// What stands for something in the documentation, and one such thing.
const PLACEHOLDERS: [(&str, &str); 11] = [
    ("NODE/TABLET/COPY", "n1/17/42"),
    ("HOST:", "c9:"),
    ("PORT", "7401"),
    ("ID", "7b0c52a1-7a3c-4f0e-9e55-0b6a4f6e2c11"),
    ("TABLET", "orders/17"),
    ("NODE", "n1"),
    ("OTHER", "n2"),
    ("DEAD", "n3"),
    ("PEER", "n4"),
    ("NAME", "c9"),
    ("[c9]", "c9"),
];

fn pages(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).expect("a directory of the documentation") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            pages(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
}

/// The command lines of a page: lines of their own in a block, with what explains them left out,
/// and what stands in the text between backquotes.
fn lines(page: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (index, part) in page.split("```").enumerate() {
        if index % 2 == 1 {
            // What follows a pause explains the line; "demo," tells of one that has run.
            let part = part.replace("\\\n  ", "");
            let own = part.lines().map(|line| line.trim_start_matches("$ "));
            let own = own.filter(|line| line.starts_with("palisade ") && !line.contains("demo,"));
            let words = own.map(|line| line.split("   ").next().unwrap_or_default().trim());
            found.extend(words.map(str::to_owned));
            continue;
        }
        let quoted = part.split('`').skip(1).step_by(2);
        let quoted = quoted.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
        found.extend(quoted.filter(|line| line.starts_with("palisade ")));
    }
    found
}

/// Whether the words only name a command, as a text does that speaks of it.
fn names_a_command(words: &[String]) -> bool {
    let mut command = Cli::command();
    for word in &words[1..] {
        match command.find_subcommand(word).cloned() {
            Some(below) => command = below,
            None => return false,
        }
    }
    true
}

/// What is wrong with a command line; what is left open at its end, with `…`, may be missing.
fn wrong(line: &str) -> Option<String> {
    let is_open = line.contains('…');
    let line = line.replace(['…', '\''], "");
    let line = PLACEHOLDERS.iter().fold(line, |line, (word, one)| line.replace(word, one));
    let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    if names_a_command(&words) {
        return None;
    }
    let error = Cli::try_parse_from(&words).err()?;
    match error.kind() {
        ErrorKind::DisplayHelp => None,
        ErrorKind::MissingRequiredArgument if is_open => None,
        _ => Some(format!("{words:?}: {error}")),
    }
}

#[test]
fn each_command_line_in_the_documentation_is_meant() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = vec![root.join("README.md")];
    pages(&root.join("docs"), &mut found);
    pages(&root.join("deploy"), &mut found);
    let (mut seen, mut refused) = (0, Vec::new());
    for page in found {
        let text = std::fs::read_to_string(&page).expect("a page");
        let all = lines(&text);
        seen += all.len();
        let all =
            all.iter().filter_map(|line| Some(format!("{}: {}", page.display(), wrong(line)?)));
        refused.extend(all);
    }
    assert!(seen > 80, "only {seen} were found");
    assert!(refused.is_empty(), "{}", refused.join("\n"));
}

#[test]
fn a_command_line_that_is_not_meant_is_seen() {
    for line in [
        "palisade node drain NODE --wait",
        "palisade raft add NAME",
        "palisade migration show",
        "palisade tablet repair …",
    ] {
        assert!(wrong(line).is_some(), "{line}");
    }
    let block =
        "```text\npalisade node drain NODE     why\npalisade raft add a \\\n  --raft b\n```";
    assert_eq!(lines(block), ["palisade node drain NODE", "palisade raft add a --raft b"]);
}
