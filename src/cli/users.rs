//! `polymarketspy follow`, `unfollow`, `users`: the followed traders. A running bot uses a change within a second.

use std::process::ExitCode;

use anyhow::{Context, bail};

use super::database::AUDIT_WHO;
use super::database::open;
use super::terminal::{Column, Table, clean, say, say_json};
use crate::clock::Clock;
use crate::config::Settings;
use crate::db::Inserted;
use crate::db::{Db, FollowedUser};
use crate::domain::config::follow_state::FollowState;
use crate::domain::money::label::{LABEL_CHARACTERS_MAX, label_of};
use crate::polymarket::{Polymarket, PolymarketSettings, Profile, Trader, TraderMatch};

#[derive(clap::Args)]
pub struct FollowArguments {
    /// A wallet (0x and 40 hex digits) or a profile name, exactly as polymarket.com shows it.
    trader: String,
    /// Name for this trader; without it their profile name.
    #[arg(long)]
    label: Option<String>,
}

#[derive(clap::Args)]
pub struct UnfollowArguments {
    /// Id, wallet or label from `polymarketspy users`.
    trader: String,
    /// Copies their exits until nothing is left to sell, and stops then. Nothing new is copied from now on.
    #[arg(long)]
    wind_down: bool,
}

#[derive(clap::Args)]
pub struct UsersArguments {
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

pub async fn follow(settings: &Settings, arguments: FollowArguments) -> anyhow::Result<ExitCode> {
    let polymarket = client(settings);
    let found = find(&polymarket, arguments.trader.trim()).await?;
    let label = arguments
        .label
        .or(found.name)
        .filter(|label| !label.trim().is_empty())
        .unwrap_or_else(|| label_of(&found.wallet));
    let label: String = label.trim().chars().take(LABEL_CHARACTERS_MAX).collect();
    if label.is_empty() {
        bail!("the label is empty; pass another one with --label");
    }
    let db = open(settings).await?;
    let before = db.followed_user_by_wallet(&found.wallet).await?;
    let inserted = db.follow(&label, &found.wallet, AUDIT_WHO, Clock::System.now()).await?;
    let shown = clean(before.as_ref().map_or(&label, |user| &user.label));
    let (who, state) = (format!("{shown} ({})", found.wallet), before.map(|user| user.state));
    match (inserted, state) {
        (Inserted::New(id), _) => println!("Following {who} as user {id}."),
        (Inserted::Known, Some(FollowState::WindingDown)) => {
            println!("{who} was winding down and is active again: what they open is copied from now on.");
        }
        (Inserted::Known, Some(FollowState::Stopped)) => {
            println!("{who} was stopped and is followed again from now on.");
        }
        (Inserted::Known, _) => println!("{who} is followed already."),
    }
    db.close().await;
    Ok(ExitCode::SUCCESS)
}

pub async fn unfollow(settings: &Settings, arguments: UnfollowArguments) -> anyhow::Result<ExitCode> {
    let db = open(settings).await?;
    let user = one_user(&db, arguments.trader.trim()).await?;
    let (label, wallet) = (clean(&user.label), &user.profile_wallet);
    let wanted = if arguments.wind_down { FollowState::WindingDown } else { FollowState::Stopped };
    let is_new = user.state != wanted && user.enabled();
    if is_new {
        db.set_state(user.id, wanted, AUDIT_WHO, Clock::System.now()).await?;
    }
    match (user.state, wanted) {
        (FollowState::Stopped, _) => println!("{label} ({wallet}) is not followed."),
        (_, FollowState::WindingDown) if is_new => println!(
            "{label} ({wallet}) is winding down: nothing new is copied, exits are, until nothing is left to sell. A \
             running bot stops then by itself. To make them active again: polymarketspy follow {wallet}"
        ),
        (_, FollowState::WindingDown) => println!(
            "{label} ({wallet}) is winding down already. To make them active again: polymarketspy follow {wallet}"
        ),
        _ => println!("No longer following {label} ({wallet}). Recorded data stays; open copies are kept."),
    }
    db.close().await;
    Ok(ExitCode::SUCCESS)
}

pub async fn list(settings: &Settings, arguments: UsersArguments) -> anyhow::Result<ExitCode> {
    let db = open(settings).await?;
    let users = db.followed_users().await?;
    db.close().await;
    if arguments.json {
        say_json(&users.iter().map(user_json).collect::<Vec<_>>())?;
        return Ok(ExitCode::SUCCESS);
    }
    if users.is_empty() {
        println!("No trader is followed yet. Start with: polymarketspy follow <wallet or exact profile name>");
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new([
        Column::Right("ID"),
        Column::Left("STATE"),
        Column::Left("WALLET"),
        Column::Left("SINCE"),
        Column::Left("LABEL"),
    ]);
    for user in users {
        let state = match user.state {
            FollowState::Active => "followed",
            FollowState::WindingDown => "winding down",
            FollowState::Stopped => "stopped",
        };
        let (id, since) = (user.id.to_string(), user.created_at.to_string());
        table.row([&id, state, user.profile_wallet.as_str(), &since, &user.label]);
    }
    say(&table.text())?;
    Ok(ExitCode::SUCCESS)
}

/// Returns the one trader that `text` names; the error says why there is none, or which there are.
async fn find(polymarket: &Polymarket, text: &str) -> anyhow::Result<Trader> {
    let found = polymarket.find_trader(text).await.context("Polymarket could not be asked about this trader")?;
    match found {
        TraderMatch::One(trader) => Ok(trader),
        TraderMatch::NoMatch { similar } => {
            bail!("no profile is called exactly `{text}`{}", listed("; similar names:", &similar))
        }
        TraderMatch::Several(profiles) => {
            bail!(
                "{} profiles are called `{text}`; follow one of them by its wallet{}",
                profiles.len(),
                listed(":", &profiles)
            )
        }
        TraderMatch::Unknown(wallet) => bail!(
            "`{wallet}` has no profile and no activity on Polymarket; use the wallet of the profile page, not the address of the signing key"
        ),
        TraderMatch::NotAWallet(error) => Err(error.into()),
    }
}

/// Lists a few profiles with their wallets for an error message; empty when there are none.
fn listed(lead: &str, profiles: &[Profile]) -> String {
    let lines: Vec<String> =
        profiles.iter().take(5).map(|profile| format!("\n  {}  {}", profile.wallet, profile.name)).collect();
    if lines.is_empty() { String::new() } else { format!("{lead}{}", lines.concat()) }
}

/// Returns the one followed user that `trader` names by id, wallet or label.
pub async fn one_user(db: &Db, trader: &str) -> anyhow::Result<FollowedUser> {
    let users = db.followed_users().await?;
    let matches = |user: &&FollowedUser| {
        user.id.to_string() == trader
            || user.profile_wallet.as_str() == trader.to_ascii_lowercase()
            || user.label.eq_ignore_ascii_case(trader)
    };
    let found: Vec<&FollowedUser> = users.iter().filter(matches).collect();
    match found.as_slice() {
        [user] => Ok((*user).clone()),
        [] => bail!("no user has the id, wallet or label `{trader}`; `polymarketspy users` lists them"),
        _ => bail!("`{trader}` matches {} users; use the id that `polymarketspy users` shows", found.len()),
    }
}

/// Returns a client of the hosts in the settings.
pub fn client(settings: &Settings) -> Polymarket {
    let upstreams = &settings.upstreams;
    let hosts = PolymarketSettings::new(&upstreams.data_api, &upstreams.clob, &upstreams.gamma);
    Polymarket::new(hosts, Clock::System)
}

fn user_json(user: &FollowedUser) -> serde_json::Value {
    serde_json::json!({
        "id": user.id,
        "label": user.label,
        "profile_wallet": user.profile_wallet,
        "enabled": user.enabled(),
        "state": user.state,
        "created_at": user.created_at,
        "wallets": user.wallets,
    })
}
