//! Our dependencies: where they come from, their licences, and crates that must not be among them, by `deny.toml`.

use std::process::Command;

const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Reads `deny.toml`.
pub fn deny_file() -> toml::Table {
    include_str!("../../../deny.toml").parse().unwrap()
}

fn allowed_licences() -> Vec<String> {
    let file = deny_file();
    let licences = file["licenses"]["allow"].as_array().unwrap();
    licences.iter().map(|licence| licence.as_str().unwrap().to_owned()).collect()
}

fn unwanted_crates() -> Vec<String> {
    let file = deny_file();
    let crates = file["bans"]["deny"].as_array().unwrap();
    crates.iter().map(|entry| entry["crate"].as_str().unwrap().to_owned()).collect()
}

fn packages() -> Vec<serde_json::Value> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let words = ["metadata", "--locked", "--offline", "--format-version", "1"];
    let output = Command::new(cargo).args(words).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

/// Whether one of the alternatives of `licence` consists of allowed licences only.
fn is_allowed(licence: &str, allowed: &[String]) -> bool {
    let licence = licence.replace('/', " OR ");
    if let Some(rest) = licence.strip_prefix('(') {
        // `(A OR B) AND C`
        let (inside, after) = rest.split_once(')').unwrap();
        let after = after.trim().strip_prefix("AND ").unwrap_or_default();
        return is_allowed(inside, allowed) && (after.is_empty() || is_allowed(after, allowed));
    }
    licence.split(" OR ").any(|choice| choice.split(" AND ").all(|part| allowed.iter().any(|one| one == part.trim())))
}

#[test]
fn every_crate_comes_from_the_registry_under_a_licence_that_lets_us_be_used() {
    let packages = packages();
    assert!(packages.len() > 100, "{} packages are too few for the lock file", packages.len());
    let (allowed, unwanted) = (allowed_licences(), unwanted_crates());
    for package in &packages {
        let name = package["name"].as_str().unwrap();
        if name == env!("CARGO_PKG_NAME") {
            continue;
        }
        assert_eq!(package["source"], REGISTRY, "{name}");
        let licence = package["license"].as_str().unwrap_or_default();
        assert!(is_allowed(licence, &allowed), "{name} is under `{licence}`");
        assert!(!unwanted.iter().any(|one| one == name), "{name} is not wanted");
    }
}

#[test]
fn a_licence_is_judged_by_its_best_alternative_and_by_all_of_its_parts() {
    let allowed = allowed_licences();
    for good in ["MIT", "MIT OR GPL-3.0", "Unlicense/MIT", "Apache-2.0 AND ISC", "(MIT OR Apache-2.0) AND Unicode-3.0"]
    {
        assert!(is_allowed(good, &allowed), "{good}");
    }
    for bad in ["GPL-3.0", "MIT AND GPL-3.0", "(MIT OR ISC) AND GPL-3.0", ""] {
        assert!(!is_allowed(bad, &allowed), "{bad}");
    }
}
