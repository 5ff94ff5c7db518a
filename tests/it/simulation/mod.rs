//! The whole bot on a simulated machine, in virtual time: every seed is another life.

mod scene;

use std::time::Duration;

use polymarketspy::domain::decision::explanation::DecisionKind;
use polymarketspy::domain::events::event::Side;

use scene::{Scene, in_virtual_time};

/// Returns the decisions on one fill, and the trace of the run.
fn one_copy(seed: u64) -> (Vec<DecisionKind>, (u64, u64)) {
    in_virtual_time(async move {
        let mut scene = Scene::new(seed, false);
        scene.follow("leader").await;
        let market = scene.add_market("rain");
        scene.machine.start();
        scene.machine.pass(Duration::from_secs(5)).await;
        scene.fill(0, &market, 0, Side::Buy, 100_000_000);
        scene.machine.pass(Duration::from_secs(120)).await;
        let attempts = scene.attempts().await;
        assert!(attempts.iter().all(|row| row.attempt.followed_user == scene.leaders[0].id));
        (attempts.into_iter().map(|row| row.attempt.decision).collect(), scene.machine.trace.sum())
    })
}

#[test]
fn a_fill_is_copied_once_into_both_portfolios_and_the_same_seed_has_the_same_run() {
    let (decisions, trace) = one_copy(1);
    assert_eq!(decisions, [DecisionKind::Execute; 2]);
    assert_eq!(one_copy(1).1, trace);
    assert_ne!(one_copy(2).1, trace);
}
