//! Broken answers: a typed error or a bad row, never a panic, never a wrong number.

use proptest::prelude::*;

use super::recorded::fixture;
use crate::domain::market::payout::ResolutionStage;
use crate::domain::money::ids::{MarketId, Wallet};
use crate::domain::money::units::ShareMicros;
use crate::polymarket::api::markets::parse_compact_market;
use crate::polymarket::api::prices::parse_prices;
use crate::polymarket::api::profiles::{parse_profile, parse_search};
use crate::polymarket::api::resolutions::parse_resolutions;
use crate::polymarket::wire::activity::parse_page;
use crate::polymarket::wire::book_text::parse_book;
use crate::polymarket::wire::draft::Window;
use crate::polymarket::wire::gamma::{parse_market, parse_markets};
use crate::polymarket::wire::positions::parse_positions;

const PAGE: &str = "data_v2/activity_maker_and_taker_3.json";

fn wallet() -> Wallet {
    Wallet::parse(&format!("0x{}", "2".repeat(40))).unwrap()
}

fn market() -> MarketId {
    MarketId::parse(&format!("0x{}", "3".repeat(64))).unwrap()
}

/// Runs every parser on a text; true for each that accepted it.
fn parsed(text: &str) -> [(&'static str, bool); 9] {
    [
        ("activity", parse_page(text).map(|page| Window::of(page.rows, &wallet())).is_ok()),
        ("positions", parse_positions(text).is_ok()),
        ("resolutions", parse_resolutions(text, &market()).is_ok()),
        ("book", parse_book(text).is_ok()),
        ("midpoints", parse_prices(text).is_ok()),
        ("market", parse_market(text).is_ok()),
        ("markets", parse_markets(text, &market()).is_ok()),
        ("compact market", parse_compact_market(text).is_ok()),
        ("search", parse_search(text, "x").is_ok()),
    ]
}

#[test]
fn a_text_that_is_not_json_is_refused() {
    let deep = "[".repeat(200_000);
    let deep_object = r#"{"data":"#.repeat(50_000);
    for text in
        ["", " ", "<!DOCTYPE html><html>429</html>", "null", "true", "\"data\"", &deep, &deep_object, "\u{feff}{}"]
    {
        for (parser, took_it) in parsed(text) {
            assert!(!took_it, "{parser} took {}", &text[..text.len().min(40)]);
        }
        assert!(parse_profile(text, &wallet()).is_err());
    }
}

#[test]
fn an_answer_cut_at_any_byte_is_an_error() {
    let cut = |file: &str, parse: &dyn Fn(&str) -> bool| {
        let text = fixture(file);
        let whole = text.trim_end();
        assert!(parse(whole), "{file} whole");
        for end in (0..whole.len()).filter(|&end| whole.is_char_boundary(end)) {
            assert!(!parse(&whole[..end]), "{file} cut at {end}");
        }
    };
    cut(PAGE, &|text| parse_page(text).is_ok());
    cut("data_v2/positions_open_2.json", &|text| parse_positions(text).is_ok());
    cut("data_v2/resolutions_resolved.json", &|text| parse_resolutions(text, &market()).is_ok());
    cut("clob/book_2026_09_best5.json", &|text| parse_book(text).is_ok());
    cut("gamma/market_resolved_2026_09.json", &|text| parse_market(text).is_ok());
    cut("gamma/public_search_profiles_with_null.json", &|text| parse_search(text, "x").is_ok());
}

#[test]
fn a_figure_out_of_range_makes_a_bad_row_and_leaves_its_neighbours() {
    let text = fixture(PAGE);
    for (good, bad) in [
        ("\"size\": 10.294118", "\"size\": 1e300"),
        ("\"size\": 10.294118", "\"size\": -1"),
        ("\"size\": 10.294118", "\"size\": 99999999999999999999999999999999999999999999"),
        ("\"usdc_size\": 3.294118", "\"usdc_size\": -3.294118"),
        ("\"usdc_size\": 3.294118", "\"usdc_size\": \"three\""),
        ("\"price\": 0.3200000233", "\"price\": 1.0000006"),
        ("\"price\": 0.3200000233", "\"price\": -0.32"),
        ("\"timestamp\": 1790620238", "\"timestamp\": 1e18"),
        ("\"timestamp\": 1790620238", "\"timestamp\": -5"),
        ("\"timestamp\": 1790620238", "\"timestamp\": 1790620238.5"),
        ("\"timestamp\": 1790620238", "\"timestamp\": null"),
    ] {
        assert!(text.contains(good), "{good}");
        let page = parse_page(text.replacen(good, bad, 1)).unwrap();
        let window = Window::of(page.rows, &wallet());
        assert_eq!((window.trades.len(), window.bad.len()), (2, 1), "{bad}");
        assert!(window.bad[0].text.contains(bad), "the bad row keeps its text");
        assert!(!window.bad[0].reason.is_empty());
    }
}

#[test]
fn bad_positions_and_payouts_are_errors_as_a_whole() {
    let positions = fixture("data_v2/positions_open_2.json");
    assert!(parse_positions(&positions.replacen("28.09", "\"many\"", 1)).is_err());
    let negative = parse_positions(&positions.replacen("28.09", "-28.09", 1)).unwrap_err();
    assert_eq!(negative, "current_size: `-28.09` is negative");
    assert!(parse_positions(&positions.replacen("\"current_size\": 28.09,", "", 1)).is_err());
    let resolutions = fixture("data_v2/resolutions_resolved.json");
    let id: serde_json::Value = serde_json::from_str(&resolutions).unwrap();
    let id = MarketId::parse(id["data"][0]["condition_id"].as_str().unwrap()).unwrap();
    assert!(parse_resolutions(&resolutions.replacen("1000000", "1000001", 1), &id).is_err());
    for status in ["proposed", "disputed", "posed", "a new one"] {
        let row = parse_resolutions(&resolutions.replacen("\"resolved\"", &format!("\"{status}\""), 1), &id);
        let row = row.unwrap().unwrap();
        assert!(row.payouts.is_empty() && row.stage != ResolutionStage::Resolved, "{status}: {row:?}");
    }
    assert_eq!(parse_resolutions(r#"{"data":[]}"#, &id), Ok(None));
}

#[test]
fn fee_details_that_cannot_be_read_are_never_a_free_trade() {
    let market =
        |fd: &str| parse_compact_market(&format!(r#"{{"t":[{{"t":"1","o":"Yes"}},null],"mts":0.01,"mos":5{fd}}}"#));
    assert_eq!(market("").unwrap().fee.rate_micros, 0);
    assert_eq!(market(r#","fd":null"#).unwrap().fee.rate_micros, 0);
    assert_eq!(market(r#","fd":{"r":0.07,"e":1,"to":true}"#).unwrap().fee.rate_micros, 70_000);
    assert_eq!(market(r#","fd":{"r":"0.02","e":2}"#).unwrap().fee.exponent, 2);
    assert!(market(r#","fd":{"e":1}"#).is_err());
    assert!(market(r#","fd":{"r":7}"#).is_err());
    assert!(market(r#","fd":{"r":0.07,"e":1.5}"#).is_err());
}

#[test]
fn a_token_in_two_places_and_a_size_below_nothing_are_unknown() {
    let market =
        |tokens: &str, size: &str| parse_compact_market(&format!(r#"{{"t":[{tokens}],"mos":{size}}}"#)).unwrap();
    let twice = market(r#"{"t":"1","o":"Yes"},{"t":"1","o":"No"}"#, "-5");
    assert_eq!((twice.outcomes.len(), twice.min_shares), (0, None));
    let least =
        |size: &str| parse_book(&format!(r#"{{"bids":[],"asks":[],"min_order_size":{size}}}"#)).unwrap().min_shares;
    assert_eq!((least("\"-5\""), least("\"0\"")), (None, Some(ShareMicros(0))));
    let id = format!("0x{}", "3".repeat(64));
    let gamma = |size: &str| parse_market(&format!(r#"{{"conditionId":"{id}","orderMinSize":{size}}}"#)).unwrap();
    assert_eq!((gamma("-5").market.min_shares, gamma("5").market.min_shares), (None, Some(ShareMicros(5_000_000))));
}

#[test]
fn a_midpoint_that_cannot_be_read_is_left_out() {
    let midpoints = parse_prices(r#"{"1":"0.505","2":0.5,"3":null,"4":"","5":"1.5","x":"0.5","6":{"a":1}}"#).unwrap();
    let read: Vec<(&str, i64)> = midpoints.iter().map(|(asset, price)| (asset.as_str(), price.micros())).collect();
    assert_eq!(read, [("1", 505_000), ("2", 500_000)]);
}

#[test]
fn gamma_markets_lie_in_both_ledgers() {
    let id = format!("0x{}", "3".repeat(64));
    let parse =
        |rest: &str| parse_market(&format!(r#"{{"conditionId":"{id}",{rest}}}"#)).unwrap().market.outcomes.len();
    let both = r#""outcomes":"[\"Yes\", \"No\"]","positionIds":["11","12","13"],"clobTokenIds":"[\"21\", \"22\"]""#;
    assert_eq!(parse(&format!(r#"{both},"version":"v2""#)), 3);
    assert_eq!(parse(&format!(r#"{both},"version":"v1""#)), 2);
    assert_eq!(parse(both), 2);
    assert_eq!(parse(r#""clobTokenIds":null,"version":"v1""#), 0);
    assert_eq!(parse(r#""clobTokenIds":"[\"21\", \"x\"]""#), 0, "one bad id makes the set unknown");
    assert_eq!(parse(r#""clobTokenIds":"broken""#), 0);
    assert_eq!(parse(r#""clobTokenIds":"[\"21\", \"21\"]""#), 0, "and so does one id in two places");
}

proptest! {
    #[test]
    fn no_text_makes_a_parser_panic(text in "\\PC*") {
        parsed(&text);
    }

    #[test]
    fn no_json_makes_a_parser_panic(text in json(4)) {
        parsed(&text);
    }

    #[test]
    fn a_changed_byte_gives_an_error_or_rows(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = fixture(PAGE).into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(text) = std::str::from_utf8(&bytes)
            && let Ok(page) = parse_page(text)
        {
            let n_rows = page.rows.len();
            let window = Window::of(page.rows, &wallet());
            prop_assert_eq!(window.trades.len() + window.activities.len() + window.bad.len(), n_rows);
        }
    }

    #[test]
    fn a_row_of_any_fields_is_drafted_or_bad(fields in prop::collection::vec((field(), json(2)), 0..14)) {
        let fields: Vec<String> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        let text = format!(r#"{{"data":[{{{}}}],"pagination":{{}}}}"#, fields.join(","));
        let window = Window::of(parse_page(text.as_str()).unwrap().rows, &wallet());
        prop_assert_eq!(window.trades.len() + window.activities.len() + window.bad.len(), 1);
    }
}

fn field() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "proxy_wallet",
        "timestamp",
        "condition_id",
        "type",
        "size",
        "usdc_size",
        "price",
        "token_id",
        "side",
        "transaction_hash",
        "is_combo",
        "slug",
        "outcome",
        "other",
        "data",
        "pagination",
    ])
}

/// Values of every type, plausible ones more often than others.
fn json(depth: u32) -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("\"TRADE\"".to_owned()),
        Just("\"BUY\"".to_owned()),
        Just("\"\"".to_owned()),
        Just(format!("\"0x{}\"", "a".repeat(64))),
        Just(format!("\"0x{}\"", "b".repeat(40))),
        Just("1790620238".to_owned()),
        "-?[0-9]{1,30}(\\.[0-9]{1,30})?".prop_filter("no leading zero", |n| serde_json::from_str::<f64>(n).is_ok()),
        "[0-9]e-?[0-9]{1,3}".prop_map(|n| n),
        "[a-zA-Z0-9 <>&]{0,12}".prop_map(|text| format!("\"{text}\"")),
    ];
    leaf.prop_recursive(depth, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|values| format!("[{}]", values.join(","))),
            prop::collection::vec((field(), inner), 0..4).prop_map(|fields| {
                let fields: Vec<String> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
                format!("{{{}}}", fields.join(","))
            }),
        ]
    })
}
