//! The web server as a browser or a script sees it: each test starts the real server on a free port of the loopback
//! address, over a fresh SQLite database, and talks to it by HTTP.
//!
//! Start with [`TestWeb`]: it holds the server, its database and a signed-in client. [`TestWeb::full`] has a little
//! history, [`TestWeb::empty`] has none. The functions below it make sample values (a market, a trade, an attempt).

mod auth;
mod config;
mod control;
mod explanation;
mod export;
mod live;
mod malformed;
mod markets;
mod openapi;
mod pages;
mod portfolio;
mod status;
mod trades;
mod user;
mod users;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use actix::Addr;
use actix_web::http::{StatusCode, header::HeaderMap};
use awc::Client;

use super::server::http;
use super::server::http::{WebDeps, WebServer};
use crate::actors::live_hub::{Announce, LiveFact, LiveHub};
use crate::actors::supervise::{Failure, SupervisorContext};
use crate::clock::Clock;
use crate::config::{RedisSettings, WebSettings};
use crate::db::Inserted;
use crate::db::{ClosedGroupWrite, Db, LedgerWrite, PollWrite, PortfolioSnapshot};
use crate::domain::accounting::ledger::PortfolioId;
use crate::domain::decision::attempt::CopyAttempt;
use crate::domain::decision::check::ReasonCode;
use crate::domain::decision::explanation::{DecisionKind, Explanation};
use crate::domain::events::event::{Side, TradeEvent};
use crate::domain::events::group::EventGroup;
use crate::domain::market::book_walk::LevelFill;
use crate::domain::market::facts::{Market, OutcomeAsset};
use crate::domain::money::ids::{AssetId, AttemptId, EventId, FollowedUserId, MarketId, Wallet};
use crate::domain::money::units::{Bps, PriceMicros, ShareMicros, Timestamp, UsdcMicros};
use crate::http_client::http_client;
use crate::polymarket::{Gate, PolymarketSettings};
use crate::testkit::facts::{executed_attempt, trade_group};

/// A name that a hostile trader or market could choose.
const HOSTILE: &str = "<script>alert('x')</script>\"&";

/// A running web server for one test, with the database behind it and an HTTP client in front of it.
///
/// Most tests do the same three things: start it ([`TestWeb::full`] or [`TestWeb::empty`]), write rows through
/// [`TestWeb::db`], and read pages with [`TestWeb::get`]. No worker runs; a test that needs live frames sends the facts
/// itself, with [`TestWeb::announce`]. The folder of the database is deleted when the value is dropped.
///
/// ```ignore
/// let web = TestWeb::full().await;
/// assert!(web.get("/trades").await.text().contains("Skipped"));
/// ```
struct TestWeb {
    db: Db,
    hub: Addr<LiveHub>,
    /// `None` after a test has taken the server to stop it.
    server: Option<WebServer>,
    client: Client,
    /// The session cookie as `name=value`; empty when signed out. [`TestWeb::post`] keeps it up to date.
    cookie: String,
    /// When the server started. Rows of the tests are dated by it.
    now: Timestamp,
    _failures: tokio::sync::mpsc::UnboundedReceiver<Failure>,
    _folder: tempfile::TempDir,
    metrics: std::sync::Arc<crate::metrics::Metrics>,
}

/// An HTTP answer, read to its end.
struct TestResponse {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

/// A base URL at which no server listens.
const UNREACHABLE: &str = "http://127.0.0.1:9";

/// Returns settings with which every call to Polymarket fails.
fn no_polymarket() -> PolymarketSettings {
    PolymarketSettings::new(UNREACHABLE, UNREACHABLE, UNREACHABLE)
}

fn deps(db: &Db, hub: &Addr<LiveHub>, supervisor: SupervisorContext, polymarket: &PolymarketSettings) -> WebDeps {
    let (clock, polymarket) = (Clock::System, polymarket.clone());
    let gate = Gate::new(&polymarket.limits, clock);
    let redis = RedisSettings::default();
    WebDeps {
        db: db.clone(),
        redis,
        clock,
        live: hub.clone(),
        supervisor,
        metrics: Default::default(),
        polymarket,
        gate,
    }
}

impl TestWeb {
    /// Starts a server over an empty database and signs in.
    async fn empty() -> Self {
        Self::with_polymarket(&no_polymarket()).await
    }

    /// Does the same, and lets the server ask the Polymarket hosts of `polymarket`, for example the simulator's.
    async fn with_polymarket(polymarket: &PolymarketSettings) -> Self {
        let mut web = Self::signed_out(&WebSettings::at("127.0.0.1:0".parse().unwrap()), polymarket).await;
        let link = web.server().login_link.clone().unwrap();
        let login = web.get(&link[link.find("/login").unwrap()..]).await;
        assert_eq!(login.status, StatusCode::SEE_OTHER);
        web.cookie = cookie(&login.headers);
        web
    }

    /// Starts a server with `settings` over an empty database, without signing in.
    async fn signed_out(settings: &WebSettings, polymarket: &PolymarketSettings) -> Self {
        Self::signed_out_with(settings, polymarket, RedisSettings::default()).await
    }

    /// Does the same, with the sessions of people who sign in with GitHub in `redis`.
    async fn signed_out_with(settings: &WebSettings, polymarket: &PolymarketSettings, redis: RedisSettings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::connect(&format!("sqlite:{}", folder.path().join("web.db").display())).await.unwrap();
        db.migrate().await.unwrap();
        let clock = Clock::System;
        let (supervisor, failures) = SupervisorContext::new(clock);
        let hub = LiveHub::start(clock, &supervisor);
        let deps = WebDeps { redis, ..deps(&db, &hub, supervisor, polymarket) };
        let metrics = deps.metrics.clone();
        let server = http::start(settings, deps).await.unwrap();
        let client = http_client(Duration::from_secs(10));
        Self {
            db,
            hub,
            server: Some(server),
            client,
            cookie: String::new(),
            now: clock.now(),
            metrics,
            _failures: failures,
            _folder: folder,
        }
    }

    fn origin(&self) -> String {
        format!("http://{}", self.server().addr)
    }

    /// Sends a request with these headers only: no cookie, no token.
    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> TestResponse {
        let method = method.to_ascii_uppercase().parse().unwrap();
        let mut request = self.client.request(method, self.url(path));
        for header in headers {
            request = request.insert_header(*header);
        }
        TestResponse::read(request.send().await.unwrap()).await
    }

    /// Starts a server and signs in, over one leader, one market, a trade, a copied and a skipped attempt, and
    /// snapshots of two days.
    async fn full() -> Self {
        let web = Self::empty().await;
        let user = web.follow(HOSTILE).await;
        web.db.save_market(&market()).await.unwrap();
        web.record_trades(&[trade(user, 0, web.now)]).await;
        web.record_attempt(user, 1, DecisionKind::Execute, web.now).await;
        web.record_attempt(user, 2, DecisionKind::Skip, web.now).await;
        let (yesterday, global) = (web.now.day_start().plus_millis(-60_000), PortfolioId::ExecGlobal);
        let snapshots = [
            snapshot(global, yesterday, 10_500, 500),
            snapshot(global, web.now.bucket(60_000), 10_400, 400),
            snapshot(PortfolioId::ExecUser(user), web.now.bucket(60_000), 9_990, -10),
        ];
        web.db.insert_snapshots(&snapshots, &[], web.now).await.unwrap();
        web
    }

    fn server(&self) -> &WebServer {
        self.server.as_ref().unwrap()
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.server().addr)
    }

    async fn get(&self, path: &str) -> TestResponse {
        self.get_with(path, &[]).await
    }

    async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> TestResponse {
        let mut request = self.client.get(self.url(path)).insert_header(("cookie", self.cookie.as_str()));
        for (name, value) in headers {
            request = request.insert_header((*name, *value));
        }
        TestResponse::read(request.send().await.unwrap()).await
    }

    /// Reads the CSRF token out of a form on the overview.
    async fn csrf(&self) -> String {
        let page = self.get("/").await;
        let start = page.body.find("name=\"csrf\" value=\"").expect("a form with its CSRF token") + 19;
        page.body[start..].split('"').next().unwrap().to_owned()
    }

    /// Sends a form as our own page does. The flash message is on the next page that is read.
    async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> TestResponse {
        let csrf = self.csrf().await;
        let fields: Vec<(&str, &str)> = [("csrf", csrf.as_str())].into_iter().chain(fields.iter().copied()).collect();
        let origin = format!("http://{}", self.server().addr);
        let request = self.client.post(self.url(path)).insert_header(("cookie", self.cookie.as_str()));
        let sent = request.insert_header(("origin", origin)).send_form(&fields).await.unwrap();
        let answer = TestResponse::read(sent).await;
        if answer.header("set-cookie").starts_with("polymarketspy") {
            self.cookie = cookie(&answer.headers);
        }
        answer
    }

    /// Sends JSON as the script of our own page does.
    async fn post_json(&self, path: &str, body: &serde_json::Value) -> TestResponse {
        let csrf = self.csrf().await;
        let origin = format!("http://{}", self.server().addr);
        let request = self.client.post(self.url(path)).insert_header(("cookie", self.cookie.as_str()));
        let request = request.insert_header(("origin", origin)).insert_header(("x-csrf-token", csrf));
        TestResponse::read(request.send_json(body).await.unwrap()).await
    }

    /// Reads a page without a session.
    async fn get_signed_out(&self, path: &str) -> TestResponse {
        TestResponse::read(self.client.get(self.url(path)).send().await.unwrap()).await
    }

    async fn follow(&self, label: &str) -> FollowedUserId {
        match self.db.follow(label, &wallet(), "test", self.now).await.unwrap() {
            Inserted::New(user) => user,
            Inserted::Known => panic!("followed twice"),
        }
    }

    async fn record_trades(&self, trades: &[TradeEvent]) {
        let poll = PollWrite {
            user: trades[0].followed_user,
            fence: None,
            trades: trades.to_vec(),
            activities: Vec::new(),
            dead: Vec::new(),
            new_wallets: Vec::new(),
            checkpoints: Vec::new(),
            now: self.now,
        };
        self.db.record_poll(poll).await.unwrap();
    }

    /// Stores attempt `n` of the global portfolio with its group.
    async fn record_attempt(&self, user: FollowedUserId, n: u32, decision: DecisionKind, at: Timestamp) -> CopyAttempt {
        let group = group(user, n, at);
        let write = ClosedGroupWrite { group: group.clone(), members: Vec::new(), finishes: Vec::new(), copy_due: at };
        let _ = self.db.close_groups(&[write], at).await.unwrap();
        let attempt = attempt(&group, decision, at);
        let write = LedgerWrite { attempt: Some(attempt.clone()), ..LedgerWrite::default() };
        self.db.commit(&[write], at).await.unwrap();
        attempt
    }

    async fn announce(&self, facts: impl IntoIterator<Item = LiveFact>) {
        self.hub.send(Announce(facts.into_iter().collect())).await.unwrap();
    }

    /// Stores trades and announces them to the live hub, as the poller does.
    async fn record_and_announce(&self, trades: Vec<TradeEvent>) {
        self.record_trades(&trades).await;
        self.announce(trades.into_iter().map(|trade| LiveFact::TradeSeen(Arc::new(trade)))).await;
    }
}

impl TestResponse {
    async fn read<S>(mut response: awc::ClientResponse<S>) -> Self
    where
        S: futures_util::Stream<Item = Result<bytes::Bytes, awc::error::PayloadError>>,
    {
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.body().limit(4 << 20).await.unwrap();
        Self { status, headers, body: String::from_utf8_lossy(&body).into_owned() }
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// Returns the text that a reader sees: without tags, and with one space for each run of white space.
    fn text(&self) -> String {
        let mut text = String::new();
        let mut in_tag = false;
        for c in self.body.chars() {
            match c {
                '<' => in_tag = true,
                '>' => {
                    in_tag = false;
                    text.push(' ');
                }
                c if !in_tag => text.push(c),
                _ => {}
            }
        }
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

/// Returns `name=value` of the cookie that an answer sets.
fn cookie(headers: &HeaderMap) -> String {
    let header = headers.get("set-cookie").expect("a session cookie").to_str().unwrap();
    header.split(';').next().unwrap().to_owned()
}

fn wallet() -> Wallet {
    Wallet::parse("0x1111111111111111111111111111111111111111").unwrap()
}

fn market_id() -> MarketId {
    MarketId::parse(&format!("0x{}", "ab".repeat(32))).unwrap()
}

fn asset() -> AssetId {
    AssetId::parse("71640000").unwrap()
}

fn market() -> Market {
    Market {
        question: format!("Will it rain? {HOSTILE}"),
        slug: "will-it-rain/../\"onmouseover".to_owned(),
        outcomes: vec![OutcomeAsset { asset: asset(), outcome: "Yes <i>".to_owned(), index: 0, payout: None }],
        ..Market::unknown(market_id())
    }
}

fn trade(user: FollowedUserId, n: u32, detected: Timestamp) -> TradeEvent {
    let source_id = format!("fill {n}");
    TradeEvent {
        id: EventId::of("DATA_API", &source_id),
        source_id,
        tx_hash: format!("0x{n:064x}"),
        profile_wallet: wallet(),
        proxy_wallet: None,
        followed_user: user,
        market: market_id(),
        asset: asset(),
        side: Side::Sell,
        price: PriceMicros::new(523_700).unwrap(),
        shares: ShareMicros(2_345_670_000),
        notional: UsdcMicros(1_228_427_379),
        fee: Some(UsdcMicros(120_000)),
        event_time: Timestamp::from_millis(detected.seconds() * 1000 - 12_000),
        detect_time: detected,
    }
}

fn group(user: FollowedUserId, n: u32, at: Timestamp) -> EventGroup {
    let key = format!("{user}:{}:BUY:{n}", asset());
    EventGroup {
        notional: UsdcMicros(2_500_000_000),
        shares: ShareMicros(5_000_000_000),
        ..trade_group(&key, user, market_id(), asset(), Side::Buy, at)
    }
}

/// Returns an attempt of the global portfolio: a copy fills half of its target, a skip has two reasons.
fn attempt(group: &EventGroup, decision: DecisionKind, at: Timestamp) -> CopyAttempt {
    let (portfolio, price) = (PortfolioId::ExecGlobal, PriceMicros::new(507_500).unwrap());
    let executes = decision == DecisionKind::Execute;
    let fill = LevelFill { price, shares: ShareMicros(24_630_541), notional: UsdcMicros(12_500_000) };
    CopyAttempt {
        decision,
        reasons: if executes { vec![] } else { vec![ReasonCode::SpreadTooWide, ReasonCode::InsufficientDepth] },
        target_notional: UsdcMicros(25_000_000),
        filled_notional: if executes { fill.notional } else { UsdcMicros::ZERO },
        filled_shares: if executes { fill.shares } else { ShareMicros::ZERO },
        vwap: executes.then_some(price),
        filled_ratio: if executes { Bps(5_000) } else { Bps(0) },
        mid_at_decision: None,
        config_version: "0123456789abcdef".to_owned(),
        explanation: Explanation {
            decided_at: at,
            checks: Vec::new(),
            raw_notional_micros: None,
            cap_notional_micros: None,
            best_bid_micros: None,
            best_ask_micros: None,
            mid_micros: None,
            limit_price_micros: None,
            target_share_micros: None,
            fee_micros: 0,
            ..Explanation::default()
        },
        fills: if executes { vec![fill] } else { Vec::new() },
        ..executed_attempt(portfolio, group, at)
    }
}

/// Returns a snapshot whose PnL is all realized. `equity` and `pnl` are whole USDC.
fn snapshot(portfolio: PortfolioId, bucket_time: Timestamp, equity: i64, pnl: i64) -> PortfolioSnapshot {
    let usdc = |whole: i64| UsdcMicros(whole * 1_000_000);
    PortfolioSnapshot {
        portfolio,
        bucket_time,
        equity: usdc(equity),
        cash: usdc(equity - 1_300),
        exposure: usdc(1_300),
        unrealized_pnl: UsdcMicros::ZERO,
        realized_pnl: usdc(pnl),
        if_sold_now: None,
        stale_assets: 0,
    }
}
