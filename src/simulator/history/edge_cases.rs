//! Edge cases of a history: names that attack the page or file that prints them, and failures as a running bot has them.

use rand::{SeedableRng, rngs::StdRng};

use super::error::HistoryError;
use super::settings::{DAY_MS, MINUTE_MS};
use crate::db::{Db, DeadRow, PollWrite};
use crate::domain::config::effective::{ConfigPatch, UserOverrides};
use crate::domain::market::facts::Market;
use crate::domain::money::ids::FollowedUserId;
use crate::domain::money::units::Timestamp;
use crate::queue;
use crate::queue::{JobScope, NewJob, Queue};
use crate::simulator::rng::hash_text;

/// One market in this many has a hostile name.
const RENAMED_ONE_IN: u64 = 24;
const DEAD_ROWS: i64 = 12;
const DEAD_JOBS: i64 = 8;
const BLACKLISTED: usize = 5;
const LEASE_MS: i64 = 60_000;
/// The actor in audit rows.
const ACTOR: &str = "history";

/// Returns the label of leader `number`. Some labels start a formula or a tag, or run from right to left.
pub fn label(number: usize, name: &str) -> String {
    match number % 6 {
        1 => format!("=HYPERLINK(\"https://example.org/{name}\")"),
        2 => format!("<b onmouseover=alert(1)>{name}</b>"),
        4 => format!("\u{202e}{name}\u{202c} שלום"),
        _ => name.to_owned(),
    }
}

/// Gives some markets a hostile question. The same market always has the same question.
pub fn rename(market: &mut Market) {
    let number = hash_text(11, &market.slug);
    if !number.is_multiple_of(RENAMED_ONE_IN) {
        return;
    }
    let question = &market.question;
    market.question = match number / RENAMED_ONE_IN % 7 {
        0 => format!("<script>alert(\"{question}\")</script>"),
        1 => format!("=1+1 {question}"),
        2 => format!("@SUM(A1:A9) \"{question}\", and\r\na second line"),
        3 => format!("\u{202e}{question}"),
        4 => format!("هل سيحدث هذا قبل نهاية العام؟ {question}"),
        5 => format!("{question} {}", "and so on without a rest ".repeat(12)).chars().take(300).collect(),
        _ => format!("{{{{ user.label | safe }}}} & '{question}' -- \u{1f4c8}"),
    };
}

/// Writes unreadable rows and jobs without retries left, spread over the time, and changes of configuration at its end.
///
/// # Errors
/// [`HistoryError`] when the database fails or a configuration change is refused.
pub async fn write_edge_cases(
    db: &Db,
    leaders: &[FollowedUserId],
    (start, end): (Timestamp, Timestamp),
) -> Result<(), HistoryError> {
    let step = end.millis_since(start) / (DEAD_ROWS.max(DEAD_JOBS) + 1);
    for n in 1..=DEAD_ROWS {
        let Some(user) = leader_of_turn(leaders, n) else { return Ok(()) };
        let text = format!("{{\"type\":\"TRADE\",\"size\":\"<img src=x onerror=alert({n})>\",\"timestamp\":{n}}}");
        let dead = DeadRow { text, reason: "`size` is not a number".to_owned() };
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
        let Some(user) = leader_of_turn(leaders, n) else { return Ok(()) };
        add_dead_job(db, user, start.plus_millis(n * step)).await?;
    }
    let unresolved = db.unresolved_markets(end.plus_millis(10 * DAY_MS)).await?;
    for market in unresolved.iter().take(BLACKLISTED) {
        db.set_blacklisted(market, true, ACTOR, end).await?;
    }
    if let Some(user) = leader_of_turn(leaders, 1) {
        let patch =
            ConfigPatch::parse(r#"{"guardrails": {"maxSpreadMicros": 30000}, "sizing": {"copyPctNotionalBps": 80}}"#)?;
        let overrides = UserOverrides::default().with(&patch)?;
        db.save_user(user, &overrides, ACTOR, end).await?;
    }
    Ok(())
}

/// Adds a job and lets it fail until it has no retries left.
async fn add_dead_job(db: &Db, user: FollowedUserId, at: Timestamp) -> Result<(), HistoryError> {
    let key = format!("{user}:{}", at.iso());
    let payload = serde_json::json!({"kind": "window", "start": at, "end": at.plus_millis(MINUTE_MS)}).to_string();
    queue::enqueue(db, &[NewJob { queue: Queue::Reconcile, key, followed_user: Some(user), payload, due: at }], at)
        .await?;
    let mut rng = StdRng::seed_from_u64(at.millis().unsigned_abs());
    let mut now = at;
    for _ in 0..=queue::RETRIES {
        for job in queue::claim(db, Queue::Reconcile, &JobScope::All, now, LEASE_MS, 10).await? {
            queue::fail(db, &job, "the Data API said 503: <upstream connect error>", now, &mut rng).await?;
        }
        now = now.plus_millis(MINUTE_MS);
    }
    Ok(())
}

/// Returns the leader of turn `n`, round and round.
fn leader_of_turn(leaders: &[FollowedUserId], n: i64) -> Option<FollowedUserId> {
    let turn = usize::try_from(n).unwrap_or(0) % leaders.len().max(1);
    leaders.get(turn).copied()
}
