//! Generated traders: the same for a seed, plausible, and consistent with what their wallets hold.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::domain::events::event::Side;
use crate::simulator::state::feed::Role;
use crate::simulator::traders::LifeSettings;

const DAY: i64 = 86_400_000;

fn after(seed: u64, settings: LifeSettings, millis: i64, step: i64) -> Simulation {
    let mut simulation = simulation(SimulatorSettings { seed, ..at_ten() });
    simulation.start_trading_at(settings, ten());
    let mut passed = 0;
    while passed < millis {
        passed = (passed + step).min(millis);
        simulation.trade_until(ten().plus_millis(passed));
    }
    simulation
}

fn a_day() -> LifeSettings {
    LifeSettings { fills_per_second: 600.0 / 86_400.0, ..LifeSettings::default() }
}

/// Returns the rows of all traders as the activity route prints them, in order.
fn rows_of_all(simulation: &Simulation) -> Vec<String> {
    let later = ten().plus_millis(10 * DAY);
    let rows = simulation.leaders().iter().flat_map(|wallet| simulation.exchange.rows_of(wallet)).collect::<Vec<_>>();
    rows.iter()
        .map(|row| serde_json::to_string(&row.activity(&simulation.exchange.labels(row, later))).unwrap())
        .collect()
}

#[test]
fn a_seed_has_the_same_rows_however_time_is_cut() {
    let once = rows_of_all(&after(5, a_day(), DAY, DAY));
    assert_eq!(once, rows_of_all(&after(5, a_day(), DAY, 61_000)));
    assert_ne!(once, rows_of_all(&after(6, a_day(), DAY, DAY)));
}

#[test]
fn three_days_of_three_leaders_have_each_kind_of_row() {
    let simulation = after(5, LifeSettings { fills_per_second: 0.03, ..LifeSettings::default() }, 3 * DAY, DAY);
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    let (mut makers, mut sells, mut twins) = (0, 0, 0);
    for wallet in simulation.leaders() {
        let mut seen = BTreeSet::new();
        for row in simulation.exchange.rows_of(&wallet) {
            *kinds.entry(row.kind.clone()).or_insert(0) += 1;
            makers += usize::from(row.role == Some(Role::Maker));
            sells += usize::from(row.side == Some(Side::Sell));
            let key = (row.tx_hash.clone(), row.asset.clone(), row.shares);
            twins += usize::from(row.role.is_some() && !seen.insert(key));
        }
    }
    let n_trades = kinds["TRADE"];
    assert!((5_000..11_000).contains(&n_trades), "{kinds:?}");
    assert!(makers > n_trades / 5 && makers < n_trades * 4 / 5, "{makers} of {n_trades}");
    assert!(sells > n_trades / 20 && twins > 0, "{sells} sells, {twins} twins of {n_trades}");
    for kind in ["MERGE", "SPLIT", "REDEEM", "CONVERSION", "MAKER_REBATE"] {
        assert!(kinds.contains_key(kind), "{kind} in {kinds:?}");
    }
}

#[test]
fn no_wallet_holds_a_negative_amount() {
    let simulation = after(8, a_day(), 4 * DAY, DAY);
    for wallet in simulation.leaders() {
        for (asset, holding) in simulation.exchange.holdings(&wallet, None) {
            assert!(holding.shares.0 >= 0, "{asset} {holding:?}");
        }
    }
}

#[test]
fn positions_show_the_sum_of_the_rows() {
    let mut simulation = after(8, a_day(), DAY, DAY);
    simulation.advance(DAY + 60_000);
    let wallet = simulation.leaders()[0].clone();
    let mut expected: BTreeMap<String, i64> = BTreeMap::new();
    for row in simulation.exchange.rows_of(&wallet) {
        for (asset, moved) in &row.share_changes {
            *expected.entry(asset.to_string()).or_insert(0) += moved.0;
        }
    }
    expected.retain(|_, shares| *shares >= 100);
    let mut shown = BTreeMap::new();
    let mut cursor = String::new();
    loop {
        let path = format!("/v2/positions?user={wallet}&limit=7&filter_amount=0{cursor}");
        let answer = get(&mut simulation, Host::Data, &path);
        for row in rows(&answer) {
            let size = (row["current_size"].as_f64().unwrap() * 1e4).round() as i64;
            assert!(shown.insert(row["token_id"].as_str().unwrap().to_owned(), size * 100).is_none());
        }
        let Some(next) = next_cursor(&answer) else { break };
        cursor = format!("&cursor={next}");
    }
    shown.retain(|_, shares| *shares > 0);
    let cut: BTreeMap<String, i64> = expected.into_iter().map(|(asset, shares)| (asset, shares / 100 * 100)).collect();
    assert_eq!(shown, cut);
    let value = get(&mut simulation, Host::Data, &format!("/v2/value?user={wallet}")).value();
    assert!(value["data"]["value"].as_f64().unwrap() > 0.0);
    let board = rows(&get(&mut simulation, Host::Data, "/v2/leaderboard?time_period=all&sort_by=VOLUME&limit=2"));
    assert_eq!(board.len(), 2);
    assert!(board[0]["volume"].as_f64() >= board[1]["volume"].as_f64());
}

#[test]
fn thousands_of_fills_a_second_are_possible() {
    let settings = LifeSettings { fills_per_second: 4_000.0, leaders: 5, markets: 60 };
    let simulation = after(2, settings, 1_000, 50);
    let n: usize = simulation.leaders().iter().map(|wallet| simulation.exchange.n_rows(wallet)).sum();
    assert!((2_500..6_000).contains(&n), "{n}");
}
