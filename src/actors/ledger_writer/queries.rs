//! Queries of the running portfolios, and the prices and snapshots that update them.

use actix::{Context, Handler, Response};
use tokio::sync::oneshot;

use super::{
    Flush, Held, HeldAssets, HeldEverywhere, Holdings, LedgerWriter, PricesChanged, ReadView, Refused, Running, Slot,
    Snapshot, SnapshotRequest, SnapshotsStored, TakeSnapshots,
};
use crate::actors::live_hub::Announce;
use crate::domain::accounting::ledger::PortfolioId;
use crate::domain::accounting::portfolio::ViewQuery;
use crate::domain::accounting::view::PortfolioView;
use crate::domain::money::units::Timestamp;

impl Running {
    /// Values the portfolio at marks as old as they are at `now`.
    pub(super) fn age(&mut self, id: PortfolioId, now: Timestamp) {
        if let Err(error) = self.portfolio.age(now) {
            tracing::error!(portfolio = %id, %error, "the marks of a portfolio cannot be valued");
        }
    }
}

impl LedgerWriter {
    /// Returns the holdings of all open portfolios.
    pub(super) fn held_everywhere(&self) -> HeldEverywhere {
        let mut held = HeldEverywhere::default();
        for (id, slot) in &self.portfolios {
            let Slot::Open(running) = slot else { continue };
            held.assets.extend(running.portfolio.held_assets().cloned());
            for (market, _) in running.portfolio.exposure_by_market() {
                held.markets.entry(market.clone()).or_default().insert(*id);
            }
        }
        held
    }

    /// Answers a query from a portfolio, at once or as soon as it is open.
    pub(super) fn ask<T: 'static>(
        &mut self,
        portfolio: PortfolioId,
        ctx: &mut Context<Self>,
        read: impl FnOnce(&Running) -> T + 'static,
    ) -> Response<Result<T, Refused>> {
        if let Some(running) = self.open(portfolio) {
            return Response::reply(Ok(read(running)));
        }
        let (answer, found) = oneshot::channel();
        let work = move |writer: &mut Self, _: &mut Context<Self>| {
            if let Some(running) = writer.open(portfolio) {
                let _ = answer.send(read(running));
            }
        };
        self.when_open(portfolio, ctx, Box::new(work));
        Response::fut(async { found.await.map_err(|_| Refused::Restarted) })
    }
}

impl Handler<ReadView> for LedgerWriter {
    type Result = Response<Result<PortfolioView, Refused>>;

    fn handle(&mut self, read: ReadView, ctx: &mut Context<Self>) -> Self::Result {
        let now = self.deps.clock.now();
        self.ask(read.portfolio, ctx, move |running| {
            running.portfolio.view(&ViewQuery {
                leader: read.leader,
                market: &read.market,
                asset: read.asset.as_ref(),
                outcomes: &read.outcomes,
                now,
            })
        })
    }
}

impl Handler<Holdings> for LedgerWriter {
    type Result = Response<Result<Held, Refused>>;

    fn handle(&mut self, asked: Holdings, ctx: &mut Context<Self>) -> Self::Result {
        self.ask(asked.portfolio, ctx, move |running| {
            let lots = match &asked.market {
                Some(market) => running.portfolio.lots_in(market),
                None => running.portfolio.lots().collect(),
            };
            Held { version: running.portfolio.version(), cash: running.portfolio.figures().cash, lots }
        })
    }
}

impl Handler<HeldAssets> for LedgerWriter {
    type Result = Response<Result<HeldEverywhere, Refused>>;

    fn handle(&mut self, _: HeldAssets, ctx: &mut Context<Self>) -> Self::Result {
        let (answer, held) = oneshot::channel();
        self.when_all_open.push(Box::new(|writer, _| drop(answer.send(writer.held_everywhere()))));
        self.advance(ctx);
        Response::fut(async { held.await.map_err(|_| Refused::Restarted) })
    }
}

impl Handler<PricesChanged> for LedgerWriter {
    type Result = ();

    fn handle(&mut self, PricesChanged(prices): PricesChanged, _: &mut Context<Self>) {
        let now = self.deps.clock.now();
        let mut facts = Vec::new();
        for id in self.portfolios.keys().copied().collect::<Vec<_>>() {
            let Some(running) = self.open(id) else { continue };
            let before = running.portfolio.figures();
            for (asset, mark) in prices.iter() {
                if let Err(error) = running.portfolio.set_mark(asset, *mark) {
                    tracing::error!(portfolio = %id, %asset, %error, "a mark cannot be set");
                }
            }
            // Prices come each half minute: also for the assets that got none, whose marks grow old.
            running.age(id, now);
            if running.portfolio.figures() != before {
                facts.extend(self.changed(id, now));
            }
        }
        if !facts.is_empty() {
            self.deps.live.do_send(Announce(facts));
        }
    }
}

impl Handler<TakeSnapshots> for LedgerWriter {
    type Result = Response<Result<Vec<Snapshot>, Refused>>;

    fn handle(&mut self, wanted: TakeSnapshots, ctx: &mut Context<Self>) -> Self::Result {
        let (answer, taken) = oneshot::channel();
        self.snapshot_requests.push(SnapshotRequest { wanted, answer });
        self.advance(ctx);
        Response::fut(async { taken.await.unwrap_or(Err(Refused::Restarted)) })
    }
}

impl Handler<SnapshotsStored> for LedgerWriter {
    type Result = ();

    fn handle(&mut self, stored: SnapshotsStored, _: &mut Context<Self>) {
        for (id, equity, is_fresh) in stored.equities {
            if let Some(running) = self.open(id) {
                running.portfolio.note_snapshot(stored.bucket, equity, is_fresh);
            }
        }
    }
}

impl Handler<Flush> for LedgerWriter {
    type Result = Response<Result<(), Refused>>;

    fn handle(&mut self, _: Flush, ctx: &mut Context<Self>) -> Self::Result {
        let (answer, taken) = oneshot::channel();
        let wanted = TakeSnapshots { portfolios: Some(Vec::new()), bucket: None };
        self.snapshot_requests.push(SnapshotRequest { wanted, answer });
        self.advance(ctx);
        Response::fut(async { taken.await.unwrap_or(Err(Refused::Restarted)).map(drop) })
    }
}
