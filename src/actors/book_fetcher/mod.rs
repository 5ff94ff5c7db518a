//! Fetches the inputs of a decision: the order book of the group, once, and the facts of its market.
//!
//! Takes   [`FetchBook`] and [`KnowMarket`] from the executors, [`DirectoryChanged`] from the root.
//! Timer   only to repeat a save that failed.
//! Truth   `book_snapshot` and `market`. One answer of the CLOB for each group is stored before a decision uses it, so
//!         that both portfolios, and an executor after a restart, see the same book. A missing book is stored too.

mod markets;

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use actix::{Actor, Addr, AsyncContext, Context, Handler, Message, Response, Supervised};
use tokio::sync::oneshot;

use self::markets::Markets;
use super::{
    directory::DirectoryChanged,
    supervise::{IoResult, Observed, SupervisorContext, observable, or_panic, spawn_io, start_supervised},
};
use crate::clock::Clock;
use crate::db::{BookOutcome, Db, DbError, StoredBook};
use crate::domain::accounting::mark::Quote;
use crate::domain::market::book::{Level, OrderBook};
use crate::domain::market::facts::Market;
use crate::domain::money::ids::{AssetId, GroupId, MarketId};
use crate::domain::money::units::{PriceMicros, ShareMicros, Timestamp};
use crate::metrics::Metrics;
use crate::polymarket::{BookAnswer, Polymarket, PolymarketError, Priority};

/// How long to try for a book, from the start of its fetch (spec 7.4).
const TRYING: Duration = Duration::from_secs(5);
/// The wait between two tries, when the CLOB asks for no longer one.
const TRY_AGAIN: Duration = Duration::from_millis(250);
/// Fetches that run at once. The others wait here and not in the rate limiter, because waiting there would use up their
/// five seconds.
const FETCHING_MAX: usize = 32;
/// Books to keep in memory for the other executor, which requests each of them too.
const KNOWN_MAX: usize = 4096;
const MAILBOX: usize = 2048;
const SAVE_AGAIN: Duration = Duration::from_millis(250);

/// Requests the book on which the decisions on this group are made.
#[derive(Message, Debug, Clone)]
#[rtype(result = "Result<Arc<GroupBook>, FetchFailed>")]
pub struct FetchBook {
    pub group: GroupId,
    pub asset: AssetId,
}

/// The stored answer for one group, which both portfolios use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupBook {
    pub fetched_at: Timestamp,
    /// The book, or the reason why there was none.
    pub book: Result<OrderBook, String>,
}

impl GroupBook {
    /// Returns the best prices of the book; `None` when there was none.
    pub fn quote(&self) -> Option<Quote> {
        let book = self.book.as_ref().ok()?;
        Some(Quote::new(Some(book.best_bid()), Some(book.best_ask()), self.fetched_at))
    }
}

/// Requests the facts of a market, which are fetched when they are not known yet.
#[derive(Message, Debug, Clone)]
#[rtype(result = "Result<Arc<Market>, FetchFailed>")]
pub struct KnowMarket(pub MarketId);

/// There is no answer. A missing book is an answer, and not this error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchFailed {
    #[error("the book could not be stored: {0}")]
    Storing(String),
    #[error("the facts of the market could not be fetched: {0}")]
    Market(String),
    #[error("the book fetcher restarted")]
    Restarted,
}

#[derive(Clone)]
pub struct BookFetcherDeps {
    pub db: Db,
    pub clock: Clock,
    pub polymarket: Polymarket,
    pub metrics: Arc<Metrics>,
}

pub struct BookFetcher {
    deps: BookFetcherDeps,
    books: HashMap<GroupId, Slot>,
    /// The groups of the known books, the oldest first.
    known: VecDeque<GroupId>,
    /// Requested, and not started yet.
    waiting: VecDeque<FetchBook>,
    n_fetching: usize,
    to_save: Vec<(GroupId, BookOutcome)>,
    saving: bool,
    markets: Markets,
    counts: Counts,
}

enum Slot {
    Wanted(Vec<oneshot::Sender<Result<Arc<GroupBook>, FetchFailed>>>),
    Known(Arc<GroupBook>),
}

#[derive(Debug, Clone, Default, serde::Serialize)]
struct Counts {
    fetched: u64,
    unavailable: u64,
    found_stored: u64,
    #[serde(skip)]
    last_book: Option<Timestamp>,
}

enum Fetched {
    /// An earlier incarnation has stored it.
    Stored(BookOutcome),
    New(BookOutcome),
}

impl BookFetcher {
    pub fn start(deps: BookFetcherDeps, supervisor: &SupervisorContext) -> Addr<Self> {
        start_supervised(supervisor, "book_fetcher", Self::new(deps))
    }

    fn new(deps: BookFetcherDeps) -> Self {
        Self {
            deps,
            books: HashMap::new(),
            known: VecDeque::new(),
            waiting: VecDeque::new(),
            n_fetching: 0,
            to_save: Vec::new(),
            saving: false,
            markets: Markets::default(),
            counts: Counts::default(),
        }
    }

    fn observed(&self) -> Observed {
        Observed {
            state: serde_json::json!({
                "waiting": self.waiting.len(),
                "fetching": self.n_fetching,
                "markets": self.markets.len(),
                "counts": self.counts,
            }),
            last_activity: self.counts.last_book,
        }
    }

    /// Starts as many fetches as may run at once.
    fn advance(&mut self, ctx: &mut Context<Self>) {
        while self.n_fetching < FETCHING_MAX {
            let Some(FetchBook { group, asset }) = self.waiting.pop_front() else { return };
            self.n_fetching += 1;
            let deps = self.deps.clone();
            let fetch = async move {
                Ok(match deps.db.book(group).await? {
                    Some(stored) => Fetched::Stored(stored),
                    None => {
                        let begun = tokio::time::Instant::now();
                        let outcome = fetch(&deps, &asset).await;
                        deps.metrics.book_fetch.observe(begun.elapsed());
                        Fetched::New(outcome)
                    }
                })
            };
            spawn_io(ctx, fetch, move |fetcher: &mut Self, fetched, ctx| fetcher.fetched(group, fetched, ctx));
        }
    }

    fn fetched(&mut self, group: GroupId, fetched: IoResult<Fetched, DbError>, ctx: &mut Context<Self>) {
        self.n_fetching = self.n_fetching.saturating_sub(1);
        match fetched {
            Ok(Fetched::Stored(outcome)) => {
                self.counts.found_stored += 1;
                self.settle(group, &outcome);
            }
            Ok(Fetched::New(outcome)) => {
                if let Err(reason) = &outcome.book {
                    self.counts.unavailable += 1;
                    tracing::info!(%group, reason, "no book");
                }
                self.counts.fetched += 1;
                self.to_save.push((group, outcome));
                self.save(ctx);
            }
            Err(error) => self.fail(group, &FetchFailed::Storing(error.to_string())),
        }
        self.advance(ctx);
    }

    /// Stores the books fetched since the last save, in one transaction.
    fn save(&mut self, ctx: &mut Context<Self>) {
        if self.to_save.is_empty() || std::mem::replace(&mut self.saving, true) {
            return;
        }
        let books = std::mem::take(&mut self.to_save);
        self.store(books, ctx);
    }

    fn store(&self, books: Vec<(GroupId, BookOutcome)>, ctx: &mut Context<Self>) {
        let db = self.deps.db.clone();
        let books = Arc::new(books);
        let saved = books.clone();
        spawn_io(ctx, async move { db.save_books(&saved).await }, move |fetcher: &mut Self, stored, ctx| {
            fetcher.saved(Arc::unwrap_or_clone(books), stored, ctx);
        });
    }

    fn saved(
        &mut self,
        books: Vec<(GroupId, BookOutcome)>,
        stored: IoResult<Vec<BookOutcome>, DbError>,
        ctx: &mut Context<Self>,
    ) {
        match or_panic(stored, "storing books") {
            Ok(stored) => {
                for ((group, _), outcome) in books.iter().zip(&stored) {
                    self.settle(*group, outcome);
                }
            }
            Err(error) if error.is_transient() => {
                tracing::error!(%error, books = books.len(), "books cannot be stored and will be retried");
                ctx.run_later(SAVE_AGAIN, move |fetcher, ctx| fetcher.store(books, ctx));
                return;
            }
            Err(error) => {
                tracing::error!(%error, books = books.len(), "books could not be stored");
                for (group, _) in &books {
                    self.fail(*group, &FetchFailed::Storing(error.to_string()));
                }
            }
        }
        self.saving = false;
        self.save(ctx);
    }

    /// Answers the requests for a stored book, and keeps it in memory.
    fn settle(&mut self, group: GroupId, outcome: &BookOutcome) {
        let book = match &outcome.book {
            Ok(stored) => stored.ordered().map_err(|error| error.to_string()),
            Err(reason) => Err(reason.clone()),
        };
        self.counts.last_book = Some(self.deps.clock.now());
        let book = Arc::new(GroupBook { fetched_at: outcome.fetched_at, book });
        if let Some(Slot::Wanted(askers)) = self.books.insert(group, Slot::Known(book.clone())) {
            for asker in askers {
                let _ = asker.send(Ok(book.clone()));
            }
        }
        self.known.push_back(group);
        if self.known.len() > KNOWN_MAX
            && let Some(oldest) = self.known.pop_front()
        {
            self.books.remove(&oldest);
        }
    }

    /// Answers the requests for a book with an error.
    fn fail(&mut self, group: GroupId, failed: &FetchFailed) {
        if let Some(Slot::Wanted(askers)) = self.books.remove(&group) {
            for asker in askers {
                let _ = asker.send(Err(failed.clone()));
            }
        }
    }
}

/// Tries until there is a book, the CLOB has none, or the time is up.
async fn fetch(deps: &BookFetcherDeps, asset: &AssetId) -> BookOutcome {
    let deadline = deps.clock.now().plus_millis(i64::try_from(TRYING.as_millis()).unwrap_or(i64::MAX));
    loop {
        let left = u64::try_from(deadline.millis_since(deps.clock.now())).unwrap_or_default();
        let ask = deps.polymarket.book(asset, Priority::Interactive);
        let answer = tokio::time::timeout(Duration::from_millis(left), ask).await;
        let fetched_at = deps.clock.now();
        let error = match answer {
            Ok(Ok(answer)) => return BookOutcome { fetched_at, book: Ok(as_fetched(asset, answer)) },
            Ok(Err(error)) => error,
            Err(_) => return BookOutcome { fetched_at, book: Err(format!("no answer within {} s", TRYING.as_secs())) },
        };
        let wait = error.retry_after().unwrap_or_default().max(TRY_AGAIN);
        let too_late = u128::try_from(deadline.millis_since(fetched_at)).unwrap_or(0) <= wait.as_millis();
        if !error.is_transient() || too_late {
            return BookOutcome { fetched_at, book: Err(reason(&error)) };
        }
        tokio::time::sleep(wait).await;
    }
}

/// Returns the text that is stored for a missing book.
fn reason(error: &PolymarketError) -> String {
    if error.is_not_found() { "the CLOB has no order book for it".to_owned() } else { error.to_string() }
}

/// Returns the book in the form in which it is stored.
fn as_fetched(asset: &AssetId, answer: BookAnswer) -> StoredBook {
    let levels = |side: Vec<(PriceMicros, ShareMicros)>| {
        side.into_iter().map(|(price, shares)| Level { price, shares }).collect()
    };
    StoredBook {
        asset: asset.clone(),
        bids: levels(answer.bids),
        asks: levels(answer.asks),
        hash: Some(answer.hash).filter(|hash| !hash.is_empty()),
        tick: answer.tick,
        min_shares: answer.min_shares,
        last_trade: answer.last_trade_price,
    }
}

impl Actor for BookFetcher {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(MAILBOX);
    }
}

impl Supervised for BookFetcher {
    fn restarting(&mut self, _: &mut Context<Self>) {
        *self = Self::new(self.deps.clone());
    }
}

observable!(BookFetcher);

impl Handler<FetchBook> for BookFetcher {
    type Result = Response<Result<Arc<GroupBook>, FetchFailed>>;

    fn handle(&mut self, wanted: FetchBook, ctx: &mut Context<Self>) -> Self::Result {
        let (answer, book) = oneshot::channel();
        match self.books.get_mut(&wanted.group) {
            Some(Slot::Known(book)) => return Response::reply(Ok(book.clone())),
            Some(Slot::Wanted(askers)) => askers.push(answer),
            None => {
                self.books.insert(wanted.group, Slot::Wanted(vec![answer]));
                self.waiting.push_back(wanted);
                self.advance(ctx);
            }
        }
        Response::fut(async { book.await.unwrap_or(Err(FetchFailed::Restarted)) })
    }
}

#[cfg(test)]
mod tests;
