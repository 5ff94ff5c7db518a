//! `polymarketspy account`: our accounts, their cash, and closing what they hold. A running bot applies a request within
//! seconds; without one it waits for the next start.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use anyhow::bail;
use clap::{Args, Subcommand};

use super::database::open;
use super::terminal::{Column, Table, say, say_json};
use super::users::one_user;
use crate::clock::Clock;
use crate::config::Settings;
use crate::db::Db;
use crate::domain::accounting::ledger::{PortfolioId, PortfolioScope};
use crate::domain::accounting::portfolio::Lot;
use crate::domain::accounting::sold_now::sold_now;
use crate::domain::accounting::totals::Figures;
use crate::domain::market::facts::FeeSchedule;
use crate::domain::money::ids::MarketId;
use crate::domain::money::units::UsdcMicros;

mod close;
mod transfer;

#[derive(Args)]
pub struct AccountArguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Lists the accounts: their cash, their equity at marks, and what they would bring if sold now.
    #[command(after_help = "Exit codes: 0 listed, 2 failed.")]
    List(ListArguments),
    /// Puts cash into an open account. It is neither profit nor loss.
    #[command(after_help = transfer::HELP)]
    Deposit(transfer::TransferArguments),
    /// Takes cash out of an open account, at most the cash it has. It is neither profit nor loss.
    #[command(after_help = transfer::HELP)]
    Withdraw(transfer::TransferArguments),
    /// Sells what we hold of a leader into the order book of now, whatever the switches are.
    #[command(after_help = close::HELP)]
    Close(close::CloseArguments),
}

#[derive(Args)]
struct ListArguments {
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

pub async fn account(settings: &Settings, arguments: AccountArguments) -> anyhow::Result<ExitCode> {
    match arguments.command {
        Command::List(arguments) => list(settings, &arguments).await,
        Command::Deposit(arguments) => transfer::transfer(settings, arguments, transfer::Way::In).await,
        Command::Withdraw(arguments) => transfer::transfer(settings, arguments, transfer::Way::Out).await,
        Command::Close(arguments) => close::close(settings, arguments).await,
    }
}

/// One account of the list.
struct Row {
    account: PortfolioId,
    label: String,
    figures: Figures,
    /// The cash, and the holdings at the best bid less fees.
    sold: UsdcMicros,
}

async fn list(settings: &Settings, arguments: &ListArguments) -> anyhow::Result<ExitCode> {
    let db = open(settings).await?;
    let mut accounts = vec![(PortfolioId::ExecGlobal, String::new())];
    for user in db.followed_users().await? {
        accounts.push((PortfolioId::ExecUser(user.id), user.label));
    }
    let mut rows = Vec::with_capacity(accounts.len());
    for (account, label) in accounts {
        let portfolio = db.running_portfolio(account, Clock::System.now()).await?.portfolio;
        let lots: Vec<Lot> = portfolio.lots().collect();
        let held: BTreeSet<MarketId> = lots.iter().filter_map(|lot| lot.market.clone()).collect();
        let held: Vec<MarketId> = held.into_iter().collect();
        let fees: BTreeMap<MarketId, FeeSchedule> =
            db.markets(&held).await?.into_iter().map(|market| (market.id, market.fee)).collect();
        let figures = portfolio.figures();
        let sold = sold_now(figures.cash, &lots, |market| fees.get(market).copied())?;
        rows.push(Row { account, label, figures, sold });
    }
    db.close().await;
    if arguments.json {
        let json = |row: &Row| {
            serde_json::json!({
                "portfolio": row.account.to_string(),
                "followed_user_label": row.label,
                "cash_micros": row.figures.cash,
                "equity_micros": row.figures.equity,
                "if_sold_now_micros": row.sold,
                "deposits_micros": row.figures.deposits,
            })
        };
        say_json(&rows.iter().map(json).collect::<Vec<_>>())?;
        return Ok(ExitCode::SUCCESS);
    }
    let columns = [
        Column::Left("ACCOUNT"),
        Column::Right("CASH"),
        Column::Right("EQUITY"),
        Column::Right("IF SOLD NOW"),
        Column::Right("DEPOSITS"),
        Column::Left("LEADER"),
    ];
    let mut table = Table::new(columns);
    for Row { account, label, figures, sold } in rows {
        let amounts = [figures.cash, figures.equity, sold, figures.deposits].map(transfer::usdc);
        table.row([&account.to_string(), &amounts[0], &amounts[1], &amounts[2], &amounts[3], &label]);
    }
    say(&table.text())?;
    Ok(ExitCode::SUCCESS)
}

/// Returns the account that `text` names: `global`, `EXEC_GLOBAL`, `EXEC_USER:7`, or a leader by id, wallet or label.
async fn named(db: &Db, text: &str) -> anyhow::Result<PortfolioId> {
    if text.eq_ignore_ascii_case("global") {
        return Ok(PortfolioId::ExecGlobal);
    }
    match text.parse::<PortfolioId>() {
        Ok(PortfolioId::ExecUser(user)) => Ok(PortfolioId::ExecUser(one_user(db, &user.to_string()).await?.id)),
        Ok(PortfolioId::ExecGlobal) => Ok(PortfolioId::ExecGlobal),
        Ok(id) if id.scope() == PortfolioScope::ShadowUser => {
            bail!("`account`: `{id}` holds the leader's own trades and no cash of ours; name `global` or a leader")
        }
        _ => Ok(PortfolioId::ExecUser(one_user(db, text).await?.id)),
    }
}
