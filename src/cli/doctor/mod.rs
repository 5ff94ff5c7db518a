//! `polymarketspy doctor`: checks everything that `run` needs, and advises what to do. Like every command it creates the
//! database if it does not exist, and migrates it to this program's schema.

mod health;
mod redis;

use std::os::unix::fs::PermissionsExt;
use std::process::ExitCode;
use std::time::Duration;

use super::terminal::{clean, say_json};
use crate::clock::Clock;
use crate::config::Settings;
use crate::db::{Db, DbError, FollowedUser, StorageState};
use crate::domain::money::ids::Wallet;
use crate::http_client::http_client;
use crate::polymarket::{Polymarket, PolymarketError};

/// The largest difference between the clocks that whole seconds and the network can explain.
const SKEW_MS_MAX: i64 = 2_000;
/// Above this lag of the Data API, copies come late.
const LAG_SECONDS_MAX: i64 = 60;

/// How long the pages of a database are read for damage.
const PAGES_WITHIN: Duration = Duration::from_secs(60);

const CHAIN_PATIENCE: Duration = Duration::from_secs(5);

#[derive(clap::Args)]
pub struct DoctorArguments {
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

#[derive(serde::Serialize)]
struct Finding {
    check: &'static str,
    state: State,
    detail: String,
    /// Empty when there is nothing to do.
    advice: String,
}

#[derive(Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Fine,
    Warning,
    Wrong,
}

pub async fn doctor(settings: &Settings, arguments: DoctorArguments) -> anyhow::Result<ExitCode> {
    let polymarket = super::users::client(settings);
    let mut findings = vec![settings_finding(settings), health::finding(&settings.health).await];
    findings.push(chain_finding(settings).await);
    findings.extend(database_findings(settings).await);
    findings.push(redis::finding(&settings.redis).await);
    let (data_api, clob, gamma) = futures_util::future::join3(
        data_api_finding(&polymarket, settings),
        clob_finding(&polymarket, settings),
        gamma_finding(&polymarket, settings),
    )
    .await;
    findings.extend([data_api, clob, gamma]);
    if arguments.json {
        say_json(&findings)?;
    } else {
        findings.iter().for_each(Finding::print);
    }
    let wrong = findings.iter().any(|finding| finding.state == State::Wrong);
    Ok(if wrong { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn disk_finding(storage: &StorageState) -> Finding {
    let megabytes = |bytes: i64| format!("{} MB", bytes / 1_000_000);
    let size = megabytes(storage.size_bytes);
    let growth = storage.growth_bytes_per_day.map(|bytes| format!("grows by {} a day", megabytes(bytes)));
    let growth = growth.unwrap_or_else(|| "its growth is known after six hours of `run`".to_owned());
    let Some(free) = storage.free_bytes else {
        return Finding::fine(
            "disk",
            format!("{size} of database, {growth}; the disk of its server cannot be seen from here"),
        );
    };
    let free = megabytes(free);
    let detail = match storage.days_left {
        Some(days) => format!("{size} of database, {growth}; {free} free are enough for {days} days"),
        None => format!("{size} of database, {growth}; {free} free"),
    };
    match storage.is_short() {
        true => Finding::warning("disk", detail, "grow the disk, or stop the bot and run `polymarketspy db vacuum`"),
        false => Finding::fine("disk", detail),
    }
}

/// The settings are valid: they were parsed before this command started.
fn settings_finding(settings: &Settings) -> Finding {
    Finding::fine("settings", format!("pages on {}, logs at {}", settings.web.bind, settings.log.level))
}

async fn chain_finding(settings: &Settings) -> Finding {
    let Some(url) = &settings.chain.ws_url else {
        return Finding::warning(
            "chain",
            "no ALCHEMY_WS_URL: fills are found by polling alone, up to 30 s later".to_owned(),
            "fine for a trial; set ALCHEMY_WS_URL to a Polygon websocket to find fills sooner",
        );
    };
    // The address contains a key, and an error may repeat it: neither is shown.
    let connected = http_client(CHAIN_PATIENCE).ws(url.reveal()).connect();
    match tokio::time::timeout(CHAIN_PATIENCE, connected).await {
        Ok(Ok(_)) => Finding::fine("chain", "the node of ALCHEMY_WS_URL accepts a websocket".to_owned()),
        Ok(Err(_)) | Err(_) => Finding::wrong(
            "chain",
            "the node of ALCHEMY_WS_URL does not accept a websocket".to_owned(),
            "is the address complete and its key still valid? Without it the bot finds fills by polling alone",
        ),
    }
}

async fn database_findings(settings: &Settings) -> Vec<Finding> {
    let db = match Db::connect(settings.database.url.reveal()).await {
        Ok(db) => db,
        Err(error) => {
            let advice = "check DATABASE_URL: does the folder exist, is it writable, does the server answer";
            return vec![Finding::wrong("database", chain_of(&error), advice)];
        }
    };
    let mut findings = vec![match db.migrate().await {
        Ok(()) => Finding::fine("database", "opens, and has this program's schema".to_owned()),
        // The message says what to do.
        Err(error @ (DbError::NewerSchema { .. } | DbError::OtherMigration { .. })) => {
            Finding::wrong("database", error.to_string(), "the database was not changed")
        }
        Err(error) => Finding::wrong("database", chain_of(&error), "is this user allowed to create tables"),
    }];
    findings.extend(pages_finding(&db).await);
    findings.extend(rights_finding(&db));
    if let Ok(storage) = db.storage_state().await {
        findings.push(disk_finding(&storage));
    }
    if let Ok(users) = db.followed_users().await {
        findings.push(users_finding(settings, &users));
    }
    if let Ok(admins) = db.admins().await {
        findings.push(sign_in_finding(settings, admins.len()));
    }
    db.close().await;
    findings
}

/// Reads the pages of a SQLite database for a minute at most.
async fn pages_finding(db: &Db) -> Option<Finding> {
    match db.check_pages(PAGES_WITHIN).await {
        Ok(read) => read.map(|read| Finding::fine("pages", read.to_string())),
        // The message says what to do.
        Err(error) => Some(Finding::wrong("pages", chain_of(&error), "the database was not changed")),
    }
}

/// Warns when other users of the machine can read the database: it holds e-mails and hashes of tokens.
fn rights_finding(db: &Db) -> Option<Finding> {
    let path = db.file()?.path();
    let mode = std::fs::metadata(path).ok()?.permissions().mode();
    (mode & 0o007 != 0).then(|| {
        let detail = format!("every user of this machine can read `{}`", path.display());
        Finding::warning("rights", detail, "chmod 600 the file and those beside it, and chmod 700 their folder")
    })
}

fn users_finding(settings: &Settings, users: &[FollowedUser]) -> Finding {
    let n_enabled = users.iter().filter(|user| user.enabled()).count();
    let is_known =
        |wallet: &Wallet| users.iter().any(|user| user.profile_wallet == *wallet || user.wallets.contains(wallet));
    // The bot follows them when it starts.
    let n_named = settings.follow.traders.iter().filter(|trader| !is_known(&trader.wallet)).count();
    match (n_enabled, n_named) {
        (0, 0) => Finding::warning(
            "users",
            "no trader is followed".to_owned(),
            "polymarketspy follow <wallet or exact profile name>",
        ),
        (_, 0) => Finding::fine("users", format!("{n_enabled} followed")),
        _ => Finding::fine("users", format!("{n_enabled} followed; FOLLOW adds {n_named} when the bot starts")),
    }
}

fn sign_in_finding(settings: &Settings, n_admins: usize) -> Finding {
    let web = &settings.web;
    // The bot adds ADMIN_EMAIL to the list when it starts.
    let n_admins = n_admins.max(usize::from(web.admin_email.is_some()));
    match (&web.github, n_admins) {
        (None, _) => Finding::fine("sign-in", "by the one-time link that `run` prints, from this machine".to_owned()),
        (Some(github), 0) => Finding::warning(
            "sign-in",
            format!("with {}, but no e-mail may sign in", github.base_url),
            "set ADMIN_EMAIL, or polymarketspy admin add <e-mail>",
        ),
        (Some(github), _) => Finding::fine("sign-in", format!("with {}, {n_admins} may sign in", github.base_url)),
    }
}

async fn data_api_finding(polymarket: &Polymarket, settings: &Settings) -> Finding {
    let host = &settings.upstreams.data_api;
    match polymarket.data_api_lag_seconds().await {
        Ok(lag) if lag > LAG_SECONDS_MAX => Finding::warning(
            "data api",
            format!("{host} answers, but its rows are {lag} s late"),
            "wait: Polymarket is behind the chain, so the bot finds fills late",
        ),
        Ok(lag) => Finding::fine("data api", format!("{host} answers, {lag} s behind the chain")),
        Err(error) => unreachable("data api", host, "POLYMARKET_DATA_API_BASE_URL", &error),
    }
}

/// The CLOB also returns the time, so this checks this machine's clock too.
async fn clob_finding(polymarket: &Polymarket, settings: &Settings) -> Finding {
    let host = &settings.upstreams.clob;
    let asked = Clock::System.now();
    match polymarket.server_time().await {
        Ok(theirs) => {
            let ours = Clock::System.now();
            // The answer is in whole seconds: the exact time lies anywhere in that second, and anywhere in our wait.
            let behind = theirs.millis_since(ours);
            let ahead = asked.millis_since(theirs.plus_millis(999));
            match behind.max(ahead) {
                skew if skew > SKEW_MS_MAX => Finding::wrong(
                    "clock",
                    format!("this machine's clock is off by at least {} s", skew / 1000),
                    "let the machine keep time (systemd-timesyncd, chrony): wrong time distorts detection lags and signal ages",
                ),
                _ => Finding::fine("clob", format!("{host} answers, and the clocks agree")),
            }
        }
        Err(error) => unreachable("clob", host, "POLYMARKET_CLOB_BASE_URL", &error),
    }
}

/// Searches for a profile that does not exist: any answer shows that the host works.
async fn gamma_finding(polymarket: &Polymarket, settings: &Settings) -> Finding {
    let host = &settings.upstreams.gamma;
    match polymarket.search_profile("polymarketspy doctor").await {
        Ok(_) => Finding::fine("gamma", format!("{host} answers")),
        Err(error) => unreachable("gamma", host, "POLYMARKET_GAMMA_BASE_URL", &error),
    }
}

fn unreachable(check: &'static str, host: &str, setting: &str, error: &PolymarketError) -> Finding {
    let advice = format!("is the network up, and is {setting} right? Try: curl -sS {host}");
    Finding { check, state: State::Wrong, detail: format!("{host}: {error}"), advice }
}

impl Finding {
    fn fine(check: &'static str, detail: String) -> Self {
        Self { check, state: State::Fine, detail, advice: String::new() }
    }

    fn warning(check: &'static str, detail: String, advice: &str) -> Self {
        Self { check, state: State::Warning, detail, advice: advice.to_owned() }
    }

    fn wrong(check: &'static str, detail: String, advice: &str) -> Self {
        Self { check, state: State::Wrong, detail, advice: advice.to_owned() }
    }

    fn print(&self) {
        let sign = match self.state {
            State::Fine => "ok     ",
            State::Warning => "warning",
            State::Wrong => "WRONG  ",
        };
        println!("{sign}  {:<9}  {}", self.check, clean(&self.detail));
        if !self.advice.is_empty() {
            println!("                    → {}", self.advice);
        }
    }
}

fn chain_of(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
