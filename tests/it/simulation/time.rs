//! The clock steps back, leaps, or is right again after the machine slept; a day, a week and a year turn.

use std::time::Duration;

use polymarketspy::domain::decision::check::ReasonCode;
use polymarketspy::domain::decision::explanation::DecisionKind;
use polymarketspy::domain::events::event::Side;
use polymarketspy::domain::money::units::Timestamp;
use polymarketspy::queue::{self, Queue};
use polymarketspy::simulator::{Fault, FaultKind, Fill, Host, SimMarket, Times};
use polymarketspy::testkit::simulation::Ending;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::scene::{Scene, in_virtual_time};

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// How far a fill has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It is stored, and its window is open.
    Stored,
    /// Its group waits for its decision.
    Grouped,
}

async fn running(start: &str) -> (Scene, SimMarket) {
    let mut scene = Scene::at(1, Timestamp::parse_iso(start).unwrap(), false);
    scene.follow("leader").await;
    let market = scene.add_market("rain");
    scene.machine.start();
    scene.machine.pass(Duration::from_secs(40)).await;
    (scene, market)
}

impl Scene {
    /// Lets the leader trade, and waits until the bot has come as far as `stage`.
    async fn fill_until(&mut self, market: &SimMarket, side: Side, stage: Stage) {
        self.fill(0, market, 0, side, 200_000_000);
        let queue = match stage {
            Stage::Stored => Queue::GroupEvents,
            Stage::Grouped => Queue::CopyAttemptGlobal,
        };
        for _ in 0..4_000 {
            self.machine.pass(Duration::from_millis(10)).await;
            let depths = queue::depths(&self.machine.db).await.unwrap();
            if depths.iter().any(|depth| depth.queue == queue && depth.open > 0) {
                return;
            }
        }
        panic!("no fill came as far as {stage:?}");
    }

    /// Returns the decisions after some seconds, oldest first.
    async fn decided_in(&mut self, seconds: u64) -> Vec<(DecisionKind, Vec<ReasonCode>)> {
        self.machine.pass(Duration::from_secs(seconds)).await;
        self.attempts().await.into_iter().map(|row| (row.attempt.decision, row.attempt.reasons)).collect()
    }

    /// The machine sleeps: no timer moves, and its clock is right afterwards.
    fn sleeps(&self, millis: i64) {
        self.machine.exchange.advance(millis);
        self.machine.clock.step(millis);
    }
}

fn copied(n: usize) -> Vec<(DecisionKind, Vec<ReasonCode>)> {
    vec![(DecisionKind::Execute, Vec::new()); n]
}

fn too_old() -> Vec<(DecisionKind, Vec<ReasonCode>)> {
    vec![(DecisionKind::Skip, vec![ReasonCode::SignalTooOld]); 2]
}

#[test]
fn a_clock_set_back_by_an_hour_holds_no_fill() {
    for stage in [Stage::Stored, Stage::Grouped] {
        for step in [-90_000, -HOUR_MS, -DAY_MS] {
            in_virtual_time(async {
                let (mut scene, market) = running("2026-11-25T10:00:00Z").await;
                scene.fill_until(&market, Side::Buy, stage).await;
                scene.machine.clock.step(step);
                assert_eq!(scene.decided_in(10).await, copied(2), "{stage:?}, {step} ms");
                // The next fill is found by the next poll, in the usual time.
                scene.fill_until(&market, Side::Sell, Stage::Stored).await;
                assert_eq!(scene.decided_in(10).await, copied(4), "{stage:?}, {step} ms");
            });
        }
    }
}

#[test]
fn a_clock_set_back_and_a_restart_hold_no_fill() {
    for stage in [Stage::Stored, Stage::Grouped] {
        for ending in [Ending::Killed, Ending::PowerCut] {
            in_virtual_time(async {
                let (mut scene, market) = running("2026-11-25T10:00:00Z").await;
                scene.fill_until(&market, Side::Buy, stage).await;
                scene.machine.clock.step(-HOUR_MS);
                scene.machine.crash(ending, &mut StdRng::seed_from_u64(1));
                scene.machine.start();
                assert_eq!(scene.decided_in(60).await, copied(2), "{stage:?}, {ending:?}");
            });
        }
    }
}

#[test]
fn a_clock_that_leaps_forward_wrongly_makes_no_fill_too_old() {
    in_virtual_time(async {
        let (mut scene, market) = running("2026-11-25T10:00:00Z").await;
        scene.machine.clock.step(2 * HOUR_MS);
        scene.machine.pass(Duration::from_secs(35)).await;
        scene.fill_until(&market, Side::Buy, Stage::Stored).await;
        assert_eq!(scene.decided_in(10).await, copied(2));
        scene.machine.clock.step(-2 * HOUR_MS);
        scene.fill_until(&market, Side::Sell, Stage::Stored).await;
        assert_eq!(scene.decided_in(10).await, copied(4));
    });
}

#[test]
fn after_a_sleep_a_purchase_is_too_old_and_a_sale_is_not() {
    for slept in [15 * 60_000 + 1_000, HOUR_MS, DAY_MS, 3 * DAY_MS] {
        in_virtual_time(async {
            let (mut scene, market) = running("2026-11-25T10:00:00Z").await;
            scene.fill_until(&market, Side::Buy, Stage::Grouped).await;
            scene.sleeps(slept);
            assert_eq!(scene.decided_in(20).await, too_old(), "{slept} ms");
            scene.fill_until(&market, Side::Buy, Stage::Stored).await;
            let bought = [too_old(), copied(2)].concat();
            assert_eq!(scene.decided_in(20).await, bought, "{slept} ms");
            scene.fill_until(&market, Side::Sell, Stage::Grouped).await;
            scene.sleeps(slept);
            assert_eq!(scene.decided_in(20).await, [bought, copied(2)].concat(), "{slept} ms");
        });
    }
}

#[test]
fn a_row_that_is_shown_while_the_machine_sleeps_or_the_bot_is_off_is_found() {
    for is_off in [false, true] {
        for slept in [HOUR_MS, 3 * DAY_MS] {
            in_virtual_time(async {
                let (mut scene, market) = running("2026-11-25T10:00:00Z").await;
                let shown = scene.machine.clock.now().plus_millis(600_000);
                let asset = market.asset(0).unwrap();
                let late =
                    Fill::maker(&scene.leaders[0].wallet, asset, Side::Buy, 500_000, 9_000_000).visible_at(shown);
                scene.machine.exchange.with(|exchange| exchange.push_fill(late)).unwrap();
                scene.fill_until(&market, Side::Buy, Stage::Stored).await;
                assert_eq!(scene.decided_in(10).await, copied(2));
                if is_off {
                    scene.machine.crash(Ending::Killed, &mut StdRng::seed_from_u64(1));
                }
                scene.sleeps(slept);
                if is_off {
                    scene.machine.start();
                }
                let decided = scene.decided_in(90).await;
                assert_eq!(decided, [copied(2), too_old()].concat(), "off: {is_off}, {slept} ms");
            });
        }
    }
}

#[test]
fn an_upstream_that_failed_is_asked_again_soon_whatever_the_clock_does() {
    for step in [-DAY_MS, -HOUR_MS, HOUR_MS, 3 * DAY_MS] {
        in_virtual_time(async {
            let (mut scene, market) = running("2026-11-25T10:00:00Z").await;
            let fault = Fault::once(Host::Data, "", FaultKind::Status(503)).times(Times::Always);
            scene.machine.exchange.with(|exchange| exchange.fault(fault));
            scene.machine.pass(Duration::from_secs(120)).await;
            scene.machine.clock.step(step);
            scene.machine.exchange.with(|exchange| exchange.clear_faults());
            scene.machine.pass(Duration::from_secs(90)).await;
            scene.fill_until(&market, Side::Buy, Stage::Stored).await;
            assert_eq!(scene.decided_in(10).await, copied(2), "{step} ms");
        });
    }
}

#[test]
fn copies_go_on_through_the_turn_of_a_day_a_week_and_a_year() {
    for start in ["2026-11-25T23:58:00Z", "2026-11-29T23:58:00Z", "2026-12-31T23:58:00Z"] {
        in_virtual_time(async {
            let (mut scene, market) = running(start).await;
            for n in 1..=6 {
                let side = if n % 2 == 1 { Side::Buy } else { Side::Sell };
                scene.fill_until(&market, side, Stage::Stored).await;
                assert_eq!(scene.decided_in(10).await, copied(2 * n), "{start}");
            }
            let began = Timestamp::parse_iso(start).unwrap();
            assert!(scene.machine.clock.now().millis_since(began) > 120_000, "the turn was passed");
        });
    }
}

#[test]
fn two_workers_copy_once_after_both_slept() {
    for slept in [15 * 60_000, 3 * DAY_MS] {
        in_virtual_time(async {
            let mut scene = Scene::at(1, Timestamp::parse_iso("2026-11-25T10:00:00Z").unwrap(), true);
            scene.follow("leader").await;
            let market = scene.add_market("rain");
            scene.machine.start();
            scene.machine.start();
            scene.machine.pass(Duration::from_secs(60)).await;
            scene.sleeps(slept);
            scene.machine.pass(Duration::from_secs(10)).await;
            scene.fill_until(&market, Side::Buy, Stage::Stored).await;
            assert_eq!(scene.decided_in(15).await, copied(2), "{slept} ms");
        });
    }
}
