//! The text files of the repository that the rules of this folder read.

use std::fs;
use std::path::Path;

/// A file by its path from the root of the repository, such as `src/db/mod.rs`.
pub struct TextFile {
    pub path: String,
    pub text: String,
}

impl TextFile {
    pub fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }
}

/// Returns the files under `folders` (or the files named there) that end in one of `extensions`, ordered by path.
///
/// This folder is left out: its self-tests hold what the rules forbid.
pub fn read(folders: &[&str], extensions: &[&str]) -> Vec<TextFile> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths: Vec<_> = folders.iter().map(|folder| root.join(folder)).collect();
    let mut files = Vec::new();
    while let Some(path) = paths.pop() {
        if path.is_dir() {
            paths.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let name = path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
        let is_wanted = extensions.iter().any(|extension| name.ends_with(extension));
        if is_wanted && !name.starts_with("tests/it/source/") {
            files.push(TextFile { path: name, text: fs::read_to_string(&path).unwrap() });
        }
    }
    files.sort_by(|one, other| one.path.cmp(&other.path));
    files
}

/// Returns the Rust sources of the program, its tests and its benchmarks.
pub fn rust() -> Vec<TextFile> {
    let files = read(&["src", "tests", "benches"], &[".rs"]);
    assert!(files.len() > 200, "{} Rust files are too few: the reader is broken", files.len());
    files
}

/// Fails with `what_to_do` and the list of places, when there are any.
#[track_caller]
pub fn assert_none(places: &[String], what_to_do: &str) {
    assert!(places.is_empty(), "{what_to_do}\n\n{}\n", places.join("\n"));
}
