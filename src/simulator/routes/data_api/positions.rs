//! `/v2/positions` and `/v2/value`: what wallets hold and what it is worth.

use std::collections::BTreeMap;

use serde::Serialize;

use super::cursor::{self, ListPosition};
use super::params::Params;
use super::{Data, Page};
use crate::domain::money::ids::{AssetId, Wallet};
use crate::domain::money::units::Timestamp;
use crate::simulator::http::response::Answer;
use crate::simulator::state::exchange::Exchange;
use crate::simulator::state::market::{Phase, SimMarket, float};
use crate::simulator::state::positions::Holding;

const STATUSES: [&str; 5] = ["OPEN", "REDEEMABLE", "REDEEMABLE_LOST", "MERGEABLE", "CLOSED"];

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
struct Value<'a> {
    proxy_wallet: &'a str,
    value: f64,
}

/// One holding with its market, as a position row needs it.
struct Position<'a> {
    wallet: &'a Wallet,
    asset: AssetId,
    holding: Holding,
    market: &'a SimMarket,
    /// The index of the token's outcome.
    index: usize,
    /// In USDC, of one share and of all.
    price: f64,
    value: f64,
}

/// `/v2/positions`. A cursor serves the same user and condition only.
pub fn positions(exchange: &Exchange, params: &Params, now: Timestamp) -> Result<Answer, Answer> {
    let user = params.text("user").map(|_| params.wallet()).transpose()?;
    let found = find(exchange, params, user.as_ref(), now)?;
    let limit = params.limit()?;
    let about = format!("{:?}{:?}", params.text("user"), params.text("condition"));
    let done = match params.text("cursor") {
        None => 0,
        Some(cursor) => match cursor::read::<ListPosition>(exchange.seed, "positions", cursor) {
            Some(position) if position.av == about => position.d,
            _ => return Err(Answer::data_error(400, "invalid cursor", Some("cursor"))),
        },
    };
    let rows: Vec<PositionRow<'_>> = found
        .iter()
        .skip(done)
        .take(limit)
        .map(|position| {
            let name = exchange.profile(position.wallet).map_or("", |profile| profile.name.as_str());
            position.row(name, now)
        })
        .collect();
    let served = done + rows.len();
    let next = (served < found.len())
        .then(|| cursor::sign(exchange.seed, "positions", &ListPosition { l: limit, d: served, av: about }));
    Ok(Answer::json(&Page::new(rows, limit, next)))
}

/// Returns the positions that the request wants, the most valuable first.
fn find<'a>(
    exchange: &'a Exchange,
    params: &Params,
    user: Option<&'a Wallet>,
    now: Timestamp,
) -> Result<Vec<Position<'a>>, Answer> {
    let wanted = params.conditions(exchange)?;
    if user.is_none() && wanted.is_none() {
        return Err(Answer::data_error(400, "user or condition is required", Some("user")));
    }
    let status = params.text("status").unwrap_or("OPEN");
    if !STATUSES.contains(&status) {
        return Err(Answer::data_error(400, &format!("unknown position status: {status}"), Some("status")));
    }
    let amount_min = params.float("filter_amount", 0.1);
    let amount_in_cash = params.text("filter_type") == Some("CASH");
    let wallets: Vec<&Wallet> = match user {
        Some(user) => vec![user],
        None => exchange.feed.wallets().collect(),
    };
    let mut found = Vec::new();
    for wallet in wallets {
        let holdings = exchange.holdings(wallet, Some(now));
        for (asset, holding) in &holdings {
            let Some((market, index)) = exchange.market_by_asset(asset) else { continue };
            let price = float(market.share_value(index, now).micros());
            let size = float(holding.shares.0);
            let amount = if amount_in_cash { size * price } else { size };
            let shown = wanted.as_ref().is_none_or(|ids| ids.contains(market.id()))
                && has_status(status, market, &holdings, holding, price, now)
                && (status == "CLOSED" || amount >= amount_min);
            if shown {
                let (asset, holding, value) = (asset.clone(), holding.clone(), size * price);
                found.push(Position { wallet, asset, holding, market, index, price, value });
            }
        }
    }
    found.sort_by(|a, b| b.value.total_cmp(&a.value).then_with(|| a.asset.cmp(&b.asset)));
    Ok(found)
}

fn has_status(
    status: &str,
    market: &SimMarket,
    holdings: &BTreeMap<AssetId, Holding>,
    holding: &Holding,
    price: f64,
    now: Timestamp,
) -> bool {
    let resolved = market.phase(now) == Phase::Resolved;
    let open = holding.shares.0 > 0;
    match status {
        "REDEEMABLE" => open && resolved && price > 0.0,
        "REDEEMABLE_LOST" => open && resolved && price == 0.0,
        "MERGEABLE" => open && is_mergeable(market, holdings),
        "CLOSED" => !open,
        _ => open,
    }
}

fn is_mergeable(market: &SimMarket, holdings: &BTreeMap<AssetId, Holding>) -> bool {
    market.facts.outcomes.iter().all(|outcome| holdings.get(&outcome.asset).is_some_and(|held| held.shares.0 > 0))
}

impl Position<'_> {
    fn row<'a>(&'a self, name: &'a str, now: Timestamp) -> PositionRow<'a> {
        let Self { market, holding, index, price, value, .. } = self;
        let resolved = market.phase(now) == Phase::Resolved;
        let (size, cost, fees) = (float(holding.shares.0), float(holding.cost), float(holding.fees));
        let unrealized = value - cost;
        let percent = |part: f64| if cost > 0.0 { four_decimals(part / cost * 100.0) } else { 0.0 };
        let other = usize::from(*index == 0);
        PositionRow {
            proxy_wallet: self.wallet.as_str(),
            token_id: self.asset.as_str(),
            condition_id: market.id().as_str(),
            current_size: float(holding.shares.0 / 100 * 100),
            avg_price: if size > 0.0 { four_decimals(cost / size) } else { 0.0 },
            entry_cost_usdc: cost,
            entry_fees_usdc: fees,
            total_cost_usdc: cost + fees,
            current_price: *price,
            current_value: four_decimals(*value),
            total_size: float(holding.bought),
            realized_pnl: float(holding.realized),
            unrealized_pnl: four_decimals(unrealized),
            total_pnl: four_decimals(unrealized + float(holding.realized)),
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
            outcome: market.outcome(*index),
            outcome_index: *index,
            opposite_outcome: market.outcome(other),
            opposite_token_id: market.asset(other).map_or("", AssetId::as_str),
            end_date: market.closes_at.map_or("1970-01-01".to_owned(), |at| at.iso().chars().take(10).collect()),
            last_event_at: holding.last_change,
            first_entry_at: holding.first_change,
            name,
            profile_image: "",
            verified: false,
        }
    }
}

fn four_decimals(number: f64) -> f64 {
    (number * 1e4).round() / 1e4
}

/// `/v2/value`.
pub fn value(exchange: &Exchange, params: &Params, now: Timestamp) -> Result<Answer, Answer> {
    let user = params.wallet()?;
    let value = value_of(exchange, &user, now);
    Ok(Answer::json(&Data { data: Value { proxy_wallet: user.as_str(), value: four_decimals(value) } }))
}

/// Returns what a wallet's shares are worth, in USDC.
pub fn value_of(exchange: &Exchange, user: &Wallet, now: Timestamp) -> f64 {
    let holdings = exchange.holdings(user, Some(now));
    let held = holdings.iter().filter_map(|(asset, holding)| {
        let (market, index) = exchange.market_by_asset(asset)?;
        Some(float(holding.shares.0.max(0)) * float(market.share_value(index, now).micros()))
    });
    held.sum()
}
