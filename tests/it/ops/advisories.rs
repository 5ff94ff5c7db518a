//! No crate of ours has a known vulnerability: `Cargo.lock` against the snapshot in `tests/advisories`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use chrono::NaiveDate;
use polymarketspy::clock::Clock;
use rustsec::advisory::Informational;
use rustsec::report::Settings;
use rustsec::{Database, Lockfile, Report};

use super::dependencies::deny_file;

const SNAPSHOT_EXTENSION: &str = ".tar.gz";

/// Returns the snapshot and the day on which it was made.
fn snapshot() -> (PathBuf, NaiveDate) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/advisories");
    let names = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let archives: Vec<String> = names.filter(|name| name.ends_with(SNAPSHOT_EXTENSION)).collect();
    let [name] = archives.as_slice() else { panic!("one snapshot is expected, not {archives:?}") };
    let day = name.strip_suffix(SNAPSHOT_EXTENSION).unwrap().parse();
    (folder.join(name), day.expect("a snapshot is named by its date"))
}

/// Unpacks the snapshot and reads it.
fn database() -> Database {
    let folder = tempfile::tempdir().unwrap();
    let unpacked = Command::new("tar").arg("-xzf").arg(snapshot().0).arg("-C").arg(folder.path()).status().unwrap();
    assert!(unpacked.success());
    Database::open(folder.path()).unwrap()
}

/// Returns the advisories that concern a lock file, as `id crate version: title`.
///
/// A crate that is unmaintained, unsound or withdrawn counts like one with a vulnerability.
fn found(database: &Database, lock: &Lockfile) -> Vec<(String, String)> {
    let informational_warnings = vec![Informational::Notice, Informational::Unmaintained, Informational::Unsound];
    let settings = Settings { informational_warnings, ..Settings::default() };
    let report = Report::generate(database, lock, &settings);
    let vulnerable = report.vulnerabilities.list.iter().map(|it| (&it.advisory, &it.package));
    let warnings = report.warnings.values().flatten();
    let warned = warnings.filter_map(|it| it.advisory.as_ref().map(|advisory| (advisory, &it.package)));
    let line = |(advisory, package): (&rustsec::advisory::Metadata, &rustsec::package::Package)| {
        let id = advisory.id.to_string();
        let text = format!("{id} {} {}: {}", package.name, package.version, advisory.title);
        (id, text)
    };
    vulnerable.chain(warned).map(line).collect()
}

fn ignored() -> BTreeSet<String> {
    let file = deny_file();
    let entries = file["advisories"]["ignore"].as_array().unwrap();
    let id = |entry: &toml::Value| {
        assert!(!entry["reason"].as_str().unwrap().is_empty(), "{entry} needs a reason");
        entry["id"].as_str().unwrap().to_owned()
    };
    entries.iter().map(id).collect()
}

#[test]
fn no_crate_of_ours_has_a_known_vulnerability() {
    let lock = Lockfile::load(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock")).unwrap();
    let found = found(&database(), &lock);
    let ignored = ignored();
    let open: Vec<&String> = found.iter().filter(|(id, _)| !ignored.contains(id)).map(|(_, text)| text).collect();
    assert!(open.is_empty(), "tests/advisories/README.md says what to do\n{open:#?}");
    let ids: BTreeSet<String> = found.into_iter().map(|(id, _)| id).collect();
    assert!(ignored.is_subset(&ids), "deny.toml ignores more than was found: {ignored:?}");
    let made = snapshot().1.and_hms_opt(0, 0, 0).unwrap().and_utc().timestamp_millis();
    let days = (Clock::System.now().millis() - made) / 86_400_000;
    println!("the advisories are {days} days old; scripts/advisories brings newer ones");
}

/// Without this the test above would pass on an empty database.
#[test]
fn a_crate_with_a_known_vulnerability_is_found() {
    let database = database();
    assert!(database.iter().count() > 1_000, "{} advisories are too few", database.iter().count());
    let lock: Lockfile = "version = 3\n\n[[package]]\nname = \"chrono\"\nversion = \"0.4.19\"\n\
        source = \"registry+https://github.com/rust-lang/crates.io-index\"\n"
        .parse()
        .unwrap();
    let ids: Vec<String> = found(&database, &lock).into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, ["RUSTSEC-2020-0159"]);
}
