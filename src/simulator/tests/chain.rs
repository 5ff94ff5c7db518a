//! The Polygon node: filters, answers, reorgs, stalls.

use std::sync::mpsc::{Receiver, channel};

use serde_json::{Value, json};

use super::{data_api::with_market, *};
use crate::domain::events::event::Side;
use crate::simulator::routes::node;
use crate::simulator::settings::NodeSettings;
use crate::simulator::state::chain::{CTF_EXCHANGE, Frame, NEG_RISK_EXCHANGE, ORDER_FILLED};
use crate::simulator::state::feed::Role;
use crate::simulator::state::market::SimMarket;
use crate::simulator::state::trading::Fill;

struct Socket {
    number: u64,
    frames: Receiver<Frame>,
}

impl Socket {
    fn open(simulation: &mut Simulation) -> Self {
        let (sender, frames) = channel();
        let number = simulation.exchange.chain.add_socket(Box::new(move |frame| drop(sender.send(frame)))).unwrap();
        Self { number, frames }
    }

    fn call(&self, simulation: &mut Simulation, method: &str, params: Value) -> Value {
        let now = simulation.exchange.now();
        let call = json!({"jsonrpc": "2.0", "id": 3, "method": method, "params": params});
        node::receive(&mut simulation.exchange.chain, self.number, &call.to_string(), now);
        let answer = self.next().expect("an answer");
        assert_eq!((&answer["jsonrpc"], &answer["id"]), (&json!("2.0"), &json!(3)));
        answer
    }

    fn subscribe(&self, simulation: &mut Simulation, filter: Value) -> String {
        self.call(simulation, "eth_subscribe", json!(["logs", filter]))["result"].as_str().unwrap().to_owned()
    }

    fn next(&self) -> Option<Value> {
        match self.frames.try_recv().ok()? {
            Frame::Text(text) => Some(serde_json::from_str(&text).unwrap()),
            Frame::Close => None,
        }
    }

    /// Returns the notifications since the last call.
    fn logs(&self) -> Vec<Value> {
        std::iter::from_fn(|| self.next()).map(|message| message["params"]["result"].clone()).collect()
    }
}

fn padded(wallet: &str) -> String {
    format!("0x{:0>64}", &wallet[2..])
}

fn buy(market: &SimMarket) -> Fill {
    Fill::taker(&leader(), market.asset(0).unwrap(), Side::Buy, 360_000, 108_000_000)
}

#[test]
fn makers_logs_come_before_the_takers_which_names_the_exchange() {
    let (mut simulation, market) = with_market(at_ten());
    let socket = Socket::open(&mut simulation);
    socket.subscribe(&mut simulation, json!({}));
    simulation.exchange.push_fill(buy(&market).twice()).unwrap();
    let logs = socket.logs();
    assert_eq!(logs.len(), 3);
    let topics =
        |n: usize| logs[n]["topics"].as_array().unwrap().iter().map(|t| t.as_str().unwrap()).collect::<Vec<_>>();
    let me = padded(leader().as_str());
    assert_eq!((topics(0)[0], topics(0)[3]), (ORDER_FILLED, me.as_str()));
    assert_eq!((topics(2)[2], topics(2)[3]), (me.as_str(), padded(CTF_EXCHANGE).as_str()));
    // The seven words: BUY, token, 77.76 paid for 216 shares, fee 216 * 0.05 * 0.36 * 0.64 = 2.48832.
    let data = logs[2]["data"].as_str().unwrap();
    let word = |n: usize| u128::from_str_radix(&data[2 + n * 64 + 32..2 + (n + 1) * 64], 16).unwrap();
    assert_eq!(data.len(), 2 + 7 * 64);
    assert_eq!([word(0), word(2), word(3), word(4)], [0, 77_760_000, 216_000_000, 2_488_320]);
    let token = alloy_primitives::U256::from_str_radix(&data[2 + 64..2 + 128], 16).unwrap();
    assert_eq!(token.to_string(), market.asset(0).unwrap().as_str());
}

#[test]
fn a_log_has_the_recorded_keys_and_the_block_of_its_row() {
    let recorded: Value =
        serde_json::from_str(include_str!("../../../tests/fixtures/chain/eth_subscribe_logs_2026_10.json")).unwrap();
    let theirs = recorded["received"]
        .as_array()
        .unwrap()
        .iter()
        .find(|message| message["params"]["result"]["topics"].is_array());
    let (mut simulation, market) = with_market(at_ten());
    let socket = Socket::open(&mut simulation);
    socket.subscribe(&mut simulation, json!({"topics": [ORDER_FILLED]}));
    simulation.exchange.push_fill(buy(&market)).unwrap();
    let logs = socket.logs();
    assert_eq!(names(&logs[1]), names(&theirs.unwrap()["params"]["result"]));
    let second = u64::from_str_radix(&logs[1]["blockTimestamp"].as_str().unwrap()[2..], 16).unwrap();
    assert_eq!(i64::try_from(second).unwrap(), ten().seconds());
    let block =
        socket.call(&mut simulation, "eth_getBlockByNumber", json!([logs[1]["blockNumber"], false]))["result"].clone();
    assert_eq!((&block["timestamp"], &block["hash"]), (&logs[1]["blockTimestamp"], &logs[1]["blockHash"]));
}

#[test]
fn filters_work_like_those_of_a_real_node() {
    let (mut simulation, market) = with_market(at_ten());
    let me = padded(leader().as_str());
    let (other, unused) = (padded(wallet_of("other").as_str()), padded(wallet_of("nobody").as_str()));
    let check = |simulation: &mut Simulation, filter: Value, n_logs: usize| {
        let socket = Socket::open(simulation);
        socket.subscribe(simulation, filter.clone());
        simulation.exchange.push_fill(buy(&market)).unwrap();
        simulation.exchange.push_fill(Fill { wallet: wallet_of("other"), role: Role::Maker, ..buy(&market) }).unwrap();
        assert_eq!(socket.logs().len(), n_logs, "{filter}");
        simulation.exchange.chain.remove_socket(socket.number);
    };
    check(&mut simulation, json!({}), 4);
    check(&mut simulation, json!({"address": CTF_EXCHANGE.to_uppercase().replace("0X", "0x")}), 4);
    check(&mut simulation, json!({"address": [NEG_RISK_EXCHANGE]}), 0);
    check(&mut simulation, json!({"topics": [null, null, me]}), 1);
    check(&mut simulation, json!({"topics": [[ORDER_FILLED, unused], null, [me, other]]}), 2);
    check(&mut simulation, json!({"topics": [ORDER_FILLED, null, []]}), 4);
    check(&mut simulation, json!({"topics": [unused]}), 0);
    check(&mut simulation, json!({"topics": [ORDER_FILLED, null, unused]}), 0);
    let socket = Socket::open(&mut simulation);
    for wrong in [json!({"topics": [null, null, null, null, null]}), json!({"topics": "x"}), json!({"address": 5})] {
        let answer = socket.call(&mut simulation, "eth_subscribe", json!(["logs", wrong]));
        assert_eq!(answer["error"]["code"], -32_602, "{answer}");
    }
    assert_eq!(socket.call(&mut simulation, "eth_mystery", json!([]))["error"]["code"], -32_601);
}

#[test]
fn an_unsubscribed_socket_gets_no_more_logs() {
    let (mut simulation, market) = with_market(at_ten());
    let socket = Socket::open(&mut simulation);
    let id = socket.subscribe(&mut simulation, json!({}));
    assert_eq!(socket.call(&mut simulation, "eth_unsubscribe", json!([id]))["result"], true);
    assert_eq!(socket.call(&mut simulation, "eth_unsubscribe", json!([id]))["result"], false);
    simulation.exchange.push_fill(buy(&market)).unwrap();
    assert!(socket.logs().is_empty());
}

#[test]
fn a_reorg_removes_logs_and_sends_them_again_in_another_block() {
    let (mut simulation, market) = with_market(at_ten());
    let socket = Socket::open(&mut simulation);
    socket.subscribe(&mut simulation, json!({}));
    let tx = simulation.exchange.push_fill(buy(&market)).unwrap().tx_hash;
    let before = socket.logs();
    simulation.advance(2_000);
    let now = simulation.exchange.now();
    assert_eq!(simulation.exchange.chain.reorg(&tx, now), 2);
    let after = socket.logs();
    assert_eq!(after.iter().map(|log| log["removed"] == true).collect::<Vec<_>>(), [true, true, false, false]);
    assert_eq!(after[0]["blockHash"], before[0]["blockHash"]);
    assert_ne!(after[2]["blockHash"], before[0]["blockHash"]);
    assert!(after.iter().all(|log| log["transactionHash"] == tx.as_str()));
    // The replaced block has another hash now.
    let old = socket.call(&mut simulation, "eth_getBlockByNumber", json!([before[0]["blockNumber"], false]));
    assert_ne!(old["result"]["hash"], before[0]["blockHash"]);
    let range = json!([{"fromBlock": before[0]["blockNumber"], "toBlock": "latest"}]);
    assert_eq!(socket.call(&mut simulation, "eth_getLogs", range)["result"].as_array().unwrap().len(), 2);
}

#[test]
fn get_logs_serves_its_range_and_refuses_one_too_wide() {
    let settings = SimulatorSettings {
        node: NodeSettings { get_logs_blocks_max: Some(10), ..NodeSettings::default() },
        ..at_ten()
    };
    let (mut simulation, market) = with_market(settings);
    for second in 0..20 {
        simulation.exchange.push_fill(buy(&market).at(ten().plus_millis(second * 1000))).unwrap();
    }
    simulation.advance(20_000);
    let socket = Socket::open(&mut simulation);
    let head = socket.call(&mut simulation, "eth_blockNumber", json!([]))["result"].as_str().unwrap().to_owned();
    let head = u64::from_str_radix(&head[2..], 16).unwrap();
    let ask = |simulation: &mut Simulation, from: u64, to: u64| {
        let range =
            json!([{"fromBlock": format!("0x{from:x}"), "toBlock": format!("0x{to:x}"), "topics": [ORDER_FILLED]}]);
        socket.call(simulation, "eth_getLogs", range)
    };
    assert_eq!(ask(&mut simulation, head - 9, head)["result"].as_array().unwrap().len(), 18);
    assert!(ask(&mut simulation, head - 10, head)["error"]["message"].as_str().unwrap().contains("10 block range"));
    assert!(ask(&mut simulation, head, head - 1)["error"].is_object());
}

#[test]
fn heads_are_sent_as_time_passes_and_stop_when_the_node_stalls() {
    let (mut simulation, market) = with_market(at_ten());
    simulation.tick();
    let socket = Socket::open(&mut simulation);
    socket.call(&mut simulation, "eth_subscribe", json!(["newHeads"]));
    simulation.advance(2_000);
    let heads = socket.logs();
    assert_eq!(heads.len(), 2);
    assert_eq!(heads[0]["hash"], heads[1]["parentHash"]);
    simulation.exchange.chain.stalled = true;
    simulation.advance(2_000);
    simulation.exchange.push_fill(buy(&market)).unwrap();
    assert!(socket.logs().is_empty());
    simulation.exchange.chain.stalled = false;
    simulation.advance(1_000);
    assert_eq!(socket.logs().len(), 1);
}

#[test]
fn a_new_subscription_may_get_old_logs_again_and_logs_may_lack_their_time() {
    let node = NodeSettings { replayed_logs: 2, block_timestamps: false, ..NodeSettings::default() };
    let (mut simulation, market) = with_market(SimulatorSettings { node, ..at_ten() });
    for _ in 0..3 {
        simulation.exchange.push_fill(buy(&market)).unwrap();
    }
    let socket = Socket::open(&mut simulation);
    socket.subscribe(&mut simulation, json!({"topics": [null, null, padded(leader().as_str())]}));
    let logs = socket.logs();
    assert_eq!(logs.len(), 2);
    assert!(logs[0].get("blockTimestamp").is_none());
}

#[test]
fn sockets_are_closed_and_refused_on_command() {
    let (mut simulation, _) = with_market(at_ten());
    let socket = Socket::open(&mut simulation);
    simulation.exchange.chain.close_all();
    assert_eq!(socket.frames.try_recv(), Ok(Frame::Close));
    assert_eq!(simulation.exchange.chain.n_sockets(), 0);
    simulation.exchange.chain.refusing = true;
    assert!(simulation.exchange.chain.add_socket(Box::new(drop)).is_none());
}
