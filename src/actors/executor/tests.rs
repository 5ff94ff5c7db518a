use actix::{Message, Response, ResponseFuture};
use tokio::sync::oneshot;

use super::*;
use crate::actors::book_fetcher::{FetchFailed, GroupBook};
use crate::actors::ledger_writer::{Flush, LedgerWriter, RecordEntries, Refused};
use crate::actors::supervise::Observe;
use crate::actors::{global_executor, user_executor};
use crate::domain::accounting::view::PortfolioView;
use crate::domain::decision::check::ReasonCode;
use crate::domain::decision::explanation::DecisionKind;
use crate::domain::events::event::Side;
use crate::domain::events::group::EventGroup;
use crate::domain::market::book::OrderBook;
use crate::domain::market::facts::Market;
use crate::domain::money::ids::AssetId;
use crate::domain::money::units::ShareMicros;
use crate::testkit::copy_setup::{CopySetup, TakeAnnounced, UntilAttempts, fill, group};
use crate::testkit::samples::{asset, at, market, market_id, price};

type Answer = Result<Arc<GroupBook>, FetchFailed>;

/// Replaces the book fetcher: every book is the same, and is sent when the test says so.
#[derive(Default)]
struct Books {
    held_back: bool,
    waiting: Vec<oneshot::Sender<Answer>>,
    n_asked: usize,
    blacklisted: bool,
    /// No source answers for a market.
    facts_are_away: bool,
    n_markets_asked: usize,
    taker_delay_ms: Option<i64>,
    refused: Option<AssetId>,
    until_waiting: Option<(usize, oneshot::Sender<()>)>,
}

/// Puts every market on the blacklist.
#[derive(Message)]
#[rtype(result = "()")]
struct Blacklist;

/// Answered when so many requests wait for a book.
#[derive(Message)]
#[rtype(result = "()")]
struct UntilWaiting(usize);

/// Answers the waiting requests for books, the newest request first.
#[derive(Message)]
#[rtype(result = "()")]
struct GiveBackwards;

#[derive(Message)]
#[rtype(result = "usize")]
struct BooksAsked;

/// Makes the facts of markets known again; answers how often they had been asked for.
#[derive(Message)]
#[rtype(result = "usize")]
struct MarketsAsked {
    known_from_now: bool,
}

impl Actor for Books {
    type Context = Context<Self>;
}

impl Handler<KnowMarket> for Books {
    type Result = Result<Arc<Market>, FetchFailed>;

    fn handle(&mut self, KnowMarket(id): KnowMarket, _: &mut Context<Self>) -> Self::Result {
        self.n_markets_asked += 1;
        if self.facts_are_away {
            return Err(FetchFailed::Market("no source answers".to_owned()));
        }
        let n = (1..10).find(|n| market_id(*n) == id).unwrap();
        let (blacklisted, taker_delay_ms) = (self.blacklisted, self.taker_delay_ms);
        Ok(Arc::new(Market { blacklisted, taker_delay_ms, ..market(n, &[None, None]) }))
    }
}

impl Handler<Blacklist> for Books {
    type Result = ();

    fn handle(&mut self, _: Blacklist, _: &mut Context<Self>) {
        self.blacklisted = true;
    }
}

impl Handler<FetchBook> for Books {
    type Result = Response<Answer>;

    fn handle(&mut self, wanted: FetchBook, _: &mut Context<Self>) -> Self::Result {
        self.n_asked += 1;
        if self.refused.as_ref() == Some(&wanted.asset) {
            return Response::reply(Err(FetchFailed::Storing("the table is locked".to_owned())));
        }
        if !self.held_back {
            return Response::reply(Ok(book()));
        }
        let (answer, given) = oneshot::channel();
        self.waiting.push(answer);
        if let Some((_, reached)) = self.until_waiting.take_if(|(n, _)| self.waiting.len() >= *n) {
            let _ = reached.send(());
        }
        Response::fut(async { given.await.unwrap() })
    }
}

impl Handler<UntilWaiting> for Books {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, UntilWaiting(n): UntilWaiting, _: &mut Context<Self>) -> Self::Result {
        let (answer, reached) = oneshot::channel();
        if self.waiting.len() >= n {
            let _ = answer.send(());
        } else {
            self.until_waiting = Some((n, answer));
        }
        Box::pin(async { reached.await.unwrap() })
    }
}

impl Handler<GiveBackwards> for Books {
    type Result = ();

    fn handle(&mut self, _: GiveBackwards, _: &mut Context<Self>) {
        for waiting in self.waiting.drain(..).rev() {
            let _ = waiting.send(Ok(book()));
        }
    }
}

impl Handler<MarketsAsked> for Books {
    type Result = usize;

    fn handle(&mut self, asked: MarketsAsked, _: &mut Context<Self>) -> usize {
        self.facts_are_away &= !asked.known_from_now;
        self.n_markets_asked
    }
}

impl Handler<BooksAsked> for Books {
    type Result = usize;

    fn handle(&mut self, _: BooksAsked, _: &mut Context<Self>) -> usize {
        self.n_asked
    }
}

fn book() -> Arc<GroupBook> {
    let level = |micros| (price(micros), ShareMicros(1_000_000_000));
    let book = OrderBook::from_levels([level(490_000)], [level(500_000)]).unwrap();
    Arc::new(GroupBook { fetched_at: at(0), book: Ok(book) })
}

async fn deps(setup: &CopySetup, books: &Addr<Books>, writer: &Addr<LedgerWriter>) -> ExecutorDeps {
    ExecutorDeps {
        db: setup.db.clone(),
        clock: setup.clock,
        look_every: SWEEP,
        wakeups: setup.wakeups.clone(),
        directory: setup.directory().await,
        market: books.clone().recipient(),
        book: books.clone().recipient(),
        view: writer.clone().recipient(),
        record: writer.clone().recipient(),
        metrics: Arc::default(),
        venue: crate::clock::VenueClock::new(setup.clock),
    }
}

async fn state(executor: &Addr<Executor>) -> serde_json::Value {
    executor.send(Observe).await.unwrap().state
}

/// The groups that the global ledger copied, in its order.
async fn copied(setup: &CopySetup, groups: &[EventGroup]) -> Vec<usize> {
    let refs = groups.iter().map(|group| {
        let id = crate::domain::money::ids::AttemptId::of(&PortfolioId::ExecGlobal.to_string(), &group.key);
        format!("copy:{id}")
    });
    let refs: Vec<_> = refs.collect();
    let entries = setup.entries(PortfolioId::ExecGlobal).await;
    let mut copied: Vec<usize> =
        entries.iter().filter_map(|entry| refs.iter().position(|id| *id == entry.ref_id)).collect();
    // A copy may have an entry for its fee beside the fill.
    copied.dedup();
    copied
}

#[actix_web::test]
async fn groups_are_decided_in_the_global_order_whichever_book_arrives_first() {
    let setup = CopySetup::new().await;
    let (writer, books) = (setup.ledger_writer(), Books { held_back: true, ..Books::default() }.start());
    let groups: Vec<_> = [(setup.bob, 1), (setup.alice, 2), (setup.bob, 2), (setup.alice, 3), (setup.bob, 9)]
        .into_iter()
        .map(|(leader, detected)| group(leader, 10, Side::Buy, detected))
        .collect();
    // They close in another order than they were first seen, and are due in yet another.
    for (n, place) in [4, 2, 0, 3, 1].into_iter().enumerate() {
        setup.close_due(&groups[place], at(-(n as i64))).await;
    }
    let _executor = global_executor::start(deps(&setup, &books, &writer).await, &setup.supervisor);
    books.send(UntilWaiting(5)).await.unwrap();
    books.send(GiveBackwards).await.unwrap();
    setup.live.send(UntilAttempts(5)).await.unwrap();
    assert_eq!(copied(&setup, &groups).await, [0, 1, 2, 3, 4]);
    assert_eq!(queue::peek_open(&setup.db, Queue::CopyAttemptGlobal).await.unwrap().len(), 0);
}

#[actix_web::test]
async fn of_the_groups_of_one_poll_what_the_leader_did_first_is_decided_first() {
    let setup = CopySetup::new().await;
    let (writer, books) = (setup.ledger_writer(), Books { held_back: true, ..Books::default() }.start());
    // Their keys sort in the other order.
    let mut groups = [group(setup.alice, 12, Side::Buy, 5), group(setup.alice, 10, Side::Buy, 5)];
    groups[0].event_time = groups[1].event_time.plus_millis(-8_000);
    for group in &groups {
        setup.close(group).await;
    }
    let _executor = global_executor::start(deps(&setup, &books, &writer).await, &setup.supervisor);
    books.send(UntilWaiting(2)).await.unwrap();
    books.send(GiveBackwards).await.unwrap();
    setup.live.send(UntilAttempts(2)).await.unwrap();
    assert_eq!(copied(&setup, &groups).await, [0, 1]);
}

#[actix_web::test]
async fn a_group_waits_for_one_before_it_that_has_closed_but_is_not_due() {
    let setup = CopySetup::new().await;
    let (writer, books) = (setup.ledger_writer(), Books::default().start());
    let groups = [group(setup.alice, 10, Side::Buy, 1), group(setup.bob, 10, Side::Buy, 2)];
    setup.close_due(&groups[0], setup.clock.now().plus_millis(300)).await;
    setup.close(&groups[1]).await;
    let _executor = global_executor::start(deps(&setup, &books, &writer).await, &setup.supervisor);
    setup.live.send(UntilAttempts(2)).await.unwrap();
    assert_eq!(copied(&setup, &groups).await, [0, 1]);
}

#[actix_web::test]
async fn unfinished_groups_are_decided_once_by_the_next_incarnation() {
    let setup = CopySetup::new().await;
    let (writer, books) = (setup.ledger_writer(), Books { held_back: true, ..Books::default() }.start());
    let groups: Vec<_> = (0..6).map(|n| group(setup.alice, 10, Side::Buy, n)).collect();
    for group in &groups {
        setup.close(group).await;
    }
    let deps = deps(&setup, &books, &writer).await;
    let (leashed, scope) = setup.supervisor.scope();
    let first_life = user_executor::start(setup.alice, deps.clone(), &leashed);
    books.send(UntilWaiting(6)).await.unwrap();
    drop(scope);
    drop(first_life);

    let _second_life = user_executor::start(setup.alice, deps, &setup.supervisor);
    // The books of the first incarnation are still on their way, and no group waits for them.
    books.send(UntilWaiting(12)).await.unwrap();
    books.send(GiveBackwards).await.unwrap();
    setup.live.send(UntilAttempts(6)).await.unwrap();
    let copies = setup.entries(PortfolioId::ExecUser(setup.alice)).await;
    assert_eq!(copies.len(), 7, "a deposit and six fills");
    assert_eq!(queue::peek_open(&setup.db, Queue::CopyAttemptUser).await.unwrap().len(), 0);
}

#[actix_web::test]
async fn no_book_is_fetched_for_a_group_that_the_switches_stop() {
    let setup = CopySetup::new().await;
    setup.db.set_enabled(setup.alice, false, "test", at(0)).await.unwrap();
    let (writer, books) = (setup.ledger_writer(), Books::default().start());
    setup.close(&group(setup.alice, 10, Side::Buy, 1)).await;
    let _executor = user_executor::start(setup.alice, deps(&setup, &books, &writer).await, &setup.supervisor);
    setup.live.send(UntilAttempts(1)).await.unwrap();
    assert_eq!(books.send(BooksAsked).await.unwrap(), 0);
    assert_eq!(recorded(&setup).await, (DecisionKind::Skip, vec![ReasonCode::UserDisabled]));
}

/// What the one attempt came to that was announced.
async fn recorded(setup: &CopySetup) -> (DecisionKind, Vec<ReasonCode>) {
    let heard = setup.live.send(TakeAnnounced).await.unwrap();
    let mut attempts = heard.into_iter().filter_map(|fact| match fact {
        crate::actors::live_hub::LiveFact::AttemptRecorded(attempt) => Some(attempt),
        _ => None,
    });
    let attempt = attempts.next().unwrap();
    assert!(attempts.next().is_none());
    (attempt.decision, attempt.reasons.clone())
}

/// Lets time pass. Afterwards time runs as usual, because the database needs that.
async fn later(seconds: u64) {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(seconds)).await;
    tokio::time::resume();
}

async fn until_markets_asked(books: &Addr<Books>, n: usize) {
    crate::testkit::eventually("the facts are asked for", async || {
        let asked = books.send(MarketsAsked { known_from_now: false }).await.unwrap();
        (asked >= n).then_some(())
    })
    .await;
}

/// Case 15: both copies used to end as dead letters without an attempt.
#[actix_web::test]
async fn a_market_whose_facts_cannot_be_had_in_30_s_is_a_skip_in_both_portfolios() {
    let setup = CopySetup::new().await;
    let (writer, books) = (setup.ledger_writer(), Books { facts_are_away: true, ..Books::default() }.start());
    setup.close(&group(setup.alice, 10, Side::Sell, 1)).await;
    let deps = deps(&setup, &books, &writer).await;
    let _executors = [
        user_executor::start(setup.alice, deps.clone(), &setup.supervisor),
        global_executor::start(deps, &setup.supervisor),
    ];
    until_markets_asked(&books, 2).await;
    later(30).await;
    setup.live.send(UntilAttempts(2)).await.unwrap();
    let heard = setup.live.send(TakeAnnounced).await.unwrap();
    let reasons: Vec<_> = heard
        .into_iter()
        .filter_map(|fact| match fact {
            crate::actors::live_hub::LiveFact::AttemptRecorded(attempt) => Some(attempt.reasons.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(reasons, [vec![ReasonCode::MarketUnknown], vec![ReasonCode::MarketUnknown]]);
    assert_eq!(books.send(BooksAsked).await.unwrap(), 0);
    for queue in [Queue::CopyAttemptUser, Queue::CopyAttemptGlobal] {
        assert_eq!(queue::peek_open(&setup.db, queue).await.unwrap().len(), 0);
    }
}

/// Case 15: the other outcome.
#[actix_web::test]
async fn facts_that_come_in_time_are_decided_on() {
    let setup = CopySetup::new().await;
    let (writer, books) = (setup.ledger_writer(), Books { facts_are_away: true, ..Books::default() }.start());
    setup.close(&group(setup.alice, 10, Side::Buy, 1)).await;
    let _executor = user_executor::start(setup.alice, deps(&setup, &books, &writer).await, &setup.supervisor);
    until_markets_asked(&books, 1).await;
    later(20).await;
    books.send(MarketsAsked { known_from_now: true }).await.unwrap();
    setup.live.send(UntilAttempts(1)).await.unwrap();
    assert_eq!(recorded(&setup).await, (DecisionKind::Execute, vec![]));
}

/// Case 19: the venue holds the order, and the book goes on meanwhile.
#[actix_web::test]
async fn the_taker_delay_of_a_market_is_waited_before_its_book_is_fetched() {
    let setup = CopySetup::new().await;
    let (writer, books) = (setup.ledger_writer(), Books { taker_delay_ms: Some(600), ..Books::default() }.start());
    let due = setup.clock.now();
    setup.close_due(&group(setup.alice, 10, Side::Buy, 1), due).await;
    let _executor = user_executor::start(setup.alice, deps(&setup, &books, &writer).await, &setup.supervisor);
    setup.live.send(UntilAttempts(1)).await.unwrap();
    assert!(setup.clock.now().millis_since(due) >= 600);
    let heard = setup.live.send(TakeAnnounced).await.unwrap();
    let attempt = heard.into_iter().find_map(|fact| match fact {
        crate::actors::live_hub::LiveFact::AttemptRecorded(attempt) => Some(attempt),
        _ => None,
    });
    assert_eq!(attempt.unwrap().explanation.taker_delay_ms, Some(600));
}

/// Facts fetched while a group waited used to be taken for the decision, however old they were.
#[actix_web::test]
async fn a_market_blacklisted_while_a_group_waits_is_not_copied() {
    let setup = CopySetup::new().await;
    let (writer, books) = (setup.ledger_writer(), Books { held_back: true, ..Books::default() }.start());
    setup.close(&group(setup.alice, 10, Side::Buy, 1)).await;
    let executor = user_executor::start(setup.alice, deps(&setup, &books, &writer).await, &setup.supervisor);
    books.send(UntilWaiting(1)).await.unwrap();
    books.send(Blacklist).await.unwrap();
    executor.send(DirectoryChanged(setup.directory().await)).await.unwrap();
    books.send(GiveBackwards).await.unwrap();
    setup.live.send(UntilAttempts(1)).await.unwrap();
    assert_eq!(recorded(&setup).await, (DecisionKind::Skip, vec![ReasonCode::MarketBlacklisted]));
    assert_eq!(setup.entries(PortfolioId::ExecUser(setup.alice)).await.len(), 1, "the deposit alone");
}

#[actix_web::test]
async fn a_group_whose_book_cannot_be_fetched_lets_others_pass_and_is_retried() {
    let setup = CopySetup::new().await;
    let refused = Some(asset(10));
    let (writer, books) = (setup.ledger_writer(), Books { refused, ..Books::default() }.start());
    let (first, second) = (group(setup.alice, 10, Side::Buy, 1), group(setup.alice, 11, Side::Buy, 2));
    setup.close(&first).await;
    setup.close(&second).await;
    let executor = global_executor::start(deps(&setup, &books, &writer).await, &setup.supervisor);
    setup.live.send(UntilAttempts(1)).await.unwrap();
    assert_eq!(copied(&setup, &[first.clone(), second]).await, [1]);
    let open = queue::peek_open(&setup.db, Queue::CopyAttemptGlobal).await.unwrap();
    assert_eq!(open.iter().map(|job| job.key.clone()).collect::<Vec<_>>(), [first.id.to_string()]);
    assert_eq!(state(&executor).await["counts"]["failed"], 1);
}

/// A proxy between an executor and the ledger writer. It records another entry between the first view and the decision
/// that is made on it.
struct Crossing {
    writer: Addr<LedgerWriter>,
    crossed: bool,
    leader: FollowedUserId,
}

impl Actor for Crossing {
    type Context = Context<Self>;
}

impl Handler<ReadView> for Crossing {
    type Result = ResponseFuture<Result<PortfolioView, Refused>>;

    fn handle(&mut self, read: ReadView, _: &mut Context<Self>) -> Self::Result {
        let (writer, leader) = (self.writer.clone(), self.leader);
        let crosses = !std::mem::replace(&mut self.crossed, true);
        Box::pin(async move {
            let entry = fill(read.portfolio, leader, &market_id(2), &asset(20), 1_000_000, -100_000, "crossing");
            let view = writer.send(read).await.unwrap();
            if crosses {
                let request = RecordEntries { entries: vec![entry], ..RecordEntries::default() };
                writer.send(request).await.unwrap().unwrap();
            }
            view
        })
    }
}

#[actix_web::test]
async fn a_decision_on_an_outdated_portfolio_is_made_again() {
    let setup = CopySetup::new().await;
    let (writer, books) = (setup.ledger_writer(), Books::default().start());
    let crossing = Crossing { writer: writer.clone(), crossed: false, leader: setup.alice }.start();
    setup.close(&group(setup.alice, 10, Side::Buy, 1)).await;
    let deps = ExecutorDeps { view: crossing.recipient(), ..deps(&setup, &books, &writer).await };
    let executor = global_executor::start(deps, &setup.supervisor);
    setup.live.send(UntilAttempts(1)).await.unwrap();
    let counts = state(&executor).await["counts"].clone();
    assert_eq!((counts["decided"].clone(), counts["decided_again"].clone()), (1.into(), 1.into()));
    assert_eq!(setup.entries(PortfolioId::ExecGlobal).await.len(), 3);
}

#[actix_web::test]
async fn hundreds_of_groups_of_two_leaders_lead_to_the_same_ledger_as_a_full_fold() {
    let setup = CopySetup::new().await;
    let (writer, books) = (setup.ledger_writer(), Books::default().start());
    let deps = deps(&setup, &books, &writer).await;
    let executors = [
        user_executor::start(setup.alice, deps.clone(), &setup.supervisor),
        user_executor::start(setup.bob, deps.clone(), &setup.supervisor),
        global_executor::start(deps, &setup.supervisor),
    ];
    let groups: Vec<_> = (0..300)
        .map(|n| group(if n % 3 == 0 { setup.bob } else { setup.alice }, 10 + (n % 2) as usize, Side::Buy, n))
        .collect();
    for group in &groups {
        setup.close(group).await;
    }
    setup.live.send(UntilAttempts(600)).await.unwrap();
    writer.send(Flush).await.unwrap().unwrap();
    let order = copied(&setup, &groups).await;
    assert!(order.is_sorted(), "{order:?}");
    for portfolio in [PortfolioId::ExecGlobal, PortfolioId::ExecUser(setup.alice), PortfolioId::ExecUser(setup.bob)] {
        let folded = setup.folded(portfolio).await.figures();
        let read = ReadView { portfolio, leader: setup.alice, market: market_id(1), asset: None, outcomes: Vec::new() };
        let view = writer.send(read).await.unwrap().unwrap();
        assert_eq!(view.cash, folded.cash, "{portfolio}");
    }
    for executor in &executors {
        assert_eq!(state(executor).await["in_line"], 0);
    }
}
