//! One websocket to a node, from connecting to its end. The caller reconnects.

use std::{collections::BTreeSet, convert::Infallible, time::Duration};

use actix_http::ws::Item;
use actix_web::web::{Bytes, BytesMut};
use awc::error::WsProtocolError;
use awc::ws::{Frame, Message};
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use tokio::{sync::watch, time::Instant};

use super::{
    ChainError,
    feed::{ChainNews, Feed},
};
use crate::domain::money::ids::Wallet;
use crate::http_client::http_client;

/// Polygon makes a block about every 1.5 s. A socket without a new block for this long is dead, even if TCP reports no
/// error.
const SILENCE: Duration = Duration::from_secs(30);
const CONNECT: Duration = Duration::from_secs(10);
const SUBSCRIBE: Duration = Duration::from_secs(15);
/// How long a fill may wait for the time of its block. Not long, because the fill makes us ask the canonical source
/// sooner.
const BLOCK_TIME: Duration = Duration::from_secs(1);
const FRAME_MAX: usize = 1 << 20;
const MESSAGE_MAX: usize = 4 << 20;

/// Connects, subscribes and calls `report` with every piece of news until the connection ends; returns why it ended.
///
/// A change of `wallets` changes the subscription on the same socket; when the sender of `wallets` is dropped, the
/// connection ends. No news and no error contains the API key in `url`, whatever the node writes into its errors.
pub async fn converse(
    url: &str,
    feed: Feed,
    wallets: watch::Receiver<BTreeSet<Wallet>>,
    mut report: impl FnMut(ChainNews),
) -> ChainError {
    let clean = |error: ChainError| error.map_text(|text| without(url, &text));
    let talk = talk(url, feed, wallets, |news| {
        report(match news {
            ChainNews::Unreadable(error) => ChainNews::Unreadable(clean(error)),
            news => news,
        });
    });
    let Err(error) = talk.await;
    clean(error)
}

/// Does the work of [`converse`].
///
/// # Errors
/// Always ends with the [`ChainError`] that ended the connection.
async fn talk(
    url: &str,
    mut feed: Feed,
    mut wallets: watch::Receiver<BTreeSet<Wallet>>,
    mut report: impl FnMut(ChainNews),
) -> Result<Infallible, ChainError> {
    let mut socket = connect(url).await?;
    let mut partial = Partial::default();
    let mut silent_at = Instant::now() + SILENCE;
    let mut subscribed_by = Instant::now() + SUBSCRIBE;
    let mut dated_by: Option<Instant> = None;
    let mut send = feed.open(wallets.borrow_and_update().clone());
    loop {
        for text in send.drain(..) {
            socket.send(Message::Text(text.into())).await.map_err(broken)?;
        }
        let deadline = if feed.is_complete() { silent_at } else { silent_at.min(subscribed_by) };
        // The deadline counts from the first waiting fill: a steady stream of logs must not postpone it.
        dated_by = feed.waits_for_times().then(|| dated_by.unwrap_or_else(|| Instant::now() + BLOCK_TIME));
        let frame = tokio::select! {
            frame = socket.next() => frame,
            changed = wallets.changed() => {
                changed.map_err(|_| ChainError::Unwanted)?;
                subscribed_by = Instant::now() + SUBSCRIBE;
                send.extend(feed.watch(wallets.borrow_and_update().clone()));
                continue;
            }
            () = tokio::time::sleep_until(dated_by.unwrap_or(deadline)), if dated_by.is_some() => {
                feed.wait_no_longer().into_iter().for_each(&mut report);
                continue;
            }
            () = tokio::time::sleep_until(deadline) => {
                return Err(if feed.is_complete() {
                    ChainError::Silent(SILENCE.as_secs())
                } else {
                    ChainError::NotSubscribed(SUBSCRIBE.as_secs())
                });
            }
        };
        let Some(text) = message_of(frame, &mut partial, &mut socket).await? else { continue };
        match feed.take(&text) {
            Ok((news, answers)) => {
                for piece in news {
                    if matches!(piece, ChainNews::Head(_)) {
                        silent_at = Instant::now() + SILENCE;
                    }
                    report(piece);
                }
                send = answers;
            }
            Err(error @ ChainError::Unreadable(_)) => report(ChainNews::Unreadable(error)),
            Err(error) => return Err(error),
        }
    }
}

/// Opens the websocket.
///
/// # Errors
/// [`ChainError::Unreachable`] when the node refuses, or does not answer within 10 s.
async fn connect(
    url: &str,
) -> Result<
    impl Stream<Item = Result<Frame, WsProtocolError>> + Sink<Message, Error = WsProtocolError> + Unpin + use<>,
    ChainError,
> {
    let client = http_client(CONNECT);
    match tokio::time::timeout(CONNECT, client.ws(url).max_frame_size(FRAME_MAX).connect()).await {
        Ok(Ok((_, socket))) => Ok(socket),
        Ok(Err(error)) => Err(ChainError::Unreachable(error.to_string())),
        Err(_) => Err(ChainError::Unreachable(format!("no answer within {} s", CONNECT.as_secs()))),
    }
}

/// Returns the message that ends with this frame, and answers a ping.
///
/// # Errors
/// [`ChainError`] when the connection closed or broke, or the message is too large.
async fn message_of(
    frame: Option<Result<Frame, WsProtocolError>>,
    partial: &mut Partial,
    socket: &mut (impl Sink<Message, Error = WsProtocolError> + Unpin),
) -> Result<Option<Bytes>, ChainError> {
    match frame.ok_or(ChainError::Closed)?.map_err(broken)? {
        Frame::Close(_) => Err(ChainError::Closed),
        Frame::Ping(payload) => {
            socket.send(Message::Pong(payload)).await.map_err(broken)?;
            Ok(None)
        }
        Frame::Pong(_) => Ok(None),
        Frame::Text(text) | Frame::Binary(text) => Ok(Some(text)),
        Frame::Continuation(item) => partial.take(item),
    }
}

fn broken(error: WsProtocolError) -> ChainError {
    ChainError::Broken(error.to_string())
}

/// The frames received so far of a message that comes in several.
#[derive(Default)]
struct Partial(BytesMut);

impl Partial {
    /// Adds a frame; returns the message when it is complete.
    ///
    /// # Errors
    /// [`ChainError::Broken`] when the message would exceed the limit.
    fn take(&mut self, item: Item) -> Result<Option<Bytes>, ChainError> {
        let (piece, last) = match item {
            Item::FirstText(piece) | Item::FirstBinary(piece) => {
                self.0.clear();
                (piece, false)
            }
            Item::Continue(piece) => (piece, false),
            Item::Last(piece) => (piece, true),
        };
        if self.0.len() + piece.len() > MESSAGE_MAX {
            return Err(ChainError::Broken(format!("a message is larger than {MESSAGE_MAX} bytes")));
        }
        self.0.extend_from_slice(&piece);
        Ok(last.then(|| self.0.split().freeze()))
    }
}

/// Returns `text` without the API key: the URL contains it, and some errors quote the URL, whole or in part.
pub(super) fn without(url: &str, text: &str) -> String {
    /// A shorter part of the URL is not a key but a word such as `v2` or `polygon`.
    const KEY_MIN: usize = 8;
    let (_, address) = url.split_once("://").unwrap_or(("", url));
    // The part before an `@` is a name and a password; the host itself is not a secret.
    let (user, rest) = address.rsplit_once('@').unwrap_or(("", address));
    let (_, path) = rest.split_once(['/', '?']).unwrap_or((rest, ""));
    let parts = [user, path].into_iter().flat_map(|text| text.split(['/', '?', '&', '=', ':']));
    let mut clean = text.replace(url, "***");
    for part in parts.filter(|part| part.len() >= KEY_MIN) {
        clean = clean.replace(part, "***");
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_in_several_frames_is_joined_and_an_endless_one_is_refused() {
        let mut partial = Partial::default();
        let piece = |text: &'static str| Bytes::from_static(text.as_bytes());
        assert!(partial.take(Item::FirstText(piece("{\"a\""))).unwrap().is_none());
        assert!(partial.take(Item::Continue(piece(":"))).unwrap().is_none());
        assert_eq!(partial.take(Item::Last(piece("1}"))).unwrap().unwrap(), "{\"a\":1}");
        assert_eq!(partial.take(Item::Last(piece("x"))).unwrap().unwrap(), "x");
        let big = Bytes::from(vec![b'x'; MESSAGE_MAX]);
        assert!(partial.take(Item::FirstText(big.clone())).unwrap().is_none());
        assert!(partial.take(Item::Continue(piece("x"))).is_err());
    }

    #[test]
    fn every_part_of_the_url_that_may_be_a_key_is_hidden() {
        let url = "wss://someone:password1@polygon-mainnet.node.com/v2/0123456789abcdef?apikey=fedcba9876543210";
        for (text, expected) in [
            (url, "***"),
            ("app 0123456789abcdef of v2 is over its limit", "app *** of v2 is over its limit"),
            ("fedcba9876543210 and password1", "*** and ***"),
            ("polygon-mainnet.node.com says no", "polygon-mainnet.node.com says no"),
        ] {
            assert_eq!(without(url, text), expected);
        }
    }

    #[actix_web::test]
    async fn an_unreachable_node_is_an_error_without_the_url() {
        let (_sender, wallets) = watch::channel(BTreeSet::new());
        let url = "ws://127.0.0.1:1/v2/secret-key";
        let error = converse(url, Feed::new(Vec::new()), wallets, |_| {}).await;
        assert!(matches!(error, ChainError::Unreachable(_)));
        assert!(!error.to_string().contains("secret-key"), "{error}");
    }
}
