//! The simulator against recorded answers: the same keys in the same order, the same error texts, and rows replayed
//! unchanged.

use serde_json::Value;

use super::{
    data_api::{activity, buy, with_market},
    *,
};
use crate::simulator::replay::recordings;
use crate::simulator::state::market::price;

fn recorded(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// Returns the keys of an object in the order in which they were sent.
fn keys(text: &str) -> Vec<String> {
    text.split('"')
        .skip(1)
        .step_by(2)
        .zip(text.split('"').skip(2).step_by(2))
        .filter(|(_, after)| after.trim_start().starts_with(':'))
        .map(|(key, _)| key.to_owned())
        .collect()
}

#[test]
fn rows_and_envelopes_have_the_recorded_keys() {
    let (mut simulation, market) = with_market(at_ten());
    for n in 1..=4 {
        simulation.exchange.push_fill(buy(&market, n)).unwrap();
    }
    let check = |answer: Answer, recorded: &str| {
        assert_eq!(answer.status, 200);
        let (ours, theirs) = (String::from_utf8(answer.body).unwrap(), recorded);
        let distinct = |text: &str| {
            let mut seen = Vec::new();
            keys(text).into_iter().for_each(|key| {
                if !seen.contains(&key) {
                    seen.push(key)
                }
            });
            seen
        };
        assert_eq!(distinct(&ours), distinct(theirs));
    };
    check(
        activity(&mut simulation, "&limit=3"),
        include_str!("../../../tests/fixtures/data_v2/activity_maker_and_taker_3.json"),
    );
    let trades = get(&mut simulation, Host::Data, &format!("/v2/trades?user={}&limit=2", leader()));
    check(trades, include_str!("../../../tests/fixtures/data_v2/trades_all_roles_2.json"));
    let positions = get(&mut simulation, Host::Data, &format!("/v2/positions?user={}&limit=1", leader()));
    let theirs = recorded(include_str!("../../../tests/fixtures/data_v2/positions_open_2.json"));
    assert_eq!(
        positions.value()["data"][0].as_object().unwrap().keys().collect::<Vec<_>>(),
        theirs["data"][0].as_object().unwrap().keys().collect::<Vec<_>>()
    );
    let status = get(&mut simulation, Host::Data, "/v2/status").value();
    let theirs = recorded(include_str!("../../../tests/fixtures/data_v2/status.json"));
    for part in ["/data", "/data/serving", "/data/ingestion", "/data/ingestion/most_lagged"] {
        assert_eq!(names(status.pointer(part).unwrap()), names(theirs.pointer(part).unwrap()), "{part}");
    }
    simulation.exchange.resolve(market.id(), &[price(1_000_000), price(0)]);
    let resolutions = get(&mut simulation, Host::Data, &format!("/v2/resolutions?condition={}", market.id()));
    check(resolutions, include_str!("../../../tests/fixtures/data_v2/resolutions_resolved.json"));
}

#[test]
fn a_limit_above_a_thousand_is_refused_in_the_recorded_words() {
    let (mut simulation, _) = with_market(at_ten());
    let recorded = recorded(include_str!("../../../tests/fixtures/data_v2/error_limit_too_large_400.json"));
    let answer = activity(&mut simulation, "&limit=1001");
    assert_eq!((answer.status, &answer.value()["error"]), (400, &recorded["error"]));
    assert_eq!(names(&answer.value()), names(&recorded));
}

#[test]
fn recorded_rows_are_served_unchanged() {
    let (mut simulation, _) = with_market(at_ten());
    for recording in recordings() {
        assert!(!recording.rows.is_empty(), "{}", recording.name);
        simulation.exchange.replay(&recording.rows, None).unwrap();
        let wallet = recording.rows[0]["proxy_wallet"].as_str().unwrap();
        let ours = rows(&get(&mut simulation, Host::Data, &format!("/v2/activity?user={wallet}&start=1&limit=1000")));
        for row in &recording.rows {
            assert!(ours.contains(row), "{} in {}", row["transaction_hash"], recording.name);
        }
        let trades = get(&mut simulation, Host::Data, &format!("/v2/trades?user={wallet}&taker_only=false&start=1"));
        assert!(rows(&trades).iter().all(|row| row.get("usdc_size").is_none() && row.get("type").is_none()));
    }
}

#[test]
fn a_replay_can_end_now_and_its_markets_have_books_and_facts() {
    let (mut simulation, _) = with_market(at_ten());
    let recording = recordings().remove(0);
    simulation.exchange.replay(&recording.rows, Some(ten())).unwrap();
    let wallet = recording.rows[0]["proxy_wallet"].as_str().unwrap();
    let ours = rows(&get(&mut simulation, Host::Data, &format!("/v2/activity?user={wallet}")));
    assert_eq!(ours[0]["timestamp"], ten().seconds());
    assert_eq!(ours.len(), recording.rows.len());
    for row in &recording.rows {
        let (condition, token) = (row["condition_id"].as_str().unwrap(), row["token_id"].as_str().unwrap());
        let book = get(&mut simulation, Host::Clob, &format!("/book?token_id={token}")).value();
        assert_eq!(book["market"], condition);
        let listed = get(&mut simulation, Host::Gamma, &format!("/markets?condition_ids={condition}")).value();
        assert!(listed[0]["clobTokenIds"].as_str().unwrap().contains(token));
    }
}

#[test]
fn other_routes_have_the_recorded_keys() {
    let (mut simulation, market) = with_market(at_ten());
    simulation.exchange.push_fill(buy(&market, 3)).unwrap();
    let token = market.asset(0).unwrap().clone();
    let all_of = |ours: &Value, theirs: &Value| {
        let missing: Vec<_> = names(ours).into_iter().filter(|name| theirs.get(name.as_str()).is_none()).collect();
        assert!(missing.is_empty(), "never recorded: {missing:?}");
    };
    let book = get(&mut simulation, Host::Clob, &format!("/book?token_id={token}"));
    let theirs = recorded(include_str!("../../../tests/fixtures/clob/book_2026_09_best5.json"));
    assert_eq!(names(&book.value()), names(&theirs));
    let clob = get(&mut simulation, Host::Clob, &format!("/markets/{}", market.id())).value();
    all_of(&clob, &recorded(include_str!("../../../tests/fixtures/clob/market_closed_accepting_false.json")));
    let small = recorded(include_str!("../../../tests/fixtures/clob/small_endpoints_2026_09.json"));
    for path in ["midpoint", "spread", "last-trade-price", "tick-size", "neg-risk", "fee-rate"] {
        let ours = get(&mut simulation, Host::Clob, &format!("/{path}?token_id={token}")).value();
        assert_eq!(names(&ours), names(&small[format!("GET /{path}")]), "{path}");
    }
    let mut theirs = recorded(include_str!("../../../tests/fixtures/gamma/market_resolved_2026_09.json"));
    let open = recorded(include_str!("../../../tests/fixtures/gamma/market_updown_5m_open.json"));
    theirs.as_object_mut().unwrap().extend(open.as_object().unwrap().clone());
    let path = format!("/markets?condition_ids={}", market.id());
    all_of(&get(&mut simulation, Host::Gamma, &path).value()[0], &theirs);
    simulation.exchange.resolve(market.id(), &[price(0), price(1_000_000)]);
    all_of(&get(&mut simulation, Host::Gamma, &format!("{path}&closed=true")).value()[0], &theirs);
    let profile = get(&mut simulation, Host::Gamma, &format!("/public-profile?address={}", leader())).value();
    let theirs = recorded(include_str!("../../../tests/fixtures/gamma/public_profile_2026_09.json"));
    assert_eq!(names(&profile), names(&theirs));
    let found = get(&mut simulation, Host::Gamma, "/public-search?q=quiet&search_profiles=true").value();
    let theirs = recorded(include_str!("../../../tests/fixtures/gamma/public_search_profiles_with_null.json"));
    assert_eq!(names(&found), names(&theirs));
    assert_eq!(names(&found["profiles"][0]), names(&theirs["profiles"][0]));
}
