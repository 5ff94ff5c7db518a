//! `polymarketspy follow`, `unfollow`, `users`: who is followed. A running bot notices within a second.

use std::process::ExitCode;

use anyhow::{Context, bail};

use super::WHO;
use super::migrate::open;
use super::terminal::{Column, Table, clean, say, say_json};
use crate::clock::Clock;
use crate::config::Settings;
use crate::db::Inserted;
use crate::db::{Db, FollowedUser};
use crate::domain::money::label::{LABEL_CHARACTERS_MAX, label_of};
use crate::polymarket::{Polymarket, PolymarketSettings, Profile, Trader, TraderMatch};

#[derive(clap::Args)]
pub struct FollowArguments {
    /// A wallet (0x and 40 hex digits) or a profile name, exactly as polymarket.com shows it.
    trader: String,
    /// What to call them here; their profile name when left out.
    #[arg(long)]
    label: Option<String>,
}

#[derive(clap::Args)]
pub struct UnfollowArguments {
    /// The id, wallet or label that `polymarketspy users` shows.
    trader: String,
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
        bail!("the label is empty; give one with --label");
    }
    let db = open(settings).await?;
    let shown = clean(&label);
    match db.follow(&label, &found.wallet, WHO, Clock::System.now()).await? {
        Inserted::New(id) => println!("Following {shown} ({}) as user {id}.", found.wallet),
        Inserted::Known => println!("{shown} ({}) is followed already, and enabled.", found.wallet),
    }
    db.close().await;
    Ok(ExitCode::SUCCESS)
}

pub async fn unfollow(settings: &Settings, arguments: UnfollowArguments) -> anyhow::Result<ExitCode> {
    let db = open(settings).await?;
    let user = one_user(&db, arguments.trader.trim()).await?;
    if user.enabled {
        db.set_enabled(user.id, false, WHO, Clock::System.now()).await?;
        println!("No longer following {} ({}). What was recorded stays.", clean(&user.label), user.profile_wallet);
    } else {
        println!("{} ({}) was not being followed.", clean(&user.label), user.profile_wallet);
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
        println!("Nobody is followed yet. Begin with: polymarketspy follow <wallet or exact profile name>");
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
        let state = if user.enabled { "followed" } else { "disabled" };
        let (id, since) = (user.id.to_string(), user.created_at.to_string());
        table.row([&id, state, user.profile_wallet.as_str(), &since, &user.label]);
    }
    say(&table.text())?;
    Ok(ExitCode::SUCCESS)
}

/// The one trader that `text` means, or why there is not one.
async fn find(polymarket: &Polymarket, text: &str) -> anyhow::Result<Trader> {
    let found = polymarket.find_trader(text).await.context("Polymarket could not be asked who this is")?;
    match found {
        TraderMatch::One(trader) => Ok(trader),
        TraderMatch::Nobody { similar } => {
            bail!("no profile is called exactly `{text}`{}", listed("; near it:", &similar))
        }
        TraderMatch::Several(profiles) => {
            bail!("{} profiles are called `{text}`; follow one by its wallet{}", profiles.len(), listed(":", &profiles))
        }
        TraderMatch::Unknown(wallet) => bail!(
            "`{wallet}` has no profile and no activity on Polymarket; take the wallet from the profile page, not the signing key's address"
        ),
        TraderMatch::NoWallet(error) => Err(error.into()),
    }
}

/// A few profiles with their wallets, for an error message; nothing when there are none.
fn listed(lead: &str, profiles: &[Profile]) -> String {
    let lines: Vec<String> =
        profiles.iter().take(5).map(|profile| format!("\n  {}  {}", profile.wallet, profile.name)).collect();
    if lines.is_empty() { String::new() } else { format!("{lead}{}", lines.concat()) }
}

/// The one followed user whom `trader` names: id, wallet or label.
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
        [] => bail!("nobody with the id, wallet or label `{trader}`; `polymarketspy users` lists them"),
        _ => bail!("`{trader}` names {} users; give the id that `polymarketspy users` shows", found.len()),
    }
}

/// A client of the settings' hosts.
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
        "enabled": user.enabled,
        "created_at": user.created_at,
        "wallets": user.wallets,
    })
}
