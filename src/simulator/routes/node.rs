//! The JSON-RPC methods of the simulated node, as a client calls them over its websocket.

use serde_json::{Value, json};

use crate::domain::money::units::Timestamp;
use crate::simulator::state::chain::{Chain, Filter, Subject, block_of, hex_number};

/// A JSON-RPC error: its code and message.
type RpcError = (i64, String);

const INVALID_REQUEST: i64 = -32_600;
const METHOD_NOT_FOUND: i64 = -32_601;
const INVALID_PARAMS: i64 = -32_602;
const PARSE_ERROR: i64 = -32_700;

/// Answers one text from a socket, a call or a batch of calls, on that socket. A stalled node does not answer.
pub fn receive(chain: &mut Chain, socket: u64, text: &str, now: Timestamp) {
    if chain.stalled {
        return;
    }
    let answer = match serde_json::from_str::<Value>(text) {
        Ok(Value::Array(calls)) => Value::Array(calls.iter().map(|one| call(chain, socket, one, now)).collect()),
        Ok(one) => call(chain, socket, &one, now),
        Err(_) => error(&Value::Null, PARSE_ERROR, "parse error"),
    };
    chain.send(socket, answer.to_string());
    if let Some(id) = answer["result"].as_str() {
        chain.resend_newest(socket, id);
    }
}

fn call(chain: &mut Chain, socket: u64, call: &Value, now: Timestamp) -> Value {
    let id = &call["id"];
    let params = &call["params"];
    let result = match call["method"].as_str().unwrap_or_default() {
        "eth_chainId" => Ok(json!("0x89")),
        "eth_blockNumber" => Ok(json!(hex_number(block_of(now)))),
        "eth_subscribe" => subject(params).map(|subject| json!(chain.subscribe(socket, subject))),
        "eth_unsubscribe" => Ok(json!(chain.unsubscribe(socket, params[0].as_str().unwrap_or_default()))),
        "eth_getLogs" => get_logs(chain, &params[0], now),
        "eth_getBlockByNumber" => Ok(match block_named(&params[0], now) {
            Some(block) if block <= block_of(now) => chain.header(block),
            _ => Value::Null,
        }),
        other => Err((METHOD_NOT_FOUND, format!("the method {other} does not exist/is not available"))),
    };
    match result {
        Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
        Err((code, message)) => error(id, code, &message),
    }
}

fn subject(params: &Value) -> Result<Subject, RpcError> {
    match params[0].as_str().unwrap_or_default() {
        "newHeads" => Ok(Subject::Heads),
        "logs" => Ok(Subject::Logs(filter(&params[1])?)),
        other => Err((INVALID_PARAMS, format!("unsupported subscription type: {other}"))),
    }
}

fn filter(value: &Value) -> Result<Filter, RpcError> {
    Filter::parse(value).map_err(|message| (INVALID_PARAMS, message))
}

fn get_logs(chain: &Chain, query: &Value, now: Timestamp) -> Result<Value, RpcError> {
    let filter = filter(query)?;
    let from = block_named(&query["fromBlock"], now).ok_or((INVALID_PARAMS, "invalid fromBlock".to_owned()))?;
    let to = block_named(&query["toBlock"], now).ok_or((INVALID_PARAMS, "invalid toBlock".to_owned()))?;
    if from > to {
        return Err((INVALID_REQUEST, "invalid block range params".to_owned()));
    }
    if let Some(max) = chain.settings.get_logs_blocks_max
        && to - from >= max
    {
        return Err((INVALID_REQUEST, format!("you can make eth_getLogs requests with up to a {max} block range")));
    }
    Ok(chain.logs_between(from, to, &filter))
}

/// Reads a block parameter: a number, a tag, or null for the newest block.
fn block_named(name: &Value, now: Timestamp) -> Option<u64> {
    match name.as_str() {
        None if name.is_null() => Some(block_of(now)),
        None => None,
        Some("latest" | "pending" | "safe" | "finalized") => Some(block_of(now)),
        Some("earliest") => Some(0),
        Some(text) => u64::from_str_radix(text.strip_prefix("0x")?, 16).ok(),
    }
}

fn error(id: &Value, code: i64, message: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}})
}
