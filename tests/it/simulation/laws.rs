//! What must hold: after every deed, and at the end of a life.

use std::collections::{BTreeMap, BTreeSet};

use polymarketspy::audit::audit;
use polymarketspy::db::{ListedAttempt, TradeFilter};
use polymarketspy::domain::accounting::ledger::{EntryType, PortfolioId};
use polymarketspy::domain::decision::explanation::DecisionKind;
use polymarketspy::domain::events::event::Side;
use polymarketspy::domain::money::ids::AssetId;
use polymarketspy::domain::money::units::Timestamp;
use polymarketspy::queue::{self, Queue};

use super::life::Tally;
use super::scene::{Leader, Scene, panics};

/// The queues that a fill passes through until it is booked and decided.
const DECIDING: [Queue; 5] =
    [Queue::IngestEvents, Queue::GroupEvents, Queue::CopyAttemptUser, Queue::CopyAttemptGlobal, Queue::PortfolioApply];

/// A BUY older than this is not copied (maxSignalAgeSeconds).
const STALE_MS: i64 = 900_000;
/// How far the bot may misjudge an age: dates of answers are whole seconds, and answers are seconds on their way.
const AGE_ERROR_MS: i64 = 15_000;

/// The positions route prints four decimals, so an opening is not exact; a smaller difference is not a drift (spec 5).
const DRIFT: i64 = 100;

/// The most assets of a life.
const N_ASSETS: i64 = 8;

/// A broken law, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation(pub String);

/// What the laws remember from one look to the next.
#[derive(Debug, Default)]
pub struct Laws {
    pub crashes: usize,
    /// Attempts seen so far.
    known: BTreeSet<String>,
    /// The exchange's time of the last look.
    looked: Option<Timestamp>,
}

/// What identifies a fill of the exchange: its transaction, token, side and shares.
type FillKey = (String, String, bool, i64);

fn law(holds: bool, text: impl FnOnce() -> String) -> Result<(), Violation> {
    if holds { Ok(()) } else { Err(Violation(text())) }
}

impl Laws {
    /// Notes that the machine slept until now: nothing was decided meanwhile.
    pub fn slept(&mut self, scene: &Scene) {
        self.looked = Some(scene.machine.exchange.with(|exchange| exchange.now()));
    }

    /// Checks what always holds.
    ///
    /// # Errors
    /// The first law that does not hold.
    pub async fn hold_now(&mut self, scene: &Scene, n_processes: usize) -> Result<(), Violation> {
        let panics = panics();
        law(panics.is_empty(), || format!("something panicked: {panics:?}"))?;
        let report = audit(&scene.machine.db).await.map_err(|error| Violation(format!("audit: {error}")))?;
        law(report.problems.is_empty(), || format!("the audit finds: {:?}", report.problems))?;
        law(scene.machine.living().len() <= n_processes, || "too many processes".to_owned())?;
        self.copies_are_sound(scene).await?;
        no_copy_holds_less_than_nothing(scene).await?;
        for leader in &scene.leaders {
            no_fill_is_invented_or_doubled(scene, leader).await?;
        }
        Ok(())
    }

    /// No attempt is made twice, and no purchase is copied that is older than allowed.
    async fn copies_are_sound(&mut self, scene: &Scene) -> Result<(), Violation> {
        let attempts = scene.attempts().await;
        let mut seen = BTreeSet::new();
        for row in &attempts {
            let key = format!("{} {}", row.attempt.portfolio, row.attempt.group_key.as_str());
            law(seen.insert(key.clone()), || format!("two attempts of {key}"))?;
        }
        law(self.known.is_subset(&seen), || {
            format!("attempts vanished: {:?}", self.known.difference(&seen).collect::<Vec<_>>())
        })?;
        let now = scene.machine.exchange.with(|exchange| exchange.now());
        let since = self.looked.replace(now).unwrap_or(now);
        for row in attempts.iter().filter(|row| copies_a_purchase(row)) {
            let key = format!("{} {}", row.attempt.portfolio, row.attempt.group_key.as_str());
            let age = since.millis_since(row.event_time);
            law(self.known.contains(&key) || age <= STALE_MS + AGE_ERROR_MS, || {
                format!("{key} was copied at least {age} ms after the fill")
            })?;
        }
        self.known = seen;
        Ok(())
    }

    /// Checks what holds once everything is done.
    ///
    /// # Errors
    /// The first law that does not hold yet.
    pub async fn hold_at_the_end(&self, scene: &Scene) -> Result<(), Violation> {
        let db = &scene.machine.db;
        let depths = queue::depths(db).await.unwrap();
        let open: Vec<_> = depths.iter().filter(|depth| DECIDING.contains(&depth.queue) && depth.open > 0).collect();
        law(open.is_empty(), || format!("open jobs: {open:?}"))?;
        let dead = db.dead_letters(None, 10).await.unwrap();
        law(dead.is_empty(), || format!("failed jobs: {dead:?}"))?;
        for leader in &scene.leaders {
            every_fill_is_stored(scene, leader).await?;
            the_shadow_is_the_leader(scene, leader).await?;
        }
        every_group_is_decided_twice(scene).await
    }

    /// Returns what a life amounted to.
    pub async fn tally(&self, scene: &Scene) -> Tally {
        let attempts = scene.attempts().await;
        let executed = attempts.iter().filter(|row| row.attempt.decision == DecisionKind::Execute).count();
        let rows = scene.leaders.iter().map(|leader| scene.machine.exchange.with(|it| it.n_rows(&leader.wallet))).sum();
        let (skipped, crashes) = (attempts.len() - executed, self.crashes);
        Tally { rows, executed, skipped, crashes, ..Tally::default() }
    }
}

fn copies_a_purchase(row: &ListedAttempt) -> bool {
    row.attempt.decision == DecisionKind::Execute && row.side == Some(Side::Buy)
}

/// Cash and lots of the copies never fall below zero: nothing is bought on credit, nothing is sold short.
async fn no_copy_holds_less_than_nothing(scene: &Scene) -> Result<(), Violation> {
    let mut cash: BTreeMap<String, i64> = BTreeMap::new();
    let mut lots: BTreeMap<(String, String), i64> = BTreeMap::new();
    for placed in scene.machine.db.all_entries_within(0, 1_000_000_000).await.unwrap() {
        let entry = placed.entry;
        if matches!(entry.portfolio, PortfolioId::ShadowUser(_)) {
            continue;
        }
        let name = entry.portfolio.to_string();
        let cash = cash.entry(name.clone()).or_default();
        *cash += entry.cash.0;
        law(*cash >= 0, || format!("{name} has {cash} of cash after {}", entry.ref_id))?;
        if let Some(asset) = &entry.asset {
            let lot = lots.entry((name, format!("{asset} {:?}", entry.attributed_user))).or_default();
            *lot += entry.shares.0;
            law(*lot >= 0, || format!("a lot of {lot} after {}", entry.ref_id))?;
        }
    }
    Ok(())
}

/// The canonical fills of a leader that are stored, counted.
async fn stored(scene: &Scene, leader: &Leader) -> BTreeMap<FillKey, usize> {
    let filter = TradeFilter { user: Some(leader.id), ..TradeFilter::default() };
    let rows = scene.machine.db.trades_page(&filter, None, 100_000).await.unwrap().rows;
    let mut counted = BTreeMap::new();
    for trade in rows.into_iter().map(|row| row.trade) {
        let key = (trade.tx_hash, trade.asset.to_string(), trade.side == Side::Buy, trade.shares.0);
        *counted.entry(key).or_default() += 1;
    }
    counted
}

/// The fills of a leader at the exchange, counted; those that the Data API shows already.
fn true_fills(scene: &Scene, leader: &Leader) -> BTreeMap<FillKey, usize> {
    scene.machine.exchange.with(|exchange| {
        let now = exchange.now();
        let mut counted = BTreeMap::new();
        for row in exchange.rows_of(&leader.wallet).filter(|row| row.kind == "TRADE" && row.visible_at <= now) {
            let asset = row.asset.as_ref().map(AssetId::to_string).unwrap_or_default();
            let key = (row.tx_hash.clone(), asset, row.side == Some(Side::Buy), row.shares.0);
            *counted.entry(key).or_default() += 1;
        }
        counted
    })
}

async fn no_fill_is_invented_or_doubled(scene: &Scene, leader: &Leader) -> Result<(), Violation> {
    let truth = true_fills(scene, leader);
    for (key, n) in stored(scene, leader).await {
        let really = truth.get(&key).copied().unwrap_or(0);
        law(n <= really, || format!("fill {key:?} is stored {n} times and happened {really} times"))?;
    }
    Ok(())
}

async fn every_fill_is_stored(scene: &Scene, leader: &Leader) -> Result<(), Violation> {
    let stored = stored(scene, leader).await;
    for (key, n) in true_fills(scene, leader) {
        let kept = stored.get(&key).copied().unwrap_or(0);
        law(n == kept, || format!("fill {key:?} happened {n} times and is stored {kept} times"))?;
    }
    Ok(())
}

/// The shadow holds what the leader holds, and its cash is the leader's: PnL counts from the opening, and no order in
/// which rows came changes it.
async fn the_shadow_is_the_leader(scene: &Scene, leader: &Leader) -> Result<(), Violation> {
    let entries = scene.machine.db.entries_after(PortfolioId::ShadowUser(leader.id), 0, 1_000_000).await.unwrap();
    let (mut held, mut cash): (BTreeMap<String, i64>, i64) = (BTreeMap::new(), 0);
    let mut by_kind: BTreeMap<EntryType, i64> = BTreeMap::new();
    for entry in entries.into_iter().map(|placed| placed.entry) {
        *by_kind.entry(entry.kind).or_default() += entry.cash.0;
        if entry.kind != EntryType::Opening {
            cash += entry.cash.0;
        }
        if let Some(asset) = entry.asset {
            *held.entry(asset.to_string()).or_default() += entry.shares.0;
        }
    }
    let (truly_held, true_cash) = scene.truth_of(leader);
    for asset in held.keys().chain(truly_held.keys()) {
        let of = |held: &BTreeMap<String, i64>| held.get(asset).copied().unwrap_or(0);
        let (ours, theirs) = (of(&held), of(&truly_held));
        law((ours - theirs).abs() < DRIFT, || {
            format!("the shadow of {} holds {ours} of {asset}, the leader {theirs}", leader.id)
        })?;
    }
    // Shares that an opening lacks by its last decimal are redeemed without cash.
    law((cash - true_cash).abs() < DRIFT * N_ASSETS, || {
        format!("the shadow of {} moved {cash} of cash, the leader {true_cash}: {by_kind:?}", leader.id)
    })
}

async fn every_group_is_decided_twice(scene: &Scene) -> Result<(), Violation> {
    let mut decided: BTreeMap<String, usize> = BTreeMap::new();
    for row in scene.attempts().await {
        *decided.entry(row.attempt.group_key.as_str().to_owned()).or_default() += 1;
    }
    let odd: Vec<_> = decided.iter().filter(|(_, n)| **n != 2).collect();
    law(odd.is_empty(), || format!("groups without two attempts: {odd:?}"))
}
