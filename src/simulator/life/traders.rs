//! Leaders who trade: the generated source of life.
//!
//! Every leader throws dice of its own and acts at times of its own, so the same seed and settings give the same deeds
//! however often and from wherever time is moved on.

use std::collections::BTreeMap;

use crate::domain::events::event::Side;
use crate::domain::money::ids::{AssetId, MarketId, Wallet};
use crate::domain::money::units::{PriceMicros, ShareMicros, Timestamp, UsdcMicros};

use super::rng::Dice;
use crate::simulator::state::activity_rows::Role;
use crate::simulator::state::exchange::{World, wallet_of};
use crate::simulator::state::market::{Phase, SimMarket};
use crate::simulator::state::market_catalog::market_in_slot;
use crate::simulator::state::trading::{Fill, Part};

/// How much happens.
#[derive(Debug, Clone, PartialEq)]
pub struct LifeSettings {
    /// All leaders together, on average.
    pub fills_per_second: f64,
    pub leaders: usize,
    /// Markets open at any time.
    pub markets: u64,
}

impl Default for LifeSettings {
    fn default() -> Self {
        Self { fills_per_second: 0.5, leaders: 3, markets: 24 }
    }
}

/// Fills of one action, on average; keeps the rate right.
const FILLS_PER_ACTION: f64 = 2.0;

#[derive(Debug)]
pub struct Life {
    settings: LifeSettings,
    leaders: Vec<Leader>,
    running: bool,
}

#[derive(Debug)]
struct Leader {
    wallet: Wallet,
    style: Style,
    dice: Dice,
    next_at: Timestamp,
    /// The part of a millisecond lost when waits are cut to whole ones.
    rest: f64,
    /// What it holds and believes it can sell.
    held: BTreeMap<AssetId, i64>,
    burst: Option<Burst>,
}

/// An order worked in several matches.
#[derive(Debug, Clone)]
struct Burst {
    asset: AssetId,
    side: Side,
    role: Role,
    left: u32,
    /// Cash of each match, in micros.
    size: i64,
}

/// Habits. Shares of all actions, out of one; what is left over buys.
#[derive(Debug, Clone, Copy)]
struct Style {
    maker: f64,
    /// Usual cash of one match, in USDC.
    size: f64,
    exit: f64,
    merge: f64,
    split: f64,
    convert: f64,
}

const STYLES: [(&str, Style); 6] = [
    ("quietharbour", Style { maker: 0.1, size: 260.0, exit: 0.22, merge: 0.0, split: 0.0, convert: 0.01 }),
    ("lanternfish", Style { maker: 0.85, size: 90.0, exit: 0.18, merge: 0.06, split: 0.02, convert: 0.0 }),
    ("moss-and-co", Style { maker: 0.4, size: 700.0, exit: 0.3, merge: 0.02, split: 0.01, convert: 0.02 }),
    ("TapeReader7", Style { maker: 0.0, size: 1_500.0, exit: 0.35, merge: 0.0, split: 0.0, convert: 0.0 }),
    ("northbynoon", Style { maker: 0.6, size: 40.0, exit: 0.1, merge: 0.03, split: 0.03, convert: 0.02 }),
    ("elderberry", Style { maker: 0.25, size: 320.0, exit: 0.25, merge: 0.01, split: 0.0, convert: 0.0 }),
];

/// The name of leader `number`: `follow` finds it by this.
pub fn leader_name(number: usize) -> String {
    let (name, _) = STYLES[number % STYLES.len()];
    match number / STYLES.len() {
        0 => name.to_owned(),
        again => format!("{name}{}", again + 1),
    }
}

impl World {
    /// Leaders trade from now on; leaders who traded before go on with what they hold, at the new pace.
    pub fn start_life(&mut self, settings: LifeSettings) {
        let now = self.now();
        self.start_life_at(settings, now);
    }

    /// The same, from an earlier time on: `live_until` then catches up, which writes history.
    pub fn start_life_at(&mut self, settings: LifeSettings, at: Timestamp) {
        let known = self.life.take().map(|life| life.leaders).unwrap_or_default();
        let mut leaders = known;
        for number in leaders.len()..settings.leaders {
            let name = leader_name(number);
            let wallet = wallet_of(&format!("leader {number} of {}", self.seed));
            self.add_person(&wallet, &name);
            leaders.push(Leader {
                wallet,
                style: STYLES[number % STYLES.len()].1,
                dice: Dice::named(self.seed, "leader", number as u64),
                next_at: at,
                rest: 0.0,
                held: BTreeMap::new(),
                burst: None,
            });
        }
        leaders.truncate(settings.leaders);
        for leader in &mut leaders {
            let wait = leader.dice.wait(settings.action_gap_ms());
            leader.next_at = at.plus_millis(wait as i64);
        }
        for slot in 0..settings.markets {
            self.market_of_slot(slot, at);
        }
        self.life = Some(Life { settings, leaders, running: true });
    }

    pub fn stop_life(&mut self) {
        if let Some(life) = &mut self.life {
            life.running = false;
        }
    }

    /// Lets leaders who rest go on as they were.
    pub(in crate::simulator) fn resume_life(&mut self) {
        if let Some(life) = &mut self.life {
            life.running = true;
        }
    }

    /// The generated leaders, by number.
    pub fn leaders(&self) -> Vec<Wallet> {
        self.life
            .as_ref()
            .map(|life| life.leaders.iter().map(|leader| leader.wallet.clone()).collect())
            .unwrap_or_default()
    }

    /// Lets the leaders act up to and including this time.
    pub fn live_until(&mut self, until: Timestamp) {
        let Some(mut life) = self.life.take() else { return };
        while life.running {
            let first = life.leaders.iter().enumerate().min_by_key(|(number, leader)| (leader.next_at, *number));
            let Some((number, at)) = first.map(|(number, leader)| (number, leader.next_at)) else { break };
            if at > until {
                break;
            }
            life.leaders[number].act(self, &life.settings, at);
        }
        self.life = Some(life);
    }

    /// The market of a slot, made when first looked at.
    pub(in crate::simulator) fn market_of_slot(&mut self, slot: u64, at: Timestamp) -> MarketId {
        if let Some((id, opens_at, closes_at)) = self.slots.get(&slot)
            && *opens_at <= at
            && at < *closes_at
        {
            return id.clone();
        }
        let market = market_in_slot(self.seed, slot, at);
        let (id, closes_at) = (market.id().clone(), market.closes_at.unwrap_or(at));
        self.slots.insert(slot, (id.clone(), market.opens_at, closes_at));
        if self.market(&id).is_none() {
            self.insert_market(market);
        }
        id
    }
}

impl LifeSettings {
    fn action_gap_ms(&self) -> f64 {
        1000.0 * FILLS_PER_ACTION * self.leaders as f64 / self.fills_per_second.max(1e-9)
    }
}

impl Leader {
    fn act(&mut self, world: &mut World, settings: &LifeSettings, at: Timestamp) {
        let gap = settings.action_gap_ms();
        if let Some(burst) = self.burst.take() {
            self.fill(world, burst, at);
        } else {
            self.decide(world, settings, at);
        }
        let wait = match &self.burst {
            Some(_) => self.dice.unit() * gap.min(900.0),
            None => self.dice.wait(gap),
        };
        let wait = wait + self.rest;
        self.rest = wait.fract();
        self.next_at = at.plus_millis(wait as i64);
    }

    fn decide(&mut self, world: &mut World, settings: &LifeSettings, at: Timestamp) {
        if self.dice.chance(0.12) {
            self.redeem(world, at);
        }
        let style = self.style;
        let mut roll = self.dice.unit();
        let mut falls_to = |part: f64| {
            roll -= part;
            roll < 0.0
        };
        if falls_to(0.004) {
            let cash = UsdcMicros(self.dice.between(100_000, 30_000_000));
            let _ = world.pay(&self.wallet, "MAKER_REBATE", cash, at);
        } else if falls_to(style.split) {
            let market = self.any_market(world, settings, at);
            let sets = self.size(0.4) / 1_000_000 * 1_000_000;
            self.sets(world, &market, sets, Side::Buy, at);
        } else if falls_to(style.merge) {
            if let Some((market, sets)) = self.complete_sets(world, at) {
                self.sets(world, &market, sets, Side::Sell, at);
            }
        } else if falls_to(style.convert) {
            self.convert(world, at);
        } else if falls_to(style.exit)
            && let Some((asset, side)) = self.something_to_sell(world, at).map(|asset| (asset, Side::Sell))
        {
            self.open_burst(world, asset, side, at);
        } else {
            let market = self.any_market(world, settings, at);
            let index = usize::from(self.dice.chance(0.5));
            if let Some(asset) = world.market(&market).and_then(|market| market.asset(index)).cloned() {
                self.open_burst(world, asset, Side::Buy, at);
            }
        }
    }

    fn any_market(&mut self, world: &mut World, settings: &LifeSettings, at: Timestamp) -> MarketId {
        // Leaders come back to what they know: two throws, the lower wins.
        let last = i64::try_from(settings.markets.max(1)).unwrap_or(i64::MAX) - 1;
        let slot = self.dice.between(0, last).min(self.dice.between(0, last));
        world.market_of_slot(slot.unsigned_abs(), at)
    }

    /// Cash of one match: wide spread around what is usual.
    fn size(&mut self, part: f64) -> i64 {
        let usdc = self.style.size * part * (self.dice.normal() * 0.8).exp();
        (usdc.clamp(2.0, 40_000.0) * 1e6) as i64
    }

    fn open_burst(&mut self, world: &mut World, asset: AssetId, side: Side, at: Timestamp) {
        let role = if self.dice.chance(self.style.maker) { Role::Maker } else { Role::Taker };
        let left = [1, 1, 1, 2, 2, 3, 4][self.dice.between(0, 6).unsigned_abs() as usize];
        let size = self.size(1.0);
        self.fill(world, Burst { asset, side, role, left, size }, at);
    }

    /// One match of a burst; what is left of it follows a moment later.
    fn fill(&mut self, world: &mut World, mut burst: Burst, at: Timestamp) {
        let Some(parts) = self.parts(world, &burst, at) else { return };
        let shares: i64 = parts.iter().map(|part| part.shares.0).sum();
        let fill = Fill {
            wallet: self.wallet.clone(),
            asset: burst.asset.clone(),
            side: burst.side,
            role: burst.role,
            parts,
            at,
            visible_at: None,
        };
        if world.push_fill(fill).is_err() {
            return;
        }
        let moved = if burst.side == Side::Buy { shares } else { -shares };
        *self.held.entry(burst.asset.clone()).or_insert(0) += moved;
        self.held.retain(|_, held| *held > 0);
        burst.left -= 1;
        self.burst = (burst.left > 0).then_some(burst);
    }

    /// What the book gives for the burst's size; `None` when there is nothing to trade against.
    fn parts(&mut self, world: &World, burst: &Burst, at: Timestamp) -> Option<Vec<Part>> {
        let (market, index) = world.market_by_asset(&burst.asset)?;
        let quotes = market.quotes(index, at)?;
        let (passive, active) =
            if burst.side == Side::Buy { (quotes.bids, quotes.asks) } else { (quotes.asks, quotes.bids) };
        let held = if burst.side == Side::Sell { *self.held.get(&burst.asset)? } else { i64::MAX };
        let jitter = 0.6 + self.dice.unit() * 0.8;
        let cash = (burst.size as f64 * jitter) as i64;
        let levels = if burst.role == Role::Maker { passive } else { active };
        let best = levels.first()?.price;
        let mut wanted = best.shares_for(UsdcMicros(cash)).ok()?.0.min(held) / 10_000 * 10_000;
        if wanted <= 0 {
            wanted = held.min(5_000_000);
        }
        if burst.role == Role::Maker {
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

    /// A resting order filled in one, two or three orders of one match; now and then two equal ones.
    fn maker_parts(&mut self, at: PriceMicros, wanted: i64) -> Vec<Part> {
        let whole = Part::at(at, ShareMicros(wanted));
        if wanted < 20_000_000 {
            return vec![whole];
        }
        let half = wanted / 20_000 * 10_000;
        match self.dice.unit() {
            luck if luck < 0.08 => vec![Part::at(at, ShareMicros(half)); 2],
            luck if luck < 0.25 => {
                let third = wanted / 30_000 * 10_000;
                vec![Part::at(at, ShareMicros(third)), Part::at(at, ShareMicros(wanted - third))]
            }
            _ => vec![whole],
        }
    }

    fn something_to_sell(&mut self, world: &World, at: Timestamp) -> Option<AssetId> {
        let open = |asset: &&AssetId| world.market_by_asset(asset).is_some_and(|(market, _)| is_open(market, at));
        let sellable: Vec<AssetId> = self.held.keys().filter(open).cloned().collect();
        self.dice.pick(&sellable).cloned()
    }

    fn complete_sets(&self, world: &World, at: Timestamp) -> Option<(MarketId, i64)> {
        self.held.keys().find_map(|asset| {
            let (market, _) = world.market_by_asset(asset).filter(|(market, _)| is_open(market, at))?;
            let outcomes = market.facts.outcomes.iter();
            let sets = outcomes.map(|outcome| self.held.get(&outcome.asset).copied().unwrap_or(0)).min()?;
            (sets > 1_000_000).then(|| (market.id().clone(), sets))
        })
    }

    /// Splits cash into sets, or merges sets into cash.
    fn sets(&mut self, world: &mut World, market: &MarketId, sets: i64, side: Side, at: Timestamp) {
        if sets <= 0 || !world.is_open(market, at) {
            return;
        }
        let (done, each) = match side {
            Side::Buy => (world.split(&self.wallet, market, ShareMicros(sets), at), sets),
            Side::Sell => (world.merge(&self.wallet, market, ShareMicros(sets), at), -sets),
        };
        if done.is_err() {
            return;
        }
        let outcomes = world.market(market).map(|market| market.facts.outcomes.clone()).unwrap_or_default();
        for outcome in outcomes {
            *self.held.entry(outcome.asset).or_insert(0) += each;
        }
        self.held.retain(|_, held| *held > 0);
    }

    /// Turns a NO of a neg-risk event into the YES of the others.
    fn convert(&mut self, world: &mut World, at: Timestamp) {
        let found = self.held.iter().find_map(|(asset, held)| {
            let (market, index) = world.market_by_asset(asset)?;
            let usable = index == 1 && market.facts.neg_risk && is_open(market, at) && *held > 2_000_000;
            usable.then(|| (market.id().clone(), *held / 2))
        });
        let Some((market, amount)) = found else { return };
        let Ok(place) = world.convert(&self.wallet, &[market], ShareMicros(amount), at) else { return };
        let moves = world.feed.row(place).map(|row| row.moves.clone()).unwrap_or_default();
        for (asset, moved) in moves {
            *self.held.entry(asset).or_insert(0) += moved.0;
        }
        self.held.retain(|_, held| *held > 0);
    }

    fn redeem(&mut self, world: &mut World, at: Timestamp) {
        let resolved: std::collections::BTreeSet<MarketId> = self
            .held
            .keys()
            .filter_map(|asset| world.market_by_asset(asset))
            .filter(|(market, _)| market.phase(at) == Phase::Resolved)
            .map(|(market, _)| market.id().clone())
            .collect();
        for market in resolved {
            let per_outcome = self.dice.chance(0.5);
            let _ = world.redeem(&self.wallet, &market, per_outcome, at);
            let outcomes = world.market(&market).map(|market| market.facts.outcomes.clone()).unwrap_or_default();
            for outcome in outcomes {
                self.held.remove(&outcome.asset);
            }
        }
    }
}

fn is_open(market: &SimMarket, at: Timestamp) -> bool {
    market.phase(at) == Phase::Open
}
