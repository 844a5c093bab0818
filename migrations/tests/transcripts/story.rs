//! The form of a story's file: blocks of commands, `----`, and what came of them, apart by an
//! empty line. Lines that begin with `#` are for the reader.

use crate::language::Teller;
use std::fs;
use std::path::PathBuf;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/stories")
}

/// The names of all stories that there are.
pub(crate) fn names() -> Vec<String> {
    let files = fs::read_dir(folder()).expect("the folder is part of the crate");
    let paths = files.map(|file| file.expect("readable").path());
    let stems = paths.map(|path| path.file_stem().expect("a file has a name").to_owned());
    stems.map(|stem| stem.into_string().expect("names are ASCII")).collect()
}

/// What the file of a story says.
pub(crate) fn read(name: &str) -> String {
    let path = folder().join(name).with_extension("txt");
    fs::read_to_string(path).expect("each test has its story")
}

/// Tells a story and compares with what its file says.
pub(crate) fn check(name: &str) {
    let written = read(name);
    let told = tell(&written);
    if std::env::var_os("UPDATE_STORIES").is_some() {
        let path = folder().join(name).with_extension("txt");
        fs::write(path, told).expect("the folder can be written");
    } else {
        assert!(told == written, "{name} goes otherwise:\n{told}");
    }
}

fn tell(written: &str) -> String {
    let mut teller = Teller::default();
    let mut told = Vec::new();
    let mut is_outcome = false;
    for line in written.lines() {
        match line {
            "----" => {
                is_outcome = true;
                told.push(line.to_string());
                told.extend(teller.take_lines());
            }
            "" => {
                is_outcome = false;
                told.push(String::new());
            }
            _ if is_outcome => {}
            _ => {
                let command = line.split('#').next().unwrap_or_default().trim();
                if !command.is_empty() {
                    teller.tell(command);
                }
                told.push(line.to_string());
            }
        }
    }
    assert!(teller.take_lines().is_empty(), "the last commands have no ---- below them");
    told.join("\n") + "\n"
}
