//! What wallets do: fills, splits, merges, redemptions, conversions, rewards. Each becomes rows and, for fills, logs.

use crate::domain::events::event::Side;
use crate::domain::money::ids::{AssetId, MarketId, Wallet};
use crate::domain::money::units::{MICROS, PriceMicros, ShareMicros, Timestamp, UsdcMicros};

use super::activity_rows::{Place, Role, Row};
use super::exchange::{World, place, wallet_of};
use super::market::price;
use crate::simulator::life::rng::noise;
use crate::simulator::routes::chain::{CTF_EXCHANGE, Log, NEG_RISK_EXCHANGE, OrderFilled, block_of};

/// A match of one wallet's order, or of several maker orders of it in one transaction.
///
/// A taker's parts become one row with their average price and the fee. Each of a maker's parts is an order of its own:
/// one row each, no fee, and two equal parts are two equal rows.
#[derive(Debug, Clone)]
pub struct Fill {
    pub wallet: Wallet,
    pub asset: AssetId,
    pub side: Side,
    pub role: Role,
    pub parts: Vec<Part>,
    /// Its block's second.
    pub at: Timestamp,
    /// When the Data API first shows it; by default as the settings say.
    pub visible_at: Option<Timestamp>,
}

/// Shares against cash, before any fee.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    pub shares: ShareMicros,
    pub cash: UsdcMicros,
}

/// Where a transaction ended up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    pub tx_hash: String,
    pub rows: Vec<Place>,
}

impl Part {
    pub fn at(at: PriceMicros, shares: ShareMicros) -> Self {
        let cash = (i128::from(at.micros()) * i128::from(shares.0) + i128::from(MICROS / 2)) / i128::from(MICROS);
        Self { shares, cash: UsdcMicros(i64::try_from(cash).unwrap_or(i64::MAX)) }
    }

    fn price(self) -> PriceMicros {
        PriceMicros::average(self.cash, self.shares).unwrap_or(PriceMicros::ZERO)
    }
}

impl Fill {
    /// One taker fill at one price.
    pub fn taker(wallet: &Wallet, asset: &AssetId, side: Side, price_micros: i64, share_micros: i64) -> Self {
        Self {
            wallet: wallet.clone(),
            asset: asset.clone(),
            side,
            role: Role::Taker,
            parts: vec![Part::at(price(price_micros), ShareMicros(share_micros))],
            at: Timestamp::EPOCH,
            visible_at: None,
        }
    }

    /// One maker order filled once.
    pub fn maker(wallet: &Wallet, asset: &AssetId, side: Side, price_micros: i64, share_micros: i64) -> Self {
        Self { role: Role::Maker, ..Self::taker(wallet, asset, side, price_micros, share_micros) }
    }

    pub fn at(self, at: Timestamp) -> Self {
        Self { at, ..self }
    }

    pub fn visible_at(self, at: Timestamp) -> Self {
        Self { visible_at: Some(at), ..self }
    }

    /// The same order again in the same transaction: for a maker an identical twin row.
    pub fn twice(mut self) -> Self {
        self.parts.extend_from_within(..);
        self
    }
}

/// A row that is no fill, and what it moves.
struct Deed {
    wallet: Wallet,
    kind: &'static str,
    market: Option<MarketId>,
    asset: Option<AssetId>,
    shares: ShareMicros,
    cash: UsdcMicros,
    moves: Vec<(AssetId, ShareMicros)>,
}

impl World {
    /// A fill: its logs are on the chain now, its rows in the Data API when visible. A fill without a time happens now.
    ///
    /// # Errors
    /// Says so when the token is of no market here.
    pub fn push_fill(&mut self, fill: Fill) -> Result<Transaction, String> {
        let at = if fill.at == Timestamp::EPOCH { self.now() } else { fill.at };
        let (market, fee_of, exchange) = match self.market_by_asset(&fill.asset) {
            Some((market, _)) => {
                let total = total(&fill.parts);
                let exchange = if market.facts.neg_risk { NEG_RISK_EXCHANGE } else { CTF_EXCHANGE };
                (market.id().clone(), market.taker_fee(total.shares, total.cash), exchange)
            }
            None => return Err(format!("no market has the token `{}`", fill.asset)),
        };
        let tx_hash = self.fresh_hash("tx");
        let n_logs = fill.parts.len() as u64 + 1;
        let (tx_index, first_log) = self.chain.reserve(block_of(at), n_logs);
        let orders: Vec<Part> = match fill.role {
            Role::Taker => vec![total(&fill.parts)],
            Role::Maker => fill.parts.clone(),
        };
        let mut rows = Vec::with_capacity(orders.len());
        for (n, order) in (0_u64..).zip(&orders) {
            let log_index = first_log + if fill.role == Role::Taker { n_logs - 1 } else { n };
            let fee = if fill.role == Role::Taker { fee_of } else { UsdcMicros::ZERO };
            let (cash, moved) = match fill.side {
                Side::Buy => (order.cash.0.saturating_add(fee.0), order.shares.0),
                Side::Sell => (order.cash.0.saturating_sub(fee.0), order.shares.0.saturating_neg()),
            };
            let place = place(at, tx_index, log_index);
            let visible_at = fill.visible_at.unwrap_or_else(|| self.first_shown(at, place));
            rows.push(self.insert_row(Row {
                place,
                wallet: fill.wallet.clone(),
                kind: "TRADE".to_owned(),
                market: Some(market.clone()),
                asset: Some(fill.asset.clone()),
                side: Some(fill.side),
                shares: order.shares,
                cash: UsdcMicros(cash),
                fee,
                tx_hash: tx_hash.clone(),
                role: Some(fill.role),
                visible_at,
                complete_at: visible_at.plus_millis(self.settings.complete_after),
                moves: vec![(fill.asset.clone(), ShareMicros(moved))],
                raw: None,
            })?);
        }
        self.trade_seen(&fill.asset, total(&fill.parts).price(), fill.side);
        self.log_match(&fill, at, exchange, fee_of, (tx_index, first_log), &tx_hash);
        Ok(Transaction { tx_hash, rows })
    }

    /// Makers first, then the taker's own log, whose topic 3 is the exchange.
    fn log_match(
        &mut self,
        fill: &Fill,
        at: Timestamp,
        exchange: &'static str,
        fee: UsdcMicros,
        (tx_index, first_log): (u64, u64),
        tx_hash: &str,
    ) {
        let stranger = wallet_of(&format!("stranger {}", self.serial()));
        let other = if fill.side == Side::Buy { Side::Sell } else { Side::Buy };
        let (maker, maker_side, taker, taker_side) = match fill.role {
            Role::Taker => (&stranger, other, &fill.wallet, fill.side),
            Role::Maker => (&fill.wallet, fill.side, &stranger, other),
        };
        let total = total(&fill.parts);
        let logs = fill.parts.iter().map(|part| (maker, maker_side, taker.as_str(), *part, UsdcMicros::ZERO));
        let logs: Vec<_> = logs.chain([(taker, taker_side, exchange, total, fee)]).collect();
        for (n, (owner, side, counterparty, part, fee)) in (0_u64..).zip(logs) {
            let order = OrderFilled {
                order_hash: self.fresh_hash("order"),
                owner: owner.as_str(),
                taker: counterparty,
                side,
                token: fill.asset.as_str(),
                share_micros: part.shares.0,
                usdc_micros: part.cash.0,
                fee_micros: fee.0,
            };
            self.chain.append(Log {
                block: block_of(at),
                tx_index,
                log_index: first_log + n,
                tx_hash: tx_hash.to_owned(),
                address: exchange.to_owned(),
                topics: order.topics(),
                data: order.data(),
            });
        }
    }

    /// `sets` complete sets out of as much cash.
    ///
    /// # Errors
    /// When there is no such market.
    pub fn split(
        &mut self,
        wallet: &Wallet,
        market: &MarketId,
        sets: ShareMicros,
        at: Timestamp,
    ) -> Result<Place, String> {
        let moves = self.sets(market, sets.0)?;
        self.push_deed(Deed::of_market(wallet, "SPLIT", market, sets, UsdcMicros(sets.0), moves), at)
    }

    /// `sets` complete sets back into cash.
    ///
    /// # Errors
    /// When there is no such market.
    pub fn merge(
        &mut self,
        wallet: &Wallet,
        market: &MarketId,
        sets: ShareMicros,
        at: Timestamp,
    ) -> Result<Place, String> {
        let moves = self.sets(market, sets.0.saturating_neg())?;
        self.push_deed(Deed::of_market(wallet, "MERGE", market, sets, UsdcMicros(sets.0), moves), at)
    }

    /// Turns in all the wallet holds of a resolved market. `per_outcome` is the shape announced in August 2026; the
    /// older one, still seen in autumn, is one row without a token whose size is the payout.
    ///
    /// # Errors
    /// When there is no such market, or it has not resolved.
    pub fn redeem(
        &mut self,
        wallet: &Wallet,
        market: &MarketId,
        per_outcome: bool,
        at: Timestamp,
    ) -> Result<Vec<Place>, String> {
        let facts = self.market(market).ok_or_else(|| format!("no market `{market}`"))?;
        let payouts = facts.payouts_at(at).ok_or_else(|| format!("market `{market}` has not resolved"))?.to_vec();
        let parts: Vec<(AssetId, ShareMicros, UsdcMicros)> = facts
            .facts
            .outcomes
            .iter()
            .zip(&payouts)
            .filter_map(|(outcome, payout)| {
                let shares = self.feed.held(wallet, &outcome.asset);
                let cash = payout.proceeds_of(shares).unwrap_or_default();
                (shares.0 > 0).then(|| (outcome.asset.clone(), shares, cash))
            })
            .collect();
        if parts.is_empty() {
            return Ok(Vec::new());
        }
        let gone = |(asset, shares, _): &(AssetId, ShareMicros, UsdcMicros)| {
            (asset.clone(), ShareMicros(shares.0.saturating_neg()))
        };
        if !per_outcome {
            let cash = UsdcMicros(parts.iter().map(|(.., cash)| cash.0).sum());
            let moves = parts.iter().map(gone).collect();
            let deed = Deed::of_market(wallet, "REDEEM", market, ShareMicros(cash.0), cash, moves);
            return self.push_deed(deed, at).map(|place| vec![place]);
        }
        let deeds = parts.iter().map(|part| Deed {
            asset: Some(part.0.clone()),
            ..Deed::of_market(wallet, "REDEEM", market, part.1, part.2, vec![gone(part)])
        });
        let deeds: Vec<Deed> = deeds.collect();
        self.push_deeds(deeds, at)
    }

    /// Neg-risk: `amount` each of the NO tokens of `from` becomes cash and the YES tokens of the event's other markets.
    /// The row names one condition and the amount, not the tokens.
    ///
    /// # Errors
    /// When one of the markets is not known or not neg-risk.
    pub fn convert(
        &mut self,
        wallet: &Wallet,
        from: &[MarketId],
        amount: ShareMicros,
        at: Timestamp,
    ) -> Result<Place, String> {
        let first = from.first().ok_or("nothing to convert")?;
        let event = self
            .market(first)
            .and_then(|market| market.neg_risk_id.clone())
            .ok_or_else(|| format!("market `{first}` is not neg-risk"))?;
        let members: Vec<_> = self.markets().filter(|market| market.neg_risk_id.as_ref() == Some(&event)).collect();
        let moves = members
            .iter()
            .filter_map(|market| match from.contains(market.id()) {
                true => market.asset(1).map(|no| (no.clone(), ShareMicros(amount.0.saturating_neg()))),
                false => market.asset(0).map(|yes| (yes.clone(), amount)),
            })
            .collect();
        self.push_deed(Deed::of_market(wallet, "CONVERSION", first, amount, UsdcMicros(amount.0), moves), at)
    }

    /// Cash that moves no position: REWARD, MAKER_REBATE, TAKER_REBATE, YIELD, REFERRAL_REWARD, DEPOSIT, WITHDRAWAL …
    ///
    /// # Errors
    /// Never today; the row's place could be taken.
    pub fn pay(
        &mut self,
        wallet: &Wallet,
        kind: &'static str,
        cash: UsdcMicros,
        at: Timestamp,
    ) -> Result<Place, String> {
        let shares = ShareMicros(cash.0);
        let deed = Deed { wallet: wallet.clone(), kind, market: None, asset: None, shares, cash, moves: Vec::new() };
        self.push_deed(deed, at)
    }

    fn sets(&self, market: &MarketId, each: i64) -> Result<Vec<(AssetId, ShareMicros)>, String> {
        let market = self.market(market).ok_or_else(|| format!("no market `{market}`"))?;
        Ok(market.facts.outcomes.iter().map(|outcome| (outcome.asset.clone(), ShareMicros(each))).collect())
    }

    fn push_deed(&mut self, deed: Deed, at: Timestamp) -> Result<Place, String> {
        self.push_deeds(vec![deed], at)?.pop().ok_or_else(|| "no row".to_owned())
    }

    /// All in one transaction.
    fn push_deeds(&mut self, deeds: Vec<Deed>, at: Timestamp) -> Result<Vec<Place>, String> {
        let tx_hash = self.fresh_hash("tx");
        let (tx_index, first_log) = self.chain.reserve(block_of(at), deeds.len() as u64);
        let mut places = Vec::with_capacity(deeds.len());
        for (n, deed) in (0_u64..).zip(deeds) {
            let place = place(at, tx_index, first_log + n);
            let visible_at = self.first_shown(at, place);
            places.push(self.insert_row(Row {
                place,
                wallet: deed.wallet,
                kind: deed.kind.to_owned(),
                market: deed.market,
                asset: deed.asset,
                side: None,
                shares: deed.shares,
                cash: deed.cash,
                fee: UsdcMicros::ZERO,
                tx_hash: tx_hash.clone(),
                role: None,
                visible_at,
                complete_at: visible_at.plus_millis(self.settings.complete_after),
                moves: deed.moves,
                raw: None,
            })?);
        }
        Ok(places)
    }

    /// When the Data API first shows a row of this block; rows of one transaction appear together.
    fn first_shown(&self, at: Timestamp, place: Place) -> Timestamp {
        let (low, high) = self.settings.visible_after;
        let tx = (place.1 / 100_000).cast_signed();
        let luck = |die: i64| noise(self.seed, tx, die);
        let late = if luck(1) < self.settings.late_chance { self.settings.late_by } else { 0 };
        at.plus_millis(low + (luck(0) * (high - low).max(0) as f64) as i64 + late)
    }
}

impl Deed {
    fn of_market(
        wallet: &Wallet,
        kind: &'static str,
        market: &MarketId,
        shares: ShareMicros,
        cash: UsdcMicros,
        moves: Vec<(AssetId, ShareMicros)>,
    ) -> Self {
        Self { wallet: wallet.clone(), kind, market: Some(market.clone()), asset: None, shares, cash, moves }
    }
}

fn total(parts: &[Part]) -> Part {
    Part {
        shares: ShareMicros(parts.iter().map(|part| part.shares.0).sum()),
        cash: UsdcMicros(parts.iter().map(|part| part.cash.0).sum()),
    }
}
