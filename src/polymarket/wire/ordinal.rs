//! Numbers rows with the same key (spec 3.1): the API gives fills no id, and two real fills may be equal.
//!
//! In    the rows of one key in the API's answer, and those stored before with their ordinals.
//! Out   an ordinal for each row: the stored one if the row is known, the next free one if it is new.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::events::event::{ActivityPayload, Side, TradeEvent};
use crate::domain::money::units::{PriceMicros, UsdcMicros};

/// The values that distinguish rows with the same key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::polymarket) struct Figures {
    price: Option<PriceMicros>,
    /// Fee included: the split of a row's cash may change later, when the market's schedule is known.
    cash: i64,
}

impl Figures {
    /// Returns the values of a fill.
    pub fn new(price: PriceMicros, side: Side, notional: UsdcMicros, fee: Option<UsdcMicros>) -> Self {
        let fee = fee.map_or(0, |fee| fee.0);
        let cash = match side {
            Side::Buy => notional.0.saturating_add(fee),
            Side::Sell => notional.0.saturating_sub(fee),
        };
        Self { price: Some(price), cash }
    }

    pub fn of_trade(trade: &TradeEvent) -> Self {
        Self::new(trade.price, trade.side, trade.notional, trade.fee)
    }

    pub fn of_activity(payload: &ActivityPayload) -> Self {
        Self { price: None, cash: payload.cash_micros.0 }
    }
}

/// Renumbers the drafts whose key has stored rows.
pub(in crate::polymarket) fn keep<'a>(
    stored: &[(&str, Figures)],
    drafts: impl Iterator<Item = (Figures, &'a mut String)>,
) {
    let mut numbered: BTreeMap<&str, Vec<(usize, Figures)>> = BTreeMap::new();
    for (source_id, figures) in stored {
        let Some((key, ordinal)) = source_id.rsplit_once(':') else { continue };
        let Ok(ordinal) = ordinal.parse() else { continue };
        numbered.entry(key).or_default().push((ordinal, *figures));
    }
    let mut by_key: BTreeMap<String, Vec<(Figures, &mut String)>> = BTreeMap::new();
    for (figures, source_id) in drafts {
        let key = key_of(source_id);
        if numbered.contains_key(key) {
            by_key.entry(key.to_owned()).or_default().push((figures, source_id));
        }
    }
    for (key, drafts) in by_key {
        let figures: Vec<Figures> = drafts.iter().map(|(figures, _)| *figures).collect();
        let ordinals = ordinals(&figures, numbered.get(key.as_str()).map_or(&[], Vec::as_slice));
        for ((_, source_id), ordinal) in drafts.into_iter().zip(ordinals) {
            *source_id = format!("{key}:{ordinal}");
        }
    }
}

/// Returns a source id without its ordinal.
pub(in crate::polymarket) fn key_of(source_id: &str) -> &str {
    source_id.rsplit_once(':').map_or(source_id, |(key, _)| key)
}

/// Returns the ordinals of the rows, all different.
///
/// Rows are a multiset: as many rows are new as there are more rows than stored ones. A row is matched with a stored one by
/// price and cash, then by price alone (the cash may have been unknown at first), then with any that is left (its values
/// changed).
fn ordinals(rows: &[Figures], stored: &[(usize, Figures)]) -> Vec<usize> {
    let mut stored = stored.to_vec();
    stored.sort_by_key(|(ordinal, _)| *ordinal);
    let taken: BTreeSet<usize> = stored.iter().map(|(ordinal, _)| *ordinal).collect();
    let mut given: Vec<Option<usize>> = vec![None; rows.len()];
    let likenesses: [fn(&Figures, &Figures) -> bool; 3] =
        [|row, stored| row == stored, |row, stored| row.price == stored.price, |_, _| true];
    for alike in likenesses {
        for (row, given) in rows.iter().zip(&mut given).filter(|(_, given)| given.is_none()) {
            if let Some(place) = stored.iter().position(|(_, figures)| alike(row, figures)) {
                *given = Some(stored.remove(place).0);
            }
        }
    }
    let mut free = (0..).filter(|ordinal| !taken.contains(ordinal));
    given.into_iter().map(|given| given.or_else(|| free.next()).unwrap_or_default()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(price: i64, cash: i64) -> Figures {
        Figures { price: Some(PriceMicros::new(price).unwrap()), cash }
    }

    #[test]
    fn stored_rows_keep_their_ordinals_and_new_rows_get_free_ones() {
        let check = |rows: &[(i64, i64)], stored: &[(usize, i64, i64)], expected: &[usize]| {
            let rows: Vec<Figures> = rows.iter().map(|(price, cash)| figures(*price, *cash)).collect();
            let stored: Vec<_> = stored.iter().map(|(n, price, cash)| (*n, figures(*price, *cash))).collect();
            assert_eq!(ordinals(&rows, &stored), expected, "{rows:?} beside {stored:?}");
        };
        let (cheap, dear) = ((3, 30), (4, 40));
        check(&[cheap, dear], &[], &[0, 1]);
        check(&[cheap, dear], &[(0, 4, 40)], &[1, 0]);
        check(&[cheap, dear], &[(0, 3, 30)], &[0, 1]);
        check(&[cheap, cheap, dear], &[(0, 4, 40), (1, 3, 30)], &[1, 2, 0]);
        check(&[cheap, dear], &[(0, 4, 40), (1, 3, 30)], &[1, 0]);
        // Equal rows are interchangeable.
        check(&[dear, dear, dear], &[(0, 4, 40)], &[0, 1, 2]);
        // The cash was not known at first.
        check(&[cheap, dear], &[(0, 4, 39)], &[1, 0]);
        // One of two rows changed completely: no row is new.
        check(&[(5, 50), dear], &[(0, 4, 40), (1, 3, 30)], &[1, 0]);
        // One of two rows is missing from this answer.
        check(&[dear], &[(0, 3, 30), (1, 4, 40)], &[1]);
        check(&[], &[(0, 3, 30)], &[]);
    }
}
