//! Malformed settings files are read or refused, and no error contains a secret.

use proptest::prelude::*;

use crate::config::*;
use crate::testkit::malformed::{mutated_text, noise, words};

/// Placed wherever a secret may be.
const SECRET: &str = "hunter2-of-nobody";

/// Returns a file that sets everything.
fn whole() -> String {
    let session = format!("{SECRET}{}", "s".repeat(64));
    format!(
        r#"# all of it
database_url = "postgres://me:{SECRET}@127.0.0.1/spy"
redis_url = "rediss://:{SECRET}@127.0.0.1:6379/0"
polymarket_data_api_base_url = "https://data-api.example.org"
polymarket_clob_base_url = "https://clob.example.org"
polymarket_gamma_base_url = 'https://gamma.example.org/'
alchemy_ws_url = "wss://node.example.org/v2/{SECRET}"
exchange_addresses = "0xE111180000d2663C0091e4f400237545B87B996B,0xe2222d279d744050d28e00520010520000310f59"
follow = "ada=0x1111111111111111111111111111111111111111,0x2222222222222222222222222222222222222222"
bind = "127.0.0.1:8080"
public_url = "https://spy.example.org"
session_secret = "{session}"
health_bind = "off"
log_level = "polymarketspy=debug,warn"
"#
    )
}

/// A TOML value of any type.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => words().prop_map(|text| toml::Value::String(text).to_string()),
        1 => prop::sample::select(vec![
            "1", "-0", "1e400", "nan", "inf", "0x_1", "true", "[]", "{}", "1979-05-27T07:32:00Z", "9223372036854775808",
            "\"\"\"\n\"\"\"", "''''''", "\"\\ud800\"", "\"\\U00110000\"", "=", "", "\"",
        ]).prop_map(str::to_owned),
        1 => (1_usize..3_000).prop_map(|n| format!("{}{}", "[".repeat(n), "]".repeat(n))),
        1 => (1_usize..300).prop_map(|n| format!("{}1{}", "{ a = ".repeat(n), " }".repeat(n))),
    ]
}

/// The file with lines replaced or inserted.
fn lines() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        4 => (prop::sample::select(NAMES), value()).prop_map(|(name, value)| format!("{} = {value}", name.to_ascii_lowercase())),
        1 => (words(), value()).prop_map(|(name, value)| format!("{name} = {value}")),
        1 => (1_usize..3_000).prop_map(|n| format!("a{} = 1", ".a".repeat(n))),
        1 => prop::sample::select(NAMES).prop_map(|name| format!("[{}]", name.to_ascii_lowercase())),
        1 => words(),
    ];
    let change = (any::<prop::sample::Index>(), any::<bool>(), line);
    prop::collection::vec(change, 0..4).prop_map(|changes| {
        let mut lines: Vec<String> = whole().lines().map(str::to_owned).collect();
        for (at, replaces, line) in changes {
            let at = at.index(lines.len());
            if replaces {
                lines[at] = line;
            } else {
                lines.insert(at, line);
            }
        }
        lines.join("\n")
    })
}

fn settings(text: &[u8]) -> Result<Settings, SettingError> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("settings.toml");
    std::fs::write(&file, text).unwrap();
    let file = read_file(&file.display().to_string())?;
    Settings::parse(&Sources { file, ..Sources::default() })
}

/// Checks that accepted settings are usable, and that an error contains no secret.
fn is_discreet(text: &[u8]) -> Result<(), TestCaseError> {
    match settings(text) {
        Ok(settings) => {
            let upstreams = &settings.upstreams;
            for url in
                [&upstreams.data_api, &upstreams.clob, &upstreams.gamma].into_iter().chain(&settings.web.public_url)
            {
                prop_assert!(url.starts_with("http://") || url.starts_with("https://"), "{url}");
                prop_assert!(!url.ends_with('/') && !url.contains(char::is_whitespace), "{url}");
            }
            prop_assert!(settings.web.bind.ip().is_loopback());
            prop_assert!(settings.web.session_secret.as_ref().is_none_or(|secret| secret.reveal().len() >= 64));
            let shown = format!("{settings:?}");
            prop_assert!(!shown.contains(SECRET), "{shown}");
        }
        // These errors show a key of the file; a key that is not a setting may be any text.
        Err(SettingError::Unknown { .. } | SettingError::NotText { .. }) => {}
        Err(error) => {
            let shown = format!("{error} {error:?}");
            prop_assert!(!shown.contains(SECRET), "{shown}");
            if let SettingError::Wrong { name, should_be, .. }
            | SettingError::WrongEntry { name, problem: should_be, .. } = &error
            {
                prop_assert!(NAMES.contains(name) && error.to_string().contains(should_be));
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn settings_files_are_read_or_refused(text in prop_oneof![4 => lines(), 4 => mutated_text(whole()), 1 => noise()]) {
        is_discreet(text.as_bytes())?;
    }

    #[test]
    fn settings_of_any_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        is_discreet(&bytes)?;
    }

    #[test]
    fn settings_of_any_text_are_used_or_named(name in prop::sample::select(NAMES), text in words(), is_secret in any::<bool>()) {
        let text = if is_secret { format!("{text}{SECRET}") } else { text };
        let environment = BTreeMap::from([(name, text)]);
        if let Err(error) = Settings::parse(&Sources { environment, ..Sources::default() }) {
            // If only one half of the GitHub app is set, the error names the other half.
            let named = if name.starts_with("GITHUB_CLIENT_") { "GITHUB_CLIENT_" } else { name };
            prop_assert!(error.to_string().contains(named), "{error}");
            let is_private = matches!(
                name,
                "DATABASE_URL" | "REDIS_URL" | "ALCHEMY_WS_URL" | "SESSION_SECRET" | "GITHUB_CLIENT_SECRET"
            );
            prop_assert!(!is_private || !error.to_string().contains(SECRET), "{error}");
        }
    }
}
