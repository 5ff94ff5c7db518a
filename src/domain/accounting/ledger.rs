//! Ledger entries: only they change the cash and shares of a portfolio (spec 2, 5 and 8).

use crate::domain::events::lease::LeaseName;
use crate::domain::money::ids::{AssetId, FollowedUserId, MarketId};
use crate::domain::money::text_enum::text_enum;
use crate::domain::money::units::{PriceMicros, ShareMicros, Timestamp, UsdcMicros};

/// The kind of a portfolio.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PortfolioScope {
    /// The leader's own fills, exactly as they happened.
    ShadowUser,
    /// Our copies of one leader.
    ExecUser,
    /// Our copies of all leaders in the shared bankroll.
    ExecGlobal,
}
text_enum!(PortfolioScope { ShadowUser => "SHADOW_USER", ExecUser => "EXEC_USER", ExecGlobal => "EXEC_GLOBAL" });

/// One portfolio: a scope and, except for the global one, its leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PortfolioId {
    ShadowUser(FollowedUserId),
    ExecUser(FollowedUserId),
    ExecGlobal,
}

/// The kind of a ledger entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EntryType {
    TradeFill,
    Merge,
    Split,
    Conversion,
    Fee,
    Mark,
    Settlement,
    Deposit,
    /// Cash taken out of one of our portfolios; the reverse of a deposit.
    Withdrawal,
    /// What a leader held when we began to follow.
    Opening,
    /// The end of a difference between the shadow and the leader's positions.
    Adjustment,
}
text_enum!(EntryType {
    TradeFill => "TRADE_FILL",
    Merge => "MERGE",
    Split => "SPLIT",
    Conversion => "CONVERSION",
    Fee => "FEE",
    Mark => "MARK",
    Settlement => "SETTLEMENT",
    Deposit => "DEPOSIT",
    Withdrawal => "WITHDRAWAL",
    Opening => "OPENING",
    Adjustment => "ADJUSTMENT",
});

/// The `ref_id` of the deposit that an account opens with.
pub const OPENING_DEPOSIT: &str = "deposit:opening";

/// One movement of shares and cash. Unique by (portfolio, ref_id, kind, asset), and never changed after it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerEntry {
    pub portfolio: PortfolioId,
    /// The leader whose event caused it. Leader and asset identify the lot. `None` for a DEPOSIT or WITHDRAWAL.
    pub attributed_user: Option<FollowedUserId>,
    pub market: Option<MarketId>,
    pub asset: Option<AssetId>,
    pub kind: EntryType,
    pub shares: ShareMicros,
    pub cash: UsdcMicros,
    pub price: Option<PriceMicros>,
    /// The cause: `event:<id>`, `copy:<attempt id>`, `settle:<condition>:<leader>`, `deposit:opening`,
    /// `open:<followedUserId>`, `adjust:<check id>`. The last two carry `:<event id>` behind where a late row took its
    /// shares back (spec 5).
    pub ref_id: String,
    pub created_at: Timestamp,
}

/// An entry that is not valid for its kind. Only a bug in our code makes one: no input from outside leads to it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    #[error("{kind} entry `{ref_id}` must move no shares")]
    MovesShares { kind: EntryType, ref_id: String },
    #[error("{kind} entry `{ref_id}` must move no cash")]
    MovesCash { kind: EntryType, ref_id: String },
    #[error("{kind} entry `{ref_id}` moves cash in the wrong direction")]
    WrongSign { kind: EntryType, ref_id: String },
    #[error("{kind} entry `{ref_id}` must name the asset whose shares it moves")]
    NoAsset { kind: EntryType, ref_id: String },
    #[error("{kind} entry `{ref_id}` must name no asset")]
    NamesAsset { kind: EntryType, ref_id: String },
    #[error("{kind} entry `{ref_id}` must name the leader whose lot it moves")]
    NoLeader { kind: EntryType, ref_id: String },
}

impl LedgerEntry {
    /// Returns the deposit that each of our own portfolios opens with. Later changes of the bankroll setting do not
    /// affect it.
    pub fn opening_deposit(portfolio: PortfolioId, bankroll: UsdcMicros, now: Timestamp) -> Self {
        Self {
            portfolio,
            attributed_user: None,
            market: None,
            asset: None,
            kind: EntryType::Deposit,
            shares: ShareMicros::ZERO,
            cash: bankroll,
            price: None,
            ref_id: OPENING_DEPOSIT.to_owned(),
            created_at: now,
        }
    }

    /// Returns a deposit into an open account, or a withdrawal from it when `cash` is below zero. Neither is profit or
    /// loss.
    pub fn transfer(portfolio: PortfolioId, cash: UsdcMicros, ref_id: String, now: Timestamp) -> Self {
        let kind = if cash < UsdcMicros::ZERO { EntryType::Withdrawal } else { EntryType::Deposit };
        Self { kind, ref_id, ..Self::opening_deposit(portfolio, cash, now) }
    }

    /// Returns the leader whose lot this entry moves: the owner of the portfolio, or in the global portfolio the leader
    /// whose event caused the entry.
    pub fn leader(&self) -> Option<FollowedUserId> {
        self.portfolio.owner().or(self.attributed_user)
    }

    /// Checks that the entry moves only what its kind may move.
    ///
    /// # Errors
    /// [`EntryError`] otherwise.
    pub fn validate(&self) -> Result<(), EntryError> {
        let (kind, ref_id) = (self.kind, || self.ref_id.clone());
        let moves_shares = self.shares != ShareMicros::ZERO;
        match kind {
            EntryType::Deposit | EntryType::Withdrawal if self.asset.is_some() => {
                Err(EntryError::NamesAsset { kind, ref_id: ref_id() })
            }
            EntryType::Deposit | EntryType::Withdrawal | EntryType::Fee | EntryType::Mark if moves_shares => {
                Err(EntryError::MovesShares { kind, ref_id: ref_id() })
            }
            EntryType::Mark if self.cash != UsdcMicros::ZERO => Err(EntryError::MovesCash { kind, ref_id: ref_id() }),
            EntryType::Deposit if self.cash < UsdcMicros::ZERO => Err(EntryError::WrongSign { kind, ref_id: ref_id() }),
            EntryType::Withdrawal if self.cash > UsdcMicros::ZERO => {
                Err(EntryError::WrongSign { kind, ref_id: ref_id() })
            }
            EntryType::Deposit | EntryType::Withdrawal | EntryType::Fee | EntryType::Mark => Ok(()),
            EntryType::Opening | EntryType::Adjustment if self.asset.is_none() => {
                Err(EntryError::NoAsset { kind, ref_id: ref_id() })
            }
            EntryType::Opening
            | EntryType::Adjustment
            | EntryType::TradeFill
            | EntryType::Merge
            | EntryType::Split
            | EntryType::Conversion
            | EntryType::Settlement => {
                if moves_shares && self.asset.is_none() {
                    Err(EntryError::NoAsset { kind, ref_id: ref_id() })
                } else if self.asset.is_some() && self.leader().is_none() {
                    Err(EntryError::NoLeader { kind, ref_id: ref_id() })
                } else {
                    Ok(())
                }
            }
        }
    }
}

impl PortfolioId {
    /// Returns the portfolio of this scope and owner; `None` when the scope needs an owner and there is none, or the
    /// reverse.
    pub fn new(scope: PortfolioScope, owner: Option<FollowedUserId>) -> Option<Self> {
        match (scope, owner) {
            (PortfolioScope::ShadowUser, Some(user)) => Some(Self::ShadowUser(user)),
            (PortfolioScope::ExecUser, Some(user)) => Some(Self::ExecUser(user)),
            (PortfolioScope::ExecGlobal, None) => Some(Self::ExecGlobal),
            _ => None,
        }
    }

    /// Returns the kind of the portfolio.
    pub const fn scope(self) -> PortfolioScope {
        match self {
            Self::ShadowUser(_) => PortfolioScope::ShadowUser,
            Self::ExecUser(_) => PortfolioScope::ExecUser,
            Self::ExecGlobal => PortfolioScope::ExecGlobal,
        }
    }

    /// Returns the leader of the portfolio; `None` for the global one.
    pub const fn owner(self) -> Option<FollowedUserId> {
        match self {
            Self::ShadowUser(user) | Self::ExecUser(user) => Some(user),
            Self::ExecGlobal => None,
        }
    }
}

// Here and not beside `LeaseName`, because `accounting` builds on `events` and not the other way round.
impl LeaseName {
    /// Returns the lease under which entries of `portfolio` are written.
    pub fn of(portfolio: PortfolioId) -> Self {
        portfolio.owner().map_or(Self::Global, Self::User)
    }
}

/// Writes `EXEC_GLOBAL` or `EXEC_USER:7`, as job keys, checkpoint keys and live topics contain it.
impl std::fmt::Display for PortfolioId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.owner() {
            Some(user) => write!(f, "{}:{user}", self.scope()),
            None => write!(f, "{}", self.scope()),
        }
    }
}

impl std::str::FromStr for PortfolioId {
    type Err = crate::domain::money::text_enum::UnknownText;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = || crate::domain::money::text_enum::UnknownText { kind: "PortfolioId", text: text.to_owned() };
        let (scope, owner) = match text.split_once(':') {
            Some((scope, owner)) => (scope, Some(FollowedUserId(owner.parse().map_err(|_| unknown())?))),
            None => (text, None),
        };
        Self::new(scope.parse()?, owner).ok_or_else(unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::samples::{deposit, entry};

    #[test]
    fn an_entry_moves_only_what_its_kind_moves() {
        use EntryType::{Adjustment, Conversion, Deposit, Fee, Mark, Opening, Settlement, TradeFill, Withdrawal};
        let global = PortfolioId::ExecGlobal;
        let check = |entry: LedgerEntry, expected: Option<fn(EntryType, String) -> EntryError>| {
            let expected = expected.map(|error| error(entry.kind, entry.ref_id.clone()));
            assert_eq!(entry.validate().err(), expected, "{entry:?}");
        };
        let no_asset = |entry| LedgerEntry { asset: None, ..entry };
        let no_leader = |entry| LedgerEntry { attributed_user: None, ..entry };
        check(entry(global, TradeFill, 10, 5, -5), None);
        check(no_asset(entry(global, TradeFill, 10, 5, -5)), Some(|kind, ref_id| EntryError::NoAsset { kind, ref_id }));
        check(no_asset(entry(global, Settlement, 10, 0, 5)), None);
        check(
            no_leader(entry(global, Conversion, 10, 5, 0)),
            Some(|kind, ref_id| EntryError::NoLeader { kind, ref_id }),
        );
        check(no_leader(entry(PortfolioId::ExecUser(FollowedUserId(7)), Conversion, 10, 5, 0)), None);
        check(entry(global, Fee, 10, 0, -5), None);
        check(entry(global, Fee, 10, 1, -5), Some(|kind, ref_id| EntryError::MovesShares { kind, ref_id }));
        check(entry(global, Mark, 10, 0, 0), None);
        check(entry(global, Mark, 10, 0, 1), Some(|kind, ref_id| EntryError::MovesCash { kind, ref_id }));
        check(deposit(global, 5), None);
        check(entry(global, Deposit, 10, 0, 5), Some(|kind, ref_id| EntryError::NamesAsset { kind, ref_id }));
        let taken = |cash| LedgerEntry { kind: Withdrawal, ..deposit(global, cash) };
        check(taken(-5), None);
        check(taken(5), Some(|kind, ref_id| EntryError::WrongSign { kind, ref_id }));
        check(deposit(global, -5), Some(|kind, ref_id| EntryError::WrongSign { kind, ref_id }));
        check(entry(global, Withdrawal, 10, 0, -5), Some(|kind, ref_id| EntryError::NamesAsset { kind, ref_id }));
        for kind in [Opening, Adjustment] {
            check(entry(global, kind, 10, 5, -5), None);
            check(no_asset(entry(global, kind, 10, 5, -5)), Some(|kind, ref_id| EntryError::NoAsset { kind, ref_id }));
            check(
                no_leader(entry(global, kind, 10, 5, -5)),
                Some(|kind, ref_id| EntryError::NoLeader { kind, ref_id }),
            );
        }
    }

    #[test]
    fn portfolio_names_read_back() {
        for id in [
            PortfolioId::ExecGlobal,
            PortfolioId::ExecUser(FollowedUserId(7)),
            PortfolioId::ShadowUser(FollowedUserId(8)),
        ] {
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        assert_eq!(PortfolioId::ExecUser(FollowedUserId(7)).to_string(), "EXEC_USER:7");
        assert!("EXEC_USER".parse::<PortfolioId>().is_err());
        assert!("EXEC_GLOBAL:7".parse::<PortfolioId>().is_err());
    }
}
