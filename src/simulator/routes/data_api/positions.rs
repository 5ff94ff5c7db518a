//! `/v2/positions` and `/v2/value`: what wallets hold and what it is worth.

use std::collections::BTreeMap;

use serde::Serialize;

use super::cursor::{self, ListPosition};
use super::params::Params;
use super::{Data, Page};
use crate::domain::money::ids::{AssetId, MarketId, Wallet};
use crate::domain::money::units::Timestamp;
use crate::simulator::http::response::Response;
use crate::simulator::state::exchange::Exchange;
use crate::simulator::state::market::{Phase, SimMarket, float};
use crate::simulator::state::positions::Holding;
use crate::simulator::state::token_ids::Combo;

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
    current_price: Option<f64>,
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
    opposite_token_id: AssetId,
    end_date: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_event_at: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_entry_at: Option<i64>,
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
    what: Held<'a>,
    mergeable: bool,
    /// In USDC, of one share and of all.
    price: f64,
    value: f64,
}

/// What a token is, and the index of its outcome.
#[derive(Clone)]
enum Held<'a> {
    Market(&'a SimMarket, usize, AssetId),
    Combo(Combo, usize),
}

/// `/v2/positions`. A cursor serves the same user and condition only.
pub fn positions(exchange: &Exchange, params: &Params, now: Timestamp) -> Result<Response, Response> {
    let user = params.text("user").map(|_| params.wallet()).transpose()?;
    let found = find(exchange, params, user.as_ref(), now)?;
    let limit = params.limit()?;
    let about = format!("{:?}{:?}", params.text("user"), params.text("condition"));
    let done = match params.text("cursor") {
        None => 0,
        Some(cursor) => match cursor::read::<ListPosition>(exchange.seed, "positions", cursor) {
            Some(position) if position.av == about => position.d,
            _ => return Err(Response::data_error(400, "invalid cursor", Some("cursor"))),
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
    Ok(Response::json(&Page::new(rows, limit, next)))
}

/// Returns the positions that the request wants, the most valuable first.
fn find<'a>(
    exchange: &'a Exchange,
    params: &Params,
    user: Option<&'a Wallet>,
    now: Timestamp,
) -> Result<Vec<Position<'a>>, Response> {
    let wanted = params.conditions(exchange)?;
    if user.is_none() && wanted.is_none() {
        return Err(Response::data_error(400, "user or condition is required", Some("user")));
    }
    let status = params.text("status").unwrap_or("OPEN");
    if !STATUSES.contains(&status) {
        return Err(Response::data_error(400, &format!("unknown position status: {status}"), Some("status")));
    }
    let amount_min = params.float("filter_amount", 0.1);
    let amount_in_cash = params.text("filter_type") == Some("CASH");
    let wallets: Vec<&Wallet> = match user {
        Some(user) => vec![user],
        None => exchange.holders().into_iter().collect(),
    };
    let times = (params.seconds("start")?, params.seconds("end")?);
    let mut found = Vec::new();
    for wallet in wallets {
        let holdings = exchange.holdings(wallet, Some(now));
        for (asset, holding) in &holdings {
            let Some(what) = Held::of(exchange, asset) else { continue };
            let price = what.price(now);
            let size = float(holding.shares.0);
            let amount = if amount_in_cash { size * price } else { size };
            let mergeable = holding.shares.0 > 0 && what.is_mergeable(exchange, asset, &holdings);
            let shown = wanted.as_ref().is_none_or(|ids| ids.contains(what.condition()))
                && within(holding.last_change, times)
                && has_status(status, what.is_resolved(now), mergeable, holding, price)
                && (status == "CLOSED" || amount >= amount_min);
            if shown {
                let (asset, holding, value) = (asset.clone(), holding.clone(), size * price);
                found.push(Position { wallet, asset, holding, what, mergeable, price, value });
            }
        }
    }
    found.sort_by(|a, b| b.value.total_cmp(&a.value).then_with(|| a.asset.cmp(&b.asset)));
    Ok(found)
}

/// Returns whether the last event lies in the bounds that were asked for. With any bound, a position without a time drops
/// out (venue 1.6).
fn within(last_event_at: i64, (start, end): (i64, i64)) -> bool {
    let bounded = start > 0 || end > 0;
    !bounded || (last_event_at > 0 && last_event_at >= start && (end <= 0 || last_event_at <= end))
}

fn has_status(status: &str, resolved: bool, mergeable: bool, holding: &Holding, price: f64) -> bool {
    let open = holding.shares.0 > 0;
    match status {
        "REDEEMABLE" => open && resolved && price > 0.0,
        "REDEEMABLE_LOST" => open && resolved && price == 0.0,
        "MERGEABLE" => open && mergeable,
        "CLOSED" => !open,
        _ => open,
    }
}

impl<'a> Held<'a> {
    /// Returns what a token is; `None` for a token that no route knows.
    fn of(exchange: &'a Exchange, asset: &AssetId) -> Option<Self> {
        let combo = || exchange.combo_of(asset).map(|(combo, index)| Self::Combo(combo, index));
        let of_market = |(market, index): (&'a SimMarket, usize)| {
            Self::Market(market, index, exchange.opposite_token(market, asset, index))
        };
        exchange.market_by_asset(asset).map(of_market).or_else(combo)
    }

    fn condition(&self) -> &MarketId {
        match self {
            Self::Market(market, ..) => market.id(),
            Self::Combo(combo, _) => &combo.condition,
        }
    }

    /// Returns the condition as it is printed: that of a combo has 62 digits.
    fn condition_text(&self) -> &str {
        match self {
            Self::Market(market, ..) => market.id().as_str(),
            Self::Combo(combo, _) => combo.condition.as_str().get(..64).unwrap_or_default(),
        }
    }

    fn market(&self) -> Option<&'a SimMarket> {
        match self {
            Self::Market(market, ..) => Some(market),
            Self::Combo(..) => None,
        }
    }

    /// Returns the price of a share in USDC; a half for a combo, which has no market here.
    fn price(&self, now: Timestamp) -> f64 {
        match self {
            Self::Market(market, index, _) => float(market.share_value(*index, now).micros()),
            Self::Combo(..) => 0.5,
        }
    }

    fn is_resolved(&self, now: Timestamp) -> bool {
        self.market().is_some_and(|market| market.phase(now) == Phase::Resolved)
    }

    /// Returns whether the wallet holds every outcome, on one ledger.
    fn is_mergeable(&self, exchange: &Exchange, asset: &AssetId, held: &BTreeMap<AssetId, Holding>) -> bool {
        let holds = |asset: &AssetId| held.get(asset).is_some_and(|holding| holding.shares.0 > 0);
        match self {
            Self::Combo(combo, _) => combo.tokens.iter().all(holds),
            Self::Market(market, ..) if exchange.market_of.contains_key(asset) => {
                market.facts.outcomes.iter().all(|outcome| holds(&outcome.asset))
            }
            Self::Market(_, _, opposite) => holds(opposite),
        }
    }
}

impl Position<'_> {
    fn row<'a>(&'a self, name: &'a str, now: Timestamp) -> PositionRow<'a> {
        let Self { what, holding, price, value, .. } = self;
        let resolved = what.is_resolved(now);
        let (size, cost, fees) = (float(holding.shares.0), float(holding.cost), float(holding.fees));
        let unrealized = value - cost;
        let percent = |part: f64| if cost > 0.0 { four_decimals(part / cost * 100.0) } else { 0.0 };
        let (index, opposite) = match what {
            Held::Market(_, index, opposite) => (*index, opposite.clone()),
            Held::Combo(combo, index) => (*index, combo.tokens[usize::from(*index == 0)].clone()),
        };
        let known = |second: i64| (second > 0).then_some(second);
        let market = what.market();
        let text = |of: fn(&SimMarket) -> &str| market.map_or("", of);
        PositionRow {
            proxy_wallet: self.wallet.as_str(),
            token_id: self.asset.as_str(),
            condition_id: what.condition_text(),
            current_size: float(holding.shares.0 / 100 * 100),
            avg_price: if size > 0.0 { four_decimals(cost / size) } else { 0.0 },
            entry_cost_usdc: cost,
            entry_fees_usdc: fees,
            total_cost_usdc: cost + fees,
            current_price: (!market.is_some_and(|market| market.quirks.without_position_price)).then_some(*price),
            current_value: four_decimals(*value),
            total_size: float(holding.bought),
            realized_pnl: float(holding.realized),
            unrealized_pnl: four_decimals(unrealized),
            total_pnl: four_decimals(unrealized + float(holding.realized)),
            percent_pnl: percent(unrealized),
            percent_realized_pnl: percent(float(holding.realized)),
            status: match (holding.shares.0 > 0, resolved) {
                (false, _) => "CLOSED",
                (true, true) => "REDEEMABLE",
                (true, false) => "OPEN",
            },
            redeemable: resolved,
            mergeable: self.mergeable,
            negative_risk: market.is_some_and(|market| market.facts.neg_risk),
            archived: false,
            title: text(|market| &market.facts.question),
            slug: text(|market| &market.facts.slug),
            icon: "",
            event_id: text(|market| &market.event.id),
            event_slug: text(|market| &market.event.slug),
            outcome: market.map_or("", |market| market.outcome(index)),
            outcome_index: index,
            opposite_outcome: market.map_or("", |market| market.outcome(usize::from(index == 0))),
            opposite_token_id: opposite,
            end_date: market.and_then(SimMarket::printed_end).map_or("1970-01-01".to_owned(), day),
            last_event_at: known(holding.last_change),
            first_entry_at: known(holding.first_change),
            name,
            profile_image: "",
            verified: false,
        }
    }
}

fn day(at: Timestamp) -> String {
    at.iso().chars().take(10).collect()
}

fn four_decimals(number: f64) -> f64 {
    (number * 1e4).round() / 1e4
}

/// `/v2/value`.
pub fn value(exchange: &Exchange, params: &Params, now: Timestamp) -> Result<Response, Response> {
    let user = params.wallet()?;
    let value = value_of(exchange, &user, now);
    Ok(Response::json(&Data { data: Value { proxy_wallet: user.as_str(), value: four_decimals(value) } }))
}

/// Returns what a wallet's shares are worth, in USDC.
pub fn value_of(exchange: &Exchange, user: &Wallet, now: Timestamp) -> f64 {
    let holdings = exchange.holdings(user, Some(now));
    let held = holdings
        .iter()
        .filter_map(|(asset, holding)| Some(float(holding.shares.0.max(0)) * Held::of(exchange, asset)?.price(now)));
    held.sum()
}
