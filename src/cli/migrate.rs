//! `polymarketspy migrate`.

use std::process::ExitCode;

use super::database::open;
use crate::config::Settings;

pub async fn migrate(settings: &Settings) -> anyhow::Result<ExitCode> {
    let db = open(settings).await?;
    db.close().await;
    println!("The database has this program's schema.");
    Ok(ExitCode::SUCCESS)
}
