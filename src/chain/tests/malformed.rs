//! Texts of a node with errors in them: no panic, only real fills are read as fills, and the API key is never shown.

use std::collections::BTreeSet;

use alloy_primitives::U256;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::chain::ChainError;
use crate::chain::feed::{ChainNews, Feed};
use crate::chain::order_filled::{ChainFill, WireLog, quantity, seconds, topic};
use crate::chain::socket::without;
use crate::domain::events::event::Side;
use crate::domain::money::ids::Wallet;
use crate::domain::money::units::{PriceMicros, ShareMicros, UsdcMicros};
use crate::testkit::malformed::{mutated_json, noise, number, words};

const SUBSCRIPTION: &str = include_str!("../../../tests/fixtures/chain/subscription.json");
const LOGS: &str = include_str!("../../../tests/fixtures/chain/order_filled.json");

/// Returns a recorded conversation: the texts that a node sent.
fn conversation() -> Vec<String> {
    let recorded: Value = serde_json::from_str(SUBSCRIPTION).unwrap();
    let mut texts: Vec<String> =
        recorded["received"].as_array().unwrap().iter().take(8).map(ToString::to_string).collect();
    texts.push(
        json!({"jsonrpc": "2.0", "id": 3, "result": {"number": "0x5a645e1", "timestamp": "0x6abea746"}}).to_string(),
    );
    texts.push(json!({"jsonrpc": "2.0", "id": 2, "error": {"code": -32000, "message": "no"}}).to_string());
    texts
}

fn is_a_fill(fill: &ChainFill) -> Result<(), TestCaseError> {
    prop_assert!(fill.shares > ShareMicros::ZERO && fill.notional >= UsdcMicros::ZERO && fill.fee >= UsdcMicros::ZERO);
    prop_assert!(fill.price <= PriceMicros::ONE && fill.place.log_index >= 0);
    Ok(())
}

/// A word of ABI data: an amount, or a value that is too large for an amount.
fn word() -> impl Strategy<Value = U256> {
    prop_oneof![
        4 => (0_u64..3).prop_map(U256::from),
        6 => (1_u64..10_000_000_000_000).prop_map(U256::from),
        1 => any::<u64>().prop_map(U256::from),
        1 => Just(U256::from(i64::MAX)),
        1 => Just(U256::from(i64::MAX) + U256::from(1)),
        1 => Just(U256::MAX),
        1 => any::<[u8; 32]>().prop_map(U256::from_be_bytes),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn chain_frames_in_any_order_are_news_or_errors(
        texts in prop::collection::vec(
            prop_oneof![
                3 => prop::sample::select(conversation()),
                6 => mutated_json(conversation()),
                1 => noise(),
            ],
            0..12,
        ),
    ) {
        let wallets: BTreeSet<Wallet> = [Wallet::parse("0xd9d1b59c93188b6972c614f81a09c49d27d22df7").unwrap()].into();
        let mut feed = Feed::new(wallets.iter().cloned().collect());
        let mut sent = feed.open(wallets);
        for text in texts {
            match feed.take(text.as_bytes()) {
                Ok((news, answers)) => {
                    for piece in &news {
                        if let ChainNews::Fill(fill) = piece {
                            is_a_fill(fill)?;
                        }
                    }
                    sent.extend(answers);
                }
                Err(error) => prop_assert!(matches!(error, ChainError::Unreadable(_) | ChainError::Refused { .. }), "{error}"),
            }
        }
        let waits = feed.waits_for_times();
        prop_assert_eq!(!feed.wait_no_longer().is_empty(), waits);
        sent.extend(feed.watch(BTreeSet::new()));
        let ids: Vec<u64> = sent
            .iter()
            .map(|text| serde_json::from_str::<Value>(text).unwrap()["id"].as_u64().unwrap())
            .collect();
        prop_assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "each request has its own number: {ids:?}");
    }

    #[test]
    fn chain_logs_are_fills_or_errors_with_their_place(
        log in mutated_json(serde_json::from_str::<Vec<Value>>(LOGS).unwrap().iter().map(|one| one["log"].to_string()).collect()),
    ) {
        if let Ok(log) = serde_json::from_str::<WireLog>(&log) {
            match log.into_fill() {
                Ok(fill) => is_a_fill(&fill)?,
                Err(error) => prop_assert!(matches!(error, ChainError::BadLog { .. }), "{error}"),
            }
        }
    }

    #[test]
    fn chain_words_become_the_amounts_of_the_fill(
        words in prop::collection::vec(word(), 7),
        owners in prop::collection::vec(any::<[u8; 32]>(), 3),
        is_padded in any::<bool>(),
        cut in 0_usize..500,
    ) {
        let mut data: String = words.iter().map(|word| format!("{word:064x}")).collect();
        data.truncate(data.len().min(cut.max(if cut > 250 { 448 } else { cut })));
        let mut topics = vec![topic()];
        topics.extend(owners.iter().enumerate().map(|(place, bytes)| {
            let zeros = if is_padded && place > 0 { 24 } else { 0 };
            format!("0x{:0>64}", &hex::encode(bytes)[zeros..])
        }));
        let log = json!({
            "address": "0xe2222d279d744050d28e00520010520000310f59", "topics": topics, "data": format!("0x{data}"),
            "blockHash": "0xaa", "blockNumber": "0x1", "transactionHash": "0xbb", "logIndex": "0x7",
        });
        match serde_json::from_value::<WireLog>(log).unwrap().into_fill() {
            Err(error) => prop_assert!(error.to_string().contains("0xbb:0x7"), "{error}"),
            Ok(fill) => {
                is_a_fill(&fill)?;
                prop_assert_eq!(data.len(), 448);
                let amounts = [U256::from(fill.notional.0), U256::from(fill.shares.0)];
                let sent = if fill.side == Side::Buy { [words[2], words[3]] } else { [words[3], words[2]] };
                prop_assert_eq!(amounts, sent);
                prop_assert_eq!(fill.asset.as_str(), words[1].to_string());
                prop_assert_eq!(U256::from(fill.fee.0), words[4]);
            }
        }
    }

    #[test]
    fn chain_quantities_are_numbers_or_errors(text in prop_oneof![number(), words(), "0x[0-9a-fA-F]{0,20}"]) {
        let _ = seconds(&text);
        if let Ok(number) = quantity(&text) {
            prop_assert_eq!(u64::from_str_radix(text.trim_start_matches("0x"), 16), Ok(number));
        }
    }

    #[test]
    fn chain_errors_never_hold_the_key(
        key in "[A-Za-z0-9_\\-]{8,40}",
        form in 0_usize..4,
        before in "\\PC{0,30}",
        after in "\\PC{0,30}",
    ) {
        let url = match form {
            0 => format!("wss://polygon-mainnet.node.com/v2/{key}"),
            1 => format!("ws://127.0.0.1:8545/?apikey={key}"),
            2 => format!("wss://me:{key}@node.com/v2"),
            _ => format!("wss://{key}@node.com"),
        };
        for text in [format!("{before}{key}{after}"), format!("{before}{url}{after}")] {
            let clean = without(&url, &text);
            prop_assert!(!clean.contains(&key), "{clean}");
        }
    }
}
