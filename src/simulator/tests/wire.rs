//! The simulator over real sockets.

use std::time::Duration;

use actix_web::rt::time::timeout;
use awc::ws::{Frame, Message};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};

use super::{at_ten, leader};
use crate::domain::events::event::Side;
use crate::simulator::http::request::Host;
use crate::simulator::state::fault::{Fault, FaultKind};
use crate::simulator::state::new_market::NewMarket;
use crate::simulator::state::trading::Fill;
use crate::simulator::{Simulator, SimulatorHandle};
use crate::testkit::test_client;

fn start() -> SimulatorHandle {
    Simulator::start(at_ten()).unwrap()
}

async fn fetch(url: String) -> (u16, Vec<u8>) {
    let mut answer = test_client().get(url).send().await.unwrap();
    (answer.status().as_u16(), answer.body().await.unwrap().to_vec())
}

#[actix_web::test]
async fn each_host_answers_below_its_base_address() {
    let simulator = start();
    let market = simulator.with(|exchange| exchange.add_market(NewMarket::binary("rain-in-elderby")));
    let token = market.asset(0).unwrap();
    let (status, body) = fetch(format!("{}/book?token_id={token}", simulator.clob_base())).await;
    assert_eq!(status, 200);
    let book: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(book["bids"].as_array().unwrap().last().unwrap()["price"], "0.49");
    assert_eq!(fetch(format!("{}/v2/status", simulator.data_api_base())).await.0, 200);
    assert_eq!(fetch(format!("{}/markets", simulator.gamma_base())).await.0, 200);
    assert_eq!(fetch(simulator.data_api_base().replace("/data", "/elsewhere")).await.0, 404);
    assert_eq!(simulator.with(|exchange| exchange.n_requests(Host::Clob, "/book")), 1);
}

#[actix_web::test]
async fn a_hanging_request_does_not_keep_the_simulator_alive() {
    let simulator = start();
    simulator.with(|exchange| exchange.fault(Fault::once(Host::Clob, "/time", FaultKind::Hang)));
    let url = format!("{}/time", simulator.clob_base());
    let client = test_client();
    let asked = timeout(Duration::from_millis(200), client.get(url).send()).await;
    assert!(asked.is_err(), "{asked:?}");
    drop(simulator);
}

#[actix_web::test]
async fn a_fill_is_sent_to_the_socket_that_subscribed_to_its_owner() {
    let simulator = start();
    let market = simulator.with(|exchange| exchange.add_market(NewMarket::binary("rain-in-elderby")));
    let (_, mut socket) = test_client().ws(simulator.chain_ws_url()).connect().await.unwrap();
    let owner = format!("0x{:0>64}", &leader().as_str()[2..]);
    let filter = json!({"topics": [[crate::simulator::state::chain::ORDER_FILLED], null, [owner]]});
    let call = json!({"jsonrpc": "2.0", "id": 7, "method": "eth_subscribe", "params": ["logs", filter]});
    socket.send(Message::Text(call.to_string().into())).await.unwrap();
    let answer = next_text(&mut socket).await;
    assert_eq!(answer["id"], 7);
    simulator.with(|exchange| {
        let fill = Fill::taker(&leader(), market.asset(0).unwrap(), Side::Buy, 500_000, 10_000_000);
        exchange.push_fill(fill).unwrap()
    });
    let message = next_text(&mut socket).await;
    assert_eq!(message["params"]["subscription"], answer["result"]);
    assert_eq!(message["params"]["result"]["topics"][2], owner);
    simulator.with(|exchange| exchange.chain.close_all());
    let mut ended = false;
    while let Some(frame) = socket.next().await {
        ended |= matches!(frame, Ok(Frame::Close(_)) | Err(_));
    }
    assert!(ended);
}

async fn next_text<S, E>(socket: &mut S) -> Value
where
    S: futures_util::Stream<Item = Result<Frame, E>> + Unpin,
{
    loop {
        match socket.next().await {
            Some(Ok(Frame::Text(text))) => return serde_json::from_slice(&text).unwrap(),
            Some(Ok(_)) => {}
            _ => panic!("the socket ended"),
        }
    }
}
