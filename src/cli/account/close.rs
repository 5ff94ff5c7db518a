//! `polymarketspy account close`: asks the running bot to sell what we hold of a leader (spec 6, close by hand).

use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, ValueEnum};

use crate::cli::database::{AUDIT_WHO, open};
use crate::cli::terminal::{clean, say};
use crate::cli::users::one_user;
use crate::clock::Clock;
use crate::config::Settings;
use crate::db::CloseWanted;
use crate::domain::accounting::ledger::PortfolioScope;
use crate::domain::money::ids::AssetId;

pub const HELP: &str = "Each lot is sold whole into a book fetched for it, down to the best bid less \
maxWorseningVsTheirFillMicros. It works while copying is paused and after the leader was stopped. Shares that the book \
does not take stay. The attempts, with the book and the result, are on the page Trades & attempts with the action CLOSE.\n\n\
Exit codes: 0 asked for, 1 nothing is held, 2 failed.";

#[derive(Args)]
pub struct CloseArguments {
    /// Id, wallet or label from `polymarketspy users`.
    #[arg(value_name = "TRADER")]
    trader: String,
    /// Only this outcome token; all that are held of the leader without it.
    #[arg(long, value_name = "TOKEN ID")]
    asset: Option<String>,
    /// The account to sell from.
    #[arg(long, value_enum, default_value_t = Account::Both)]
    account: Account,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Account {
    /// The account that copies this leader alone.
    Own,
    /// The account that copies all leaders.
    Global,
    Both,
}

pub async fn close(settings: &Settings, arguments: CloseArguments) -> anyhow::Result<ExitCode> {
    let asset = arguments.asset.as_deref().map(AssetId::parse).transpose().context("`--asset` is not a token id")?;
    let db = open(settings).await?;
    let user = one_user(&db, arguments.trader.trim()).await?;
    let scope = match arguments.account {
        Account::Own => Some(PortfolioScope::ExecUser),
        Account::Global => Some(PortfolioScope::ExecGlobal),
        Account::Both => None,
    };
    let wanted = CloseWanted { leader: user.id, asset, scope };
    let asked = db.ask_closes(&wanted, AUDIT_WHO, Clock::System.now()).await?;
    let is_worked_on = db.is_worked_on().await?;
    db.close().await;
    if asked.is_empty() {
        say(&format!("Nothing to close: no such lot of {} is held.", clean(&user.label)))?;
        return Ok(ExitCode::FAILURE);
    }
    let mut lines = Vec::new();
    for close in &asked {
        let accounts: Vec<String> = close.portfolios.iter().map(ToString::to_string).collect();
        let state = if close.is_new { "asked for" } else { "being closed already" };
        lines.push(format!("{state}: token {} in {}", close.asset, accounts.join(" and ")));
    }
    lines.push(match is_worked_on {
        true => "The running bot sells within seconds; the page Trades & attempts shows the result.".to_owned(),
        false => "No bot is running on this database: the next `polymarketspy run` sells.".to_owned(),
    });
    say(&lines.join("\n"))?;
    Ok(ExitCode::SUCCESS)
}
