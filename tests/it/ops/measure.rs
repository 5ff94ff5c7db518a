//! The measuring commands work: every page answers, and every socket receives every message.

use polymarketspy::testkit::TestDb;
use std::process::{Command, Output};

fn measure(arguments: &[&str], url: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_polymarketspy"));
    command.arg("measure").args(arguments).env("DATABASE_URL", url).env("LOG_LEVEL", "error").env_remove("REDIS_URL");
    command.output().unwrap()
}

fn told(output: &Output) -> serde_json::Value {
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{complaint} {}", String::from_utf8_lossy(&output.stdout));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[actix::test]
async fn pages_are_timed_over_any_database() {
    let test_db = TestDb::sqlite().await;
    let pages = told(&measure(&["pages", "--times", "2", "--json"], &test_db.url));
    let status =
        |path: &str| pages.as_array().unwrap().iter().find(|page| page["path"] == path).unwrap()["status"].clone();
    for path in ["/", "/trades", "/api/health", "/api/overview", "/api/copy-attempts"] {
        assert_eq!(status(path), 200, "{path}");
    }
    let one = told(&measure(&["pages", "--times", "1", "--json", "--path", "/nowhere"], &test_db.url));
    assert_eq!(one[0]["status"], 404);
    test_db.close().await;
}

#[actix::test]
async fn every_socket_gets_every_frame_and_the_server_ends_with_its_parent() {
    let output =
        measure(&["sockets", "--sockets", "8", "--stalled", "0", "--rate", "20", "--seconds", "2", "--json"], "");
    let figures = told(&output);
    assert_eq!((figures["announced"].as_u64(), figures["complete"].as_u64()), (Some(40), Some(8)), "{figures}");
    assert_eq!(figures["frames_received"].as_u64().unwrap(), 8 * (40 - figures["left_out"].as_u64().unwrap()));
}

#[actix::test]
async fn a_load_measures_copies_and_not_skips() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_polymarketspy"));
    command.args(["load", "--fills", "40", "--rate", "40", "--json"]).env("LOG_LEVEL", "error").env_remove("REDIS_URL");
    let figures = told(&command.output().unwrap());
    assert_eq!((figures["attempts"].as_u64(), figures["executed"].as_u64()), (Some(80), Some(80)), "{figures}");
}
