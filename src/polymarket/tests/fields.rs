//! Compares the fields of all recordings with those of our types, in both directions.
//!
//! Each field of a recording is read, or listed below with the reason why not. Each field that we read is in a recording,
//! or listed with the reason why not. A reason that is no longer needed fails the test.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::path::Path;

use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde_json::Value;

use super::recorded::fixture;
use crate::polymarket::api::profiles::RawProfile;
use crate::polymarket::api::{resolutions, status, tokens};
use crate::polymarket::wire::activity::RawRow;
use crate::polymarket::wire::book_text::{RawBook, RawLevel};
use crate::polymarket::wire::gamma::{RawMarket, RawSchedule};
use crate::polymarket::wire::gamma_result::RawResult;
use crate::polymarket::wire::positions::RawPosition;

/// Fields with the reason that they share.
type Reason = (&'static str, &'static [&'static str]);

/// A kind of object in recordings, and the fields that we read of it.
struct Shape {
    files: &'static [&'static str],
    /// Where the objects are: names, and `*` for each element of an array.
    path: &'static [&'static str],
    read: Vec<&'static str>,
    unread: &'static [Reason],
    unrecorded: &'static [Reason],
}

const NAMES: &str = "names, pictures and texts: they may change at any time and nothing depends on them";
const LATER: &str = "known by token and condition, which do not change after the first sight of a row";
const COMPUTED: &str = "the ledger computes its own result, from fills";
const STATISTICS: &str = "statistics of the venue that decide nothing here";
const LEGACY: &str = "constants of an older exchange or of its operation";

fn shapes() -> Vec<Shape> {
    vec![
        Shape {
            files: &[
                "data_v2/activity_maker_and_taker_3.json",
                "data_v2/activity_unenriched_row_2.json",
                "data_v2/activity_taker_buys_vwap_fee_2026_09.json",
                "data_v2/trades_all_roles_2.json",
                "data_v2/trades_bare_feed_2.json",
            ],
            path: &["data", "*"],
            read: fields_of::<RawRow<'_>>(),
            unread: &[
                (NAMES, &["title", "icon", "name", "pseudonym", "bio", "profile_image", "profile_image_optimized"]),
                (LATER, &["slug", "event_slug", "outcome", "outcome_index"]),
            ],
            unrecorded: &[],
        },
        Shape {
            files: &[
                "data_v2/positions_open_2.json",
                "data_v2/positions_closed_2026_10.json",
                "data_v2/positions_mergeable_pair_2026_09.json",
            ],
            path: &["data", "*"],
            read: fields_of::<RawPosition<'_>>(),
            unread: &[
                (NAMES, &["title", "slug", "icon", "event_slug", "outcome", "opposite_outcome", "name"]),
                (NAMES, &["profile_image", "verified", "archived"]),
                (COMPUTED, &["entry_cost_usdc", "entry_fees_usdc", "total_cost_usdc", "current_value", "total_size"]),
                (COMPUTED, &["realized_pnl", "unrealized_pnl", "total_pnl", "percent_pnl", "percent_realized_pnl"]),
                ("the wallet is the one of the request", &["proxy_wallet"]),
                ("the request names the status, and the other fields say the same", &["status", "mergeable"]),
                ("the market's facts have them", &["event_id", "end_date"]),
                ("only the newest event orders positions and rows", &["first_entry_at"]),
            ],
            unrecorded: &[],
        },
        Shape {
            files: &["data_v2/tokens_2026_10_18.json"],
            path: &["data", "*"],
            read: fields_of::<tokens::Row<'_>>(),
            unread: &[
                (NAMES, &["title", "market_slug", "event_id", "event_slug"]),
                ("module, condition and outcome tell tokens apart", &["structural_condition_id"]),
            ],
            unrecorded: &[],
        },
        Shape {
            files: &[
                "data_v2/resolutions_pending_2026_09_29.json",
                "data_v2/resolutions_resolved.json",
                "data_v2/resolutions_resolved_native_2026_09.json",
            ],
            path: &["data", "*"],
            read: fields_of::<resolutions::Row>(),
            unread: &[
                (
                    "a price of the oracle is no payout, proposed or not: the status decides, and other sources pay",
                    &[
                        "proposed_price",
                        "reproposed_price",
                        "price",
                        "settlement_time_basis",
                        "expected_settlement_time",
                    ],
                ),
                (
                    "how it came to the status",
                    &["extended_review", "was_disputed", "was_arbitrated", "new_version_q", "resolution_source"],
                ),
                ("where it stands on the chain", &["question_id", "transaction_hash", "log_index", "resolved_block"]),
            ],
            unrecorded: &[],
        },
        Shape {
            files: &["data_v2/status.json"],
            path: &["data", "serving"],
            read: fields_of::<status::Serving>(),
            unread: &[("the worst of them is the lag", &["worst", "mechanisms"])],
            unrecorded: &[],
        },
        gamma_market(),
        Shape {
            files: &["gamma/market_resolved_2026_09.json", "gamma/market_sports_moneyline_resolved.json"],
            path: &["feeSchedule"],
            read: fields_of::<RawSchedule<'_>>(),
            unread: &[("takers only pay, and what makers get back is not ours", &["takerOnly", "rebateRate"])],
            unrecorded: &[],
        },
        Shape {
            files: &["clob/book_2026_09_best5.json", "clob/book_2024_old_shape.json", "clob_ws/book_2024.json"],
            path: &[],
            read: fields_of::<RawBook<'_>>(),
            unread: &[
                ("known by the token", &["market", "neg_risk"]),
                ("the websocket's name of the frame", &["event_type"]),
            ],
            unrecorded: &[],
        },
        Shape {
            files: &["clob/book_2026_09_best5.json", "clob/book_2024_old_shape.json"],
            path: &["bids", "*"],
            read: fields_of::<RawLevel<'_>>(),
            unread: &[],
            unrecorded: &[],
        },
        clob_market(),
        Shape {
            files: &["gamma/public_search_profiles_with_null.json"],
            path: &["profiles", "*"],
            read: fields_of::<RawProfile>(),
            unread: &[(NAMES, &["displayUsernamePublic", "profileImage"])],
            unrecorded: &[],
        },
        Shape {
            files: &["gamma/public_profile_2026_09.json"],
            path: &[],
            read: fields_of::<RawProfile>(),
            unread: &[
                (NAMES, &["$schema", "createdAt", "displayUsernamePublic", "verifiedBadge", "users"]),
                (STATISTICS, &["takerTier", "takerTierName", "weightedVolume"]),
            ],
            unrecorded: &[],
        },
    ]
}

fn gamma_market() -> Shape {
    let mut read = fields_of::<RawMarket<'_>>();
    read.extend(fields_of::<RawResult<'_>>());
    Shape {
        files: &[
            "gamma/market_closed_accepting_false.json",
            "gamma/market_closed_but_accepting_true.json",
            "gamma/market_closed_nonbinary_legacy.json",
            "gamma/market_closed_zero_zero_legacy.json",
            "gamma/market_open_2026_04.json",
            "gamma/market_resolved_2026_09.json",
            "gamma/market_sports_moneyline_resolved.json",
            "gamma/market_updown_5m_open.json",
        ],
        path: &[],
        read,
        unread: &[
            (NAMES, &["description", "icon", "image", "twitterCardImage", "groupItemTitle", "groupItemThreshold"]),
            (NAMES, &["category", "marketType", "sportsMarketType", "seriesColor", "showGmpOutcome", "showGmpSeries"]),
            (NAMES, &["featured", "new", "competitive", "gameId", "mailchimpTag", "lowerBound", "upperBound"]),
            ("the condition id names the market", &["id", "questionID", "negRiskRequestID"]),
            ("the tokens route names the questions of an event", &["negRiskOther"]),
            ("the real deadline is `endDate`", &["endDateIso", "umaEndDate", "closedTime"]),
            ("a start is no end", &["startDate", "startDateIso", "eventStartTime", "gameStartTime"]),
            ("a start is no end", &["acceptingOrdersTimestamp", "deployingTimestamp", "createdAt", "updatedAt"]),
            ("prices come from the book", &["bestBid", "bestAsk", "spread", "lastTradePrice"]),
            ("prices come from the book", &["oneHourPriceChange", "oneDayPriceChange", "oneWeekPriceChange"]),
            ("prices come from the book", &["oneMonthPriceChange", "oneYearPriceChange"]),
            (STATISTICS, &["volume", "volumeNum", "volumeClob", "volume24hr", "volume24hrClob", "volume1wk"]),
            (STATISTICS, &["volume1wkAmm", "volume1wkClob", "volume1mo", "volume1moAmm", "volume1moClob"]),
            (STATISTICS, &["volume1yr", "volume1yrAmm", "volume1yrClob", "liquidity", "liquidityNum", "liquidityClob"]),
            (
                "the schedule says it in figures",
                &["feeType", "makerBaseFee", "takerBaseFee", "makerRebatesFeeShareBps"],
            ),
            ("how it was resolved is no payout", &["resolvedBy", "resolutionSource", "automaticallyResolved"]),
            ("how it was resolved is no payout", &["umaBond", "umaReward", "umaResolutionStatuses", "customLiveness"]),
            ("rewards of makers", &["clobRewards", "rewardsMinSize", "rewardsMaxSpread", "holdingRewardsEnabled"]),
            (LEGACY, &["marketMakerAddress", "fpmmLive", "funded", "ready", "approved", "restricted", "archived"]),
            (LEGACY, &["enableOrderBook", "automaticallyActive", "manualActivation", "clearBookOnStart", "cyom"]),
            (LEGACY, &["pendingDeployment", "deploying", "rfqEnabled", "readyForCron", "hasReviewedDates"]),
            (LEGACY, &["pagerDutyNotificationEnabled", "requiresTranslation", "creator", "submitted_by", "updatedBy"]),
            ("a leg of combos is an ordinary market", &["comboStatus"]),
        ],
        unrecorded: &[
            ("Protocol V2 only; the recorded market of October 2026 is not ours to keep", &["positionIds"]),
            ("Protocol V2 only; the recorded market of October 2026 is not ours to keep", &["resolutionStatus"]),
            ("printed when the request asks for tags", &["tags"]),
        ],
    }
}

fn clob_market() -> Shape {
    Shape {
        files: &[
            "clob/market_2024.json",
            "clob/market_closed_accepting_false.json",
            "clob/market_closed_but_accepting_true.json",
            "clob/market_resolved_2026_09.json",
        ],
        path: &[],
        read: vec!["seconds_delay", "accepting_orders"],
        unread: &[
            (
                "Gamma and the compact route have these facts",
                &["condition_id", "question_id", "question", "market_slug", "tokens", "tags", "end_date_iso"],
            ),
            (
                "Gamma and the compact route have these facts",
                &["minimum_order_size", "minimum_tick_size", "neg_risk", "neg_risk_market_id", "neg_risk_request_id"],
            ),
            ("`active` stays true after the resolution, and Gamma says closed", &["active", "closed", "archived"]),
            ("a start is no end", &["accepting_order_timestamp", "game_start_time"]),
            (NAMES, &["description", "icon", "image", "notifications_enabled"]),
            (LEGACY, &["fpmm", "maker_base_fee", "taker_base_fee", "enable_order_book", "rewards"]),
            ("payouts have other sources", &["is_50_50_outcome"]),
        ],
        unrecorded: &[],
    }
}

/// Recordings that no type of ours reads.
const UNREAD_FILES: [(&str, &str); 14] = [
    ("data_v1/", "the retired version: its rows are read in the spelling of v2 by `recorded` and `recorded_trades`"),
    ("data_v2/combo_activity_redeem_2026_09.json", "combos are left out; their ids are checked in `recorded_ids`"),
    ("data_v2/combo_positions_2026_09.json", "combos are left out; their ids are checked in `recorded_ids`"),
    ("data_v2/error_limit_too_large_400.json", "the status of an error decides, its body only explains"),
    ("data_v2/leaderboard_week_2026_09.json", "no leaderboard is read yet"),
    ("data_v2/user_stats_2026_09.json", "the figures of a wallet by the venue's own counting decide nothing"),
    ("clob/small_endpoints_2026_09.json", "single values; midpoint and spread are read by `recorded`"),
    ("clob/fee_rate_nonzero.json", "a legacy constant, not the rate"),
    ("clob/fee_rate_zero.json", "a legacy constant, not the rate"),
    ("clob_ws/", "no market websocket is used; the recorded book is read as one of the REST route"),
    ("gamma/event_", "its markets are read one by one by `recorded`"),
    ("gamma/public_search_events.json", "a search for profiles finds events too; they are ignored"),
    ("chain/", "read by the tests of the chain"),
    ("rtds/", "the platform's own feed is not used"),
];

/// Returns the names that a type asks a deserializer for.
fn fields_of<'de, T: Deserialize<'de>>() -> Vec<&'static str> {
    struct Probe<'p>(&'p Cell<&'static [&'static str]>);
    impl<'de> Deserializer<'de> for Probe<'_> {
        type Error = serde::de::value::Error;
        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
            Err(Error::custom("not a struct"))
        }
        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _: &'static str,
            fields: &'static [&'static str],
            _: V,
        ) -> Result<V::Value, Self::Error> {
            self.0.set(fields);
            Err(Error::custom("seen"))
        }
        serde::forward_to_deserialize_any! {
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
            newtype_struct seq tuple tuple_struct map enum identifier ignored_any
        }
    }
    let fields = Cell::new([].as_slice());
    let _ = T::deserialize(Probe(&fields));
    assert!(!fields.get().is_empty(), "{} is not a struct", std::any::type_name::<T>());
    fields.get().to_vec()
}

/// Returns the names of the fields of all objects at a path. A bare array stands for a page's `data`.
fn recorded_fields(file: &str, path: &[&str]) -> BTreeSet<String> {
    let whole: Value = serde_json::from_str(&fixture(file)).unwrap();
    let path = if whole.is_array() && path.first() == Some(&"data") { &path[1..] } else { path };
    let mut found = vec![&whole];
    for step in path {
        found = found
            .into_iter()
            .flat_map(|value| match *step {
                "*" => value.as_array().unwrap().iter().collect::<Vec<_>>(),
                name => value.get(name).into_iter().collect(),
            })
            .collect();
    }
    found.into_iter().filter_map(Value::as_object).flat_map(|object| object.keys().cloned()).collect()
}

fn listed(reasons: &[Reason]) -> BTreeSet<String> {
    reasons.iter().flat_map(|(_, fields)| fields.iter().map(|field| (*field).to_owned())).collect()
}

#[test]
fn every_field_of_a_recording_is_read_or_has_a_reason_and_every_field_we_read_is_recorded_or_has_one() {
    for shape in shapes() {
        let recorded: BTreeSet<String> =
            shape.files.iter().flat_map(|file| recorded_fields(file, shape.path)).collect();
        let read: BTreeSet<String> = shape.read.iter().map(|field| (*field).to_owned()).collect();
        let (unread, unrecorded) = (listed(shape.unread), listed(shape.unrecorded));
        let about = format!("{:?} {:?}", shape.files, shape.path);
        let missing =
            |from: &BTreeSet<String>, of: &BTreeSet<String>| -> Vec<String> { of.difference(from).cloned().collect() };
        assert_eq!(unread, missing(&read, &recorded).into_iter().collect(), "recorded and not read in {about}");
        assert_eq!(unrecorded, missing(&recorded, &read).into_iter().collect(), "read and not recorded in {about}");
    }
}

#[test]
fn every_recording_is_compared_or_has_a_reason() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut files = Vec::new();
    for folder in ["chain", "clob", "clob_ws", "data_v1", "data_v2", "gamma", "rtds"] {
        for entry in std::fs::read_dir(root.join(folder)).unwrap() {
            files.push(format!("{folder}/{}", entry.unwrap().file_name().to_str().unwrap()));
        }
    }
    let compared: Vec<&str> = shapes().iter().flat_map(|shape| shape.files.to_vec()).collect();
    let excused = |file: &String| UNREAD_FILES.iter().any(|(prefix, _)| file.starts_with(prefix));
    let forgotten: Vec<&String> =
        files.iter().filter(|file| !compared.contains(&file.as_str()) && !excused(file)).collect();
    assert_eq!(forgotten, Vec::<&String>::new());
    for (prefix, reason) in UNREAD_FILES {
        let needed = |file: &&String| file.starts_with(prefix) && !compared.contains(&file.as_str());
        assert!(files.iter().any(|file| needed(&file)), "nothing needs the reason `{reason}`");
    }
}
