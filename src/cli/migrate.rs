//! `polymarketspy migrate`.

use std::process::ExitCode;

use anyhow::Context;

use crate::config::Settings;
use crate::db::Db;

/// Opens the settings' database and brings it to this program's schema; every command that reads or writes begins so.
pub async fn open(settings: &Settings) -> anyhow::Result<Db> {
    let db = Db::connect(settings.database.url.reveal()).await.context("the database of DATABASE_URL does not open")?;
    db.migrate().await?;
    Ok(db)
}

pub async fn migrate(settings: &Settings) -> anyhow::Result<ExitCode> {
    let db = open(settings).await?;
    db.close().await;
    println!("The database has this program's schema.");
    Ok(ExitCode::SUCCESS)
}
