//! Leases: which worker does the work of a leader, or of all leaders together (spec section 10).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::domain::accounting::ledger::PortfolioId;
use crate::domain::money::ids::FollowedUserId;

/// Names one run of a worker process.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerId(String);

/// What a lease covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LeaseName {
    /// A leader's polling, grouping, copies and the two portfolios of their own.
    User(FollowedUserId),
    /// The copies of all leaders in one bankroll.
    Global,
}

/// A lease as it was taken: the fence of everything done under it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fence {
    pub lease: LeaseName,
    pub epoch: i64,
}

/// What this process may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leases {
    /// The database is its own.
    All,
    Held {
        by: WorkerId,
        epochs: BTreeMap<LeaseName, i64>,
    },
}

impl WorkerId {
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl LeaseName {
    pub fn of(portfolio: PortfolioId) -> Self {
        portfolio.owner().map_or(Self::Global, Self::User)
    }
}

impl Leases {
    pub fn none(by: WorkerId) -> Self {
        Self::Held { by, epochs: BTreeMap::new() }
    }

    pub fn hold(&self, name: LeaseName) -> bool {
        match self {
            Self::All => true,
            Self::Held { epochs, .. } => epochs.contains_key(&name),
        }
    }

    /// What a write under this lease must name; `None` where nobody else could have it. One that is not held gets a
    /// fence that no database agrees to.
    pub fn fence(&self, lease: LeaseName) -> Option<Fence> {
        match self {
            Self::All => None,
            Self::Held { epochs, .. } => Some(Fence { lease, epoch: epochs.get(&lease).copied().unwrap_or(-1) }),
        }
    }

    /// Those held one by one; none where everything is.
    pub fn names(&self) -> BTreeSet<LeaseName> {
        match self {
            Self::All => BTreeSet::new(),
            Self::Held { epochs, .. } => epochs.keys().copied().collect(),
        }
    }
}

impl fmt::Display for LeaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(user) => write!(f, "user:{user}"),
            Self::Global => f.write_str("global"),
        }
    }
}

impl std::str::FromStr for LeaseName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("user:").map(str::parse) {
            Some(Ok(user)) => Ok(Self::User(FollowedUserId(user))),
            None if text == "global" => Ok(Self::Global),
            _ => Err(format!("`{text}` names no lease")),
        }
    }
}
