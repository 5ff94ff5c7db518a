//! One websocket of the simulated node: an actor that receives calls as text and sends the frames of the chain.

use actix::{Actor, ActorContext, AsyncContext, Handler, Message, StreamHandler};
use actix_web::{Error, HttpRequest, HttpResponse, web};
use actix_web_actors::ws;

use super::shared::Shared;
use crate::simulator::routes::node;
use crate::simulator::state::chain::Frame;

struct ChainSocket {
    shared: Shared,
    number: Option<u64>,
}

impl Message for Frame {
    type Result = ();
}

/// Upgrades a request to a websocket of the node.
pub async fn open(
    request: HttpRequest,
    stream: web::Payload,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Error> {
    ws::start(ChainSocket { shared: shared.as_ref().clone(), number: None }, &request, stream)
}

impl Actor for ChainSocket {
    type Context = ws::WebsocketContext<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let socket = ctx.address();
        // `do_send` does not fail when the mailbox is full, so a burst of logs arrives whole. The real node disconnects
        // slow readers; this one is on loopback.
        self.number = self.shared.lock().exchange.chain.add_socket(Box::new(move |frame| socket.do_send(frame)));
        if self.number.is_none() {
            ctx.close(Some(ws::CloseCode::Again.into()));
            ctx.stop();
        }
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        if let Some(number) = self.number {
            self.shared.lock().exchange.chain.remove_socket(number);
        }
    }
}

impl Handler<Frame> for ChainSocket {
    type Result = ();

    fn handle(&mut self, frame: Frame, ctx: &mut Self::Context) {
        match frame {
            Frame::Text(text) => ctx.text(text),
            Frame::Close => {
                ctx.close(Some(ws::CloseCode::Away.into()));
                ctx.stop();
            }
        }
    }
}

impl StreamHandler<Result<ws::Message, ws::ProtocolError>> for ChainSocket {
    fn handle(&mut self, message: Result<ws::Message, ws::ProtocolError>, ctx: &mut Self::Context) {
        match message {
            Ok(ws::Message::Text(text)) => {
                let exchange = &mut self.shared.lock().exchange;
                let now = exchange.now();
                if let Some(number) = self.number {
                    node::receive(&mut exchange.chain, number, &text, now);
                }
            }
            Ok(ws::Message::Ping(bytes)) if !self.shared.lock().exchange.chain.stalled => ctx.pong(&bytes),
            Ok(ws::Message::Close(reason)) => {
                ctx.close(reason);
                ctx.stop();
            }
            Ok(_) => {}
            Err(_) => ctx.stop(),
        }
    }
}
