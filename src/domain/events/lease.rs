//! Leases: which worker process does the work for one leader, or for all leaders together (docs/adr/0011).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::domain::money::ids::FollowedUserId;

/// Names one run of a worker process.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerId(String);

/// The work that a lease covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LeaseName {
    /// For one leader: polling, grouping, copies and the two portfolios that belong to the leader.
    User(FollowedUserId),
    /// The copies of all leaders in the shared bankroll.
    Global,
}

/// A fencing token: the lease and the epoch in which it was taken. Every write under the lease carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fence {
    pub lease: LeaseName,
    pub epoch: i64,
}

/// The leases that this process holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leases {
    /// All work: no other process uses the database.
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

impl Leases {
    /// Returns the state of a worker that holds no lease yet.
    pub fn none(by: WorkerId) -> Self {
        Self::Held { by, epochs: BTreeMap::new() }
    }

    /// Returns whether this process may do the work of `name`.
    pub fn hold(&self, name: LeaseName) -> bool {
        match self {
            Self::All => true,
            Self::Held { epochs, .. } => epochs.contains_key(&name),
        }
    }

    /// Returns the fencing token that a write under `lease` must carry; `None` where no other process can hold the
    /// lease. For a lease that is not held, the token has an epoch that the database always refuses.
    pub fn fence(&self, lease: LeaseName) -> Option<Fence> {
        match self {
            Self::All => None,
            Self::Held { epochs, .. } => Some(Fence { lease, epoch: epochs.get(&lease).copied().unwrap_or(-1) }),
        }
    }

    /// Returns the names of the leases held; empty for [`Self::All`].
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
            _ => Err(format!("`{text}` is not a lease name: `user:<id>` or `global`")),
        }
    }
}
