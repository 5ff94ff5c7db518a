//! The generator: the same for a seed, plausible, consistent with what the wallets hold.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::domain::events::event::Side;
use crate::simulator::life::traders::LifeSettings;
use crate::simulator::state::activity_rows::Role;

const DAY: i64 = 86_400_000;

fn lived(seed: u64, settings: LifeSettings, millis: i64, step: i64) -> World {
    let mut world = world(SimulatorSettings { seed, ..at_ten() });
    world.start_life_at(settings, ten());
    let mut passed = 0;
    while passed < millis {
        passed = (passed + step).min(millis);
        world.live_until(ten().plus_millis(passed));
    }
    world
}

fn a_day() -> LifeSettings {
    LifeSettings { fills_per_second: 600.0 / 86_400.0, ..LifeSettings::default() }
}

/// Everything a page would print, in order.
fn story(world: &World) -> Vec<String> {
    let later = ten().plus_millis(10 * DAY);
    let rows = world.leaders().iter().flat_map(|wallet| world.rows_of(wallet)).collect::<Vec<_>>();
    rows.iter().map(|row| serde_json::to_string(&row.activity(&world.labels(row, later))).unwrap()).collect()
}

#[test]
fn a_seed_tells_the_same_story_however_time_is_cut() {
    let told = story(&lived(5, a_day(), DAY, DAY));
    assert_eq!(told, story(&lived(5, a_day(), DAY, 61_000)));
    assert_ne!(told, story(&lived(6, a_day(), DAY, DAY)));
}

#[test]
fn a_day_of_three_leaders_is_lively_and_has_a_bit_of_everything() {
    let world = lived(5, LifeSettings { fills_per_second: 0.03, ..LifeSettings::default() }, 3 * DAY, DAY);
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    let (mut makers, mut sells, mut twins) = (0, 0, 0);
    for wallet in world.leaders() {
        let mut seen = BTreeSet::new();
        for row in world.rows_of(&wallet) {
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
fn nobody_holds_less_than_nothing() {
    let world = lived(8, a_day(), 4 * DAY, DAY);
    for wallet in world.leaders() {
        for (asset, holding) in world.holdings(&wallet, None) {
            assert!(holding.shares.0 >= 0, "{asset} {holding:?}");
        }
    }
}

#[test]
fn positions_show_what_the_rows_add_up_to() {
    let mut world = lived(8, a_day(), DAY, DAY);
    world.advance(DAY + 60_000);
    let wallet = world.leaders()[0].clone();
    let mut expected: BTreeMap<String, i64> = BTreeMap::new();
    for row in world.rows_of(&wallet) {
        for (asset, moved) in &row.moves {
            *expected.entry(asset.to_string()).or_insert(0) += moved.0;
        }
    }
    expected.retain(|_, shares| *shares >= 100);
    let mut shown = BTreeMap::new();
    let mut cursor = String::new();
    loop {
        let path = format!("/v2/positions?user={wallet}&limit=7&filter_amount=0{cursor}");
        let answer = get(&mut world, Host::Data, &path);
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
    let value = get(&mut world, Host::Data, &format!("/v2/value?user={wallet}")).value();
    assert!(value["data"]["value"].as_f64().unwrap() > 0.0);
    let board = rows(&get(&mut world, Host::Data, "/v2/leaderboard?time_period=all&sort_by=VOLUME&limit=2"));
    assert_eq!(board.len(), 2);
    assert!(board[0]["volume"].as_f64() >= board[1]["volume"].as_f64());
}

#[test]
fn thousands_of_fills_a_second_are_no_trouble() {
    let settings = LifeSettings { fills_per_second: 4_000.0, leaders: 5, markets: 60 };
    let world = lived(2, settings, 1_000, 50);
    let n: usize = world.leaders().iter().map(|wallet| world.n_rows(wallet)).sum();
    assert!((2_500..6_000).contains(&n), "{n}");
}
