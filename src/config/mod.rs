//! Settings: flags, then environment, then an optional TOML file, read once (spec 13).
//!
//! In    the command line's flags, the process environment, `polymarketspy.toml`.
//! Out   small structs, one per concern; each part of the program receives its own and never the whole.
//! Fails [`SettingError`], which names the setting, its value and what is allowed.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf};

use crate::domain::money::ids::Wallet;

mod follow;
#[cfg(test)]
mod tests;
mod web;

pub use crate::secret::Secret;
pub use follow::{FollowSettings, NamedWallet};
pub use web::{GithubSettings, WebSettings};

/// An invalid, missing or unknown setting. The program does not start with it.
#[derive(Debug, thiserror::Error)]
pub enum SettingError {
    #[error("setting `{name}` is `{was}`, it should be {should_be}")]
    Wrong { name: &'static str, was: String, should_be: &'static str },
    #[error("entry `{entry}` of setting `{name}` {problem}")]
    WrongEntry { name: &'static str, entry: String, problem: &'static str },
    #[error(
        "`{flag}` has a {secret} in it, and other users of the machine can read a command line: set {name} in the \
        environment or in the settings file"
    )]
    SecretInFlag { flag: &'static str, secret: &'static str, name: &'static str },
    #[error("`{key}` in `{file}` is not a setting; the settings are {known}")]
    Unknown { key: String, file: String, known: String },
    #[error("cannot read settings file `{file}`")]
    Unreadable { file: String, source: std::io::Error },
    /// The error does not contain the line, which may hold a secret.
    #[error("settings file `{file}` is not valid TOML at line {line}: {problem}")]
    NotToml { file: String, line: usize, problem: String },
    #[error("`{key}` in `{file}` should be a text in quotes")]
    NotText { key: String, file: String },
}

/// All settings of the program.
#[derive(Debug, Clone)]
pub struct Settings {
    pub database: DatabaseSettings,
    pub redis: RedisSettings,
    pub upstreams: UpstreamSettings,
    pub chain: ChainSettings,
    pub follow: FollowSettings,
    pub web: WebSettings,
    pub health: HealthSettings,
    pub log: LogSettings,
}

#[derive(Debug, Clone)]
pub struct DatabaseSettings {
    /// `DATABASE_URL`: `sqlite://path` or `postgres://…`. Default: `sqlite://data/polymarketspy.db`.
    pub url: Secret,
}

#[derive(Debug, Clone, Default)]
pub struct RedisSettings {
    /// `REDIS_URL`: sends wake-ups and live rows between processes. Without it each process polls the database.
    pub url: Option<Secret>,
}

#[derive(Debug, Clone)]
pub struct UpstreamSettings {
    /// `POLYMARKET_DATA_API_BASE_URL`. Default: the public host.
    pub data_api: String,
    /// `POLYMARKET_CLOB_BASE_URL`. Default: the public host.
    pub clob: String,
    /// `POLYMARKET_GAMMA_BASE_URL`. Default: the public host.
    pub gamma: String,
}

#[derive(Debug, Clone)]
pub struct ChainSettings {
    /// `ALCHEMY_WS_URL`: websocket of a Polygon node. Without it the bot finds fills by polling alone.
    pub ws_url: Option<Secret>,
    /// `EXCHANGE_ADDRESSES`: the contracts whose fills the bot watches, separated by commas. Default: the three live exchanges.
    pub exchanges: Vec<Wallet>,
}

#[derive(Debug, Clone)]
pub struct HealthSettings {
    /// `HEALTH_BIND`: where the worker serves `/health` and `/metrics`, or `off`. Default: `127.0.0.1:8081`. Their content
    /// is not secret, so any address is allowed: the scraper may be on another machine.
    pub bind: Option<SocketAddr>,
}

#[derive(Debug, Clone)]
pub struct LogSettings {
    /// `LOG_LEVEL`: a filter such as `info` or `polymarketspy=debug,warn`. Default: `info`.
    pub level: String,
}

const LIVE_EXCHANGES: &str = "0xE111180000d2663C0091e4f400237545B87B996B,\
    0xe2222d279d744050d28e00520010520000310F59,0xe3333700cA9d93003F00f0F71f8515005F6c00Aa";

/// The name of every setting. In TOML it is in lower case, as a flag it has dashes; the two secrets have no flag.
pub const NAMES: &[&str] = &[
    "DATABASE_URL",
    "REDIS_URL",
    "POLYMARKET_DATA_API_BASE_URL",
    "POLYMARKET_CLOB_BASE_URL",
    "POLYMARKET_GAMMA_BASE_URL",
    "ALCHEMY_WS_URL",
    "EXCHANGE_ADDRESSES",
    "FOLLOW",
    "BIND",
    "PUBLIC_URL",
    "SESSION_SECRET",
    "GITHUB_CLIENT_ID",
    "GITHUB_CLIENT_SECRET",
    "GITHUB_BASE_URL",
    "GITHUB_API_BASE_URL",
    "ADMIN_EMAIL",
    "REAL_IP_HEADER",
    "HEALTH_BIND",
    "LOG_LEVEL",
];

/// The texts of the settings by source; the first source that has a setting wins.
#[derive(Debug, Default)]
pub struct Sources {
    flags: BTreeMap<&'static str, String>,
    environment: BTreeMap<&'static str, String>,
    file: BTreeMap<&'static str, String>,
}

impl Sources {
    /// Reads the environment and `file`, or `polymarketspy.toml` in the current folder if it exists.
    ///
    /// # Errors
    /// [`SettingError`] when the file cannot be read, a key is not a setting, or a value is not a text.
    pub fn read(flags: BTreeMap<&'static str, String>, file: Option<PathBuf>) -> Result<Self, SettingError> {
        let environment = NAMES.iter().filter_map(|name| std::env::var(name).ok().map(|text| (*name, text))).collect();
        let default_file = PathBuf::from("polymarketspy.toml");
        let path = file.or_else(|| default_file.exists().then_some(default_file));
        let file = match path {
            Some(path) => read_file(&path.display().to_string())?,
            None => BTreeMap::new(),
        };
        Ok(Self { flags, environment, file })
    }

    /// Takes only these texts and ignores the environment: for tests, and for a bot built inside another program.
    pub fn from_flags(flags: BTreeMap<&'static str, String>) -> Self {
        Self { flags, ..Self::default() }
    }

    /// An empty text counts as not set: that is what a line `NAME=` in an environment file means.
    fn text(&self, name: &'static str) -> Option<&str> {
        [&self.flags, &self.environment, &self.file]
            .into_iter()
            .find_map(|source| source.get(name))
            .map(|text| text.trim())
            .filter(|text| !text.is_empty())
    }

    fn text_or<'a>(&'a self, name: &'static str, default: &'a str) -> &'a str {
        self.text(name).unwrap_or(default)
    }
}

impl Settings {
    /// Parses every setting.
    ///
    /// # Errors
    /// [`SettingError`] for the first setting that is invalid.
    pub fn parse(sources: &Sources) -> Result<Self, SettingError> {
        Ok(Self {
            database: DatabaseSettings { url: database_url(sources)? },
            redis: RedisSettings { url: redis_url(sources)? },
            upstreams: UpstreamSettings {
                data_api: http_url(sources, "POLYMARKET_DATA_API_BASE_URL", "https://data-api.polymarket.com")?,
                clob: http_url(sources, "POLYMARKET_CLOB_BASE_URL", "https://clob.polymarket.com")?,
                gamma: http_url(sources, "POLYMARKET_GAMMA_BASE_URL", "https://gamma-api.polymarket.com")?,
            },
            chain: ChainSettings { ws_url: chain_url(sources)?, exchanges: exchanges(sources)? },
            follow: follow::follow(sources)?,
            web: web::web(sources)?,
            health: HealthSettings { bind: health_bind(sources)? },
            log: LogSettings { level: log_level(sources)? },
        })
    }
}

/// Reads `NO_COLOR`, a convention of many programs and not a setting of ours: any value asks for plain text.
pub fn colours_wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|text| text.is_empty())
}

fn read_file(file: &str) -> Result<BTreeMap<&'static str, String>, SettingError> {
    let text =
        std::fs::read_to_string(file).map_err(|source| SettingError::Unreadable { file: file.to_owned(), source })?;
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        SettingError::NotToml { file: file.to_owned(), line, problem: error.message().to_owned() }
    })?;
    let mut settings = BTreeMap::new();
    for (key, value) in table {
        let Some(name) = NAMES.iter().find(|name| name.to_ascii_lowercase() == key) else {
            let known = NAMES.join(", ").to_ascii_lowercase();
            return Err(SettingError::Unknown { key, file: file.to_owned(), known });
        };
        let toml::Value::String(text) = value else {
            return Err(SettingError::NotText { key, file: file.to_owned() });
        };
        settings.insert(*name, text);
    }
    Ok(settings)
}

fn database_url(sources: &Sources) -> Result<Secret, SettingError> {
    let url = sources.text_or("DATABASE_URL", "sqlite://data/polymarketspy.db");
    let known = ["sqlite:", "postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme));
    if !known {
        // The value may contain a password, or be one: the error shows only its scheme.
        let was = url.split_once("://").map_or_else(|| "***".to_owned(), |(scheme, _)| format!("{scheme}://…"));
        return Err(SettingError::Wrong {
            name: "DATABASE_URL", was, should_be: "`sqlite://path` or `postgres://…`"
        });
    }
    Ok(Secret::new(url))
}

fn redis_url(sources: &Sources) -> Result<Option<Secret>, SettingError> {
    match sources.text("REDIS_URL") {
        None => Ok(None),
        Some(url) if url.starts_with("redis://") || url.starts_with("rediss://") => Ok(Some(Secret::new(url))),
        // It may contain a password: the error does not repeat it.
        Some(_) => Err(SettingError::Wrong {
            name: "REDIS_URL",
            was: "***".to_owned(),
            should_be: "a redis:// or rediss:// address",
        }),
    }
}

fn http_url(sources: &Sources, name: &'static str, default: &str) -> Result<String, SettingError> {
    let url = sources.text_or(name, default);
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    match rest {
        Some(host) if !host.is_empty() && !host.contains(char::is_whitespace) => {
            Ok(url.trim_end_matches('/').to_owned())
        }
        _ => Err(SettingError::Wrong { name, was: url.to_owned(), should_be: "an http:// or https:// address" }),
    }
}

fn chain_url(sources: &Sources) -> Result<Option<Secret>, SettingError> {
    match sources.text("ALCHEMY_WS_URL") {
        None => Ok(None),
        Some(url) if url.starts_with("wss://") || url.starts_with("ws://") => Ok(Some(Secret::new(url))),
        // The path contains a key: the error does not repeat it.
        Some(_) => Err(SettingError::Wrong {
            name: "ALCHEMY_WS_URL",
            was: "***".to_owned(),
            should_be: "a ws:// or wss:// address",
        }),
    }
}

fn exchanges(sources: &Sources) -> Result<Vec<Wallet>, SettingError> {
    let text = sources.text_or("EXCHANGE_ADDRESSES", LIVE_EXCHANGES);
    text.split(',').map(|address| Wallet::parse(address.trim())).collect::<Result<_, _>>().map_err(|_| {
        SettingError::Wrong {
            name: "EXCHANGE_ADDRESSES",
            was: text.to_owned(),
            should_be: "contract addresses (0x and 40 hex digits), separated by commas",
        }
    })
}

fn health_bind(sources: &Sources) -> Result<Option<SocketAddr>, SettingError> {
    let text = sources.text_or("HEALTH_BIND", "127.0.0.1:8081");
    if text == "off" {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| SettingError::Wrong {
        name: "HEALTH_BIND",
        was: text.to_owned(),
        should_be: "an address and port such as 127.0.0.1:8081 (port 0: any free port), or `off`",
    })
}

fn log_level(sources: &Sources) -> Result<String, SettingError> {
    let text = sources.text_or("LOG_LEVEL", "info");
    match tracing_subscriber::EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(SettingError::Wrong {
            name: "LOG_LEVEL",
            was: text.to_owned(),
            should_be: "error, warn, info, debug, trace or a filter such as polymarketspy=debug,warn",
        }),
    }
}
