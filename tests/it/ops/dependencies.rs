//! Our dependencies: where they come from, their licences, and crates that must not be among them.

use std::process::Command;

/// Licences that require at most attribution, or that changes of their own files stay open.
const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MPL-2.0",
    "Unicode-3.0",
    "Zlib",
];

/// A second TLS or HTTP client would be a second one to keep patched; actix-governor is GPL.
const UNWANTED: &[&str] = &["actix-governor", "native-tls", "openssl", "openssl-sys", "reqwest"];

const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

fn packages() -> Vec<serde_json::Value> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let words = ["metadata", "--locked", "--offline", "--format-version", "1"];
    let output = Command::new(cargo).args(words).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

/// Whether one of the alternatives of `licence` consists of allowed licences only.
fn is_allowed(licence: &str) -> bool {
    let licence = licence.replace('/', " OR ");
    if let Some(rest) = licence.strip_prefix('(') {
        // `(A OR B) AND C`
        let (inside, after) = rest.split_once(')').unwrap();
        let after = after.trim().strip_prefix("AND ").unwrap_or_default();
        return is_allowed(inside) && (after.is_empty() || is_allowed(after));
    }
    licence.split(" OR ").any(|choice| choice.split(" AND ").all(|part| ALLOWED.contains(&part.trim())))
}

#[test]
fn every_crate_comes_from_the_registry_under_a_licence_that_lets_us_be_used() {
    let packages = packages();
    assert!(packages.len() > 100, "{} packages are too few for the lock file", packages.len());
    for package in &packages {
        let name = package["name"].as_str().unwrap();
        if name == env!("CARGO_PKG_NAME") {
            continue;
        }
        assert_eq!(package["source"], REGISTRY, "{name}");
        let licence = package["license"].as_str().unwrap_or_default();
        assert!(is_allowed(licence), "{name} is under `{licence}`");
        assert!(!UNWANTED.contains(&name), "{name} is not wanted");
    }
}

#[test]
fn a_licence_is_judged_by_its_best_alternative_and_by_all_of_its_parts() {
    for good in ["MIT", "MIT OR GPL-3.0", "Unlicense/MIT", "Apache-2.0 AND ISC", "(MIT OR Apache-2.0) AND Unicode-3.0"]
    {
        assert!(is_allowed(good), "{good}");
    }
    for bad in ["GPL-3.0", "MIT AND GPL-3.0", "(MIT OR ISC) AND GPL-3.0", ""] {
        assert!(!is_allowed(bad), "{bad}");
    }
}
