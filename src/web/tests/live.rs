//! The websocket as a browser sees it.

use awc::{
    error::WsProtocolError,
    ws::{self, Frame},
};
use futures_util::{Stream, StreamExt};
use serde_json::Value;

use super::*;

/// An open page.
struct Browser<S>(S);

impl<S: Stream<Item = Result<Frame, WsProtocolError>> + Unpin> Browser<S> {
    /// The next frame with `topic`; what comes between is passed by.
    async fn next(&mut self, topic: &str) -> Value {
        let wait = async {
            loop {
                match self.0.next().await {
                    Some(Ok(Frame::Text(text))) => {
                        let frame: Value = serde_json::from_slice(&text).unwrap();
                        if frame["topic"] == topic {
                            return frame;
                        }
                    }
                    Some(Ok(_)) => {}
                    ended => panic!("the socket ended: {ended:?}"),
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(10), wait).await.unwrap_or_else(|_| panic!("no {topic} frame"))
    }

    /// The code that ends it.
    async fn closed(&mut self) -> Option<ws::CloseCode> {
        let wait = async {
            loop {
                match self.0.next().await {
                    Some(Ok(Frame::Close(reason))) => return reason.map(|reason| reason.code),
                    Some(Ok(_)) => {}
                    _ => return None,
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(10), wait).await.expect("the socket closes")
    }
}

impl World {
    async fn open(&self, query: &str) -> Browser<impl Stream<Item = Result<Frame, WsProtocolError>> + Unpin + use<>> {
        self.open_from(query, &self.url("")).await.unwrap()
    }

    async fn open_from(
        &self,
        query: &str,
        origin: &str,
    ) -> Result<Browser<impl Stream<Item = Result<Frame, WsProtocolError>> + Unpin + use<>>, awc::error::WsClientError>
    {
        let request = self.client.ws(self.url(&format!("/ws/live{query}"))).set_header("cookie", self.cookie.as_str());
        let (_, framed) = request.origin(origin.trim_end_matches('/')).max_frame_size(1 << 20).connect().await?;
        Ok(Browser(framed))
    }
}

#[actix_web::test]
async fn rows_arrive_as_the_page_shows_them() {
    let world = World::full().await;
    let mut browser = world.open("").await;
    assert_eq!(browser.next("hello").await["resumed"], false, "nobody said where the page stands");
    let user = FollowedUserId(1);
    world.trades_come_in(vec![trade(user, 7, world.now)]).await;
    let frame = browser.next("trades").await;
    let html = frame["html"].as_str().unwrap();
    assert!(html.starts_with("<tr id=\"trade-"), "{html}");
    assert!(html.contains("52.37¢") && html.contains("&lt;script&gt;"), "{html}");
    let page = world.get("/").await.body;
    assert!(page.contains(html), "the frame is the row of the page, byte for byte");
    assert_eq!(frame["row"], EventId::of("DATA_API", "fill 7").to_string());
}

#[actix_web::test]
async fn attempts_and_figures_arrive_too() {
    let world = World::full().await;
    let mut browser = world.open("").await;
    let attempt = world.attempt(FollowedUserId(1), 9, DecisionKind::Execute, world.now).await;
    let changed = crate::actors::live_hub::PortfolioChanged {
        portfolio: PortfolioId::ExecGlobal,
        equity: UsdcMicros(11_000_000_000),
        cash: UsdcMicros(9_000_000_000),
        exposure: UsdcMicros(2_000_000_000),
        unrealized: UsdcMicros(1_000_000_000),
        realized: UsdcMicros::ZERO,
        at: world.now.plus_millis(60_000),
    };
    world.announce([LiveFact::AttemptRecorded(Arc::new(attempt)), LiveFact::PortfolioChanged(changed)]).await;
    assert!(browser.next("attempts").await["html"].as_str().unwrap().contains("Partly copied"));
    loop {
        let frame = browser.next("portfolios").await;
        if frame["region"] == "figures" && frame["html"].as_str().unwrap().contains("11,000.00") {
            break;
        }
    }
}

#[actix_web::test]
async fn topics_choose_what_comes() {
    let world = World::full().await;
    let mut browser = world.open("?topics=attempts").await;
    browser.next("hello").await;
    world.trades_come_in(vec![trade(FollowedUserId(1), 7, world.now)]).await;
    let attempt = world.attempt(FollowedUserId(1), 9, DecisionKind::Skip, world.now).await;
    world.announce([LiveFact::AttemptRecorded(Arc::new(attempt))]).await;
    let Some(Ok(Frame::Text(text))) = browser.0.next().await else { panic!("no frame") };
    assert!(text.starts_with(b"{\"seq\":") && text[..60].windows(8).any(|part| part == b"attempts"), "{text:?}");
    assert!(world.open_from("?topics=nonsense", &world.url("")).await.is_err());
}

#[actix_web::test]
async fn a_page_that_reconnects_misses_nothing_and_one_that_is_too_late_reads_again() {
    let world = World::full().await;
    let user = FollowedUserId(1);
    let seq = world.get("/api/overview").await.json()["seq"].as_u64().unwrap();
    let mut first = world.open(&format!("?after={seq}")).await;
    assert_eq!(first.next("hello").await["resumed"], true);
    world.trades_come_in(vec![trade(user, 10, world.now)]).await;
    let seen = first.next("trades").await["seq"].as_u64().unwrap();
    drop(first);

    let meanwhile = (11..14).map(|n| trade(user, n, world.now)).collect();
    let mut other = world.open("").await;
    world.trades_come_in(meanwhile).await;
    for _ in 0..3 {
        other.next("trades").await;
    }

    let mut again = world.open(&format!("?after={seen}")).await;
    assert_eq!(again.next("hello").await["resumed"], true);
    let mut missed = Vec::new();
    for _ in 0..3 {
        missed.push(again.next("trades").await["row"].as_str().unwrap().to_owned());
    }
    let expected: Vec<_> = (11..14).map(|n| EventId::of("DATA_API", &format!("fill {n}")).to_string()).collect();
    assert_eq!(missed, expected);

    for after in ["1", "99999999999999999"] {
        let mut late = world.open(&format!("?after={after}")).await;
        assert_eq!(late.next("hello").await["resumed"], false, "{after}");
    }
}

#[actix_web::test]
async fn only_pages_of_ours_may_listen() {
    let world = World::full().await;
    for origin in ["http://evil.example", "null", "https://127.0.0.1"] {
        assert!(world.open_from("", origin).await.is_err(), "{origin}");
    }
    let mut stranger = World::full().await;
    stranger.cookie = String::new();
    assert!(stranger.open_from("", &stranger.url("")).await.is_err());
    let plain = world.get_with("/ws/live", &[("origin", &world.url(""))]).await;
    assert_eq!(plain.status, StatusCode::BAD_REQUEST, "no websocket, no answer");
}

#[actix_web::test]
async fn a_stopping_server_says_goodbye() {
    let mut world = World::full().await;
    let mut browser = world.open("").await;
    browser.next("hello").await;
    let web = world.web.take().unwrap();
    let stopping = actix::spawn(web.stop());
    assert_eq!(browser.closed().await, Some(ws::CloseCode::Away));
    drop(browser);
    tokio::time::timeout(Duration::from_secs(8), stopping).await.expect("it stops in time").unwrap();
}
