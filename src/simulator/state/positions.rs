//! What wallets hold, folded from their rows, and the Data API routes that show it.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::domain::money::ids::{AssetId, MarketId, Wallet};
use crate::domain::money::units::{ShareMicros, Timestamp};

use super::activity_rows::Row;
use super::exchange::World;
use super::market::{Phase, SimMarket, float};
use crate::simulator::routes::answer::Answer;
use crate::simulator::routes::cursor;
use crate::simulator::routes::cursor::ListPosition;
use crate::simulator::routes::data_api::{Page, Params, conditions, limit, wallet};

/// One token in one wallet.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Holding {
    pub shares: ShareMicros,
    /// What the shares held now cost, without fees, in micros.
    pub cost: i64,
    pub fees: i64,
    /// Ever bought.
    pub bought: i64,
    pub realized: i64,
    pub first: i64,
    pub last: i64,
}

#[derive(Serialize)]
struct PositionRow<'a> {
    proxy_wallet: &'a str,
    token_id: &'a str,
    condition_id: &'a str,
    current_size: f64,
    avg_price: f64,
    entry_cost_usdc: f64,
    entry_fees_usdc: f64,
    total_cost_usdc: f64,
    current_price: f64,
    current_value: f64,
    total_size: f64,
    realized_pnl: f64,
    unrealized_pnl: f64,
    total_pnl: f64,
    percent_pnl: f64,
    percent_realized_pnl: f64,
    status: &'a str,
    redeemable: bool,
    mergeable: bool,
    negative_risk: bool,
    archived: bool,
    title: &'a str,
    slug: &'a str,
    icon: &'a str,
    event_id: &'a str,
    event_slug: &'a str,
    outcome: &'a str,
    outcome_index: usize,
    opposite_outcome: &'a str,
    opposite_token_id: &'a str,
    end_date: String,
    last_event_at: i64,
    first_entry_at: i64,
    name: &'a str,
    profile_image: &'a str,
    verified: bool,
}

#[derive(Serialize)]
struct Data<T> {
    data: T,
}

#[derive(Serialize)]
struct Value<'a> {
    proxy_wallet: &'a str,
    value: f64,
}

#[derive(Serialize)]
struct LeaderRow<'a> {
    rank: usize,
    user_id: &'a str,
    pnl: f64,
    volume: f64,
    user_name: &'a str,
    profile_image: &'a str,
    x_username: &'a str,
    verified: bool,
}

impl World {
    /// What a wallet holds; with `seen_at`, as far as the Data API shows its rows by then.
    pub fn holdings(&self, wallet: &Wallet, seen_at: Option<Timestamp>) -> BTreeMap<AssetId, Holding> {
        let mut holdings = BTreeMap::new();
        let seen = |row: &&Row| seen_at.is_none_or(|now| row.visible_at <= now);
        for row in self.feed.of_wallet(wallet).filter(seen) {
            apply(&mut holdings, row);
        }
        holdings
    }
}

/// Cash follows shares at the row's price; deeds that move several tokens share their cash among them.
fn apply(holdings: &mut BTreeMap<AssetId, Holding>, row: &Row) {
    let n_moves = i64::try_from(row.moves.len()).unwrap_or(1).max(1);
    for (asset, moved) in &row.moves {
        let holding = holdings.entry(asset.clone()).or_default();
        if holding.first == 0 {
            holding.first = row.place.0;
        }
        holding.last = row.place.0;
        let cash = if row.kind == "CONVERSION" { 0 } else { row.gross().0 / n_moves };
        if moved.0 >= 0 {
            holding.shares.0 += moved.0;
            holding.cost += cash;
            holding.fees += row.fee.0;
            holding.bought += moved.0;
        } else {
            let sold = -moved.0;
            let share_of = |whole: i64| match holding.shares.0 {
                0 => 0,
                held => i64::try_from(i128::from(whole) * i128::from(sold.min(held)) / i128::from(held)).unwrap_or(0),
            };
            let (cost, fees) = (share_of(holding.cost), share_of(holding.fees));
            holding.cost -= cost;
            holding.fees -= fees;
            holding.shares.0 -= sold;
            holding.realized += cash - cost - fees - row.fee.0;
        }
    }
}

/// `/v2/positions`. The cursor serves the same user and condition only.
pub fn positions(world: &World, params: &Params, now: Timestamp) -> Result<Answer, Answer> {
    let user = params.text("user").map(|_| wallet(params)).transpose()?;
    let wanted = conditions(world, params)?;
    if user.is_none() && wanted.is_none() {
        return Err(Answer::data_error(400, "user or condition is required", Some("user")));
    }
    let status = params.text("status").unwrap_or("OPEN");
    if !["OPEN", "REDEEMABLE", "REDEEMABLE_LOST", "MERGEABLE", "CLOSED"].contains(&status) {
        return Err(Answer::data_error(400, &format!("unknown position status: {status}"), Some("status")));
    }
    let limit = limit(params)?;
    let about = format!("{:?}{:?}", params.text("user"), params.text("condition"));
    let done = match params.text("cursor") {
        None => 0,
        Some(cursor) => match cursor::read::<ListPosition>(world.seed, "positions", cursor) {
            Some(position) if position.av == about => position.d,
            _ => return Err(Answer::data_error(400, "invalid cursor", Some("cursor"))),
        },
    };
    let dust = params.text("filter_amount").and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.1);
    let by_cash = params.text("filter_type") == Some("CASH");
    let wallets: Vec<&Wallet> = match &user {
        Some(user) => vec![user],
        None => world.feed.wallets().collect(),
    };
    let mut held = Vec::new();
    for wallet in wallets {
        let holdings = world.holdings(wallet, Some(now));
        for (asset, holding) in &holdings {
            let Some((market, index)) = world.market_by_asset(asset) else { continue };
            let worth = float(market.worth(index, now).micros());
            let size = float(holding.shares.0);
            let amount = if by_cash { size * worth } else { size };
            let shown = wanted.as_ref().is_none_or(|ids| ids.contains(market.id()))
                && has_status(status, market, &holdings, holding, worth, now)
                && (status == "CLOSED" || amount >= dust);
            if shown {
                held.push((size * worth, wallet, asset.clone(), holding.clone(), market, index, worth));
            }
        }
    }
    held.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.2.cmp(&b.2)));
    let rows: Vec<PositionRow<'_>> = held
        .iter()
        .skip(done)
        .take(limit)
        .map(|(value, wallet, asset, holding, market, index, worth)| {
            let name = world.person(wallet).map_or("", |person| person.name.as_str());
            position_row(wallet, asset, holding, market, *index, (*worth, *value), name, now)
        })
        .collect();
    let served = done + rows.len();
    let next = (served < held.len())
        .then(|| cursor::sign(world.seed, "positions", &ListPosition { l: limit, d: served, av: about }));
    Ok(Answer::json(&Page::new(rows, limit, next)))
}

fn has_status(
    status: &str,
    market: &SimMarket,
    holdings: &BTreeMap<AssetId, Holding>,
    holding: &Holding,
    worth: f64,
    now: Timestamp,
) -> bool {
    let resolved = market.phase(now) == Phase::Resolved;
    let open = holding.shares.0 > 0;
    match status {
        "REDEEMABLE" => open && resolved && worth > 0.0,
        "REDEEMABLE_LOST" => open && resolved && worth == 0.0,
        "MERGEABLE" => open && mergeable(market, holdings),
        "CLOSED" => !open,
        _ => open,
    }
}

fn mergeable(market: &SimMarket, holdings: &BTreeMap<AssetId, Holding>) -> bool {
    market.facts.outcomes.iter().all(|outcome| holdings.get(&outcome.asset).is_some_and(|held| held.shares.0 > 0))
}

#[expect(clippy::too_many_arguments, reason = "the route's row has thirty-six fields")]
fn position_row<'a>(
    wallet: &'a Wallet,
    asset: &'a AssetId,
    holding: &Holding,
    market: &'a SimMarket,
    index: usize,
    (worth, value): (f64, f64),
    name: &'a str,
    now: Timestamp,
) -> PositionRow<'a> {
    let resolved = market.phase(now) == Phase::Resolved;
    let (size, cost, fees) = (float(holding.shares.0), float(holding.cost), float(holding.fees));
    let unrealized = value - cost;
    let percent = |part: f64| if cost > 0.0 { four(part / cost * 100.0) } else { 0.0 };
    let other = usize::from(index == 0);
    PositionRow {
        proxy_wallet: wallet.as_str(),
        token_id: asset.as_str(),
        condition_id: market.id().as_str(),
        current_size: float(holding.shares.0 / 100 * 100),
        avg_price: if size > 0.0 { four(cost / size) } else { 0.0 },
        entry_cost_usdc: cost,
        entry_fees_usdc: fees,
        total_cost_usdc: cost + fees,
        current_price: worth,
        current_value: four(value),
        total_size: float(holding.bought),
        realized_pnl: float(holding.realized),
        unrealized_pnl: four(unrealized),
        total_pnl: four(unrealized + float(holding.realized)),
        percent_pnl: percent(unrealized),
        percent_realized_pnl: percent(float(holding.realized)),
        status: if resolved { "REDEEMABLE" } else { "OPEN" },
        redeemable: resolved,
        mergeable: false,
        negative_risk: market.facts.neg_risk,
        archived: false,
        title: &market.facts.question,
        slug: &market.facts.slug,
        icon: "",
        event_id: &market.event.id,
        event_slug: &market.event.slug,
        outcome: market.outcome(index),
        outcome_index: index,
        opposite_outcome: market.outcome(other),
        opposite_token_id: market.asset(other).map_or("", AssetId::as_str),
        end_date: market.closes_at.map_or("1970-01-01".to_owned(), |at| at.iso().chars().take(10).collect()),
        last_event_at: holding.last,
        first_entry_at: holding.first,
        name,
        profile_image: "",
        verified: false,
    }
}

fn four(number: f64) -> f64 {
    (number * 1e4).round() / 1e4
}

/// `/v2/value`.
pub fn value(world: &World, params: &Params, now: Timestamp) -> Result<Answer, Answer> {
    let user = wallet(params)?;
    let value = worth_of(world, &user, now);
    Ok(Answer::json(&Data { data: Value { proxy_wallet: user.as_str(), value: four(value) } }))
}

fn worth_of(world: &World, user: &Wallet, now: Timestamp) -> f64 {
    let holdings = world.holdings(user, Some(now));
    let held = holdings.iter().filter_map(|(asset, holding)| {
        let (market, index) = world.market_by_asset(asset)?;
        Some(float(holding.shares.0.max(0)) * float(market.worth(index, now).micros()))
    });
    held.sum()
}

/// `/v2/leaderboard`, over all time whatever the period: the simulator's leaders are young.
pub fn leaderboard(world: &World, params: &Params, now: Timestamp) -> Result<Answer, Answer> {
    let limit = limit(params)?;
    let period = params.text("time_period").unwrap_or("day");
    if !["day", "week", "month", "all"].contains(&period) {
        return Err(Answer::data_error(400, &format!("unknown time period: {period}"), Some("time_period")));
    }
    let done = match params.text("cursor") {
        None => 0,
        Some(cursor) => {
            cursor::read::<ListPosition>(world.seed, "leaderboard", cursor)
                .ok_or_else(|| Answer::data_error(400, "invalid cursor", Some("cursor")))?
                .d
        }
    };
    let user = params.text("user").map(|_| wallet(params)).transpose()?;
    let mut ranked: Vec<(f64, f64, &Wallet)> = world
        .people
        .keys()
        .map(|wallet| {
            let holdings = world.holdings(wallet, Some(now));
            let realized: i64 = holdings.values().map(|holding| holding.realized - holding.cost).sum();
            let volume: i64 =
                world.feed.of_wallet(wallet).filter(|row| row.role.is_some()).map(|row| row.shares.0).sum();
            (float(realized) + worth_of(world, wallet, now), float(volume), wallet)
        })
        .collect();
    let by_volume = params.text("sort_by") == Some("VOLUME");
    ranked.sort_by(|a, b| if by_volume { b.1.total_cmp(&a.1) } else { b.0.total_cmp(&a.0) });
    let mut rows: Vec<LeaderRow<'_>> = ranked
        .iter()
        .zip(1_usize..)
        .map(|((pnl, volume, wallet), rank)| LeaderRow {
            rank,
            user_id: wallet.as_str(),
            pnl: *pnl,
            volume: *volume,
            user_name: world.person(wallet).map_or("", |person| person.name.as_str()),
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
    let next = more.then(|| cursor::sign(world.seed, "leaderboard", &position));
    Ok(Answer::json(&Page::new(rows, limit, next)))
}

/// `/v2/resolutions`: exactly one of question, condition or event.
pub fn resolutions(world: &World, params: &Params, now: Timestamp) -> Result<Answer, Answer> {
    let given = ["question_id", "condition", "event_id"].iter().filter(|name| params.text(name).is_some()).count();
    if given != 1 {
        return Err(Answer::data_error(400, "exactly one of question_id, condition, event_id is required", None));
    }
    let wanted: Option<Vec<MarketId>> = conditions(world, params)?;
    let question = params.text("question_id");
    let rows: Vec<ResolutionRow<'_>> = world
        .markets()
        .filter(|market| match (&wanted, question) {
            (Some(ids), _) => ids.contains(market.id()),
            (None, Some(question)) => market.question_id == question,
            _ => false,
        })
        .map(|market| resolution_row(market, now))
        .collect();
    Ok(Answer::json(&Data { data: rows }))
}

#[derive(Serialize)]
struct ResolutionRow<'a> {
    condition_id: &'a str,
    status: &'a str,
    extended_review: bool,
    was_disputed: bool,
    new_version_q: bool,
    transaction_hash: &'a str,
    log_index: &'a str,
    last_update_timestamp: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    payouts: Option<Vec<i64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resolution_source: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    was_arbitrated: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resolved_block: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resolved_at: Option<String>,
}

fn resolution_row(market: &SimMarket, now: Timestamp) -> ResolutionRow<'_> {
    let payouts = market.payouts_at(now);
    let resolved_at = payouts.and(market.resolves_at);
    let last = resolved_at.or(market.closes_at.filter(|at| *at <= now)).unwrap_or(market.opens_at);
    ResolutionRow {
        condition_id: market.id().as_str(),
        status: match market.phase(now) {
            Phase::Coming => "initialized",
            Phase::Open => "posed",
            Phase::Closed => "proposed",
            Phase::Resolved => "resolved",
        },
        extended_review: false,
        was_disputed: false,
        new_version_q: false,
        transaction_hash: "",
        log_index: "",
        last_update_timestamp: whole_seconds(last),
        payouts: payouts.map(|payouts| payouts.iter().map(|payout| payout.micros()).collect()),
        resolution_source: resolved_at.map(|_| "reported"),
        was_arbitrated: resolved_at.map(|_| false),
        resolved_block: resolved_at.map(crate::simulator::routes::chain::block_of),
        resolved_at: resolved_at.map(whole_seconds),
    }
}

/// `2026-09-09T21:19:19Z`.
pub fn whole_seconds(at: Timestamp) -> String {
    at.bucket(1000).iso().replace(".000Z", "Z")
}
