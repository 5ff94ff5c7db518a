//! Keeps the core pure and its rooms in order: the tests read the sources of `domain` and fail on a forbidden import.

use std::fs;
use std::path::{Path, PathBuf};

/// Crates that only define values. Every other crate in Cargo.toml does I/O, or parses a text format.
const ALLOWED_CRATES: &[&str] = &["chrono", "rust_decimal", "serde", "thiserror", "uuid"];

/// The parts of the standard library for clocks, threads, files, sockets and the environment.
const FORBIDDEN_STD: &[&str] =
    &["std::env", "std::fs", "std::io", "std::net", "std::process", "std::thread", "std::time", "std::sync::mpsc"];

/// The rooms of the domain. A room imports only from itself and from rooms before it, so the rooms form no circle.
const ROOMS: &[&str] = &["money", "events", "market", "accounting", "config", "decision", "analysis"];

#[test]
fn a_room_imports_only_from_the_rooms_before_it() {
    let domain = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/domain");
    for (n, room) in ROOMS.iter().enumerate() {
        let files = sources(&domain.join(room));
        assert!(!files.is_empty(), "the sources of `{room}` were not found");
        for file in files {
            for line in shipped_lines(&fs::read_to_string(&file).unwrap()) {
                let imported = line.split("crate::domain::").skip(1).filter_map(|rest| rest.split("::").next());
                for other in imported {
                    assert!(ROOMS[..=n].contains(&other), "{}: `{room}` imports from `{other}`", file.display());
                }
            }
        }
    }
}

#[test]
fn the_domain_imports_nothing_that_does_io() {
    let crates = dependencies();
    assert!(crates.iter().any(|name| name == "sqlx"), "Cargo.toml was not understood: {crates:?}");
    let files = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/domain"));
    assert!(files.len() > 20, "the sources of the domain were not found");
    let breaches: Vec<String> = files
        .iter()
        .flat_map(|file| {
            let text = fs::read_to_string(file).unwrap();
            breaches(&text, &crates).into_iter().map(|line| format!("{}: {line}", file.display())).collect::<Vec<_>>()
        })
        .collect();
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

#[test]
fn a_forbidden_import_is_seen() {
    let crates = ["sqlx", "serde_json", "uuid", "tokio"].map(str::to_owned);
    let check = |line: &str, is_breach: bool| {
        assert_eq!(!breaches(line, &crates).is_empty(), is_breach, "{line}");
    };
    check("use crate::db::Db;", true);
    check("use crate::{clock::Clock, domain::units::Bps};", true);
    check("    let row = crate::db::row();", true);
    check("use sqlx::Row;", true);
    check("serde_json::to_string(&x)", true);
    check("use std::time::Instant;", true);
    check("use std::{collections::BTreeMap, env};", true);
    check("use crate::domain::units::Bps;", false);
    check("Err($crate::domain::money::text_enum::UnknownText)", false);
    check("pub(in crate::domain) fn read() {", false);
    check("pub(in crate::web) fn read() {", true);
    check("use crate::domain_text::Text;", true);
    check("use uuid::Uuid;", false);
    check("use std::{fmt, sync::Arc};", false);
    check("// crate::db knows; tokio::time too", false);
    check("#[cfg(test)]\nmod tests {\n    use sqlx::Row;", false);
}

/// The lines of `text`, up to its tests, that import something from outside the domain.
fn breaches(text: &str, crates: &[String]) -> Vec<String> {
    shipped_lines(text).filter(|line| is_breach(line, crates)).map(|line| line.trim().to_owned()).collect()
}

/// The lines of `text` up to its tests, without comments.
fn shipped_lines(text: &str) -> impl Iterator<Item = &str> {
    let shipped = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    shipped.lines().map(|line| line.split("//").next().unwrap_or_default())
}

fn is_breach(line: &str, crates: &[String]) -> bool {
    let words =
        |text: &str| text.split(|c: char| !c.is_alphanumeric() && c != '_').map(str::to_owned).collect::<Vec<_>>();
    // `domain)` ends a visibility: `pub(in crate::domain)`.
    let inside = ["domain::", "domain)"];
    let outside_crate = line
        .match_indices("crate::")
        .any(|(at, found)| !inside.iter().any(|path| line[at + found.len()..].starts_with(path)));
    let foreign = crates.iter().any(|name| {
        let path = format!("{name}::");
        let starts_a_word = |at: usize| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
        !ALLOWED_CRATES.contains(&name.as_str()) && line.match_indices(&path).any(|(at, _)| starts_a_word(at))
    });
    let world = FORBIDDEN_STD.iter().any(|path| {
        let part = path.trim_start_matches("std::");
        line.contains(path) || (line.contains("use std::{") && words(line).iter().any(|word| word == part))
    });
    outside_crate || foreign || world
}

/// The names under `[dependencies]`, as code writes them.
fn dependencies() -> Vec<String> {
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    let section = manifest.split("[dependencies]").nth(1).unwrap().split("\n[").next().unwrap();
    section
        .lines()
        .filter_map(|line| line.split_once(" ="))
        .filter(|(name, _)| !name.starts_with('#'))
        .map(|(name, _)| name.replace('-', "_"))
        .collect()
}

/// The Rust files of the library build. `tests` folders and modules under `#[cfg(test)]` may import anything.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let declared = fs::read_to_string(folder.join("mod.rs")).unwrap_or_default();
    let test_only: Vec<&str> =
        declared.split("#[cfg(test)]\nmod ").skip(1).filter_map(|rest| rest.split(';').next()).collect();
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && stem != "tests" {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") && !test_only.contains(&stem.as_str()) {
            files.push(path);
        }
    }
    files
}
