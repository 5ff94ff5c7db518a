//! The machine: starts, freezes and ends its processes, and keeps what a crash leaves of the database.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt;
use rand::Rng;
use rand::rngs::StdRng;
use tokio::task::LocalSet;

use super::disk::{MachineDisk, PatientDisk, ProcessDisk, log_of};
use super::network::Network;
use super::trace::Trace;
use crate::app::{App, AppSettings, Role};
use crate::clock::Clock;
use crate::config::{Settings, Sources};
use crate::db::{Db, Disk};
use crate::domain::money::units::Timestamp;
use crate::polymarket::PolymarketSettings;
use crate::simulator::{CalledSimulator, SimulatorSettings};
use crate::testkit::TestDb;

/// What a machine begins with.
#[derive(Debug, Clone)]
pub struct MachineSettings {
    pub seed: u64,
    pub start: Timestamp,
    /// Several processes share the database, as workers share one on PostgreSQL.
    pub shared: bool,
    pub exchange: SimulatorSettings,
}

/// How all processes of a machine end at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The operating system goes on: all that was written is kept.
    Killed,
    /// What was not synced may be lost, from some byte on, or its last page be torn.
    PowerCut,
}

/// One process of the bot.
struct Process {
    local: LocalSet,
    disk: Arc<ProcessDisk>,
    life: Rc<RefCell<Life>>,
    is_frozen: bool,
}

enum Life {
    Starting,
    Running(Box<App>),
    /// It ended by itself; the text says why.
    Ended(String),
}

/// A machine with the exchange at the other end of its network.
pub struct Machine {
    pub exchange: CalledSimulator,
    pub network: Network,
    pub disk: Arc<MachineDisk>,
    pub trace: Arc<Trace>,
    /// The machine's wall clock.
    pub clock: Clock,
    /// The database, to look at and to change from outside.
    pub db: Db,
    folder: tempfile::TempDir,
    generation: u32,
    shared: bool,
    processes: Vec<Option<Process>>,
    settings: AppSettings,
}

/// Returns a database file with the newest schema and no rows.
fn empty_database() -> &'static [u8] {
    static EMPTY: OnceLock<Vec<u8>> = OnceLock::new();
    EMPTY.get_or_init(|| {
        // On another thread, in real time: the migrations run through the real pools.
        let made = std::thread::spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let made = TestDb::sqlite().await;
                let path = PathBuf::from(made.url.trim_start_matches("sqlite:"));
                made.db.close().await;
                std::fs::read(path).unwrap()
            })
        });
        made.join().unwrap()
    })
}

impl Machine {
    /// Returns a machine without processes. It must be called inside a runtime whose clock is paused.
    pub fn new(settings: &MachineSettings) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (seed, trace) = (settings.seed, Arc::new(Trace::new()));
        crate::chance::seed(seed);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("0.db");
        std::fs::write(&path, empty_database()).unwrap();
        let exchange = CalledSimulator::new(settings.exchange.clone());
        let network = Network::new(seed, exchange.clone(), trace.clone());
        let flags = [("HEALTH_BIND", "off".to_owned()), ("DATABASE_URL", format!("sqlite:{}", path.display()))];
        let mut app = AppSettings::new(&Settings::parse(&Sources::from_flags(flags.into())).unwrap());
        app.role = Role::Worker;
        app.polymarket = PolymarketSettings {
            in_process: Some(network.transport()),
            ..PolymarketSettings::new("http://data", "http://clob", "http://gamma")
        };
        let (disk, shared) = (MachineDisk::new(seed, &path, trace.clone()), settings.shared);
        let db = Db::driven(&path, Arc::new(PatientDisk), shared).unwrap();
        let (clock, processes) = (Clock::settable(settings.start), Vec::new());
        Self { exchange, network, disk, trace, clock, db, folder, generation: 0, shared, processes, settings: app }
    }

    /// Starts a process; its number is the lowest free one.
    pub fn start(&mut self) -> usize {
        let number = self.processes.iter().position(Option::is_none).unwrap_or(self.processes.len());
        self.trace.note(format_args!("start {number}"));
        let disk = ProcessDisk::new(self.disk.clone(), number);
        let db = self.db.seen_through(disk.clone());
        let (settings, clock, local) = (self.settings.clone(), self.clock.of_new_process(), LocalSet::new());
        let life = Rc::new(RefCell::new(Life::Starting));
        let started = life.clone();
        local.spawn_local(async move {
            let app = App::build_on(async || Ok(db), &settings, clock).await;
            *started.borrow_mut() = match app {
                Ok(app) => Life::Running(Box::new(app)),
                Err(error) => Life::Ended(format!("the start failed: {error}")),
            };
        });
        let process = Some(Process { local, disk, life, is_frozen: false });
        match self.processes.get_mut(number) {
            Some(free) => *free = process,
            None => self.processes.push(process),
        }
        number
    }

    /// Returns the numbers of the processes that live.
    pub fn living(&self) -> Vec<usize> {
        (0..self.processes.len()).filter(|number| self.processes[*number].is_some()).collect()
    }

    /// Ends one process before its step `n` in the database from now.
    pub fn end_after(&self, number: usize, n: u64) {
        if let Some(process) = &self.processes[number] {
            process.disk.end_after(n);
        }
    }

    /// Stops a process from running, or lets it go on. It keeps what it holds.
    pub fn freeze(&mut self, number: usize, is_frozen: bool) {
        if let Some(process) = &mut self.processes[number] {
            self.trace.note(format_args!("frozen {number} {is_frozen}"));
            process.is_frozen = is_frozen;
        }
    }

    /// Runs the processes while `work` is done. `None` when a planned end came first; `work` is dropped then.
    pub async fn during<F: Future>(&mut self, work: F) -> Option<F::Output> {
        let mut work = pin!(work);
        poll_fn(|task| {
            for process in self.processes.iter_mut().flatten().filter(|process| !process.is_frozen) {
                let _ = Pin::new(&mut process.local).poll(task);
            }
            if self.processes.iter().flatten().any(|process| process.disk.has_ended()) {
                return Poll::Ready(None);
            }
            work.as_mut().poll(task).map(Some)
        })
        .await
    }

    /// Lets time pass; false when a planned end came first.
    pub async fn pass(&mut self, time: Duration) -> bool {
        self.during(tokio::time::sleep(time)).await.is_some()
    }

    /// Returns why processes ended by themselves, and removes them.
    pub fn ended_by_themselves(&mut self) -> Vec<String> {
        let mut causes = Vec::new();
        for slot in &mut self.processes {
            let Some(process) = slot else { continue };
            let cause = match &mut *process.life.borrow_mut() {
                Life::Starting => None,
                Life::Ended(cause) => Some(cause.clone()),
                Life::Running(app) => app.failed().now_or_never().map(|failure| format!("{failure:?}")),
            };
            if let Some(cause) = cause {
                causes.push(cause);
                *slot = None;
            }
        }
        causes
    }

    /// Removes the processes whose planned end came, when the database lives on without them.
    pub fn bury(&mut self) -> Vec<usize> {
        let ended = |process: &Option<Process>| process.as_ref().is_some_and(|process| process.disk.has_ended());
        let numbers: Vec<usize> = (0..self.processes.len()).filter(|n| ended(&self.processes[*n])).collect();
        for number in &numbers {
            self.processes[*number] = None;
        }
        numbers
    }

    /// Ends every process at once. What the database keeps is what the next start finds.
    pub fn crash(&mut self, ending: Ending, dice: &mut StdRng) {
        self.trace.note(format_args!("crash {ending:?}"));
        let old = self.folder.path().join(format!("{}.db", self.generation));
        self.generation += 1;
        let new = self.folder.path().join(format!("{}.db", self.generation));
        for process in self.processes.iter().flatten() {
            process.disk.end();
        }
        // Before the connections close: the last one to close would write to the file once more.
        std::fs::copy(&old, &new).unwrap();
        let mut log = std::fs::read(log_of(&old)).unwrap_or_default();
        if ending == Ending::PowerCut {
            cut(&mut log, usize::try_from(self.disk.synced()).unwrap_or(usize::MAX), dice);
        }
        std::fs::write(log_of(&new), log).unwrap();
        self.processes.clear();
        self.open(&new);
        for leftover in [old.clone(), log_of(&old)] {
            let _ = std::fs::remove_file(leftover);
        }
    }

    fn open(&mut self, path: &Path) {
        let patient: Arc<dyn Disk> = Arc::new(PatientDisk);
        self.db = Db::driven(path, patient, self.shared).unwrap();
        self.disk.begin(path);
    }
}

/// Cuts a log as a power cut does: at some byte after what was synced, with what lies before that byte perhaps torn.
fn cut(log: &mut Vec<u8>, synced: usize, dice: &mut StdRng) {
    let synced = synced.min(log.len());
    log.truncate(dice.random_range(synced..=log.len()));
    let unsynced = log.len() - synced;
    if unsynced > 0 && dice.random_bool(0.5) {
        // A page of the disk that was never written, in the middle of pages that were.
        let hole = synced + dice.random_range(0..unsynced);
        let end = log.len().min(hole + 512);
        log[hole..end].fill(0);
    }
}
