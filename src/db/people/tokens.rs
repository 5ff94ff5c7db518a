//! API tokens of scripts (spec 12). Only their hashes are stored.

use std::collections::BTreeMap;

use crate::db::system::audit::{self, Audit};
use crate::domain::money::text_enum::text_enum;
use crate::domain::money::units::Timestamp;
use crate::sql::connection::{Db, on, statements};
use crate::sql::decode::{RowDecoder, json_text};
use crate::sql::error::DbError;
use crate::sql::inserted::Inserted;

/// The rights of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenScope {
    /// Pages, JSON, exports and live updates.
    Read,
    /// As `Read`, and every control.
    Write,
}
text_enum!(TokenScope { Read => "READ", Write => "WRITE" });

/// A stored token, without its text or hash.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ApiToken {
    pub id: i64,
    pub name: String,
    pub scope: TokenScope,
    pub created_at: Timestamp,
    /// Rounded down to the minute.
    pub last_used_at: Option<Timestamp>,
    pub revoked_at: Option<Timestamp>,
}

const MINUTE_MS: i64 = 60_000;

statements! {
    INSERT = "insert into api_token (name, token_hash, scope, created_at) values ($1, $2, $3, $4)
        on conflict (name) where revoked_at is null do nothing returning id";
    LIST = "select id, name, scope, created_at, last_used_at, revoked_at from api_token order by id";
    FIND = "select id, name, scope, created_at, last_used_at, revoked_at from api_token
        where token_hash = $1 and revoked_at is null";
    WORKS = "select exists (select 1 from api_token where id = $1 and revoked_at is null)";
    USED = "update api_token set last_used_at = $2 where id = $1 and coalesce(last_used_at, 0) < $2";
    REVOKE = "update api_token set revoked_at = $2 where name = $1 and revoked_at is null returning id";
}

#[derive(sqlx_macros::FromRow)]
struct Row {
    id: i64,
    name: String,
    scope: String,
    created_at: i64,
    last_used_at: Option<i64>,
    revoked_at: Option<i64>,
}

impl Db {
    /// Stores a token by its hash; audited. [`Inserted::Known`] when a working token has that name.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn insert_token(
        &self,
        name: &str,
        hash: &str,
        scope: TokenScope,
        who: &str,
        now: Timestamp,
    ) -> Result<Inserted<i64>, DbError> {
        let mut tx = self.begin().await?;
        let scope = scope.as_str();
        let id: Option<i64> = on!(tx &mut tx, c => {
            sqlx::query_scalar(INSERT).bind(name).bind(hash).bind(scope).bind(now.millis()).fetch_optional(c).await
        })?;
        let Some(id) = id else { return Ok(Inserted::Known) };
        let after = json_text(&serde_json::json!({ "scope": scope }));
        let audit = Audit { after_json: Some(after), ..Audit::bare(who, "token_new", &format!("token:{name}")) };
        audit::insert(&mut tx, &[audit], now).await?;
        tx.commit().await?;
        Ok(Inserted::New(id))
    }

    /// Returns all tokens, the revoked ones last.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn tokens(&self) -> Result<Vec<ApiToken>, DbError> {
        let rows: Vec<Row> = on!(db self, c => sqlx::query_as(LIST).fetch_all(c).await)?;
        let mut tokens: Vec<ApiToken> = rows.into_iter().map(ApiToken::try_from).collect::<Result<_, _>>()?;
        tokens.sort_by_key(|token| token.revoked_at.is_some());
        Ok(tokens)
    }

    /// Returns the working token with this hash.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn find_token(&self, hash: &str) -> Result<Option<ApiToken>, DbError> {
        let row: Option<Row> = on!(db self, c => sqlx::query_as(FIND).bind(hash).fetch_optional(c).await)?;
        row.map(ApiToken::try_from).transpose()
    }

    /// Records when tokens were used last, by their ids.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn note_token_uses(&self, uses: &BTreeMap<i64, Timestamp>) -> Result<(), DbError> {
        let mut tx = self.begin_lazily().await?;
        for (id, at) in uses {
            let minute = at.bucket(MINUTE_MS).millis();
            on!(tx &mut tx, c => sqlx::query(USED).bind(id).bind(minute).execute(c).await.map(drop))?;
        }
        tx.commit().await
    }

    /// Returns whether a token still works, because it exists and is not revoked.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn token_works(&self, id: i64) -> Result<bool, DbError> {
        Ok(on!(db self, c => sqlx::query_scalar(WORKS).bind(id).fetch_one(c).await)?)
    }

    /// Revokes a token; audited. Returns false when no working token has that name.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn revoke_token(&self, name: &str, who: &str, now: Timestamp) -> Result<bool, DbError> {
        let mut tx = self.begin().await?;
        let id: Option<i64> = on!(tx &mut tx, c => {
            sqlx::query_scalar(REVOKE).bind(name).bind(now.millis()).fetch_optional(c).await
        })?;
        if id.is_none() {
            return Ok(false);
        }
        audit::insert(&mut tx, &[Audit::bare(who, "token_revoke", &format!("token:{name}"))], now).await?;
        tx.commit().await?;
        Ok(true)
    }
}

impl ApiToken {
    /// Returns whether a use at `now` changes the recorded last use.
    pub fn is_new_use(&self, now: Timestamp) -> bool {
        self.last_used_at.is_none_or(|used| used < now.bucket(MINUTE_MS))
    }
}

impl TryFrom<Row> for ApiToken {
    type Error = DbError;

    fn try_from(row: Row) -> Result<Self, DbError> {
        let decoder = RowDecoder { table: "api_token", id: row.id };
        Ok(Self {
            id: row.id,
            scope: decoder.text("scope", &row.scope)?,
            name: row.name,
            created_at: Timestamp::from_millis(row.created_at),
            last_used_at: row.last_used_at.map(Timestamp::from_millis),
            revoked_at: row.revoked_at.map(Timestamp::from_millis),
        })
    }
}
