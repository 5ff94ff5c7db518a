//! Every recorded row through the whole bot, compared with figures that other code computed.
//!
//! Another program in another language computed the table with exact decimals from the same recordings: cash
//! less gross cost and fee of each fill, plus payouts and merged sets; holdings by condition and outcome.

use std::collections::{BTreeMap, BTreeSet};

use polymarketspy::clock::Clock;
use polymarketspy::domain::accounting::ledger::{EntryType, PortfolioId};
use polymarketspy::domain::money::ids::{AssetId, FollowedUserId, MarketId, Wallet};
use polymarketspy::domain::money::units::{PriceMicros, Timestamp};
use polymarketspy::queue::{self, Queue};
use polymarketspy::simulator::recordings;
use polymarketspy::simulator::{SimulatorSettings, first_exchange_recording};
use polymarketspy::testkit::{TestBot, eventually};
use serde_json::Value;

struct Expected {
    wallet: &'static str,
    n_trades: usize,
    cash: i64,
    fees: i64,
    redeemed: i64,
    merged: i64,
    n_held: usize,
    /// Sums over all assets.
    held: i64,
}

#[rustfmt::skip]
const SHADOWS: [Expected; 5] = [
    Expected { wallet: "0x76ffdcfcf8461a89f75b702ba3997fbf0584a867", n_trades: 10, cash: -6_877_528_551, fees: 0, redeemed: 0, merged: 0, n_held: 2, held: 9_184_408_728 },
    Expected { wallet: "0x8f88f6244a89ae74f3b3dd546bc1b561c1f73234", n_trades: 42, cash: 41_054_321_472_277, fees: 31_621_925_350, redeemed: 42_393_094_702_167, merged: 0, n_held: 0, held: 0 },
    Expected { wallet: "0x68921c638685a8f56065276b1587ba9eaf76fbba", n_trades: 3, cash: 190_827_548, fees: 76_160, redeemed: 0, merged: 343_333_334, n_held: 7, held: -472_000_242 },
    Expected { wallet: "0x64549be314006a569d11b7bfd0712e39edd7c008", n_trades: 3, cash: -39_331_500, fees: 331_500, redeemed: 0, merged: 0, n_held: 3, held: -100_000_000 },
    Expected { wallet: "0x87e06489b9edba5fde48fa26783dc3fc55518470", n_trades: 2, cash: -18_891_320, fees: 318_520, redeemed: 0, merged: 0, n_held: 2, held: 30_280_000 },
];

/// The sums of a shadow ledger, by plain addition.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sums {
    n_trades: usize,
    cash: i64,
    fees: i64,
    redeemed: i64,
    merged: i64,
    n_held: usize,
    held: i64,
}

/// Returns every recorded row once: the rows of a transaction are taken from the first recording that has it.
fn rows() -> Vec<Value> {
    let mut first_seen: BTreeMap<(String, String), &str> = BTreeMap::new();
    let mut rows = Vec::new();
    let mut all = recordings();
    all.push(first_exchange_recording());
    for recording in &all {
        for row in &recording.rows {
            let text = |field: &str| row[field].as_str().unwrap_or_default().to_owned();
            let key = (text("proxy_wallet"), text("transaction_hash"));
            if *first_seen.entry(key).or_insert(recording.name) == recording.name {
                rows.push(row.clone());
            }
        }
    }
    rows
}

/// Returns the redeemed markets, each with the token that paid: the one of which the trader held as many shares as the
/// row says that USDC were paid. `None` for a market of which no fill is recorded.
fn paid(rows: &[Value]) -> BTreeMap<MarketId, Option<AssetId>> {
    let text = |row: &Value, field: &str| row[field].as_str().unwrap_or_default().to_owned();
    let mut paid = BTreeMap::new();
    for redeem in rows.iter().filter(|row| text(row, "type") == "REDEEM") {
        let condition = text(redeem, "condition_id");
        let mut held: BTreeMap<String, f64> = BTreeMap::new();
        for row in rows.iter().filter(|row| text(row, "condition_id") == condition) {
            let size = row["size"].as_f64().unwrap_or_default();
            match text(row, "side").as_str() {
                "BUY" => *held.entry(text(row, "token_id")).or_default() += size,
                "SELL" => *held.entry(text(row, "token_id")).or_default() -= size,
                _ => {}
            }
        }
        let cash = redeem["usdc_size"].as_f64().unwrap_or_default();
        let closest = held.into_iter().min_by(|one, other| (one.1 - cash).abs().total_cmp(&(other.1 - cash).abs()));
        let token = closest.map(|(token, _)| AssetId::parse(&token).unwrap());
        let known = paid.entry(MarketId::parse(&condition).unwrap()).or_insert(None);
        if cash > 0.0 || known.is_none() {
            *known = token;
        }
    }
    paid
}

async fn sums(bot: &TestBot, user: FollowedUserId) -> Sums {
    let entries = bot.db.entries_after(PortfolioId::ShadowUser(user), 0, 10_000).await.unwrap();
    let mut sums = Sums::default();
    let mut held: BTreeMap<String, i64> = BTreeMap::new();
    for placed in entries {
        let entry = placed.entry;
        match entry.kind {
            EntryType::TradeFill => sums.n_trades += 1,
            EntryType::Fee => sums.fees -= entry.cash.0,
            EntryType::Settlement => sums.redeemed += entry.cash.0,
            EntryType::Merge => sums.merged += entry.cash.0,
            // What the trader held before the first row is in no row: it counts as held, and its price is not their cash.
            EntryType::Opening | EntryType::Adjustment => sums.cash -= entry.cash.0,
            other => panic!("{other} in a shadow that has none"),
        }
        sums.cash += entry.cash.0;
        if let Some(asset) = entry.asset {
            *held.entry(asset.to_string()).or_default() += entry.shares.0;
        }
    }
    held.retain(|_, shares| *shares != 0);
    (sums.n_held, sums.held) = (held.len(), held.values().sum());
    sums
}

#[actix::test]
async fn a_replay_of_every_recorded_row_gives_the_independently_computed_ledger() {
    let clock = Clock::starting_at(Timestamp::parse_iso("2026-09-30T00:00:00Z").unwrap());
    let bot = TestBot::with(SimulatorSettings { now: clock, ..SimulatorSettings::default() }).await;
    let rows = rows();
    let wallets: BTreeSet<&str> = rows.iter().filter_map(|row| row["proxy_wallet"].as_str()).collect();
    assert_eq!(wallets, SHADOWS.iter().map(|shadow| shadow.wallet).collect(), "no recorded trader is left out");
    let mut users = Vec::new();
    for shadow in &SHADOWS {
        let user = bot.follow_wallet(shadow.wallet, &Wallet::parse(shadow.wallet).unwrap()).await;
        // The first row is of April, as if the bot had been stopped since then.
        for key in ["lastTradeTime", "lastActivityTime"] {
            let since = r#"{"time": "2026-04-01T00:00:00.000Z"}"#;
            bot.db.put_checkpoint(&format!("api:{key}:{user}"), since, clock.now()).await.unwrap();
        }
        users.push(user);
    }
    bot.exchange.with(|exchange| {
        exchange.replay(&rows, None).unwrap();
        for (market, token) in paid(&rows) {
            let outcomes = &exchange.market(&market).unwrap().facts.outcomes;
            let winner =
                token.and_then(|token| outcomes.iter().position(|outcome| outcome.asset == token)).unwrap_or(0);
            let mut payouts = vec![PriceMicros::ZERO; outcomes.len()];
            payouts[winner] = PriceMicros::ONE;
            assert!(exchange.resolve(&market, &payouts), "{market}");
        }
    });

    let app = bot.start_at(clock).await;
    let n_expected: usize = SHADOWS.iter().map(|shadow| shadow.n_trades).sum();
    eventually("every row in the shadow ledgers", async || {
        let depths = queue::depths(&bot.db).await.unwrap();
        let redemptions = queue::peek_open(&bot.db, Queue::PortfolioApply).await.unwrap();
        let idle = depths.iter().all(|depth| depth.queue != Queue::IngestEvents || depth.open == 0)
            && !redemptions.iter().any(|job| job.key.starts_with("redeem:"));
        let n = bot.db.trades_page(&Default::default(), None, 10_000).await.unwrap().rows.len();
        (idle && n == n_expected).then_some(())
    })
    .await;
    app.stop().await;

    for (shadow, user) in SHADOWS.iter().zip(users) {
        let Expected { wallet, n_trades, cash, fees, redeemed, merged, n_held, held } = *shadow;
        assert_eq!(sums(&bot, user).await, Sums { n_trades, cash, fees, redeemed, merged, n_held, held }, "{wallet}");
    }
    let report = polymarketspy::audit::audit(&bot.db).await.unwrap();
    assert_eq!(report.problems, Vec::<String>::new());
}
