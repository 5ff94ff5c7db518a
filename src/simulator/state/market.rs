//! A market of the simulated exchange: its facts, the path of its price, its book at any time.
//!
//! Price and book of a generated market are pure functions of time. A page that is read twice, a test and a month of
//! history all get the same values in whatever order they read them. A market made by hand shows the book it was given.
//!
//! Assumes that trading does not change the book: fills take nothing out of it. That flatters a copier a little.

use super::quirks::MarketQuirks;
use super::token_ids::is_of_new_ledger;
use crate::domain::events::event::Side;
use crate::domain::market::book::Level;
use crate::domain::market::facts::Market;
use crate::domain::money::ids::{AssetId, MarketId};
use crate::domain::money::units::{MICROS, PriceMicros, ShareMicros, Timestamp, UsdcMicros};
use crate::simulator::rng::{noise, smooth_noise};

/// Both sides of a book as one outcome sees them, the best level first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Quotes {
    pub bids: Vec<Level>,
    pub asks: Vec<Level>,
}

/// The topic of a question. It decides the wording and the taker fee.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Category {
    Crypto,
    Sports,
    Politics,
    Weather,
    Culture,
    Geopolitics,
}

/// The event of a market. Of the markets of a neg-risk event only one can win.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub id: String,
    pub slug: String,
    pub title: String,
}

/// The phase of a market at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Announced; it has no order book yet.
    Coming,
    Open,
    Closed,
    Resolved,
}

/// The path of a generated price: a random walk in log odds that ends at the outcome.
#[derive(Debug, Clone, PartialEq)]
pub struct PricePath {
    pub seed: u64,
    /// Log odds of outcome 0 at the start.
    pub start: f64,
    /// How far the log odds move up and down.
    pub swing: f64,
    /// Shares of a level near the touch.
    pub depth: f64,
    pub opens_at: Timestamp,
    pub closes_at: Timestamp,
    /// The payout of outcome 0.
    pub ends_at: PriceMicros,
}

/// One market of the simulator.
#[derive(Debug, Clone)]
pub struct SimMarket {
    /// `active`, `resolved_at` and `payout` in it are ignored; see [`phase`](Self::phase) and
    /// [`payouts_at`](Self::payouts_at).
    pub facts: Market,
    pub category: Category,
    pub event: Event,
    /// The short id in Gamma.
    pub gamma_id: u64,
    pub question_id: String,
    pub neg_risk_id: Option<String>,
    pub opens_at: Timestamp,
    /// When trading ends; `None` means never.
    pub closes_at: Option<Timestamp>,
    pub resolves_at: Option<Timestamp>,
    /// One payout for each outcome. Known from the start, published when resolved.
    pub payouts: Vec<PriceMicros>,
    /// `None` for a market made by hand.
    pub path: Option<PricePath>,
    /// A book set by hand, as outcome 0 sees it. It replaces the generated one.
    pub pinned: Option<Quotes>,
    /// The exchange has no order book for this market, whatever its phase.
    pub without_book: bool,
    /// Gamma and the compact route leave the fee schedule out.
    pub without_fee_data: bool,
    /// What the conversion of NO tokens costs, in hundredths of a percent. The same for all markets of an event.
    pub conversion_fee_bips: i64,
    /// What the routes say that differs from the facts above.
    pub quirks: MarketQuirks,
    /// The price and side of the last trade, as outcome 0 sees it.
    pub last_trade: Option<(PriceMicros, Side)>,
}

impl SimMarket {
    /// Returns the condition id.
    pub fn id(&self) -> &MarketId {
        &self.facts.id
    }

    /// Returns the tick size.
    pub fn tick(&self) -> PriceMicros {
        self.facts.tick.unwrap_or(price(10_000))
    }

    /// Returns the token of outcome `index`.
    pub fn asset(&self, index: usize) -> Option<&AssetId> {
        self.facts.outcomes.get(index).map(|outcome| &outcome.asset)
    }

    /// Returns the index of the outcome with this token.
    pub fn index_of(&self, asset: &AssetId) -> Option<usize> {
        self.facts.outcomes.iter().position(|outcome| outcome.asset == *asset)
    }

    /// Returns the name of outcome `index`; empty when there is no such outcome.
    pub fn outcome(&self, index: usize) -> &str {
        self.facts.outcomes.get(index).map_or("", |outcome| outcome.outcome.as_str())
    }

    /// Returns the phase of the market at this time.
    pub fn phase(&self, now: Timestamp) -> Phase {
        match (self.resolves_at, self.closes_at) {
            (Some(at), _) if at <= now => Phase::Resolved,
            (_, Some(at)) if at <= now => Phase::Closed,
            _ if now < self.opens_at => Phase::Coming,
            _ => Phase::Open,
        }
    }

    /// Returns whether the market was made on the new ledger: its condition starts with a module.
    pub fn is_on_new_ledger(&self) -> bool {
        is_of_new_ledger(self.id())
    }

    /// Returns the price of outcome `index` before any payout: the last trade, else a half.
    pub fn last_value(&self, index: usize) -> PriceMicros {
        let last = self.last_trade.map(|(at, _)| if index == 0 { at } else { complement(at) });
        last.unwrap_or(price(MICROS / 2))
    }

    /// Returns the end of trading as it is printed.
    pub fn printed_end(&self) -> Option<Timestamp> {
        self.quirks.end_date.or(self.closes_at)
    }

    /// Returns whether it takes orders at this time, as the routes say.
    pub fn accepts_orders(&self, now: Timestamp) -> bool {
        self.phase(now) == Phase::Open || (self.quirks.accepts_when_closed && self.phase(now) != Phase::Coming)
    }

    /// Returns the payout of each outcome; `None` before the market is resolved.
    pub fn payouts_at(&self, now: Timestamp) -> Option<&[PriceMicros]> {
        (self.phase(now) == Phase::Resolved).then_some(self.payouts.as_slice())
    }

    /// Returns the book of outcome `index`; `None` when the exchange has none.
    pub fn quotes(&self, index: usize, now: Timestamp) -> Option<Quotes> {
        if self.without_book || self.phase(now) != Phase::Open {
            return None;
        }
        let first = match (&self.pinned, &self.path) {
            (Some(quotes), _) => quotes.clone(),
            (None, Some(path)) => path.quotes(self.tick(), now),
            (None, None) => Quotes::default(),
        };
        Some(if index == 0 { first } else { first.mirrored() })
    }

    /// Returns the middle of best bid and best ask of outcome `index`, or the best level of the only side with levels.
    pub fn midpoint(&self, index: usize, now: Timestamp) -> Option<PriceMicros> {
        let middle = match self.touch_of_first(now)? {
            (Some(bid), Some(ask)) => PriceMicros::midpoint(bid, ask),
            (Some(only), None) | (None, Some(only)) => only,
            (None, None) => return None,
        };
        Some(if index == 0 { middle } else { complement(middle) })
    }

    /// Returns best bid and best ask, `None` for an empty side; no pair without a book.
    pub fn touch(&self, index: usize, now: Timestamp) -> Option<(Option<PriceMicros>, Option<PriceMicros>)> {
        let (bid, ask) = self.touch_of_first(now)?;
        Some(if index == 0 { (bid, ask) } else { (ask.map(complement), bid.map(complement)) })
    }

    fn touch_of_first(&self, now: Timestamp) -> Option<(Option<PriceMicros>, Option<PriceMicros>)> {
        Some(match (&self.pinned, &self.path) {
            // History calls this a million times. Do not make a whole book for its two best levels.
            (None, Some(path)) if !self.without_book && self.phase(now) == Phase::Open => path.touch(self.tick(), now),
            _ => {
                let quotes = self.quotes(0, now)?;
                (quotes.bids.first().map(|level| level.price), quotes.asks.first().map(|level| level.price))
            }
        })
    }

    /// Returns the value of one share of outcome `index`: its payout, else the midpoint, else the last trade, else a
    /// half.
    pub fn share_value(&self, index: usize, now: Timestamp) -> PriceMicros {
        let payout = self.payouts_at(now).and_then(|payouts| payouts.get(index).copied());
        payout.or_else(|| self.midpoint(index, now)).unwrap_or_else(|| self.last_value(index))
    }

    /// Returns the taker's fee on `shares` bought or sold for `cash`: by the average price, cut to 5 decimals.
    ///
    /// Written independently of the bot's own formula on purpose: each checks the other.
    pub fn taker_fee(&self, shares: ShareMicros, cash: UsdcMicros) -> UsdcMicros {
        let (rate, shares, cash) = (i128::from(self.facts.fee.rate_micros), i128::from(shares.0), i128::from(cash.0));
        if shares <= 0 || rate <= 0 {
            return UsdcMicros(0);
        }
        // shares * rate * p * (1 - p) with p = cash / shares; all current schedules have the exponent 1.
        let fee = rate * cash * (shares - cash) / shares / i128::from(MICROS);
        UsdcMicros(i64::try_from(fee / 10 * 10).unwrap_or(0).max(0))
    }
}

impl Quotes {
    /// Returns quotes from plain numbers: (price, shares) in micros, in any order.
    pub fn of(bids: &[(i64, i64)], asks: &[(i64, i64)]) -> Self {
        let side = |levels: &[(i64, i64)]| {
            let mut side: Vec<Level> =
                levels.iter().map(|&(at, shares)| Level { price: price(at), shares: ShareMicros(shares) }).collect();
            side.sort_by_key(|level| level.price);
            side
        };
        let (mut bids, asks) = (side(bids), side(asks));
        bids.reverse();
        Self { bids, asks }
    }

    /// Returns the same orders as the other outcome sees them: a bid at p is an ask at 1 - p.
    pub fn mirrored(&self) -> Self {
        let flip = |levels: &[Level]| {
            levels.iter().map(|level| Level { price: complement(level.price), shares: level.shares }).collect()
        };
        Self { bids: flip(&self.asks), asks: flip(&self.bids) }
    }
}

impl PricePath {
    /// Returns the probability of outcome 0, in 0..1.
    pub fn probability(&self, now: Timestamp) -> f64 {
        let t = now.millis_since(self.opens_at) as f64;
        let lifetime = (self.closes_at.millis_since(self.opens_at)).max(1) as f64;
        let wander: f64 = [(2.0, 0.9), (9.0, 0.6), (40.0, 0.35), (200.0, 0.2), (900.0, 0.1)]
            .iter()
            .zip(0..)
            .map(|((waves, size), octave)| size * smooth_noise(self.seed, octave, t / lifetime * waves))
            .sum();
        let done = (t / lifetime).clamp(0.0, 1.0);
        let end = self.ends_at.micros() as f64 / 1e6 * 2.0 - 1.0;
        let odds = self.start * (1.0 - done) + self.swing * wander * (1.0 - done * done) + end * 6.0 * done.powi(4);
        1.0 / (1.0 + (-odds).exp())
    }

    fn quotes(&self, tick: PriceMicros, now: Timestamp) -> Quotes {
        let (best_bid, best_ask, tick) = self.best(tick, now);
        Quotes { bids: self.side(best_bid, -tick, now), asks: self.side(best_ask, tick, now) }
    }

    /// Returns best bid and best ask; `None` for a side without levels.
    fn touch(&self, tick: PriceMicros, now: Timestamp) -> (Option<PriceMicros>, Option<PriceMicros>) {
        let (best_bid, best_ask, _) = self.best(tick, now);
        let level = |at: i64| PriceMicros::new(at).ok().filter(|at| !matches!(at.micros(), 0 | MICROS));
        (level(best_bid), level(best_ask))
    }

    /// Returns best bid, best ask and tick in micros. A side may lie outside the prices that can be quoted.
    fn best(&self, tick: PriceMicros, now: Timestamp) -> (i64, i64, i64) {
        let tick = tick.micros().max(100);
        let middle = (self.probability(now) * 1e6) as i64;
        let minute = now.millis().div_euclid(60_000);
        let spread = match noise(self.seed, 100, minute) {
            random if random < 0.72 => tick,
            random if random < 0.93 => tick * 2,
            _ => tick * 4,
        };
        let best_bid = ((middle - spread / 2).div_euclid(tick) * tick).clamp(0, MICROS - tick - spread);
        (best_bid, (best_bid + spread).max(tick), tick)
    }

    /// Returns the levels from `best` outwards: dense near the touch, further apart and larger away from it.
    fn side(&self, best: i64, step: i64, now: Timestamp) -> Vec<Level> {
        let period = now.millis().div_euclid(7_000);
        let mut levels = Vec::with_capacity(24);
        let mut at = best;
        for n in 0..24_i64 {
            let Ok(level) = PriceMicros::new(at) else { break };
            if at == 0 || at == MICROS {
                break;
            }
            let random = noise(self.seed, at, period);
            let shares = self.depth * (0.25 + random * 1.5) * (1.0 + 0.3 * n as f64);
            if n == 0 || random > 0.08 {
                levels.push(Level { price: level, shares: ShareMicros((shares * 100.0).ceil() as i64 * 10_000) });
            }
            at += if n < 14 { step } else { step * 4 };
        }
        levels
    }
}

impl Category {
    pub const ALL: [Self; 6] =
        [Self::Crypto, Self::Sports, Self::Politics, Self::Weather, Self::Culture, Self::Geopolitics];

    /// Returns the fee rate in millionths, from the schedules of 2026.
    pub fn fee_rate_micros(self) -> i64 {
        match self {
            Self::Crypto => 70_000,
            Self::Sports | Self::Weather | Self::Culture => 50_000,
            Self::Politics => 40_000,
            Self::Geopolitics => 0,
        }
    }

    /// Returns the share of the fee that makers get back, in 0..1.
    pub fn rebate_rate(self) -> f64 {
        match self {
            Self::Crypto => 0.2,
            Self::Sports => 0.15,
            _ => 0.25,
        }
    }

    /// Returns the name of the fee schedule in Gamma; `None` for markets without a fee.
    pub fn fee_type(self) -> Option<&'static str> {
        match self {
            Self::Crypto => Some("crypto_fees_v2"),
            Self::Sports => Some("sports_fees_v2"),
            Self::Politics => Some("politics_fees"),
            Self::Weather => Some("weather_fees"),
            Self::Culture => Some("culture_fees"),
            Self::Geopolitics => None,
        }
    }

    /// Returns the label of the category in Gamma and the CLOB.
    pub fn tag(self) -> &'static str {
        match self {
            Self::Crypto => "Crypto",
            Self::Sports => "Sports",
            Self::Politics => "Politics",
            Self::Weather => "Weather",
            Self::Culture => "Culture",
            Self::Geopolitics => "Geopolitics",
        }
    }
}

/// Returns the price of the other outcome: 1 - p.
pub fn complement(of: PriceMicros) -> PriceMicros {
    PriceMicros::ONE.minus(of)
}

/// Returns a price from micros, clamped to 0..=1.
pub fn price(micros: i64) -> PriceMicros {
    PriceMicros::new(micros.clamp(0, MICROS)).unwrap_or(PriceMicros::ZERO)
}

/// Prints micros as the exchange prints amounts: without trailing zeros.
pub fn decimal(micros: i64) -> String {
    let text = format!("{}.{:06}", micros / MICROS, (micros % MICROS).abs());
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Returns micros as a float, for JSON.
pub fn float(micros: i64) -> f64 {
    micros as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(ends_at: i64) -> PricePath {
        PricePath {
            seed: 5,
            start: 0.2,
            swing: 1.5,
            depth: 400.0,
            opens_at: Timestamp::from_millis(0),
            closes_at: Timestamp::from_millis(3_600_000),
            ends_at: price(ends_at),
        }
    }

    #[test]
    fn a_generated_book_is_sorted_within_range_and_the_same_whenever_asked() {
        for second in 0..3_600 {
            let now = Timestamp::from_millis(second * 1000);
            for tick in [price(10_000), price(1_000)] {
                let quotes = path(1_000_000).quotes(tick, now);
                assert_eq!(quotes, path(1_000_000).quotes(tick, now));
                assert!(quotes.bids.is_sorted_by(|a, b| a.price > b.price), "{quotes:?}");
                assert!(quotes.asks.is_sorted_by(|a, b| a.price < b.price), "{quotes:?}");
                if let (Some(bid), Some(ask)) = (quotes.bids.first(), quotes.asks.first()) {
                    assert!(bid.price < ask.price, "{quotes:?}");
                }
                assert!(quotes.bids.iter().chain(&quotes.asks).all(|level| level.shares.0 > 0));
                let best = |side: &[Level]| side.first().map(|level| level.price);
                assert_eq!(path(1_000_000).touch(tick, now), (best(&quotes.bids), best(&quotes.asks)));
            }
        }
    }

    #[test]
    fn a_price_ends_at_its_outcome() {
        let end = Timestamp::from_millis(3_599_000);
        assert!(path(1_000_000).probability(end) > 0.97);
        assert!(path(0).probability(end) < 0.03);
        let split = path(500_000).probability(end);
        assert!((0.4..0.6).contains(&split), "{split}");
    }

    #[test]
    fn a_mirror_of_a_mirror_is_the_book_itself() {
        let quotes = Quotes::of(&[(400_000, 5), (390_000, 7)], &[(420_000, 9)]);
        assert_eq!(quotes.mirrored().bids.first().map(|level| level.price), Some(price(580_000)));
        assert_eq!(quotes.mirrored().mirrored(), quotes);
    }

    #[test]
    fn amounts_are_printed_without_trailing_zeros() {
        let printed: Vec<String> = [500_000, 10_000, 0, 1_000_000, 357_800_000, 1].map(decimal).into();
        assert_eq!(printed, ["0.5", "0.01", "0", "1", "357.8", "0.000001"]);
    }
}
