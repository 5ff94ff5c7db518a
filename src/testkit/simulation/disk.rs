//! The disk of a simulated machine: how long its steps take, when it is full, and where a process ends.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::trace::Trace;
use crate::db::{Disk, DiskStep, Fate};

/// The disk that all processes of a machine share.
#[derive(Debug)]
pub struct MachineDisk {
    state: Mutex<State>,
    trace: Arc<Trace>,
}

#[derive(Debug)]
struct State {
    dice: StdRng,
    database: PathBuf,
    is_full: bool,
    slowness: u32,
    /// Length of the write-ahead log, in bytes, that a power cut leaves in any case.
    synced: u64,
}

/// The disk as one process sees it.
#[derive(Debug)]
pub struct ProcessDisk {
    machine: Arc<MachineDisk>,
    number: usize,
    /// Steps until the process ends; `None` while no end is planned.
    steps_left: Mutex<Option<u64>>,
    ended: AtomicBool,
}

/// A disk on which every step happens at once: that of the test itself.
#[derive(Debug)]
pub struct PatientDisk;

impl MachineDisk {
    pub fn new(seed: u64, database: &Path, trace: Arc<Trace>) -> Arc<Self> {
        let dice = StdRng::seed_from_u64(seed ^ 0xd15c);
        let state = State { dice, database: database.to_owned(), is_full: false, slowness: 1, synced: 0 };
        Arc::new(Self { state: Mutex::new(state), trace })
    }

    /// Lets every commit, and some other writes, fail from now on; or no more.
    pub fn set_full(&self, is_full: bool) {
        self.state().is_full = is_full;
    }

    /// Lets every step take so many times its usual time.
    pub fn set_slowness(&self, times: u32) {
        self.state().slowness = times;
    }

    /// The disk of a process that begins on `database`, whose log is empty.
    pub fn begin(&self, database: &Path) {
        let mut state = self.state();
        (state.database, state.synced) = (database.to_owned(), 0);
    }

    /// Returns the length of the log that survives a power cut in any case.
    pub fn synced(&self) -> u64 {
        self.state().synced
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn fate(&mut self, step: DiskStep) -> Fate {
        let refused = match step {
            DiskStep::Commit { .. } => self.is_full,
            DiskStep::Write => self.is_full && self.dice.random_ratio(1, 4),
            _ => false,
        };
        if refused {
            return Fate::Refused;
        }
        // A commit that has returned was synced before it returned.
        if step == (DiskStep::Committed { durable: true }) {
            self.synced = log_length(&self.database);
        }
        let most = match step {
            DiskStep::Commit { durable: true } => 12,
            DiskStep::Committed { .. } | DiskStep::Commit { .. } => 2,
            DiskStep::Read | DiskStep::Begin | DiskStep::Write => 3,
        };
        // Most steps find their pages in memory and take no time that counts.
        let millis = if self.dice.random_ratio(2, 3) { 0 } else { self.dice.random_range(0..=most) };
        Fate::After(Duration::from_millis(millis * u64::from(self.slowness)))
    }
}

/// Returns the path of the write-ahead log of a database.
pub fn log_of(database: &Path) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push("-wal");
    PathBuf::from(path)
}

fn log_length(database: &Path) -> u64 {
    std::fs::metadata(log_of(database)).map_or(0, |file| file.len())
}

impl ProcessDisk {
    pub fn new(machine: Arc<MachineDisk>, number: usize) -> Arc<Self> {
        Arc::new(Self { machine, number, steps_left: Mutex::new(None), ended: AtomicBool::new(false) })
    }

    /// Ends the process before its step `n` from now; 0 is the next one.
    pub fn end_after(&self, n: u64) {
        *self.steps_left.lock().unwrap_or_else(PoisonError::into_inner) = Some(n);
    }

    /// Ends the process now.
    pub fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
    }

    fn ends_here(&self) -> bool {
        match &mut *self.steps_left.lock().unwrap_or_else(PoisonError::into_inner) {
            None => false,
            Some(0) => true,
            Some(left) => {
                *left -= 1;
                false
            }
        }
    }
}

impl Disk for ProcessDisk {
    fn fate(&self, step: DiskStep) -> Fate {
        if self.has_ended() {
            return Fate::Never;
        }
        if self.ends_here() {
            self.machine.trace.note(format_args!("process {} ends before {step:?}", self.number));
            self.end();
            return Fate::Never;
        }
        let fate = self.machine.state().fate(step);
        self.machine.trace.note(format_args!("{} {step:?} {fate:?}", self.number));
        fate
    }

    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }
}

impl Disk for PatientDisk {
    fn fate(&self, _: DiskStep) -> Fate {
        Fate::After(Duration::ZERO)
    }

    fn has_ended(&self) -> bool {
        false
    }
}
