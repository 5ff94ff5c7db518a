//! Settings: the order of the sources, and the values that are refused.

use super::super::*;

pub(in crate::config) fn from_environment(pairs: &[(&'static str, &str)]) -> Result<Settings, SettingError> {
    let environment = pairs.iter().map(|(name, text)| (*name, (*text).to_owned())).collect();
    Settings::parse(&Sources { environment, ..Sources::default() })
}

#[test]
fn nothing_set_means_the_embedded_default_on_loopback() {
    let settings = from_environment(&[]).unwrap();
    assert_eq!(settings.database.url.reveal(), "sqlite://data/polymarketspy.db");
    assert_eq!(settings.web.bind.to_string(), "127.0.0.1:8080");
    assert_eq!(settings.health.bind.unwrap().to_string(), "127.0.0.1:8081");
    assert_eq!(settings.chain.exchanges.len(), 3);
    assert!(settings.chain.ws_url.is_none());
}

#[test]
fn a_wrong_setting_is_named_with_its_allowed_values() {
    let check = |name, text, part: &str| {
        let message = from_environment(&[(name, text)]).unwrap_err().to_string();
        assert!(message.contains(name) && message.contains(part), "{message}");
    };
    check("DATABASE_URL", "mysql://me:pass@host", "sqlite://");
    check("POLYMARKET_CLOB_BASE_URL", "clob.polymarket.com", "https://");
    check("REDIS_URL", "127.0.0.1:6379", "redis://");
    check("BIND", "8080", "127.0.0.1:8080");
    check("BIND", "0.0.0.0:8080", "loopback");
    check("HEALTH_BIND", "localhost", "127.0.0.1:8081");
    check("ALCHEMY_WS_URL", "https://node/KEY", "wss://");
    check("EXCHANGE_ADDRESSES", "0x12", "40 hex digits");
    check("SESSION_SECRET", "short", "64 characters");
    check("ADMIN_EMAIL", "me", "you@example.com");
    check("REAL_IP_HEADER", "X Real IP", "X-Real-IP");
    check("LOG_LEVEL", "a=b=c", "info");
}

#[test]
fn errors_and_debug_texts_contain_no_secret() {
    let message = from_environment(&[("DATABASE_URL", "mysql://me:hunter2@host")]).unwrap_err().to_string();
    assert!(message.contains("`mysql://…`") && !message.contains("hunter2"), "{message}");
    let message = from_environment(&[("DATABASE_URL", "hunter2")]).unwrap_err().to_string();
    assert!(!message.contains("hunter2"), "{message}");
    let message = from_environment(&[("ALCHEMY_WS_URL", "https://node/hunter2")]).unwrap_err().to_string();
    assert!(!message.contains("hunter2"), "{message}");
    let settings = from_environment(&[("DATABASE_URL", "postgres://me:hunter2@host/db")]).unwrap();
    assert!(!format!("{settings:?}").contains("hunter2"));
}

#[test]
fn the_error_for_a_broken_settings_file_names_the_line_but_does_not_repeat_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("settings.toml");
    std::fs::write(&file, "bind = \"127.0.0.1:1\"\nsession_secret = hunter2\n").unwrap();
    let message = Sources::read(BTreeMap::new(), Some(file)).unwrap_err().to_string();
    assert!(message.contains("line 2") && !message.contains("hunter2"), "{message}");
}

#[test]
fn flags_win_over_environment_and_environment_over_the_file() {
    let one = |text: &str| BTreeMap::from([("BIND", text.to_owned())]);
    let bind = |sources| Settings::parse(&sources).unwrap().web.bind.port();
    let (flags, environment, file) = (one("127.0.0.1:1"), one("127.0.0.1:2"), one("127.0.0.1:3"));
    assert_eq!(bind(Sources { flags, environment: environment.clone(), file: file.clone() }), 1);
    assert_eq!(bind(Sources { environment, file: file.clone(), ..Sources::default() }), 2);
    assert_eq!(bind(Sources { file, ..Sources::default() }), 3);
}

#[test]
fn health_may_be_off_or_on_any_address() {
    let bind = |text| from_environment(&[("HEALTH_BIND", text)]).unwrap().health.bind.map(|bind| bind.to_string());
    assert_eq!(bind("off"), None);
    assert_eq!(bind("0.0.0.0:0").as_deref(), Some("0.0.0.0:0"));
}

#[test]
fn a_key_that_is_not_a_setting_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("settings.toml");
    std::fs::write(&file, "bindd = \"127.0.0.1:1\"\n").unwrap();
    let message = Sources::read(BTreeMap::new(), Some(file)).unwrap_err().to_string();
    assert!(message.contains("`bindd`") && message.contains("database_url"), "{message}");
}
