use super::*;
use crate::actors::ledger_writer::{LedgerWriter, ReadView};
use crate::domain::money::units::UsdcMicros;
use crate::testkit::copy_setup::{CopySetup, fill, record};
use crate::testkit::exchange::OneMarketExchange;
use crate::testkit::samples::price;

fn deps(setup: &CopySetup, exchange: &OneMarketExchange, writer: &Addr<LedgerWriter>) -> SettlerDeps {
    SettlerDeps {
        db: setup.db.clone(),
        clock: setup.clock,
        polymarket: exchange.polymarket.clone(),
        held: writer.clone().recipient(),
        holdings: writer.clone().recipient(),
        record: writer.clone().recipient(),
        prices: writer.clone().recipient(),
    }
}

async fn view(
    writer: &Addr<LedgerWriter>,
    exchange: &OneMarketExchange,
    portfolio: PortfolioId,
    setup: &CopySetup,
) -> (i64, i64) {
    let market = exchange.market.id.clone();
    let asset = Some(exchange.asset(0));
    let read = ReadView { portfolio, leader: setup.alice, market, asset, outcomes: Vec::new() };
    let view = writer.send(read).await.unwrap().unwrap();
    (view.held.0, view.equity.0)
}

#[actix_web::test]
async fn a_resolved_market_is_settled_for_our_portfolios_and_marked_for_shadows() {
    let setup = CopySetup::new().await;
    let exchange = OneMarketExchange::start(setup.clock);
    let writer = setup.ledger_writer();
    let (ours, shadow) =
        ([PortfolioId::ExecUser(setup.alice), PortfolioId::ExecGlobal], PortfolioId::ShadowUser(setup.alice));
    let group = exchange.group(setup.alice, 1);
    setup.close(&group).await;
    for portfolio in ours {
        let read = ReadView {
            portfolio,
            leader: setup.alice,
            market: exchange.market.id.clone(),
            asset: None,
            outcomes: Vec::new(),
        };
        let version = writer.send(read).await.unwrap().unwrap().version;
        let accepted = writer.send(record(portfolio, &group, version, None)).await.unwrap().unwrap();
        accepted.committed().await.unwrap();
    }
    let entries =
        vec![fill(shadow, setup.alice, &exchange.market.id, &exchange.asset(0), 8_000_000, -4_000_000, "event:1")];
    writer.send(RecordEntries { entries, ..RecordEntries::default() }).await.unwrap().unwrap();
    let deps = deps(&setup, &exchange, &writer);

    // The market is open: nothing to settle, but its facts are stored.
    let first = round(&deps, LastAsked::default()).await;
    assert_eq!((first.settled, first.failures), (0, 0));
    assert!(setup.db.market(&exchange.market.id).await.unwrap().is_some());

    exchange.simulator.with(|venue| venue.resolve(&exchange.market.id, &[price(1_000_000), price(0)]));
    let second = round(&deps, LastAsked::default()).await;
    assert_eq!(
        (second.settled, second.failures),
        (0, 0),
        "the facts are recent: they do not show that the market closed"
    );
    let old_facts =
        LastAsked { facts: BTreeMap::from([(exchange.market.id.clone(), Timestamp::EPOCH)]), payouts: BTreeMap::new() };
    let third = round(&deps, old_facts).await;
    assert_eq!((third.settled, third.failures), (2, 0));
    for portfolio in ours {
        assert_eq!(view(&writer, &exchange, portfolio, &setup).await, (0, 10_005_000_000));
        let last = setup.entries(portfolio).await.pop().unwrap();
        assert_eq!(
            (last.cash, last.ref_id),
            (UsdcMicros(10_000_000), format!("settle:{}:{}", exchange.market.id, setup.alice),)
        );
    }
    assert_eq!(view(&writer, &exchange, shadow, &setup).await, (8_000_000, 4_000_000));

    let again = round(&deps, LastAsked::default()).await;
    assert_eq!((again.settled, again.failures), (0, 0));
    assert_eq!(setup.entries(PortfolioId::ExecGlobal).await.len(), 3);
}

#[actix_web::test]
async fn a_held_market_with_incomplete_facts_is_fetched_at_once_and_a_known_one_is_not() {
    let setup = CopySetup::new().await;
    let exchange = OneMarketExchange::start(setup.clock);
    let deps = deps(&setup, &exchange, &setup.ledger_writer());
    // As the second source left it.
    let half = Market { question: String::new(), ..exchange.market.clone() };
    setup.db.save_market(&half).await.unwrap();
    let known = facts(&deps, &mut LastAsked::default(), &half.id).await.unwrap().unwrap();
    assert_eq!(known.question, exchange.market.question);
    let n_asked = exchange.n_asked(crate::simulator::Host::Gamma, "/markets");
    facts(&deps, &mut LastAsked::default(), &half.id).await.unwrap().unwrap();
    assert_eq!(exchange.n_asked(crate::simulator::Host::Gamma, "/markets"), n_asked);
}

/// The opening of a leader may bring hundreds of positions whose markets resolved long ago.
#[actix_web::test]
async fn sixty_resolved_markets_of_an_opening_are_asked_for_in_batches() {
    let setup = CopySetup::new().await;
    let exchange = OneMarketExchange::start(setup.clock);
    let writer = setup.ledger_writer();
    let (shadow, mut assets) = (PortfolioId::ShadowUser(setup.alice), Vec::new());
    for n in 0..60 {
        let market = exchange.simulator.add_market(&format!("old-{n}")).facts;
        exchange.simulator.with(|venue| venue.resolve(&market.id, &[price(1_000_000), price(0)]));
        let (asset, cause) = (market.outcomes[0].asset.clone(), format!("event:{n}"));
        let entries = vec![fill(shadow, setup.alice, &market.id, &asset, 1_000_000, -400_000, &cause)];
        writer.send(RecordEntries { entries, ..RecordEntries::default() }).await.unwrap().unwrap();
        assets.push((market.id, asset));
    }
    let done = round(&deps(&setup, &exchange, &writer), LastAsked::default()).await;
    assert_eq!(done.failures, 0);
    for (market, asset) in &assets {
        let stored = setup.db.market(market).await.unwrap().unwrap();
        assert_eq!(stored.payout_of(asset), Some(price(1_000_000)));
        assert!(stored.question.starts_with("old"), "{}", stored.question);
    }
    use crate::simulator::Host::{Clob, Data, Gamma};
    let n_asked = [(Gamma, "/markets"), (Data, "/v2/tokens"), (Data, "/v2/resolutions"), (Clob, "/")]
        .map(|(host, path)| exchange.n_asked(host, path));
    assert_eq!(n_asked, [3, 6, 0, 0], "requests");
}

#[test]
fn a_market_is_asked_for_its_payouts_less_often_the_longer_it_is_closed() {
    let check = |closed_for_ms: i64, asked_ago_ms: Option<i64>, due| {
        let now = Timestamp::from_millis(1_000_000_000);
        let market = Market {
            close_time: Some(now.plus_millis(-closed_for_ms)),
            ..Market::unknown(MarketId::parse(&format!("0x{:064x}", 1)).unwrap())
        };
        let mut asked = LastAsked::default();
        if let Some(ago) = asked_ago_ms {
            asked.payouts.insert(market.id.clone(), now.plus_millis(-ago));
        }
        assert_eq!(payouts_are_due(&market, &asked, now), due, "{closed_for_ms} {asked_ago_ms:?}");
    };
    check(-1, None, false);
    check(0, None, true);
    check(0, Some(59_999), false);
    check(0, Some(60_000), true);
    check(3_600_000, Some(359_999), false);
    check(3_600_000, Some(360_000), true);
    check(86_400_000, Some(899_999), false);
    check(86_400_000, Some(900_000), true);
}

/// A round in which the market is past its last look, so that facts and payouts are asked for.
async fn late_round(deps: &SettlerDeps, exchange: &OneMarketExchange) -> Round {
    let old =
        LastAsked { facts: BTreeMap::from([(exchange.market.id.clone(), Timestamp::EPOCH)]), payouts: BTreeMap::new() };
    round(deps, old).await
}

#[actix_web::test]
async fn a_market_settles_by_the_second_and_the_third_source_and_never_by_a_proposal_or_a_dispute() {
    use crate::simulator::{MarketQuirks, ResolutionAnswer};
    let setup = CopySetup::new().await;
    let exchange = OneMarketExchange::start(setup.clock);
    let writer = setup.ledger_writer();
    let deps = deps(&setup, &exchange, &writer);
    let half = price(500_000);
    let no_row = MarketQuirks { resolution: ResolutionAnswer::NoRow, ..MarketQuirks::default() };
    let with = |resolution| MarketQuirks { resolution, ..MarketQuirks::default() };
    let cases = [
        ("a resolved row without payouts", with(ResolutionAnswer::PriceOnly), Some(ResolutionStage::Resolved)),
        (
            "no row, Gamma alone",
            MarketQuirks { without_final_price: true, ..no_row.clone() },
            Some(ResolutionStage::Resolved),
        ),
        (
            "a proposal",
            MarketQuirks { without_final_price: true, ..with(ResolutionAnswer::Proposed(half)) },
            Some(ResolutionStage::Proposed),
        ),
        (
            "a dispute",
            MarketQuirks {
                without_final_price: true,
                ..with(ResolutionAnswer::Disputed { proposed: price(1_000_000), reproposed: half })
            },
            Some(ResolutionStage::Disputed),
        ),
    ];
    for (n, (name, quirks, stage)) in cases.into_iter().enumerate() {
        let market = exchange.simulator.add_market(&format!("case-{n}")).facts;
        let one = OneMarketExchange {
            market: market.clone(),
            simulator: crate::testkit::TestExchange::start(),
            polymarket: exchange.polymarket.clone(),
        };
        exchange.simulator.with(|venue| {
            venue.resolve(&market.id, &[half, half]);
            venue.change_market(&market.id, |market| market.quirks = quirks);
        });
        let portfolio = PortfolioId::ExecUser(setup.alice);
        let ref_id = format!("copy:{n}");
        let entries =
            vec![fill(portfolio, setup.alice, &market.id, &market.outcomes[0].asset, 8_000_000, -4_800_000, &ref_id)];
        writer.send(RecordEntries { entries, ..RecordEntries::default() }).await.unwrap().unwrap();
        let done = late_round(&deps, &one).await;
        assert_eq!(done.failures, 0, "{name}");
        let settles = stage == Some(ResolutionStage::Resolved);
        let entries = setup.entries(portfolio).await;
        let settled = entries.iter().find(|entry| entry.ref_id == format!("settle:{}:{}", market.id, setup.alice));
        assert_eq!(settled.map(|entry| entry.cash.0), settles.then_some(4_000_000), "{name}");
        let unsettled = setup.db.unsettled_markets().await.unwrap();
        let shown = unsettled.iter().find(|unsettled| unsettled.id == market.id).map(|unsettled| unsettled.stage);
        assert_eq!(shown, stage.filter(|_| !settles), "{name}");
    }
    let unsettled = setup.db.unsettled_markets().await.unwrap();
    assert!(unsettled.iter().all(|market| !market.is_late(setup.clock.now())));
    assert!(unsettled.iter().all(|market| market.is_late(setup.clock.now().plus_millis(4 * 3_600_000))));
}
