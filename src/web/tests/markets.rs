//! `/markets` and `/markets/{id}`: figures, positions, and the blacklist with its undo.

use serde_json::json;

use super::*;
use crate::db::{BookOutcome, StoredBook};
use crate::domain::accounting::ledger::{EntryType, LedgerEntry};
use crate::domain::market::book::Level;
use crate::domain::market::facts::{FeeSchedule, MarketEvent};

/// Starts a server over a market with a book, and a position of the global portfolio in it.
pub(super) async fn with_position() -> TestWeb {
    let web = TestWeb::full().await;
    let (user, created_at) = (FollowedUserId(1), web.now);
    let level = |micros, shares: i64| Level {
        price: PriceMicros::new(micros).unwrap(),
        shares: ShareMicros(shares * 1_000_000),
    };
    let stored = StoredBook {
        asset: asset(),
        bids: vec![level(490_000, 200), level(400_000, 900)],
        asks: vec![level(510_000, 100), level(600_000, 900)],
        hash: None,
        tick: None,
        min_shares: None,
        last_trade: None,
    };
    let book = BookOutcome { fetched_at: web.now.plus_millis(-90_000), book: Ok(stored) };
    web.db.save_book(group(user, 1, web.now).id, &book).await.unwrap();
    let entries = vec![
        LedgerEntry::opening_deposit(PortfolioId::ExecGlobal, UsdcMicros(10_000_000_000), created_at),
        LedgerEntry {
            portfolio: PortfolioId::ExecGlobal,
            attributed_user: Some(user),
            market: Some(market_id()),
            asset: Some(asset()),
            kind: EntryType::TradeFill,
            shares: ShareMicros(24_000_000),
            cash: UsdcMicros(-12_240_000),
            price: Some(PriceMicros::new(510_000).unwrap()),
            ref_id: "copy:one".to_owned(),
            created_at,
        },
    ];
    web.db.commit(&[LedgerWrite { entries, ..LedgerWrite::default() }], created_at).await.unwrap();
    let midpoint = [(asset(), PriceMicros::new(600_000).unwrap())];
    web.db.insert_prices(web.now.bucket(30_000), &midpoint).await.unwrap();
    web
}

/// Sends a form as a filtered list does; the answer leads back to that list.
async fn post_from_list(web: &TestWeb, path: &str, fields: &[(&str, &str)]) -> TestResponse {
    let origin = web.url("");
    let request = web
        .client
        .post(web.url(path))
        .insert_header(("cookie", web.cookie.as_str()))
        .insert_header(("origin", origin.as_str()))
        .insert_header(("referer", format!("{origin}/markets?show=traded")));
    TestResponse::read(request.send_form(&fields).await.unwrap()).await
}

#[actix_web::test]
async fn the_list_shows_the_last_book_our_copies_and_our_position() {
    let web = with_position().await;
    let page = web.get("/markets").await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.body);
    let text = page.text();
    for expected in [
        "Will it rain? &lt;script&gt;",
        "open unknown 2.00¢ 1 min",
        "51.00 to sell 98.00 1 of 2 tried 14.40 USDC 24.00 Yes &lt;i&gt;",
        "1 trade Blacklist",
    ] {
        assert!(text.contains(expected), "`{expected}` is not in: {text}");
    }
    assert!(!page.body.contains("<script>alert") && !page.body.contains("Yes <i>"));
    let event = MarketEvent { id: "77".to_owned(), slug: "rain".to_owned(), title: "Rain <b>".to_owned() };
    web.db.save_market(&Market { event: Some(event), ..market() }).await.unwrap();
    let page = web.get(&format!("/markets/{}", market_id())).await;
    assert!(page.text().contains("Event Rain &lt;b&gt;"), "{}", page.text());
    assert!(page.body.contains(&format!(r#"href="/markets/{}""#, market_id())));
    let json = web.get("/api/markets").await.json();
    let row = &json["data"][0];
    assert_eq!((&row["n_attempts"], &row["n_executed"]), (&2.into(), &1.into()));
    assert_eq!(row["quote"]["spread_micros"], 20_000);
    assert_eq!(row["quote"]["buy_depth_micros"], 51_000_000);
    assert_eq!(row["position_value_micros"], 14_400_000);
    assert_eq!(row["condition_id"], market_id().to_string());
    assert_eq!(json["next_cursor"], serde_json::Value::Null);
}

#[actix_web::test]
async fn markets_can_be_searched_and_narrowed() {
    let web = with_position().await;
    let other = MarketId::parse(&format!("0x{}", "cd".repeat(32))).unwrap();
    let quiet = Market { question: "A quiet one?".to_owned(), ..Market::unknown(other.clone()) };
    web.db.save_market(&quiet).await.unwrap();
    let count =
        async |query: &str| web.get(&format!("/api/markets?{query}")).await.json()["data"].as_array().unwrap().len();
    assert_eq!(count("").await, 1);
    assert_eq!(count("q=quiet").await, 1);
    assert_eq!(count("q=quiet&show=held").await, 0);
    assert_eq!(count(&format!("q={other}")).await, 1);
    assert_eq!(count("show=held").await, 1);
    assert_eq!(count("show=traded&period=7d").await, 1);
    assert_eq!(count("show=blacklisted").await, 0);
    let none = web.get("/markets?q=snow").await;
    assert!(none.text().contains("No market matches. Show all"), "{}", none.text());
    for (query, field) in [("show=some", "`show`"), ("period=1y", "`period`"), ("cursor=x", "`cursor`"), ("p=1", "p")] {
        let problem = web.get(&format!("/api/markets?{query}")).await;
        assert_eq!(problem.status, StatusCode::BAD_REQUEST, "{query}");
        assert!(problem.json()["detail"].as_str().unwrap().contains(field), "{query}: {}", problem.body);
    }
    let empty = TestWeb::empty().await.get("/markets").await.text();
    assert!(empty.contains("No market was traded or is held yet."), "{empty}");
}

#[actix_web::test]
async fn blacklisting_is_audited_confirmed_and_undone() {
    let web = with_position().await;
    let (path, csrf) = (format!("/markets/{}", market_id()), web.csrf().await);
    let refused = post_from_list(&web, &path, &[("blacklisted", "true")]).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "without a CSRF token");
    let done = post_from_list(&web, &path, &[("csrf", &csrf), ("blacklisted", "true")]).await;
    assert_eq!((done.status, done.header("location")), (StatusCode::SEE_OTHER, "/markets?show=traded"));
    assert!(web.db.market(&market_id()).await.unwrap().unwrap().blacklisted);
    let audit = web.db.audits(Some("set_blacklisted"), None, 5).await.unwrap();
    assert_eq!((audit.len(), audit[0].audit.subject.as_str()), (1, format!("market:{}", market_id()).as_str()));
    assert_eq!(audit[0].audit.after_json.as_deref(), Some("true"));

    let cookie = cookie(&done.headers);
    let said = web.get_with("/markets?show=blacklisted", &[("cookie", cookie.as_str())]).await;
    assert!(said.text().contains("Nothing new is opened in “Will it rain? &lt;script&gt;"), "{}", said.text());
    assert!(said.body.contains(&format!(r#"action="{path}""#)) && said.text().contains("Undo"));
    assert!(said.text().contains("blacklisted"));

    let undone = post_from_list(&web, &path, &[("csrf", &csrf), ("blacklisted", "false")]).await;
    assert_eq!(undone.status, StatusCode::SEE_OTHER);
    assert!(!web.db.market(&market_id()).await.unwrap().unwrap().blacklisted);
    assert_eq!(web.db.audits(Some("set_blacklisted"), None, 5).await.unwrap().len(), 2);
}

#[actix_web::test]
async fn the_api_switches_a_market_too_and_names_a_wrong_field() {
    let web = with_position().await;
    let path = format!("/api/markets/{}", market_id());
    let done = web.post_json(&path, &json!({"blacklisted": true})).await;
    assert_eq!((done.status, done.json()["blacklisted"].as_bool()), (StatusCode::OK, Some(true)), "{}", done.body);
    for (body, field) in [
        (json!({}), "blacklisted"),
        (json!({"blacklisted": true, "colour": 1}), "colour"),
        (json!({"blacklisted": 3}), "boolean"),
    ] {
        let problem = web.post_json(&path, &body).await;
        assert_eq!(problem.status, StatusCode::BAD_REQUEST, "{body}");
        assert!(problem.json()["detail"].as_str().unwrap().contains(field), "{body}: {}", problem.body);
    }
    let unknown = format!("/api/markets/0x{}", "ef".repeat(32));
    let nowhere = web.post_json(&unknown, &json!({"blacklisted": true})).await;
    assert_eq!(nowhere.status, StatusCode::NOT_FOUND);
}

#[actix_web::test]
async fn a_market_shows_its_facts_books_positions_and_slippage() {
    let web = with_position().await;
    let page = web.get(&format!("/markets/{}", market_id())).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.body);
    let text = page.text();
    for expected in [
        "Yes &lt;i&gt; 49.00¢ 51.00¢ 2.00¢ 51.00 98.00 1 min",
        "60.00¢",
        "Price of Yes &lt;i&gt;",
        "Closes unknown",
        "Event unknown",
        "Taker fee 0.0700 × p × (1 − p) the highest there is, because the market's own is not known",
        "Copies 1 On average +0.75¢ a share Worst +0.75¢ Together +0.18 USDC",
        "Global · Yes &lt;i&gt;",
        "24.00 51.00¢ 60.00¢ 14.40 +2.16",
        "Partly copied 50.00 %",
        "+12 s tx 52.37¢",
    ] {
        assert!(text.contains(expected), "`{expected}` is not in: {text}");
    }
    assert!(!page.body.contains("<script>alert") && !page.body.contains("Yes <i>"));
    let src = format!("/api/series/market/{}", market_id());
    assert!(page.body.contains(&format!(r#"data-src="{src}?asset={}""#, asset())));
    let prices = web.get(&format!("{src}?asset={}&range=1h", asset())).await.json();
    assert_eq!(prices["panes"][0]["lines"][0]["values"], serde_json::json!([600_000]));
    assert_eq!(prices["panes"][0]["unit"], "price_micros");
    let slippage = web.get(&format!("{src}/slippage?range=all")).await.json();
    assert_eq!(slippage["panes"][0]["lines"][0]["values"], serde_json::json!([7_500]));
    assert_eq!(slippage["panes"][0]["lines"][0]["role"], "dots");
}

#[actix_web::test]
async fn an_open_market_after_its_end_date_is_open_and_its_close_unknown() {
    let web = with_position().await;
    let facts = Market {
        close_time: Some(web.now.plus_millis(-86_400_000)),
        fee: FeeSchedule::default(),
        fee_known: true,
        ..market()
    };
    let path = format!("/markets/{}", market_id());
    let shown = async |facts: &Market| {
        web.db.save_market(facts).await.unwrap();
        (web.get(&path).await.text(), web.get("/api/markets").await.json()["data"][0].clone())
    };
    let (text, row) = shown(&facts).await;
    assert!(text.contains("Closes unknown open after its end date, ") && text.contains("Taker fee none"), "{text}");
    assert_eq!((&row["state"], &row["closes_in_ms"]), (&"OPEN".into(), &serde_json::Value::Null), "{row}");
    let (text, row) = shown(&Market { accepts_orders: false, ..facts }).await;
    assert!(!text.contains("Closes unknown"), "{text}");
    assert_eq!(row["state"], "CLOSED");
    assert!(row["closes_in_ms"].as_i64().unwrap() <= -86_400_000, "{row}");
}

#[actix_web::test]
async fn an_unknown_market_is_not_found_and_one_without_facts_is_shown() {
    let web = TestWeb::empty().await;
    let unknown = format!("/markets/0x{}", "ef".repeat(32));
    for path in ["/markets/nonsense", unknown.as_str(), "/api/series/market/nonsense"] {
        assert_eq!(web.get(path).await.status, StatusCode::NOT_FOUND, "{path}");
    }
    let user = web.follow("Ilse").await;
    web.record_trades(&[trade(user, 0, web.now)]).await;
    let page = web.get(&format!("/markets/{}", market_id())).await;
    assert!(page.text().contains("The outcomes of this market are not known yet"), "{}", page.text());
    assert!(web.get("/markets").await.text().contains("Market 0xabab…abab"));
    let wrong = web.get(&format!("/markets/{}?asset=5", market_id())).await;
    assert!(wrong.text().contains("`5` is not an outcome of this market"), "{}", wrong.text());
}
