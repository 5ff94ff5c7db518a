//! What wallets trade: each fill becomes rows in the feed and logs on the chain.

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
                received: None,
                is_combo: false,
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

    /// Returns when the Data API first shows a row. The rows of one transaction appear together.
    pub(super) fn first_shown(&self, at: Timestamp, key: RowKey) -> Timestamp {
        let (low, high) = self.settings.visible_after;
        let tx = (key.1 / 100_000).cast_signed();
        let random = |stream: i64| noise(self.seed, tx, stream);
        let late = if random(1) < self.settings.late_chance { self.settings.late_by } else { 0 };
        at.plus_millis(low + (random(0) * (high - low).max(0) as f64) as i64 + late)
    }
}

fn total(parts: &[Part]) -> Part {
    Part {
        shares: ShareMicros(parts.iter().map(|part| part.shares.0).sum()),
        cash: UsdcMicros(parts.iter().map(|part| part.cash.0).sum()),
    }
}
