//! `/v2/leaderboard`.

use serde::Serialize;

use super::Page;
use super::cursor::{self, ListPosition};
use super::params::Params;
use super::positions::value_of;
use crate::domain::money::ids::Wallet;
use crate::domain::money::units::Timestamp;
use crate::simulator::http::response::Answer;
use crate::simulator::state::exchange::Exchange;
use crate::simulator::state::market::float;

#[derive(Serialize)]
struct LeaderboardRow<'a> {
    rank: usize,
    user_id: &'a str,
    pnl: f64,
    volume: f64,
    user_name: &'a str,
    profile_image: &'a str,
    x_username: &'a str,
    verified: bool,
}

/// Answers with all profiles, by profit or by volume. Every period covers all time, since simulated traders have a short
/// history.
pub fn answer(exchange: &Exchange, params: &Params, now: Timestamp) -> Result<Answer, Answer> {
    let limit = params.limit()?;
    let period = params.text("time_period").unwrap_or("day");
    if !["day", "week", "month", "all"].contains(&period) {
        return Err(Answer::data_error(400, &format!("unknown time period: {period}"), Some("time_period")));
    }
    let done = match params.text("cursor") {
        None => 0,
        Some(cursor) => {
            cursor::read::<ListPosition>(exchange.seed, "leaderboard", cursor)
                .ok_or_else(|| Answer::data_error(400, "invalid cursor", Some("cursor")))?
                .d
        }
    };
    let user = params.text("user").map(|_| params.wallet()).transpose()?;
    let ranked = rank(exchange, params.text("sort_by") == Some("VOLUME"), now);
    let mut rows: Vec<LeaderboardRow<'_>> = ranked
        .iter()
        .zip(1_usize..)
        .map(|((pnl, volume, wallet), rank)| LeaderboardRow {
            rank,
            user_id: wallet.as_str(),
            pnl: *pnl,
            volume: *volume,
            user_name: exchange.profile(wallet).map_or("", |profile| profile.name.as_str()),
            profile_image: "",
            x_username: "",
            verified: false,
        })
        .filter(|row| user.as_ref().is_none_or(|user| row.user_id == user.as_str()))
        .skip(done)
        .collect();
    let more = rows.len() > limit;
    rows.truncate(limit);
    let position = ListPosition { l: limit, d: done + rows.len(), av: String::new() };
    let next = more.then(|| cursor::sign(exchange.seed, "leaderboard", &position));
    Ok(Answer::json(&Page::new(rows, limit, next)))
}

/// Returns profit in USDC and volume in shares of each wallet, the highest first.
fn rank(exchange: &Exchange, by_volume: bool, now: Timestamp) -> Vec<(f64, f64, &Wallet)> {
    let mut ranked: Vec<(f64, f64, &Wallet)> = exchange
        .profiles
        .keys()
        .map(|wallet| {
            let holdings = exchange.holdings(wallet, Some(now));
            let realized: i64 = holdings.values().map(|holding| holding.realized - holding.cost).sum();
            let volume: i64 =
                exchange.feed.of_wallet(wallet).filter(|row| row.role.is_some()).map(|row| row.shares.0).sum();
            (float(realized) + value_of(exchange, wallet, now), float(volume), wallet)
        })
        .collect();
    ranked.sort_by(|a, b| if by_volume { b.1.total_cmp(&a.1) } else { b.0.total_cmp(&a.0) });
    ranked
}
