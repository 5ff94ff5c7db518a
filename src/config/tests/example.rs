//! The example file at the root names every setting, and states its default correctly.

use std::sync::LazyLock;

use crate::config::*;

/// Read when the tests run: the file is not compiled into the program.
static EXAMPLE: LazyLock<String> = LazyLock::new(|| {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/polymarketspy.example.toml")).unwrap()
});

/// Settings without a default; the file shows an example value.
const NO_DEFAULT: &[&str] = &[
    "REDIS_URL",
    "FOLLOW",
    "ALCHEMY_WS_URL",
    "PUBLIC_URL",
    "SESSION_SECRET",
    "GITHUB_CLIENT_ID",
    "GITHUB_CLIENT_SECRET",
    "ADMIN_EMAIL",
    "REAL_IP_HEADER",
];

/// Returns the line that sets `name`, without its `#`.
fn line_of(name: &str) -> String {
    let head = format!("# {} = ", name.to_ascii_lowercase());
    let mut lines = EXAMPLE.lines().filter(|line| line.starts_with(&head));
    let line = lines.next().unwrap_or_else(|| panic!("{name} is not in the example"));
    assert_eq!(lines.next(), None, "{name} is there twice");
    line["# ".len()..].to_owned()
}

fn parsed(text: &str) -> Result<Settings, SettingError> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("settings.toml");
    std::fs::write(&file, text).unwrap();
    let file = read_file(&file.display().to_string())?;
    Settings::parse(&Sources { file, ..Sources::default() })
}

/// Returns all settings as text, including the secret parts.
fn shown(settings: &Settings) -> String {
    format!("{} {settings:?}", settings.database.url.reveal())
}

#[test]
fn the_unchanged_example_sets_nothing() {
    assert_eq!(shown(&parsed(&EXAMPLE).unwrap()), shown(&Settings::parse(&Sources::default()).unwrap()));
    assert!(EXAMPLE.lines().all(|line| line.is_empty() || line.starts_with('#')));
}

#[test]
fn the_defaults_in_the_example_are_the_real_defaults() {
    let default = Settings::parse(&Sources::default()).unwrap();
    for name in NAMES.iter().filter(|name| !NO_DEFAULT.contains(name)) {
        let settings = parsed(&line_of(name)).unwrap();
        assert_eq!(shown(&settings), shown(&default), "{name}");
    }
}

#[test]
fn every_line_of_the_example_is_valid() {
    let secret = format!("\"{}\"", "s".repeat(64));
    let lines: Vec<String> = NAMES.iter().map(|name| line_of(name).replace("\"\"", &secret)).collect();
    let settings = parsed(&lines.join("\n")).unwrap();
    assert_eq!(settings.follow.traders.len(), 3);
    assert!(settings.redis.url.is_some() && settings.chain.ws_url.is_some() && settings.web.github.is_some());
    let web = &settings.web;
    assert!(web.public_url.is_some() && web.session_secret.is_some());
    assert!(web.admin_email.is_some() && web.real_ip_header.is_some());
}
