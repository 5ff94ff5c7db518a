//! From columns to domain types; a stored value that cannot be is named with its table and row.

use std::borrow::Cow;
use std::fmt::Display;
use std::str::FromStr;

use super::error::DbError;
use crate::domain::accounting::ledger::PortfolioId;
use crate::domain::money::ids::{AssetId, FollowedUserId, MarketId, Wallet};
use crate::domain::money::units::PriceMicros;

/// Reads the columns of one row.
#[derive(Clone, Copy)]
pub(crate) struct RowDecoder<I> {
    pub table: &'static str,
    pub id: I,
}

impl<I: Display> RowDecoder<I> {
    pub(crate) fn impossible(&self, column: &'static str, problem: impl ToString) -> DbError {
        DbError::impossible(self.table, &self.id, column, problem)
    }

    /// A state's text.
    pub(crate) fn text<T: FromStr<Err: Display>>(&self, column: &'static str, text: &str) -> Result<T, DbError> {
        text.parse().map_err(|problem| self.impossible(column, problem))
    }

    pub(crate) fn json<T: serde::de::DeserializeOwned>(&self, column: &'static str, text: &str) -> Result<T, DbError> {
        serde_json::from_str(text).map_err(|problem| self.impossible(column, problem))
    }

    pub(crate) fn wallet(&self, column: &'static str, text: &str) -> Result<Wallet, DbError> {
        Wallet::parse(text).map_err(|problem| self.impossible(column, problem))
    }

    pub(crate) fn asset(&self, column: &'static str, text: &str) -> Result<AssetId, DbError> {
        AssetId::parse(text).map_err(|problem| self.impossible(column, problem))
    }

    pub(crate) fn market(&self, column: &'static str, text: &str) -> Result<MarketId, DbError> {
        MarketId::parse(text).map_err(|problem| self.impossible(column, problem))
    }

    pub(crate) fn portfolio(&self, scope: &str, owner: Option<i64>) -> Result<PortfolioId, DbError> {
        let owner = owner.map(FollowedUserId);
        PortfolioId::new(self.text("portfolio_scope", scope)?, owner)
            .ok_or_else(|| self.impossible("followed_user_id", "the scope and its owner do not go together"))
    }

    pub(crate) fn price(&self, column: &'static str, micros: i64) -> Result<PriceMicros, DbError> {
        PriceMicros::new(micros).map_err(|problem| self.impossible(column, problem))
    }
}

/// Applies a fallible reading to a column that may be null.
pub(crate) fn optional<A, B>(
    value: Option<A>,
    read: impl FnOnce(A) -> Result<B, DbError>,
) -> Result<Option<B>, DbError> {
    value.map(read).transpose()
}

/// JSON of a value of ours; such values have text keys and no floats, so writing them cannot fail.
pub(crate) fn json_text<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("our own values have text keys and nothing that JSON cannot say")
}

/// Text from outside as PostgreSQL can hold it: without zero characters, which no honest text has.
pub(crate) fn storable(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{fffd}")) } else { Cow::Borrowed(text) }
}
