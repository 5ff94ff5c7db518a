//! `polymarketspy measure pages`: requests each page and route, one request after the other, and times them.

use std::process::ExitCode;

use super::visitor::{Visitor, percentile};
use super::web_alone;
use crate::cli::terminal::say_json;
use crate::config::Settings;

/// Every page and JSON route (spec 11), plain and with the filters that a reader would use. Those that do not exist answer
/// 404, and the table shows it.
const PATHS: &[&str] = &[
    "/",
    "/users",
    "/users/{user}",
    "/portfolio",
    "/trades",
    "/trades?user={user}&side=SELL",
    "/trades?market={market}",
    "/trades?tab=attempts",
    "/trades?tab=attempts&decision=EXECUTE",
    "/trades?tab=attempts&reason=BOOK_UNAVAILABLE",
    "/trades?tab=attempts&user={user}&scope=EXEC_GLOBAL",
    "/trades?tab=attempts&market={market}",
    "/attempts/{attempt}",
    "/markets",
    "/markets/{market}",
    "/config",
    "/status",
    "/access",
    "/api/health",
    "/api/overview",
    "/api/users",
    "/api/users/{user}",
    "/api/portfolio/global",
    "/api/trades",
    "/api/trades?user={user}&side=SELL",
    "/api/trades?market={market}",
    "/api/copy-attempts",
    "/api/copy-attempts?decision=EXECUTE",
    "/api/copy-attempts?reason=BOOK_UNAVAILABLE",
    "/api/copy-attempts?user={user}&scope=EXEC_GLOBAL",
    "/api/copy-attempts?market={market}",
    "/api/copy-attempts/{attempt}",
    "/api/markets",
    "/api/config",
    "/api/status",
    "/api/audit",
];

#[derive(clap::Args)]
pub struct PagesArguments {
    /// Requests per path.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    times: u32,
    /// Requests this path instead of all; `{user}`, `{market}` and `{attempt}` are replaced by one that has data to show.
    /// May be given several times.
    #[arg(long, value_name = "PATH")]
    path: Vec<String>,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

#[derive(serde::Serialize)]
struct Figures {
    path: String,
    status: u16,
    p50_ms: f64,
    p95_ms: f64,
    max_ms: f64,
    bytes: usize,
}

/// Values for the placeholders in the paths.
struct Examples {
    user: String,
    market: String,
    attempt: String,
}

pub async fn pages(settings: &Settings, arguments: PagesArguments) -> anyhow::Result<ExitCode> {
    let app = web_alone(settings).await?;
    let visitor = Visitor::sign_in(app.login_link().unwrap_or_default()).await?;
    let examples = Examples::find(&visitor).await?;
    let mut all = Vec::new();
    let own: Vec<&str> = arguments.path.iter().map(String::as_str).collect();
    for path in if own.is_empty() { PATHS } else { &own } {
        let path = examples.fill(path);
        let mut took = Vec::new();
        let (mut status, mut bytes) = (0, 0);
        for _ in 0..arguments.times {
            let answer = visitor.get(&path).await?;
            took.push(answer.took.as_secs_f64() * 1000.0);
            // If one of many answers is a failure, show the failure.
            status = status.max(answer.status);
            bytes = answer.body.len();
        }
        took.sort_by(f64::total_cmp);
        let [p50_ms, p95_ms, max_ms] = [50, 95, 100].map(|percent| percentile(&took, percent));
        let figures = Figures { path, status, p50_ms, p95_ms, max_ms, bytes };
        if !arguments.json {
            figures.print(all.is_empty());
        }
        all.push(figures);
    }
    app.stop().await;
    if arguments.json {
        say_json(&all)?;
    }
    let failed = all.iter().any(|figures| figures.status >= 500);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

impl Examples {
    /// Takes the user, market and id of the newest attempt: all of them have data to show.
    async fn find(visitor: &Visitor) -> anyhow::Result<Self> {
        let answer = visitor.get("/api/copy-attempts?limit=1").await?;
        let newest: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let field = |name: &str| match &newest["data"][0][name] {
            serde_json::Value::String(text) => text.clone(),
            serde_json::Value::Null => "0".to_owned(),
            other => other.to_string(),
        };
        Ok(Self { user: field("followed_user_id"), market: field("market_id"), attempt: field("id") })
    }

    fn fill(&self, path: &str) -> String {
        path.replace("{user}", &self.user).replace("{market}", &self.market).replace("{attempt}", &self.attempt)
    }
}

impl Figures {
    fn print(&self, first: bool) {
        if first {
            println!("{:>6}  {:>9}  {:>9}  {:>9}  {:>10}  PATH", "STATUS", "P50 ms", "P95 ms", "MAX ms", "BYTES");
        }
        println!(
            "{:>6}  {:>9.1}  {:>9.1}  {:>9.1}  {:>10}  {}",
            self.status, self.p50_ms, self.p95_ms, self.max_ms, self.bytes, self.path
        );
    }
}
