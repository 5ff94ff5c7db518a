//! `/attempts/{id}`: every check, the book, and the result.

use super::*;
use crate::db::{BookOutcome, StoredBook};
use crate::domain::config::effective::ExitSizing;
use crate::domain::decision::check::{Check, CheckName};
use crate::domain::decision::exit::{ExitBasis, NotionalBecause};
use crate::domain::events::group::Member;
use crate::domain::market::book::Level;

fn price(micros: i64) -> PriceMicros {
    PriceMicros::new(micros).unwrap()
}

pub(super) fn book(at: Timestamp) -> BookOutcome {
    let level = |micros, shares: i64| Level { price: price(micros), shares: ShareMicros(shares * 1_000_000) };
    let stored = StoredBook {
        asset: asset(),
        bids: vec![level(480_000, 300), level(490_000, 200)],
        asks: vec![level(530_000, 900), level(507_500, 24), level(510_000, 100)],
        hash: None,
        tick: None,
        min_shares: None,
        last_trade: None,
    };
    BookOutcome { fetched_at: at, book: Ok(stored) }
}

/// Stores a group of one fill, its book, and an attempt with a full explanation. Returns the attempt's id.
pub(super) async fn explained(web: &TestWeb, decision: DecisionKind, outcome: Option<BookOutcome>) -> AttemptId {
    let user = FollowedUserId(1);
    let fill = trade(user, 77, web.now);
    web.record_trades(std::slice::from_ref(&fill)).await;
    let group = group(user, 77, web.now);
    let members = vec![Member::Trade(fill.id)];
    let write = ClosedGroupWrite { group: group.clone(), members, finishes: Vec::new(), copy_due: web.now };
    let _ = web.db.close_groups(&[write], web.now).await.unwrap();
    if let Some(outcome) = outcome {
        web.db.save_book(group.id, &outcome).await.unwrap();
    }
    let mut attempt = attempt(&group, decision, web.now);
    let code = ReasonCode::SpreadTooWide;
    let spread = if decision == DecisionKind::Skip { 50_000 } else { 17_500 };
    attempt.explanation.checks = vec![
        Check::flag(CheckName::EngineEnabled, true, ReasonCode::EnginePaused),
        Check::unknown(CheckName::TimeToClose, 1_800_000, ReasonCode::MarketTooCloseToClose),
        Check::at_most(CheckName::Spread, spread, 20_000, code),
        Check::at_least(CheckName::Depth, 12_000_000, 31_250_000, ReasonCode::InsufficientDepth),
    ];
    if decision == DecisionKind::Execute {
        attempt.explanation.checks.pop();
    }
    attempt.explanation.limit_price_micros = Some(price(510_000));
    attempt.explanation.raw_notional_micros = Some(UsdcMicros(25_000_000));
    attempt.explanation.fee_micros = 105_000;
    attempt.explanation.taker_delay_ms = Some(250);
    attempt.explanation.order_notional_micros = Some(UsdcMicros(24_990_000));
    attempt.mid_at_decision = Some(price(498_750));
    let id = attempt.id;
    let write = LedgerWrite { attempt: Some(attempt), ..LedgerWrite::default() };
    web.db.commit(&[write], web.now).await.unwrap();
    id
}

#[actix_web::test]
async fn a_skip_shows_every_check_with_its_value_limit_and_room() {
    let web = TestWeb::full().await;
    let id = explained(&web, DecisionKind::Skip, Some(book(web.now.plus_millis(900)))).await;
    let page = web.get(&format!("/attempts/{id}")).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.body);
    let text = page.text();
    for expected in [
        "Skipped Spread too wide: 5.00¢ where at most 2.00¢ is allowed. One other check failed too.",
        "2 failed of 4",
        "passed Copying is on the switch for everybody yes has to be yes –",
        "unknown, passed Time to close from the decision to the market&#39;s close; unknown once the end date of an open market has passed unknown at least 30 min –",
        "failed Spread SPREAD_TOO_WIDE 5.00¢ at most 2.00¢ −3.00¢",
        "failed Depth INSUFFICIENT_DEPTH 12.00 USDC at least 31.25 USDC −19.25 USDC",
        "Together 5,000.00 shares, 2,500.00 USDC Average price 50.00¢",
        "52.37¢ 2,345.67 1,228.43 tx",
        "Copied share 25.00 USDC",
        "Order 24.99 USDC, cut to whole cents as the venue takes it Taker delay 250 ms, waited before the book was fetched",
        "53.00¢ 900.00 540.18 51.00¢ our limit price 51.00¢ 100.00 63.18 50.75¢ 24.00 12.18 50.00¢ leader's average 49.88¢ middle 49.00¢ 200.00 98.00 48.00¢ 300.00 242.00",
        "Book fetched",
        "+900 ms",
        "The settings have changed since.",
    ] {
        assert!(text.contains(expected), "`{expected}` is not in: {text}");
    }
    assert!(!page.body.contains("<script>alert") && !page.body.contains("Yes <i>"));
}

#[actix_web::test]
async fn a_copy_shows_what_it_took_and_how_it_compares() {
    let web = TestWeb::full().await;
    let id = explained(&web, DecisionKind::Execute, Some(book(web.now))).await;
    let page = web.get(&format!("/attempts/{id}")).await;
    let text = page.text();
    for expected in [
        "Bought 24.63 shares at 50.75¢ on average, for 12.50 USDC: 50.00 % of what was aimed at",
        "all 3 passed",
        "Fee 0.11 USDC",
        "Beside the leader +0.75¢ worse, +0.18 USDC",
        "50.75¢ 24.00 12.18 24.63",
    ] {
        assert!(text.contains(expected), "`{expected}` is not in: {text}");
    }
    let json = web.get(&format!("/api/copy-attempts/{id}")).await.json();
    assert_eq!(json["slippage"]["price_micros"], 7_500);
    assert_eq!(json["checks"][2]["margin"], 2_500);
    assert_eq!(json["book"]["ladder"]["rungs"][3]["taken_micros"], 24_630_541);
    assert_eq!(json["group"]["members"][0]["price_micros"], 523_700);
    assert_eq!(json["id"], id.to_string());
    assert_eq!(json["explain_json"]["fee_micros"], 105_000);
}

/// Stores an attempt after a sale of the leader, sized by the part that they sold. Returns its id.
pub(super) async fn explained_exit(web: &TestWeb) -> AttemptId {
    let exit = ExitBasis {
        sizing: ExitSizing::Proportional,
        their_holding_micros: Some(ShareMicros(8_000_000_000)),
        because: None,
    };
    exited(web, 78, exit).await
}

async fn exited(web: &TestWeb, n: u32, exit: ExitBasis) -> AttemptId {
    let user = FollowedUserId(1);
    let key = format!("{user}:{}:SELL:{n}", asset());
    let group = trade_group(&key, user, market_id(), asset(), Side::Sell, web.now);
    let write = ClosedGroupWrite { group: group.clone(), members: vec![], finishes: Vec::new(), copy_due: web.now };
    let _ = web.db.close_groups(&[write], web.now).await.unwrap();
    let mut attempt = attempt(&group, DecisionKind::Skip, web.now);
    attempt.explanation.exit = Some(exit);
    attempt.explanation.taker_delay_ms = Some(0);
    attempt.explanation.order_share_micros = Some(ShareMicros(12_340_000));
    let id = attempt.id;
    let write = LedgerWrite { attempt: Some(attempt), ..LedgerWrite::default() };
    web.db.commit(&[write], web.now).await.unwrap();
    id
}

#[actix_web::test]
async fn an_exit_shows_how_it_was_sized_and_why() {
    let web = TestWeb::full().await;
    let page = async |id: AttemptId| web.get(&format!("/attempts/{id}")).await.text();
    let text = page(explained_exit(&web).await).await;
    for expected in [
        "Exit the part that the leader gave up of 8,000.00 shares",
        "Order 12.34 shares, cut to hundredths as the venue takes it Taker delay none in this market",
    ] {
        assert!(text.contains(expected), "`{expected}` is not in: {text}");
    }
    let (late, unknown) = (NotionalBecause::ShadowLate, NotionalBecause::HoldingUnknown);
    for (n, because, held, expected) in [
        (80, late, None, "sized like a purchase: the leader's rows before it were not all read within 5 s"),
        (81, unknown, None, "sized like a purchase: what the leader held before it is not known"),
        (
            82,
            unknown,
            Some(ShareMicros(0)),
            "sized like a purchase: by our books the leader held 0.00 shares before it",
        ),
        (
            83,
            NotionalBecause::BooksNotExact,
            Some(ShareMicros(8_000_000_000)),
            "sized like a purchase: the leader's books were not exact then, so the 8,000.00 shares that they held by our \
             books are not certain",
        ),
    ] {
        let exit = ExitBasis { sizing: ExitSizing::Notional, their_holding_micros: held, because: Some(because) };
        let text = page(exited(&web, n, exit).await).await;
        assert!(text.contains(expected), "`{expected}` is not in: {text}");
    }
}

#[actix_web::test]
async fn a_missing_book_shows_its_error_and_a_book_never_asked_for_says_so() {
    let web = TestWeb::full().await;
    let gone = BookOutcome { fetched_at: web.now, book: Err("no book <b>for</b> this token".to_owned()) };
    let id = explained(&web, DecisionKind::Skip, Some(gone)).await;
    let text = web.get(&format!("/attempts/{id}")).await.text();
    assert!(text.contains("There was no book to look at: no book &lt;b&gt;for&lt;/b&gt; this token"), "{text}");
    assert!(text.contains("Book given up"), "{text}");
    let unasked = attempt(&group(FollowedUserId(1), 2, web.now), DecisionKind::Skip, web.now).id;
    let text = web.get(&format!("/attempts/{unasked}")).await.text();
    assert!(text.contains("No book was asked for: the decision ended before."), "{text}");
    assert!(text.contains("Spread too wide. Insufficient depth."), "{text}");
}

#[actix_web::test]
async fn the_same_groups_other_portfolio_is_one_link_away() {
    let web = TestWeb::full().await;
    let user = FollowedUserId(1);
    let group = group(user, 1, web.now);
    let mut own = attempt(&group, DecisionKind::Skip, web.now);
    own.portfolio = PortfolioId::ExecUser(user);
    own.id = AttemptId::of(&own.portfolio.to_string(), &group.key);
    let write = LedgerWrite { attempt: Some(own.clone()), ..LedgerWrite::default() };
    web.db.commit(&[write], web.now).await.unwrap();
    let global = attempt(&group, DecisionKind::Execute, web.now).id;
    let page = web.get(&format!("/attempts/{global}")).await;
    assert!(page.body.contains(&format!(r#"href="/attempts/{}""#, own.id)), "{}", page.body);
    assert!(page.text().contains("In the leader's own portfolio: skipped"), "{}", page.text());
    assert!(web.get(&format!("/attempts/{}", own.id)).await.text().contains("In the global portfolio: copied"));
}

#[actix_web::test]
async fn an_unknown_attempt_is_not_found() {
    let web = TestWeb::full().await;
    for id in ["7", "00000000-0000-0000-0000-000000000000", "%3Cscript%3E"] {
        assert_eq!(web.get(&format!("/attempts/{id}")).await.status, StatusCode::NOT_FOUND, "{id}");
    }
}
