//! The shadow ledger: an exact record of what a leader did (spec 5).
//!
//! In    one canonical event, the assets of its market, the holdings of the shadow.
//! Out   its ledger entries, or the reason why there can be none, or that the leader's positions must be read first.
//! The same event always makes the same entries, byte for byte: nothing here depends on the time of the call.

use super::ledger::{EntryType, LedgerEntry, PortfolioId};
use crate::domain::events::event::{ActivityEvent, ActivityKind, Side, TradeEvent};
use crate::domain::market::facts::Market;
use crate::domain::money::ids::{AssetId, EventId, FollowedUserId, MarketId};
use crate::domain::money::units::{
    MICROS, PriceMicros, ShareMicros, Timestamp, UnitError, UsdcMicros, div_floor, div_half_up,
};

/// A smaller difference is not a movement: the positions route rounds to 4 decimals.
const POSITION_STEP: i64 = 100;

/// The effect of an activity row on the shadow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShadowEffect {
    /// The entries of the row; empty for a row that moves no position.
    Entries(Vec<LedgerEntry>),
    /// A CONVERSION or MIGRATION does not say which shares moved: read the leader's positions and call
    /// [`conversion_entries`].
    ReadPositions,
}

/// Why a row cannot be applied. The row is stored nevertheless, and audited as MERGE_SPLIT_NOT_APPLICABLE.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotApplicable {
    #[error("the row names no condition")]
    NoCondition,
    #[error("the outcomes of market `{0}` are not known")]
    UnknownAssets(MarketId),
    #[error(transparent)]
    Unit(#[from] UnitError),
}

/// An asset that a conversion may have moved, with the holdings of the leader and of the shadow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssetGap {
    pub asset: AssetId,
    pub market: MarketId,
    /// According to the positions route; zero when it does not list the asset.
    pub leader_holds: ShareMicros,
    pub shadow_holds: ShareMicros,
}

/// Returns the entry of a fill and, when its fee is known and not zero, the entry of the fee.
///
/// # Errors
/// [`UnitError::Overflow`] for an amount whose negative does not fit.
pub fn entries_for_trade(trade: &TradeEvent) -> Result<Vec<LedgerEntry>, UnitError> {
    let cause = Cause::of(trade.id, trade.followed_user, trade.detect_time);
    let (shares, cash) = match trade.side {
        Side::Buy => (trade.shares, trade.notional.negated()?),
        Side::Sell => (trade.shares.negated()?, trade.notional),
    };
    let fill = LedgerEntry { price: Some(trade.price), ..cause.moves(EntryType::TradeFill, shares, cash) };
    let mut entries = vec![fill];
    if let Some(fee) = trade.fee.filter(|fee| *fee != UsdcMicros::ZERO) {
        entries.push(cause.moves(EntryType::Fee, ShareMicros::ZERO, fee.negated()?));
    }
    for entry in &mut entries {
        entry.market = Some(trade.market.clone());
        entry.asset = Some(trade.asset.clone());
    }
    Ok(entries)
}

/// Returns the effect of a row that is not a trade.
///
/// `market` may be `None` while it is unknown; `holdings` are those of the shadow in that market.
///
/// # Errors
/// [`NotApplicable`], and then nothing may be written.
pub fn entries_for_activity(
    activity: &ActivityEvent,
    market: Option<&Market>,
    holdings: &[(AssetId, ShareMicros)],
) -> Result<ShadowEffect, NotApplicable> {
    let entries = match activity.kind {
        ActivityKind::Combo | ActivityKind::Other(_) => Vec::new(),
        ActivityKind::Conversion | ActivityKind::Migration => return Ok(ShadowEffect::ReadPositions),
        ActivityKind::Split => sets(activity, market, EntryType::Split)?,
        ActivityKind::Merge => sets(activity, market, EntryType::Merge)?,
        ActivityKind::Redeem => redeemed(activity, market, holdings)?,
    };
    Ok(ShadowEffect::Entries(entries))
}

/// Returns entries that move the shadow to the leader's positions, without cash.
///
/// There is no entry for an asset where both agree to the 4 decimals of the positions route.
///
/// # Errors
/// [`UnitError::Overflow`].
pub fn conversion_entries(activity: &ActivityEvent, gaps: &[AssetGap]) -> Result<Vec<LedgerEntry>, UnitError> {
    let cause = Cause::of(activity.id, activity.followed_user, activity.detect_time);
    let mut entries = Vec::new();
    for gap in gaps {
        let difference = gap.leader_holds.minus(gap.shadow_holds)?;
        if difference.magnitude()?.0 >= POSITION_STEP {
            entries.push(LedgerEntry {
                market: Some(gap.market.clone()),
                asset: Some(gap.asset.clone()),
                ..cause.moves(EntryType::Conversion, difference, UsdcMicros::ZERO)
            });
        }
    }
    Ok(entries)
}

/// Returns one entry per outcome, each at the price of its part of a set. The last one takes the rest of the division.
fn sets(activity: &ActivityEvent, market: Option<&Market>, kind: EntryType) -> Result<Vec<LedgerEntry>, NotApplicable> {
    let condition = activity.payload.condition_id.as_ref().ok_or(NotApplicable::NoCondition)?;
    let unknown = || NotApplicable::UnknownAssets(condition.clone());
    let outcomes = &market.filter(|market| market.id == *condition).ok_or_else(unknown)?.outcomes;
    let k = i64::try_from(outcomes.len()).ok().filter(|k| *k > 0).ok_or_else(unknown)?;
    let cash = activity.payload.cash_micros;
    let price = PriceMicros::new(div_half_up(i128::from(MICROS), i128::from(k))?)?;
    let part = UsdcMicros(div_floor(i128::from(cash.0), i128::from(k))?);
    let cause = Cause::of(activity.id, activity.followed_user, activity.detect_time);
    let mut left = cash;
    let mut entries = Vec::new();
    for (n, outcome) in (1..).zip(outcomes) {
        let part = if n == k { left } else { part };
        left = left.minus(part)?;
        let (shares, cash) = match kind {
            EntryType::Split => (activity.payload.share_micros, part.negated()?),
            _ => (activity.payload.share_micros.negated()?, part),
        };
        entries.push(LedgerEntry {
            market: Some(condition.clone()),
            asset: Some(outcome.asset.clone()),
            price: Some(price),
            ..cause.moves(kind, shares, cash)
        });
    }
    Ok(entries)
}

/// Returns the entries of a redemption: all holdings of the condition leave, and the cash of the row is booked on one
/// asset.
///
/// Rows are applied one by one: the first row of a transaction empties the condition, and the later ones find no
/// holdings and only add their cash. So the cash of (transaction, condition) is the sum over its rows, whatever their
/// shape.
fn redeemed(
    activity: &ActivityEvent,
    market: Option<&Market>,
    holdings: &[(AssetId, ShareMicros)],
) -> Result<Vec<LedgerEntry>, NotApplicable> {
    let condition = activity.payload.condition_id.as_ref().ok_or(NotApplicable::NoCondition)?;
    let market = market.filter(|market| market.id == *condition);
    let payout = |asset: &AssetId| market.and_then(|market| market.payout_of(asset));
    let cash = activity.payload.cash_micros;
    let paid_on = activity.payload.token_id.as_ref().or(paid_asset(holdings, payout));
    let cause = Cause::of(activity.id, activity.followed_user, activity.detect_time);
    let settles = |asset: Option<&AssetId>, shares, cash| LedgerEntry {
        market: Some(condition.clone()),
        asset: asset.cloned(),
        price: asset.and_then(payout),
        ..cause.moves(EntryType::Settlement, shares, cash)
    };
    let mut entries = Vec::new();
    let mut left = cash;
    for (asset, held) in holdings.iter().filter(|(_, held)| *held != ShareMicros::ZERO) {
        let part = if paid_on == Some(asset) { std::mem::take(&mut left) } else { UsdcMicros::ZERO };
        entries.push(settles(Some(asset), held.negated()?, part));
    }
    if left != UsdcMicros::ZERO {
        entries.push(settles(paid_on, ShareMicros::ZERO, left));
    }
    Ok(entries)
}

/// Returns the largest holding among the assets known to pay something, otherwise the largest of all; the first of
/// equals.
fn paid_asset(
    holdings: &[(AssetId, ShareMicros)],
    payout: impl Fn(&AssetId) -> Option<PriceMicros>,
) -> Option<&AssetId> {
    let held = holdings.iter().filter(|(_, held)| *held != ShareMicros::ZERO);
    let pays = |asset| payout(asset).is_some_and(|payout| payout > PriceMicros::ZERO);
    held.rev().max_by_key(|(asset, held)| (pays(asset), *held)).map(|(asset, _)| asset)
}

/// The fields that all entries of one event share.
struct Cause {
    leader: FollowedUserId,
    ref_id: String,
    created_at: Timestamp,
}

impl Cause {
    /// Entries are dated with the detect_time of the event, so a replay writes the same ones.
    fn of(event: EventId, leader: FollowedUserId, detect_time: Timestamp) -> Self {
        Self { leader, ref_id: format!("event:{event}"), created_at: detect_time }
    }

    fn moves(&self, kind: EntryType, shares: ShareMicros, cash: UsdcMicros) -> LedgerEntry {
        LedgerEntry {
            portfolio: PortfolioId::ShadowUser(self.leader),
            attributed_user: Some(self.leader),
            market: None,
            asset: None,
            kind,
            shares,
            cash,
            price: None,
            ref_id: self.ref_id.clone(),
            created_at: self.created_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::samples::{ALICE, activity, asset, at, market, market_id, price, trade};

    /// The fields of an entry that the tests compare: kind, asset, shares, cash, price.
    type Row = (EntryType, Option<AssetId>, i64, i64, Option<i64>);

    fn row(entry: &LedgerEntry) -> Row {
        (entry.kind, entry.asset.clone(), entry.shares.0, entry.cash.0, entry.price.map(PriceMicros::micros))
    }

    fn rows(entries: &[LedgerEntry]) -> Vec<Row> {
        entries.iter().map(row).collect()
    }

    fn effect(activity: &ActivityEvent, market: &Market, holdings: &[(usize, i64)]) -> Vec<Row> {
        let holdings: Vec<_> = holdings.iter().map(|(n, held)| (asset(*n), ShareMicros(*held))).collect();
        match entries_for_activity(activity, Some(market), &holdings) {
            Ok(ShadowEffect::Entries(entries)) => {
                for entry in &entries {
                    assert_eq!(entry.validate(), Ok(()));
                    assert_eq!(entry.ref_id, format!("event:{}", activity.id));
                    assert_eq!(
                        (entry.portfolio, entry.market.as_ref()),
                        (PortfolioId::ShadowUser(ALICE), Some(&market_id(1)))
                    );
                }
                rows(&entries)
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_trade_moves_shares_against_gross_cash_and_a_known_fee_is_a_separate_entry() {
        let check = |side, fee: Option<i64>, expected: &[Row]| {
            let mut trade = trade("a", 10, side, 400_000, 5_000_000, 250);
            trade.fee = fee.map(UsdcMicros);
            assert_eq!(rows(&entries_for_trade(&trade).unwrap()), expected, "{side} {fee:?}");
        };
        let asset = || Some(asset(10));
        let bought = (EntryType::TradeFill, asset(), 5_000_000, -2_000_000, Some(400_000));
        let sold = (EntryType::TradeFill, asset(), -5_000_000, 2_000_000, Some(400_000));
        let fee = (EntryType::Fee, asset(), 0, -1234, None);
        check(Side::Buy, None, std::slice::from_ref(&bought));
        check(Side::Buy, Some(0), std::slice::from_ref(&bought));
        check(Side::Buy, Some(1234), &[bought, fee.clone()]);
        check(Side::Sell, None, std::slice::from_ref(&sold));
        check(Side::Sell, Some(1234), &[sold, fee]);
    }

    #[test]
    fn entries_carry_their_cause_and_the_time_of_the_event() {
        let trade = trade("a", 10, Side::Buy, 400_000, 5_000_000, 250);
        let entry = &entries_for_trade(&trade).unwrap()[0];
        assert_eq!(entry.ref_id, format!("event:{}", trade.id));
        assert_eq!((entry.portfolio, entry.attributed_user), (PortfolioId::ShadowUser(ALICE), Some(ALICE)));
        assert_eq!((entry.market.as_ref(), entry.created_at), (Some(&market_id(1)), at(250)));
    }

    #[test]
    fn a_split_and_a_merge_share_the_cash_and_the_last_outcome_takes_the_rest() {
        let check = |kind: ActivityKind, k: usize, cash: i64, price: i64, cashes: &[i64]| {
            let sets = activity("a", kind.clone(), 3, cash, None);
            let (entry, shares) =
                if kind == ActivityKind::Split { (EntryType::Split, 3) } else { (EntryType::Merge, -3) };
            let expected: Vec<Row> =
                (10..).zip(cashes).map(|(n, cash)| (entry, Some(asset(n)), shares, *cash, Some(price))).collect();
            assert_eq!(effect(&sets, &market(1, &vec![None; k]), &[]), expected, "{kind:?} of {k}");
        };
        check(ActivityKind::Split, 2, 4, 500_000, &[-2, -2]);
        check(ActivityKind::Split, 2, 5, 500_000, &[-2, -3]);
        check(ActivityKind::Merge, 2, 5, 500_000, &[2, 3]);
        check(ActivityKind::Merge, 3, 3, 333_333, &[1, 1, 1]);
        check(ActivityKind::Merge, 3, 5, 333_333, &[1, 1, 3]);
        check(ActivityKind::Merge, 6, 1, 166_667, &[0, 0, 0, 0, 0, 1]);
        check(ActivityKind::Split, 1, 5, 1_000_000, &[-5]);
    }

    #[test]
    fn sets_of_a_market_whose_assets_are_unknown_are_not_applicable() {
        let unknown = NotApplicable::UnknownAssets(market_id(1));
        for kind in [ActivityKind::Split, ActivityKind::Merge] {
            let row = activity("a", kind, 3, 3, None);
            assert_eq!(entries_for_activity(&row, None, &[]), Err(unknown.clone()));
            assert_eq!(entries_for_activity(&row, Some(&market(1, &[])), &[]), Err(unknown.clone()));
            assert_eq!(entries_for_activity(&row, Some(&market(2, &[None, None])), &[]), Err(unknown.clone()));
        }
        for kind in [ActivityKind::Split, ActivityKind::Merge, ActivityKind::Redeem] {
            let mut nameless = activity("a", kind, 3, 3, None);
            nameless.payload.condition_id = None;
            let market = market(1, &[None, None]);
            assert_eq!(entries_for_activity(&nameless, Some(&market), &[]), Err(NotApplicable::NoCondition));
        }
    }

    #[test]
    fn a_redeem_empties_the_condition_and_books_the_cash_on_the_asset_that_pays() {
        let settled = |n: usize, shares: i64, cash: i64, price: Option<i64>| {
            (EntryType::Settlement, Some(asset(n)), shares, cash, price)
        };
        let redeem = |cash, token: Option<usize>| activity("a", ActivityKind::Redeem, 0, cash, token.map(asset));
        let resolved = market(1, &[Some(0), Some(1_000_000)]);
        let unresolved = market(1, &[None, None]);
        let holdings = [(10, 50), (11, 20)];

        let named = effect(&redeem(20, Some(11)), &unresolved, &holdings);
        assert_eq!(named, [settled(10, -50, 0, None), settled(11, -20, 20, None)]);
        let known = effect(&redeem(20, None), &resolved, &holdings);
        assert_eq!(known, [settled(10, -50, 0, Some(0)), settled(11, -20, 20, Some(1_000_000))]);
        let largest = effect(&redeem(20, None), &unresolved, &holdings);
        assert_eq!(largest, [settled(10, -50, 20, None), settled(11, -20, 0, None)]);
        let equal = effect(&redeem(20, None), &unresolved, &[(10, 50), (11, 50)]);
        assert_eq!(equal, [settled(10, -50, 20, None), settled(11, -50, 0, None)]);
        let split = effect(&redeem(35, None), &market(1, &[Some(500_000), Some(500_000)]), &holdings);
        assert_eq!(split, [settled(10, -50, 35, Some(500_000)), settled(11, -20, 0, Some(500_000))]);
        let only_loser = effect(&redeem(0, None), &resolved, &[(10, 50)]);
        assert_eq!(only_loser, [settled(10, -50, 0, Some(0))]);
        let short = effect(&redeem(20, None), &unresolved, &[(10, -50), (11, 20)]);
        assert_eq!(short, [settled(10, 50, 0, None), settled(11, -20, 20, None)]);
    }

    #[test]
    fn a_redeem_of_assets_that_the_shadow_does_not_hold_only_adds_its_cash() {
        let redeem = |cash, token: Option<usize>| activity("a", ActivityKind::Redeem, 0, cash, token.map(asset));
        let market = market(1, &[Some(0), Some(1_000_000)]);
        let cash_alone = |asset, price| [(EntryType::Settlement, asset, 0, 20, price)];
        assert_eq!(effect(&redeem(20, None), &market, &[]), cash_alone(None, None));
        assert_eq!(effect(&redeem(20, None), &market, &[(10, 0)]), cash_alone(None, None));
        assert_eq!(effect(&redeem(20, Some(11)), &market, &[]), cash_alone(Some(asset(11)), Some(1_000_000)));
        assert_eq!(effect(&redeem(0, None), &market, &[]), []);
        // The row names one outcome, the shadow holds the other.
        let other = effect(&redeem(20, Some(11)), &market, &[(10, 5)]);
        let loser = (EntryType::Settlement, Some(asset(10)), -5, 0, Some(0));
        assert_eq!(other, [loser, (EntryType::Settlement, Some(asset(11)), 0, 20, Some(1_000_000))]);
    }

    #[test]
    fn a_redeem_needs_no_market_facts() {
        let redeem = activity("a", ActivityKind::Redeem, 0, 20, None);
        let effect = entries_for_activity(&redeem, None, &[(asset(10), ShareMicros(5))]);
        let Ok(ShadowEffect::Entries(entries)) = effect else { panic!("{effect:?}") };
        assert_eq!(rows(&entries), [(EntryType::Settlement, Some(asset(10)), -5, 20, None)]);
    }

    #[test]
    fn conversions_wait_for_the_positions_and_write_the_difference_without_cash() {
        let row = activity("a", ActivityKind::Conversion, 5, 0, None);
        let market = market(1, &[None, None]);
        assert_eq!(entries_for_activity(&row, Some(&market), &[]), Ok(ShadowEffect::ReadPositions));
        let migration = activity("a", ActivityKind::Migration, 5, 0, None);
        assert_eq!(entries_for_activity(&migration, None, &[]), Ok(ShadowEffect::ReadPositions));
        let check = |leader: i64, shadow: i64, moved: Option<i64>| {
            let gap = AssetGap {
                asset: asset(10),
                market: market_id(1),
                leader_holds: ShareMicros(leader),
                shadow_holds: ShareMicros(shadow),
            };
            let expected: Vec<Row> =
                moved.map(|moved| (EntryType::Conversion, Some(asset(10)), moved, 0, None)).into_iter().collect();
            assert_eq!(rows(&conversion_entries(&row, &[gap]).unwrap()), expected, "{leader} against {shadow}");
        };
        check(5_000_000, 5_000_000, None);
        check(5_000_099, 5_000_000, None);
        check(5_000_100, 5_000_000, Some(100));
        check(5_000_000, 5_000_099, None);
        check(5_000_000, 5_000_100, Some(-100));
        check(0, 7_000_000, Some(-7_000_000));
        check(7_000_000, 0, Some(7_000_000));
        check(0, -7_000_000, Some(7_000_000));
    }

    #[test]
    fn rows_that_move_no_position_leave_the_ledger_alone() {
        let market = market(1, &[None, None]);
        for kind in
            [ActivityKind::Combo, ActivityKind::Other("REWARD".to_owned()), ActivityKind::Other("TIP".to_owned())]
        {
            assert_eq!(effect(&activity("a", kind, 5, 5, None), &market, &[(10, 5)]), []);
        }
    }

    #[test]
    fn an_average_price_is_kept_as_the_row_says_it() {
        let mut odd = trade("a", 10, Side::Buy, 333_333, 3_000_001, 0);
        odd.notional = UsdcMicros(1_000_001);
        let entry = &entries_for_trade(&odd).unwrap()[0];
        assert_eq!((entry.cash, entry.price), (UsdcMicros(-1_000_001), Some(price(333_333))));
    }
}
