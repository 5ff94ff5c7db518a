//! The database as commands use it.

use anyhow::Context;

use crate::config::Settings;
use crate::db::Db;

/// The name that the audit log shows for a change made by a command (column `who`).
pub const AUDIT_WHO: &str = "command line";

/// Opens the database of `DATABASE_URL` and migrates it to this program's schema. Every command that needs the database
/// starts with this.
pub async fn open(settings: &Settings) -> anyhow::Result<Db> {
    let db = Db::connect(settings.database.url.reveal()).await.context("cannot open the database of DATABASE_URL")?;
    db.migrate().await?;
    Ok(db)
}
