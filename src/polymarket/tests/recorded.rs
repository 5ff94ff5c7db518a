//! Every recorded answer can be parsed.

use std::path::PathBuf;

use serde_json::value::RawValue;

use crate::domain::events::event::{ActivityKind, Side};
use crate::domain::money::ids::{MarketId, Wallet};
use crate::domain::money::units::Timestamp;
use crate::polymarket::api::prices::parse_prices;
use crate::polymarket::api::profiles::{ProfileMatch, parse_profile, parse_search};
use crate::polymarket::api::resolutions::parse_resolutions;
use crate::polymarket::api::status::parse_status;
use crate::polymarket::wire::activity::WireRow;
use crate::polymarket::wire::activity::parse_page;
use crate::polymarket::wire::book_text::parse_book;
use crate::polymarket::wire::draft::Window;
use crate::polymarket::wire::gamma::{GammaMarket, parse_market, parse_markets};
use crate::polymarket::wire::positions::parse_positions;

pub fn fixture(file: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn files(folder: &str) -> Vec<String> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(folder);
    let mut names: Vec<String> = std::fs::read_dir(path)
        .unwrap()
        .map(|entry| format!("{folder}/{}", entry.unwrap().file_name().to_str().unwrap()))
        .collect();
    names.sort();
    names
}

/// Renames the fields of the retired v1 API, which only tests still read.
fn v2_spelling(row: &str) -> String {
    [
        ("proxyWallet", "proxy_wallet"),
        ("conditionId", "condition_id"),
        ("usdcSize", "usdc_size"),
        ("transactionHash", "transaction_hash"),
        ("asset", "token_id"),
        ("outcomeIndex", "outcome_index"),
        ("eventSlug", "event_slug"),
    ]
    .iter()
    .fold(row.to_owned(), |text, (old, new)| text.replace(&format!("\"{old}\":"), &format!("\"{new}\":")))
}

/// Returns the rows of an activity file of either version, with v2's field names.
pub fn activity_rows(file: &str) -> Vec<String> {
    type Rows = Vec<Box<RawValue>>;
    #[derive(serde::Deserialize)]
    struct Page {
        data: Rows,
    }
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "SCREAMING_SNAKE_CASE")]
    struct ByType {
        trade: Rows,
        merge: Rows,
        redeem: Rows,
        reward: Rows,
        maker_rebate: Rows,
        taker_rebate: Rows,
    }
    let text = fixture(file);
    let rows: Rows = if text.starts_with('[') {
        serde_json::from_str(&text).unwrap()
    } else if file.contains("by_type") {
        let kinds: ByType = serde_json::from_str(&text).unwrap();
        let all = [kinds.trade, kinds.merge, kinds.redeem, kinds.reward, kinds.maker_rebate, kinds.taker_rebate];
        all.into_iter().flatten().collect()
    } else {
        serde_json::from_str::<Page>(&text).unwrap().data
    };
    rows.iter().map(|row| v2_spelling(row.get())).collect()
}

/// Returns the rows of a trades file, with the type that they lack.
pub fn trade_rows(file: &str) -> Vec<String> {
    activity_rows(file).into_iter().map(|row| row.replacen('{', "{\"type\":\"TRADE\",", 1)).collect()
}

fn somebody() -> Wallet {
    Wallet::parse(&format!("0x{}", "1".repeat(40))).unwrap()
}

fn market(file: &str) -> GammaMarket {
    parse_market(&fixture(file)).unwrap()
}

#[test]
fn the_pages_of_v2_are_read_with_their_cursors() {
    for file in files("data_v2").iter().filter(|file| file.contains("/activity_") && !file.contains("taker_buys")) {
        let page = parse_page(fixture(file)).unwrap();
        assert!(page.next_cursor.is_some_and(|cursor| cursor.len() > 100), "{file}");
        let window = Window::of(page.rows, &somebody());
        assert_eq!((window.bad.len(), window.trades.is_empty(), window.wallets.len()), (0, false, 1), "{file}");
    }
    let positions = parse_positions(&fixture("data_v2/positions_open_2.json")).unwrap();
    let sizes: Vec<i64> = positions.positions.iter().map(|position| position.shares.0).collect();
    assert_eq!(sizes, [28_090_000, 35_440_000]);
    assert_eq!(positions.positions[0].last_event_at.map(Timestamp::seconds), Some(1_791_292_984));
    assert!(positions.next_cursor.is_some());
}

#[test]
fn the_status_and_the_small_answers_are_read() {
    assert_eq!(parse_status(&fixture("data_v2/status.json")), Ok(4));
    let small: serde_json::Value = serde_json::from_str(&fixture("clob/small_endpoints_2026_09.json")).unwrap();
    let midpoint = &small["GET /midpoint"]["mid"];
    let midpoints = parse_prices(&format!(r#"{{"1":{midpoint}}}"#)).unwrap();
    assert_eq!(midpoints.values().next().unwrap().micros(), 505_000);
}

#[test]
fn every_recorded_row_of_any_kind_is_read() {
    let mut kinds = std::collections::BTreeMap::new();
    for folder in ["data_v1", "data_v2"] {
        for file in files(folder).iter().filter(|file| file.contains("/activity_")) {
            let rows: Vec<_> = activity_rows(file).iter().map(|row| WireRow::parse(row)).collect();
            let n_rows = rows.len();
            let window = Window::of(rows, &somebody());
            assert_eq!(window.bad, [], "{file}");
            assert_eq!(window.trades.len() + window.activities.len(), n_rows, "{file}");
            for activity in &window.activities {
                *kinds.entry(activity.kind.as_str().to_owned()).or_insert(0) += 1;
                let cash = activity.payload.cash_micros.0;
                assert_eq!(activity.payload.share_micros.0, cash, "size is cash in every recorded row");
            }
        }
    }
    let kinds: Vec<(&str, i32)> = kinds.iter().map(|(kind, n)| (kind.as_str(), *n)).collect();
    assert_eq!(kinds, [("MAKER_REBATE", 3), ("MERGE", 2), ("REDEEM", 19), ("REWARD", 6), ("TAKER_REBATE", 3)]);
}

#[test]
fn recorded_redemptions_of_nothing_stay_apart() {
    let rows = activity_rows("data_v1/activity_redeem_15_old_shape.json");
    let window = Window::of(rows.iter().map(|row| WireRow::parse(row)), &somebody());
    let ids: std::collections::BTreeSet<_> = window.activities.iter().map(|draft| draft.event_id()).collect();
    assert_eq!(ids.len(), 15);
    assert!(window.activities.iter().all(|draft| draft.kind == ActivityKind::Redeem));
}

#[test]
fn recorded_books_are_read_best_level_first() {
    let check = |file: &str, bid, ask, n_bids, n_asks| {
        let answer = parse_book(&fixture(file)).unwrap();
        let book = &answer.book;
        assert_eq!((book.best_bid().micros(), book.best_ask().micros()), (bid, ask), "{file}");
        assert_eq!((book.bids().len(), book.asks().len()), (n_bids, n_asks), "{file}");
        assert_eq!(answer.hash.len(), 40, "{file}");
        answer
    };
    let answer = check("clob/book_2026_09_best5.json", 500_000, 510_000, 5, 5);
    assert_eq!((answer.tick.unwrap().micros(), answer.min_shares.unwrap().0), (10_000, 5_000_000));
    assert_eq!(answer.last_trade_price.unwrap().micros(), 490_000);
    assert_eq!(answer.book.side_against(Side::Buy)[0].shares.0, 251_520_000);
    let old = check("clob/book_2024_old_shape.json", 100_000, 140_000, 5, 7);
    assert_eq!((old.tick, old.min_shares), (None, None));
    check("clob_ws/book_2024.json", 511000, 514000, 76, 86);
}

#[test]
fn recorded_markets_are_read_from_gamma() {
    let resolved = market("gamma/market_resolved_2026_09.json");
    assert!(!resolved.market.active && !resolved.market.neg_risk && !resolved.lacks_fee);
    assert_eq!((resolved.market.fee.rate_micros, resolved.market.fee.exponent), (70_000, 1));
    assert_eq!(resolved.market.close_time.unwrap(), Timestamp::parse_iso("2026-09-28T17:45:00Z").unwrap());
    assert_eq!(resolved.market.tick.unwrap().micros(), 1_000);
    assert_eq!(resolved.market.min_shares.unwrap().0, 5_000_000);
    let outcomes: Vec<(&str, i64)> = resolved.market.outcomes.iter().map(|o| (o.outcome.as_str(), o.index)).collect();
    assert_eq!(outcomes, [("Up", 0), ("Down", 1)]);
    assert!(resolved.market.outcomes.iter().all(|outcome| outcome.payout.is_none()), "payouts have another source");

    let open = market("gamma/market_updown_5m_open.json");
    assert!(open.market.active);
    assert!(open.lacks_fee, "fees are on, their schedule is not there: the CLOB must tell");

    let sports = market("gamma/market_sports_moneyline_resolved.json");
    assert_eq!((sports.market.fee.rate_micros, sports.market.active), (30_000, false));

    let closed = market("gamma/market_closed_but_accepting_true.json");
    assert!(!closed.market.active, "closed is closed, whatever it accepts");
    for file in files("gamma").iter().filter(|file| file.contains("/market_")) {
        let found = market(file);
        assert!(!found.market.question.is_empty() && !found.market.slug.is_empty(), "{file}");
        assert_eq!(found.market.outcomes.len(), 2, "{file}");
        let list = format!("[{}]", fixture(file));
        assert_eq!(parse_markets(&list, &found.market.id).unwrap(), Some(found), "{file}");
    }
}

#[test]
fn markets_inside_recorded_events_are_read_one_by_one() {
    #[derive(serde::Deserialize)]
    struct Event {
        markets: Vec<Box<RawValue>>,
    }
    #[derive(serde::Deserialize)]
    struct Search {
        events: Vec<Event>,
    }
    let mut events: Vec<Event> = serde_json::from_str(&fixture("gamma/event_nautilus.json")).unwrap();
    events.push(serde_json::from_str(&fixture("gamma/event_2026_04.json")).unwrap());
    events.extend(serde_json::from_str::<Search>(&fixture("gamma/public_search_events.json")).unwrap().events);
    let markets: Vec<_> = events.iter().flat_map(|event| &event.markets).collect();
    assert!(markets.len() >= 5);
    for raw in markets {
        let found = parse_market(raw.get()).unwrap();
        assert!(!found.market.question.is_empty(), "{raw}");
    }
}

#[test]
fn the_clobs_markets_carry_what_gamma_names_otherwise() {
    for file in files("clob").iter().filter(|file| file.contains("/market_")) {
        let value: serde_json::Value = serde_json::from_str(&fixture(file)).unwrap();
        MarketId::parse(value["condition_id"].as_str().unwrap()).unwrap();
        assert_eq!(value["tokens"].as_array().unwrap().len(), 2, "{file}");
    }
}

#[test]
fn a_recorded_resolution_pays_its_outcomes_in_order() {
    let text = fixture("data_v2/resolutions_resolved.json");
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let market = MarketId::parse(value["data"][0]["condition_id"].as_str().unwrap()).unwrap();
    let resolution = parse_resolutions(&text, &market).unwrap().unwrap();
    assert_eq!(resolution.payouts.iter().map(|payout| payout.micros()).collect::<Vec<_>>(), [1_000_000, 0]);
    assert_eq!(resolution.resolved_at.unwrap().iso(), "2026-09-09T21:19:19.000Z");
    let other = MarketId::parse(&format!("0x{}", "0".repeat(64))).unwrap();
    assert_eq!(parse_resolutions(&text, &other), Ok(None), "another market's payouts are not ours");
}

#[test]
fn profiles_are_found_by_exact_name_and_nulls_are_passed_over() {
    let text = fixture("gamma/public_search_profiles_with_null.json");
    let ProfileMatch::One(profile) = parse_search(&text, " HARBOR ").unwrap() else { panic!("one exact match") };
    assert_eq!(profile.name, "Harbor");
    let ProfileMatch::NoMatch { similar } = parse_search(&text, "harb").unwrap() else { panic!("near is not exact") };
    assert_eq!(similar.len(), 6);
    let twice = text.replace("\"harborcat\"", "\"HARBOR\"");
    assert!(matches!(parse_search(&twice, "Harbor").unwrap(), ProfileMatch::Several(found) if found.len() == 2));
    assert_eq!(
        parse_search(&fixture("gamma/public_search_events.json"), "x").unwrap(),
        ProfileMatch::NoMatch { similar: vec![] }
    );

    let profile = parse_profile(&fixture("gamma/public_profile_2026_09.json"), &somebody()).unwrap();
    assert!(!profile.name.is_empty());
    assert_ne!(profile.wallet, somebody());
}

#[test]
fn an_event_seen_by_every_route_has_one_wallet_and_one_transaction() {
    // The invented names are the same in every file: the maker's row is in two feeds.
    let activity = &activity_rows("data_v2/activity_maker_and_taker_3.json")[0];
    let trade = &trade_rows("data_v2/trades_all_roles_2.json")[0];
    let id = |row: &String| Window::of([WireRow::parse(row)], &somebody()).trades.remove(0).source_id;
    assert_eq!(id(activity), id(trade));
}
