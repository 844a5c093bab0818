//! `docs/PROTOCOL.md` against the code: its stage table is the code's, its invariants are cited,
//! and the crate is built as its first page says.

extern crate palisade_migrations as migrations;

use migrations::stage::{
    BarrierWhen, Reads, SilentRule, Stage, TransitionKind, WayBack, Work, Writes,
};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn document() -> String {
    fs::read_to_string(root().join("docs/PROTOCOL.md")).expect("it is part of the project")
}

fn writes(stage: Stage) -> &'static str {
    match stage.writes() {
        Writes::Old => "old",
        Writes::Both => "both",
        Writes::New => "new",
        Writes::None => "none",
    }
}

fn reads(stage: Stage) -> &'static str {
    match stage.reads() {
        Reads::Old => "old",
        Reads::New => "new",
        Reads::None => "none",
    }
}

fn work(stage: Stage) -> &'static str {
    match stage.work() {
        Work::None => "–",
        Work::Stream => "receivers pull",
        Work::DropLeaving => "leaving drops its copy",
        Work::DropPending => "pending drops its copy",
        Work::DropAll => "all drop their copies",
    }
}

fn barrier(stage: Stage) -> &'static str {
    match stage.barrier() {
        BarrierWhen::Never => "–",
        BarrierWhen::BeforeLeaving => "before leaving",
        BarrierWhen::BeforeWork => "before the work",
    }
}

fn silent(stage: Stage) -> &'static str {
    match stage.silent_rule() {
        SilentRule::Old => "old",
        SilentRule::Both => "old, new",
        SilentRule::New => "new",
        SilentRule::Neither => "–",
    }
}

fn named(stage: Option<Stage>, otherwise: &str) -> String {
    stage.map_or_else(|| otherwise.to_string(), |stage| format!("`{stage}`"))
}

fn way_back(stage: Stage) -> String {
    match stage.way_back() {
        WayBack::To(to) => format!("`{to}`"),
        WayBack::Retry => "work again".into(),
        WayBack::ForwardOnly => "forward only".into(),
    }
}

/// The tables as they have to stand between the markers.
fn stage_table() -> String {
    let mut text = String::from("| kind | first stage |\n|---|---|\n");
    for kind in TransitionKind::ALL {
        text += &format!("| {kind} | `{}` |\n", kind.first_stage());
    }
    text += "\n| stage | writes | reads | session | work | barrier | silent | next | way back | \
             new attempt from | paused |\n|---|---|---|---|---|---|---|---|---|---|---|\n";
    for stage in Stage::ALL {
        let cells = [
            format!("`{stage}`"),
            writes(stage).into(),
            reads(stage).into(),
            if stage.has_session() { "open" } else { "–" }.into(),
            work(stage).into(),
            barrier(stage).into(),
            silent(stage).into(),
            named(stage.on_success(), "end"),
            way_back(stage),
            named(stage.retry_from(), "–"),
            if stage.may_stand() { "stands still" } else { "goes on" }.into(),
        ];
        text += &format!("| {} |\n", cells.join(" | "));
    }
    text
}

#[test]
fn the_stage_table_is_that_of_the_code() {
    let document = document();
    let (_, after) = document.split_once("<!-- stage table -->\n").expect("the first marker");
    let (found, _) = after.split_once("<!-- /stage table -->").expect("the second marker");
    let wanted = stage_table();
    assert!(found == wanted, "docs/PROTOCOL.md must have between its markers:\n{wanted}");
}

/// The rows of the table of invariants: the number, and the files that the row names.
fn invariants(document: &str) -> BTreeMap<u8, Vec<String>> {
    let rows = document.lines().filter_map(|line| line.strip_prefix("| INV-"));
    let row = |row: &str| {
        let (number, rest) = row.split_once(' ').expect("a number, then a cell");
        let ticked = rest.split('`').skip(1).step_by(2);
        let files = ticked.filter(|word| word.contains('/')).map(String::from).collect();
        (number.parse().expect("a number"), files)
    };
    rows.map(row).collect()
}

fn cites(text: &str, number: u8) -> bool {
    let name = format!("INV-{number}");
    let after = text.match_indices(&name).map(|(at, _)| text[at + name.len()..].chars().next());
    after.into_iter().any(|next| !next.is_some_and(|next| next.is_ascii_digit()))
}

/// INV-1 to INV-16: each is in the document, names files that are there, and is cited in one.
#[test]
fn each_invariant_is_cited_where_the_document_says() {
    let invariants = invariants(&document());
    assert_eq!(invariants.keys().copied().collect::<Vec<_>>(), (1..=16).collect::<Vec<_>>());
    for (number, files) in invariants {
        let texts = files.iter().map(|file| {
            fs::read_to_string(root().join(file)).unwrap_or_else(|e| panic!("{file}: {e}"))
        });
        let texts: Vec<String> = texts.collect();
        let is_cited = texts.iter().any(|text| cites(text, number));
        assert!(is_cited, "INV-{number} is cited in none of {files:?}");
    }
}

fn modules() -> Vec<String> {
    let lib = source().join("lib.rs");
    let lib = fs::read_to_string(lib).expect("the crate has a root");
    let declared = lib.lines().filter_map(|line| line.strip_prefix("pub mod "));
    declared.map(|name| name.trim_end_matches(';').to_string()).collect()
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// A module's file, and those of the folder of its name.
fn files_of(module: &str) -> Vec<PathBuf> {
    let mut files = vec![source().join(module).with_extension("rs")];
    if let Ok(folder) = fs::read_dir(source().join(module)) {
        files.extend(folder.map(|file| file.expect("readable").path()));
    }
    files
}

/// The modules of this crate that a text names outside of its tests.
fn named_modules(text: &str) -> BTreeSet<String> {
    let product = text.split("#[cfg(test)]").next().unwrap_or_default();
    let code = product.lines().filter(|line| !line.trim_start().starts_with("//"));
    let code = code.collect::<Vec<_>>().join("\n");
    let after = code.split("crate::").skip(1);
    let name = |rest: &str| {
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        rest[..end.unwrap_or(rest.len())].to_string()
    };
    after.map(name).collect()
}

#[test]
fn modules_are_declared_in_order_of_dependency() {
    let modules = modules();
    assert!(modules.len() > 20, "{modules:?}");
    for (at, module) in modules.iter().enumerate() {
        for file in files_of(module) {
            let text = fs::read_to_string(&file).expect("a module has its file");
            for used in named_modules(&text) {
                let place = modules.iter().position(|name| *name == used);
                let place = place.unwrap_or_else(|| panic!("{}: crate::{used}?", file.display()));
                assert!(place <= at, "{module} uses {used}, which is declared below it");
            }
        }
    }
}

#[test]
fn every_file_belongs_to_a_declared_module() {
    let declared: BTreeSet<PathBuf> = modules().iter().flat_map(|name| files_of(name)).collect();
    for entry in fs::read_dir(source()).expect("the crate has sources") {
        let path = entry.expect("readable").path();
        if path.is_file() && !path.ends_with("lib.rs") {
            assert!(declared.contains(&path), "{} is declared nowhere", path.display());
        }
    }
}

/// The core can't act: nothing that it depends on has a clock, a socket, a file or a runtime.
#[test]
fn the_core_depends_on_ids_errors_and_sums_alone() {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "-p", "palisade-migrations", "-e", "normal", "--prefix", "none"])
        .args(["--no-dedupe", "--format", "{lib}", "--locked"])
        .current_dir(root())
        .output()
        .expect("cargo runs this test");
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let tree = String::from_utf8(tree.stdout).expect("names are ASCII");
    let found: BTreeSet<&str> = tree.lines().filter(|line| !line.is_empty()).collect();
    let allowed = BTreeSet::from([
        "palisade_migrations",
        "uuid",
        "xxhash_rust",
        "thiserror",
        // Run by the compiler, not by the core.
        "thiserror_impl",
        "proc_macro2",
        "quote",
        "syn",
        "unicode_ident",
    ]);
    let others: Vec<&&str> = found.difference(&allowed).collect();
    assert!(others.is_empty(), "{others:?}");
    assert!(found.contains("palisade_migrations"));
}
