//! The whole bot on a simulated machine, in virtual time: every seed is another life.
//!
//! `SEEDS=10000 cargo test --test it -- simulation::every_seed --nocapture` lives that many; `FIRST` is the first seed,
//! and `DEEDS` how much happens in each. A seed that fails is lived again by
//! `FIRST=<seed> SEEDS=1 cargo test --test it -- simulation::every_seed --nocapture`, with `SIMULATION_TRACE=1` for
//! every step, and `SIMULATION_TRACE=2` for every step with the functions that took it.

mod laws;
mod life;
mod scene;
mod time;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use polymarketspy::domain::decision::explanation::DecisionKind;
use polymarketspy::domain::events::event::Side;

use life::{Life, Tally};
use scene::{Scene, in_virtual_time};

/// Seeds of one run of the tests: about a minute. Seed 169, which is not among them, breaks a law: adjustments that late
/// rows do not take back whole.
const SEEDS: u64 = 60;
/// Deeds of one life: fills, faults and what else the dice bring.
const DEEDS: u64 = 24;
const THREADS: usize = 2;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is not a number")))
}

/// Lives one life; the error says which law it broke, and what happened before.
fn lived(seed: u64, n_deeds: u64) -> Result<Tally, String> {
    in_virtual_time(async move {
        let mut life = Life::begin(seed).await;
        let lived = life.live(usize::try_from(n_deeds).unwrap()).await;
        lived.map_err(|violation| {
            let diary = life.diary.join("\n    ");
            format!(
                "seed {seed}: {}\n    {diary}\n  again: FIRST={seed} SEEDS=1 DEEDS={n_deeds} cargo test --test it -- \
                 simulation::every_seed --nocapture",
                violation.0
            )
        })
    })
}

#[test]
fn every_seed_is_a_life_in_which_all_laws_hold() {
    let (first, seeds, deeds) = (setting("FIRST", 1), setting("SEEDS", SEEDS), setting("DEEDS", DEEDS));
    let (next, begun) = (AtomicU64::new(first), Instant::now());
    let (sum, broken) = (Mutex::new(Tally::default()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed >= first + seeds || broken.lock().unwrap().len() >= 3 {
                        break;
                    }
                    match lived(seed, deeds) {
                        Ok(tally) => sum.lock().unwrap().add(tally),
                        Err(text) => broken.lock().unwrap().push(text),
                    }
                }
            });
        }
    });
    let sum = sum.into_inner().unwrap();
    eprintln!("{seeds} lives from seed {first} in {:?}: {sum:?}", begun.elapsed());
    let broken = broken.into_inner().unwrap();
    assert!(broken.is_empty(), "{} lives broke a law:\n{}", broken.len(), broken.join("\n\n"));
    assert!(sum.executed > 0 && sum.skipped > 0 && sum.crashes > 0 || seeds < 20, "nothing happened: {sum:?}");
}

#[test]
fn the_same_seed_has_the_same_life_to_the_last_step() {
    for seed in [3, 4, 5] {
        let once = lived(seed, 12).unwrap();
        assert_eq!(lived(seed, 12).unwrap(), once);
        assert_ne!(lived(seed + 100, 12).unwrap().trace, once.trace);
    }
}

#[test]
fn a_fill_is_copied_once_into_both_portfolios() {
    in_virtual_time(async {
        let mut scene = Scene::new(1);
        scene.follow("leader").await;
        let market = scene.add_market("rain");
        scene.machine.start();
        scene.machine.pass(Duration::from_secs(5)).await;
        scene.fill(0, &market, 0, Side::Buy, 100_000_000);
        scene.machine.pass(Duration::from_secs(60)).await;
        let attempts = scene.attempts().await;
        assert!(attempts.iter().all(|row| row.attempt.followed_user == scene.leaders[0].id));
        let decisions: Vec<_> = attempts.into_iter().map(|row| row.attempt.decision).collect();
        assert_eq!(decisions, [DecisionKind::Execute; 2]);
    });
}
