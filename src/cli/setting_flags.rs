//! The settings as flags of the command line, one table: help text, field, environment variable, placeholder.
//!
//! A flag wins over the environment and the settings file (see [`crate::config`]).

use std::{collections::BTreeMap, path::PathBuf};

use crate::config::{SettingError, Sources};

/// Writes the struct that clap parses, and the list that gives each flag the name of its setting.
macro_rules! setting_flags {
    ($($(#[$help:meta])+ $flag:ident, $name:literal, $placeholder:literal;)+) => {
        /// Every setting as a flag, but for the two secrets: other users of the machine can read a command line.
        #[derive(clap::Args)]
        pub struct SettingFlags {
            /// Settings file; without this flag `polymarketspy.toml` in the current folder, if it exists
            #[arg(long, global = true, value_name = "FILE", help_heading = "Settings")]
            config: Option<PathBuf>,
            $(
                $(#[$help])+
                #[arg(long, global = true, value_name = $placeholder, help_heading = "Settings")]
                $flag: Option<String>,
            )+
        }

        impl SettingFlags {
            /// Reads the environment and the settings file, and puts the given flags before both.
            ///
            /// # Errors
            /// [`SettingError`] when the settings file cannot be read, or names an unknown setting; when a flag holds a
            /// secret.
            pub fn into_sources(self) -> Result<Sources, SettingError> {
                let flags = [$(($name, self.$flag)),+];
                let given: BTreeMap<&'static str, String> =
                    flags.into_iter().filter_map(|(name, text)| text.map(|text| (name, text))).collect();
                refuse_secrets(&given)?;
                Sources::read(given, self.config)
            }
        }
    };
}

/// Flags whose address may hold a secret: the setting, the flag, and what the secret is.
const ADDRESSES: [(&str, &str, &str); 3] = [
    ("DATABASE_URL", "--database-url", "password"),
    ("REDIS_URL", "--redis-url", "password"),
    ("ALCHEMY_WS_URL", "--alchemy-ws-url", "key"),
];

/// Refuses a flag with a secret in its address.
fn refuse_secrets(flags: &BTreeMap<&'static str, String>) -> Result<(), SettingError> {
    for (name, flag, secret) in ADDRESSES {
        if flags.get(name).is_some_and(|address| has_secret(address, secret)) {
            return Err(SettingError::SecretInFlag { flag, secret, name });
        }
    }
    Ok(())
}

/// Returns whether an address has a password (`//user:password@host`, `?password=`), or for a node a path, where
/// providers have the key.
fn has_secret(address: &str, secret: &str) -> bool {
    let Some((_, rest)) = address.split_once("://") else { return address.contains('@') };
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = place.split_once('/').unwrap_or((place, ""));
    // A password may hold a slash or a question mark that is not encoded.
    let user = rest.rsplit_once('@').map_or("", |(user, _)| user);
    let has_password = user.split_once(':').is_some_and(|(_, password)| !password.is_empty());
    let asked = query.split('&').filter_map(|pair| pair.split_once('='));
    let has_parameter =
        asked.into_iter().any(|(key, value)| key.to_ascii_lowercase().contains("pass") && !value.is_empty());
    let has_key = secret == "key" && !(path.is_empty() && query.is_empty() && !authority.contains('@'));
    has_password || has_parameter || has_key
}

setting_flags! {
    /// `sqlite://path` or `postgres://…`; an address with a password only from the environment or the settings file [env: DATABASE_URL] [default: sqlite://data/polymarketspy.db]
    database_url, "DATABASE_URL", "URL";
    /// Sends wake-ups between processes; required with `--role worker` and `--role web`; with a password only from the
    /// environment or the settings file [env: REDIS_URL]
    redis_url, "REDIS_URL", "URL";
    /// [env: POLYMARKET_DATA_API_BASE_URL] [default: https://data-api.polymarket.com]
    polymarket_data_api_base_url, "POLYMARKET_DATA_API_BASE_URL", "URL";
    /// [env: POLYMARKET_CLOB_BASE_URL] [default: https://clob.polymarket.com]
    polymarket_clob_base_url, "POLYMARKET_CLOB_BASE_URL", "URL";
    /// [env: POLYMARKET_GAMMA_BASE_URL] [default: https://gamma-api.polymarket.com]
    polymarket_gamma_base_url, "POLYMARKET_GAMMA_BASE_URL", "URL";
    /// Websocket of a Polygon node; without it the bot finds fills by polling alone; with a key only from the environment
    /// or the settings file [env: ALCHEMY_WS_URL]
    alchemy_ws_url, "ALCHEMY_WS_URL", "URL";
    /// Exchange contracts whose fills the bot watches, separated by commas [env: EXCHANGE_ADDRESSES]
    exchange_addresses, "EXCHANGE_ADDRESSES", "ADDRESSES";
    /// Traders to follow from the first start: `label=wallet` or a wallet, separated by commas [env: FOLLOW]
    follow, "FOLLOW", "TRADERS";
    /// Address that serves the pages; loopback only, unless sign-in with GitHub is set up [env: BIND] [default: 127.0.0.1:8080]
    bind, "BIND", "ADDRESS";
    /// Address of the pages as a browser sees it, if it differs from BIND [env: PUBLIC_URL]
    public_url, "PUBLIC_URL", "URL";
    /// OAuth app for sign-in with GitHub; its secret is GITHUB_CLIENT_SECRET [env: GITHUB_CLIENT_ID]
    github_client_id, "GITHUB_CLIENT_ID", "ID";
    /// Another GitHub, such as an Enterprise server [env: GITHUB_BASE_URL] [default: https://github.com]
    github_base_url, "GITHUB_BASE_URL", "URL";
    /// API of that GitHub [env: GITHUB_API_BASE_URL] [default: /api/v3 of an Enterprise server]
    github_api_base_url, "GITHUB_API_BASE_URL", "URL";
    /// E-mail that may sign in from the first start [env: ADMIN_EMAIL]
    admin_email, "ADMIN_EMAIL", "E-MAIL";
    /// Header in which the proxy in front of this server sends the client's address, such as X-Real-IP [env: REAL_IP_HEADER]
    real_ip_header, "REAL_IP_HEADER", "NAME";
    /// Address where the worker serves /health and /metrics, or `off` [env: HEALTH_BIND] [default: 127.0.0.1:8081]
    health_bind, "HEALTH_BIND", "ADDRESS";
    /// `info`, or a filter such as `polymarketspy=debug,warn` [env: LOG_LEVEL] [default: info]
    log_level, "LOG_LEVEL", "FILTER";
}

#[cfg(test)]
mod tests {
    use clap::Args;

    use super::*;
    use crate::config::NAMES;

    #[test]
    fn every_setting_but_the_secrets_is_a_flag_whose_help_names_its_variable() {
        let command = SettingFlags::augment_args(clap::Command::new("polymarketspy"));
        let flags: Vec<&clap::Arg> = command.get_arguments().filter(|flag| flag.get_id() != "config").collect();
        let variable = |flag: &clap::Arg| flag.get_id().as_str().to_ascii_uppercase();
        for flag in &flags {
            let help = flag.get_help().expect("each flag has a help text").to_string();
            assert!(help.contains(&format!("[env: {}]", variable(flag))), "{help}");
        }
        let flags: Vec<String> = flags.into_iter().map(variable).collect();
        let secrets = ["SESSION_SECRET", "GITHUB_CLIENT_SECRET"];
        let wanted: Vec<&str> = NAMES.iter().copied().filter(|name| !secrets.contains(name)).collect();
        assert_eq!(flags, wanted);
    }

    #[test]
    fn an_address_with_a_secret_is_refused_as_a_flag_and_the_error_does_not_repeat_it() {
        let check = |name: &'static str, address: &str, is_refused: bool| {
            let refused = refuse_secrets(&BTreeMap::from([(name, address.to_owned())])).err();
            assert_eq!(refused.is_some(), is_refused, "{name} {address}");
            if let Some(error) = refused {
                let text = error.to_string();
                assert!(
                    text.contains(&format!("set {name} in the environment")) && !text.contains("hunter2"),
                    "{text}"
                );
            }
        };
        for address in [
            "postgres://me:hunter2@host/db",
            "postgres://host/db?password=hunter2",
            "me:hunter2@host/db",
            "postgres://me:hun/ter2@host/db",
            "postgres://:hunter2@host",
        ] {
            check("DATABASE_URL", address, true);
        }
        for address in [
            "sqlite://data/a.db",
            "postgres://me@host:5432/db",
            "postgres://host/db?sslmode=require",
            "postgres://me:@host/db",
        ] {
            check("DATABASE_URL", address, false);
        }
        check("REDIS_URL", "redis://:hunter2@127.0.0.1:1", true);
        check("REDIS_URL", "redis://127.0.0.1:6379/0", false);
        check("ALCHEMY_WS_URL", "wss://polygon.example/v2/hunter2", true);
        check("ALCHEMY_WS_URL", "wss://polygon.example/?key=hunter2", true);
        check("ALCHEMY_WS_URL", "ws://127.0.0.1:8545", false);
        check("FOLLOW", "a:b@c", false);
    }
}
