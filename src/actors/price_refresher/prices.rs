//! One round of prices: what is asked for, what is stored, and what is remembered for the next round.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::PriceRefresherDeps;
use crate::actors::ledger_writer::{HeldAssets, HeldEverywhere, PricesChanged};
use crate::db::{BookPrice, DbError};
use crate::domain::accounting::mark::{Mark, Quote};
use crate::domain::money::ids::{AssetId, MarketId};
use crate::domain::money::units::Timestamp;
use crate::polymarket::PolymarketError;
use crate::queue::JobFence;

/// Requests that one round may make for midpoints, and again for spreads and for books. Two are enough unless closed
/// markets have to be found among the held ones.
const REQUESTS_MAX: usize = 300;
/// A book is asked for at most this often.
const BOOK_MS: i64 = 60_000;
/// An answer is this long a price: a little more than the time between two books.
const PRICED_MS: i64 = 100_000;
/// An asset that is refused alone is asked for again after a minute, then after twice as long each time, up to this.
const REFUSED_MS: i64 = 60_000;
const REFUSED_MS_MAX: i64 = 15 * 60_000;
/// Refused assets that one round asks for again, each alone.
const RETRIES_MAX: usize = 20;

/// What rounds remember of assets. Lost with the actor: it then costs a round of requests to learn again.
#[derive(Debug, Default)]
pub(super) struct Memory {
    refused: BTreeMap<AssetId, RefusedAsset>,
    books_asked: BTreeMap<AssetId, Timestamp>,
    answered: BTreeMap<AssetId, Timestamp>,
}

/// An asset that the CLOB refuses, mostly because its market has just closed.
#[derive(Debug, Clone, Copy)]
struct RefusedAsset {
    times: u32,
    due: Timestamp,
}

/// A round that succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refreshed {
    pub bucket: Timestamp,
    /// Held assets whose market is open.
    pub held: usize,
    pub priced: usize,
}

/// What is held and may have a price.
struct Open {
    assets: Vec<AssetId>,
    /// The payouts of the other held assets.
    payouts: Vec<(AssetId, Mark)>,
}

/// Fetches and stores the prices of the held assets without a payout, and sends them to the ledger writer.
///
/// # Errors
/// The text of the failure when the database, the ledger writer or Polymarket fails.
pub(super) async fn prices_of(
    deps: &PriceRefresherDeps,
    memory: &RefCell<Memory>,
    bucket: Timestamp,
    fences: &[JobFence],
) -> Result<Refreshed, String> {
    let held = deps.held.send(HeldAssets).await.map_err(|error| error.to_string())?;
    let held = held.map_err(|refused| refused.to_string())?;
    let open = open(deps, held).await.map_err(|error| error.to_string())?;
    memory.borrow_mut().keep(&open.assets);
    let found = quotes(deps, memory, &open.assets, bucket).await.map_err(|error| error.to_string())?;
    let stored: Vec<_> = found.iter().filter_map(|(asset, mark)| Some((asset.clone(), price(mark)?))).collect();
    deps.db.record_prices(bucket, &stored, fences).await.map_err(|error| error.to_string())?;
    memory.borrow_mut().answered.extend(stored.into_iter().map(|(asset, _)| (asset, bucket)));
    let priced = memory.borrow().priced(bucket);
    // Also without a price: the marks of the ledger writer grow old by it.
    let marks = found.into_iter().chain(open.payouts).collect();
    deps.prices.do_send(PricesChanged(Arc::new(marks)));
    Ok(Refreshed { bucket, held: open.assets.len(), priced })
}

/// Sorts what is held: assets with a payout need no price, those of a market that has ended have none.
///
/// # Errors
/// When the database fails.
async fn open(deps: &PriceRefresherDeps, held: HeldEverywhere) -> Result<Open, DbError> {
    let ids: Vec<MarketId> = held.markets.into_keys().collect();
    let markets = deps.db.markets(&ids).await?;
    let mut payouts = Vec::new();
    let mut ended = BTreeSet::new();
    for market in &markets {
        for outcome in market.outcomes.iter().filter(|outcome| held.assets.contains(&outcome.asset)) {
            payouts.extend(outcome.payout.map(|payout| (outcome.asset.clone(), Mark::Payout(payout))));
            if outcome.payout.is_some() || !market.active || market.resolved_at.is_some() {
                ended.insert(outcome.asset.clone());
            }
        }
    }
    Ok(Open { assets: held.assets.into_iter().filter(|asset| !ended.contains(asset)).collect(), payouts })
}

/// Asks for midpoints and spreads, and for the books of the assets that have none of these.
///
/// # Errors
/// When Polymarket does not answer. Spreads or books that fail do not stop the midpoints.
async fn quotes(
    deps: &PriceRefresherDeps,
    memory: &RefCell<Memory>,
    open: &[AssetId],
    bucket: Timestamp,
) -> Result<Vec<(AssetId, Mark)>, PolymarketError> {
    if open.is_empty() {
        return Ok(Vec::new());
    }
    let polymarket = &deps.polymarket;
    let asked = memory.borrow().wanted(open);
    let mut midpoints = polymarket.midpoints(&asked, REQUESTS_MAX).await?;
    let again = memory.borrow().again(bucket);
    for asset in again {
        let one = polymarket.midpoints(std::slice::from_ref(&asset), 1).await?;
        midpoints.found.extend(one.found);
        midpoints.refused.extend(one.refused);
    }
    memory.borrow_mut().note(&midpoints.refused, midpoints.found.keys(), bucket);
    let known: Vec<AssetId> = midpoints.found.keys().filter(|asset| open.contains(asset)).cloned().collect();
    let spreads = if known.is_empty() { Ok(None) } else { polymarket.spreads(&known, REQUESTS_MAX).await.map(Some) };
    let mut found: BTreeMap<AssetId, Mark> = BTreeMap::new();
    match spreads {
        Ok(spreads) => {
            let spreads = spreads.map(|spreads| spreads.found).unwrap_or_default();
            for (asset, midpoint) in midpoints.found.iter().filter(|(asset, _)| known.contains(asset)) {
                if let Some(spread) = spreads.get(asset) {
                    found.insert(asset.clone(), Mark::Quote(Quote::around(*midpoint, *spread, bucket)));
                }
            }
        }
        Err(error) => {
            tracing::warn!(%error, "spreads could not be fetched; midpoints are used without them");
            let midpoints = midpoints.found.iter().filter(|(asset, _)| known.contains(asset));
            found.extend(midpoints.map(|(asset, price)| (asset.clone(), Mark::Midpoint(*price, bucket))));
        }
    }
    // One side of the book may be empty, and then the mark has to follow the other.
    let is_whole = |mark: &Mark| !matches!(mark, Mark::Quote(quote) if quote.midpoint().is_none());
    let lacking = asked.iter().filter(|asset| !found.get(asset).is_some_and(is_whole));
    let lacking: Vec<AssetId> = lacking.filter(|asset| !midpoints.refused.contains(asset)).cloned().collect();
    found.extend(books(deps, memory, lacking, bucket).await);
    Ok(found.into_iter().collect())
}

/// Asks for the books of these assets, each at most once a minute.
async fn books(
    deps: &PriceRefresherDeps,
    memory: &RefCell<Memory>,
    lacking: Vec<AssetId>,
    bucket: Timestamp,
) -> Vec<(AssetId, Mark)> {
    let due: Vec<AssetId> = lacking.into_iter().filter(|asset| memory.borrow().book_is_due(asset, bucket)).collect();
    if due.is_empty() {
        return Vec::new();
    }
    match deps.polymarket.book_quotes(&due, REQUESTS_MAX).await {
        Ok(answer) => {
            memory.borrow_mut().books_asked.extend(due.iter().map(|asset| (asset.clone(), bucket)));
            memory.borrow_mut().note(&answer.refused, answer.found.keys(), bucket);
            let of_us = answer.found.into_iter().filter(|(asset, _)| due.binary_search(asset).is_ok());
            of_us.map(|(asset, quote)| (asset, Mark::Quote(Quote { at: bucket, ..quote }))).collect()
        }
        Err(error) => {
            tracing::warn!(%error, "the books of assets without a midpoint could not be fetched");
            Vec::new()
        }
    }
}

/// Returns the price to store; `None` for a book with two empty sides.
fn price(mark: &Mark) -> Option<BookPrice> {
    match mark {
        Mark::Quote(quote) => BookPrice::of(quote),
        Mark::Midpoint(price, _) => Some(BookPrice { price: *price, bid: None, ask: None }),
        Mark::Payout(_) | Mark::LastTrade(..) => None,
    }
}

impl Memory {
    /// Forgets what is no longer held or no longer open.
    fn keep(&mut self, open: &[AssetId]) {
        self.refused.retain(|asset, _| open.binary_search(asset).is_ok());
        self.books_asked.retain(|asset, _| open.binary_search(asset).is_ok());
        self.answered.retain(|asset, _| open.binary_search(asset).is_ok());
    }

    /// Returns the assets that are asked for together: all but the refused ones.
    fn wanted(&self, open: &[AssetId]) -> Vec<AssetId> {
        open.iter().filter(|asset| !self.refused.contains_key(asset)).cloned().collect()
    }

    /// Returns the refused assets whose turn has come.
    fn again(&self, now: Timestamp) -> Vec<AssetId> {
        let due = self.refused.iter().filter(|(_, refused)| refused.due <= now);
        due.map(|(asset, _)| asset.clone()).take(RETRIES_MAX).collect()
    }

    fn note<'a>(&mut self, refused: &[AssetId], found: impl Iterator<Item = &'a AssetId>, now: Timestamp) {
        for asset in found {
            self.refused.remove(asset);
        }
        for asset in refused {
            let times = self.refused.get(asset).map_or(0, |known| known.times);
            let wait = REFUSED_MS.saturating_mul(1 << times.min(10)).min(REFUSED_MS_MAX);
            let again = RefusedAsset { times: times.saturating_add(1), due: now.plus_millis(wait) };
            self.refused.insert(asset.clone(), again);
        }
    }

    fn book_is_due(&self, asset: &AssetId, now: Timestamp) -> bool {
        self.books_asked.get(asset).is_none_or(|asked| now.millis_since(*asked) >= BOOK_MS)
    }

    fn priced(&self, now: Timestamp) -> usize {
        self.answered.values().filter(|at| now.millis_since(**at) <= PRICED_MS).count()
    }
}
