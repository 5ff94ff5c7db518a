//! All that the exchange knows, and the ways to change it from outside.

use std::collections::BTreeMap;

use super::chain::Chain;
use super::fault::{Fault, FaultKind, Faults, Times};
use super::feed::Feed;
use super::market::{Phase, Quotes, SimMarket, complement};
use super::new_market::NewMarket;
use super::positions::Holding;
use crate::clock::Clock;
use crate::domain::events::event::Side;
use crate::domain::money::ids::{AssetId, MarketId, Wallet};
use crate::domain::money::units::{PriceMicros, Timestamp};
use crate::simulator::http::cache::Cache;
use crate::simulator::http::request::{Host, LoggedRequest};
use crate::simulator::http::request_log::RequestLog;
use crate::simulator::rng::{hash_text, hex_of};
use crate::simulator::settings::SimulatorSettings;

/// All that the exchange knows, and every way to change it from outside.
pub struct Exchange {
    pub seed: u64,
    clock: Clock,
    /// How far our clock runs ahead of the given one, in milliseconds. Tests move time by it and need not sleep.
    ahead_ms: i64,
    pub settings: SimulatorSettings,
    pub(in crate::simulator) markets: BTreeMap<MarketId, SimMarket>,
    pub(in crate::simulator) market_of: BTreeMap<AssetId, MarketId>,
    /// Markets outside neg-risk events, by the base hash of their ids on the new ledger.
    pub(super) binary_markets: BTreeMap<String, MarketId>,
    /// The markets of neg-risk events in the order of their questions, by the base hash of the event.
    pub(super) neg_risk_events: BTreeMap<String, Vec<MarketId>>,
    /// What wallets held before their first row.
    pub(super) old_holdings: BTreeMap<Wallet, BTreeMap<AssetId, Holding>>,
    pub(in crate::simulator) feed: Feed,
    pub(in crate::simulator) profiles: BTreeMap<Wallet, Profile>,
    /// The CLOB refuses a batch that has a token without a book, in place of leaving the token out.
    pub refuses_batches: bool,
    /// How far the `Date` header is from the exchange's time, in milliseconds.
    pub date_skew_ms: i64,
    pub chain: Chain,
    pub faults: Faults,
    pub cache: Cache,
    /// The market of each slot, with the times at which it opens and closes.
    pub(super) slots: BTreeMap<u64, (MarketId, Timestamp, Timestamp)>,
    pub(in crate::simulator) log: RequestLog,
    /// The last number given to a transaction, an order or a counterparty; each number is used once.
    serial: u64,
}

/// The public profile of a wallet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    pub name: String,
    pub pseudonym: String,
}

impl Exchange {
    pub(in crate::simulator) fn new(settings: SimulatorSettings) -> Self {
        Self {
            seed: settings.seed,
            clock: settings.now,
            ahead_ms: 0,
            markets: BTreeMap::new(),
            market_of: BTreeMap::new(),
            binary_markets: BTreeMap::new(),
            neg_risk_events: BTreeMap::new(),
            old_holdings: BTreeMap::new(),
            feed: Feed::default(),
            profiles: BTreeMap::new(),
            refuses_batches: false,
            date_skew_ms: 0,
            chain: Chain::new(settings.seed, settings.node.clone()),
            faults: Faults::new(settings.seed),
            cache: Cache::new(settings.cache),
            slots: BTreeMap::new(),
            log: RequestLog::default(),
            serial: 0,
            settings,
        }
    }

    /// Returns the exchange's own time.
    pub fn now(&self) -> Timestamp {
        self.clock.now().plus_millis(self.ahead_ms)
    }

    /// Moves the exchange's clock forward by `millis` milliseconds. Traders and blocks follow at the next tick.
    pub(in crate::simulator) fn run_ahead(&mut self, millis: i64) {
        self.ahead_ms = self.ahead_ms.saturating_add(millis);
    }

    // Markets.

    /// Makes a market and returns a copy of it.
    pub fn add_market(&mut self, new: NewMarket) -> SimMarket {
        let market = new.build();
        self.insert_market(market.clone());
        market
    }

    pub(in crate::simulator) fn insert_market(&mut self, market: SimMarket) {
        for outcome in &market.facts.outcomes {
            self.market_of.insert(outcome.asset.clone(), market.id().clone());
        }
        self.index_structural_id(&market);
        self.markets.insert(market.id().clone(), market);
    }

    /// Returns a market; `None` when there is no such market.
    pub fn market(&self, id: &MarketId) -> Option<&SimMarket> {
        self.markets.get(id)
    }

    /// Changes anything about a market: its close time, fee, book, phase. Returns false when there is no such market.
    pub fn change_market(&mut self, id: &MarketId, change: impl FnOnce(&mut SimMarket)) -> bool {
        self.markets.get_mut(id).map(change).is_some()
    }

    /// Returns all markets, in the order of their ids.
    pub fn markets(&self) -> impl Iterator<Item = &SimMarket> {
        self.markets.values()
    }

    /// Returns the market of a token of either ledger, and the index of the token's outcome.
    pub fn market_by_asset(&self, asset: &AssetId) -> Option<(&SimMarket, usize)> {
        let Some(id) = self.market_of.get(asset) else { return self.market_by_migrated_token(asset) };
        let market = self.markets.get(id)?;
        Some((market, market.index_of(asset)?))
    }

    /// Sets the book of this outcome; the other outcome's book is its mirror. Returns false when no market has the token.
    pub fn set_book(&mut self, asset: &AssetId, quotes: Quotes) -> bool {
        let Some((id, index)) = self.market_by_asset(asset).map(|(market, index)| (market.id().clone(), index)) else {
            return false;
        };
        self.change_market(&id, |market| {
            market.pinned = Some(if index == 0 { quotes } else { quotes.mirrored() });
            market.without_book = false;
        })
    }

    /// Removes the order book of a market. Returns false when there is no such market.
    pub fn remove_book(&mut self, market: &MarketId) -> bool {
        self.change_market(market, |market| market.without_book = true)
    }

    /// Sets the tick size of a market. Returns false when there is no such market.
    pub fn set_tick(&mut self, market: &MarketId, tick: PriceMicros) -> bool {
        self.change_market(market, |market| market.facts.tick = Some(tick))
    }

    /// Ends trading now; the market is not resolved yet. Returns false when there is no such market.
    pub fn close_market(&mut self, market: &MarketId) -> bool {
        let now = self.now();
        self.change_market(market, |market| market.closes_at = Some(now))
    }

    /// Resolves the market now; `payouts` has one price for each outcome, in order. Returns false when there is no such
    /// market.
    pub fn resolve(&mut self, market: &MarketId, payouts: &[PriceMicros]) -> bool {
        let now = self.now();
        self.change_market(market, |market| {
            market.closes_at = Some(market.closes_at.map_or(now, |at| at.min(now)));
            market.resolves_at = Some(now);
            market.payouts = payouts.to_vec();
        })
    }

    /// Notes the last trade of a market, as its first outcome sees it.
    pub(super) fn set_last_trade(&mut self, asset: &AssetId, at: PriceMicros, side: Side) {
        let Some((id, index)) = self.market_by_asset(asset).map(|(market, index)| (market.id().clone(), index)) else {
            return;
        };
        self.change_market(&id, |market| {
            market.last_trade = Some(if index == 0 {
                (at, side)
            } else {
                (complement(at), if side == Side::Buy { Side::Sell } else { Side::Buy })
            });
        });
    }

    /// Returns whether a market can be traded in now.
    pub fn is_trading(&self, market: &MarketId) -> bool {
        self.is_open(market, self.now())
    }

    pub(in crate::simulator) fn is_open(&self, market: &MarketId, now: Timestamp) -> bool {
        self.markets.get(market).is_some_and(|market| market.phase(now) == Phase::Open)
    }

    // Profiles.

    /// Gives a wallet a profile with this name, in place of any it had.
    pub fn add_profile(&mut self, wallet: &Wallet, name: &str) {
        let pseudonym = pseudonym_of(wallet);
        self.profiles.insert(wallet.clone(), Profile { name: name.to_owned(), pseudonym });
    }

    /// Returns the profile of a wallet; `None` when it has none.
    pub fn profile(&self, wallet: &Wallet) -> Option<&Profile> {
        self.profiles.get(wallet)
    }

    // Faults and requests.

    /// Plans a fault.
    pub fn fault(&mut self, fault: Fault) {
        self.faults.plan(fault);
    }

    /// Lets all requests to these routes of `host` fail with this status for `millis` milliseconds from now.
    pub fn fail_for(&mut self, host: Host, route: &str, status: u16, millis: i64) {
        let until = Times::Until(self.now().plus_millis(millis));
        self.fault(Fault::once(host, route, FaultKind::Status(status)).times(until));
    }

    /// Drops all planned faults.
    pub fn clear_faults(&mut self) {
        self.faults.clear();
    }

    /// Returns the routes of the planned faults that have not struck as often as planned. Faults by chance do not count.
    pub fn faults_due(&self) -> Vec<String> {
        self.faults.due()
    }

    /// Returns the requests that came in, oldest first: at most the newest 20,000.
    pub fn requests(&self) -> impl Iterator<Item = &LoggedRequest> {
        self.log.iter()
    }

    /// Returns how many kept requests to this host have `part` in their path and query.
    pub fn n_requests(&self, host: Host, part: &str) -> usize {
        self.log.count(host, part)
    }

    /// Returns how many requests came in since the start.
    pub fn n_requests_ever(&self) -> u64 {
        self.log.n_ever()
    }

    // Numbers and hashes.

    pub(super) fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// Returns a new hash of 32 bytes in hex, for example of a transaction.
    pub(super) fn new_hash(&mut self, name: &str) -> String {
        let serial = self.next_serial();
        hex_of(self.seed, name, serial, 32)
    }
}

/// Returns the wallet that belongs to this name, the same with every seed.
pub fn wallet_of(name: &str) -> Wallet {
    let text = hex_of(0, "wallet", hash_text(0, name), 20);
    Wallet::parse(&text).unwrap_or_else(|_| unreachable!("20 bytes of hex are a wallet"))
}

/// Returns the two words that the exchange shows for a wallet without a chosen name.
fn pseudonym_of(wallet: &Wallet) -> String {
    const FIRST: [&str; 8] = ["Quiet", "Amber", "Lucky", "Polite", "Brisk", "Mellow", "Early", "Distant"];
    const SECOND: [&str; 8] = ["Heron", "Ledger", "Harbour", "Lantern", "Meadow", "Compass", "Sparrow", "Tunnel"];
    let hash = hash_text(1, wallet.as_str()) as usize;
    format!("{}-{}", FIRST[hash % 8], SECOND[hash / 8 % 8])
}
