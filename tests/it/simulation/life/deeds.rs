//! What leaders do, and what upstreams and the network do to the bot.

use polymarketspy::domain::events::event::Side;
use polymarketspy::domain::money::ids::Wallet;
use polymarketspy::domain::money::units::ShareMicros;
use polymarketspy::simulator::{Fault, FaultKind, Fill, Host, Quotes, RetryAfter, SimMarket, Times, price};
use polymarketspy::testkit::simulation::Weather;
use rand::Rng;

use super::{DAY, HOUR, Life, MINUTE, Trouble};

impl Life {
    pub(super) fn hold_old_shares(&mut self) {
        for leader in &self.scene.leaders {
            if self.dice.random_bool(0.5) {
                let market = &self.markets[self.dice.random_range(0..self.markets.len())];
                let shares = ShareMicros(self.dice.random_range(1..=500) * 1_000_000);
                let (asset, at) = (market.asset(0).unwrap().clone(), self.shown_by.plus_millis(-DAY));
                self.scene
                    .machine
                    .exchange
                    .with(|exchange| exchange.hold(&leader.wallet, &asset, shares, price(400_000), Some(at)));
            }
        }
    }

    pub(super) fn trade(&mut self) {
        for _ in 0..self.dice.random_range(1..=4) {
            let wallet = self.scene.leaders[self.dice.random_range(0..self.scene.leaders.len())].wallet.clone();
            let market = self.markets[self.dice.random_range(0..self.markets.len())].clone();
            let asset = market.asset(self.dice.random_range(0..2)).unwrap().clone();
            let now = self.scene.machine.exchange.with(|exchange| exchange.now());
            let held = self.scene.held(&wallet, &asset);
            let sells = held >= 1_000_000 && self.dice.random_bool(0.4);
            let shares = match sells {
                true if self.dice.random_bool(0.3) => held,
                true => self.dice.random_range(500_000..=held),
                false => self.dice.random_range(1_000_000..2_000_000_000),
            };
            let side = if sells { Side::Sell } else { Side::Buy };
            let at_price = self.dice.random_range(48..=52) * 10_000;
            let mut fill = match self.dice.random_range(0..4) {
                0 => Fill::taker(&wallet, &asset, side, at_price, shares),
                1 if shares > 4_000_000 => Fill::maker(&wallet, &asset, side, at_price, shares / 2).twice(),
                _ => Fill::maker(&wallet, &asset, side, at_price, shares),
            };
            let delay = match self.dice.random_range(0..10) {
                0..6 => self.dice.random_range(0..8_000),
                6..9 => self.some_time(20 * MINUTE),
                _ => self.some_time(5 * HOUR),
            };
            // Rows of one second are told apart by nothing in the API: a position that includes one of them, and not the
            // other, cannot be read right. So those of one token are shown together.
            let second = (wallet.clone(), asset.clone(), now.seconds());
            let visible_at = *self.shown.entry(second).or_insert(now.plus_millis(delay));
            self.shown_by = self.shown_by.max(visible_at);
            fill = fill.visible_at(visible_at);
            let pushed = self.scene.machine.exchange.with(|exchange| match exchange.is_trading(market.id()) {
                true => exchange.push_fill(fill).map(|pushed| pushed.tx_hash),
                false => Err("the market is closed".to_owned()),
            });
            self.note(format!("{side} {shares} of {} {pushed:?}, shown {delay} ms later", short(&asset.to_string())));
        }
    }

    pub(super) fn sets(&mut self) {
        let wallet = self.scene.leaders[self.dice.random_range(0..self.scene.leaders.len())].wallet.clone();
        let market = self.markets[self.dice.random_range(0..self.markets.len())].clone();
        if !self.is_shown_at_once(&wallet, &market) {
            return;
        }
        let held = [0, 1].map(|n| self.scene.held(&wallet, market.asset(n).unwrap())).into_iter().min().unwrap_or(0);
        let merges = held > 1_000_000 && self.dice.random_bool(0.6);
        let sets = ShareMicros(if merges { held } else { self.dice.random_range(1..=900) * 1_000_000 });
        let done = self.scene.machine.exchange.with(|exchange| match (exchange.is_trading(market.id()), merges) {
            (false, _) => Err("the market is closed".to_owned()),
            (true, true) => exchange.merge(&wallet, market.id(), sets, exchange.now()),
            (true, false) => exchange.split(&wallet, market.id(), sets, exchange.now()),
        });
        self.note(format!("sets {sets:?} merged: {merges}, {done:?}"));
    }

    /// Returns whether a row of a wallet in a market can be shown at once: no fill of this second is shown later.
    fn is_shown_at_once(&mut self, wallet: &Wallet, market: &SimMarket) -> bool {
        let now = self.scene.machine.exchange.with(|exchange| exchange.now());
        let assets = [0, 1].map(|n| market.asset(n).unwrap().clone());
        let mut seconds = assets.map(|asset| (wallet.clone(), asset, now.seconds())).into_iter();
        seconds.all(|second| *self.shown.entry(second).or_insert(now) <= now)
    }

    pub(super) fn resolve(&mut self) {
        let market = self.markets[self.dice.random_range(0..self.markets.len())].clone();
        let first = if self.dice.random_bool(0.5) { 1_000_000 } else { 0 };
        let payouts = [price(first), price(1_000_000 - first)];
        let done = self
            .scene
            .machine
            .exchange
            .with(|exchange| exchange.is_trading(market.id()) && exchange.resolve(market.id(), &payouts));
        self.note(format!("market {} resolved: {done}", short(market.id().as_str())));
    }

    pub(super) fn redeem(&mut self) {
        let wallet = self.scene.leaders[self.dice.random_range(0..self.scene.leaders.len())].wallet.clone();
        let per_outcome = self.dice.random_bool(0.5);
        for market in self.markets.clone() {
            if !self.is_shown_at_once(&wallet, &market) {
                continue;
            }
            let done = self.scene.machine.exchange.with(|exchange| {
                let now = exchange.now();
                exchange.redeem(&wallet, market.id(), per_outcome, now)
            });
            if let Ok(rows) = done {
                self.note(format!("redeemed {} in {} rows", short(market.id().as_str()), rows.len()));
            }
        }
    }

    pub(super) fn move_book(&mut self) {
        let market = &self.markets[self.dice.random_range(0..self.markets.len())];
        let mid = self.dice.random_range(20..=80);
        let level = |n: i64, from: i64, step: i64| ((from + n * step).clamp(1, 99) * 10_000, 300_000_000);
        let spread = self.dice.random_range(1..=3);
        let bids: Vec<(i64, i64)> = (0..8).map(|n| level(n, mid, -1)).collect();
        let asks: Vec<(i64, i64)> = (0..8).map(|n| level(n, mid + spread, 1)).collect();
        let asset = market.asset(0).unwrap().clone();
        self.scene.machine.exchange.with(|exchange| exchange.set_book(&asset, Quotes::of(&bids, &asks)));
        self.note(format!("book at {mid} with spread {spread}"));
    }

    pub(super) fn weather(&mut self) {
        let weather = match self.dice.random_range(0..4) {
            0 => Weather::CUT,
            1 => Weather { lost: 0.3, ..Weather::FAIR },
            2 => Weather { slow: 0.5, slow_ms: 9_000, ..Weather::FAIR },
            _ => Weather { way_ms: (100, 2_500), lost: 0.05, slow: 0.2, slow_ms: 20_000 },
        };
        self.note(format!("{weather:?}"));
        self.scene.machine.network.set_weather(weather);
        self.begin_trouble(Trouble::Weather, 2..=60);
    }

    pub(super) fn upstream(&mut self) {
        let host = [Host::Data, Host::Clob, Host::Gamma][self.dice.random_range(0..3)];
        let kind = match self.dice.random_range(0..8) {
            0 => FaultKind::Status(500),
            1 => FaultKind::Status(503),
            2 => FaultKind::TooManyRequests(RetryAfter::Seconds(3)),
            3 => FaultKind::Html(502),
            4 => FaultKind::CutBody,
            5 => FaultKind::EmptyBody,
            6 => FaultKind::Delay(self.dice.random_range(500..=12_000)),
            _ => FaultKind::Hang,
        };
        let chance = Times::Chance(if self.dice.random_bool(0.3) { 1.0 } else { 0.4 });
        self.note(format!("{host:?} {kind:?} {chance:?}"));
        self.scene.machine.exchange.with(|exchange| exchange.fault(Fault::once(host, "", kind).times(chance)));
        self.begin_trouble(Trouble::Upstream, 2..=60);
    }
}

fn short(id: &str) -> &str {
    &id[..id.len().min(10)]
}
