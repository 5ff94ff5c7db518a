//! Checks that the worker can listen on `HEALTH_BIND`, or that a bot of ours answers there already.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use super::Finding;
use crate::config::HealthSettings;
use crate::http_client::http_client;

const PATIENCE: Duration = Duration::from_secs(5);

pub(super) async fn finding(settings: &HealthSettings) -> Finding {
    let Some(bind) = settings.bind else {
        return Finding::fine("health", "HEALTH_BIND is off: no monitor can watch the worker".to_owned());
    };
    if TcpListener::bind(bind).is_ok() {
        return match bind.port() {
            0 => Finding::fine("health", "HEALTH_BIND takes any free port; `run` logs which".to_owned()),
            _ => Finding::fine("health", format!("HEALTH_BIND {bind} is free: no worker runs there")),
        };
    }
    match status(bind).await {
        Some(status) if status == "ok" => Finding::fine("health", format!("a bot runs at {bind} and is well")),
        Some(status) => Finding::warning(
            "health",
            format!("a bot runs at {bind} and reports `{status}`"),
            "look at its log and its pages; /health on the same address names the part that fails",
        ),
        None => Finding::wrong(
            "health",
            format!("HEALTH_BIND is {bind}, where nothing can listen and no bot answers"),
            "set HEALTH_BIND to a free address, to port 0 for any that is free, or to off",
        ),
    }
}

/// Returns the status that a worker at this address reports; `None` when anything but a worker answers.
async fn status(address: SocketAddr) -> Option<String> {
    let client = http_client(PATIENCE);
    let mut answer = client.get(format!("http://{address}/health")).send().await.ok()?;
    let report: serde_json::Value = answer.json().await.ok()?;
    report.get("queueDepths")?;
    Some(report["status"].as_str()?.to_owned())
}
