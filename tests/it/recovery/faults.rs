//! Every upstream fails in every way at every step of the work, and no fact is missing in the end.
//!
//! Each kind of fault hits the next requests of each route: the feed, positions, payouts, books, midpoints, and
//! both sources of market facts. The ledgers must equal those of a run without faults.

use std::collections::BTreeMap;

use futures_util::future::LocalBoxFuture;
use futures_util::stream::{self, StreamExt};
use polymarketspy::audit::audit;
use polymarketspy::domain::accounting::ledger::{EntryType, PortfolioId};
use polymarketspy::domain::events::event::Side;
use polymarketspy::domain::market::facts::Market;
use polymarketspy::domain::money::ids::{MarketId, Wallet};
use polymarketspy::domain::money::units::{ShareMicros, Timestamp};
use polymarketspy::queue;
use polymarketspy::simulator::{
    Fault, FaultKind, Fill, Host, NewMarket, RetryAfter, SimMarket, SimulatorSettings, Times, price,
};
use polymarketspy::testkit::{TestBot, eventually};

/// The steps of the work, by the route that each requests.
const ROUTES: [(Host, &str); 8] = [
    (Host::Data, "/v2/activity"),
    (Host::Data, "/v2/positions"),
    (Host::Data, "/v2/resolutions"),
    (Host::Clob, "/book?"),
    (Host::Clob, "/midpoints"),
    (Host::Clob, "/clob-markets"),
    (Host::Gamma, "/markets"),
    (Host::Gamma, "/events"),
];

/// Number of scenarios that run at the same time.
const AT_ONCE: usize = 5;

fn kinds() -> Vec<FaultKind> {
    use FaultKind::*;
    vec![
        TooManyRequests(RetryAfter::Silent),
        TooManyRequests(RetryAfter::Html),
        TooManyRequests(RetryAfter::Seconds(1)),
        TooManyRequests(RetryAfter::Date(1)),
        Status(425),
        Status(500),
        Status(503),
        Html(200),
        Html(502),
        CutBody,
        EmptyBody,
        Delay(1_200),
        Hang,
        UnknownFields,
    ]
}

/// Portfolio, kind of entry, asset, shares and cash: a ledger entry without its time.
type Entry = (String, String, Option<String>, i64, i64);

struct Outcome {
    entries: Vec<Entry>,
    /// Scope, group without its time, decision and reasons.
    decisions: Vec<String>,
}

impl Outcome {
    /// Returns the assets of groups that both portfolios decided without a book.
    fn without_book(&self) -> Vec<String> {
        let of = |scope: &str| -> Vec<String> {
            let skipped =
                self.decisions.iter().filter(|line| line.starts_with(scope) && line.contains("BOOK_UNAVAILABLE"));
            skipped.filter_map(|line| line.split(':').nth(1)).map(str::to_owned).collect()
        };
        let global = of("EXEC_GLOBAL");
        of("EXEC_USER").into_iter().filter(|asset| global.contains(asset)).collect()
    }

    /// Returns the lines that only one of the two has.
    fn differences(&self, other: &Self) -> Vec<String> {
        let lines = |outcome: &Self| -> Vec<String> {
            let entries = outcome.entries.iter().map(|entry| format!("{entry:?}"));
            entries.chain(outcome.decisions.iter().cloned()).collect()
        };
        let only = |sign: char, these: Vec<String>, mut those: Vec<String>| {
            let missing = these.into_iter().filter(|line| match those.iter().position(|other| other == line) {
                Some(place) => {
                    those.swap_remove(place);
                    false
                }
                None => true,
            });
            missing.map(|line| format!("{sign} {line}")).collect::<Vec<_>>()
        };
        let mut differences = only('-', lines(other), lines(self));
        differences.extend(only('+', lines(self), lines(other)));
        differences
    }
}

struct FaultScenario {
    bot: TestBot,
    wallet: Wallet,
    rain: SimMarket,
    snow: SimMarket,
    candidate: SimMarket,
}

impl FaultScenario {
    async fn new(bot: TestBot) -> Self {
        let (_, wallet) = bot.follow("leader").await;
        let (rain, snow, candidate) = bot.exchange.with(|exchange| {
            let candidate =
                |slug: &str| NewMarket { neg_risk: true, event_slug: "who-wins".to_owned(), ..NewMarket::binary(slug) };
            let markets = (NewMarket::binary("rain"), NewMarket::binary("snow"), candidate("first-wins"));
            let added =
                (exchange.add_market(markets.0), exchange.add_market(markets.1), exchange.add_market(markets.2));
            exchange.add_market(candidate("second-wins"));
            // One market whose facts only the second source has.
            let unknown = format!("/markets?condition_ids={}", added.1.id());
            exchange.fault(Fault::once(Host::Gamma, &unknown, FaultKind::Body("[]".to_owned())).times(Times::Always));
            added
        });
        Self { bot, wallet, rain, snow, candidate }
    }

    fn buys(&self, market: &SimMarket, index: usize, shares: i64, at: Timestamp) {
        let fill = Fill::taker(&self.wallet, market.asset(index).unwrap(), Side::Buy, 500_000, shares).at(at);
        self.bot.exchange.with(|exchange| exchange.push_fill(fill)).unwrap();
    }

    /// A position is copied, and its market resolves while the bot is stopped. Then, under the fault, everything else
    /// comes at once: new markets, sets, a conversion, a redemption, a settlement.
    async fn played(self, kind: Option<FaultKind>) -> Outcome {
        let app = self.bot.start().await;
        let now = || polymarketspy::clock::Clock::System.now();
        self.buys(&self.rain, 0, 2_000_000_000, now());
        self.bot.attempts(2).await;
        app.stop().await;

        let id = |market: &SimMarket| -> MarketId { market.id().clone() };
        self.bot.exchange.with(|exchange| {
            exchange.resolve(&id(&self.rain), &[price(1_000_000), price(0)]);
            exchange.redeem(&self.wallet, &id(&self.rain), false, exchange.now()).unwrap();
            exchange.split(&self.wallet, &id(&self.snow), ShareMicros(900_000_000), exchange.now()).unwrap();
            exchange.merge(&self.wallet, &id(&self.snow), ShareMicros(100_000_000), exchange.now()).unwrap();
        });
        // As if the bot had read the facts again: it does so only every ten minutes.
        let closed = Market { close_time: Some(now()), ..self.rain.facts.clone() };
        self.bot.db.save_market(&closed).await.unwrap();
        let before = now().plus_millis(-5_000);
        self.buys(&self.candidate, 1, 3_000_000_000, before);
        self.bot.exchange.with(|exchange| {
            exchange.convert(&self.wallet, &[id(&self.candidate)], ShareMicros(1_000_000_000), exchange.now()).unwrap();
        });
        self.buys(&self.snow, 1, 1_500_000_000, now());
        let n_routes = kind.as_ref().map_or(0, |_| ROUTES.len());
        self.bot.exchange.with(|exchange| {
            for (host, route) in &ROUTES[..n_routes] {
                let kind = kind.clone().unwrap_or(FaultKind::EmptyBody);
                // A late or odd answer is an answer: the bot does not ask again. And the bot would be right not to wait
                // for a book that takes more than five seconds.
                let times = match kind {
                    FaultKind::Delay(_) | FaultKind::UnknownFields | FaultKind::Hang => 1,
                    FaultKind::TooManyRequests(RetryAfter::Seconds(_) | RetryAfter::Date(_)) => 1,
                    _ => 2,
                };
                exchange.fault(Fault::once(*host, route, kind).times(Times::Next(times)));
            }
        });

        let app = self.bot.start().await;
        // Rain, the candidate, snow, and the three rows of split, merge and conversion.
        self.bot.attempts(2 * 6).await;
        let db = &self.bot.db;
        eventually("all jobs to be done and all settlements", async || {
            let idle = queue::depths(db).await.unwrap().iter().all(|depth| {
                depth.open == 0 || matches!(depth.queue, queue::Queue::PortfolioApply | queue::Queue::Prices)
            });
            let settled = self.entries().await.iter().filter(|entry| entry.1 == "SETTLEMENT").count();
            (idle && settled >= 3).then_some(())
        })
        .await;
        app.stop().await;
        let unasked = self.bot.exchange.with(|exchange| exchange.faults_due());
        assert_eq!(unasked, Vec::<String>::new(), "{kind:?} was not requested on every route");
        assert_eq!(db.count_dead_letters().await.unwrap(), 0, "{kind:?}");
        assert_eq!(audit(db).await.unwrap().problems, Vec::<String>::new(), "{kind:?}");
        let mut decisions: Vec<String> = self.bot.attempts(12).await.iter().map(decided).collect();
        decisions.sort();
        Outcome { entries: self.entries().await, decisions }
    }

    /// Returns the entries of the three portfolios. What the shadow was thought to hold before the first row, and the
    /// cost that a conversion carries over, depend on when positions were read; the holdings and the cash that they sum
    /// up to do not, so these sums are compared (spec 5).
    async fn entries(&self) -> Vec<Entry> {
        let user = self.bot.db.followed_users().await.unwrap()[0].id;
        let portfolios = [PortfolioId::ShadowUser(user), PortfolioId::ExecUser(user), PortfolioId::ExecGlobal];
        let mut entries = Vec::new();
        let (mut held, mut cash) = (BTreeMap::<String, i64>::new(), 0);
        for portfolio in portfolios {
            for placed in self.bot.db.entries_after(portfolio, 0, 1_000).await.unwrap() {
                let entry = placed.entry;
                let asset = entry.asset.map(|asset| asset.to_string());
                if portfolio == portfolios[0] {
                    cash += entry.cash.0;
                    *held.entry(asset.clone().unwrap_or_default()).or_default() += entry.shares.0;
                    if matches!(entry.kind, EntryType::Opening | EntryType::Adjustment | EntryType::Conversion) {
                        continue;
                    }
                }
                let kind = entry.kind.as_str().to_owned();
                entries.push((portfolio.scope().as_str().to_owned(), kind, asset, entry.shares.0, entry.cash.0));
            }
        }
        let sum = |name: &str, asset, shares, cash| ("SHADOW_USER".to_owned(), name.to_owned(), asset, shares, cash);
        entries.extend(held.into_iter().map(|(asset, shares)| sum("HELD", Some(asset), shares, 0)));
        entries.push(sum("CASH", None, 0, cash));
        entries.sort();
        entries
    }
}

fn decided(listed: &polymarketspy::db::ListedAttempt) -> String {
    let attempt = &listed.attempt;
    let key = attempt.group_key.as_str();
    let timeless = key.splitn(4, ':').take(3).collect::<Vec<_>>().join(":");
    let reasons: Vec<&str> = attempt.reasons.iter().map(|reason| reason.as_str()).collect();
    format!("{} {timeless} {} {reasons:?}", attempt.portfolio.scope(), attempt.decision.as_str())
}

async fn matrix(bot: impl Fn() -> LocalBoxFuture<'static, TestBot>) {
    let well = FaultScenario::new(bot().await).await.played(None).await;
    assert!(well.decisions.iter().any(|decision| decision.contains("EXECUTE")), "{:?}", well.decisions);
    let played = kinds().into_iter().map(|kind| async {
        let scenario = FaultScenario::new(bot().await).await;
        (format!("{kind:?}"), scenario.played(Some(kind)).await)
    });
    // A few at a time, because each has a bot and its connections.
    let outcomes: BTreeMap<String, Outcome> = stream::iter(played).buffer_unordered(AT_ONCE).collect().await;
    for (kind, outcome) in outcomes {
        let mut differences = outcome.differences(&well);
        // Without a book for five seconds, for example while the breaker of the CLOB is open, neither portfolio copies.
        // The shadow ledger does not depend on books.
        for asset in outcome.without_book() {
            differences.retain(|line| !line.contains(&asset) || line.contains("SHADOW_USER"));
        }
        assert_eq!(differences, Vec::<String>::new(), "{kind}");
    }
}

mod slow {
    use super::*;

    #[actix::test]
    async fn whatever_fails_for_a_while_the_books_come_to_the_same_on_sqlite() {
        matrix(|| Box::pin(TestBot::with(SimulatorSettings::default()))).await;
    }
}

#[actix::test]
async fn whatever_fails_for_a_while_the_books_come_to_the_same_on_postgres_and_redis() {
    matrix(|| Box::pin(TestBot::shared())).await;
}
