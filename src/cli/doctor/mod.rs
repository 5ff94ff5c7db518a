//! `polymarketspy doctor`: is everything there that `run` needs, and if not, what to do. Like every command it makes the
//! database when there is none and brings it to this program's schema.

mod health;
mod redis;

use std::process::ExitCode;
use std::time::Duration;

use super::terminal::{clean, say_json};
use crate::clock::Clock;
use crate::config::Settings;
use crate::db::{Db, DbError, FollowedUser};
use crate::domain::money::ids::Wallet;
use crate::polymarket::{Polymarket, PolymarketError};

/// A skew below this is what whole seconds and the way there explain.
const SKEW_MS_MAX: i64 = 2_000;
/// Beyond this the Data API is so far behind that copies are late.
const LAG_SECONDS_MAX: i64 = 60;

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
    /// Empty when nothing is to be done.
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

/// Settings were parsed before this command began, or it would not have.
fn settings_finding(settings: &Settings) -> Finding {
    Finding::fine("settings", format!("pages on {}, logs at {}", settings.web.bind, settings.log.level))
}

async fn chain_finding(settings: &Settings) -> Finding {
    let Some(url) = &settings.chain.ws_url else {
        return Finding::warning(
            "chain",
            "no ALCHEMY_WS_URL: fills are seen by polling alone, up to 30 s later".to_owned(),
            "fine for trying; set ALCHEMY_WS_URL to a Polygon websocket to see fills sooner",
        );
    };
    // The address holds a key, and so may an error that repeats it: neither is shown.
    let connected = awc::Client::new().ws(url.reveal()).connect();
    match tokio::time::timeout(CHAIN_PATIENCE, connected).await {
        Ok(Ok(_)) => Finding::fine("chain", "the node of ALCHEMY_WS_URL takes a websocket".to_owned()),
        Ok(Err(_)) | Err(_) => Finding::wrong(
            "chain",
            "the node of ALCHEMY_WS_URL does not take a websocket".to_owned(),
            "is the address whole and its key still valid? Without it the bot runs on polling alone",
        ),
    }
}

async fn database_findings(settings: &Settings) -> Vec<Finding> {
    let db = match Db::connect(settings.database.url.reveal()).await {
        Ok(db) => db,
        Err(error) => {
            let advice = "check DATABASE_URL: does the folder exist and may it be written, does the server answer";
            return vec![Finding::wrong("database", chain_of(&error), advice)];
        }
    };
    let mut findings = vec![match db.migrate().await {
        Ok(()) => Finding::fine("database", "opens, and has this program's schema".to_owned()),
        // It says itself what to do.
        Err(error @ (DbError::NewerSchema { .. } | DbError::OtherMigration { .. })) => {
            Finding::wrong("database", error.to_string(), "nothing was written to it")
        }
        Err(error) => Finding::wrong("database", chain_of(&error), "may this user create tables"),
    }];
    if let Ok(users) = db.followed_users().await {
        findings.push(users_finding(settings, &users));
    }
    if let Ok(admins) = db.admins().await {
        findings.push(sign_in_finding(settings, admins.len()));
    }
    db.close().await;
    findings
}

fn users_finding(settings: &Settings, users: &[FollowedUser]) -> Finding {
    let n_enabled = users.iter().filter(|user| user.enabled).count();
    let is_known =
        |wallet: &Wallet| users.iter().any(|user| user.profile_wallet == *wallet || user.wallets.contains(wallet));
    // They are followed when the bot starts.
    let n_named = settings.follow.traders.iter().filter(|trader| !is_known(&trader.wallet)).count();
    match (n_enabled, n_named) {
        (0, 0) => Finding::warning(
            "users",
            "nobody is followed".to_owned(),
            "polymarketspy follow <wallet or exact profile name>",
        ),
        (_, 0) => Finding::fine("users", format!("{n_enabled} followed")),
        _ => Finding::fine("users", format!("{n_enabled} followed; FOLLOW adds {n_named} when the bot starts")),
    }
}

fn sign_in_finding(settings: &Settings, n_admins: usize) -> Finding {
    let web = &settings.web;
    // It is put on the list when the bot starts.
    let n_admins = n_admins.max(usize::from(web.admin_email.is_some()));
    match (&web.github, n_admins) {
        (None, _) => Finding::fine("sign-in", "by the link that `run` prints, from this machine".to_owned()),
        (Some(github), 0) => Finding::warning(
            "sign-in",
            format!("with {}, but no e-mail may come in", github.base_url),
            "set ADMIN_EMAIL, or polymarketspy admin add <e-mail>",
        ),
        (Some(github), _) => Finding::fine("sign-in", format!("with {}, {n_admins} may come in", github.base_url)),
    }
}

async fn data_api_finding(polymarket: &Polymarket, settings: &Settings) -> Finding {
    let host = &settings.upstreams.data_api;
    match polymarket.data_api_lag_seconds().await {
        Ok(lag) if lag > LAG_SECONDS_MAX => Finding::warning(
            "data api",
            format!("{host} answers, but serves rows {lag} s late"),
            "wait: Polymarket is behind, and fills are seen late",
        ),
        Ok(lag) => Finding::fine("data api", format!("{host} answers, {lag} s behind the chain")),
        Err(error) => unreachable("data api", host, "POLYMARKET_DATA_API_BASE_URL", &error),
    }
}

/// The CLOB also tells the time.
async fn clob_finding(polymarket: &Polymarket, settings: &Settings) -> Finding {
    let host = &settings.upstreams.clob;
    let asked = Clock::System.now();
    match polymarket.server_time().await {
        Ok(theirs) => {
            let ours = Clock::System.now();
            // They tell whole seconds: their time is anywhere in that second, at any moment of our waiting.
            let behind = theirs.millis_since(ours);
            let ahead = asked.millis_since(theirs.plus_millis(999));
            match behind.max(ahead) {
                skew if skew > SKEW_MS_MAX => Finding::wrong(
                    "clock",
                    format!("this machine's clock is off by at least {} s", skew / 1000),
                    "let the machine keep time (systemd-timesyncd, chrony): detection lags and signal ages depend on it",
                ),
                _ => Finding::fine("clob", format!("{host} answers, and the clocks agree")),
            }
        }
        Err(error) => unreachable("clob", host, "POLYMARKET_CLOB_BASE_URL", &error),
    }
}

/// A search for a name nobody has: any answer will do.
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
