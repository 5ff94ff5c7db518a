//! Rows that were never recorded, built by their documentation.

use crate::domain::events::event::ActivityKind;
use crate::domain::money::ids::Wallet;
use crate::polymarket::wire::activity::{WireRow, parse_page};
use crate::polymarket::wire::draft::{ActivityDraft, Window};

const WALLET: &str = "0xc2ad03f79ca3f3c17d8c7de2612ce0c89b7d40ed";
const CONDITION: &str = "0x70cd1632e0469a457fa385f00f241911493a293faeb22ec0a0fe023d661b3d8b";

fn row(kind: &str, rest: &str) -> String {
    format!(
        r#"{{"proxy_wallet":"{WALLET}","timestamp":1790620238,"condition_id":"{CONDITION}","type":"{kind}",
        "transaction_hash":"0xaa01","price":0,"title":"<script>","slug":"s","icon":"","event_slug":"e",
        "name":null,"pseudonym":"","bio":"","profile_image":"","profile_image_optimized":"",{rest}}}"#
    )
}

fn read(rows: &[String]) -> Window {
    let page = format!(
        r#"{{"data":[{}],"pagination":{{"limit":100,"offset":0,"has_more":false,"next_cursor":null}}}}"#,
        rows.join(",")
    );
    let page = parse_page(page.as_str()).unwrap();
    let window = Window::of(page.rows, &Wallet::parse(WALLET).unwrap());
    assert_eq!(window.bad, []);
    window
}

fn activities(rows: &[String]) -> Vec<ActivityDraft> {
    let window = read(rows);
    assert_eq!(window.trades, []);
    window.activities
}

#[test]
fn splits_conversions_and_migrations_are_activities_with_their_condition() {
    let none = r#""token_id":"","side":"","outcome_index":999,"outcome":"","size":12.5,"usdc_size":12.5"#;
    let read = activities(&[row("SPLIT", none), row("CONVERSION", none), row("MIGRATION", none)]);
    let kinds: Vec<&ActivityKind> = read.iter().map(|draft| &draft.kind).collect();
    assert_eq!(kinds, [&ActivityKind::Conversion, &ActivityKind::Migration, &ActivityKind::Split]);
    for draft in &read {
        assert_eq!(draft.payload.share_micros.0, 12_500_000);
        assert_eq!(draft.payload.cash_micros.0, 12_500_000);
        assert_eq!(draft.payload.condition_id.as_ref().unwrap().as_str(), CONDITION);
        assert_eq!(draft.payload.token_id, None);
        assert!(draft.payload.row.contains("<script>"), "the row is kept as it came");
    }
}

#[test]
fn a_conversion_need_not_say_how_much() {
    let draft = &activities(&[row("CONVERSION", r#""token_id":"","size":null,"usdc_size":null"#)])[0];
    assert_eq!((draft.payload.share_micros.0, draft.payload.cash_micros.0), (0, 0));
}

#[test]
fn redemptions_are_read_in_both_shapes() {
    let per_outcome = [
        row("REDEEM", r#""token_id":"84","side":"","outcome_index":0,"size":10,"usdc_size":10"#),
        row("REDEEM", r#""token_id":"85","side":"","outcome_index":1,"size":4,"usdc_size":0"#),
    ];
    let cash: Vec<i64> = activities(&per_outcome).iter().map(|draft| draft.payload.cash_micros.0).collect();
    assert_eq!(cash, [10_000_000, 0]);
    let whole = row("REDEEM", r#""token_id":"","side":"","outcome_index":999,"size":0,"usdc_size":6.25"#);
    let draft = &activities(&[whole])[0];
    assert!(draft.source_id.ends_with(&format!("REDEEM:{CONDITION}::0:6250000:0")), "{}", draft.source_id);
}

#[test]
fn twin_rows_stay_two_and_a_second_look_gives_the_same_ids() {
    let twin = row("TRADE", r#""token_id":"84","side":"BUY","size":249,"usdc_size":241.53"#)
        .replace("\"price\":0", "\"price\":0.97");
    let fresh = twin.replace("\"event_slug\":\"e\"", "\"event_slug\":\"\"").replace("<script>", "named later");
    let ids = |rows: &[String]| -> Vec<String> { read(rows).trades.into_iter().map(|draft| draft.source_id).collect() };
    let first = ids(&[twin.clone(), twin.clone()]);
    assert_eq!(first.len(), 2);
    assert_ne!(first[0], first[1]);
    assert_eq!(first, ids(&[fresh.clone(), fresh]), "names and slugs are no part of an id");
}

#[test]
fn an_unknown_kind_is_stored_and_unknown_fields_are_ignored() {
    let rest =
        r#""token_id":"","side":"IN","size":1.5,"usdc_size":-1.5,"outcome_index":"x","nested":{"a":[{"b":null}]}"#;
    let draft = &activities(&[row("STARDUST", rest)])[0];
    assert_eq!(draft.kind, ActivityKind::Other("STARDUST".to_owned()));
    assert_eq!(draft.kind.group_kind(), None);
    assert_eq!(draft.payload.cash_micros.0, 1_500_000, "cash is stated without its sign");
}

#[test]
fn rewards_have_neither_condition_nor_token() {
    let reward =
        row("REWARD", r#""token_id":"","side":"","size":140.5901,"usdc_size":140.5901"#).replace(CONDITION, "");
    let draft = &activities(&[reward])[0];
    assert_eq!(draft.source_id, format!("{WALLET}:0xaa01:REWARD:::140590100:0"));
}

#[test]
fn combos_of_every_kind_are_known_by_their_ids_whatever_flag_and_names_say() {
    let condition = format!("0x03{}{}", "ab".repeat(16), "0".repeat(28));
    let token = "1534162831021071298618460748655302203595635349916686009303552494548086161408";
    let trade = |token: &str, more: &str| {
        row("TRADE", &format!(r#""token_id":"{token}","side":"BUY","size":5,"usdc_size":2{more}"#))
    };
    let by_condition = trade("84", r#","is_combo":false"#).replace(CONDITION, &condition);
    for combo in activities(&[by_condition, trade(token, "")]) {
        assert_eq!((combo.kind.clone(), combo.kind.as_str()), (ActivityKind::Combo, "TRADE"));
    }
    let redeemed = row("REDEEM", r#""token_id":"","side":"","size":79375.723165,"usdc_size":79375.723165"#);
    let redeemed = WireRow::parse(&redeemed.replace(CONDITION, &condition)).unwrap();
    assert!(redeemed.is_combo);
    // Neither a flag nor a missing name nor a short condition makes a combo: it may be a market of the new ledger.
    let nameless = |text: String| text.replace("\"slug\":\"s\"", "\"slug\":\"\"");
    let market = format!("0x01{}{}", "ab".repeat(16), "0".repeat(28));
    let plain = nameless(trade("84", r#","price":0.4,"is_combo":true"#)).replace(CONDITION, &market);
    assert_eq!(read(&[plain.replace("\"price\":0,", "")]).trades[0].market.as_str(), format!("{market}00"));
}

#[test]
fn a_checksummed_wallet_is_the_same_wallet_and_a_missing_one_is_the_one_asked_for() {
    let trade = row("TRADE", r#""token_id":"84","side":"SELL","size":5,"usdc_size":2"#);
    let checksummed = trade.replace(WALLET, "0xC2aD03F79CA3F3c17D8c7De2612cE0C89b7D40Ed");
    let missing = trade.replace(&format!("\"{WALLET}\""), "null");
    let id = |row: &String| read(std::slice::from_ref(row)).trades.remove(0).source_id;
    assert_eq!(id(&trade), id(&checksummed));
    assert_eq!(id(&trade), id(&missing));
}
