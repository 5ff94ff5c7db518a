//! `/ws/live`: one actor per open page. The only file that imports `actix-web-actors`.
//!
//! Takes   `Outgoing` from the broadcaster, frames of the websocket from the browser.
//! Sends   `Join` to the broadcaster.
//! Timer   a heartbeat: it pings, and closes the connection of a silent browser.
//! Bound   the mailbox is the outbox. An actor of this kind runs only while its socket accepts bytes, so a stalled
//!         browser fills the mailbox, and the broadcaster then cuts the socket.

use std::{sync::Weak, time::Duration};

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Handler, Recipient, StreamHandler, WrapFuture, fut};
use actix_web::{
    HttpRequest, HttpResponse,
    web::{Data, Payload, Query},
};
use actix_web_actors::ws::{self, CloseCode, CloseReason, WebsocketContext, WsResponseBuilder};
use serde::Deserialize;

use super::messages::{Join, Outgoing};
use crate::actors::live_hub::Topic;
use crate::clock::Clock;
use crate::db::Db;
use crate::domain::money::units::Timestamp;
use crate::metrics::{Metrics, OpenSocket};
use crate::web::auth::user::{CurrentUser, HasProvider, has_token};
use crate::web::server::connection::Socket;
use crate::web::server::error::WebError;
use crate::web::server::middleware::Hosts;

const HEARTBEAT: Duration = Duration::from_secs(10);
/// A browser answers pings without a script. Three unanswered pings mean that it is gone.
const SILENCE_MILLIS: i64 = 30_000;
/// Batches that may wait for a slow browser. Each has the facts of a fifth of a second.
const OUTBOX: usize = 32;
/// The longest message from a browser. Our pages send none.
const INCOMING_BYTES: usize = 4096;

/// The query of `/ws/live`.
#[derive(Debug, Deserialize)]
pub struct LiveQuery {
    /// Comma-separated; all when missing.
    topics: Option<String>,
    /// The number of the last frame that the page has.
    after: Option<u64>,
}

/// `GET /ws/live?topics=trades,attempts&after=123`.
///
/// # Errors
/// [`WebError::Forbidden`] for a page of another site, [`WebError::Mistake`] for an unknown topic or a request that is
/// not a websocket handshake.
pub async fn connect(
    visitor: CurrentUser,
    request: HttpRequest,
    query: Query<LiveQuery>,
    hosts: Data<Hosts>,
    broadcaster: Data<Recipient<Join>>,
    (clock, metrics, db, provider): (Data<Clock>, Data<Metrics>, Data<Db>, Data<HasProvider>),
    body: Payload,
) -> Result<HttpResponse, WebError> {
    if !has_token(request.headers()) && !hosts.allow_origin_of(request.headers()) {
        return Err(WebError::Forbidden("live updates go to pages of this server only"));
    }
    let session = LiveSession {
        broadcaster: broadcaster.get_ref().clone(),
        topics: topics(query.topics.as_deref())?,
        after: query.after,
        socket: request.conn_data::<Socket>().cloned().unwrap_or_default(),
        clock: *clock.get_ref(),
        heard_at: clock.now(),
        visitor,
        db: db.get_ref().clone(),
        has_provider: provider.0,
        membership: Weak::new(),
        _open: OpenSocket::new(&metrics.into_inner()),
    };
    WsResponseBuilder::new(session, &request, body)
        .frame_size(INCOMING_BYTES)
        .start()
        .map_err(|_| WebError::Mistake("this address speaks websocket only".to_owned()))
}

fn topics(text: Option<&str>) -> Result<Vec<Topic>, WebError> {
    let Some(text) = text else { return Ok(Topic::ALL.to_vec()) };
    text.split(',').map(|topic| topic.parse().map_err(|unknown| WebError::Mistake(format!("{unknown}")))).collect()
}

struct LiveSession {
    broadcaster: Recipient<Join>,
    topics: Vec<Topic>,
    after: Option<u64>,
    socket: Socket,
    clock: Clock,
    heard_at: Timestamp,
    visitor: CurrentUser,
    db: Db,
    has_provider: bool,
    /// Dead when the broadcaster no longer knows this session, for example after its restart.
    membership: Weak<()>,
    _open: OpenSocket,
}

impl Actor for LiveSession {
    type Context = WebsocketContext<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(OUTBOX);
        let join = Join {
            outbox: ctx.address().recipient(),
            topics: self.topics.clone(),
            after: self.after,
            socket: self.socket.clone(),
        };
        let joined = self.broadcaster.send(join).into_actor(self).then(|joined, session, ctx| {
            match joined {
                Ok(joined) => {
                    session.membership = joined.membership;
                    joined.first.into_iter().for_each(|text| ctx.text(text));
                }
                Err(_) => hang_up(ctx, CloseCode::Restart),
            }
            fut::ready(())
        });
        // Frames that are sent meanwhile wait in the mailbox, behind the missed rows.
        ctx.wait(joined);
        ctx.run_interval(HEARTBEAT, |session, ctx| session.heartbeat(ctx));
    }
}

impl LiveSession {
    fn heartbeat(&mut self, ctx: &mut WebsocketContext<Self>) {
        let now = self.clock.now();
        if now.millis_since(self.heard_at) > SILENCE_MILLIS {
            ctx.stop();
        } else if self.membership.strong_count() == 0 {
            hang_up(ctx, CloseCode::Restart);
        } else {
            ctx.ping(b"");
            self.check_visitor(now, ctx);
        }
    }

    /// Closes the connection if the visitor was signed out or the token revoked. An open page sends no request that
    /// would find this out.
    fn check_visitor(&self, now: Timestamp, ctx: &mut WebsocketContext<Self>) {
        let (visitor, db, has_provider) = (self.visitor.clone(), self.db.clone(), self.has_provider);
        let check = async move { visitor.is_still_valid(&db, has_provider, now).await };
        ctx.spawn(check.into_actor(self).map(|is_valid, _, ctx| {
            // A database error is no reason to sign a visitor out.
            if matches!(is_valid, Ok(false)) {
                hang_up(ctx, CloseCode::Policy);
            }
        }));
    }
}

/// Closes the websocket. The page connects again, or learns then that it has to sign in.
fn hang_up(ctx: &mut WebsocketContext<LiveSession>, code: CloseCode) {
    ctx.close(Some(CloseReason::from(code)));
    ctx.stop();
}

impl Handler<Outgoing> for LiveSession {
    type Result = ();

    fn handle(&mut self, outgoing: Outgoing, ctx: &mut Self::Context) {
        match outgoing {
            Outgoing::Frames(texts) => texts.into_iter().for_each(|text| ctx.text(text)),
            Outgoing::GoingAway => hang_up(ctx, CloseCode::Away),
        }
    }
}

impl StreamHandler<Result<ws::Message, ws::ProtocolError>> for LiveSession {
    fn handle(&mut self, message: Result<ws::Message, ws::ProtocolError>, ctx: &mut Self::Context) {
        self.heard_at = self.clock.now();
        match message {
            Ok(ws::Message::Ping(payload)) => ctx.pong(&payload),
            Ok(ws::Message::Close(reason)) => {
                ctx.close(reason);
                ctx.stop();
            }
            // Our page sends no messages. Any message proves that the browser is there.
            Ok(_) => {}
            Err(_) => ctx.stop(),
        }
    }
}
