//! The three sources of payouts (spec 3.1): which one counts, and what settles nothing.

use super::server::{Answer, Server};
use crate::domain::market::facts::{Market, OutcomeAsset};
use crate::domain::market::payout::ResolutionStage;
use crate::domain::money::ids::{AssetId, MarketId};
use crate::polymarket::{PayoutAnswer, PayoutSource};

fn market() -> Market {
    let outcome = |index: i64| OutcomeAsset {
        asset: AssetId::parse(&(70 + index).to_string()).unwrap(),
        outcome: String::new(),
        index,
        payout: None,
    };
    let id = MarketId::parse(&format!("0x{}", "a".repeat(64))).unwrap();
    Market { outcomes: vec![outcome(0), outcome(1)], ..Market::unknown(id) }
}

fn row(status: &str, more: &str) -> String {
    format!(r#"{{"data":[{{"condition_id":"{}","status":"{status}"{more}}}]}}"#, market().id)
}

const NO_ROW: &str = r#"{"data":[]}"#;
const NO_TOKENS: &str = r#"{"data":[]}"#;

fn tokens(prices: [&str; 2], resolved: bool) -> String {
    let token = |(index, price): (i64, &str)| {
        format!(
            r#"{{"token_id":"{}","condition_id":"{}","resolved":{resolved},"final_price":{price}}}"#,
            70 + index,
            market().id
        )
    };
    let rows: Vec<String> = (0..).zip(prices).map(token).collect();
    format!(r#"{{"data":[{}]}}"#, rows.join(","))
}

fn gamma(closed: bool, status: &str, prices: &str) -> String {
    format!(
        r#"[{{"conditionId":"{}","closed":{closed},{status}"outcomePrices":"{prices}","clobTokenIds":"[\"70\",\"71\"]"}}]"#,
        market().id
    )
}

/// Asks with these answers of the three sources; a source that must not be asked has no answer.
async fn asked(resolutions: &str, tokens: Option<&str>, gamma: Option<&str>) -> (PayoutAnswer, Vec<i64>) {
    let server = Server::start().await;
    server.on_body("/v2/resolutions?condition=0xaaa", resolutions);
    if let Some(body) = tokens {
        server.on_body("/v2/tokens?condition=0xaaa", body);
    }
    if let Some(body) = gamma {
        server.on_body("/markets?condition_ids=0xaaa", body);
    }
    let answer = server.client_of_one_try().payouts(&market()).await.unwrap();
    let expected = 1 + usize::from(tokens.is_some()) + usize::from(gamma.is_some());
    assert_eq!(server.asked().len(), expected, "{:?}", server.urls());
    let payouts = answer.known.iter().flat_map(|known| known.payouts.iter().map(|(_, payout)| payout.micros()));
    let payouts = payouts.collect();
    (answer, payouts)
}

fn source(answer: &PayoutAnswer) -> Option<PayoutSource> {
    answer.known.as_ref().map(|known| known.source)
}

#[actix_web::test]
async fn a_resolved_row_with_payouts_is_enough() {
    let (answer, payouts) = asked(&row("resolved", r#","payouts":[0,1000000]"#), None, None).await;
    assert_eq!((source(&answer), payouts), (Some(PayoutSource::Resolutions), vec![0, 1_000_000]));
}

#[actix_web::test]
async fn a_resolved_row_without_payouts_is_completed_by_the_final_prices_of_the_tokens() {
    // The price beside it is the oracle's, and not a payout.
    let resolved = row("resolved", r#","price":"0.5""#);
    let (answer, payouts) = asked(&resolved, Some(&tokens(["0.3333333333", "0.6666666667"], true)), None).await;
    assert_eq!((source(&answer), payouts), (Some(PayoutSource::Tokens), vec![333_333, 666_667]));
    // Tokens that are not resolved, or have one price only, have none.
    for tokens in [tokens(["1", "0"], false), tokens(["1", "null"], true), tokens(["0", "0"], true)] {
        let (answer, payouts) =
            asked(&resolved, Some(&tokens), Some(&gamma(true, r#""umaResolutionStatus":"resolved","#, "[]"))).await;
        assert_eq!((source(&answer), payouts), (None, vec![]), "{tokens}");
        assert_eq!(answer.stage, ResolutionStage::Resolved);
    }
}

#[actix_web::test]
async fn gamma_counts_when_it_says_closed_resolved_and_priced_at_an_end() {
    let check = async |closed, status: &str, prices: &str, expected: &[i64], stage| {
        let status = if status.is_empty() { String::new() } else { format!(r#""umaResolutionStatus":"{status}","#) };
        let gamma = gamma(closed, &status, prices);
        let (answer, payouts) = asked(NO_ROW, Some(NO_TOKENS), Some(&gamma)).await;
        assert_eq!((payouts.as_slice(), answer.stage), (expected, stage), "{gamma}");
    };
    use ResolutionStage::{Disputed, Open, Proposed, Resolved};
    check(true, "resolved", r#"[\"1\", \"0\"]"#, &[1_000_000, 0], Resolved).await;
    check(true, "settled", r#"[\"0.5\", \"0.5\"]"#, &[500_000, 500_000], Resolved).await;
    check(true, "resolved", r#"[\"0\", \"0\"]"#, &[], Resolved).await;
    check(true, "resolved", r#"[\"0.9999999\", \"0.0000001\"]"#, &[], Resolved).await;
    check(true, "resolved", r#"[\"1\"]"#, &[], Resolved).await;
    check(true, "proposed", r#"[\"1\", \"0\"]"#, &[], Proposed).await;
    check(true, "disputed", r#"[\"1\", \"0\"]"#, &[], Disputed).await;
    check(true, "", r#"[\"1\", \"0\"]"#, &[], Open).await;
    check(false, "resolved", r#"[\"1\", \"0\"]"#, &[], Open).await;
}

#[actix_web::test]
async fn a_proposal_or_a_dispute_settles_nothing_and_gamma_is_not_asked() {
    for (status, stage) in [
        ("proposed", ResolutionStage::Proposed),
        ("disputed", ResolutionStage::Disputed),
        ("reproposed", ResolutionStage::Disputed),
        ("challenged", ResolutionStage::Disputed),
    ] {
        let (answer, payouts) = asked(&row(status, r#","payouts":[1000000,0]"#), Some(NO_TOKENS), None).await;
        assert_eq!((answer.stage, payouts), (stage, vec![]), "{status}");
    }
}

#[actix_web::test]
async fn a_source_that_fails_does_not_stop_the_next_one() {
    let server = Server::start().await;
    server
        .on("/v2/resolutions", Answer::Body(500, "{}".to_owned()))
        .on_body("/v2/tokens", &tokens(["1.0", "0.0"], true));
    let answer = server.client_of_one_try().payouts(&market()).await.unwrap();
    assert_eq!(source(&answer), Some(PayoutSource::Tokens));
    let server = Server::start().await;
    server.on("/v2/resolutions", Answer::Body(500, "{}".to_owned())).on_body("/v2/tokens", NO_TOKENS);
    server.on_body("/markets", "[]");
    assert!(server.client_of_one_try().payouts(&market()).await.is_err(), "an unknown state is not a state");
}
