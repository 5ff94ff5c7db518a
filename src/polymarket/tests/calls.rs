//! The requests that each call sends, and its result for each answer.

use super::recorded::fixture;
use super::server::{Answer, Server};
use crate::clock::Clock;
use crate::domain::market::payout::ResolutionStage;
use crate::domain::money::ids::{AssetId, MarketId, Wallet};
use crate::domain::money::units::Timestamp;
use crate::polymarket::api::profiles::ProfileMatch;
use crate::polymarket::http::client::Polymarket;
use crate::polymarket::http::endpoint::Priority;
use crate::polymarket::http::error::PolymarketError;

const WALLET: &str = "0xc2ad03f79ca3f3c17d8c7de2612ce0c89b7d40ed";

fn wallet() -> Wallet {
    Wallet::parse(WALLET).unwrap()
}

fn market(digit: char) -> MarketId {
    MarketId::parse(&format!("0x{}", digit.to_string().repeat(64))).unwrap()
}

fn seconds(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(seconds).unwrap()
}

fn page(times: &[i64], next_cursor: Option<&str>) -> String {
    let rows: Vec<String> = times
        .iter()
        .map(|time| {
            format!(
                r#"{{"proxy_wallet":"{WALLET}","timestamp":{time},"condition_id":"{}","type":"TRADE","size":249,
                "usdc_size":241.53,"transaction_hash":"0xaa","price":0.97,"token_id":"84","side":"BUY"}}"#,
                market('7')
            )
        })
        .collect();
    let cursor = serde_json::to_string(&next_cursor).unwrap();
    format!(
        r#"{{"data":[{}],"pagination":{{"has_more":{},"next_cursor":{cursor}}}}}"#,
        rows.join(","),
        next_cursor.is_some()
    )
}

fn without_cursor(url: &str) -> &str {
    url.split("&cursor=").next().unwrap()
}

#[actix_web::test]
async fn a_window_is_read_to_its_last_page_with_the_same_filters_before_ordinals_are_given() {
    let server = Server::start().await;
    server.on_body("activity", &page(&[1_000], Some("a+b/c=="))).on_body("activity", &page(&[1_000, 1_001], None));
    let polymarket = server.client();
    let window = polymarket.activity_window(&wallet(), seconds(900), seconds(4_000_000_000)).await.unwrap();
    let ordinals: Vec<&str> = window.trades.iter().map(|draft| draft.source_id.rsplit(':').next().unwrap()).collect();
    assert_eq!(ordinals, ["0", "1", "2"]);
    let urls = server.urls();
    assert_eq!(without_cursor(&urls[0]), without_cursor(&urls[1]));
    assert!(urls[0].contains(&format!("user={WALLET}&limit=500&start=900&end=")), "{}", urls[0]);
    assert!(urls[1].ends_with("&cursor=a%2Bb%2Fc%3D%3D"), "{}", urls[1]);
    assert_eq!(server.asked()[0].user_agents, 1);
}

#[actix_web::test]
async fn no_url_is_asked_twice_and_rows_after_the_window_are_left_out() {
    let server = Server::start().await;
    for _ in 0..3 {
        server.on_body("activity", &page(&[1_000, 2_000, 2_001], None));
    }
    let polymarket = server.client();
    for _ in 0..3 {
        let window = polymarket.activity_window(&wallet(), seconds(0), seconds(2_000)).await.unwrap();
        assert_eq!(window.trades.len(), 2, "the end is included");
    }
    let mut urls = server.urls();
    urls.sort();
    urls.dedup();
    assert_eq!(urls.len(), 3, "{urls:?}");
    assert!(urls[0].contains("start=1&"), "zero would mean three years");
}

#[actix_web::test]
async fn a_cursor_that_leads_back_ends_the_walk_with_an_error() {
    let server = Server::start().await;
    for _ in 0..3 {
        server.on_body("activity", &page(&[1_000], Some("round")));
    }
    let error = server.client().activity_window(&wallet(), seconds(0), seconds(2_000)).await.unwrap_err();
    assert!(matches!(error, PolymarketError::EndlessPages { .. }), "{error}");
    assert!(!error.is_transient());
}

#[actix_web::test]
async fn a_window_with_too_many_rows_ends_before_the_second_of_its_newest_row() {
    let server = Server::start().await;
    let mut settings = server.settings();
    settings.limits.window_rows = 5;
    let polymarket = Polymarket::new(settings, Clock::System);
    server.on_body("activity", &page(&[1_000, 1_001, 1_002], Some("a")));
    server.on_body("activity", &page(&[1_002, 1_003, 1_003], Some("b")));
    let window = polymarket.activity_window(&wallet(), seconds(900), seconds(2_000)).await.unwrap();
    assert_eq!((window.trades.len(), window.cut_at), (4, Some(seconds(1_003))), "more of that second may follow");
    server.on_body("activity", &page(&[1_003, 1_003, 1_004], None));
    let rest = polymarket.activity_window(&wallet(), seconds(1_003), seconds(2_000)).await.unwrap();
    assert_eq!((rest.trades.len(), rest.cut_at), (3, None));
    assert!(server.urls()[2].contains("&start=1003&") && !server.urls()[2].contains("cursor"), "{}", server.urls()[2]);
}

#[actix_web::test]
async fn pages_without_an_end_are_given_up_when_they_bring_no_later_time() {
    let endless: [(&[i64], i64); 4] =
        [(&[1_000, 1_001], 900), (&[1_000, 1_000], 1_000), (&[], 900), (&[3_000, 3_000], 900)];
    for (times, start) in endless {
        let server = Server::start().await;
        for n in 0..1_010 {
            server.on_body("activity", &page(times, Some(&format!("cursor {n}"))));
        }
        let mut settings = server.settings();
        settings.limits.window_rows = 50;
        settings.limits.window_bytes = 100_000;
        settings.limits.requests_per_second = 100_000;
        settings.limits.burst = 100_000;
        let polymarket = Polymarket::new(settings, Clock::System);
        let error = polymarket.activity_window(&wallet(), seconds(start), seconds(2_000)).await;
        match times {
            // All rows up to the end were read.
            [3_000, _] => assert_eq!(error.map(|window| (window.trades.len(), window.cut_at)).unwrap(), (0, None)),
            _ => assert!(matches!(error, Err(PolymarketError::EndlessPages { .. })), "{times:?}: {error:?}"),
        }
        let most = if times.is_empty() { 1_001 } else { 350 };
        assert!(server.asked().len() <= most, "{times:?}: {} pages", server.asked().len());
    }
}

#[actix_web::test]
async fn positions_are_asked_without_a_dust_filter_in_batches_of_twenty_conditions() {
    let server = Server::start().await;
    let whole = fixture("data_v2/positions_open_2.json");
    let last = r#"{"data":[],"pagination":{"has_more":false,"next_cursor":null}}"#;
    server.on_body("positions", &whole).on_body("cursor=", last);
    for _ in 0..3 {
        server.on_body("positions", last);
    }
    let markets = vec![market('1'); 21];
    let positions = server.client().positions(&wallet(), &markets).await.unwrap();
    assert_eq!(positions.len(), 2);
    let urls = server.urls();
    assert_eq!(urls.len(), 5);
    assert!(urls[0].contains("status=OPEN&filter_type=TOKENS&filter_amount=0&"), "{}", urls[0]);
    assert_eq!(without_cursor(&urls[1]), urls[0]);
    assert!(urls[2].contains("status=CLOSED&"), "what was given up is dated too: {}", urls[2]);
    assert!(urls[3..].iter().all(|url| !url.contains(',')), "one condition was left for the second batch: {urls:?}");
}

#[actix_web::test]
async fn a_market_without_payouts_is_not_resolved() {
    let server = Server::start().await;
    server.on_body("resolutions", r#"{"data":[{"status":"disputed","payouts":[1000000,0]}]}"#);
    server.on_body("resolutions", r#"{"data":[{"status":"resolved","payouts":[500000,500000]}]}"#);
    let polymarket = server.client();
    let disputed = polymarket.resolution(&market('1')).await.unwrap().unwrap();
    assert_eq!((disputed.stage, disputed.payouts), (ResolutionStage::Disputed, Vec::new()));
    let resolution = polymarket.resolution(&market('1')).await.unwrap().unwrap();
    assert_eq!(resolution.payouts.iter().map(|payout| payout.micros()).collect::<Vec<_>>(), [500_000, 500_000]);
    assert_eq!(polymarket.resolution(&market('1')).await, Ok(None), "unknown to the API");
}

#[actix_web::test]
async fn a_book_is_of_the_asset_asked_for_or_an_error() {
    let server = Server::start().await;
    let book = r#"{"asset_id":"84","bids":[{"price":"0.4","size":"5"}],"asks":[]}"#;
    server.on_body("/book?token_id=84", book);
    let polymarket = server.client();
    let asset = |text| AssetId::parse(text).unwrap();
    let answer = polymarket.book(&asset("84"), Priority::Interactive).await.unwrap();
    assert_eq!(answer.book.best_bid().micros(), 400_000);
    for _ in 0..4 {
        server.on_body("/book?token_id=85", book);
    }
    let error = polymarket.book(&asset("85"), Priority::Interactive).await.unwrap_err();
    assert!(matches!(error, PolymarketError::Malformed { .. }), "{error}");
    server.on("book", Answer::Body(404, r#"{"error":"No orderbook exists for the requested token id"}"#.to_owned()));
    let error = polymarket.book(&asset("86"), Priority::Interactive).await.unwrap_err();
    assert!(error.is_not_found() && !error.is_transient());
    assert!(error.to_string().contains("No orderbook exists"), "{error}");
}

#[actix_web::test]
async fn midpoints_come_in_batches_and_a_refused_batch_is_halved() {
    let server = Server::start().await;
    let assets: Vec<AssetId> = (1..=501).map(|n| AssetId::parse(&n.to_string()).unwrap()).collect();
    server
        .on_body("midpoints", r#"{"501":"0.25"}"#)
        .on("midpoints", Answer::Body(400, r#"{"error":"Invalid token id"}"#.to_owned()))
        .on_body("midpoints", r#"{"1":"0.505","2":"x"}"#)
        .on_body("midpoints", r#"{"251":"0.5"}"#);
    let midpoints = server.client().midpoints(&assets, 10).await.unwrap();
    let found: Vec<(&str, i64)> =
        midpoints.found.iter().map(|(asset, price)| (asset.as_str(), price.micros())).collect();
    assert_eq!(found, [("1", 505_000), ("251", 500_000), ("501", 250_000)]);
    assert_eq!(posted(&server), [1, 500, 250, 250]);
    assert_eq!(server.asked()[0].method, "POST");
    assert_eq!(server.asked()[0].body, r#"[{"token_id":"501"}]"#);
}

/// The number of assets in each request for prices.
fn posted(server: &Server) -> Vec<usize> {
    let asked = server.asked();
    let prices = asked.iter().filter(|asked| asked.method == "POST");
    prices.map(|asked| asked.body.matches("token_id").count()).collect()
}

#[actix_web::test]
async fn a_refused_batch_is_asked_for_again_without_the_tokens_that_are_closed() {
    let server = Server::start().await;
    let assets: Vec<AssetId> = (1..=120).map(|n| AssetId::parse(&n.to_string()).unwrap()).collect();
    let closed: Vec<String> =
        (1..=119).map(|n| format!(r#"{{"token_id":"{n}","condition_id":"{}","closed":true}}"#, market('7'))).collect();
    let refused = || Answer::Body(400, r#"{"error":"Invalid token id"}"#.to_owned());
    server.on("spreads", refused()).on_body("spreads", r#"{"120":"0.02"}"#);
    for part in closed.chunks(50) {
        server.on_body("/v2/tokens?token_id=", &format!(r#"{{"data":[{}]}}"#, part.join(",")));
    }
    let spreads = server.client().spreads(&assets, 10).await.unwrap();
    assert_eq!((spreads.found.len(), spreads.refused.len(), spreads.unasked.len()), (1, 119, 0));
    assert_eq!(posted(&server), [120, 1]);
    assert_eq!(server.asked().len(), 5, "two for the prices and one for each 50 tokens");
}

#[actix_web::test]
async fn the_requests_for_prices_are_bounded_and_the_rest_is_left_for_later() {
    let server = Server::start().await;
    let assets: Vec<AssetId> = (1..=8).map(|n| AssetId::parse(&n.to_string()).unwrap()).collect();
    for _ in 0..3 {
        server.on("midpoints", Answer::Body(400, "{}".to_owned()));
    }
    let midpoints = server.client().midpoints(&assets, 3).await.unwrap();
    assert_eq!(posted(&server), [8, 4, 2]);
    assert_eq!((midpoints.found.len(), midpoints.refused.len(), midpoints.unasked.len()), (0, 0, 8));
}

#[actix_web::test]
async fn the_best_prices_of_books_are_matched_by_their_asset() {
    let server = Server::start().await;
    let assets: Vec<AssetId> = (1..=3).map(|n| AssetId::parse(&n.to_string()).unwrap()).collect();
    let book = |asset: &str, bids: &str, asks: &str| format!(r#"{{"asset_id":"{asset}","bids":{bids},"asks":{asks}}}"#);
    let two = book("2", "[]", r#"[{"price":"0.05","size":"5"},{"price":"0.02","size":"5"}]"#);
    let one = book("1", r#"[{"price":"0.4","size":"5"}]"#, r#"[{"price":"0.6","size":"5"}]"#);
    server.on_body("/books", &format!("[{two},{{}},{one}]"));
    let quotes = server.client().book_quotes(&assets, 1).await.unwrap().found;
    let sides = |n: usize| {
        let quote = quotes.get(&assets[n])?;
        Some((quote.bid.map(|bid| bid.micros()), quote.ask.map(|ask| ask.micros())))
    };
    assert_eq!(sides(0), Some((Some(400_000), Some(600_000))));
    assert_eq!(sides(1), Some((None, Some(20_000))));
    assert_eq!(sides(2), None);
}

fn gamma_market(id: &MarketId, rest: &str) -> String {
    format!(r#"[{{"conditionId":"{id}","question":"q","slug":"s",{rest}}}]"#)
}

const OUTCOMES: &str = r#""outcomes":"[\"Yes\", \"No\"]","clobTokenIds":"[\"21\", \"22\"]""#;
const COMPACT: &str =
    r#"{"t":[{"t":"31","o":"Up"},{"t":"32","o":"Down"}],"mts":0.01,"mos":5,"nr":true,"fd":{"r":0.07,"e":1}}"#;

#[actix_web::test]
async fn a_closed_market_is_found_by_asking_gamma_twice() {
    let server = Server::start().await;
    server.on_body("closed=true", &gamma_market(&market('1'), OUTCOMES)).on_body("/markets?", "[]");
    let found = server.client().market(&market('1')).await.unwrap().unwrap();
    assert_eq!((found.outcomes.len(), found.question.as_str()), (2, "q"));
    let urls = server.urls();
    assert_eq!(urls.iter().filter(|url| url.contains("condition_ids=")).count(), 2, "{urls:?}");
}

#[actix_web::test]
async fn holes_in_gammas_description_are_filled_from_the_clob() {
    let server = Server::start().await;
    server
        .on_body("/markets?", &gamma_market(&market('1'), &format!(r#"{OUTCOMES},"feesEnabled":true"#)))
        .on_body("clob-markets", COMPACT);
    let found = server.client().market(&market('1')).await.unwrap().unwrap();
    assert_eq!((found.fee.rate_micros, found.outcomes[0].asset.as_str()), (70_000, "21"));
    assert_eq!((found.tick.unwrap().micros(), found.min_shares.unwrap().0, found.neg_risk), (10_000, 5_000_000, false));
}

#[actix_web::test]
async fn another_markets_description_is_not_taken_and_the_clob_answers_instead() {
    let server = Server::start().await;
    server
        .on_body("closed=true", "[]")
        .on_body("/markets?", &gamma_market(&market('2'), OUTCOMES))
        .on_body("clob-markets", COMPACT);
    let found = server.client().market(&market('1')).await.unwrap().unwrap();
    assert_eq!((found.question.as_str(), found.outcomes[1].asset.as_str(), found.neg_risk), ("", "32", true));
    assert_eq!(
        server.client().market(&market('1')).await.map_err(|e| e.is_not_found()),
        Err(true),
        "gamma refused, too"
    );
}

#[actix_web::test]
async fn an_unknown_market_is_none_and_without_any_answer_it_is_an_error() {
    let server = Server::start().await;
    server.on_body("closed=true", "[]").on_body("/markets?", "[]");
    let polymarket = server.client_of_one_try();
    assert_eq!(polymarket.market(&market('1')).await, Ok(None));
    server
        .on("/markets?", Answer::Body(502, "<html>bad gateway</html>".to_owned()))
        .on("clob-markets", Answer::Body(503, String::new()));
    let error = polymarket.market(&market('1')).await.unwrap_err();
    assert!(matches!(error, PolymarketError::Unavailable { status: 502, .. }), "{error}");
}

#[actix_web::test]
async fn tokens_profiles_and_names_are_looked_up() {
    let server = Server::start().await;
    let polymarket = server.client();
    let asset = AssetId::parse("84").unwrap();
    assert_eq!(polymarket.market_by_token(&asset).await, Ok(None));
    server.on_body("markets-by-token/84", &format!(r#"{{"condition_id":"{}","tokens":[]}}"#, market('5')));
    assert_eq!(polymarket.market_by_token(&asset).await, Ok(Some(market('5'))));

    assert_eq!(polymarket.profile(&wallet()).await, Ok(None));
    server.on_body(&format!("public-profile?address={WALLET}"), r#"{"name":"","pseudonym":"Quiet-Heron"}"#);
    let profile = polymarket.profile(&wallet()).await.unwrap().unwrap();
    assert_eq!((profile.name.as_str(), profile.wallet), ("Quiet-Heron", wallet()));

    server.on_body("public-search?q=no%20one%26x&search_profiles=true", r#"{"profiles":null}"#);
    assert_eq!(polymarket.search_profile(" no one&x").await, Ok(ProfileMatch::NoMatch { similar: vec![] }));
}

#[actix_web::test]
async fn the_servers_time_is_a_bare_number() {
    let server = Server::start().await;
    server.on_body("/time", "1790620238").on_body("/time", "\"soon\"");
    let polymarket = server.client_of_one_try();
    assert_eq!(polymarket.server_time().await, Ok(seconds(1_790_620_238)));
    assert!(polymarket.server_time().await.is_err());
}
