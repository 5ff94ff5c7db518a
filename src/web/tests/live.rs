//! The websocket `/ws/live` as an open page sees it.

use awc::{
    error::WsProtocolError,
    ws::{self, Frame},
};
use futures_util::{Stream, StreamExt};
use serde_json::Value;

use super::*;

/// The socket of an open page.
struct LivePage<S>(S);

impl<S: Stream<Item = Result<Frame, WsProtocolError>> + Unpin> LivePage<S> {
    /// Waits for the next frame with `topic` and skips other frames.
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

    /// Waits for the close frame and returns its code.
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

impl TestWeb {
    async fn open(&self, query: &str) -> LivePage<impl Stream<Item = Result<Frame, WsProtocolError>> + Unpin + use<>> {
        self.open_from(query, &self.url("")).await.unwrap()
    }

    async fn open_from(
        &self,
        query: &str,
        origin: &str,
    ) -> Result<LivePage<impl Stream<Item = Result<Frame, WsProtocolError>> + Unpin + use<>>, awc::error::WsClientError>
    {
        let request = self.client.ws(self.url(&format!("/ws/live{query}"))).set_header("cookie", self.cookie.as_str());
        let (_, framed) = request.origin(origin.trim_end_matches('/')).max_frame_size(1 << 20).connect().await?;
        Ok(LivePage(framed))
    }
}

#[actix_web::test]
async fn rows_arrive_as_the_page_shows_them() {
    let web = TestWeb::full().await;
    let mut browser = web.open("").await;
    assert_eq!(browser.next("hello").await["resumed"], false, "the page sent no sequence number");
    let user = FollowedUserId(1);
    web.record_and_announce(vec![trade(user, 7, web.now)]).await;
    let frame = browser.next("trades").await;
    let html = frame["html"].as_str().unwrap();
    assert!(html.starts_with("<tr id=\"trade-"), "{html}");
    assert!(html.contains("52.37¢") && html.contains("&lt;script&gt;"), "{html}");
    let page = web.get("/").await.body;
    assert!(page.contains(html), "the frame is the row of the page, byte for byte");
    assert_eq!(frame["row"], EventId::of("DATA_API", "fill 7").to_string());
}

#[actix_web::test]
async fn attempts_and_figures_arrive_too() {
    let web = TestWeb::full().await;
    let mut browser = web.open("").await;
    let attempt = web.record_attempt(FollowedUserId(1), 9, DecisionKind::Execute, web.now).await;
    let changed = crate::actors::live_hub::PortfolioChanged {
        portfolio: PortfolioId::ExecGlobal,
        equity: UsdcMicros(11_000_000_000),
        cash: UsdcMicros(9_000_000_000),
        exposure: UsdcMicros(2_000_000_000),
        unrealized: UsdcMicros(1_000_000_000),
        realized: UsdcMicros::ZERO,
        at: web.now.plus_millis(60_000),
    };
    web.announce([LiveFact::AttemptRecorded(Arc::new(attempt)), LiveFact::PortfolioChanged(changed)]).await;
    assert!(browser.next("attempts").await["html"].as_str().unwrap().contains("Partly copied"));
    loop {
        let frame = browser.next("portfolios").await;
        if frame["region"] == "figures" && frame["html"].as_str().unwrap().contains("11,000.00") {
            break;
        }
    }
}

#[actix_web::test]
async fn only_frames_of_the_chosen_topics_arrive() {
    let web = TestWeb::full().await;
    let mut browser = web.open("?topics=attempts").await;
    browser.next("hello").await;
    web.record_and_announce(vec![trade(FollowedUserId(1), 7, web.now)]).await;
    let attempt = web.record_attempt(FollowedUserId(1), 9, DecisionKind::Skip, web.now).await;
    web.announce([LiveFact::AttemptRecorded(Arc::new(attempt))]).await;
    let Some(Ok(Frame::Text(text))) = browser.0.next().await else { panic!("no frame") };
    assert!(text.starts_with(b"{\"seq\":") && text[..60].windows(8).any(|part| part == b"attempts"), "{text:?}");
    assert!(web.open_from("?topics=nonsense", &web.url("")).await.is_err());
}

#[actix_web::test]
async fn a_page_that_reconnects_misses_nothing_and_one_that_is_too_late_must_reload() {
    let web = TestWeb::full().await;
    let user = FollowedUserId(1);
    let seq = web.get("/api/overview").await.json()["seq"].as_u64().unwrap();
    let mut first = web.open(&format!("?after={seq}")).await;
    assert_eq!(first.next("hello").await["resumed"], true);
    web.record_and_announce(vec![trade(user, 10, web.now)]).await;
    let seen = first.next("trades").await["seq"].as_u64().unwrap();
    drop(first);

    let meanwhile = (11..14).map(|n| trade(user, n, web.now)).collect();
    let mut other = web.open("").await;
    web.record_and_announce(meanwhile).await;
    for _ in 0..3 {
        other.next("trades").await;
    }

    let mut again = web.open(&format!("?after={seen}")).await;
    assert_eq!(again.next("hello").await["resumed"], true);
    let mut missed = Vec::new();
    for _ in 0..3 {
        missed.push(again.next("trades").await["row"].as_str().unwrap().to_owned());
    }
    let expected: Vec<_> = (11..14).map(|n| EventId::of("DATA_API", &format!("fill {n}")).to_string()).collect();
    assert_eq!(missed, expected);

    for after in ["1", "99999999999999999"] {
        let mut late = web.open(&format!("?after={after}")).await;
        assert_eq!(late.next("hello").await["resumed"], false, "{after}");
    }
}

#[actix_web::test]
async fn only_our_own_pages_may_open_a_socket() {
    let web = TestWeb::full().await;
    for origin in ["http://evil.example", "null", "https://127.0.0.1"] {
        assert!(web.open_from("", origin).await.is_err(), "{origin}");
    }
    let mut stranger = TestWeb::full().await;
    stranger.cookie = String::new();
    assert!(stranger.open_from("", &stranger.url("")).await.is_err());
    let plain = web.get_with("/ws/live", &[("origin", &web.url(""))]).await;
    assert_eq!(plain.status, StatusCode::BAD_REQUEST, "no websocket, no answer");
}

#[actix_web::test]
async fn a_stopping_server_closes_the_socket_with_a_code() {
    let mut web = TestWeb::full().await;
    let mut browser = web.open("").await;
    browser.next("hello").await;
    let server = web.server.take().unwrap();
    let stopping = actix::spawn(server.stop());
    assert_eq!(browser.closed().await, Some(ws::CloseCode::Away));
    drop(browser);
    tokio::time::timeout(Duration::from_secs(8), stopping).await.expect("it stops in time").unwrap();
}
