//! The facts of markets for the executors: from memory, else from the database, else from Polymarket.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use actix::{Context, Handler, Response};
use tokio::sync::oneshot;

use super::{BookFetcher, BookFetcherDeps, DirectoryChanged, FetchFailed, KnowMarket};
use crate::actors::supervise::{IoResult, Panicked, spawn_io};
use crate::domain::market::facts::Market;
use crate::domain::money::ids::MarketId;
use crate::domain::money::units::Timestamp;
use crate::polymarket::Priority;

/// Older facts are fetched again in the background, while requests get the old ones.
const FRESH_MS: i64 = 10 * 60 * 1000;
/// How long to wait before a retry, when the facts are incomplete because only the second source answered, or could not
/// be fetched at all.
const HALF_KNOWN_MS: i64 = 60 * 1000;
/// Markets to keep in memory; when there are more, all are dropped.
const IN_MEMORY_MAX: usize = 20_000;

#[derive(Default)]
pub(super) struct Markets {
    known: BTreeMap<MarketId, Arc<Market>>,
    /// When the facts were last fetched in this incarnation.
    asked_at: BTreeMap<MarketId, Timestamp>,
    /// The requests that wait for the facts of a market.
    wanted: BTreeMap<MarketId, Vec<Asker>>,
    refreshing: BTreeSet<MarketId>,
    /// Counts changes of the directory, which may change the blacklist: facts read before a change are not kept.
    directory_changes: u64,
}

type Asker = oneshot::Sender<Result<Arc<Market>, FetchFailed>>;

/// The facts of a market, and their source.
#[derive(Debug)]
struct FoundMarket {
    market: Market,
    /// They were fetched from Polymarket just now.
    asked: bool,
    /// A source knows the market. An unknown market is fetched again for the next request.
    known: bool,
}

impl Markets {
    pub fn len(&self) -> usize {
        self.known.len()
    }

    fn insert(&mut self, id: MarketId, market: Arc<Market>) {
        if self.known.len() >= IN_MEMORY_MAX {
            self.known.clear();
            self.asked_at.clear();
        }
        self.known.insert(id, market);
    }
}

impl BookFetcher {
    /// Fetches facts again in the background when they are old. Requests in the meantime get the old ones.
    fn refresh(&mut self, id: &MarketId, ctx: &mut Context<Self>) {
        let now = self.deps.clock.now();
        let is_half_known = self.markets.known.get(id).is_some_and(|market| lacks_facts(market));
        let fresh_ms = if is_half_known { HALF_KNOWN_MS } else { FRESH_MS };
        let is_fresh = self.markets.asked_at.get(id).is_some_and(|asked| now.millis_since(*asked) < fresh_ms);
        if is_fresh || !self.markets.refreshing.insert(id.clone()) {
            return;
        }
        self.markets.asked_at.insert(id.clone(), now);
        let (deps, market) = (self.deps.clone(), id.clone());
        self.find_market(id, async move { ask(&deps, &market, Priority::Bulk).await }, ctx);
    }

    /// Starts `work`, whose result [`Self::market_found`] handles.
    fn find_market(
        &self,
        id: &MarketId,
        work: impl Future<Output = Result<FoundMarket, FetchFailed>> + 'static,
        ctx: &mut Context<Self>,
    ) {
        let (id, asked_at) = (id.clone(), self.markets.directory_changes);
        spawn_io(ctx, work, move |fetcher: &mut Self, found, ctx| fetcher.market_found(id, asked_at, found, ctx));
    }

    /// Answers all requests for the market. `asked_at` is the count of directory changes when the fetch started.
    fn market_found(
        &mut self,
        id: MarketId,
        asked_at: u64,
        found: IoResult<FoundMarket, FetchFailed>,
        ctx: &mut Context<Self>,
    ) {
        self.markets.refreshing.remove(&id);
        let of_panic = |panicked: Panicked| FetchFailed::Market(panicked.to_string());
        let answer = found.map_err(|error| error.into_failed(of_panic)).map(|found| {
            let market = Arc::new(found.market);
            if found.known && asked_at == self.markets.directory_changes {
                self.markets.insert(id.clone(), market.clone());
            }
            if found.asked {
                self.markets.asked_at.insert(id.clone(), self.deps.clock.now());
            }
            market
        });
        match &answer {
            Ok(_) if self.markets.known.contains_key(&id) => self.refresh(&id, ctx),
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(market = %id, %error, "the facts of a market cannot be fetched");
                let again = self.deps.clock.now().plus_millis(HALF_KNOWN_MS - FRESH_MS);
                self.markets.asked_at.insert(id.clone(), again);
            }
        }
        for asker in self.markets.wanted.remove(&id).unwrap_or_default() {
            let _ = asker.send(answer.clone());
        }
    }
}

/// Returns whether a source has not answered for the market yet, so that it is asked again soon.
fn lacks_facts(market: &Market) -> bool {
    market.question.is_empty() || !market.fee_known || market.taker_delay_ms.is_none()
}

/// Returns the facts of a market, from the database if they are stored there.
///
/// # Errors
/// When the database or Polymarket fails.
async fn find(deps: &BookFetcherDeps, id: &MarketId) -> Result<FoundMarket, FetchFailed> {
    let stored = deps.db.market(id).await.map_err(|error| FetchFailed::Market(error.to_string()))?;
    match stored {
        // A row without outcomes holds only the market's id. The fee of a row may be unknown, after an upgrade for
        // example: the sources are asked first, and if they do not answer, it counts as it is.
        Some(market) if market.is_known() && market.fee_known => Ok(FoundMarket { market, asked: false, known: true }),
        Some(market) if market.is_known() => match ask(deps, id, Priority::Interactive).await {
            Ok(found) if found.known => Ok(found),
            _ => Ok(FoundMarket { market, asked: false, known: true }),
        },
        _ => ask(deps, id, Priority::Interactive).await,
    }
}

/// Fetches the facts from Polymarket, stores them, and returns them with the columns that only our database has.
///
/// # Errors
/// When the database or Polymarket fails.
async fn ask(deps: &BookFetcherDeps, id: &MarketId, priority: Priority) -> Result<FoundMarket, FetchFailed> {
    let failed = |error: String| FetchFailed::Market(error);
    let facts = deps.polymarket.market_with(id, priority).await.map_err(|error| failed(error.to_string()))?;
    let Some(facts) = facts else {
        return Ok(FoundMarket { market: Market::unknown(id.clone()), asked: true, known: false });
    };
    deps.db.save_market(&facts).await.map_err(|error| failed(error.to_string()))?;
    let stored = deps.db.market(id).await.map_err(|error| failed(error.to_string()))?;
    Ok(FoundMarket { market: stored.unwrap_or(facts), asked: true, known: true })
}

impl Handler<KnowMarket> for BookFetcher {
    type Result = Response<Result<Arc<Market>, FetchFailed>>;

    fn handle(&mut self, KnowMarket(id): KnowMarket, ctx: &mut Context<Self>) -> Self::Result {
        if let Some(market) = self.markets.known.get(&id) {
            let market = market.clone();
            self.refresh(&id, ctx);
            return Response::reply(Ok(market));
        }
        let (answer, found) = oneshot::channel();
        let askers = self.markets.wanted.entry(id.clone()).or_default();
        askers.push(answer);
        if askers.len() == 1 {
            let (deps, market) = (self.deps.clone(), id.clone());
            self.find_market(&id, async move { find(&deps, &market).await }, ctx);
        }
        Response::fut(async { found.await.unwrap_or(Err(FetchFailed::Restarted)) })
    }
}

impl Handler<DirectoryChanged> for BookFetcher {
    type Result = ();

    /// Drops all facts, because a market may have been put on the blacklist or taken off it.
    fn handle(&mut self, _: DirectoryChanged, _: &mut Context<Self>) {
        self.markets.known.clear();
        self.markets.directory_changes += 1;
    }
}
