//! What a tidy history lacks: names that attack whoever prints them, and what goes wrong in a bot's real life.

use rand::{SeedableRng, rngs::StdRng};

use super::HistoryError;
use crate::db::{Db, DeadRow, PollWrite};
use crate::domain::config::effective::{ConfigPatch, UserOverrides};
use crate::domain::market::facts::Market;
use crate::domain::money::ids::FollowedUserId;
use crate::domain::money::units::Timestamp;
use crate::queue;
use crate::queue::{JobScope, NewJob, Queue};
use crate::simulator::life::rng::hash_text;

/// One market in this many has a hostile name.
const ONE_IN: u64 = 24;
const DEAD_ROWS: i64 = 12;
const DEAD_JOBS: i64 = 8;
const BLACKLISTED: usize = 5;
const LEASE_MS: i64 = 60_000;
const WHO: &str = "history";

/// What leader `number` is called: some names start a formula, a tag, or run from right to left.
pub fn label(number: usize, name: &str) -> String {
    match number % 6 {
        1 => format!("=HYPERLINK(\"https://example.org/{name}\")"),
        2 => format!("<b onmouseover=alert(1)>{name}</b>"),
        4 => format!("\u{202e}{name}\u{202c} שלום"),
        _ => name.to_owned(),
    }
}

/// Gives some markets a question that no page may take at its word. The same market always has the same one.
pub fn rename(market: &mut Market) {
    let roll = hash_text(11, &market.slug);
    if !roll.is_multiple_of(ONE_IN) {
        return;
    }
    let question = &market.question;
    market.question = match roll / ONE_IN % 7 {
        0 => format!("<script>alert(\"{question}\")</script>"),
        1 => format!("=1+1 {question}"),
        2 => format!("@SUM(A1:A9) \"{question}\", and\r\na second line"),
        3 => format!("\u{202e}{question}"),
        4 => format!("هل سيحدث هذا قبل نهاية العام؟ {question}"),
        5 => format!("{question} {}", "and so on without a rest ".repeat(12)).chars().take(300).collect(),
        _ => format!("{{{{ user.label | safe }}}} & '{question}' -- \u{1f4c8}"),
    };
}

/// Unreadable rows and jobs that failed for good, spread over the time, and changes of configuration at its end.
pub async fn write_oddities(
    db: &Db,
    leaders: &[FollowedUserId],
    (start, end): (Timestamp, Timestamp),
) -> Result<(), HistoryError> {
    let step = end.millis_since(start) / (DEAD_ROWS.max(DEAD_JOBS) + 1);
    for n in 1..=DEAD_ROWS {
        let Some(user) = of_turn(leaders, n) else { return Ok(()) };
        let text = format!("{{\"type\":\"TRADE\",\"size\":\"<img src=x onerror=alert({n})>\",\"timestamp\":{n}}}");
        let dead = DeadRow { text, reason: "`size` is no number".to_owned() };
        db.record_poll(PollWrite {
            user,
            fence: None,
            trades: Vec::new(),
            activities: Vec::new(),
            dead: vec![dead],
            new_wallets: Vec::new(),
            checkpoints: Vec::new(),
            now: start.plus_millis(n * step),
        })
        .await?;
    }
    for n in 1..=DEAD_JOBS {
        let Some(user) = of_turn(leaders, n) else { return Ok(()) };
        fail_for_good(db, user, start.plus_millis(n * step)).await?;
    }
    let unresolved = db.unresolved_markets(end.plus_millis(10 * super::DAY_MS)).await?;
    for market in unresolved.iter().take(BLACKLISTED) {
        db.set_blacklisted(market, true, WHO, end).await?;
    }
    if let Some(user) = of_turn(leaders, 1) {
        let careful =
            ConfigPatch::parse(r#"{"guardrails": {"maxSpreadMicros": 30000}, "sizing": {"copyPctNotionalBps": 80}}"#)?;
        let overrides = UserOverrides::default().with(&careful)?;
        db.save_user(user, &overrides, WHO, end).await?;
    }
    Ok(())
}

async fn fail_for_good(db: &Db, user: FollowedUserId, at: Timestamp) -> Result<(), HistoryError> {
    let key = format!("{user}:{}", at.iso());
    let payload =
        serde_json::json!({"kind": "window", "start": at, "end": at.plus_millis(super::MINUTE_MS)}).to_string();
    queue::enqueue(db, &[NewJob { queue: Queue::Reconcile, key, followed_user: Some(user), payload, due: at }], at)
        .await?;
    let mut dice = StdRng::seed_from_u64(at.millis().unsigned_abs());
    let mut now = at;
    for _ in 0..=queue::RETRIES {
        for job in queue::claim(db, Queue::Reconcile, &JobScope::All, now, LEASE_MS, 10).await? {
            queue::fail(db, &job, "the Data API said 503: <upstream connect error>", now, &mut dice).await?;
        }
        now = now.plus_millis(super::MINUTE_MS);
    }
    Ok(())
}

fn of_turn(leaders: &[FollowedUserId], n: i64) -> Option<FollowedUserId> {
    let turn = usize::try_from(n).unwrap_or(0) % leaders.len().max(1);
    leaders.get(turn).copied()
}
