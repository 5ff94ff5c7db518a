//! Loads portfolios into memory: at the start, when a user is followed, and when the running state of one is wrong.

use std::{collections::BTreeSet, time::Duration};

use actix::{AsyncContext, Context, Handler};
use tokio::sync::oneshot;

use super::{Deferred, LedgerWriter, Running, Slot};
use crate::actors::directory::DirectoryChanged;
use crate::actors::lease_keeper::LeasesChanged;
use crate::actors::supervise::{IoResult, back_off, or_panic, spawn_io};
use crate::db::{DbError, Directory, LedgerWrite, LoadError, RunningPortfolio};
use crate::domain::accounting::ledger::{LedgerEntry, PortfolioId, PortfolioScope};
use crate::domain::accounting::portfolio::Portfolio;
use crate::domain::events::lease::LeaseName;
use crate::domain::money::units::UsdcMicros;

/// The shortest wait before a failed load is repeated.
const LOAD_AGAIN: Duration = Duration::from_millis(200);

/// The longest wait before a failed load is repeated.
const LOAD_AGAIN_MAX: Duration = Duration::from_secs(10);

/// Failed loads of a portfolio after which queries about all portfolios no longer wait for it.
const LOAD_PATIENCE: u32 = 3;

/// A portfolio, as it was read from the ledger.
#[derive(Debug)]
pub(super) struct Loaded {
    portfolio: Portfolio,
    /// The last entry folded in.
    position: i64,
    /// The opening deposit of a new portfolio.
    bankroll: UsdcMicros,
}

impl LedgerWriter {
    /// Discards the running state of these portfolios, and loads them from the database again.
    pub(super) fn reload(&mut self, portfolios: BTreeSet<PortfolioId>, ctx: &mut Context<Self>) {
        for portfolio in portfolios {
            if let Some(running) = self.open(portfolio) {
                let version = running.portfolio.version();
                self.version_floor = self.version_floor.max(version);
                tracing::warn!(%portfolio, "the running state is discarded and read from the ledger again");
                self.counts.reloads += 1;
                self.load(portfolio, 0, ctx);
            }
        }
    }

    /// Runs `work` when the portfolio is open, which may be at once; never when another worker holds its lease.
    pub(super) fn when_open(&mut self, portfolio: PortfolioId, ctx: &mut Context<Self>, work: Deferred) {
        if !self.leases.hold(LeaseName::of(portfolio)) {
            return;
        }
        match self.portfolios.get_mut(&portfolio) {
            Some(Slot::Open(_)) => work(self, ctx),
            Some(Slot::Loading(deferred)) => deferred.push(work),
            None => {
                self.portfolios.insert(portfolio, Slot::Loading(vec![work]));
                self.load(portfolio, 0, ctx);
            }
        }
    }

    /// Loads a portfolio; `tries` loads of it have failed before.
    pub(super) fn load(&mut self, portfolio: PortfolioId, tries: u32, ctx: &mut Context<Self>) {
        if !matches!(self.portfolios.get(&portfolio), Some(Slot::Loading(_))) {
            self.portfolios.insert(portfolio, Slot::Loading(Vec::new()));
        }
        let (db, db_lock) = (self.deps.db.clone(), self.db_lock.clone());
        let (fence, now) = (self.leases.fence(LeaseName::of(portfolio)), self.deps.clock.now());
        let load = async move {
            let _lock = db_lock.lock().await;
            let RunningPortfolio { portfolio, position } = db.running_portfolio(portfolio, now).await?;
            // It is needed when the portfolio is new.
            let bankroll = db.global_config().await?.system.initial_bankroll;
            Ok(Loaded { portfolio, position, bankroll })
        };
        self.incarnation.spawn_io(ctx, load, move |writer: &mut Self, loaded, ctx| {
            // If the lease has moved since, the portfolio may lack entries that another worker has written.
            if fence == writer.leases.fence(LeaseName::of(portfolio)) {
                writer.load_ended(portfolio, tries, loaded, ctx);
            }
        });
    }

    fn load_ended(
        &mut self,
        portfolio: PortfolioId,
        tries: u32,
        loaded: IoResult<Loaded, LoadError>,
        ctx: &mut Context<Self>,
    ) {
        let error = match loaded {
            Ok(loaded) => return self.loaded(portfolio, loaded, ctx),
            Err(error) => error,
        };
        tracing::error!(%portfolio, %error, tries, "a portfolio cannot be loaded and will be retried");
        let wait = back_off(LOAD_AGAIN, LOAD_AGAIN_MAX, tries + 1);
        ctx.run_later(wait, move |writer, ctx| writer.load(portfolio, tries + 1, ctx));
        if tries >= LOAD_PATIENCE {
            self.broken.insert(portfolio);
            self.advance(ctx);
        }
    }

    /// Opens a loaded portfolio, with an opening deposit if it is new, and runs the work that waited for it.
    pub(super) fn loaded(&mut self, id: PortfolioId, loaded: Loaded, ctx: &mut Context<Self>) {
        let Some(Slot::Loading(deferred)) = self.portfolios.remove(&id) else { return };
        self.broken.remove(&id);
        let Loaded { mut portfolio, position, bankroll } = loaded;
        self.version_floor += 1;
        portfolio.continue_from_version(self.version_floor);
        let is_new = portfolio.history().opening_micros.is_none() && id.scope() != PortfolioScope::ShadowUser;
        self.portfolios.insert(id, Slot::Open(Box::new(Running { portfolio, position, apply_queued: false })));
        if is_new {
            let entries = vec![LedgerEntry::opening_deposit(id, bankroll, self.deps.clock.now())];
            let write = LedgerWrite { entries, ..LedgerWrite::default() };
            match self.fold(&write, ctx) {
                Ok(()) => self.enqueue(write, oneshot::channel().0, ctx),
                Err(error) => tracing::error!(portfolio = %id, %error, "the opening deposit cannot be recorded"),
            }
        }
        for work in deferred {
            self.when_open(id, ctx, work);
        }
        self.advance(ctx);
    }

    /// Reads the users, to open their portfolios.
    pub(super) fn find_users(&mut self, ctx: &mut Context<Self>) {
        let db = self.deps.db.clone();
        spawn_io(ctx, async move { db.directory().await }, Self::found_users);
    }

    fn found_users(&mut self, directory: IoResult<Directory, DbError>, ctx: &mut Context<Self>) {
        match or_panic(directory, "reading the users") {
            Ok(directory) => {
                self.users_known = true;
                self.open_for(&directory, ctx);
                self.advance(ctx);
            }
            Err(error) => {
                tracing::error!(%error, "the users cannot be read and will be retried");
                ctx.run_later(LOAD_AGAIN, |writer, ctx| writer.find_users(ctx));
            }
        }
    }

    /// Opens the portfolios of all users, so that pages and snapshots show them before the first copy.
    pub(super) fn open_for(&mut self, directory: &Directory, ctx: &mut Context<Self>) {
        let of_users =
            directory.users.iter().flat_map(|user| [PortfolioId::ShadowUser(user.id), PortfolioId::ExecUser(user.id)]);
        for portfolio in of_users.chain([PortfolioId::ExecGlobal]) {
            self.when_open(portfolio, ctx, Box::new(|_, _| {}));
        }
    }
}

impl Handler<LeasesChanged> for LedgerWriter {
    type Result = ();

    /// Drops the portfolios whose leases have moved, and refuses the requests on them that are not being written yet;
    /// then loads the portfolios of new leases.
    fn handle(&mut self, LeasesChanged(leases): LeasesChanged, ctx: &mut Context<Self>) {
        let before = std::mem::replace(&mut self.leases, leases);
        let moved = |id: &PortfolioId| before.fence(LeaseName::of(*id)) != self.leases.fence(LeaseName::of(*id));
        let gone: BTreeSet<PortfolioId> = self.portfolios.keys().copied().filter(moved).collect();
        self.commits.refuse_waiting(&gone);
        for portfolio in &gone {
            if let Some(running) = self.open(*portfolio) {
                let version = running.portfolio.version();
                self.version_floor = self.version_floor.max(version);
            }
            self.portfolios.remove(portfolio);
            self.broken.remove(portfolio);
        }
        // Until they are open, queries about all portfolios wait.
        self.users_known = false;
        self.find_users(ctx);
    }
}

impl Handler<DirectoryChanged> for LedgerWriter {
    type Result = ();

    fn handle(&mut self, DirectoryChanged(directory): DirectoryChanged, ctx: &mut Context<Self>) {
        self.open_for(&directory, ctx);
        for (portfolio, reset) in &directory.peak_resets {
            if let Some(running) = self.open(*portfolio)
                && running.portfolio.note_peak_reset(reset.at, reset.equity_micros)
            {
                tracing::info!(%portfolio, "the peak was reset; the drawdown is measured from it");
            }
        }
    }
}
