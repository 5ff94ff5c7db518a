//! A written history must be one that the bot could have written itself.

use super::*;
use crate::audit::audit;
use crate::clock::Clock;
use crate::domain::accounting::ledger::PortfolioId;
use crate::domain::money::ids::EventId;
use crate::polymarket::{Window, WireRow};
use crate::queue;
use crate::simulator::http::request::{Host, Request};
use crate::simulator::{Simulator, SimulatorSettings};

async fn fresh() -> (tempfile::TempDir, Db) {
    let folder = tempfile::tempdir().unwrap();
    let db = Db::connect(&format!("sqlite://{}", folder.path().join("bot.db").display())).await.unwrap();
    db.migrate().await.unwrap();
    (folder, db)
}

fn simulator() -> SimulatorHandle {
    let now = Timestamp::parse_iso("2026-11-22T10:00:17.250Z").unwrap();
    let settings = SimulatorSettings { now: Clock::starting_at(now), ..SimulatorSettings::lifelike(4) };
    Simulator::start(settings).unwrap()
}

#[actix_web::test]
async fn a_day_of_history_is_one_the_bot_could_have_written() {
    let (_folder, db) = fresh().await;
    let simulator = simulator();
    let report = write_history(&db, &simulator, &HistorySettings::day()).await.unwrap();
    assert!((400..1_000).contains(&report.events), "{report:?}");
    assert!(report.executed > 20 && report.executed < report.attempts, "{report:?}");
    assert_eq!(report.attempts, 2 * report.groups, "{report:?}");
    assert_eq!(report.snapshots, 7 * 24 * 60, "{report:?}");
    assert!(report.held_assets > 5 && report.prices > 500, "{report:?}");

    let books = audit(&db).await.unwrap();
    assert_eq!(books.problems, Vec::<String>::new());
    assert_eq!(books.portfolios.len(), 7);
    assert!(books.portfolios.iter().all(|proof| proof.compared), "{books:?}");
    assert!(queue::depths(&db).await.unwrap().iter().all(|depth| depth.open == 0));
    let newest = db.newest_snapshot(PortfolioId::ExecGlobal).await.unwrap().unwrap();
    assert_eq!(newest.bucket_time.iso(), "2026-11-22T10:00:00.000Z");

    // The database has each row that the Data API shows.
    for user in db.followed_users().await.unwrap() {
        let texts = simulator.simulation(|simulation| every_row(simulation, &user.profile_wallet));
        let window = Window::of(texts.iter().map(|text| WireRow::parse(text)), &user.profile_wallet);
        let trades: Vec<EventId> = window.trades.iter().map(|draft| draft.event_id()).collect();
        let activities: Vec<EventId> = window.activities.iter().map(|draft| draft.event_id()).collect();
        assert!(trades.len() > 50);
        assert_eq!(db.trades_by_id(&trades).await.unwrap().len(), trades.len());
        assert_eq!(db.activities_by_id(&activities).await.unwrap().len(), activities.len());
    }
    let again = write_history(&db, &simulator, &HistorySettings::day()).await;
    assert!(matches!(again, Err(HistoryError::NotEmpty(_))), "{again:?}");
}

#[actix_web::test]
async fn as_many_assets_are_held_as_were_asked_for() {
    let (_folder, db) = fresh().await;
    let settings = HistorySettings { held_assets: 60, ..HistorySettings::day() };
    let report = write_history(&db, &simulator(), &settings).await.unwrap();
    assert!(report.held_assets >= 60, "{report:?}");
    assert_eq!(audit(&db).await.unwrap().problems, Vec::<String>::new());
}

/// Returns all rows of a wallet as the activity route serves them, page by page.
fn every_row(simulation: &mut Simulation, wallet: &Wallet) -> Vec<String> {
    let (mut texts, mut cursor) = (Vec::new(), String::new());
    loop {
        let path = format!("/v2/activity?user={wallet}&limit=500{cursor}");
        let answer = simulation.answer(&Request::get(Host::Data, &path)).0.value();
        texts.extend(answer["data"].as_array().unwrap().iter().map(ToString::to_string));
        match answer["pagination"]["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return texts,
        }
    }
}
