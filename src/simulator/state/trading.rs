//! What wallets do: fills, splits, merges, redemptions, conversions, rewards. Each becomes rows and, for fills, logs.

use super::chain::{CTF_EXCHANGE, Log, NEG_RISK_EXCHANGE, OrderFilled, block_of};
use super::exchange::{Exchange, wallet_of};
use super::feed::{Role, Row, RowKey};
use super::market::price;
use super::rows::row_key;

use crate::domain::events::event::Side;
use crate::domain::money::ids::{AssetId, MarketId, Wallet};
use crate::domain::money::units::{MICROS, PriceMicros, ShareMicros, Timestamp, UsdcMicros};
use crate::simulator::rng::noise;

/// A match of one wallet's order, or of several maker orders of it in one transaction.
///
/// A taker's parts become one row with their average price and the fee. Each of a maker's parts is a separate order:
/// one row for each part, without a fee. Two equal parts are two equal rows.
#[derive(Debug, Clone)]
pub struct Fill {
    pub wallet: Wallet,
    pub asset: AssetId,
    pub side: Side,
    pub role: Role,
    pub parts: Vec<Part>,
    /// A time within the second of its block; the epoch stands for now.
    pub at: Timestamp,
    /// When the Data API first shows it; `None` leaves that to the settings.
    pub visible_at: Option<Timestamp>,
}

/// Shares traded for cash, before any fee.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    pub shares: ShareMicros,
    pub cash: UsdcMicros,
}

/// A fill on the chain: its transaction, and the keys of its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    pub tx_hash: String,
    pub rows: Vec<RowKey>,
}

impl Part {
    /// Returns a part at one price; its cash is rounded to the nearest micro.
    pub fn at(at: PriceMicros, shares: ShareMicros) -> Self {
        let cash = (i128::from(at.micros()) * i128::from(shares.0) + i128::from(MICROS / 2)) / i128::from(MICROS);
        Self { shares, cash: UsdcMicros(i64::try_from(cash).unwrap_or(i64::MAX)) }
    }

    fn price(self) -> PriceMicros {
        PriceMicros::average(self.cash, self.shares).unwrap_or(PriceMicros::ZERO)
    }
}

impl Fill {
    /// Returns one taker fill at one price, now.
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

    /// Returns one maker order filled once, now.
    pub fn maker(wallet: &Wallet, asset: &AssetId, side: Side, price_micros: i64, share_micros: i64) -> Self {
        Self { role: Role::Maker, ..Self::taker(wallet, asset, side, price_micros, share_micros) }
    }

    /// Sets the time of the fill.
    pub fn at(self, at: Timestamp) -> Self {
        Self { at, ..self }
    }

    /// Sets when the Data API first shows the fill.
    pub fn visible_at(self, at: Timestamp) -> Self {
        Self { visible_at: Some(at), ..self }
    }

    /// Adds the same order again in the same transaction: for a maker an identical second row.
    pub fn twice(mut self) -> Self {
        self.parts.extend_from_within(..);
        self
    }
}

/// A row that is not a fill, before it has a key.
struct Activity {
    wallet: Wallet,
    kind: &'static str,
    market: Option<MarketId>,
    asset: Option<AssetId>,
    shares: ShareMicros,
    cash: UsdcMicros,
    share_changes: Vec<(AssetId, ShareMicros)>,
}

/// The facts of a fill's transaction that its rows and its logs share.
struct Match {
    at: Timestamp,
    tx_hash: String,
    tx_index: u64,
    first_log: u64,
    /// The contract that settles it.
    exchange: &'static str,
    /// Paid by the taker.
    fee: UsdcMicros,
}

impl Exchange {
    /// Pushes a fill: its logs are on the chain at once, its rows in the Data API when visible.
    ///
    /// # Errors
    /// A text that names the token when no market has it.
    pub fn push_fill(&mut self, fill: Fill) -> Result<Transaction, String> {
        let at = if fill.at == Timestamp::EPOCH { self.now() } else { fill.at };
        let total = total(&fill.parts);
        let (market, fee, exchange) = match self.market_by_asset(&fill.asset) {
            Some((market, _)) => {
                let exchange = if market.facts.neg_risk { NEG_RISK_EXCHANGE } else { CTF_EXCHANGE };
                (market.id().clone(), market.taker_fee(total.shares, total.cash), exchange)
            }
            None => return Err(format!("no market has the token `{}`", fill.asset)),
        };
        let tx_hash = self.new_hash("tx");
        let n_logs = fill.parts.len() as u64 + 1;
        let (tx_index, first_log) = self.chain.reserve(block_of(at), n_logs);
        let matched = Match { at, tx_hash, tx_index, first_log, exchange, fee };
        let rows = self.insert_fill_rows(&fill, &matched, &market)?;
        self.set_last_trade(&fill.asset, total.price(), fill.side);
        self.append_fill_logs(&fill, &matched);
        Ok(Transaction { tx_hash: matched.tx_hash, rows })
    }

    fn insert_fill_rows(&mut self, fill: &Fill, matched: &Match, market: &MarketId) -> Result<Vec<RowKey>, String> {
        let (orders, fee) = match fill.role {
            Role::Taker => (vec![total(&fill.parts)], matched.fee),
            Role::Maker => (fill.parts.clone(), UsdcMicros::ZERO),
        };
        let mut rows = Vec::with_capacity(orders.len());
        for (n, order) in (0_u64..).zip(&orders) {
            // The taker's own log is the last of the transaction.
            let log_index = matched.first_log + if fill.role == Role::Taker { fill.parts.len() as u64 } else { n };
            let (cash, moved) = match fill.side {
                Side::Buy => (order.cash.0.saturating_add(fee.0), order.shares.0),
                Side::Sell => (order.cash.0.saturating_sub(fee.0), order.shares.0.saturating_neg()),
            };
            let key = row_key(matched.at, matched.tx_index, log_index);
            let visible_at = fill.visible_at.unwrap_or_else(|| self.first_shown(matched.at, key));
            rows.push(self.insert_row(Row {
                key,
                wallet: fill.wallet.clone(),
                kind: "TRADE".to_owned(),
                market: Some(market.clone()),
                asset: Some(fill.asset.clone()),
                side: Some(fill.side),
                shares: order.shares,
                cash: UsdcMicros(cash),
                fee,
                tx_hash: matched.tx_hash.clone(),
                role: Some(fill.role),
                visible_at,
                complete_at: visible_at.plus_millis(self.settings.complete_after),
                share_changes: vec![(fill.asset.clone(), ShareMicros(moved))],
                recorded: None,
            })?);
        }
        Ok(rows)
    }

    /// Appends the makers' logs, then the taker's own log, whose topic 3 is the exchange. The other side of the match is
    /// an invented wallet.
    fn append_fill_logs(&mut self, fill: &Fill, matched: &Match) {
        let counterparty = wallet_of(&format!("stranger {}", self.next_serial()));
        let other = if fill.side == Side::Buy { Side::Sell } else { Side::Buy };
        let (maker, maker_side, taker, taker_side) = match fill.role {
            Role::Taker => (&counterparty, other, &fill.wallet, fill.side),
            Role::Maker => (&fill.wallet, fill.side, &counterparty, other),
        };
        let makers = fill.parts.iter().map(|part| (maker, maker_side, taker.as_str(), *part, UsdcMicros::ZERO));
        let own = (taker, taker_side, matched.exchange, total(&fill.parts), matched.fee);
        let logs: Vec<_> = makers.chain([own]).collect();
        for (n, (owner, side, taker, part, fee)) in (0_u64..).zip(logs) {
            let order = OrderFilled {
                order_hash: self.new_hash("order"),
                owner: owner.as_str(),
                taker,
                side,
                token: fill.asset.as_str(),
                share_micros: part.shares.0,
                usdc_micros: part.cash.0,
                fee_micros: fee.0,
            };
            self.chain.append(Log {
                block: block_of(matched.at),
                tx_index: matched.tx_index,
                log_index: matched.first_log + n,
                tx_hash: matched.tx_hash.clone(),
                address: matched.exchange.to_owned(),
                topics: order.topics(),
                data: order.data(),
            });
        }
    }

    /// Turns cash into `sets` complete sets, at one USDC a set.
    ///
    /// # Errors
    /// A text that names the market when there is no such market.
    pub fn split(
        &mut self,
        wallet: &Wallet,
        market: &MarketId,
        sets: ShareMicros,
        at: Timestamp,
    ) -> Result<RowKey, String> {
        let changes = self.changes_of_sets(market, sets.0)?;
        self.push_activity(Activity::of_market(wallet, "SPLIT", market, sets, UsdcMicros(sets.0), changes), at)
    }

    /// Turns `sets` complete sets back into cash, at one USDC a set.
    ///
    /// # Errors
    /// A text that names the market when there is no such market.
    pub fn merge(
        &mut self,
        wallet: &Wallet,
        market: &MarketId,
        sets: ShareMicros,
        at: Timestamp,
    ) -> Result<RowKey, String> {
        let changes = self.changes_of_sets(market, sets.0.saturating_neg())?;
        self.push_activity(Activity::of_market(wallet, "MERGE", market, sets, UsdcMicros(sets.0), changes), at)
    }

    /// Redeems all that the wallet holds of a resolved market. `per_outcome` is the shape announced in August 2026: one
    /// row for each outcome. The older shape, still seen in autumn, is one row without a token whose size is the payout.
    /// Returns no row when the wallet holds nothing.
    ///
    /// # Errors
    /// A text that names the market when there is no such market, or when it has not resolved.
    pub fn redeem(
        &mut self,
        wallet: &Wallet,
        market: &MarketId,
        per_outcome: bool,
        at: Timestamp,
    ) -> Result<Vec<RowKey>, String> {
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
        let change = |(asset, shares, _): &(AssetId, ShareMicros, UsdcMicros)| {
            (asset.clone(), ShareMicros(shares.0.saturating_neg()))
        };
        if !per_outcome {
            let cash = UsdcMicros(parts.iter().map(|(.., cash)| cash.0).sum());
            let changes = parts.iter().map(change).collect();
            let activity = Activity::of_market(wallet, "REDEEM", market, ShareMicros(cash.0), cash, changes);
            return self.push_activity(activity, at).map(|key| vec![key]);
        }
        let activities = parts.iter().map(|part| Activity {
            asset: Some(part.0.clone()),
            ..Activity::of_market(wallet, "REDEEM", market, part.1, part.2, vec![change(part)])
        });
        let activities: Vec<Activity> = activities.collect();
        self.push_activities(activities, at)
    }

    /// Converts within a neg-risk event: `amount` each of the NO tokens of `from` becomes cash and the YES tokens of the
    /// event's other markets. The row names one condition and the amount, not the tokens.
    ///
    /// # Errors
    /// A text that names the first market of `from` when it is unknown or not neg-risk, or says that `from` is empty.
    pub fn convert(
        &mut self,
        wallet: &Wallet,
        from: &[MarketId],
        amount: ShareMicros,
        at: Timestamp,
    ) -> Result<RowKey, String> {
        let first = from.first().ok_or("no market to convert")?;
        let event = self
            .market(first)
            .and_then(|market| market.neg_risk_id.clone())
            .ok_or_else(|| format!("market `{first}` is not neg-risk"))?;
        let members: Vec<_> = self.markets().filter(|market| market.neg_risk_id.as_ref() == Some(&event)).collect();
        let changes = members
            .iter()
            .filter_map(|market| match from.contains(market.id()) {
                true => market.asset(1).map(|no| (no.clone(), ShareMicros(amount.0.saturating_neg()))),
                false => market.asset(0).map(|yes| (yes.clone(), amount)),
            })
            .collect();
        self.push_activity(Activity::of_market(wallet, "CONVERSION", first, amount, UsdcMicros(amount.0), changes), at)
    }

    /// Pushes a row of cash that changes no position: REWARD, MAKER_REBATE, TAKER_REBATE, YIELD, REFERRAL_REWARD,
    /// DEPOSIT, WITHDRAWAL …
    ///
    /// # Errors
    /// A text when the key of the row is in use, which does not happen.
    pub fn pay(
        &mut self,
        wallet: &Wallet,
        kind: &'static str,
        cash: UsdcMicros,
        at: Timestamp,
    ) -> Result<RowKey, String> {
        let shares = ShareMicros(cash.0);
        let (market, asset, share_changes) = (None, None, Vec::new());
        self.push_activity(Activity { wallet: wallet.clone(), kind, market, asset, shares, cash, share_changes }, at)
    }

    fn changes_of_sets(&self, market: &MarketId, each: i64) -> Result<Vec<(AssetId, ShareMicros)>, String> {
        let market = self.market(market).ok_or_else(|| format!("no market `{market}`"))?;
        Ok(market.facts.outcomes.iter().map(|outcome| (outcome.asset.clone(), ShareMicros(each))).collect())
    }

    fn push_activity(&mut self, activity: Activity, at: Timestamp) -> Result<RowKey, String> {
        self.push_activities(vec![activity], at)?.pop().ok_or_else(|| "no row was pushed".to_owned())
    }

    /// Pushes several rows as one transaction.
    fn push_activities(&mut self, activities: Vec<Activity>, at: Timestamp) -> Result<Vec<RowKey>, String> {
        let tx_hash = self.new_hash("tx");
        let (tx_index, first_log) = self.chain.reserve(block_of(at), activities.len() as u64);
        let mut keys = Vec::with_capacity(activities.len());
        for (n, activity) in (0_u64..).zip(activities) {
            let key = row_key(at, tx_index, first_log + n);
            let visible_at = self.first_shown(at, key);
            keys.push(self.insert_row(Row {
                key,
                wallet: activity.wallet,
                kind: activity.kind.to_owned(),
                market: activity.market,
                asset: activity.asset,
                side: None,
                shares: activity.shares,
                cash: activity.cash,
                fee: UsdcMicros::ZERO,
                tx_hash: tx_hash.clone(),
                role: None,
                visible_at,
                complete_at: visible_at.plus_millis(self.settings.complete_after),
                share_changes: activity.share_changes,
                recorded: None,
            })?);
        }
        Ok(keys)
    }

    /// Returns when the Data API first shows a row. The rows of one transaction appear together.
    fn first_shown(&self, at: Timestamp, key: RowKey) -> Timestamp {
        let (low, high) = self.settings.visible_after;
        let tx = (key.1 / 100_000).cast_signed();
        let random = |stream: i64| noise(self.seed, tx, stream);
        let late = if random(1) < self.settings.late_chance { self.settings.late_by } else { 0 };
        at.plus_millis(low + (random(0) * (high - low).max(0) as f64) as i64 + late)
    }
}

impl Activity {
    fn of_market(
        wallet: &Wallet,
        kind: &'static str,
        market: &MarketId,
        shares: ShareMicros,
        cash: UsdcMicros,
        share_changes: Vec<(AssetId, ShareMicros)>,
    ) -> Self {
        Self { wallet: wallet.clone(), kind, market: Some(market.clone()), asset: None, shares, cash, share_changes }
    }
}

fn total(parts: &[Part]) -> Part {
    Part {
        shares: ShareMicros(parts.iter().map(|part| part.shares.0).sum()),
        cash: UsdcMicros(parts.iter().map(|part| part.cash.0).sum()),
    }
}
