//! What-if on a history that the bot itself made: with the configuration that was active all the time it computes
//! exactly the recorded result, wherever its window begins.

use std::collections::BTreeMap;
use std::sync::Arc;

use polymarketspy::clock::Clock;
use polymarketspy::db::{Db, ListedAttempt};
use polymarketspy::domain::accounting::ledger::{EntryType, PortfolioId, PortfolioScope};
use polymarketspy::domain::accounting::portfolio::Portfolio;
use polymarketspy::domain::analysis::what_if::{Findings, Policy};
use polymarketspy::domain::config::effective::ConfigPatch;
use polymarketspy::domain::decision::check::ReasonCode;
use polymarketspy::domain::decision::explanation::DecisionKind;
use polymarketspy::domain::events::event::Side;
use polymarketspy::domain::market::facts::Market;
use polymarketspy::domain::money::ids::{FollowedUserId, Wallet};
use polymarketspy::domain::money::units::{ShareMicros, Timestamp, UsdcMicros};
use polymarketspy::simulator::{Fill, NewMarket, Quotes, SimMarket, price};
use polymarketspy::testkit::{TestBot, eventually};
use polymarketspy::what_if::{Progress, WhatIf, WhatIfError, run};

/// 4,000 shares at one half: a copy of 1 % is 20 USDC.
const SHARES: i64 = 4_000_000_000;

/// Copies of 20 USDC. The cap of 0.5 % of 10,000 in one market allows two of them, not three.
const LIVE: &str = r#"{"guardrails": {"maxExposurePerMarketBps": 50, "noNewOpensWithinMinutesToClose": 0}}"#;

struct History {
    bot: TestBot,
    users: [FollowedUserId; 2],
    /// Oldest first.
    attempts: Vec<ListedAttempt>,
}

/// A running bot, and two leaders that trade one after the other.
struct Play {
    bot: TestBot,
    wallets: [Wallet; 2],
    n_groups: usize,
}

impl Play {
    fn market(&self, new: NewMarket) -> SimMarket {
        self.bot.exchange.with(|exchange| exchange.add_market(new))
    }

    async fn trades(&mut self, leader: usize, market: &SimMarket, side: Side, shares: i64) {
        let fill = Fill::taker(&self.wallets[leader], market.asset(0).unwrap(), side, 500_000, shares);
        self.bot.exchange.with(|exchange| exchange.push_fill(fill)).unwrap();
        self.decided().await;
    }

    async fn decided(&mut self) {
        self.n_groups += 1;
        self.bot.attempts(2 * self.n_groups).await;
    }
}

/// Makes copies, partial exits, sets, a cap that is used up, a settlement, and skips of many kinds.
async fn played(bot: TestBot) -> History {
    bot.configure(LIVE).await;
    let ((ann, wallet_of_ann), (ben, wallet_of_ben)) = (bot.follow("ann").await, bot.follow("ben").await);
    let mut play = Play { bot, wallets: [wallet_of_ann.clone(), wallet_of_ben], n_groups: 0 };
    let rain = play.market(NewMarket::binary("rain").fee(50_000));
    let (snow, doomed) = (play.market(NewMarket::binary("snow")), play.market(NewMarket::binary("doomed")));
    let wide = Quotes::of(&[(475_000, SHARES)], &[(500_000, SHARES)]);
    let wide = play.market(NewMarket::binary("wide").quotes(wide));
    let bookless = play.market(NewMarket::binary("bookless"));
    play.bot.exchange.with(|exchange| exchange.remove_book(bookless.id()));

    let app = play.bot.start().await;
    play.trades(0, &rain, Side::Buy, SHARES).await;
    play.trades(1, &rain, Side::Buy, SHARES).await;
    play.trades(0, &rain, Side::Buy, SHARES).await;
    play.trades(0, &wide, Side::Buy, SHARES).await;
    play.trades(0, &rain, Side::Sell, SHARES / 2).await;
    play.trades(1, &rain, Side::Buy, SHARES).await;
    play.trades(1, &snow, Side::Sell, SHARES).await;
    play.bot.exchange.with(|exchange| {
        exchange.split(&wallet_of_ann, snow.id(), ShareMicros(900_000_000), exchange.now()).unwrap();
    });
    play.decided().await;
    play.bot.exchange.with(|exchange| {
        exchange.merge(&wallet_of_ann, snow.id(), ShareMicros(500_000_000), exchange.now()).unwrap();
    });
    play.decided().await;
    play.trades(1, &bookless, Side::Buy, SHARES).await;
    play.trades(0, &doomed, Side::Buy, SHARES).await;
    app.stop().await;

    play.bot.exchange.with(|exchange| exchange.resolve(doomed.id(), &[price(1_000_000), price(0)]));
    let closed = Market { close_time: Some(Clock::System.now()), ..doomed.facts.clone() };
    play.bot.db.save_market(&closed).await.unwrap();
    let app = play.bot.start().await;
    eventually("the settlements of both portfolios", async || {
        let mut settled = 0;
        for portfolio in [PortfolioId::ExecUser(ann), PortfolioId::ExecGlobal] {
            let entries = play.bot.db.entries_after(portfolio, 0, 1_000).await.unwrap();
            settled += entries.iter().filter(|placed| placed.entry.kind == EntryType::Settlement).count();
        }
        (settled == 2).then_some(())
    })
    .await;
    play.trades(1, &doomed, Side::Buy, SHARES).await;
    play.trades(1, &snow, Side::Buy, SHARES).await;
    app.stop().await;
    let attempts = play.bot.attempts(2 * play.n_groups).await;
    History { bot: play.bot, users: [ann, ben], attempts }
}

impl History {
    fn of(&self, portfolio: PortfolioId) -> Vec<&ListedAttempt> {
        self.attempts.iter().filter(|listed| listed.attempt.portfolio == portfolio).collect()
    }

    fn portfolios(&self) -> [PortfolioId; 3] {
        [PortfolioId::ExecGlobal, PortfolioId::ExecUser(self.users[0]), PortfolioId::ExecUser(self.users[1])]
    }

    async fn what_if(&self, portfolio: PortfolioId, from: Timestamp, candidate: &str) -> Findings {
        let directory = self.bot.db.directory().await.unwrap();
        let current = Policy { global: directory.config, overrides: directory.overrides };
        let global = current.global.with(&ConfigPatch::parse(candidate).unwrap());
        let candidate = Policy { global, ..current.clone() };
        let what_if = WhatIf { portfolio, from, to: Clock::System.now(), current, candidate };
        run(&self.bot.db, what_if, &Arc::new(Progress::default())).await.unwrap()
    }
}

/// Returns the portfolio as a fold of its whole ledger.
async fn ledger(db: &Db, id: PortfolioId) -> Portfolio {
    let mut portfolio = Portfolio::new(id);
    for placed in db.entries_after(id, 0, 10_000).await.unwrap() {
        portfolio.apply(&placed.entry).unwrap();
    }
    portfolio
}

async fn is_lived_through_as_it_was(history: &History) {
    let an_hour_before = history.attempts[0].detect_time.plus_millis(-3_600_000);
    for portfolio in history.portfolios() {
        let recorded = history.of(portfolio);
        let books = ledger(&history.bot.db, portfolio).await.figures();
        // From before the first start; from each group; from between the detection of a group and its decision.
        let begins = recorded.iter().flat_map(|listed| [listed.detect_time, listed.detect_time.plus_millis(1)]);
        for from in [an_hour_before].into_iter().chain(begins) {
            let findings = history.what_if(portfolio, from, "{}").await;
            let n = recorded.iter().filter(|listed| listed.detect_time >= from).count() as u64;
            let counts = findings.counts;
            assert_eq!(
                (counts.groups, counts.recorded, counts.as_recorded, counts.changes(), counts.undecidable),
                (n, n, n, 0, 0),
                "{portfolio} from {from}"
            );
            let end = findings.current.end;
            assert_eq!(
                (end.cash, end.realized, end.deposits),
                (books.cash, books.realized, books.deposits),
                "{portfolio} from {from}"
            );
        }
    }
}

async fn a_wider_spread_adds_the_one_copy_it_is_about(history: &History) {
    let of_global = history.of(PortfolioId::ExecGlobal);
    let too_wide = of_global.iter().find(|listed| listed.attempt.reasons == [ReasonCode::SpreadTooWide]).unwrap();
    let from = of_global[0].detect_time;
    let wider = r#"{"guardrails": {"maxSpreadMicros": 25000}}"#;
    let findings = history.what_if(PortfolioId::ExecGlobal, from, wider).await;
    assert_eq!((findings.counts.flipped, findings.changes.len()), (1, 1));
    let change = &findings.changes[0];
    assert_eq!(change.group.key, too_wide.attempt.group_key);
    assert_eq!((change.current.decision, change.candidate.decision), (DecisionKind::Skip, DecisionKind::Execute));
    assert_eq!(change.candidate.filled_notional, UsdcMicros(20_000_000));
    assert_eq!(findings.current.decisions.executed + 1, findings.candidate.decisions.executed);
}

async fn without_the_pause_there_are_no_books(history: &History) {
    history.bot.configure(r#"{"system": {"copyEngineEnabled": false}}"#).await;
    let from = history.attempts[0].detect_time;
    let findings = history.what_if(PortfolioId::ExecGlobal, from, r#"{"system": {"copyEngineEnabled": true}}"#).await;
    // The engine was on: the candidate equals the recorded result, and every book is stored.
    assert_eq!((findings.counts.without_book, findings.counts.as_recorded), (0, 0));
    let executed = history.of(PortfolioId::ExecGlobal);
    let executed = executed.iter().filter(|listed| listed.attempt.decision == DecisionKind::Execute).count() as u64;
    assert_eq!((findings.candidate.decisions.executed, findings.current.decisions.executed), (executed, 0));
    history.bot.configure(r#"{"system": {"copyEngineEnabled": true}}"#).await;
}

async fn a_cancelled_run_ends(history: &History) {
    let directory = history.bot.db.directory().await.unwrap();
    let current = Policy { global: directory.config, overrides: directory.overrides };
    let (from, to) = (history.attempts[0].detect_time, Clock::System.now());
    let what_if = WhatIf { portfolio: PortfolioId::ExecGlobal, from, to, current: current.clone(), candidate: current };
    let progress = Arc::new(Progress::default());
    progress.cancel();
    let ended = run(&history.bot.db, what_if, &progress).await;
    assert!(matches!(ended, Err(WhatIfError::Cancelled)), "{ended:?}");
}

/// Checks that the history has every kind of event that the tests rely on.
fn has_everything(history: &History) {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for listed in
        history.attempts.iter().filter(|listed| listed.attempt.portfolio.scope() == PortfolioScope::ExecGlobal)
    {
        let what = match listed.attempt.reasons.first() {
            Some(reason) => reason.as_str().to_owned(),
            None => format!("{} {}", listed.kind.as_str(), listed.side.map_or("", Side::as_str)),
        };
        *seen.entry(what).or_default() += 1;
    }
    let wanted = [
        ("TRADE BUY", 4),
        ("TRADE SELL", 1),
        ("SPLIT ", 1),
        ("MERGE ", 1),
        ("RISK_CAP_GLOBAL", 2),
        ("SPREAD_TOO_WIDE", 1),
        ("NOT_ENOUGH_POSITION_TO_SELL", 1),
        ("BOOK_UNAVAILABLE", 1),
        ("MARKET_TOO_CLOSE_TO_CLOSE", 1),
    ];
    let wanted: BTreeMap<String, usize> = wanted.into_iter().map(|(what, n)| (what.to_owned(), n)).collect();
    assert_eq!(seen, wanted);
}

#[actix::test]
async fn under_the_live_configuration_a_what_if_equals_the_record_on_sqlite() {
    let history = played(TestBot::new().await).await;
    has_everything(&history);
    is_lived_through_as_it_was(&history).await;
    a_wider_spread_adds_the_one_copy_it_is_about(&history).await;
    without_the_pause_there_are_no_books(&history).await;
    a_cancelled_run_ends(&history).await;
}

#[actix::test]
async fn under_the_live_configuration_a_what_if_equals_the_record_on_postgres_and_redis() {
    let history = played(TestBot::shared().await).await;
    has_everything(&history);
    is_lived_through_as_it_was(&history).await;
    a_wider_spread_adds_the_one_copy_it_is_about(&history).await;
}
