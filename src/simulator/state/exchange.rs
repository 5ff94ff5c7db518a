//! Everything the exchange knows, and every way to change it from outside.

use std::collections::{BTreeMap, VecDeque};

use serde_json::Value;

use crate::clock::Clock;
use crate::domain::events::event::Side;
use crate::domain::money::ids::{AssetId, MarketId, Wallet};
use crate::domain::money::units::{PriceMicros, ShareMicros, Timestamp, UsdcMicros};

use super::activity_rows::{Feed, Labels, Place, Raw, Row};
use super::fault::{Fault, FaultKind, Faults, Wait};
use super::market::{Phase, Quotes, SimMarket, complement};
use super::new_market::NewMarket;
use crate::simulator::SimulatorSettings;
use crate::simulator::life::rng::{hash_text, hex_of};
use crate::simulator::life::traders::Life;
use crate::simulator::routes::answer::{Answer, Cache, Heard, Host, Request};
use crate::simulator::routes::chain::Chain;
use crate::simulator::routes::github::GitHub;
use crate::simulator::routes::{clob, data_api, gamma, github};

/// Requests remembered for tests to look back at.
const HEARD_MAX: usize = 20_000;

/// The state of the exchange. One lock guards it (see `mod.rs`): it is asked by tests, sockets and a timer alike.
pub struct World {
    pub seed: u64,
    clock: Clock,
    /// Our clock runs ahead of the given one by this, so that tests need not sleep.
    ahead: i64,
    pub settings: SimulatorSettings,
    pub(in crate::simulator) markets: BTreeMap<MarketId, SimMarket>,
    pub(in crate::simulator) market_of: BTreeMap<AssetId, MarketId>,
    pub(in crate::simulator) feed: Feed,
    pub(in crate::simulator) people: BTreeMap<Wallet, Person>,
    pub chain: Chain,
    github: GitHub,
    pub faults: Faults,
    pub cache: Cache,
    pub(in crate::simulator) life: Option<Life>,
    /// The market that stands in a slot, and when it opened and closes.
    pub(in crate::simulator) slots: BTreeMap<u64, (MarketId, Timestamp, Timestamp)>,
    heard: VecDeque<Heard>,
    n_heard: u64,
    /// Numbers for transactions, orders, markets: each used once.
    serial: u64,
}

/// Somebody with a profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    pub name: String,
    pub pseudonym: String,
}

impl World {
    pub(in crate::simulator) fn new(settings: SimulatorSettings) -> Self {
        Self {
            seed: settings.seed,
            clock: settings.now,
            ahead: 0,
            markets: BTreeMap::new(),
            market_of: BTreeMap::new(),
            feed: Feed::default(),
            people: BTreeMap::new(),
            chain: Chain::new(settings.seed, settings.node.clone()),
            github: GitHub::default(),
            faults: Faults::new(settings.seed),
            cache: Cache::new(settings.cache),
            life: None,
            slots: BTreeMap::new(),
            heard: VecDeque::new(),
            n_heard: 0,
            serial: 0,
            settings,
        }
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now().plus_millis(self.ahead)
    }

    /// Lets `millis` pass for the exchange alone.
    pub fn advance(&mut self, millis: i64) {
        self.ahead = self.ahead.saturating_add(millis);
        self.tick();
    }

    /// Does what time brings: life goes on, blocks are announced.
    pub fn tick(&mut self) {
        let now = self.now();
        self.live_until(now);
        self.chain.advance(now);
    }

    // Markets.

    /// Makes a market and gives it back as it stands.
    pub fn add_market(&mut self, new: NewMarket) -> SimMarket {
        let market = new.made();
        self.insert_market(market.clone());
        market
    }

    pub(in crate::simulator) fn insert_market(&mut self, market: SimMarket) {
        for outcome in &market.facts.outcomes {
            self.market_of.insert(outcome.asset.clone(), market.id().clone());
        }
        self.markets.insert(market.id().clone(), market);
    }

    pub fn market(&self, id: &MarketId) -> Option<&SimMarket> {
        self.markets.get(id)
    }

    /// Changes anything about a market: its close time, fee, book, phase. False when there is none.
    pub fn change_market(&mut self, id: &MarketId, change: impl FnOnce(&mut SimMarket)) -> bool {
        self.markets.get_mut(id).map(change).is_some()
    }

    pub fn markets(&self) -> impl Iterator<Item = &SimMarket> {
        self.markets.values()
    }

    /// The market of a token, and which of its outcomes that is.
    pub fn market_by_asset(&self, asset: &AssetId) -> Option<(&SimMarket, usize)> {
        let market = self.markets.get(self.market_of.get(asset)?)?;
        Some((market, market.index_of(asset)?))
    }

    /// Pins the book of this outcome; the other outcome's book is its mirror.
    pub fn set_book(&mut self, asset: &AssetId, quotes: Quotes) -> bool {
        let Some((id, index)) = self.market_by_asset(asset).map(|(market, index)| (market.id().clone(), index)) else {
            return false;
        };
        self.change_market(&id, |market| {
            market.pinned = Some(if index == 0 { quotes } else { quotes.mirrored() });
            market.without_book = false;
        })
    }

    /// From now on the exchange has no order book for this market.
    pub fn remove_book(&mut self, market: &MarketId) -> bool {
        self.change_market(market, |market| market.without_book = true)
    }

    pub fn set_tick(&mut self, market: &MarketId, tick: PriceMicros) -> bool {
        self.change_market(market, |market| market.facts.tick = Some(tick))
    }

    /// Trading ends now; nothing is decided yet.
    pub fn close_market(&mut self, market: &MarketId) -> bool {
        let now = self.now();
        self.change_market(market, |market| market.closes_at = Some(now))
    }

    /// The market is decided now: what each outcome pays, in order.
    pub fn resolve(&mut self, market: &MarketId, payouts: &[PriceMicros]) -> bool {
        let now = self.now();
        self.change_market(market, |market| {
            market.closes_at = Some(market.closes_at.map_or(now, |at| at.min(now)));
            market.resolves_at = Some(now);
            market.payouts = payouts.to_vec();
        })
    }

    pub(in crate::simulator) fn trade_seen(&mut self, asset: &AssetId, at: PriceMicros, side: Side) {
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

    // People.

    pub fn add_person(&mut self, wallet: &Wallet, name: &str) {
        let pseudonym = pseudonym_of(wallet);
        self.people.insert(wallet.clone(), Person { name: name.to_owned(), pseudonym });
    }

    pub fn person(&self, wallet: &Wallet) -> Option<&Person> {
        self.people.get(wallet)
    }

    // The feed.

    /// Pushes a row as it is, visible at once. Its second is its own; rows of one second stand in the order pushed.
    ///
    /// # Errors
    /// What the row lacks.
    pub fn push_row(&mut self, row: &Value) -> Result<Place, String> {
        let visible_at = self.now();
        self.push_row_at(row, visible_at)
    }

    /// The same, visible from `visible_at` on: a late row stands behind newer ones.
    ///
    /// # Errors
    /// What the row lacks.
    pub fn push_row_at(&mut self, row: &Value, visible_at: Timestamp) -> Result<Place, String> {
        let text = |field: &str| row[field].as_str().unwrap_or_default();
        let wallet = Wallet::parse(text("proxy_wallet")).map_err(|error| error.to_string())?;
        let second = row["timestamp"].as_i64().ok_or("no `timestamp` in whole seconds")?;
        let time = Timestamp::from_seconds(second).map_err(|error| error.to_string())?;
        let side: Option<Side> = text("side").parse().ok();
        let asset = AssetId::parse(text("token_id")).ok();
        let micros = |field: &str| (row[field].as_f64().unwrap_or_default() * 1e6).round() as i64;
        let shares = micros("size");
        let moves = match (&asset, side) {
            (Some(asset), Some(Side::Buy)) => vec![(asset.clone(), ShareMicros(shares))],
            (Some(asset), Some(Side::Sell)) => vec![(asset.clone(), ShareMicros(shares.saturating_neg()))],
            _ => Vec::new(),
        };
        if !self.people.contains_key(&wallet) {
            self.people.insert(
                wallet.clone(),
                Person { name: text("name").to_owned(), pseudonym: text("pseudonym").to_owned() },
            );
        }
        let (tx_index, log_index) = self.chain.reserve(crate::simulator::routes::chain::block_of(time), 1);
        self.insert_row(Row {
            place: place(time, tx_index, log_index),
            wallet,
            kind: row["type"].as_str().unwrap_or("TRADE").to_owned(),
            market: MarketId::parse(text("condition_id")).ok(),
            asset,
            side,
            shares: ShareMicros(shares),
            cash: UsdcMicros(micros("usdc_size")),
            fee: UsdcMicros::ZERO,
            tx_hash: text("transaction_hash").to_owned(),
            role: None,
            visible_at,
            complete_at: visible_at,
            moves,
            raw: Some(Raw::of(row).map_err(|error| error.to_string())?),
        })
    }

    /// Rows of this wallet so far, visible or not.
    pub fn n_rows(&self, wallet: &Wallet) -> usize {
        self.feed.of_wallet(wallet).count()
    }

    pub fn rows_of(&self, wallet: &Wallet) -> impl Iterator<Item = &Row> {
        self.feed.of_wallet(wallet)
    }

    /// The rows of a wallet whose seconds lie in `from..to`, visible or not.
    pub(in crate::simulator) fn rows_between(&self, wallet: &Wallet, from: i64, to: i64) -> impl Iterator<Item = &Row> {
        self.feed.between(wallet, from, to)
    }

    pub(in crate::simulator) fn insert_row(&mut self, row: Row) -> Result<Place, String> {
        let place = row.place;
        self.feed.insert(row).map(|()| place).map_err(|row| format!("the place {:?} is taken", row.place))
    }

    /// Labels of a row as they stand now: a fresh row lacks some of them.
    pub(in crate::simulator) fn labels(&self, row: &Row, now: Timestamp) -> Labels {
        let person = self.people.get(&row.wallet);
        let mut labels = Labels {
            outcome_index: 999,
            name: person.map(|person| person.name.clone()).unwrap_or_default(),
            pseudonym: person.map(|person| person.pseudonym.clone()).unwrap_or_default(),
            ..Labels::default()
        };
        let Some(market) = row.market.as_ref().and_then(|id| self.markets.get(id)) else { return labels };
        labels.title.clone_from(&market.facts.question);
        labels.slug.clone_from(&market.facts.slug);
        if let Some(index) = row.asset.as_ref().and_then(|asset| market.index_of(asset)) {
            market.outcome(index).clone_into(&mut labels.outcome);
            if now >= row.complete_at {
                labels.outcome_index = i64::try_from(index).unwrap_or(999);
            }
        }
        if now >= row.complete_at {
            labels.event_slug.clone_from(&market.event.slug);
        }
        labels
    }

    /// A row as the activity route prints it at this time.
    pub(in crate::simulator) fn row_text(&self, row: &Row, now: Timestamp) -> String {
        match &row.raw {
            Some(raw) => raw.activity.get().to_owned(),
            None => serde_json::to_string(&row.activity(&self.labels(row, now))).unwrap_or_default(),
        }
    }

    pub(in crate::simulator) fn serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    pub(in crate::simulator) fn fresh_hash(&mut self, name: &str) -> String {
        let serial = self.serial();
        hex_of(self.seed, name, serial, 32)
    }

    // Answering.

    pub fn fault(&mut self, fault: Fault) {
        self.faults.plan(fault);
    }

    /// From now on nothing goes wrong on purpose.
    pub fn clear_faults(&mut self) {
        self.faults.clear();
    }

    /// The routes of planned faults that have not struck as often as they should, not counting chances.
    pub fn faults_due(&self) -> Vec<String> {
        self.faults.due()
    }

    /// Requests that came in, oldest first, at most the newest 20,000.
    pub fn heard(&self) -> impl Iterator<Item = &Heard> {
        self.heard.iter()
    }

    /// How many remembered requests to this host have this in their path and query.
    pub fn n_heard(&self, host: Host, part: &str) -> usize {
        let named = |heard: &&Heard| heard.host == host && format!("{}?{}", heard.path, heard.query).contains(part);
        self.heard.iter().filter(named).count()
    }

    pub fn n_heard_ever(&self) -> u64 {
        self.n_heard
    }

    /// Answers a request, faults and cache included, and says how long to keep the asker waiting.
    pub fn answer(&mut self, request: &Request) -> (Answer, Wait) {
        let now = self.now();
        let fault = self.faults.strike(request.host, &request.url());
        let replaced = fault.as_ref().is_some_and(FaultKind::replaces_answer);
        let cached = if replaced { None } else { self.cache.find(request, now) };
        let from_cache = cached.is_some();
        let truth = match cached {
            Some(answer) => answer,
            None if replaced => Answer::json(&Value::Null),
            None => {
                let fresh = self.truth(request, now);
                self.cache.keep(request, fresh, now)
            }
        };
        let wait = fault.as_ref().map_or(Wait::Not, FaultKind::wait);
        let answer = match fault {
            Some(fault) => fault.spoil(request.host, truth, now),
            None => truth,
        };
        self.n_heard += 1;
        if self.heard.len() == HEARD_MAX {
            self.heard.pop_front();
        }
        self.heard.push_back(Heard {
            host: request.host,
            path: request.path.clone(),
            query: request.query.clone(),
            status: answer.status,
            at: now,
            from_cache,
        });
        (answer, wait)
    }

    fn truth(&mut self, request: &Request, now: Timestamp) -> Answer {
        let answer = match request.host {
            Host::Data => data_api::answer(self, request, now),
            Host::Clob => clob::answer(self, request, now),
            Host::Gamma => gamma::answer(self, request, now),
            Host::GitHub => github::answer(&mut self.github, request, now),
        };
        if request.host == Host::Data {
            let trace = hex_of(self.seed, "trace", self.n_heard, 32);
            return answer.with_header("X-Trace-Id", trace.chars().skip(2).take(32).collect());
        }
        answer
    }

    pub(in crate::simulator) fn is_open(&self, market: &MarketId, now: Timestamp) -> bool {
        self.markets.get(market).is_some_and(|market| market.phase(now) == Phase::Open)
    }
}

/// Block time in seconds, then the digits the real cursors show: block, transaction, log.
pub(in crate::simulator) fn place(time: Timestamp, tx_index: u64, log_index: u64) -> Place {
    let block = crate::simulator::routes::chain::block_of(time);
    (time.seconds(), block * 10_000_000_000 + tx_index % 100_000 * 100_000 + log_index % 10_000 * 10)
}

/// A wallet that belongs to this name for ever.
pub fn wallet_of(name: &str) -> Wallet {
    let text = hex_of(0, "wallet", hash_text(0, name), 20);
    Wallet::parse(&text).unwrap_or_else(|_| unreachable!("20 bytes of hex are a wallet"))
}

/// Two words for a wallet that gave itself no name.
fn pseudonym_of(wallet: &Wallet) -> String {
    const FIRST: [&str; 8] = ["Quiet", "Amber", "Lucky", "Polite", "Brisk", "Mellow", "Early", "Distant"];
    const SECOND: [&str; 8] = ["Heron", "Ledger", "Harbour", "Lantern", "Meadow", "Compass", "Sparrow", "Tunnel"];
    let hash = hash_text(1, wallet.as_str()) as usize;
    format!("{}-{}", FIRST[hash % 8], SECOND[hash / 8 % 8])
}
