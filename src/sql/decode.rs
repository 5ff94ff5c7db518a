//! Decodes columns to domain types; the error for an invalid stored value names its table and row.

use std::borrow::Cow;
use std::fmt::Display;
use std::str::FromStr;

use super::error::DbError;
use crate::domain::accounting::ledger::{PortfolioId, PortfolioScope};
use crate::domain::money::ids::{AssetId, FollowedUserId, MarketId, Wallet};
use crate::domain::money::units::PriceMicros;

/// Decodes the columns of one row.
#[derive(Clone, Copy)]
pub(crate) struct RowDecoder<I> {
    pub table: &'static str,
    pub id: I,
}

impl<I: Display> RowDecoder<I> {
    /// Returns the error for a value of `column` that cannot be valid.
    pub(crate) fn impossible(&self, column: &'static str, problem: impl ToString) -> DbError {
        DbError::impossible(self.table, &self.id, column, problem)
    }

    /// Decodes a column whose text is a state, a scope or another enum.
    ///
    /// # Errors
    /// `DbError::Impossible` when the text is not a value of `T`.
    pub(crate) fn text<T: FromStr<Err: Display>>(&self, column: &'static str, text: &str) -> Result<T, DbError> {
        text.parse().map_err(|problem| self.impossible(column, problem))
    }

    /// Decodes a column of JSON.
    ///
    /// # Errors
    /// `DbError::Impossible` when the text is not the JSON of a `T`.
    pub(crate) fn json<T: serde::de::DeserializeOwned>(&self, column: &'static str, text: &str) -> Result<T, DbError> {
        serde_json::from_str(text).map_err(|problem| self.impossible(column, problem))
    }

    /// Decodes a wallet.
    ///
    /// # Errors
    /// `DbError::Impossible` when the text is not a wallet.
    pub(crate) fn wallet(&self, column: &'static str, text: &str) -> Result<Wallet, DbError> {
        Wallet::parse(text).map_err(|problem| self.impossible(column, problem))
    }

    /// Decodes an asset's id.
    ///
    /// # Errors
    /// `DbError::Impossible` when the text is not an asset's id.
    pub(crate) fn asset(&self, column: &'static str, text: &str) -> Result<AssetId, DbError> {
        AssetId::parse(text).map_err(|problem| self.impossible(column, problem))
    }

    /// Decodes a market's id.
    ///
    /// # Errors
    /// `DbError::Impossible` when the text is not a market's id.
    pub(crate) fn market(&self, column: &'static str, text: &str) -> Result<MarketId, DbError> {
        MarketId::parse(text).map_err(|problem| self.impossible(column, problem))
    }

    /// Decodes a portfolio from its scope and owner.
    ///
    /// # Errors
    /// `DbError::Impossible` when the scope is unknown, or needs an owner and has none, or has one and must not.
    pub(crate) fn portfolio(&self, scope: &str, owner: Option<i64>) -> Result<PortfolioId, DbError> {
        let owner = owner.map(FollowedUserId);
        PortfolioId::new(self.text("portfolio_scope", scope)?, owner)
            .ok_or_else(|| self.impossible("followed_user_id", "the scope does not fit the owner"))
    }

    /// Decodes a price.
    ///
    /// # Errors
    /// `DbError::Impossible` when it is outside of 0 to 1.
    pub(crate) fn price(&self, column: &'static str, micros: i64) -> Result<PriceMicros, DbError> {
        PriceMicros::new(micros).map_err(|problem| self.impossible(column, problem))
    }
}

/// Decodes a column that may be null.
///
/// # Errors
/// As `read`.
pub(crate) fn optional<A, B>(
    value: Option<A>,
    read: impl FnOnce(A) -> Result<B, DbError>,
) -> Result<Option<B>, DbError> {
    value.map(read).transpose()
}

/// Returns the owner as unique keys compare it: 0 for a portfolio without an owner.
pub(crate) fn owner_key(portfolio: PortfolioId) -> i64 {
    portfolio.owner().map_or(0, |user| user.0)
}

/// Returns the number by which points name their portfolio: the owner times four, plus 1 for a shadow and 2 for copies; 0
/// for the global one. The view `portfolio_snapshot` takes it apart again.
pub(crate) fn portfolio_key(portfolio: PortfolioId) -> i64 {
    let scope = match portfolio.scope() {
        PortfolioScope::ExecGlobal => 0,
        PortfolioScope::ShadowUser => 1,
        PortfolioScope::ExecUser => 2,
    };
    owner_key(portfolio).saturating_mul(4).saturating_add(scope)
}

/// Returns the JSON of one of our own values; they have text keys and no floats, so encoding cannot fail.
pub(crate) fn json_text<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("our own values have text keys and no floats")
}

/// Returns text from outside in a form that PostgreSQL can store: zero characters, which no honest text has, are
/// replaced.
pub(crate) fn storable(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{fffd}")) } else { Cow::Borrowed(text) }
}
