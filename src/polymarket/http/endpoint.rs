//! Whom we ask, what for, and how urgently.

use std::fmt;

/// A host that can fail by itself; each has its own breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Upstream {
    DataApi,
    Clob,
    Gamma,
}

/// A kind of call, counted by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Endpoint {
    Activity,
    Positions,
    Resolutions,
    Status,
    Book,
    Midpoints,
    ClobMarket,
    MarketByToken,
    ServerTime,
    Markets,
    Search,
    Profile,
}

/// Who goes first when permits are short. A waiting interactive call takes the next permit before any bulk call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// A decision waits for it: the book.
    Interactive,
    /// Polls, prices, facts.
    Bulk,
}

impl Upstream {
    pub const ALL: [Self; 3] = [Self::DataApi, Self::Clob, Self::Gamma];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DataApi => "data-api",
            Self::Clob => "clob",
            Self::Gamma => "gamma",
        }
    }
}

impl Endpoint {
    pub const fn upstream(self) -> Upstream {
        match self {
            Self::Activity | Self::Positions | Self::Resolutions | Self::Status => Upstream::DataApi,
            Self::Book | Self::Midpoints | Self::ClobMarket | Self::MarketByToken | Self::ServerTime => Upstream::Clob,
            Self::Markets | Self::Search | Self::Profile => Upstream::Gamma,
        }
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Activity => "activity",
            Self::Positions => "positions",
            Self::Resolutions => "resolutions",
            Self::Status => "status",
            Self::Book => "book",
            Self::Midpoints => "midpoints",
            Self::ClobMarket => "clob-markets",
            Self::MarketByToken => "markets-by-token",
            Self::ServerTime => "time",
            Self::Markets => "markets",
            Self::Search => "public-search",
            Self::Profile => "public-profile",
        }
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl serde::Serialize for Upstream {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl serde::Serialize for Endpoint {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
