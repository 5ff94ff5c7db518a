//! Waiting for what happens in another task, thread or process.

use std::time::{Duration, Instant};

use awc::ws::Frame;
use futures_util::{Stream, StreamExt};

/// Longest wait for something that a whole bot does. It takes seconds; a busy machine may need more.
const BOT_PATIENCE: Duration = Duration::from_secs(120);
/// Longest wait for the answer of one actor.
const ACTOR_PATIENCE: Duration = Duration::from_secs(20);

/// Polls `ask` until it returns a value. A test that waits too long fails and names `what` it waited for.
pub async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(begun.elapsed() < BOT_PATIENCE, "still waiting for {what} after {BOT_PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Returns the output of `future`; a test whose actor does not answer fails instead of hanging.
pub async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(ACTOR_PATIENCE, future).await.unwrap_or_else(|_| panic!("no answer within {ACTOR_PATIENCE:?}"))
}

/// Waits until an open page receives an attempt of the global portfolio.
pub async fn attempt_arrives<E: std::fmt::Debug>(frames: &mut (impl Stream<Item = Result<Frame, E>> + Unpin)) {
    let arrives = async {
        loop {
            match frames.next().await.expect("the socket stays open").unwrap() {
                Frame::Text(text) if String::from_utf8_lossy(&text).contains("EXEC_GLOBAL") => return,
                _ => {}
            }
        }
    };
    tokio::time::timeout(BOT_PATIENCE, arrives).await.expect("an attempt arrives on the open page");
}
