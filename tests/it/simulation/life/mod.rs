//! One life: what leaders do, what goes wrong, and when, all drawn from a seed.

use std::collections::BTreeMap;
use std::time::Duration;

use polymarketspy::domain::config::effective::ConfigPatch;
use polymarketspy::domain::money::ids::{AssetId, Wallet};
use polymarketspy::domain::money::units::Timestamp;
use polymarketspy::simulator::{NewMarket, SimMarket};
use polymarketspy::testkit::simulation::{Ending, Weather};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::Instant;

mod deeds;

use super::laws::{Laws, Violation};
use super::scene::Scene;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// Times at which a life may begin: an ordinary morning, and shortly before the turn of a day, a week and a year.
const BEGINNINGS: [&str; 4] =
    ["2026-11-25T10:00:00Z", "2026-11-26T23:57:30Z", "2026-11-29T23:57:30Z", "2026-12-31T23:57:30Z"];

pub struct Life {
    scene: Scene,
    dice: StdRng,
    markets: Vec<SimMarket>,
    laws: Laws,
    /// By how much the wall clock is wrong.
    clock_error_ms: i64,
    /// The largest error so far: after a step back the bot's time, and its cadences with it, is late by that much.
    worst_clock_error_ms: i64,
    trouble: Vec<(Instant, Trouble)>,
    /// Processes that are to be started, and when.
    starts: Vec<Instant>,
    n_processes: usize,
    /// When the Data API will have shown every row.
    shown_by: Timestamp,
    /// When the fills of a leader in one token and second are shown.
    shown: BTreeMap<(Wallet, AssetId, i64), Timestamp>,
    /// What happened, for the report of a failure.
    pub diary: Vec<String>,
}

/// A fault that lasts for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    Weather,
    Upstream,
    FullDisk,
    SlowDisk,
    Frozen(usize),
}

/// What a life amounted to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    pub trace: (u64, u64),
    pub rows: usize,
    pub executed: usize,
    pub skipped: usize,
    pub crashes: usize,
}

impl Tally {
    pub fn add(&mut self, other: Self) {
        self.trace.1 += other.trace.1;
        self.rows += other.rows;
        self.executed += other.executed;
        self.skipped += other.skipped;
        self.crashes += other.crashes;
    }
}

impl Life {
    pub async fn begin(seed: u64) -> Self {
        let mut dice = StdRng::seed_from_u64(seed);
        let shared = dice.random_ratio(1, 4);
        let start = Timestamp::parse_iso(BEGINNINGS[dice.random_range(0..BEGINNINGS.len())]).unwrap();
        let mut scene = Scene::at(seed, start, shared);
        let n_markets = dice.random_range(2..=4);
        let market = |n: usize, fee: i64| NewMarket::binary(&format!("market-{n}")).fee(fee);
        let markets =
            (0..n_markets).map(|n| scene.add(market(n, [0, 50_000, 70_000][dice.random_range(0..3)]))).collect();
        for n in 0..dice.random_range(1..=3) {
            scene.follow(&format!("leader-{n}")).await;
        }
        let n_processes = if shared { 2 } else { 1 };
        let mut life = Self {
            scene,
            dice,
            markets,
            laws: Laws::default(),
            clock_error_ms: 0,
            worst_clock_error_ms: 0,
            trouble: Vec::new(),
            starts: vec![Instant::now(); n_processes],
            n_processes,
            shown_by: start,
            shown: BTreeMap::new(),
            diary: Vec::new(),
        };
        life.hold_old_shares();
        life
    }

    /// Lives to the end, and returns what it amounted to.
    ///
    /// # Errors
    /// The first law that was broken.
    pub async fn live(&mut self, n_deeds: usize) -> Result<Tally, Violation> {
        self.pass(Duration::from_secs(3)).await?;
        for _ in 0..n_deeds {
            self.deed().await?;
            let most = if self.dice.random_ratio(1, 4) { 15_000 } else { 3_000 };
            let millis = self.dice.random_range(20..=most);
            self.pass(Duration::from_millis(millis)).await?;
            self.laws.hold_now(&self.scene, self.n_processes).await?;
        }
        self.heal().await?;
        self.settle().await?;
        let mut tally = self.laws.tally(&self.scene).await;
        tally.trace = self.scene.machine.trace.sum();
        Ok(tally)
    }

    fn note(&mut self, text: String) {
        let at = self.scene.machine.exchange.with(|exchange| exchange.now());
        self.diary.push(format!("{} {text}", at.iso()));
    }

    /// Lets time pass, with what falls due in it: processes end and start, troubles end.
    async fn pass(&mut self, time: Duration) -> Result<(), Violation> {
        let end = Instant::now() + time;
        loop {
            self.start_due();
            self.end_troubles();
            let next = self.starts.iter().chain(self.trouble.iter().map(|(until, _)| until)).min();
            let until = next.copied().filter(|next| *next < end).unwrap_or(end);
            let whole = self.scene.machine.during(tokio::time::sleep_until(until)).await.is_some();
            if !whole {
                self.crashed();
            }
            self.look_at_processes()?;
            if whole && until == end {
                return Ok(());
            }
        }
    }

    fn start_due(&mut self) {
        let now = Instant::now();
        while let Some(due) = self.starts.iter().position(|start| *start <= now) {
            self.starts.remove(due);
            self.scene.machine.start();
        }
    }

    fn start_later(&mut self) {
        let most = if self.dice.random_ratio(1, 5) { 60_000 } else { 2_000 };
        let wait = self.dice.random_range(0..=most);
        self.starts.push(Instant::now() + Duration::from_millis(wait));
    }

    /// A process reached its planned end.
    fn crashed(&mut self) {
        self.laws.crashes += 1;
        if self.n_processes > 1 {
            // The database lives on, and so do the other workers.
            for number in self.scene.machine.bury() {
                self.note(format!("process {number} ended"));
                self.start_later();
            }
        } else {
            self.crash_all();
        }
    }

    fn crash_all(&mut self) {
        let ending = if self.dice.random_bool(0.5) { Ending::PowerCut } else { Ending::Killed };
        self.note(format!("crash: {ending:?}"));
        self.scene.machine.crash(ending, &mut self.dice);
        self.starts.clear();
        self.trouble.retain(|(_, trouble)| !matches!(trouble, Trouble::Frozen(_)));
        for _ in 0..self.n_processes {
            self.start_later();
        }
    }

    fn look_at_processes(&mut self) -> Result<(), Violation> {
        for cause in self.scene.machine.ended_by_themselves() {
            // A start on a full disk may fail; then the operating system starts the bot again.
            if !self.is_in(Trouble::FullDisk) {
                return Err(Violation(format!("a process ended by itself: {cause}")));
            }
            self.note(format!("a process ended: {cause}"));
            self.start_later();
        }
        Ok(())
    }

    fn is_in(&self, trouble: Trouble) -> bool {
        self.trouble.iter().any(|(_, now)| *now == trouble)
    }

    fn end_troubles(&mut self) {
        let now = Instant::now();
        while let Some(over) = self.trouble.iter().position(|(until, _)| *until <= now) {
            let (_, trouble) = self.trouble.remove(over);
            match trouble {
                _ if self.is_in(trouble) => {}
                Trouble::Weather => self.scene.machine.network.set_weather(Weather::FAIR),
                Trouble::Upstream => self.scene.machine.exchange.with(|exchange| exchange.clear_faults()),
                Trouble::FullDisk => self.scene.machine.disk.set_full(false),
                Trouble::SlowDisk => self.scene.machine.disk.set_slowness(1),
                Trouble::Frozen(number) => self.scene.machine.freeze(number, false),
            }
            self.note(format!("over: {trouble:?}"));
        }
    }

    fn begin_trouble(&mut self, trouble: Trouble, seconds: std::ops::RangeInclusive<u64>) {
        let lasts = self.dice.random_range(seconds);
        self.note(format!("{trouble:?} for {lasts} s"));
        self.trouble.push((Instant::now() + Duration::from_secs(lasts), trouble));
    }

    async fn deed(&mut self) -> Result<(), Violation> {
        match self.dice.random_range(0..100) {
            0..48 => self.trade(),
            48..53 => self.sets(),
            53..56 => self.resolve(),
            56..60 => self.redeem(),
            60..64 => self.move_book(),
            64..69 => self.weather(),
            69..74 => self.upstream(),
            74..78 => {
                self.scene.machine.disk.set_full(true);
                self.begin_trouble(Trouble::FullDisk, 2..=45);
            }
            78..80 => {
                let times = self.dice.random_range(5..=60);
                self.scene.machine.disk.set_slowness(times);
                self.begin_trouble(Trouble::SlowDisk, 2..=20);
            }
            80..90 => self.crash(),
            90..94 => self.step_clock(),
            94..96 => {
                let millis = self.some_time(DAY * 3);
                self.suspend(millis).await?;
            }
            96..98 => self.freeze(),
            _ => self.pause().await,
        }
        Ok(())
    }

    /// Draws a time from a second up to `most` milliseconds; short ones are as likely as long ones.
    fn some_time(&mut self, most: i64) -> i64 {
        let exponent = self.dice.random_range(1_000_f64.ln()..(most as f64).ln());
        exponent.exp() as i64
    }

    fn crash(&mut self) {
        let living = self.scene.machine.living();
        if living.is_empty() || self.dice.random_ratio(1, 3) {
            self.laws.crashes += 1;
            return self.crash_all();
        }
        let number = living[self.dice.random_range(0..living.len())];
        let steps = self.dice.random_range(0..=400);
        self.note(format!("process {number} ends in {steps} steps"));
        self.scene.machine.end_after(number, steps);
    }

    fn step_clock(&mut self) {
        let size = self.some_time(3 * HOUR);
        let millis = if self.dice.random_bool(0.5) { size } else { -size };
        // Sometimes the clock is set right again.
        let millis = if self.dice.random_bool(0.4) { -self.clock_error_ms } else { millis };
        self.scene.machine.clock.step(millis);
        self.clock_error_ms += millis;
        self.worst_clock_error_ms = self.worst_clock_error_ms.max(self.clock_error_ms.abs());
        self.note(format!("clock set by {millis} ms, now wrong by {}", self.clock_error_ms));
    }

    /// The machine sleeps: time passes outside, no timer moves, and the wall clock is right afterwards.
    async fn suspend(&mut self, millis: i64) -> Result<(), Violation> {
        // What was decided until now is judged by the time before the sleep.
        self.laws.hold_now(&self.scene, self.n_processes).await?;
        self.note(format!("suspended for {millis} ms"));
        self.scene.machine.exchange.advance(millis);
        self.scene.machine.clock.step(millis);
        self.laws.slept(&self.scene);
        Ok(())
    }

    fn freeze(&mut self) {
        let living = self.scene.machine.living();
        if self.n_processes < 2 || living.len() < 2 || !self.scene.machine.db.is_idle() {
            return;
        }
        let number = living[self.dice.random_range(0..living.len())];
        self.scene.machine.freeze(number, true);
        self.begin_trouble(Trouble::Frozen(number), 1..=40);
    }

    async fn pause(&mut self) {
        let on = self.dice.random_bool(0.6);
        let patch = ConfigPatch::parse(&format!(r#"{{"system": {{"copyEngineEnabled": {on}}}}}"#)).unwrap();
        let (db, now) = (self.scene.machine.db.clone(), self.scene.machine.clock.now());
        self.note(format!("engine on: {on}"));
        if self.scene.machine.during(async { db.save_global(&patch, "test", now).await.unwrap() }).await.is_none() {
            self.crashed();
        }
    }

    /// Ends all that is wrong, and lets the time come at which every row is shown.
    async fn heal(&mut self) -> Result<(), Violation> {
        let now = Instant::now();
        for (until, _) in &mut self.trouble {
            *until = now;
        }
        self.scene.machine.clock.step(-self.clock_error_ms);
        self.clock_error_ms = 0;
        self.note("healed".to_owned());
        for number in self.scene.machine.living() {
            self.scene.machine.end_after(number, u64::MAX);
        }
        self.pass(Duration::from_secs(30)).await?;
        let shown = self.scene.machine.exchange.with(|exchange| self.shown_by.millis_since(exchange.now()));
        // The last day is read again each hour.
        self.suspend(shown.max(0) + 61 * MINUTE + self.worst_clock_error_ms).await?;
        self.pass(Duration::from_secs(75)).await
    }

    /// Waits until everything is done, within a time that a fault may cost after its end.
    async fn settle(&mut self) -> Result<(), Violation> {
        let mut left = 12;
        loop {
            self.laws.hold_now(&self.scene, self.n_processes).await?;
            match self.laws.hold_at_the_end(&self.scene).await {
                Ok(()) => return Ok(()),
                Err(violation) if left == 0 => return Err(violation),
                Err(_) => left -= 1,
            }
            if left == 6 {
                // The hourly position check, and its second look five minutes later.
                self.suspend(61 * MINUTE).await?;
            }
            if left == 4 {
                self.suspend(6 * MINUTE).await?;
            }
            self.pass(Duration::from_secs(20)).await?;
        }
    }
}
