//! One trader: its style, what it holds, and how it acts.

use std::collections::{BTreeMap, BTreeSet};

use super::LifeSettings;
use crate::domain::events::event::Side;
use crate::domain::money::ids::{AssetId, MarketId, Wallet};
use crate::domain::money::units::{PriceMicros, ShareMicros, Timestamp, UsdcMicros};
use crate::simulator::rng::Rng;
use crate::simulator::state::exchange::Exchange;
use crate::simulator::state::feed::Role;
use crate::simulator::state::market::{Phase, SimMarket};
use crate::simulator::state::trading::{Fill, Part};

/// A generated trader.
#[derive(Debug)]
pub struct Trader {
    pub wallet: Wallet,
    style: Style,
    rng: Rng,
    /// When it acts next.
    pub next_at: Timestamp,
    /// The fraction of a millisecond that is cut off the last wait and added to the next one.
    rest: f64,
    /// Shares that it holds and can sell, in micros.
    held: BTreeMap<AssetId, i64>,
    order: Option<WorkedOrder>,
}

/// An order that fills in several matches, a moment apart.
#[derive(Debug, Clone)]
struct WorkedOrder {
    asset: AssetId,
    side: Side,
    role: Role,
    /// How many matches are still to come.
    matches_left: u32,
    /// Cash of each match, in micros.
    cash: i64,
}

/// The habits of a trader. `exit`, `merge`, `split` and `convert` are shares of all actions, in 0..1; the other actions
/// buy.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    /// The share of orders that rest in the book, in 0..1.
    maker: f64,
    /// Usual cash of one match, in USDC.
    size: f64,
    exit: f64,
    merge: f64,
    split: f64,
    convert: f64,
}

/// Profile name and style of the first traders; later ones repeat them.
pub const STYLES: [(&str, Style); 6] = [
    ("quietharbour", Style { maker: 0.1, size: 260.0, exit: 0.22, merge: 0.0, split: 0.0, convert: 0.01 }),
    ("lanternfish", Style { maker: 0.85, size: 90.0, exit: 0.18, merge: 0.06, split: 0.02, convert: 0.0 }),
    ("moss-and-co", Style { maker: 0.4, size: 700.0, exit: 0.3, merge: 0.02, split: 0.01, convert: 0.02 }),
    ("TapeReader7", Style { maker: 0.0, size: 1_500.0, exit: 0.35, merge: 0.0, split: 0.0, convert: 0.0 }),
    ("northbynoon", Style { maker: 0.6, size: 40.0, exit: 0.1, merge: 0.03, split: 0.03, convert: 0.02 }),
    ("elderberry", Style { maker: 0.25, size: 320.0, exit: 0.25, merge: 0.01, split: 0.0, convert: 0.0 }),
];

impl Trader {
    /// Returns trader `number` without holdings.
    pub fn new(seed: u64, number: usize, wallet: Wallet, at: Timestamp) -> Self {
        Self {
            wallet,
            style: STYLES[number % STYLES.len()].1,
            rng: Rng::named(seed, "leader", number as u64),
            next_at: at,
            rest: 0.0,
            held: BTreeMap::new(),
            order: None,
        }
    }

    /// Sets the time of the next action to a random time after `at`, `gap_ms` milliseconds later on average.
    pub fn schedule_first_action(&mut self, gap_ms: f64, at: Timestamp) {
        let wait = self.rng.exponential(gap_ms);
        self.next_at = at.plus_millis(wait as i64);
    }

    /// Acts now, at [`next_at`](Self::next_at), and sets the time of the next action.
    pub fn act(&mut self, exchange: &mut Exchange, settings: &LifeSettings) {
        let at = self.next_at;
        let gap = settings.action_gap_ms();
        if let Some(order) = self.order.take() {
            self.fill(exchange, order, at);
        } else {
            self.decide(exchange, settings, at);
        }
        let wait = match &self.order {
            Some(_) => self.rng.uniform() * gap.min(900.0),
            None => self.rng.exponential(gap),
        };
        let wait = wait + self.rest;
        self.rest = wait.fract();
        self.next_at = at.plus_millis(wait as i64);
    }

    /// Chooses an action: redeems now and then, then does one of the things in its style.
    fn decide(&mut self, exchange: &mut Exchange, settings: &LifeSettings, at: Timestamp) {
        if self.rng.chance(0.12) {
            self.redeem(exchange, at);
        }
        let style = self.style;
        let mut draw = self.rng.uniform();
        let mut falls_to = |share: f64| {
            draw -= share;
            draw < 0.0
        };
        if falls_to(0.004) {
            let cash = UsdcMicros(self.rng.between(100_000, 30_000_000));
            let _ = exchange.pay(&self.wallet, "MAKER_REBATE", cash, at);
        } else if falls_to(style.split) {
            let market = self.any_market(exchange, settings, at);
            let sets = self.cash(0.4) / 1_000_000 * 1_000_000;
            self.sets(exchange, &market, sets, Side::Buy, at);
        } else if falls_to(style.merge) {
            if let Some((market, sets)) = self.complete_sets(exchange, at) {
                self.sets(exchange, &market, sets, Side::Sell, at);
            }
        } else if falls_to(style.convert) {
            self.convert(exchange, at);
        } else if falls_to(style.exit)
            && let Some(asset) = self.asset_to_sell(exchange, at)
        {
            self.open_order(exchange, asset, Side::Sell, at);
        } else {
            let market = self.any_market(exchange, settings, at);
            let index = usize::from(self.rng.chance(0.5));
            if let Some(asset) = exchange.market(&market).and_then(|market| market.asset(index)).cloned() {
                self.open_order(exchange, asset, Side::Buy, at);
            }
        }
    }

    fn any_market(&mut self, exchange: &mut Exchange, settings: &LifeSettings, at: Timestamp) -> MarketId {
        // Traders come back to the markets that they know: of two draws the lower one counts.
        let last = i64::try_from(settings.markets.max(1)).unwrap_or(i64::MAX) - 1;
        let slot = self.rng.between(0, last).min(self.rng.between(0, last));
        exchange.market_of_slot(slot.unsigned_abs(), at)
    }

    /// Draws the cash of one match, in micros: widely spread around the usual size, times `part`.
    fn cash(&mut self, part: f64) -> i64 {
        let usdc = self.style.size * part * (self.rng.normal() * 0.8).exp();
        (usdc.clamp(2.0, 40_000.0) * 1e6) as i64
    }

    fn open_order(&mut self, exchange: &mut Exchange, asset: AssetId, side: Side, at: Timestamp) {
        let role = if self.rng.chance(self.style.maker) { Role::Maker } else { Role::Taker };
        let matches_left = [1, 1, 1, 2, 2, 3, 4][self.rng.between(0, 6).unsigned_abs() as usize];
        let cash = self.cash(1.0);
        self.fill(exchange, WorkedOrder { asset, side, role, matches_left, cash }, at);
    }

    /// Fills one match of an order; the other matches follow a moment later.
    fn fill(&mut self, exchange: &mut Exchange, mut order: WorkedOrder, at: Timestamp) {
        let Some(parts) = self.parts(exchange, &order, at) else { return };
        let shares: i64 = parts.iter().map(|part| part.shares.0).sum();
        let fill = Fill {
            wallet: self.wallet.clone(),
            asset: order.asset.clone(),
            side: order.side,
            role: order.role,
            parts,
            at,
            visible_at: None,
        };
        if exchange.push_fill(fill).is_err() {
            return;
        }
        let moved = if order.side == Side::Buy { shares } else { -shares };
        *self.held.entry(order.asset.clone()).or_insert(0) += moved;
        self.held.retain(|_, held| *held > 0);
        order.matches_left -= 1;
        self.order = (order.matches_left > 0).then_some(order);
    }

    /// Returns the parts that one match of the order fills in the book; `None` when the book has no level for it.
    fn parts(&mut self, exchange: &Exchange, order: &WorkedOrder, at: Timestamp) -> Option<Vec<Part>> {
        let (market, index) = exchange.market_by_asset(&order.asset)?;
        let quotes = market.quotes(index, at)?;
        let (passive, active) =
            if order.side == Side::Buy { (quotes.bids, quotes.asks) } else { (quotes.asks, quotes.bids) };
        let held = if order.side == Side::Sell { *self.held.get(&order.asset)? } else { i64::MAX };
        let jitter = 0.6 + self.rng.uniform() * 0.8;
        let cash = (order.cash as f64 * jitter) as i64;
        let levels = if order.role == Role::Maker { passive } else { active };
        let best = levels.first()?.price;
        let mut wanted = best.shares_for(UsdcMicros(cash)).ok()?.0.min(held) / 10_000 * 10_000;
        if wanted <= 0 {
            wanted = held.min(5_000_000);
        }
        if order.role == Role::Maker {
            return Some(self.maker_parts(best, wanted));
        }
        let mut parts = Vec::new();
        for level in levels.iter().take(4) {
            let shares = wanted.min(level.shares.0);
            parts.push(Part::at(level.price, ShareMicros(shares)));
            wanted -= shares;
            if wanted <= 0 {
                break;
            }
        }
        parts.retain(|part| part.cash.0 > 0);
        (!parts.is_empty()).then_some(parts)
    }

    /// Splits a resting order into one or two orders of one match; now and then into two equal ones.
    fn maker_parts(&mut self, at: PriceMicros, wanted: i64) -> Vec<Part> {
        let whole = Part::at(at, ShareMicros(wanted));
        if wanted < 20_000_000 {
            return vec![whole];
        }
        let half = wanted / 20_000 * 10_000;
        match self.rng.uniform() {
            random if random < 0.08 => vec![Part::at(at, ShareMicros(half)); 2],
            random if random < 0.25 => {
                let third = wanted / 30_000 * 10_000;
                vec![Part::at(at, ShareMicros(third)), Part::at(at, ShareMicros(wanted - third))]
            }
            _ => vec![whole],
        }
    }

    fn asset_to_sell(&mut self, exchange: &Exchange, at: Timestamp) -> Option<AssetId> {
        let open = |asset: &&AssetId| exchange.market_by_asset(asset).is_some_and(|(market, _)| is_open(market, at));
        let sellable: Vec<AssetId> = self.held.keys().filter(open).cloned().collect();
        self.rng.choose(&sellable).cloned()
    }

    fn complete_sets(&self, exchange: &Exchange, at: Timestamp) -> Option<(MarketId, i64)> {
        self.held.keys().find_map(|asset| {
            let (market, _) = exchange.market_by_asset(asset).filter(|(market, _)| is_open(market, at))?;
            let outcomes = market.facts.outcomes.iter();
            let sets = outcomes.map(|outcome| self.held.get(&outcome.asset).copied().unwrap_or(0)).min()?;
            (sets > 1_000_000).then(|| (market.id().clone(), sets))
        })
    }

    /// Splits cash into sets, or merges sets into cash.
    fn sets(&mut self, exchange: &mut Exchange, market: &MarketId, sets: i64, side: Side, at: Timestamp) {
        if sets <= 0 || !exchange.is_open(market, at) {
            return;
        }
        let (done, each) = match side {
            Side::Buy => (exchange.split(&self.wallet, market, ShareMicros(sets), at), sets),
            Side::Sell => (exchange.merge(&self.wallet, market, ShareMicros(sets), at), -sets),
        };
        if done.is_err() {
            return;
        }
        let outcomes = exchange.market(market).map(|market| market.facts.outcomes.clone()).unwrap_or_default();
        for outcome in outcomes {
            *self.held.entry(outcome.asset).or_insert(0) += each;
        }
        self.held.retain(|_, held| *held > 0);
    }

    /// Converts half of a NO of a neg-risk event into the YES tokens of the event's other markets.
    fn convert(&mut self, exchange: &mut Exchange, at: Timestamp) {
        let found = self.held.iter().find_map(|(asset, held)| {
            let (market, index) = exchange.market_by_asset(asset)?;
            let usable = index == 1 && market.facts.neg_risk && is_open(market, at) && *held > 2_000_000;
            usable.then(|| (market.id().clone(), *held / 2))
        });
        let Some((market, amount)) = found else { return };
        let Ok(key) = exchange.convert(&self.wallet, &[market], ShareMicros(amount), at) else { return };
        let changes = exchange.feed.row(key).map(|row| row.share_changes.clone()).unwrap_or_default();
        for (asset, change) in changes {
            *self.held.entry(asset).or_insert(0) += change.0;
        }
        self.held.retain(|_, held| *held > 0);
    }

    fn redeem(&mut self, exchange: &mut Exchange, at: Timestamp) {
        let resolved: BTreeSet<MarketId> = self
            .held
            .keys()
            .filter_map(|asset| exchange.market_by_asset(asset))
            .filter(|(market, _)| market.phase(at) == Phase::Resolved)
            .map(|(market, _)| market.id().clone())
            .collect();
        for market in resolved {
            let per_outcome = self.rng.chance(0.5);
            let _ = exchange.redeem(&self.wallet, &market, per_outcome, at);
            let outcomes = exchange.market(&market).map(|market| market.facts.outcomes.clone()).unwrap_or_default();
            for outcome in outcomes {
                self.held.remove(&outcome.asset);
            }
        }
    }
}

fn is_open(market: &SimMarket, at: Timestamp) -> bool {
    market.phase(at) == Phase::Open
}
