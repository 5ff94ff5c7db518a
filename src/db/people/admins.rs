//! The e-mails that may sign in, and ended sessions (spec 12).

use crate::db::system::audit::{self, Audit};
use crate::domain::money::email::Email;
use crate::domain::money::units::Timestamp;
use crate::sql::connection::{Db, Tx, on, statements};
use crate::sql::error::DbError;
use crate::sql::inserted::Inserted;

statements! {
    ADD = "insert into allowed_admin_email (email, created_at) values ($1, $2) on conflict (email) do nothing
        returning email";
    REMOVE = "delete from allowed_admin_email where email = $1 returning email";
    IS_ADMIN = "select exists (select 1 from allowed_admin_email where email = $1)";
    LIST = "select email, created_at from allowed_admin_email order by email";
    STANDING = "select exists (select 1 from allowed_admin_email where email = $1) as is_admin,
            exists (select 1 from ended_session where id = $2)
                or exists (select 1 from session_floor where who = $1 and began_at >= $3) as is_over";
    END = "insert into ended_session (id, ends_at) values ($1, $2) on conflict (id) do nothing";
    FORGET_ENDED = "delete from ended_session where ends_at < $1";
    END_ALL = "insert into session_floor (who, began_at) values ($1, $2)
        on conflict (who) do update set began_at = excluded.began_at where session_floor.began_at < excluded.began_at";
    END_EVERYBODYS = "insert into session_floor (who, began_at)
        select email, cast($2 as bigint) from allowed_admin_email union all select $1, cast($2 as bigint) where true
        on conflict (who) do update set began_at = excluded.began_at";
}

/// An e-mail that may sign in.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Admin {
    pub email: String,
    /// The time it was allowed.
    pub created_at: Timestamp,
}

/// The state of a session in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx_macros::FromRow)]
pub struct SessionStanding {
    /// Whether the e-mail of its owner may still sign in.
    pub is_admin: bool,
    /// Whether it was signed out.
    pub is_over: bool,
}

impl Db {
    /// Allows an e-mail to sign in; audited.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn allow_admin(&self, email: &Email, who: &str, now: Timestamp) -> Result<Inserted<()>, DbError> {
        let mut tx = self.begin().await?;
        let new: Option<String> = on!(tx &mut tx, c => {
            sqlx::query_scalar(ADD).bind(email.as_str()).bind(now.millis()).fetch_optional(c).await
        })?;
        if new.is_none() {
            return Ok(Inserted::Known);
        }
        note(&mut tx, who, "admin_add", email, now).await?;
        tx.commit().await?;
        Ok(Inserted::New(()))
    }

    /// Forbids an e-mail to sign in, which also ends its sessions; audited. Returns false if it was not allowed.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn forbid_admin(&self, email: &Email, who: &str, now: Timestamp) -> Result<bool, DbError> {
        let mut tx = self.begin().await?;
        let gone: Option<String> =
            on!(tx &mut tx, c => sqlx::query_scalar(REMOVE).bind(email.as_str()).fetch_optional(c).await)?;
        if gone.is_none() {
            return Ok(false);
        }
        note(&mut tx, who, "admin_remove", email, now).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Returns whether an e-mail may sign in.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn is_admin(&self, email: &Email) -> Result<bool, DbError> {
        Ok(on!(db self, c => sqlx::query_scalar(IS_ADMIN).bind(email.as_str()).fetch_one(c).await)?)
    }

    /// Returns the e-mails that may sign in, in alphabetical order.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn admins(&self) -> Result<Vec<Admin>, DbError> {
        let rows: Vec<(String, i64)> = on!(db self, c => sqlx::query_as(LIST).fetch_all(c).await)?;
        let admin = |(email, millis)| Admin { email, created_at: Timestamp::from_millis(millis) };
        Ok(rows.into_iter().map(admin).collect())
    }

    /// Returns the state of the session `id` of `who`, signed in at `began`.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn session_standing(&self, id: &str, who: &str, began: Timestamp) -> Result<SessionStanding, DbError> {
        let began = began.millis();
        Ok(on!(db self, c => sqlx::query_as(STANDING).bind(who).bind(id).bind(began).fetch_one(c).await)?)
    }

    /// Ends one session of `who`, which would have ended at `ends_at`.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn end_session(&self, id: &str, who: &str, ends_at: Timestamp, now: Timestamp) -> Result<(), DbError> {
        let mut tx = self.begin().await?;
        on!(tx &mut tx, c => sqlx::query(FORGET_ENDED).bind(now.millis()).execute(c).await.map(drop))?;
        on!(tx &mut tx, c => sqlx::query(END).bind(id).bind(ends_at.millis()).execute(c).await.map(drop))?;
        audit::insert(&mut tx, &[Audit::bare(who, "sign_out", "session")], now).await?;
        tx.commit().await
    }

    /// Ends every session of `who` that began at or before `now`.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn end_sessions(&self, who: &str, now: Timestamp) -> Result<(), DbError> {
        let mut tx = self.begin().await?;
        on!(tx &mut tx, c => sqlx::query(END_ALL).bind(who).bind(now.millis()).execute(c).await.map(drop))?;
        audit::insert(&mut tx, &[Audit::bare(who, "sign_out_everywhere", "session")], now).await?;
        tx.commit().await
    }

    /// Ends every session that began at or before `now`; `of_links` is the name of sessions that began with a sign-in
    /// link.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn end_all_sessions(&self, of_links: &str, now: Timestamp) -> Result<(), DbError> {
        let mut tx = self.begin().await?;
        let now = now.millis();
        on!(tx &mut tx, c => sqlx::query(END_EVERYBODYS).bind(of_links).bind(now).execute(c).await.map(drop))?;
        tx.commit().await
    }
}

/// Writes the audit of a change to an admin's e-mail.
async fn note(tx: &mut Tx, who: &str, action: &str, email: &Email, now: Timestamp) -> Result<(), DbError> {
    audit::insert(tx, &[Audit::bare(who, action, &format!("admin:{email}"))], now).await
}
