//! Is it well: `{"status"}` for everybody, the parts for those who are signed in.

use actix::Addr;
use actix_web::{HttpResponse, http::StatusCode, web::Data};
use serde::Serialize;

use super::{
    broadcaster::{Broadcaster, Position, WhereAreWe},
    overview::LiveFigures,
    session::Visitor,
};
use crate::{
    clock::Clock,
    db::{Db, DbError},
    domain::units::Timestamp,
    queue::{self, Queue},
};

/// A job that is due for longer than this waits for somebody who does not come.
const STUCK_MILLIS: i64 = 60_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Ok,
    /// It works, but something needs a look.
    Degraded,
    /// The database does not answer.
    Down,
}

/// `/api/health` with a session, and the page's panel.
#[derive(Debug, Clone, Serialize)]
pub struct HealthView {
    pub status: Status,
    pub parts: Vec<PartView>,
    pub queues: Vec<QueueView>,
}

#[derive(Debug, Clone, Serialize)]
pub struct PartView {
    pub part: String,
    pub healthy: bool,
    /// One line, empty when there is nothing to add.
    pub detail: String,
}

#[derive(Debug, Clone, Serialize)]
pub struct QueueView {
    pub queue: Queue,
    pub open: i64,
    pub oldest_due: Option<Timestamp>,
}

#[derive(Debug, Serialize)]
struct Bare {
    status: Status,
}

impl HealthView {
    pub async fn load(db: &Db, live: &LiveFigures, now: Timestamp) -> Self {
        let depths = queue::depths(db).await;
        let mut parts = vec![database(&depths)];
        parts.extend(depths.as_ref().map(|depths| jobs(depths, now)).ok());
        parts.extend(live.health.values().map(|said| PartView {
            part: said.part.clone(),
            healthy: said.healthy,
            detail: said.detail.clone(),
        }));
        let status = match (&depths, parts.iter().all(|part| part.healthy)) {
            (Err(_), _) => Status::Down,
            (Ok(_), true) => Status::Ok,
            (Ok(_), false) => Status::Degraded,
        };
        let queues = depths.unwrap_or_default().into_iter().map(|depth| QueueView {
            queue: depth.queue,
            open: depth.open,
            oldest_due: depth.oldest_due,
        });
        Self { status, parts, queues: queues.collect() }
    }
}

fn database(depths: &Result<Vec<queue::Depth>, DbError>) -> PartView {
    let detail = if depths.is_ok() { "" } else { "it does not answer" };
    PartView { part: "database".to_owned(), healthy: depths.is_ok(), detail: detail.to_owned() }
}

/// All queues in one line; a stuck one is named.
fn jobs(depths: &[queue::Depth], now: Timestamp) -> PartView {
    let stuck = depths.iter().find(|depth| depth.oldest_due.is_some_and(|due| now.millis_since(due) > STUCK_MILLIS));
    let open: i64 = depths.iter().map(|depth| depth.open).sum();
    let detail = match stuck {
        Some(depth) => format!("nobody takes the jobs of {}", depth.queue),
        None if open == 0 => "nothing waits".to_owned(),
        None => format!("{open} waiting"),
    };
    PartView { part: "jobs".to_owned(), healthy: stuck.is_none(), detail }
}

/// `GET /api/health`: open to all for load balancers, which learn one word.
pub async fn json(
    visitor: Option<Visitor>,
    db: Data<Db>,
    broadcaster: Data<Addr<Broadcaster>>,
    clock: Data<Clock>,
) -> HttpResponse {
    let position: Position = broadcaster.send(WhereAreWe).await.unwrap_or_default();
    let health = HealthView::load(&db, &position.figures, clock.now()).await;
    let code = if health.status == Status::Down { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    match visitor {
        Some(_) => HttpResponse::build(code).json(health),
        None => HttpResponse::build(code).json(Bare { status: health.status }),
    }
}
