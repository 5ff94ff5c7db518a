//! Recorded answers with errors in them: no panic, and every accepted answer is valid.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::Value;

use super::recorded::fixture;
use crate::domain::events::event::Side;
use crate::domain::market::book::{Level, OrderBook};
use crate::domain::market::book_walk::{depth_within, walk_buy, walk_sell};
use crate::domain::market::facts::{FeeSchedule, OutcomeAsset};
use crate::domain::market::fee::taker_fee;
use crate::domain::market::payout::ResolutionStage;
use crate::domain::money::ids::{FollowedUserId, MarketId, Wallet};
use crate::domain::money::units::{PriceMicros, ShareMicros, Timestamp, UsdcMicros};
use crate::polymarket::api::events::{event_of, event_slug};
use crate::polymarket::api::markets::{parse_compact_market, parse_market_by_token};
use crate::polymarket::api::prices::parse_prices;
use crate::polymarket::api::profiles::{parse_profile, parse_search};
use crate::polymarket::api::resolutions::parse_resolutions;
use crate::polymarket::api::status::parse_status;
use crate::polymarket::http::client::query_text;
use crate::polymarket::wire::activity::parse_page;
use crate::polymarket::wire::book_scan::quick;
use crate::polymarket::wire::book_text::{general, parse_book};
use crate::polymarket::wire::draft::Window;
use crate::polymarket::wire::gamma::{GammaMarket, parse_market, parse_markets};
use crate::polymarket::wire::positions::parse_positions;
use crate::testkit::malformed::{mutated_json, noise};

fn wallet() -> Wallet {
    Wallet::parse(&format!("0x{}", "2".repeat(40))).unwrap()
}

fn market() -> MarketId {
    MarketId::parse(&format!("0x{}", "3".repeat(64))).unwrap()
}

/// Mutated files, and sometimes noise.
fn sent(files: &[&str]) -> impl Strategy<Value = String> + use<> {
    sent_texts(files.iter().map(|file| fixture(file)).collect())
}

fn sent_texts(samples: Vec<String>) -> impl Strategy<Value = String> {
    prop_oneof![12 => mutated_json(samples), 1 => noise()]
}

fn pages() -> impl Strategy<Value = String> {
    let feeds = ["data_v2/activity_maker_and_taker_3.json", "data_v2/activity_unenriched_row_2.json"];
    let by_type = fixture("data_v1/activity_by_type_2026_09.json")
        .replace("proxyWallet", "proxy_wallet")
        .replace("conditionId", "condition_id")
        .replace("usdcSize", "usdc_size")
        .replace("transactionHash", "transaction_hash")
        .replace("\"asset\"", "\"token_id\"");
    let by_type: serde_json::Map<String, Value> = serde_json::from_str(&by_type).unwrap();
    let types = by_type.into_iter().filter_map(|(_, rows)| {
        let rows: Vec<Value> = rows.as_array()?.iter().take(2).cloned().collect();
        Some(serde_json::json!({"data": rows, "pagination": {"has_more": true, "next_cursor": "a+/="}}).to_string())
    });
    sent_texts(feeds.iter().map(|file| fixture(file)).chain(types).collect())
}

/// Rows of one transaction whose numbers are close to those of a fill and its fee. Most numbers are small, because every
/// rounding shows in them. Some rows differ only in fields that are not part of the key.
fn nearly_fills() -> impl Strategy<Value = String> {
    let apart = prop_oneof![-3_i64..12, -30_i64..60];
    let row = ("(0|[1-9][0-9]?)(\\.[0-9]{1,6})?", "0\\.0{0,6}[0-9]{1,4}", apart, any::<bool>(), 0_usize..4);
    prop::collection::vec(row, 1..4).prop_map(|rows| {
        let rows = rows.into_iter().flat_map(|(size, price, apart, buys, twins)| {
            let gross = size.parse::<f64>().unwrap() * price.parse::<f64>().unwrap();
            let (side, cash) = (if buys { "BUY" } else { "SELL" }, (gross * 1e6).round() as i64 + apart);
            (0..=twins).map(move |twin| {
                format!(
                    r#"{{"proxy_wallet":"{}","timestamp":1790620238,"condition_id":"{}","transaction_hash":"0xaa",
                    "type":"TRADE","token_id":"84","side":"{side}","size":{size},"price":{price},"usdc_size":{cash}e-6,
                    "is_combo":{}}}"#,
                    wallet(),
                    market(),
                    twin == 2,
                )
            })
        });
        format!(r#"{{"data":[{}],"pagination":{{}}}}"#, rows.collect::<Vec<_>>().join(","))
    })
}

/// Checks what the ledger and the constraints of the database rely on.
fn keeps_its_promises(window: &Window) -> Result<(), TestCaseError> {
    for trade in &window.trades {
        prop_assert!(trade.shares.0 > 0 && trade.notional.0 >= 0, "{trade:?}");
        prop_assert!(trade.fee.is_none_or(|fee| fee.0 >= 0), "{trade:?}");
        prop_assert!(trade.event_time.millis() > 0 && !trade.tx_hash.is_empty(), "{trade:?}");
    }
    for activity in &window.activities {
        prop_assert!(activity.payload.share_micros.0 >= 0 && activity.payload.cash_micros.0 >= 0, "{activity:?}");
    }
    for bad in &window.bad {
        prop_assert!(!bad.reason.is_empty() && !bad.text.is_empty());
    }
    let ids = window.trades.iter().map(|trade| &trade.source_id);
    let ids: Vec<&String> = ids.chain(window.activities.iter().map(|activity| &activity.source_id)).collect();
    prop_assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
    Ok(())
}

fn ids(window: &Window) -> BTreeSet<String> {
    let trades = window.trades.iter().map(|trade| trade.source_id.clone());
    trades.chain(window.activities.iter().map(|activity| activity.source_id.clone())).collect()
}

fn is_a_side(levels: &[Level], better: fn(&PriceMicros, &PriceMicros) -> bool) -> bool {
    levels.iter().all(|level| level.shares.0 > 0)
        && levels.windows(2).all(|pair| better(&pair[0].price, &pair[1].price))
}

/// Checks that walks of any size spend no more than allowed and no more than the book holds.
fn can_be_walked(book: &OrderBook) -> Result<(), TestCaseError> {
    for target in [0, 1, 1_000_000, 7_500_000_000, i64::MAX] {
        if let Ok(walk) = walk_buy(book, UsdcMicros(target), PriceMicros::ONE) {
            prop_assert!(walk.notional.0 <= target);
            prop_assert!(walk.vwap().is_ok());
        }
        if let Ok(walk) = walk_sell(book, ShareMicros(target), PriceMicros::ZERO) {
            prop_assert!(walk.shares.0 <= target);
            prop_assert!(walk.vwap().is_ok());
        }
    }
    for side in [Side::Buy, Side::Sell] {
        let _ = depth_within(book, side, book.best_against(side));
    }
    prop_assert!(book.mid() <= PriceMicros::ONE && book.spread() <= PriceMicros::ONE);
    Ok(())
}

fn is_a_schedule(fee: FeeSchedule) -> Result<(), TestCaseError> {
    prop_assert!((0..=1_000_000).contains(&fee.rate_micros), "{fee:?}");
    let most = taker_fee(ShareMicros(1_000_000_000_000), PriceMicros::new(500_000).unwrap(), fee);
    prop_assert!(most.is_ok_and(|fee| (0..=1_000_000_000_000).contains(&fee.0)), "{fee:?}");
    Ok(())
}

/// Checks that outcomes are in the order of their indexes, each asset once: an asset with two indexes would have two payouts.
fn are_outcomes(outcomes: &[OutcomeAsset]) -> Result<(), TestCaseError> {
    prop_assert!(outcomes.iter().zip(0..).all(|(outcome, index)| outcome.index == index), "{outcomes:?}");
    let assets: BTreeSet<_> = outcomes.iter().map(|outcome| &outcome.asset).collect();
    prop_assert_eq!(assets.len(), outcomes.len(), "{:?}", outcomes);
    Ok(())
}

fn is_a_market(found: &GammaMarket) -> Result<(), TestCaseError> {
    let facts = &found.market;
    is_a_schedule(facts.fee)?;
    are_outcomes(&facts.outcomes)?;
    prop_assert!(facts.min_shares.is_none_or(|shares| shares.0 >= 0), "{:?}", facts.min_shares);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn data_rows_are_drafts_or_bad(text in prop_oneof![2 => pages(), 1 => nearly_fills()], rate in 0_i64..1_000_001, exponent in any::<u32>()) {
        if let Ok(page) = parse_page(text.as_str()) {
            if let Some(cursor) = &page.next_cursor {
                prop_assert!(!cursor.is_empty());
                prop_assert!(query_text(cursor).bytes().all(|byte| byte.is_ascii_graphic() && byte != b'&'));
            }
            let n_rows = page.rows.len();
            let backward: Vec<_> = page.rows.iter().rev().cloned().collect();
            let window = Window::of(page.rows, &wallet());
            prop_assert_eq!(window.trades.len() + window.activities.len() + window.bad.len(), n_rows);
            keeps_its_promises(&window)?;

            let other_way = Window::of(backward, &wallet());
            prop_assert_eq!(&window.trades, &other_way.trades);
            prop_assert_eq!(&window.activities, &other_way.activities);

            // When the window is read again with all of it stored, no event is new.
            let (user, now) = (FollowedUserId(1), Timestamp::from_millis(1_790_000_000_000));
            let trades: Vec<_> =
                window.trades.iter().map(|trade| trade.clone().into_event(user, wallet(), now)).collect();
            let activities: Vec<_> =
                window.activities.iter().map(|draft| draft.clone().into_event(user, wallet(), now)).collect();
            let mut again = other_way;
            let _ = again.repeated();
            again.keep_ordinals(&trades, &activities);
            prop_assert_eq!(ids(&again), ids(&window));

            let schedule = FeeSchedule { rate_micros: rate, exponent };
            for trade in &mut again.trades {
                *trade = trade.clone().with_schedule(schedule);
            }
            keeps_its_promises(&again)?;
        }
    }

    #[test]
    fn data_positions_and_ends_are_whole_or_refused(
        positions in sent(&["data_v2/positions_open_2.json"]),
        resolutions in sent(&["data_v2/resolutions_resolved.json"]),
        status in sent(&["data_v2/status.json"]),
    ) {
        match parse_positions(&positions) {
            Ok(page) => {
                prop_assert!(page.positions.iter().all(|position| position.shares.0 >= 0), "{page:?}");
                prop_assert!(page.next_cursor.is_none_or(|cursor| !cursor.is_empty()));
            }
            Err(reason) => prop_assert!(!reason.is_empty()),
        }
        let id: Value = serde_json::from_str(&fixture("data_v2/resolutions_resolved.json")).unwrap();
        let id = MarketId::parse(id["data"][0]["condition_id"].as_str().unwrap()).unwrap();
        match parse_resolutions(&resolutions, &id) {
            Ok(Some(resolution)) => {
                prop_assert!(resolution.payouts.is_empty() || resolution.stage == ResolutionStage::Resolved);
            }
            Ok(None) => {}
            Err(reason) => prop_assert!(!reason.is_empty()),
        }
        let _ = parse_status(&status);
    }

    #[test]
    fn clob_books_are_in_order_or_refused(
        text in sent(&["clob/book_2026_09_best5.json", "clob/book_2024_old_shape.json"]),
    ) {
        if let Some(parts) = quick(&text) {
            prop_assert_eq!(Ok(parts), general(&text));
        }
        if let Ok(answer) = parse_book(&text) {
            prop_assert!(is_a_side(answer.book.bids(), |better, worse| better > worse));
            prop_assert!(is_a_side(answer.book.asks(), |better, worse| better < worse));
            prop_assert!(answer.hash.len() <= 512);
            prop_assert!(answer.min_shares.is_none_or(|shares| shares.0 >= 0), "{:?}", answer.min_shares);
            can_be_walked(&answer.book)?;
        }
    }

    #[test]
    fn clob_prices_and_markets_are_in_range_or_refused(
        midpoints in sent_texts(vec![r#"{"1":"0.505","2":0.5,"33":"1","4":"0"}"#.to_owned()]),
        compact in sent_texts(vec![
            r#"{"t":[{"t":"1","o":"Yes"},{"t":"2","o":"No"}],"mts":0.01,"mos":5,"nr":true,"fd":{"r":0.07,"e":1,"to":true}}"#
                .to_owned(),
        ]),
        by_token in sent_texts(vec![format!(r#"{{"condition_id":"{}","primary_token_id":"1"}}"#, market())]),
    ) {
        if let Ok(found) = parse_prices(&midpoints) {
            prop_assert!(found.values().all(|price| *price <= PriceMicros::ONE));
        }
        if let Ok(found) = parse_compact_market(&compact) {
            is_a_schedule(found.fee)?;
            are_outcomes(&found.outcomes)?;
            prop_assert!(found.min_shares.is_none_or(|shares| shares.0 >= 0), "{:?}", found.min_shares);
        }
        let _ = parse_market_by_token(&by_token);
    }

    #[test]
    fn gamma_markets_are_facts_or_refused(
        text in sent(&[
            "gamma/market_open_2026_04.json",
            "gamma/market_resolved_2026_09.json",
            "gamma/market_updown_5m_open.json",
            "gamma/market_closed_nonbinary_legacy.json",
        ]),
        profile in sent(&["gamma/public_profile_2026_09.json"]),
        search in sent(&["gamma/public_search_profiles_with_null.json"]),
    ) {
        if let Ok(found) = parse_market(&text) {
            is_a_market(&found)?;
            let id = found.market.id.clone();
            let list = format!("[{text},{{}}]");
            prop_assert_eq!(parse_markets(&list, &id), Ok(Some(found)));
            let _ = event_slug(&list, &id);
        }
        if let Ok(event) = event_of(&format!(r#"{{"slug":"x","markets":[{text}]}}"#)) {
            prop_assert!(event.markets.iter().all(|market| !market.id.as_str().is_empty()));
        }
        let _ = parse_profile(&profile, &wallet());
        let _ = parse_search(&search, "x");
    }
}
