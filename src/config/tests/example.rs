//! The example file at the root: it names every setting, and what it says of defaults is so.

use std::sync::LazyLock;

use crate::config::*;

/// Read when the tests run: it is no part of the program.
static EXAMPLE: LazyLock<String> = LazyLock::new(|| {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/polymarketspy.example.toml")).unwrap()
});

/// Settings without a default, of which the file shows an example.
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

/// The line that sets `name`, without its `#`.
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

/// All of it as text, the secret parts too.
fn shown(settings: &Settings) -> String {
    format!("{} {settings:?}", settings.database.url.reveal())
}

#[test]
fn the_example_sets_nothing_as_it_stands() {
    assert_eq!(shown(&parsed(&EXAMPLE).unwrap()), shown(&Settings::parse(&Sources::default()).unwrap()));
    assert!(EXAMPLE.lines().all(|line| line.is_empty() || line.starts_with('#')));
}

#[test]
fn what_the_example_gives_as_a_default_is_the_default() {
    let default = Settings::parse(&Sources::default()).unwrap();
    for name in NAMES.iter().filter(|name| !NO_DEFAULT.contains(name)) {
        let settings = parsed(&line_of(name)).unwrap();
        assert_eq!(shown(&settings), shown(&default), "{name}");
    }
}

#[test]
fn every_line_of_the_example_can_be_used() {
    let secret = format!("\"{}\"", "s".repeat(64));
    let lines: Vec<String> = NAMES.iter().map(|name| line_of(name).replace("\"\"", &secret)).collect();
    let settings = parsed(&lines.join("\n")).unwrap();
    assert_eq!(settings.follow.traders.len(), 3);
    assert!(settings.redis.url.is_some() && settings.chain.ws_url.is_some() && settings.web.github.is_some());
    let web = &settings.web;
    assert!(web.public_url.is_some() && web.session_secret.is_some());
    assert!(web.admin_email.is_some() && web.real_ip_header.is_some());
}
