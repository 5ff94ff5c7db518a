//! The whole server on a free port, over a database with a little history.

mod auth;
mod config;
mod control;
mod explanation;
mod export;
mod live;
mod malformed;
mod markets;
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
use crate::domain::market::facts::{Market, OutcomeAsset};
use crate::domain::market::fill::LevelFill;
use crate::domain::money::ids::{AssetId, AttemptId, EventId, FollowedUserId, MarketId, Wallet};
use crate::domain::money::units::{Bps, PriceMicros, ShareMicros, Timestamp, UsdcMicros};
use crate::polymarket::{Gate, PolymarketSettings};
use crate::testkit::facts::{executed_attempt, trade_group};

/// What a hostile trader or market would call itself.
const HOSTILE: &str = "<script>alert('x')</script>\"&";

struct World {
    db: Db,
    hub: Addr<LiveHub>,
    web: Option<WebServer>,
    client: Client,
    /// The name and value of a signed-in visitor's cookie.
    cookie: String,
    now: Timestamp,
    _failures: tokio::sync::mpsc::UnboundedReceiver<Failure>,
    _folder: tempfile::TempDir,
}

/// An answer, read to its end.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

/// Where nobody answers.
const NOBODY: &str = "http://127.0.0.1:9";

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

impl World {
    /// Signed in, over an empty database.
    async fn empty() -> Self {
        Self::asking(&PolymarketSettings::new(NOBODY, NOBODY, NOBODY)).await
    }

    /// The same, with a Polymarket to ask.
    async fn asking(polymarket: &PolymarketSettings) -> Self {
        let mut world = Self::behind(&WebSettings::at("127.0.0.1:0".parse().unwrap()), polymarket).await;
        let link = world.web().login_link.clone().unwrap();
        let login = world.get(&link[link.find("/login").unwrap()..]).await;
        assert_eq!(login.status, StatusCode::SEE_OTHER);
        world.cookie = cookie(&login.headers);
        world
    }

    /// Not signed in.
    async fn behind(settings: &WebSettings, polymarket: &PolymarketSettings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::connect(&format!("sqlite:{}", folder.path().join("web.db").display())).await.unwrap();
        db.migrate().await.unwrap();
        let clock = Clock::System;
        let (supervisor, failures) = SupervisorContext::new(clock);
        let hub = LiveHub::start(clock, &supervisor);
        let deps = deps(&db, &hub, supervisor, polymarket);
        let web = http::start(settings, deps).await.unwrap();
        let client = Client::builder().disable_redirects().timeout(Duration::from_secs(10)).finish();
        Self {
            db,
            hub,
            web: Some(web),
            client,
            cookie: String::new(),
            now: clock.now(),
            _failures: failures,
            _folder: folder,
        }
    }

    fn origin(&self) -> String {
        format!("http://{}", self.web().addr)
    }

    /// With nothing but these headers.
    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let method = method.to_ascii_uppercase().parse().unwrap();
        let mut request = self.client.request(method, self.url(path));
        for header in headers {
            request = request.insert_header(*header);
        }
        Answer::read(request.send().await.unwrap()).await
    }

    /// Signed in, with one leader, one market, a trade, a copied and a skipped attempt, and snapshots of two days.
    async fn full() -> Self {
        let world = Self::empty().await;
        let user = world.follow(HOSTILE).await;
        world.db.save_market(&market()).await.unwrap();
        world.record(&[trade(user, 0, world.now)]).await;
        world.attempt(user, 1, DecisionKind::Execute, world.now).await;
        world.attempt(user, 2, DecisionKind::Skip, world.now).await;
        let (yesterday, global) = (world.now.day_start().plus_millis(-60_000), PortfolioId::ExecGlobal);
        let snapshots = [
            snapshot(global, yesterday, 10_500, 500),
            snapshot(global, world.now.bucket(60_000), 10_400, 400),
            snapshot(PortfolioId::ExecUser(user), world.now.bucket(60_000), 9_990, -10),
        ];
        world.db.insert_snapshots(&snapshots, &[], world.now).await.unwrap();
        world
    }

    fn web(&self) -> &WebServer {
        self.web.as_ref().unwrap()
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.web().addr)
    }

    async fn get(&self, path: &str) -> Answer {
        self.get_with(path, &[]).await
    }

    async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = self.client.get(self.url(path)).insert_header(("cookie", self.cookie.as_str()));
        for (name, value) in headers {
            request = request.insert_header((*name, *value));
        }
        Answer::read(request.send().await.unwrap()).await
    }

    /// The proof that stands in the forms of our pages.
    async fn csrf(&self) -> String {
        let page = self.get("/").await;
        let start = page.body.find("name=\"csrf\" value=\"").expect("a form with its proof") + 19;
        page.body[start..].split('"').next().unwrap().to_owned()
    }

    /// Sends a form as a page of ours does; what waits to be said is on the page that follows.
    async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let csrf = self.csrf().await;
        let fields: Vec<(&str, &str)> = [("csrf", csrf.as_str())].into_iter().chain(fields.iter().copied()).collect();
        let origin = format!("http://{}", self.web().addr);
        let request = self.client.post(self.url(path)).insert_header(("cookie", self.cookie.as_str()));
        let sent = request.insert_header(("origin", origin)).send_form(&fields).await.unwrap();
        let answer = Answer::read(sent).await;
        if answer.header("set-cookie").starts_with("polymarketspy") {
            self.cookie = cookie(&answer.headers);
        }
        answer
    }

    /// Sends JSON as a script of ours does.
    async fn post_json(&self, path: &str, body: &serde_json::Value) -> Answer {
        let csrf = self.csrf().await;
        let origin = format!("http://{}", self.web().addr);
        let request = self.client.post(self.url(path)).insert_header(("cookie", self.cookie.as_str()));
        let request = request.insert_header(("origin", origin)).insert_header(("x-csrf-token", csrf));
        Answer::read(request.send_json(body).await.unwrap()).await
    }

    /// As somebody who is not signed in.
    async fn get_as_stranger(&self, path: &str) -> Answer {
        Answer::read(self.client.get(self.url(path)).send().await.unwrap()).await
    }

    async fn follow(&self, label: &str) -> FollowedUserId {
        match self.db.follow(label, &wallet(), "test", self.now).await.unwrap() {
            Inserted::New(user) => user,
            Inserted::Known => panic!("followed twice"),
        }
    }

    async fn record(&self, trades: &[TradeEvent]) {
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

    /// Stores an attempt with its group.
    async fn attempt(&self, user: FollowedUserId, n: u32, decision: DecisionKind, at: Timestamp) -> CopyAttempt {
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

    /// Stores trades and tells the hub, as the poller does.
    async fn trades_come_in(&self, trades: Vec<TradeEvent>) {
        self.record(&trades).await;
        self.announce(trades.into_iter().map(|trade| LiveFact::TradeSeen(Arc::new(trade)))).await;
    }
}

impl Answer {
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

    /// What a reader sees: tags gone, runs of white space as one space.
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

/// `name=value` of the cookie an answer sets.
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

/// Half of the target is filled; a skip has two reasons.
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
        },
        fills: if executes { vec![fill] } else { Vec::new() },
        ..executed_attempt(portfolio, group, at)
    }
}

/// Realized stands for all of the PnL.
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
    }
}
