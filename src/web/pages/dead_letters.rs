//! Dead letters on the page System: jobs and rows that failed for good, to be retried or dropped.

use actix_web::{
    HttpResponse,
    web::{Data, Path},
};
use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::db::{Db, DbError, DeadLetter, Origin, Replay};
use crate::domain::money::ids::FollowedUserId;
use crate::domain::money::units::Timestamp;
use crate::web::auth::csrf::CsrfForm;
use crate::web::server::error::WebError;
use crate::web::shell::flash::Flash;

const PAGE: usize = 20;
/// Characters of a payload that the page shows; the JSON has more.
const LINE_CHARS: usize = 200;
/// Number of dead letters that one click retries; the rest needs another click.
const AT_ONCE: i64 = 500;
const STATUS: &str = "/status";

/// A page of the open dead letters.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct DeadLettersView {
    /// Number of open dead letters.
    pub total: i64,
    /// The number of open dead letters of each queue.
    pub by_queue: Vec<QueueCount>,
    /// Newest first.
    pub data: Vec<DeadLetterView>,
    /// The `before` of the next, older page.
    pub next_before: Option<i64>,
    /// The queue that the list is filtered by; null for all.
    pub queue: Option<&'static str>,
}

/// The open dead letters of one queue.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct QueueCount {
    /// The name of the queue.
    pub queue: &'static str,
    /// Number of open dead letters.
    pub open: i64,
    /// False for rows that could not be read: they can only be dropped.
    pub can_retry: bool,
}

/// A row of `dead_letter`. Payload and error are hostile text.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct DeadLetterView {
    /// The number of the row.
    pub id: i64,
    /// The name of the queue.
    pub queue: &'static str,
    /// The key of the job.
    pub key: String,
    /// The leader whom the job belongs to; null without one.
    pub followed_user_id: Option<FollowedUserId>,
    /// The payload of the job, or the text of the row; at most its first 4,096 characters.
    pub payload: String,
    /// The length of the whole payload, in bytes.
    pub payload_bytes: i64,
    /// The beginning of the payload, in one line.
    pub line: String,
    /// Whether `line` is shorter than the payload.
    pub is_cut: bool,
    /// The SHA-256 of the whole text of a row, in hex digits; null for a job.
    pub sha256: Option<String>,
    /// The last error.
    pub error: String,
    /// When the row was written.
    pub created_at: Timestamp,
    /// Whether the job can be queued again.
    pub can_retry: bool,
}

/// The action on one dead letter.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeadLetterAction {
    Retry,
    #[serde(rename = "put_away")]
    Drop,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeadLetterForm {
    #[serde(rename = "deed")]
    action: DeadLetterAction,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueueForm {
    queue: String,
}

impl DeadLettersView {
    /// Reads the dead letters with an id below `before`, of one queue or of all.
    ///
    /// # Errors
    /// [`DbError`] when the database fails.
    pub async fn load(db: &Db, origin: Option<Origin>, before: Option<i64>) -> Result<Self, DbError> {
        let counts = db.dead_letter_counts().await?;
        let limit = i64::try_from(PAGE).unwrap_or(i64::MAX - 1) + 1;
        let mut rows = db.dead_letters_of(origin, before, limit).await?;
        let goes_on = rows.len() > PAGE;
        rows.truncate(PAGE);
        Ok(Self {
            total: counts.iter().map(|(_, n)| n).sum(),
            by_queue: counts.into_iter().map(QueueCount::of).collect(),
            next_before: rows.last().filter(|_| goes_on).map(|letter| letter.id),
            data: rows.into_iter().map(DeadLetterView::of).collect(),
            queue: origin.map(Origin::as_str),
        })
    }
}

impl QueueCount {
    fn of((origin, open): (Origin, i64)) -> Self {
        Self { queue: origin.as_str(), open, can_retry: matches!(origin, Origin::Queue(_)) }
    }
}

impl DeadLetterView {
    fn of(letter: DeadLetter) -> Self {
        let words = letter.payload.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
        let text = words.collect::<Vec<_>>().join(" ");
        let line: String = text.chars().take(LINE_CHARS).collect();
        Self {
            is_cut: line.len() < text.len()
                || usize::try_from(letter.payload_bytes).is_ok_and(|whole| whole > letter.payload.len()),
            line,
            payload_bytes: letter.payload_bytes,
            sha256: letter.sha256,
            id: letter.id,
            queue: letter.queue.map_or(Origin::Row, Origin::Queue).as_str(),
            key: letter.key,
            followed_user_id: letter.followed_user,
            payload: letter.payload,
            error: letter.error,
            created_at: letter.created_at,
            can_retry: letter.queue.is_some(),
        }
    }
}

/// Reads the name of a queue, or `row`; an empty text is none.
///
/// # Errors
/// [`WebError::Mistake`] for a text that does not name a queue.
pub fn origin(text: Option<&str>) -> Result<Option<Origin>, WebError> {
    let named = text.filter(|text| !text.is_empty()).map(str::parse).transpose();
    named.map_err(|error| WebError::Mistake(format!("`queue`: {error}")))
}

/// Answers `POST /status/dead-letters/{id}`: retries or drops one dead letter.
///
/// # Errors
/// [`WebError::Conflict`] when it is not open any more, or when a row is to be retried.
pub async fn one(
    submitted: CsrfForm<DeadLetterForm>,
    id: Path<i64>,
    db: Data<Db>,
    clock: Data<Clock>,
) -> Result<HttpResponse, WebError> {
    let (id, who, now) = (*id, &submitted.visitor.who, clock.now());
    let text = match submitted.form.action {
        DeadLetterAction::Retry => match db.replay_dead_letter(id, who, now).await? {
            Replay::Queued(queue) => {
                format!("Dead letter {id} is a job of {queue} again, with all its tries before it.")
            }
            Replay::NotReplayable => return Err(dealt_with(id)),
        },
        DeadLetterAction::Drop => match db.drop_dead_letter(id, who, now).await? {
            true => format!("Dead letter {id} is put away. The audit log keeps what it said."),
            false => return Err(dealt_with(id)),
        },
    };
    Flash::new(text).then(&submitted.session, STATUS)
}

/// Answers `POST /status/dead-letters`: retries the open dead letters of one queue, at most [`AT_ONCE`].
///
/// # Errors
/// [`WebError::Mistake`] for an unknown queue, and for rows, which cannot be retried.
pub async fn of_queue(
    submitted: CsrfForm<QueueForm>,
    db: Data<Db>,
    clock: Data<Clock>,
) -> Result<HttpResponse, WebError> {
    let wanted = origin(Some(&submitted.form.queue))?;
    let Some(Origin::Queue(queue)) = wanted else {
        return Err(WebError::Mistake("`queue`: rows that could not be read can only be put away".to_owned()));
    };
    let letters = db.dead_letters_of(wanted, None, AT_ONCE + 1).await?;
    let (who, now) = (&submitted.visitor.who, clock.now());
    let mut queued = 0;
    let at_once = usize::try_from(AT_ONCE).unwrap_or(usize::MAX);
    for letter in letters.iter().take(at_once) {
        let replayed = db.replay_dead_letter(letter.id, who, now).await?;
        queued += usize::from(matches!(replayed, Replay::Queued(_)));
    }
    let rest = if letters.len() > at_once { " There are more: ask again for the next." } else { "" };
    let jobs =
        if queued == 1 { "1 dead letter is a job".to_owned() } else { format!("{queued} dead letters are jobs") };
    Flash::new(format!("{jobs} of {queue} again.{rest}")).then(&submitted.session, STATUS)
}

fn dealt_with(id: i64) -> WebError {
    WebError::Conflict(format!(
        "dead letter `{id}` cannot be changed: it is not a job, or it was retried or dropped already"
    ))
}
