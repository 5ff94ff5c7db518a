//! Marks that fills and decisions bring, before the price refresher tells them.

use super::LedgerWriter;
use crate::actors::live_hub::Announce;
use crate::domain::accounting::ledger::{EntryType, LedgerEntry, PortfolioId};
use crate::domain::accounting::mark::{Mark, Quote};
use crate::domain::money::ids::{AssetId, FollowedUserId};

impl LedgerWriter {
    /// Sets the marks of our copies: a leader's fill is the last trade of their asset too.
    pub(super) fn mark_by_fills(&mut self, entries: &[LedgerEntry]) {
        for entry in entries {
            let (PortfolioId::ShadowUser(leader), EntryType::TradeFill) = (entry.portfolio, entry.kind) else {
                continue;
            };
            let (Some(asset), Some(price)) = (&entry.asset, entry.price) else { continue };
            for ours in [PortfolioId::ExecUser(leader), PortfolioId::ExecGlobal] {
                let marked = self
                    .open(ours)
                    .map(|running| running.portfolio.set_mark(asset, Mark::LastTrade(price, entry.created_at)));
                if let Some(Err(error)) = marked {
                    tracing::error!(portfolio = %ours, %asset, %error, "a mark cannot be set");
                }
            }
        }
    }

    /// Sets the mark of an asset to the book on which a copy was decided, in the portfolio of the decision and in the
    /// leader's shadow. The commit of the decision announces the former.
    pub(super) fn mark_by_book(
        &mut self,
        decided_in: PortfolioId,
        leader: FollowedUserId,
        (asset, quote): &(AssetId, Quote),
    ) {
        let shadow = PortfolioId::ShadowUser(leader);
        let mut facts = Vec::new();
        for id in [decided_in, shadow] {
            let Some(running) = self.open(id) else { continue };
            let before = running.portfolio.figures();
            if let Err(error) = running.portfolio.set_mark(asset, Mark::Quote(*quote)) {
                tracing::error!(portfolio = %id, %asset, %error, "a mark cannot be set");
            }
            if id == shadow && running.portfolio.figures() != before {
                facts.extend(self.changed(id, self.deps.clock.now()));
            }
        }
        if !facts.is_empty() {
            self.deps.live.do_send(Announce(facts));
        }
    }
}
