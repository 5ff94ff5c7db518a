//! Downloads: complete, filtered, harmless in a spreadsheet, and never a part that looks complete.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use futures_util::StreamExt;

use super::*;

/// An answer as it comes in.
type Incoming = awc::ClientResponse<actix_http::encoding::Decoder<actix_http::Payload>>;

impl TestWeb {
    /// Begins a download and reads nothing of it yet.
    async fn begin(&self, path: &str) -> Incoming {
        let request = self.client.get(self.url(path)).insert_header(("cookie", self.cookie.as_str()));
        request.no_decompress().send().await.unwrap()
    }

    /// Inserts `n` ledger entries by plain SQL: a large ledger in a short time.
    async fn book_many(&self, n: u32) {
        let Db::Sqlite { write, .. } = &self.db else { panic!("the web tests run on SQLite") };
        let text = format!(
            "insert into ledger_entry (portfolio_scope, attributed_user_id, entry_type, share_delta_micros,
                cash_delta_micros, ref_id, created_at)
             with recursive n (i) as (select 1 union all select i + 1 from n where i < {n})
             select 'EXEC_GLOBAL', 1, 'FEE', 0, -i, 'many:' || i, {} + i from n",
            self.now.millis()
        );
        sqlx::query(sqlx::AssertSqlSafe(text)).execute(write).await.unwrap();
    }
}

fn records(answer: &TestResponse) -> Vec<BTreeMap<String, String>> {
    let mut reader = csv::Reader::from_reader(answer.body.as_bytes());
    reader.deserialize().map(|record| record.unwrap()).collect()
}

#[actix_web::test]
async fn trades_are_a_file_with_the_columns_of_their_table() {
    let web = TestWeb::full().await;
    let answer = web.get("/export/trades.csv").await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert!(answer.header("content-type").starts_with("text/csv"));
    let name = answer.header("content-disposition");
    assert!(name.starts_with("attachment; filename=\"polymarketspy-trades-20") && name.ends_with(".csv\""), "{name}");
    assert!(answer.body.starts_with("id,source,source_id,tx_hash,log_index,"), "{}", answer.body);
    assert!(answer.body.ends_with("\r\n"));
    let rows = records(&answer);
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0]["share_micros"], "2345670000");
    assert_eq!(rows[0]["detect_time"], web.now.iso());
    assert_eq!(rows[0]["followed_user_label"], HOSTILE);
    assert_eq!(rows[0]["is_canonical"], "true");
    assert_eq!(rows[0]["block_hash"], "");

    let json = web.get("/export/trades.json").await.json();
    let listed = &web.get("/api/trades").await.json()["data"][0];
    for column in ["id", "market_id", "asset_id", "side", "price_micros", "fee_micros", "event_time", "question"] {
        assert_eq!(json[0][column], listed[column], "{column}");
    }
    assert_eq!(json[0]["log_index"], serde_json::Value::Null);
}

#[actix_web::test]
async fn attempts_ledger_and_snapshots_too() {
    let web = TestWeb::full().await;
    let attempts = web.get("/export/attempts.json").await.json();
    assert_eq!(attempts.as_array().unwrap().len(), 2);
    let skipped = attempts.as_array().unwrap().iter().find(|attempt| attempt["decision"] == "SKIP").unwrap();
    assert_eq!(skipped["reason_codes"], serde_json::json!(["SPREAD_TOO_WIDE", "INSUFFICIENT_DEPTH"]));
    assert!(skipped["explain_json"]["checks"].is_array());
    let row = &records(&web.get("/export/attempts.csv?decision=SKIP").await)[0];
    assert_eq!(row["reason_codes"], "SPREAD_TOO_WIDE,INSUFFICIENT_DEPTH");

    web.book_many(3).await;
    let ledger = records(&web.get("/export/ledger.csv?scope=EXEC_GLOBAL").await);
    assert_eq!(ledger.iter().map(|row| row["cash_delta_micros"].as_str()).collect::<Vec<_>>(), ["-1", "-2", "-3"]);
    assert_eq!(ledger[0]["followed_user_label"], HOSTILE, "in EXEC_GLOBAL the leader is the one who caused the entry");

    let snapshots = web.get("/export/snapshots.json").await.json();
    let scopes: Vec<_> = snapshots.as_array().unwrap().iter().map(|row| row["portfolio_scope"].clone()).collect();
    assert_eq!(scopes, ["EXEC_USER", "EXEC_GLOBAL", "EXEC_GLOBAL"]);
    let newest = web.now.bucket(60_000).iso();
    let recent = web.get(&format!("/export/snapshots.json?from={newest}")).await.json();
    assert_eq!(recent.as_array().unwrap().len(), 2, "a point at `from` itself is wanted");
}

#[actix_web::test]
async fn a_download_has_the_filters_of_the_list() {
    let web = TestWeb::full().await;
    let count = async |path: &str| records(&web.get(path).await).len();
    assert_eq!(count("/export/trades.csv?side=SELL&user=1").await, 1);
    assert_eq!(count("/export/trades.csv?side=BUY").await, 0);
    assert_eq!(count("/export/trades.csv?user=2").await, 0);
    assert_eq!(count(&format!("/export/trades.csv?market={}", market_id())).await, 1);
    assert_eq!(count("/export/attempts.csv?decision=EXECUTE").await, 1);
    assert_eq!(count("/export/attempts.csv?reason=SPREAD_TOO_WIDE").await, 1);
    assert_eq!(count("/export/attempts.csv?user=1&scope=EXEC_USER").await, 0);
    assert_eq!(count(&format!("/export/attempts.csv?market={}", market_id())).await, 2);
    assert_eq!(count("/export/snapshots.csv?scope=SHADOW_USER").await, 0);
    assert_eq!(count("/export/snapshots.csv?user=1").await, 1);
    web.book_many(10).await;
    let (from, to) = (web.now.plus_millis(3).iso(), web.now.plus_millis(5).iso());
    assert_eq!(count(&format!("/export/ledger.csv?from={from}&to={to}")).await, 3);
    assert_eq!(count("/export/ledger.csv?user=1").await, 10);
    assert_eq!(count("/export/ledger.csv?user=1&scope=EXEC_GLOBAL").await, 10);
    assert_eq!(count("/export/ledger.csv?user=1&scope=EXEC_USER").await, 0);

    for nonsense in
        ["trades.csv?market=0x12", "ledger.csv?scope=NONE", "checks.csv?scope=EXEC_USER", "snapshots.json?nonsense=1"]
    {
        assert_eq!(web.get(&format!("/export/{nonsense}")).await.status, StatusCode::BAD_REQUEST, "{nonsense}");
    }
    for nowhere in ["trades.xlsx", "secrets.csv", "trades"] {
        assert_eq!(web.get(&format!("/export/{nowhere}")).await.status, StatusCode::NOT_FOUND, "{nowhere}");
    }
}

#[actix_web::test]
async fn a_download_needs_a_session() {
    let web = TestWeb::full().await;
    for what in ["trades", "attempts", "ledger", "snapshots", "checks", "corrections"] {
        for format in ["csv", "json"] {
            let answer = web.get_signed_out(&format!("/export/{what}.{format}")).await;
            assert_eq!(
                (answer.status, answer.header("location")),
                (StatusCode::SEE_OTHER, "/login"),
                "{what}.{format}"
            );
            assert_eq!(answer.body, "");
        }
    }
}

#[actix_web::test]
async fn no_cell_starts_a_formula() {
    let web = TestWeb::empty().await;
    web.follow("=HYPERLINK(\"https://evil.example\",\"a\")").await;
    let hostile = Market { question: "+1\r\n\"x\"".to_owned(), ..market() };
    web.db.save_market(&hostile).await.unwrap();
    web.record_trades(&[trade(FollowedUserId(1), 0, web.now)]).await;
    let answer = web.get("/export/trades.csv").await;
    let rows = records(&answer);
    assert_eq!(rows[0]["followed_user_label"], "'=HYPERLINK(\"https://evil.example\",\"a\")");
    assert_eq!(rows[0]["question"], "'+1\r\n\"x\"");
    // JSON is for programs, so it holds the text unchanged.
    assert_eq!(web.get("/export/trades.json").await.json()[0]["question"], "+1\r\n\"x\"");
    web.book_many(1).await;
    let ledger = records(&web.get("/export/ledger.csv").await);
    assert_eq!(ledger[0]["cash_delta_micros"], "-1", "a number stays a number");
}

#[actix_web::test]
async fn a_large_ledger_arrives_complete_and_in_small_pieces() {
    const N: u32 = 20_000;
    let web = TestWeb::full().await;
    web.book_many(N).await;
    for format in ["csv", "json"] {
        let mut incoming = web.begin(&format!("/export/ledger.{format}")).await;
        let (mut n_rows, mut bytes) = (0, 0);
        while let Some(piece) = incoming.next().await {
            let piece = piece.unwrap();
            bytes += piece.len();
            n_rows += piece.iter().filter(|byte| **byte == b'\n').count();
        }
        // One line for each row, plus the column names in CSV, plus the two brackets of the array in JSON.
        assert_eq!(n_rows, N as usize + if format == "csv" { 1 } else { 2 }, "{format}");
        assert!(bytes > 1_000_000, "{bytes}");
    }
}

/// This test reads the socket itself, because a client library may take a broken answer for a short one.
#[actix_web::test]
async fn a_database_that_fails_during_a_download_breaks_it() {
    let web = TestWeb::full().await;
    web.book_many(100_000).await;
    let (address, cookie) = (web.server().addr, web.cookie.clone());
    let begin = move || {
        let mut stream = TcpStream::connect(address).unwrap();
        let request = format!("GET /export/ledger.csv HTTP/1.1\r\nhost: {address}\r\ncookie: {cookie}\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut beginning = [0; 1024];
        stream.read_exact(&mut beginning).unwrap();
        (stream, beginning)
    };
    let (mut stream, beginning) = tokio::task::spawn_blocking(begin).await.unwrap();
    let beginning = String::from_utf8_lossy(&beginning).into_owned();
    assert!(beginning.starts_with("HTTP/1.1 200") && beginning.contains("transfer-encoding: chunked"), "{beginning}");
    // The server reads only as far as the browser takes, so most of the ledger is not read yet.
    web.db.close().await;
    let rest = move || {
        let mut rest = Vec::new();
        // The connection may also be reset; the test accepts that end too.
        let _ = stream.read_to_end(&mut rest);
        rest
    };
    let rest = tokio::task::spawn_blocking(rest).await.unwrap();
    assert!(!rest.ends_with(b"\r\n0\r\n\r\n"), "a part must not look complete");
    assert!(rest.len() < 10_000_000, "{} bytes", rest.len());
}
