//! What wallets do beside trading: splits, merges, redemptions, conversions, moves to the new ledger, rewards, combos.

use super::chain::block_of;
use super::exchange::Exchange;
use super::feed::{Row, RowKey};
use super::rows::row_key;
use super::token_ids::Combo;
use crate::domain::events::event::Side;
use crate::domain::money::ids::{AssetId, MarketId, Wallet};
use crate::domain::money::units::{ShareMicros, Timestamp, UsdcMicros};

/// A row of any kind, before it has a key. Start from [`Movement::of`] and add what the row states and what it moved.
#[derive(Debug, Clone)]
pub struct Movement {
    pub wallet: Wallet,
    pub kind: String,
    pub market: Option<MarketId>,
    pub asset: Option<AssetId>,
    pub side: Option<Side>,
    pub shares: ShareMicros,
    pub cash: UsdcMicros,
    /// The cash that the wallet received, where the printed amount is none; negative when it was spent.
    pub received: Option<UsdcMicros>,
    pub is_combo: bool,
    /// By how much it changed the wallet's shares of each token. The row does not say so.
    pub share_changes: Vec<(AssetId, ShareMicros)>,
    /// When the Data API first shows it; `None` leaves that to the settings.
    pub visible_at: Option<Timestamp>,
}

impl Movement {
    /// Returns a row of this kind that states nothing and moves nothing. The kind may be an invented one.
    pub fn of(wallet: &Wallet, kind: &str) -> Self {
        Self {
            wallet: wallet.clone(),
            kind: kind.to_owned(),
            market: None,
            asset: None,
            side: None,
            shares: ShareMicros::ZERO,
            cash: UsdcMicros::ZERO,
            received: None,
            is_combo: false,
            share_changes: Vec::new(),
            visible_at: None,
        }
    }

    /// Returns a row about a combo: TRADE (a BUY of its yes), SPLIT, MERGE or REDEEM. It has the flag `is_combo`.
    pub fn of_combo(wallet: &Wallet, kind: &str, combo: &Combo) -> Self {
        let trade = kind == "TRADE";
        let [yes, _] = &combo.tokens;
        Self {
            market: Some(combo.condition.clone()),
            asset: trade.then(|| yes.clone()),
            side: trade.then_some(Side::Buy),
            is_combo: true,
            ..Self::of(wallet, kind)
        }
    }

    /// Sets the condition that the row states.
    pub fn market(self, market: &MarketId) -> Self {
        Self { market: Some(market.clone()), ..self }
    }

    /// Sets the token that the row states.
    pub fn asset(self, asset: &AssetId) -> Self {
        Self { asset: Some(asset.clone()), ..self }
    }

    /// Sets the printed size and cash, in micros.
    pub fn amounts(self, shares: i64, cash: i64) -> Self {
        Self { shares: ShareMicros(shares), cash: UsdcMicros(cash), ..self }
    }

    /// Sets by how much it changed the wallet's shares, in micros.
    pub fn moving(self, changes: &[(&AssetId, i64)]) -> Self {
        let changed = |(asset, shares): &(&AssetId, i64)| ((*asset).clone(), ShareMicros(*shares));
        Self { share_changes: changes.iter().map(changed).collect(), ..self }
    }

    /// Sets the cash that the wallet received, in micros; negative when it was spent.
    pub fn receiving(self, cash: i64) -> Self {
        Self { received: Some(UsdcMicros(cash)), ..self }
    }

    /// Sets when the Data API first shows it.
    pub fn visible_at(self, at: Timestamp) -> Self {
        Self { visible_at: Some(at), ..self }
    }

    /// Removes the flag `is_combo`; the ids still tell what it is.
    pub fn unflagged(self) -> Self {
        Self { is_combo: false, ..self }
    }
}

impl Exchange {
    /// Pushes a row of any kind.
    ///
    /// # Errors
    /// A text when the key of the row is in use, which does not happen.
    pub fn push_movement(&mut self, movement: Movement, at: Timestamp) -> Result<RowKey, String> {
        self.push_movements(vec![movement], at)?.pop().ok_or_else(|| "no row was pushed".to_owned())
    }

    /// Pushes several rows as one transaction.
    ///
    /// # Errors
    /// A text when the key of a row is in use, which does not happen.
    pub fn push_movements(&mut self, movements: Vec<Movement>, at: Timestamp) -> Result<Vec<RowKey>, String> {
        let tx_hash = self.new_hash("tx");
        let (tx_index, first_log) = self.chain.reserve(block_of(at), movements.len() as u64);
        let mut keys = Vec::with_capacity(movements.len());
        for (n, movement) in (0_u64..).zip(movements) {
            let key = row_key(at, tx_index, first_log + n);
            let visible_at = movement.visible_at.unwrap_or_else(|| self.first_shown(at, key));
            keys.push(self.insert_row(Row {
                key,
                wallet: movement.wallet,
                kind: movement.kind,
                market: movement.market,
                asset: movement.asset,
                side: movement.side,
                shares: movement.shares,
                cash: movement.cash,
                fee: UsdcMicros::ZERO,
                received: movement.received,
                is_combo: movement.is_combo,
                tx_hash: tx_hash.clone(),
                role: None,
                visible_at,
                complete_at: visible_at.plus_millis(self.settings.complete_after),
                share_changes: movement.share_changes,
                recorded: None,
            })?);
        }
        Ok(keys)
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
        self.move_sets(wallet, "SPLIT", market, (sets, sets.0), at)
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
        self.move_sets(wallet, "MERGE", market, (sets, sets.0.saturating_neg()), at)
    }

    fn move_sets(
        &mut self,
        wallet: &Wallet,
        kind: &str,
        market: &MarketId,
        (sets, each): (ShareMicros, i64),
        at: Timestamp,
    ) -> Result<RowKey, String> {
        let facts = &self.market(market).ok_or_else(|| format!("no market `{market}`"))?.facts;
        let changes: Vec<_> = facts.outcomes.iter().map(|outcome| (&outcome.asset, each)).collect();
        let movement = Movement::of(wallet, kind).market(market).amounts(sets.0, sets.0).moving(&changes);
        self.push_movement(movement, at)
    }

    /// Redeems all that the wallet holds of a resolved market, on both ledgers. `per_outcome` is the shape announced in
    /// August 2026: one row for each outcome. The older shape, still seen in autumn, is one row without a token whose
    /// size is the payout. Returns no row when the wallet holds nothing.
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
        let sim = self.market(market).ok_or_else(|| format!("no market `{market}`"))?;
        let payouts = sim.payouts_at(at).ok_or_else(|| format!("market `{market}` has not resolved"))?.to_vec();
        let mut parts: Vec<(AssetId, ShareMicros, UsdcMicros)> = Vec::new();
        for (index, payout) in payouts.iter().enumerate() {
            for token in sim.asset(index).cloned().into_iter().chain([self.migrated_token(sim, index)]) {
                let shares = self.feed.held(wallet, &token);
                let counted = parts.iter().any(|(known, ..)| *known == token);
                if shares.0 > 0 && !counted {
                    parts.push((token, shares, payout.proceeds_of(shares).unwrap_or_default()));
                }
            }
        }
        if parts.is_empty() {
            return Ok(Vec::new());
        }
        let movement = || Movement::of(wallet, "REDEEM").market(market);
        let change = |(asset, shares, _): &(AssetId, ShareMicros, UsdcMicros)| {
            (asset.clone(), ShareMicros(shares.0.saturating_neg()))
        };
        let movements = if per_outcome {
            let row = |part: &(AssetId, ShareMicros, UsdcMicros)| Movement {
                share_changes: vec![change(part)],
                ..movement().asset(&part.0).amounts(part.1.0, part.2.0)
            };
            parts.iter().map(row).collect()
        } else {
            let cash = parts.iter().map(|(.., cash)| cash.0).sum();
            vec![Movement { share_changes: parts.iter().map(change).collect(), ..movement().amounts(cash, cash) }]
        };
        self.push_movements(movements, at)
    }

    /// Converts within a neg-risk event: `amount` each of the NO tokens of the k markets of `from` becomes the YES
    /// tokens of the event's other markets and `(k - 1) * amount` of cash (venue 1.4). The contract keeps the event's
    /// fee from each of both: `amount * bips / 10000`, cut to whole micros. The row names one condition and the amount,
    /// neither the markets nor the cash.
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
        let sim = self.market(first);
        let event = sim.and_then(|market| market.neg_risk_id.clone());
        let event = event.ok_or_else(|| format!("market `{first}` is not neg-risk"))?;
        let bips = sim.map_or(0, |market| market.conversion_fee_bips);
        let fee = i64::try_from(i128::from(amount.0) * i128::from(bips) / 10_000).unwrap_or(amount.0);
        let out = amount.0.saturating_sub(fee);
        let members: Vec<_> = self.neg_risk_members(&event).iter().filter_map(|id| self.market(id)).collect();
        let moved = members.iter().filter_map(|market| match from.contains(market.id()) {
            true => market.asset(1).map(|no| (no, amount.0.saturating_neg())),
            false => market.asset(0).map(|yes| (yes, out)),
        });
        let moved: Vec<_> = moved.collect();
        let n_converted = moved.iter().filter(|(_, change)| *change < 0).count();
        let cash = out.saturating_mul(i64::try_from(n_converted).unwrap_or(i64::MAX).saturating_sub(1));
        let movement = Movement::of(wallet, "CONVERSION").market(first).amounts(amount.0, amount.0);
        let movement = movement.moving(&moved).receiving(cash);
        self.push_movement(movement, at)
    }

    /// Moves all that a wallet holds of a market to the new ledger: each token becomes its pair there. The row is a
    /// MIGRATION that states `cash` and no condition.
    ///
    /// # Errors
    /// A text that names the market when there is no such market.
    pub fn migrate(
        &mut self,
        wallet: &Wallet,
        market: &MarketId,
        cash: UsdcMicros,
        at: Timestamp,
    ) -> Result<RowKey, String> {
        let sim = self.market(market).ok_or_else(|| format!("no market `{market}`"))?;
        let mut moved = Vec::new();
        for (index, outcome) in sim.facts.outcomes.iter().enumerate() {
            let held = self.feed.held(wallet, &outcome.asset).0;
            if held > 0 {
                moved.push((outcome.asset.clone(), ShareMicros(held.saturating_neg())));
                moved.push((self.migrated_token(sim, index), ShareMicros(held)));
            }
        }
        let movement = Movement::of(wallet, "MIGRATION").amounts(0, cash.0).receiving(0);
        self.push_movement(Movement { share_changes: moved, ..movement }, at)
    }

    /// Pushes a row of cash that changes no position: REWARD, MAKER_REBATE, TAKER_REBATE, YIELD, REFERRAL_REWARD,
    /// DEPOSIT, WITHDRAWAL, MIGRATION …. The size of a MIGRATION is 0, that of the others is the cash.
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
        let size = if kind == "MIGRATION" { 0 } else { cash.0 };
        self.push_movement(Movement::of(wallet, kind).amounts(size, cash.0), at)
    }
}
