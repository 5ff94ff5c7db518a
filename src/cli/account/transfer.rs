//! `polymarketspy account deposit` and `withdraw`: moves cash of an open account (spec 4, accounts).
//!
//! Only the ledger writer of a running bot writes entries, so the command writes a job. Without a bot the job waits for
//! the next start.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use rust_decimal::Decimal;
use uuid::Uuid;

use super::named;
use crate::cli::database::{AUDIT_WHO, open};
use crate::cli::terminal::say;
use crate::clock::Clock;
use crate::config::Settings;
use crate::db::{Db, TransferState};
use crate::domain::money::units::UsdcMicros;
use crate::queue::{self, Transfer};

pub const HELP: &str = "ACCOUNT is `global`, or a leader by id, wallet or label for the account that copies this leader alone. \
Deposits and withdrawals move the equity from which losses and the drawdown are measured by the same amount. \
A request that is given twice with the same --id is booked once.\n\n\
Exit codes: 0 booked, or left to the next start of the bot; 1 the bot did not book it yet, or refused it; 2 failed.";

/// How long to wait for the running bot.
const PATIENCE: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(200);
const ID_CHARACTERS_MAX: usize = 64;

#[derive(Args)]
pub struct TransferArguments {
    /// `global`, or a leader: id, wallet or label.
    #[arg(value_name = "ACCOUNT")]
    account: String,
    /// The amount in USDC, for example 250 or 99.5.
    #[arg(value_name = "USDC")]
    usdc: String,
    /// A name for this request; a second request with it changes nothing.
    #[arg(long, value_name = "TEXT")]
    id: Option<String>,
}

/// Into the account or out of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    In,
    Out,
}

pub async fn transfer(settings: &Settings, arguments: TransferArguments, way: Way) -> anyhow::Result<ExitCode> {
    let amount = parse_usdc(&arguments.usdc)?;
    let id = checked_id(arguments.id)?;
    let db = open(settings).await?;
    let portfolio = named(&db, arguments.account.trim()).await?;
    let cash = if way == Way::In { amount } else { amount.negated()? };
    let transfer = Transfer { portfolio, id, cash, who: AUDIT_WHO.to_owned() };
    if db.transfer_state(&transfer).await? == TransferState::Booked {
        say(&format!("`--id`: a transfer of {portfolio} with the id `{}` is booked already.", transfer.id))?;
        db.close().await;
        return Ok(ExitCode::SUCCESS);
    }
    let figures = db.unmarked_portfolio(portfolio).await?.portfolio.figures();
    if figures.deposits == UsdcMicros::ZERO && db.newest_snapshot(portfolio).await?.is_none() {
        bail!("`account`: {portfolio} is not open yet; the bot opens it with its first deposit when it runs");
    }
    if way == Way::Out && amount > figures.cash {
        let most = figures.cash.max(UsdcMicros::ZERO);
        bail!(
            "`usdc` is {}, which is more than the cash of {portfolio}; at most {} is allowed",
            usdc(amount),
            usdc(most)
        );
    }
    let now = Clock::System.now();
    queue::enqueue(&db, &[transfer.job(now)], now).await?;
    let code = report(&db, &transfer, amount, way).await?;
    db.close().await;
    Ok(code)
}

/// Waits for the running bot and tells the result.
async fn report(db: &Db, transfer: &Transfer, amount: UsdcMicros, way: Way) -> anyhow::Result<ExitCode> {
    let portfolio = transfer.portfolio;
    let what = match way {
        Way::In => format!("{} USDC into {portfolio}", usdc(amount)),
        Way::Out => format!("{} USDC out of {portfolio}", usdc(amount)),
    };
    if !db.is_worked_on().await? {
        say(&format!("Asked for {what}. No bot is running on this database: the next `polymarketspy run` books it."))?;
        return Ok(ExitCode::SUCCESS);
    }
    let begun = Instant::now();
    loop {
        match db.transfer_state(transfer).await? {
            TransferState::Booked => {
                say(&format!("Booked: {what}."))?;
                return Ok(ExitCode::SUCCESS);
            }
            TransferState::Absent => {
                say(&format!(
                    "Not booked: {what}. The cash may have gone into copies since: `polymarketspy account list` shows it, \
                     and `polymarketspy jobs list --dead` any failure."
                ))?;
                return Ok(ExitCode::FAILURE);
            }
            TransferState::Open if begun.elapsed() > PATIENCE => {
                say(&format!(
                    "Asked for {what}; the bot has not booked it yet. `polymarketspy jobs list` shows the job."
                ))?;
                return Ok(ExitCode::FAILURE);
            }
            TransferState::Open => tokio::time::sleep(POLL_INTERVAL).await,
        }
    }
}

/// Returns an amount above zero, with up to six digits behind the point.
fn parse_usdc(text: &str) -> anyhow::Result<UsdcMicros> {
    let typed = text.trim().replace('_', "");
    let allowed = "an amount above 0 with at most 6 digits behind the point, for example 250 or 99.5";
    let amount =
        Decimal::from_str_exact(&typed).ok().with_context(|| format!("`usdc` is `{text}`; allowed is {allowed}"))?;
    if amount.normalize().scale() > 6 || amount <= Decimal::ZERO {
        bail!("`usdc` is `{text}`; allowed is {allowed}");
    }
    UsdcMicros::from_decimal(amount).with_context(|| format!("`usdc` is `{text}`; allowed is {allowed}"))
}

fn checked_id(given: Option<String>) -> anyhow::Result<String> {
    let Some(id) = given else { return Ok(Uuid::new_v4().to_string()) };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if id.is_empty() || id.len() > ID_CHARACTERS_MAX || !id.chars().all(is_plain) {
        bail!("`--id` is `{id}`; allowed are 1 to {ID_CHARACTERS_MAX} letters, digits, `-`, `_` and `.`");
    }
    Ok(id)
}

/// Returns an amount for people, every micro that is not zero included.
pub fn usdc(amount: UsdcMicros) -> String {
    let (whole, micros) = (amount.0.unsigned_abs() / 1_000_000, amount.0.unsigned_abs() % 1_000_000);
    let sign = if amount.0 < 0 { "-" } else { "" };
    let digits = format!("{micros:06}");
    let kept = digits.trim_end_matches('0').len().max(2);
    format!("{sign}{whole}.{}", &digits[..kept])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_above_zero_and_no_finer_than_a_micro() {
        for (text, micros) in
            [("250", 250_000_000), ("99.5", 99_500_000), (" 0.000001 ", 1), ("1_000.10", 1_000_100_000)]
        {
            assert_eq!(parse_usdc(text).unwrap(), UsdcMicros(micros), "{text}");
        }
        for text in ["0", "-5", "0.0000001", "abc", "", "1e3", "99999999999999999999"] {
            let error = parse_usdc(text).unwrap_err().to_string();
            assert!(error.contains(&format!("`usdc` is `{text}`; allowed is an amount above 0")), "{error}");
        }
    }

    #[test]
    fn an_amount_is_shown_with_every_micro() {
        for (micros, text) in [(250_000_000, "250.00"), (1, "0.000001"), (-1_500_000, "-1.50"), (1_234_500, "1.2345")] {
            assert_eq!(usdc(UsdcMicros(micros)), text);
        }
    }

    #[test]
    fn the_id_of_a_request_is_plain_text() {
        assert_eq!(checked_id(Some("rent-2026.05".to_owned())).unwrap(), "rent-2026.05");
        assert_ne!(checked_id(None).unwrap(), checked_id(None).unwrap());
        assert!(checked_id(Some("a:b".to_owned())).is_err() && checked_id(Some(String::new())).is_err());
    }
}
