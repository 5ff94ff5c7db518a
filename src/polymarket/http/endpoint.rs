//! The hosts and endpoints that the bot uses, and the priority of a request.

use std::fmt;

/// A host that can fail independently of the others; each has its own breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Upstream {
    DataApi,
    Clob,
    Gamma,
}

/// A kind of request, counted separately.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Endpoint {
    Activity,
    Positions,
    Resolutions,
    Tokens,
    Status,
    Book,
    Books,
    Midpoints,
    Spreads,
    ClobMarket,
    MarketByToken,
    ServerTime,
    Markets,
    Search,
    Profile,
}

/// Which requests go first when permits are short. A waiting interactive request gets the next permit before any bulk one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// A user or a decision waits for the answer, for example for a book.
    Interactive,
    /// Polls, prices, facts.
    Bulk,
}

impl Upstream {
    /// Every upstream.
    pub const ALL: [Self; 3] = [Self::DataApi, Self::Clob, Self::Gamma];

    /// Returns the name in health, metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DataApi => "data-api",
            Self::Clob => "clob",
            Self::Gamma => "gamma",
        }
    }
}

impl Endpoint {
    /// Returns the host that serves this endpoint.
    pub const fn upstream(self) -> Upstream {
        match self {
            Self::Activity | Self::Positions | Self::Resolutions | Self::Tokens | Self::Status => Upstream::DataApi,
            Self::Book
            | Self::Books
            | Self::Midpoints
            | Self::Spreads
            | Self::ClobMarket
            | Self::MarketByToken
            | Self::ServerTime => Upstream::Clob,
            Self::Markets | Self::Search | Self::Profile => Upstream::Gamma,
        }
    }

    /// Returns the name in health, metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Activity => "activity",
            Self::Positions => "positions",
            Self::Resolutions => "resolutions",
            Self::Tokens => "tokens",
            Self::Status => "status",
            Self::Book => "book",
            Self::Books => "books",
            Self::Midpoints => "midpoints",
            Self::Spreads => "spreads",
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
